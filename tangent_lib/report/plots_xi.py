"""Heat maps of the disentanglement error xi over a plane of alphas. Imported by notebooks alone.

In a figure alpha_1 runs to the right and alpha_2 upward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from tangent_lib.disentanglement import XiGrid
from tangent_lib.runtime.errors import InputError

Number = float | int
Interval = tuple[Number, Number]
COLOUR_MAP = "cividis_r"  # light for a small error, as in the papers; lightness alone carries the order, also in grey
CASING = [patheffects.withStroke(linewidth=3.2, foreground="white")]  # a black line in it is seen on any colour
LABEL = r"disentanglement error $\xi(\alpha_1, \alpha_2)$"


@dataclass(frozen=True)
class Grid:
    """What a heat map shows: ``xi[i][j]`` is xi(alpha_1 = alphas[i], alpha_2 = alphas[j]) by one distance."""

    alphas: Sequence[Number]
    xi: Sequence[Sequence[Number]]


def grid_of(result: XiGrid, distance: str = "prediction error") -> Grid:
    """One distance out of a result of ``xi_grid``."""
    return Grid(result.alphas, result.by(distance))


def area_below(grid: Grid, level: Number, box: Interval | None = None) -> float:
    """The share of the grid's points (of those in a box) at which xi lies below a level.

    A number for what the papers show by colour alone (tangent-space paper, Section 4, Figure 3).

        |{(i, j) : xi(alpha_i, alpha_j) < level}| / |{(i, j)}|
    """
    alphas, xi = _checked(grid)
    low, high = (-np.inf, np.inf) if box is None else box
    inside = (low <= alphas) & (alphas <= high)
    if not inside.any():
        span = f"{alphas.min():g} to {alphas.max():g}"
        raise InputError(f"no alpha of the grid, {span}, lies in the box {box}: take a finer grid")
    return float((xi[np.ix_(inside, inside)] < level).mean())


def heatmaps(
    grids: Mapping[str, Mapping[str, Grid | None]],
    box: Interval | None = (0.0, 1.0),
    label: str = LABEL,
    vmax: Number | None = None,
    level: Number | None = None,
) -> Figure:
    """xi over the plane of alphas, a row of panels a mode and a column a task pair, all on one scale of colours.

    As Figures 3 and 9 to 11 of the tangent-space paper. A missing panel says "not recorded"; ``vmax`` ends the scale, by
    default at the largest value; the box of the search is outlined, and ``level`` draws the line xi = level.
    """
    columns = list(dict.fromkeys(column for row in grids.values() for column in row))
    if not columns:
        raise InputError("no grid to draw: give at least one mode with one task pair")
    checked = {row: {name: _checked(grid) for name, grid in each.items() if grid} for row, each in grids.items()}
    largest = max((xi.max() for each in checked.values() for _, xi in each.values()), default=0.0)
    vmax = (largest or 1.0) if vmax is None else vmax
    size, shape = (2.35 * len(columns) + 1.0, 2.2 * len(checked) + 0.5), (len(checked), len(columns))
    figure, axes = plt.subplots(*shape, figsize=size, dpi=200, squeeze=False, sharex=True, sharey=True)
    image = None
    for line, (row, each) in zip(axes, checked.items()):
        for axis, column in zip(line, columns):
            if column in each:
                image = _panel(axis, *each[column], box, vmax, level)
            else:
                axis.text(0.5, 0.5, "not recorded", ha="center", va="center", transform=axis.transAxes, color="#767676")
        line[0].set_ylabel(f"{row}\n" + r"$\alpha_2$")
    for axis, column in zip(axes[0], columns):
        axis.set_title(column, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel(r"$\alpha_1$")
    if image is None:
        return figure
    extend = "max" if largest > vmax else "neither"  # a pointed end where values lie beyond the scale
    bar = figure.colorbar(image, ax=axes, label=label, shrink=1 / len(checked) ** 0.5, extend=extend)
    if level is not None and level < vmax:
        bar.ax.axhline(level, color="black", linewidth=1, linestyle=":")
    return figure


def _panel(
    axis: Axes, alphas: np.ndarray, xi: np.ndarray, box: Interval | None, vmax: Number, level: Number | None
) -> AxesImage:
    """One heat map: a cell around each pair of alphas, the outlined box, the line at a level."""
    step = alphas[1] - alphas[0] if len(alphas) > 1 else 1.0
    if not np.allclose(np.diff(alphas), step) or step <= 0:
        raise InputError(f"the alphas of a heat map must rise in equal steps: got {alphas.tolist()}")
    low, high = alphas[0] - step / 2, alphas[-1] + step / 2
    # imshow draws the first index downward: transposed, the first index of xi, alpha_1, runs to the right
    image = axis.imshow(
        xi.T, origin="lower", extent=(low, high, low, high), cmap=COLOUR_MAP, vmin=0, vmax=vmax, interpolation="nearest"
    )
    if level is not None and len(alphas) > 1 and xi.min() < level < xi.max():
        axis.contour(alphas, alphas, xi.T, levels=[level], colors="black", linewidths=0.8, linestyles=":")
    if box is not None:
        outline_box(axis, box)
    axis.grid(False)
    return image


def outline_box(axis: Axes, box: Interval) -> None:
    """The square that alpha_1 and alpha_2 are searched in."""
    side = box[1] - box[0]
    outline = Rectangle((box[0], box[0]), side, side, fill=False, edgecolor="black", linewidth=1.4, zorder=4)
    outline.set_path_effects(CASING)
    axis.add_patch(outline)


def _checked(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    alphas, xi = np.asarray(grid.alphas, float), np.asarray(grid.xi, float)
    if not alphas.size:
        raise InputError("the grid is empty: it needs at least one alpha")
    if xi.shape != (len(alphas), len(alphas)):
        raise InputError(f"xi has the shape {xi.shape}, but {len(alphas)} alphas need {(len(alphas),) * 2}")
    return alphas, xi
