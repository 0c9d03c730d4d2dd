"""Computing the recorded files, section by section: ``tangent record``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from tangent_lib.cost.measured_steps import step_costs
from tangent_lib.data.batches import batches
from tangent_lib.disentanglement import alpha_grid
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import (
    NegationSummary,
    RecordedCost,
    Summaries,
    Summary,
    as_json,
    configuration,
    recorded_path,
    same_configuration,
    summaries,
)
from tangent_lib.kernels import support_shares
from tangent_lib.modes import ABLATION_MODES, ATTENTION_MODES, MODES, select
from tangent_lib.runtime.errors import unknown
from tangent_lib.runtime.memory import enough_memory
from tangent_lib.runtime.provenance import provenance

XI_ALPHAS = tuple(alpha_grid(12, 3.0))  # of the grids of xi (Figure 9)
LEADING = 10  # eigenfunctions of the largest singular values


def with_xi(run: Experiment, modes: Iterable[str], seeds: Iterable[int] | None = None) -> Summaries:
    """Summaries as they are recorded: with xi and cosines; negation has a section of its own."""
    return summaries(run, modes, seeds, negation=False, xi=True)


def _negation(run: Experiment) -> dict:
    short = lambda found: {name: NegationSummary(n.alpha, n.target, n.control) for name, n in found.items()}
    of = lambda mode, seed: Summary(negation=short(run.negations(mode, seed)))
    return {"summaries": {mode: {str(seed): of(mode, seed) for seed in run.parameters.seeds} for mode in MODES}}


def _untrained(run: Experiment, mode: str) -> dict:
    """Everything from random initialisation; a seed draws theta_0^rd and the order of the images."""
    found, zero_shot = {}, {}
    for seed in run.parameters.seeds:
        random = run.untrained(seed)
        zero_shot[str(seed)] = {name: random.zero_shot(name) for name in run.parameters.tasks}
        found |= with_xi(random, (mode,), (seed,))[mode]
    return {"untrained": {mode: found}, "untrained_zero_shot": zero_shot}


def _ntk(run: Experiment) -> dict:
    """Localisation against a control, against unseen points of the task, and of the leading eigenfunctions (notebook 06)."""
    found: dict[str, dict] = {"pretrained": {}, "untrained": {}}
    for seed in run.parameters.seeds:
        for kind, each in (("pretrained", run), ("untrained", run.untrained(seed))):
            kernels = {"-".join(pair): each.kernel_on_supports(*pair, seed) for pair in run.parameters.pairs}
            found[kind][str(seed)] = {pair: support_shares(kernel, LEADING) for pair, kernel in kernels.items()}
    return {"ntk": found}


def _cost(run: Experiment) -> dict:
    """The cost of a training step in every way: the seconds of each round, the bytes kept for the backward pass."""
    task, protocol, clip = run.parameters.tasks[0], run.parameters.protocol, run.materials.clip
    images = min(protocol.batch_size, run.parameters.micro_batch or protocol.batch_size)
    x, y = next(iter(batches(run.materials.task(task).split("train"), images, clip.device)))
    with enough_memory("measuring the cost of a step", images):
        costs = step_costs(clip.f, clip.theta_0, run.materials.head(task), x, y, repeats=9)
    return {"cost": {way: RecordedCost(each.rounds, each.saved_bytes) for way, each in costs.items()}}


def _xi_grids(run: Experiment) -> dict:
    pair, seed = run.parameters.pairs[0], run.parameters.seeds[0]

    def recorded(mode: str) -> dict:
        grid = run.xi_grid(pair, mode, seed, XI_ALPHAS)
        kept = {"seed": seed, "alphas": grid.alphas, "points": grid.points, "prediction error": grid.prediction_error}
        return {"-".join(pair): kept}

    return {"xi_grids": {mode: recorded(mode) for mode in ("non-linear", "post-hoc")}}


MAKERS: dict[str, Callable[[Experiment], dict]] = {
    "non-linear": lambda run: {"summaries": with_xi(run, ("non-linear", "post-hoc"))},
    "linear": lambda run: {"summaries": with_xi(run, ("linear",))},
    "negation": _negation,
    "attention": lambda run: {"summaries": with_xi(run, ATTENTION_MODES)},
    "untrained": lambda run: _untrained(run, "non-linear"),
    "untrained linear": lambda run: _untrained(run, "linear"),
    "ntk": _ntk,
    "ablation": lambda run: {"ablation": with_xi(run, ABLATION_MODES)},
    "xi_grids": _xi_grids,
    "cost": _cost,
}


def make_record(run: Experiment, sections: Sequence[str]) -> dict:
    """Compute some sections; those recorded before for the same configuration are kept, seeds are added to each other.

    Returns:
        the JSON values of the file.

    Raises:
        InputError: for an unknown section.
    """
    for section in sections:
        if section not in MAKERS:
            raise unknown("section", section, MAKERS)
    if {"attention", "ablation", "cost"} & set(sections):  # refused before any work, where it is not a vision transformer
        for mode in ABLATION_MODES.values():
            select(run.materials.clip.theta_0, mode.training.selection)
    names = (*run.parameters.tasks, run.parameters.control)
    zero_shot = {name: run.zero_shot(name) for name in names}
    found = {section: MAKERS[section](run) for section in sections}
    record: dict = {
        "configuration": configuration(run),
        "provenance": {},
    }  # read after the work: others may write meanwhile
    if (path := recorded_path(run.parameters.model)).is_file():
        before = json.loads(path.read_text())
        record = before if same_configuration(before["configuration"], record["configuration"]) else record
    record["zero_shot"] = as_json(zero_shot)
    for section in sections:
        record = _merged(record, as_json(found[section]))
        record["provenance"][section] = provenance()
    record["seeds"] = sorted(int(seed) for seed in next(iter(record.get("summaries", {"": {}}).values())))
    return record


def _merged(old: dict, new: dict) -> dict:
    both = {key: _merged(old[key], new[key]) if isinstance(old.get(key), dict) else new[key] for key in new}
    return {**old, **both}
