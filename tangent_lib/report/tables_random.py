"""Task arithmetic from random initialisation (tangent-space paper, Section 6.2): Table 3. Imported by notebooks alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import Record, Summary, summary
from tangent_lib.report import paper
from tangent_lib.report.quantities import ABSOLUTE, SINGLE, percent
from tangent_lib.report.tables import across, pretrained_average

STARTED_MODES = ("non-linear", "linear")
RANDOM = ", random init"  # after a mode's name: its summaries from random initialisation
ROW_NAMES = {
    "chance": "Random chance, 1 / classes",
    "random init": "Random init f(·; θ₀ʳᵈ)",
    "non-linear": "Non-lin. FT f(·; θ₀ʳᵈ + τʳᵈ)",
    "linear": "Linear. FT f_lin(·; θ₀ʳᵈ + τʳᵈ_lin)",
}


@dataclass(frozen=True)
class Started(Summary):
    """A summary with ``start``, the average test accuracy of the model that fine-tuning started from."""

    start: float = 0.0


Starts = dict[str, dict[str, Started]]  # by mode, with or without ``RANDOM``, then by seed


def gain(summary: Started) -> float:
    """What addition gains over the model that fine-tuning started from."""
    return ABSOLUTE(summary) - summary.start


def kept(summary: Started) -> float:
    """The share of the single-task gain that addition keeps; not a number where fine-tuning changed nothing."""
    gained = SINGLE(summary) - summary.start
    return gain(summary) / gained if gained else float("nan")


def kept_table(live: Starts, recorded: Starts | None) -> pd.DataFrame:
    """What addition gains in points, and which share of the single-task gain it keeps, by start and mode."""
    rows = {}
    for name in live:
        mode, start = name.removesuffix(RANDOM), "random init" if name.endswith(RANDOM) else "pre-trained"
        of = {"this run": live[name], **({"recorded": recorded[name]} if recorded else {})}
        rows[(mode, start)] = {(what, source): percent([measure(each) for each in by_seed.values()])
                               for what, measure in (("gain of addition, points", gain), ("kept, %", kept))
                               for source, by_seed in of.items()}  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").sort_index(ascending=False)


def chance(run: Experiment) -> float:
    """The accuracy of guessing at random, averaged over tasks: the mean of 1 / classes."""
    return float(np.mean([1 / len(run.materials.task(name).classes) for name in run.parameters.tasks]))


def both_starts(run: Experiment) -> Starts:
    """Summaries of this run from the pre-trained weights and, under names that end in ``RANDOM``, from random ones.

    A seed draws theta_0^rd and orders the images.
    """
    found: Starts = {mode + kind: {} for kind in ("", RANDOM) for mode in STARTED_MODES}
    for seed in run.parameters.seeds:
        for kind, origin in (("", run), (RANDOM, run.untrained(seed))):
            accuracy = pretrained_average(origin, run.parameters.tasks)
            for mode in STARTED_MODES:
                each = summary(origin, mode, seed, negation=False, xi=True)
                found[mode + kind][str(seed)] = Started(**vars(each), start=accuracy)
    return found


def sections(run: Experiment, live: Starts) -> dict:
    """The same as sections of a record, for ``ledger_page.claims_of``."""
    names = run.parameters.tasks
    return {
        "summaries": {mode: live[mode] for mode in STARTED_MODES},
        "untrained": {mode: live[mode + RANDOM] for mode in STARTED_MODES},
        "untrained_zero_shot": {
            str(seed): {name: random.zero_shot(name) for name in names}
            for seed in run.parameters.seeds
            for random in [run.untrained(seed)]
        },
    }


def recorded_starts(recorded: Record | None, tasks: tuple[str, ...]) -> Starts | None:
    """The same from a recorded file; None where it has nothing from random initialisation."""
    if not recorded or not (recorded.summaries and recorded.untrained and recorded.untrained_zero_shot):
        return None
    mean = lambda accuracies: float(np.mean([accuracies[name].test for name in tasks]))
    random_start = {seed: mean(accuracies) for seed, accuracies in recorded.untrained_zero_shot.items()}
    found: Starts = {}
    for mode in STARTED_MODES:
        by_seed = recorded.untrained[mode]
        found[mode + RANDOM] = {seed: Started(**vars(each), start=random_start[seed]) for seed, each in by_seed.items()}
        pretrained, base = recorded.summaries[mode], mean(recorded.zero_shot)
        found[mode] = {seed: Started(**vars(pretrained[seed]), start=base) for seed in by_seed if seed in pretrained}
    return found


def table_3(run: Experiment, live: Starts, recorded: Starts | None) -> pd.DataFrame:
    """Task addition from random initialisation, as Table 3: average single-task and multi-task test accuracy (%)."""
    name, seeds = run.parameters.model, ", ".join(live[STARTED_MODES[0] + RANDOM])
    sources = [(f"{name}, this run, seed {seeds}", live)]
    if recorded:
        sources.append((f"{name}, recorded, {len(recorded[STARTED_MODES[0] + RANDOM])} seeds", recorded))
    rows: dict[str, dict] = {title: {} for title in ROW_NAMES.values()}
    for header, summaries in sources:
        rows[ROW_NAMES["chance"]] |= {(header, "Sing."): percent([chance(run)]), (header, "Multi"): "–"}
        initial = percent([each.start for each in summaries[STARTED_MODES[0] + RANDOM].values()])
        rows[ROW_NAMES["random init"]] |= {(header, "Sing."): initial, (header, "Multi"): "–"}
        for mode in STARTED_MODES:
            for column, measure in (("Sing.", SINGLE), ("Multi", ABSOLUTE)):
                rows[ROW_NAMES[mode]][(header, column)] = percent(across(summaries, mode + RANDOM, measure))
    for i, scale in enumerate(paper.SCALES):
        for row, title in ROW_NAMES.items():
            values = paper.TABLE_3[row][i] if row in paper.TABLE_3 else (None, None)
            cells = {c: "–" if value is None else f"{value:.1f}" for c, value in zip(("Sing.", "Multi"), values)}
            rows[title] |= {(f"paper: {scale}", column): text for column, text in cells.items()}
    columns = list(rows[ROW_NAMES["chance"]])
    return pd.DataFrame.from_dict(rows, orient="index")[columns]
