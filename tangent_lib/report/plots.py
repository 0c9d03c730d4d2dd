"""Figures of the notebooks. Imported by notebooks alone; every figure only draws numbers that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

STYLE = Path(__file__).resolve().parents[2] / "book" / "tangent.mplstyle"
COLOURS = {
    "zero-shot": "#767676",
    "non-linear": "#0072B2",
    "post-hoc": "#E69F00",
    "linear": "#CC3311",
    "attention-only": "#009E73",
}
HATCHES = {"zero-shot": "", "non-linear": "", "post-hoc": "//", "linear": "..", "attention-only": "xx"}
MARKERS = "osD^vP*X<>"


def use_style() -> None:
    """Take the book's style, and vector graphics in notebooks."""
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    plt.style.use(STYLE)
    set_matplotlib_formats("svg")


def image_rows(rows: Mapping[str, np.ndarray], captions: Mapping[str, Sequence[str]]) -> Figure:
    """A row of images per task, each with its class under it. Images are uint8 ``(n, 3, size, size)``."""
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(len(rows), columns, figsize=(8.5, 1.08 * len(rows)), squeeze=False)
    for line, (name, images) in zip(axes, rows.items()):
        for axis, image, caption in zip(line, images, captions[name]):
            axis.imshow(image.transpose(1, 2, 0))
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel(caption if len(caption) < 19 else caption[:17] + "…", fontsize=6, labelpad=1)
        line[0].set_ylabel(name, fontsize=6.5)
    return figure


Series = Mapping[str, Mapping[str, float]]  # by mode, then by task


def bars_per_task(series: Series, label: str, others: Mapping[str, Series] | None = None) -> Figure:
    """Grouped bars: a group a task and a last one for the average, a bar a mode. Shares in, percent drawn.

    ``others`` are the same of other models, by title; a panel each, below.
    """
    panels = {"": series, **(others or {})}
    figure, axes = plt.subplots(len(panels), figsize=(8.5, 3.1 + 2.3 * len(others or {})), squeeze=False, sharex=True)
    for axis, (title, each) in zip(axes[:, 0], panels.items()):
        _bars(axis, each)
        axis.set(ylabel=label if not title else f"{title}\n{label}", ylim=(0, 100))
        axis.yaxis.label.set_size(8 if others else 9)
    axes[0, 0].legend(ncols=len(series), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def _bars(axis: Axes, series: Series) -> None:
    tasks, width = list(next(iter(series.values()))), 0.8 / len(series)
    for i, (mode, values) in enumerate(series.items()):
        heights = [100 * values[task] for task in tasks]
        places = np.arange(len(tasks) + 1) + (i - (len(series) - 1) / 2) * width
        places[-1] += 0.3
        style = {"color": COLOURS[mode], "hatch": HATCHES[mode], "edgecolor": "white", "linewidth": 0.5}
        axis.bar(places, [*heights, np.mean(heights)], width, label=mode, **style)
    axis.set_xticks([*range(len(tasks)), len(tasks) + 0.3], [*tasks, "average"], rotation=25, ha="right")


def scatter_modes(
    models: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]], x_label: str, y_label: str
) -> Figure:
    """A colour a task, a marker a model; on the diagonal both ways are equally good. Shares in, percent drawn.

    Models are by name, for each task the horizontal and the vertical value.
    """
    figure, axis = plt.subplots(figsize=(4.8, 4.2))
    axis.plot([0, 100], [0, 100], color="#767676", linestyle="--", linewidth=1)
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for marker, (model, (x, y)) in zip(MARKERS, models.items()):
        axis.scatter([], [], marker=marker, s=42, color="black", label=model)
        for i, task in enumerate(x):
            axis.scatter(100 * x[task], 100 * y[task], marker=marker, s=42, color=colours[i % len(colours)], zorder=3)
    for i, task in enumerate(next(iter(models.values()))[0]):
        axis.scatter([], [], marker="s", s=30, color=colours[i % len(colours)], label=task)
    low = 100 * min(value for pair in models.values() for side in pair for value in side.values()) - 6
    axis.set(xlabel=x_label, ylabel=y_label, xlim=(max(0, low), 101), ylim=(max(0, low), 101), aspect="equal")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _lines(alphas: Sequence[float], series: Mapping[str, Sequence[float]], x_label: str, y_label: str) -> Figure:
    figure, axis = plt.subplots(figsize=(5.4, 3.2))
    for mode, values in series.items():
        marker = MARKERS[list(COLOURS).index(mode)]
        axis.plot(alphas, values, color=COLOURS[mode], marker=marker, markersize=3.5, label=mode)
    axis.set(xlabel=x_label, ylabel=y_label)
    axis.legend()
    return figure


def curves(alphas: Sequence[float], series: Mapping[str, Sequence[float]], label: str, chosen: Mapping[str, float]) -> Figure:
    """A line a mode over alpha, with a ring at the alpha that was chosen. Shares in, percent drawn."""
    percent = {mode: 100 * np.asarray(values) for mode, values in series.items()}
    figure = _lines(alphas, percent, r"$\alpha$", label)
    for mode in (mode for mode in series if mode in chosen):
        at = list(alphas).index(chosen[mode])
        ring = {"markersize": 11, "markerfacecolor": "none", "color": COLOURS[mode]}
        figure.axes[0].plot(alphas[at], percent[mode][at], "o", **ring)
    return figure


def error_curves(alphas: Sequence[float], series: Mapping[str, Sequence[float]]) -> Figure:
    """xi along the diagonal, a line a mode."""
    return _lines(alphas, series, r"$\alpha_1 = \alpha_2$", r"$\xi(\alpha_1, \alpha_2)$")


def matrix(names: Sequence[str], values: np.ndarray, label: str) -> Figure:
    """A square matrix of numbers, each written in its cell."""
    figure, axis = plt.subplots(figsize=(5.6, 4.8))
    off = values[~np.eye(len(names), dtype=bool)]
    image = axis.imshow(values, cmap="cividis", vmin=min(0, off.min()), vmax=off.max())
    for i, j in np.ndindex(values.shape):
        dark = values[i, j] < 0.6 * off.max()
        axis.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    axis.set_xticks(range(len(names)), names, rotation=35, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.grid(False)
    figure.colorbar(image, label=label, shrink=0.85)
    return figure


def residuals(sizes: Sequence[float], values: Sequence[float]) -> Figure:
    """The norm of f - f_lin over that of theta - theta_0, on logarithmic axes, with a line of slope 2."""
    figure, axis = plt.subplots(figsize=(5.0, 3.4))
    guide = values[-1] * (np.asarray(sizes) / sizes[-1]) ** 2
    axis.loglog(sizes, guide, color="#767676", linestyle="--", label="slope 2")
    axis.loglog(sizes, values, "o", color=COLOURS["linear"], label="measured")
    axis.set(xlabel=r"$\|\theta - \theta_0\|$", ylabel=r"$\|f - f_\mathrm{lin}\|$")
    axis.legend()
    return figure
