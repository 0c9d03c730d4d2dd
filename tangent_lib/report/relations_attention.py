"""What the attention-only paper says of its vision results, as differences between modes. Imported by notebooks alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tangent_lib.editing import mean_and_spread
from tangent_lib.recorded import Summaries
from tangent_lib.report import tables
from tangent_lib.report.tables_attention import ABLATED, ATTENTION, LINEAR, MISSING, NON_LINEAR


@dataclass(frozen=True)
class Relation:
    """A claim as a difference, positive where it holds, of the summaries of one seed by mode."""

    claim: str
    modes: tuple[str, ...]
    gap: Callable[[Mapping[str, dict]], float]
    unit: str = "points"


def _diagonal(distance: str) -> tables.Measure:
    """The mean of xi over the task pairs and over alpha_1 = alpha_2 in the search box."""
    return lambda summary: float(np.mean(list(summary[distance].values())))


def _above(claim: str, measure: tables.Measure, greater: str, *lesser: str, unit: str = "points") -> Relation:
    gap = lambda seed: measure(seed[greater]) - max(measure(seed[mode]) for mode in lesser)
    name = lesser[0] if len(lesser) == 1 else f"{len(lesser)} others"
    return Relation(f"{greater} above {name}: {claim}", (greater, *lesser), gap, unit)


_kl, _xi = _diagonal("kl"), _diagonal("xi")
_curve: tables.Measure = lambda summary: float(np.mean(summary["addition"]["curve"]))  # over tasks and over all alphas
_loss = lambda seed, model, post_hoc: tables.single(seed[model]) - tables.single(seed[post_hoc])

RELATIONS = (
    Relation(
        "post-hoc linearisation costs the whole model more than attention-only (Figure 3)",
        (NON_LINEAR, "post-hoc", ATTENTION, "attention post-hoc"),
        lambda seed: _loss(seed, NON_LINEAR, "post-hoc") - _loss(seed, ATTENTION, "attention post-hoc"),
    ),
    _above("single task (Figure 5)", tables.single, ATTENTION, LINEAR),
    _above("addition, absolute (Table 2)", tables.absolute, ATTENTION, NON_LINEAR),
    _above("addition, absolute (Table 2)", tables.absolute, ATTENTION, LINEAR),
    _above("addition, normalised (Table 2)", tables.normalised, ATTENTION, NON_LINEAR),
    _above("addition, normalised (Table 2)", tables.normalised, ATTENTION, LINEAR),
    _above("addition, absolute (Table 5)", tables.absolute, ATTENTION, *ABLATED),
    Relation(
        "all four selections above linear: addition, absolute (Table 5)",
        (ATTENTION, *ABLATED, LINEAR),
        lambda seed: min(tables.absolute(seed[mode]) for mode in (ATTENTION, *ABLATED)) - tables.absolute(seed[LINEAR]),
    ),
    _above("disentanglement error by KL divergence (Figures 6, 8)", _kl, NON_LINEAR, ATTENTION, unit="nats"),
    _above("disentanglement error by KL divergence (Figures 6, 8)", _kl, LINEAR, ATTENTION, unit="nats"),
    _above("disentanglement error by prediction error (Figures 6, 8)", _xi, NON_LINEAR, ATTENTION, unit="of xi"),
    _above("disentanglement error by prediction error (Figures 6, 8)", _xi, LINEAR, ATTENTION, unit="of xi"),
    _above("addition, average over all alphas (Figure 9)", _curve, ATTENTION, NON_LINEAR),
    _above("addition, average over all alphas (Figure 9)", _curve, ATTENTION, LINEAR),
    _above("mean |cosine| of task vectors (Figure 10)", lambda s: s["cosine"], NON_LINEAR, ATTENTION, unit=""),
    _above("mean |cosine| of task vectors (Figure 10)", lambda s: s["cosine"], LINEAR, ATTENTION, unit=""),
)


def gaps(summaries: Summaries, relation: Relation) -> list[float]:
    """A relation's difference for every seed that has all of its modes, in the order of the seeds.

    Example:
        >>> relation = Relation("a above b", ("a", "b"), lambda seed: seed["a"]["x"] - seed["b"]["x"])
        >>> gaps({"a": {"0": {"x": 3.0}, "1": {"x": 4.0}}, "b": {"1": {"x": 1.0}}}, relation)
        [3.0]
    """
    if not set(relation.modes) <= summaries.keys():
        return []
    seeds = set.intersection(*(set(summaries[mode]) for mode in relation.modes))
    return [relation.gap({mode: summaries[mode][seed] for mode in relation.modes}) for seed in sorted(seeds, key=int)]


def relations_table(live: Summaries, past: Summaries) -> pd.DataFrame:
    """Does each of ``RELATIONS`` hold in this run, and in how many recorded seeds?

    Args:
        live: summaries of this run, the ablation's among them.
        past: the recorded ones; may be empty.
    """
    rows = {}
    for relation in RELATIONS:
        here, recorded = gaps(live, relation), gaps(past, relation)
        rows[relation.claim] = {
            "difference, this run": _difference(here, relation.unit),
            "holds here": ("yes" if np.mean(here) > 0 else "no") if here else MISSING,
            "difference, recorded seeds": _difference(recorded, relation.unit),
            "holds in": f"{sum(gap > 0 for gap in recorded)} of {len(recorded)} seeds" if recorded else MISSING,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _difference(values: Sequence[float], unit: str) -> str:
    if not values:
        return MISSING
    factor, places = (100, 1) if unit == "points" else (1, 3)
    mean, spread = mean_and_spread([factor * value for value in values])
    return f"{mean:+.{places}f}" + (f" ± {spread:.{places}f}" if spread is not None else "") + f" {unit}".rstrip()
