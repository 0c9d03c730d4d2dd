"""Numbers behind the heat maps of xi: areas, comparisons of modes, recorded seeds and models. Imported by notebooks alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from tangent_lib.experiments.records import Summaries, read_record
from tangent_lib.modes import MINIATURES
from tangent_lib.report.plots_xi import Grid, Interval, Number, area_below
from tangent_lib.report.quantities import mean_and_spread

PLACES = ("whole plane", "search box")


def areas(grids: Mapping[str, Mapping[str, Grid | None]], level: Number, box: Interval = (0.0, 1.0)) -> pd.DataFrame:
    """The share of the plane, and of the search box, at which xi lies below a level, in percent."""

    def cell(grid: Grid | None, place: str) -> str:
        return f"{100 * area_below(grid, level, box if place == PLACES[1] else None):.0f} %" if grid else "–"

    columns = list(dict.fromkeys(column for each in grids.values() for column in each))
    rows = {
        row: {(place, column): cell(each.get(column), place) for place in PLACES for column in columns}
        for row, each in grids.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def mean_within(grid: Grid, interval: Interval) -> float:
    """The mean of xi over the grid's points with both alphas in an interval, bounds included."""
    alphas = np.asarray(grid.alphas)
    inside = (interval[0] <= alphas) & (alphas <= interval[1])
    return float(np.asarray(grid.xi)[np.ix_(inside, inside)].mean())


def diagonals(summaries: Summaries, reference: str, pairs: Sequence[str]) -> pd.DataFrame | None:
    """The mean of xi along alpha_1 = alpha_2 within the search box, over recorded seeds, against a reference mode.

    None where xi was not recorded for the reference and a second mode.
    """
    means: dict[str, dict[str, list[float]]] = {}
    for mode, by_seed in summaries.items():
        if by_seed and all(pair in (summary.xi or {}) for summary in by_seed.values() for pair in pairs):
            seeds = sorted(by_seed, key=int)
            means[mode] = {pair: [float(np.mean(by_seed[seed].xi[pair])) for seed in seeds] for pair in pairs}
    if reference not in means or len(means) < 2:
        return None
    rows = {}
    for mode, values in means.items():
        rows[mode] = {}
        for pair in pairs:
            mean, spread = mean_and_spread(values[pair])
            lower = [a < b for a, b in zip(values[pair], means[reference][pair])]
            rows[mode][(pair, "mean xi")] = f"{mean:.3f}" if spread is None else f"{mean:.3f} ± {spread:.3f}"
            rows[mode][(pair, f"below {reference}")] = "–" if mode == reference else f"{sum(lower)} of {len(lower)}"
    return pd.DataFrame.from_dict(rows, orient="index")


def recorded_grids(
    modes: Sequence[str], pair: str, models: Sequence[str] = MINIATURES
) -> tuple[dict[str, dict[str, Grid | None]], list[str]]:
    """The recorded grids of a pair for several models (tangent-space paper, Figure 9), and where each comes from.

    Grids are by mode, then by model; a line a model says so where nothing is recorded for it.
    """
    grids: dict[str, dict[str, Grid | None]] = {mode: {} for mode in modes}
    lines = []
    for model in models:
        record = read_record(model)
        found = record.xi_grids if record else {}
        results = {mode: found.get(mode, {}).get(pair) for mode in modes}
        for mode, result in results.items():
            grids[mode][model] = Grid(result.alphas, result.prediction_error) if result else None
        missing = [mode for mode, result in results.items() if not result]
        if missing:
            lines.append(f"{model}: not recorded for {', '.join(missing)}")
        if len(missing) < len(modes):
            origin = record.provenance["xi_grids"]
            count = " and ".join(str(number) for number in next(result.points for result in results.values() if result))
            lines.append(
                f"{model}: recorded {origin['date'][:10]} at commit {origin['commit']} on {origin['machine']}; {count} points"
            )
    return grids, lines
