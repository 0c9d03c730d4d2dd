"""Results over several seeds with their types: of this run, and of files that were recorded beforehand.

The default run of the book takes one seed; a spread needs several. A recorded file is used only for the configuration it
was made with: same weights, tasks, images, protocol, pairs and points. ``recording`` computes such files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from tangent_lib.data.tasks import SKETCH_TOLERANCE
from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.kernels import SupportShares
from tangent_lib.miniature import read_card
from tangent_lib.modes import MINIATURES, MODES
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError, first_fault, first_line

BOX = (0.2, 0.4, 0.6, 0.8, 1.0)  # alpha_1 = alpha_2 at which xi is recorded, in the box where alpha is searched
RECORDED = ROOT / "book" / "recorded"


@dataclass(frozen=True)
class AdditionSummary:
    """Of ``editing.Addition``; ``curve`` is the average validation accuracy at every alpha of the sweep."""

    alpha: float
    absolute: float
    normalised: float
    test: dict[str, float]
    curve: tuple[float, ...]


@dataclass(frozen=True)
class NegationSummary:
    """Of ``editing.Negation``: the chosen alpha and test accuracies."""

    alpha: float
    target: float
    control: float


@dataclass(frozen=True)
class Summary:
    """What tables and claims need of one mode and seed, all on test but for the curve; None where it was not computed.

    Attributes:
        single: single-task accuracy by task.
        addition: of all tasks.
        negation: by task.
        xi: by task pair, xi(alpha, alpha) at ``BOX`` by changed predictions.
        kl: the same by KL divergence of the representations.
        cosine: the mean absolute cosine of two task vectors.
    """

    single: dict[str, float] | None = None
    addition: AdditionSummary | None = None
    negation: dict[str, NegationSummary] | None = None
    xi: dict[str, tuple[float, ...]] | None = None
    kl: dict[str, tuple[float, ...]] | None = None
    cosine: float | None = None


@dataclass(frozen=True)
class RecordedGrid:
    """A grid of xi by changed predictions, as ``disentanglement.XiGrid``, of one seed."""

    seed: int
    alphas: tuple[float, ...]
    points: tuple[int, ...]
    prediction_error: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class RecordedCost:
    """The seconds of a training step, round by round, and the bytes that it keeps for the backward pass."""

    seconds: tuple[float, ...]
    saved_bytes: int


Summaries = dict[str, dict[str, Summary]]  # by mode, then by seed


@dataclass(frozen=True)
class Record:
    """A recorded file. Sections that were not recorded are empty.

    Attributes:
        configuration: what it belongs to.
        provenance: of each section: commit, date, machine, versions.
        zero_shot: by task.
        summaries: from the pre-trained weights.
        untrained: from random weights.
        untrained_zero_shot: by seed, then by task, before any fine-tuning.
        ablation: of the attention-only paper's Table 5.
        ntk: ``pretrained`` and ``untrained``, by seed, then by task pair.
        xi_grids: by mode, then by task pair.
        cost: by way to fine-tune.
        seeds: of the summaries.
    """

    configuration: dict
    provenance: dict[str, dict[str, str]]
    zero_shot: dict[str, Accuracies]
    summaries: Summaries = field(default_factory=dict)
    untrained: Summaries = field(default_factory=dict)
    untrained_zero_shot: dict[str, dict[str, Accuracies]] = field(default_factory=dict)
    ablation: Summaries = field(default_factory=dict)
    ntk: dict[str, dict[str, dict[str, SupportShares]]] = field(default_factory=dict)
    xi_grids: dict[str, dict[str, RecordedGrid]] = field(default_factory=dict)
    cost: dict[str, RecordedCost] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, without the control."""
        return tuple(self.configuration["order"][:-1])


def configuration(run: Experiment) -> dict:
    """What a recorded file belongs to, as JSON values."""
    names, materials = (*run.parameters.tasks, run.parameters.control), run.materials
    special = {}  # only where it is so: what was recorded before knows nothing of it
    if run.parameters.by_epochs:
        special["epochs"] = {name: materials.protocol(name).steps for name in run.parameters.tasks}
    if materials.imported:
        special["checkpoints"] = materials.imported.digest
    tasks = [materials.task(name) for name in names]
    found = {
        "model": run.parameters.model,
        "weights": materials.identity()["weights"],
        "tasks": {task.name: task.wording for task in tasks},
        "images": {task.name: task.sketch for task in tasks if task.sketch},
        "protocol": run.parameters.protocol.model_dump(),
        "card": read_card(run.parameters.model)["sha256"] if run.parameters.model in MINIATURES else None,
        "order": names,
        "alphas": run.parameters.alphas,
        "pairs": run.parameters.pairs,
        "points": run.parameters.points,
    }
    return json.loads(json.dumps(found | special))


