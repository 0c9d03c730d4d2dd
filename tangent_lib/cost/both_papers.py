"""How many images pass through a model in both papers, and what that takes: work counted, not run.

Each part follows the code that does it: fine-tuning, the sweeps over alpha, the disentanglement error and the NTK.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tangent_lib.cost.counted_steps import NUMBER, ShapesOnly, StepCount, count_step
from tangent_lib.data.manifests import load_manifest
from tangent_lib.data.prepare import MOST_HELD_OUT
from tangent_lib.finetuning import Protocol
from tangent_lib.kernels import NUMBERS_HELD
from tangent_lib.modes import ALL_MODES, ALPHAS, PAPER, TRAININGS, training_named
from tangent_lib.runtime.errors import InputError, unknown

Kind = tuple[bool, str]  # is f_lin trained, and which selection of its weights
Counts = Mapping[Kind, StepCount]  # of one model


@dataclass(frozen=True)
class Paper:
    """What a paper has computed for each of its models.

    Attributes:
        trainings: keys of ``modes.TRAININGS``; each is done for every task, used in every mode it serves.
        grids: by training, values on each axis of its grids of xi, one grid a pair.
        kernels: NTKs a pair, (rows, columns, outputs) of each.
        printed: the GPU hours that it names, and the GPU.
    """

    trainings: tuple[str, ...]
    grids: Mapping[str, int]
    kernels: tuple[tuple[int, int, int], ...]
    printed: tuple[int, str]


# four kernels a pair, of the pre-trained and of a random initialisation: three outputs and the three supports of notebook 06
KERNELS = 2 * ((200, 400, 3), (200, 600, 1))
PAPERS = {
    "tangent-space": Paper(
        ("non-linear", "linear", "random-non-linear", "random-linear"),
        {"non-linear": 20, "linear": 20, "random-non-linear": 11},
        KERNELS,
        (350, "V100"),
    ),
    "attention-only": Paper(
        ("non-linear", "linear", "attention-only", "attention-biases", "attention-mlp", "attention-mlp-biases"),
        {"non-linear": 15, "linear": 15, "attention-only": 15},
        (),
        (150, "RTX 3090"),
    ),
}


def kind_of(training: str) -> Kind:
    """What a training trains.

    Example:
        >>> kind_of("random-linear"), kind_of("attention-only")
        ((True, 'all'), (False, 'attention weights'))
    """
    kind = training_named(training)
    return kind.linearized, kind.selection


def count_kinds(tower: ShapesOnly) -> dict[Kind, StepCount]:
    """A step of every kind of training, counted."""
    return {kind: count_step(tower, *kind) for kind in dict.fromkeys(map(kind_of, TRAININGS))}


def split_sizes(name: str) -> tuple[int, int]:
    """How many images a full-size task has for validation and for testing, by its manifest."""
    sizes = load_manifest(name).sizes
    if sizes is None:
        raise InputError(f"the manifest of {name} states no sizes: add how many images train and test have")
    return min(MOST_HELD_OUT, sizes.train // 10), sizes.test


def work(counts: Counts, papers: Iterable[str], protocol: Protocol) -> dict[str, int]:
    """Operations by part of the work, for one model and one seed; what two papers share is counted once."""
    chosen = list(papers)
    for name in chosen:
        if name not in PAPERS:
            raise unknown("paper", name, PAPERS)
    trainings = dict.fromkeys(training for name in chosen for training in PAPERS[name].trainings)
    images = protocol.steps * protocol.batch_size * len(PAPER.tasks)
    found = Counter({f"fine-tuning, {each}": images * counts[kind_of(each)].operations for each in trainings})
    found["zero-shot"] = _forward(counts, False) * sum(sum(split_sizes(name)) for name in (*PAPER.tasks, PAPER.control))
    for training in trainings:
        found["single tasks"] += sum(_single(counts, linear) for linear in _uses(training))
        found["addition"] += sum(_addition(counts, linear) for linear in _uses(training))
        if training in ("non-linear", "linear"):
            found["negation"] += sum(_negation(counts, linear) for linear in _uses(training))
    for name in chosen:
        for training, values in PAPERS[name].grids.items():
            found["disentanglement error"] += sum(_grids(counts, linear, values) for linear in _uses(training))
        found["NTK"] += len(PAPER.pairs) * sum(_kernel(counts[False, "all"], *each) for each in PAPERS[name].kernels)
    return dict(found)


def _uses(training: str) -> list[bool]:
    """Is f_lin used: for each mode that takes its task vectors from this training."""
    kind = kind_of(training)
    return [mode.linearized for mode in ALL_MODES.values() if kind_of(mode.training.name) == kind]


def _forward(counts: Counts, linear: bool) -> int:
    return counts[linear, "all"].forward_operations


def _single(counts: Counts, linear: bool) -> int:
    return _forward(counts, linear) * sum(sum(split_sizes(name)) for name in PAPER.tasks)


def _passes(counts: Counts, vectors: int) -> int:
    """A pass of f_lin that shares the value among some task vectors."""
    return _forward(counts, False) + vectors * (_forward(counts, True) - _forward(counts, False))


def _sweep(linear: bool) -> int:
    """Passes over an image for all values of alpha: f_lin is affine in alpha, so that one serves all; f is known at 0."""
    return 1 if linear else len(ALPHAS) - 1


def _addition(counts: Counts, linear: bool) -> int:
    images = sum(_sweep(linear) * val + test for val, test in map(split_sizes, PAPER.tasks))
    return _forward(counts, linear) * images


def _negation(counts: Counts, linear: bool) -> int:
    targets, (val, test) = _addition(counts, linear), split_sizes(PAPER.control)
    if linear:
        return targets + _passes(counts, len(PAPER.tasks)) * (val + test)
    return targets + _forward(counts, False) * len(PAPER.tasks) * (_sweep(False) * val + test)


def _grids(counts: Counts, linear: bool, values: int) -> int:
    """Each point once a setting of both alphas and once a value of its own; f_lin: one pass for two task vectors."""
    points = sum(min(PAPER.points, split_sizes(name)[1]) for pair in PAPER.pairs for name in pair)
    return points * (_passes(counts, 2) if linear else _forward(counts, False) * (values**2 + values))


def _kernel(step: StepCount, rows: int, columns: int, outputs: int) -> int:
    """Cotangents of both sides for each pair of blocks that are held at a time, and the inner products of all gradients."""
    block = max(1, NUMBERS_HELD["cuda"] // 2 // max(1, 2 * step.image_bytes // NUMBER))
    down, across = math.ceil(rows / block), math.ceil(columns / block)
    forward = step.forward_operations * (rows + down * columns)
    backward = outputs * (step.operations - step.forward_operations) // 2 * (across * rows + down * columns)
    return forward + backward + 2 * outputs * rows * columns * step.parameters
