"""Task arithmetic from random initialisation (tangent-space paper, Section 6.2): Table 3. Imported by notebooks alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from tangent_lib.experiment import Experiment
from tangent_lib.recorded import Summaries
from tangent_lib.report import paper
from tangent_lib.report.tables import Measure, absolute, across, percent, pretrained_average, single

MODES = ("non-linear", "linear")
RANDOM = ", random init"  # after a mode's name: its summaries from random initialisation
ROW_NAMES = {
    "chance": "Random chance, 1 / classes",
    "random init": "Random init f(·; θ₀ʳᵈ)",
    "non-linear": "Non-lin. FT f(·; θ₀ʳᵈ + τʳᵈ)",
    "linear": "Linear. FT f_lin(·; θ₀ʳᵈ + τʳᵈ_lin)",
}

# what addition gains over the model that fine-tuning started from, and which share of the single-task gain that is
start: Measure = lambda s: s["start"]
gain: Measure = lambda s: absolute(s) - start(s)
kept: Measure = lambda s: gain(s) / (single(s) - start(s)) if single(s) != start(s) else float("nan")


def chance(run: Experiment) -> float:
    """The accuracy of guessing at random, averaged over tasks: the mean of 1 / classes."""
    return float(np.mean([1 / len(run.task(name).classes) for name in run.parameters.tasks]))


def both_starts(run: Experiment) -> Summaries:
    """Summaries of this run from the pre-trained weights and, under names that end in ``RANDOM``, from random ones.

    Each has ``start``, the average test accuracy at theta_0 or theta_0^rd. A seed draws theta_0^rd and orders the images.
    """
    found: Summaries = {mode + kind: {} for kind in ("", RANDOM) for mode in MODES}
    for seed in run.parameters.seeds:
        for kind, origin in (("", run), (RANDOM, run.untrained(seed))):
            accuracy = pretrained_average(origin, run.parameters.tasks)
            for mode in MODES:
                found[mode + kind][str(seed)] = {**origin.summary(mode, seed, negation=False), "start": accuracy}
    return found


def recorded_starts(recorded: Mapping | None, tasks: tuple[str, ...]) -> dict | None:
    """The same from a recorded file, as ``{"seeds", "summaries"}``; None where it has nothing from random initialisation."""
    if not recorded or not {"summaries", "untrained", "untrained_zero_shot"} <= set(recorded):
        return None
    mean = lambda accuracies: float(np.mean([accuracies[name]["test"] for name in tasks]))
    random_start = {seed: mean(accuracies) for seed, accuracies in recorded["untrained_zero_shot"].items()}
    found: Summaries = {}
    for mode in MODES:
        by_seed = recorded["untrained"][mode]
        found[mode + RANDOM] = {seed: {**each, "start": random_start[seed]} for seed, each in by_seed.items()}
        pretrained, base = recorded["summaries"][mode], mean(recorded["zero_shot"])
        found[mode] = {seed: {**pretrained[seed], "start": base} for seed in by_seed if seed in pretrained}
    return {"seeds": list(found[MODES[0] + RANDOM]), "summaries": found}


def table_3(run: Experiment, live: Summaries, recorded: dict | None) -> pd.DataFrame:
    """Task addition from random initialisation, as Table 3: average single-task and multi-task test accuracy (%).

    Args:
        live: from ``both_starts``.
        recorded: from ``recorded_starts``.
    """
    name, seeds = run.parameters.model, ", ".join(live[MODES[0] + RANDOM])
    sources = [(f"{name}, this run, seed {seeds}", live)]
    if recorded:
        sources.append((f"{name}, recorded, {len(recorded['seeds'])} seeds", recorded["summaries"]))
    rows: dict[str, dict] = {title: {} for title in ROW_NAMES.values()}
    for header, summaries in sources:
        rows[ROW_NAMES["chance"]] |= {(header, "Sing."): percent([chance(run)]), (header, "Multi"): "–"}
        initial = percent(across(summaries, MODES[0] + RANDOM, start))
        rows[ROW_NAMES["random init"]] |= {(header, "Sing."): initial, (header, "Multi"): "–"}
        for mode in MODES:
            for column, measure in (("Sing.", single), ("Multi", absolute)):
                rows[ROW_NAMES[mode]][(header, column)] = percent(across(summaries, mode + RANDOM, measure))
    for i, scale in enumerate(paper.SCALES):
        for row, title in ROW_NAMES.items():
            values = paper.TABLE_3[row][i] if row in paper.TABLE_3 else (None, None)
            cells = {c: "–" if value is None else f"{value:.1f}" for c, value in zip(("Sing.", "Multi"), values)}
            rows[title] |= {(f"paper: {scale}", column): text for column, text in cells.items()}
    columns = list(rows[ROW_NAMES["chance"]])
    return pd.DataFrame.from_dict(rows, orient="index")[columns]


def localisations(recorded: Mapping | None) -> pd.DataFrame | None:
    """The recorded localisation of the NTK's eigenfunctions against the control, by start; None where none is recorded.

    See ``ntk.support_shares``: the share of the local energy on the trained points, in percent. A random kernel is above
    50 too, since trained points have rows of their own.
    """
    if not recorded or not {"pretrained", "untrained"} <= set(recorded.get("ntk", {})):
        return None
    names = {"pretrained": "Pre-trained θ₀", "untrained": "Random init θ₀ʳᵈ"}
    rows = {}
    for kind, name in names.items():
        seeds = list(recorded["ntk"][kind].values())
        rows[name] = {pair: percent([seed[pair]["control"] for seed in seeds]) for pair in seeds[0]}
    return pd.DataFrame.from_dict(rows, orient="index")
