"""Numbers behind the heat maps of xi: areas, comparisons of modes, recorded seeds and models. Imported by notebooks alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from tangent_lib.editing import mean_and_spread
from tangent_lib.recorded import FOLDER
from tangent_lib.report.plots_xi import Grid, Interval, Number, area_below, grid_of
from tangent_lib.report.tables import MISSING

PLACES = ("whole plane", "search box")


def areas(grids: Mapping[str, Mapping[str, Grid | None]], level: Number, box: Interval = (0.0, 1.0)) -> pd.DataFrame:
    """The share of the plane, and of the search box, at which xi lies below a level, in percent.

    Args:
        grids: by row, then by column, as for ``plots_xi.heatmaps``; a missing grid gives a dash.

    Example:
        >>> grid = {"alphas": [0.0, 2.0], "xi": [[0.0, 0.3], [0.05, 0.1]]}
        >>> areas({"linear": {"Signs-Digits": grid}}, 0.1).loc["linear"].tolist()
        ['50 %', '100 %']
    """

    def cell(grid: Grid | None, place: str) -> str:
        return f"{100 * area_below(grid, level, box if place == PLACES[1] else None):.0f} %" if grid else "–"

    columns = list(dict.fromkeys(column for each in grids.values() for column in each))
    rows = {
        row: {(place, column): cell(each.get(column), place) for place in PLACES for column in columns}
        for row, each in grids.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table[[(place, column) for place in PLACES for column in columns]]


def mean_within(grid: Grid, interval: Interval) -> float:
    """The mean of xi over the grid's points with both alphas in an interval, bounds included.

    Example:
        >>> mean_within({"alphas": [0.0, 2.0], "xi": [[0.0, 0.3], [0.1, 0.8]]}, (1, 3))
        0.8
    """
    alphas = np.asarray(grid["alphas"])
    inside = (interval[0] <= alphas) & (alphas <= interval[1])
    return float(np.asarray(grid["xi"])[np.ix_(inside, inside)].mean())


def comparison(claims: Mapping[str, Callable[[str], float]], columns: Sequence[str]) -> pd.DataFrame:
    """A row a claim, a column a task pair: a difference that is positive where the claim holds, and in how many it does.

    Example:
        >>> comparison({"a above b": lambda pair: {"x": 0.2, "y": -0.1}[pair]}, ["x", "y"]).loc["a above b"].tolist()
        ['+0.200, yes', '-0.100, no', '1 of 2']
    """
    rows = {}
    for claim, difference in claims.items():
        values = {column: difference(column) for column in columns}
        cells = {column: f"{value:+.3f}, {'yes' if value > 0 else 'no'}" for column, value in values.items()}
        rows[claim] = {**cells, "holds in": f"{sum(value > 0 for value in values.values())} of {len(columns)}"}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("relation")


def diagonals(summaries: Mapping[str, Mapping[str, dict]], reference: str, pairs: Sequence[str]) -> pd.DataFrame | None:
    """The mean of xi along alpha_1 = alpha_2 within the search box, over recorded seeds, against a reference mode.

    Args:
        summaries: by mode, then by seed, with ``xi``: per pair the values along the diagonal.

    Returns:
        a row a mode; None where xi was not recorded for the reference and a second mode.

    Example:
        >>> by_seed = lambda *values: {str(s): {"xi": {"x": [0.0, value]}} for s, value in enumerate(values)}
        >>> table = diagonals({"non-linear": by_seed(0.4, 0.4), "linear": by_seed(0.2, 0.6)}, "non-linear", ["x"])
        >>> table.loc["linear"].tolist()
        ['0.200 ± 0.141', '1 of 2']
    """
    means: dict[str, dict[str, list[float]]] = {}
    for mode, by_seed in summaries.items():
        if by_seed and all(pair in summary.get("xi", {}) for summary in by_seed.values() for pair in pairs):
            seeds = sorted(by_seed, key=int)
            means[mode] = {pair: [float(np.mean(by_seed[seed]["xi"][pair])) for seed in seeds] for pair in pairs}
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
    modes: Sequence[str], pair: str, models: Sequence[str] = MINIATURES, folder: Path = FOLDER
) -> tuple[dict[str, dict[str, Grid | None]], list[str]]:
    """The recorded grids of a pair for several models (tangent-space paper, Figure 9), and where each comes from.

    Returns:
        by mode, then by model, the grid or None; and a line a model, which says so where nothing is recorded for it.
    """
    grids: dict[str, dict[str, Grid | None]] = {mode: {} for mode in modes}
    lines = []
    for model in models:
        path = folder / f"{model}.json"
        record = json.loads(path.read_text()) if path.is_file() else {}
        found = record.get("xi_grids", {})
        results = {mode: found.get(mode, {}).get(pair) for mode in modes}
        for mode, result in results.items():
            grids[mode][model] = grid_of(result) if result else None
        missing = [mode for mode, result in results.items() if not result]
        if missing:
            lines.append(f"{model}: not recorded for {', '.join(missing)}")
        if len(missing) < len(modes):
            origin = record["provenance"].get("xi_grids", record["provenance"])
            points = next(result["points"] for result in results.values() if result)
            count = " and ".join(str(number) for number in points)
            lines.append(
                f"{model}: recorded {origin['date'][:10]} at commit {origin['commit']} on {origin['machine']}; {count} points"
            )
    return grids, lines


def verdict(table: pd.DataFrame) -> str:
    """A sentence each for the relations that hold everywhere, in part, and nowhere, as Markdown.

    Args:
        table: with a line a relation and a column ``holds in`` (such as ``2 of 3``), or else ``holds here`` (yes or no).

    Example:
        >>> print(verdict(pd.DataFrame({"holds in": ["3 of 3", "1 of 3"]}, index=["a above b", "c above d"])))
        **Matched:** a above b (3 of 3).
        <BLANKLINE>
        **Matched in part:** c above d (1 of 3).
        <BLANKLINE>
        **Not matched:** none.
    """
    column = "holds in" if "holds in" in table else "holds here"
    groups: dict[str, list[str]] = {"Matched": [], "Matched in part": [], "Not matched": []}
    for relation, text in table[column].items():
        if text == MISSING:
            continue
        count, _, total = str(text).partition(" of ")
        if not total:
            count, total = str(int(text == "yes")), "1"
        times, out_of = int(count), int(total.split()[0])
        name = "Matched" if times == out_of else "Matched in part" if times else "Not matched"
        groups[name].append(f"{relation} ({text})")
    return "\n\n".join(f"**{name}:** {'; '.join(found) or 'none'}." for name, found in groups.items())


def verdict_of(checks: Mapping[str, bool | None]) -> str:
    """The same sentences for relations that are known to hold or not; None: not applicable, left out.

    Example:
        >>> verdict_of({"a above b": True, "c above d": None}).splitlines()[0]
        '**Matched:** a above b (yes).'
    """
    answers = {relation: "yes" if holds else "no" for relation, holds in checks.items() if holds is not None}
    return verdict(pd.DataFrame({"holds here": answers}, dtype=str))