def same_configuration(one: dict, other: dict) -> bool:
    """Whether results belong together; drawn images are the same where they differ as processors do.

    Example:
        >>> one, other = {"images": {"Signs": [5, 9]}}, {"images": {"Signs": [5, 8]}}
        >>> same_configuration(one, other), same_configuration(one, {**other, "points": 3})
        (True, False)
    """
    left, right = one.get("images", {}), other.get("images", {})
    alike = lambda name: len(left[name]) == len(right[name]) and np.allclose(left[name], right[name], 0, SKETCH_TOLERANCE)
    return {**one, "images": 0} == {**other, "images": 0} and left.keys() == right.keys() and all(map(alike, left))


def recorded_path(model: str) -> Path:
    """Where the results of a model are recorded."""
    return RECORDED / f"{model}.json"


def read_record(model: str) -> Record | None:
    """The record of a model, whatever its configuration; None where there is none."""
    path = recorded_path(model)
    try:
        return typed_record(json.loads(path.read_bytes())) if path.is_file() else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' cannot be used ({first_line(error)}): restore it with git checkout") from error


def typed_record(values: dict) -> Record:
    """The JSON values of a recorded file with their types."""
    name = lambda key: key.replace(" ", "_")  # of a distance
    named = lambda grid: {name(key): value for key, value in grid.items()}
    grids = {mode: {pair: named(grid) for pair, grid in each.items()} for mode, each in values.get("xi_grids", {}).items()}
    try:
        return TypeAdapter(Record).validate_json(json.dumps({**values, "xi_grids": grids}), strict=True)  # true is not 1
    except ValidationError as error:
        raise InputError(f"a recorded file is damaged at {first_fault(error)}: restore it with git checkout") from error


def read_recorded(run: Experiment) -> Record | None:
    """The record of this very configuration, or None."""
    record = read_record(run.parameters.model)
    return record if record and same_configuration(record.configuration, configuration(run)) else None


def is_of_shipped_weights(record: Record) -> bool:
    """Was a miniature's record made with the weights that are shipped? Cheap: the weights are not loaded."""
    return record.configuration.get("card") == read_card(record.configuration["model"])["sha256"]


def summary(run: Experiment, mode: str, seed: int, negation: bool = True, xi: bool = False) -> Summary:
    """The summary of a mode and a seed; negation, and xi with cosines, where they are asked for."""
    added, names = run.addition(mode, seed), run.parameters.tasks
    negations = run.negations(mode, seed) if negation else {}
    diagonals = {"-".join(pair): run.xi_diagonal(pair, mode, seed, BOX) for pair in run.parameters.pairs} if xi else {}
    cosines = np.abs(run.cosines(mode, seed).cosines) if xi and len(names) > 1 else None
    return Summary(
        single={name: run.single_task(name, mode, seed).test for name in names},
        addition=AdditionSummary(added.alpha, added.absolute, added.normalised, added.test, added.curve),
        negation={name: NegationSummary(n.alpha, n.target, n.control) for name, n in negations.items()} or None,
        xi={pair: each.xi for pair, each in diagonals.items()} or None,
        kl={pair: each.kl for pair, each in diagonals.items()} or None,
        cosine=None if cosines is None else float(cosines[~np.eye(len(cosines), dtype=bool)].mean()),
    )


def summaries(
    run: Experiment,
    modes: Iterable[str] = MODES,
    seeds: Iterable[int] | None = None,
    negation: bool = True,
    xi: bool = False,
) -> Summaries:
    """The summaries of some modes and seeds, by default the run's own."""
    seeds = run.parameters.seeds if seeds is None else tuple(seeds)
    return {mode: {str(seed): summary(run, mode, seed, negation, xi) for seed in seeds} for mode in modes}


def as_json(value: object) -> object:
    """Results as JSON values; what was not computed is left out.

    Example:
        >>> as_json({"linear": Summary(cosine=0.5)})
        {'linear': {'cosine': 0.5}}
    """
    if is_dataclass(value):
        value = {each.name: getattr(value, each.name) for each in fields(value) if getattr(value, each.name) is not None}
    if isinstance(value, dict):
        return {key: as_json(each) for key, each in value.items()}
    return [as_json(each) for each in value] if isinstance(value, (list, tuple)) else value
