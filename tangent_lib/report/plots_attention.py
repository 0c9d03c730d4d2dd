"""Figures of the attention-only paper. Imported by notebooks alone; every figure only draws numbers that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from tangent_lib.disentanglement import XiGrid
from tangent_lib.experiment import Cosines
from tangent_lib.report.plots_xi import COLOUR_MAP, outline_box
from tangent_lib.runtime.errors import InputError

SHAPES = "o^sD"
_ROWS = {  # of Experiment.xi_grid, to row and colour bar
    "KL divergence": ("representation", r"$\xi$, KL divergence (nats)"),
    "prediction error": ("classifier", r"$\xi$, prediction error"),
}
Points = Mapping[str, tuple[float, float]]  # by name, x and y as shares


def against(
    groups: Mapping[str, Points], colours: Mapping[str, str], x_label: str, y_label: str, name_points: bool = False
) -> Figure:
    """Accuracy against accuracy: a colour and a marker a group, a small marker a point, a large one for the average.

    On the dashed diagonal both are equal (attention-only paper, Figures 3 and 5).
    """
    values = [value for points in groups.values() for pair in points.values() for value in pair]
    if not values:
        raise InputError("nothing to draw: give at least one group with one point")
    figure, axis = plt.subplots(figsize=(5.6, 3.9))
    low, high = 100 * min(values) - 4, min(101, 100 * max(values) + 4)
    axis.plot([low, high], [low, high], color="#767676", linestyle="--", linewidth=1, label="equal accuracy")
    for shape, (group, points) in zip(SHAPES, groups.items()):
        x, y = 100 * np.array(list(points.values())).reshape(-1, 2).T
        axis.scatter(x, y, marker=shape, s=34, color=colours[group], label=group, zorder=3)
        if name_points:
            for name, place in zip(points, zip(x, y)):
                axis.annotate(name, place, xytext=(6, -4), textcoords="offset points", fontsize=7)
        elif len(points):
            large = {"s": 150, "color": colours[group], "edgecolor": "black", "zorder": 4}
            axis.scatter(x.mean(), y.mean(), marker=shape, label=f"{group}, average", **large)
    axis.set(xlabel=x_label, ylabel=y_label, xlim=(low, high), ylim=(low, high), aspect="equal")
    axis.legend(fontsize=7, labelspacing=0.9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def xi_by_distance(grids: Mapping[str, XiGrid], box: tuple[float, float] = (0.0, 1.0)) -> Figure:
    """xi over the plane of alphas: a column a mode, a row a distance (attention-only paper, Figures 6 and 8).

    Nats and shares of points have no common unit, so each row has its own scale of colours; within a row all panels share it.
    alpha_1 runs to the right, alpha_2 upward.
    """
    if not grids:
        raise InputError("no grid to draw: give at least one mode")
    size, shared = (2.35 * len(grids) + 1.0, 2.25 * len(_ROWS) + 0.3), {"sharex": True, "sharey": True}
    figure, axes = plt.subplots(len(_ROWS), len(grids), figsize=size, dpi=200, squeeze=False, **shared)
    for line, (distance, (row, label)) in zip(axes, _ROWS.items()):
        vmax = max(np.max(grid.by(distance)) for grid in grids.values()) or 1.0
        for axis, grid in zip(line, grids.values()):
            alphas, xi = np.asarray(grid.alphas), np.asarray(grid.by(distance))
            # pcolormesh takes columns from the second index: transposed, the first index of xi, alpha_1, runs to the right
            style = {"cmap": COLOUR_MAP, "vmin": 0, "vmax": vmax, "shading": "nearest", "rasterized": True}
            mesh = axis.pcolormesh(alphas, alphas, xi.T, **style)
            outline_box(axis, box)
            axis.set(aspect="equal")
            axis.grid(False)
        line[0].set_ylabel(f"{row}\n" + r"$\alpha_2$")
        figure.colorbar(mesh, ax=line, label=label, shrink=0.9)
    for axis, mode in zip(axes[0], grids):
        axis.set_title(mode, fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel(r"$\alpha_1$")
    return figure


def cosine_matrices(matrices: Mapping[str, Cosines]) -> Figure:
    """The cosine similarities of task vectors, a panel a mode on one scale of colours (attention-only paper, Figure 10).

    The diagonal, always one, is left empty, so that it does not set the scale.
    """
    if not matrices:
        raise InputError("no matrix to draw: give at least one mode")
    shown = {mode: _off_diagonal(matrix.tasks, matrix.cosines) for mode, matrix in matrices.items()}
    high = max(np.abs(values).max() for values in shown.values()) or 1.0
    low = min(0.0, *(values.min() for values in shown.values()))
    size = (2.75 * len(shown) + 0.6, 3.7)
    figure, axes = plt.subplots(1, len(shown), figsize=size, dpi=200, squeeze=False, sharey=True)
    for axis, (mode, values) in zip(axes[0], shown.items()):
        image = axis.imshow(values, cmap=COLOUR_MAP, vmin=low, vmax=high, interpolation="nearest")
        for i, j in zip(*np.nonzero(~values.mask)):
            light = (values[i, j] - low) / (high - low) < 0.55
            text = f"{round(values[i, j], 2) + 0.0:.2f}".replace("0.", ".")  # adding 0.0 turns -0.0 into 0.0
            axis.text(j, i, text, ha="center", va="center", fontsize=6, color="black" if light else "white")
        tasks = matrices[mode].tasks
        axis.set_xticks(range(len(tasks)), tasks, rotation=90, fontsize=7)
        axis.set_yticks(range(len(tasks)), tasks, fontsize=7)
        axis.set_title(mode, fontsize=9)
        axis.grid(False)
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.7)
    return figure


def _off_diagonal(tasks: Sequence[str], cosines: Sequence[Sequence[float]]) -> np.ma.MaskedArray:
    values = np.asarray(cosines, float)
    if len(tasks) < 2 or values.shape != (len(tasks),) * 2:
        raise InputError(f"cosines of the shape {values.shape} for {len(tasks)} tasks: give two tasks or more, and a square")
    return np.ma.masked_array(values, mask=np.eye(len(tasks), dtype=bool))


def pairs(x: Mapping[str, float], y: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Two measures of the same things as points."""
    return {name: (float(x[name]), float(y[name])) for name in x}
