"""The book's own illustrations of ideas: drawn by code, from no data. Imported by notebooks alone."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from tangent_lib.report.plots import COLOURS, STYLE

INK, GREY, FROZEN = "#222222", "#767676", "#e4e4e4"
Values = np.ndarray | float
REGIONS = ((1.1, 4.3), (5.7, 8.9))  # D_1 and D_2 of the example
TASKS = ("#5D3A9B", "#A85A00")  # none of them a mode's colour
WASHES = ("#ece6f6", "#fbeedd")  # the same two, pale
ATTENTION_COLOUR = COLOURS.get("attention-only", "#009E73")


def _figure(width: float, height: float) -> Figure:
    """An empty figure in the book's style, labelled as an illustration."""
    with plt.style.context(STYLE):
        figure = plt.figure(figsize=(width, height), layout="none")
    figure.text(0.995, 0.008, "illustration, no data", ha="right", va="bottom", fontsize=8, style="italic", color=GREY)
    return figure


def _canvas(figure: Figure, box: tuple = (0.0, 0.0, 1.0, 1.0), **limits: object) -> Axes:
    """Axes without ticks or frame; ``box`` is left, bottom, width and height as shares of the figure."""
    axis = figure.add_axes(box)
    axis.set_axis_off()
    axis.set(**limits)
    return axis


def _arrow(axis: Axes, start: tuple, end: tuple, colour: str, **options: object) -> None:
    """An arrow in data coordinates."""
    options = {"arrowstyle": "-|>", "mutation_scale": 15, "linewidth": 2, "shrinkA": 0, "shrinkB": 0} | options
    axis.add_patch(FancyArrowPatch(start, end, color=colour, **options))


def _box(axis: Axes, x: float, y: float, width: float, height: float, face: str, **options: object) -> None:
    """A rounded box; ``edge`` is the colour of its border."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.06", facecolor=face,
        edgecolor=options.pop("edge", INK), **options,
    )  # fmt: skip
    axis.add_patch(shape)


def _bump(x: np.ndarray, centre: float, width: float) -> np.ndarray:
    """A smooth bump that is exactly zero from ``width`` on."""
    inside = np.clip(1 - ((x - centre) / width) ** 2, 1e-9, None)
    return np.where(inside > 1e-8, np.exp(1 - 1 / inside), 0.0)


def example(x: np.ndarray, edited: tuple[bool, bool]) -> np.ndarray:
    """A model over input space, disentangled by construction: an edit changes it in its own one of ``REGIONS`` alone.

    Tangent-space paper, Property 3.

    Example:
        >>> x = np.array([2.7, 7.3])  # the middles of D_1 and D_2
        >>> (example(x, (True, False)) - example(x, (False, False))).tolist()
        [1.05, 0.0]
    """
    before = 0.25 * np.sin(0.9 * x + 0.4) + 0.12 * np.sin(2.3 * x)
    return before + edited[0] * 1.05 * _bump(x, 2.7, 1.55) - edited[1] * 0.95 * _bump(x, 7.3, 1.55)


def _function(axis: Axes, edited: tuple[bool, bool], name: str) -> None:
    """One model over input space: both tasks' regions, theta_0 dashed, what an edit changed in its task's colour."""
    x = np.linspace(0, 10, 501)
    before, after, floor = example(x, (False, False)), example(x, edited), -1.25
    axis.axhline(floor, color=INK, linewidth=0.8)
    axis.plot(x, before, color=GREY, linewidth=1.1, linestyle=(0, (3, 2)))
    axis.plot(x, after, color=INK, linewidth=1.6, label=name)
    for t, (low, high) in enumerate(REGIONS):
        axis.axvspan(low, high, ymin=0.02, color=WASHES[t], linewidth=0)
        axis.plot([low, high], [floor, floor], color=TASKS[t], linewidth=4, solid_capstyle="butt")
        axis.text(low + 0.15, floor + 0.13, rf"$\mathcal{{D}}_{t + 1}$", color=TASKS[t], fontsize=12)
        if edited[t]:
            here = (x >= low) & (x <= high)
            axis.fill_between(x[here], before[here], after[here], color=TASKS[t], alpha=0.28, linewidth=0)
            axis.plot(x[here], after[here], color=TASKS[t], linewidth=2.8, zorder=3)
    axis.set(xlim=(0, 10), ylim=(-1.3, 1.3))
    axis.set_title(name, fontsize=10.5, color=INK, pad=3)


def weight_disentanglement() -> Figure:
    """Two task vectors, each of which changes the model in its own region of input space alone.

    Tangent-space paper, Figure 1 and Property 3; attention-only paper, Figure 1. The figure is a map of weight space, an
    axis a task vector; at four of its points stands the model found there, as a function over input space::

        f(x; theta_0 + tau_1 + tau_2) = f(x; theta_0 + tau_1) on D_1, f(x; theta_0 + tau_2) on D_2, f(x; theta_0) elsewhere
    """
    figure = _figure(7.4, 5.25)
    sheet = _canvas(figure, xlim=(0, 7.4), ylim=(0, 5.25))
    left, right, low, high, wide, tall = 0.12, 4.13, 0.3, 2.9, 3.15, 1.95
    for place, edited, name in (
        ((left, low), (False, False), r"pre-trained   $f(x;\,\theta_0)$"),
        ((right, low), (True, False), r"task 1   $f(x;\,\theta_0 + \tau_1)$"),
        ((left, high), (False, True), r"task 2   $f(x;\,\theta_0 + \tau_2)$"),
        ((right, high), (True, True), r"one unified model   $f(x;\,\theta_0 + \tau_1 + \tau_2)$"),
    ):
        _box(sheet, *place, wide, tall, "white", edge="#bdbdbd", linewidth=2 if all(edited) else 1)
        inner = (place[0] + 0.1, place[1] + 0.08, wide - 0.2, tall - 0.42)
        _function(_canvas(figure, tuple(v / size for v, size in zip(inner, (7.4, 5.25) * 2))), edited, name)
    for y in (low, high):
        _arrow(sheet, (left + wide + 0.1, y + tall / 2), (right - 0.1, y + tall / 2), TASKS[0])
        place = ((left + wide + right) / 2, y + tall / 2 + 0.1)
        sheet.text(*place, r"$+\,\tau_1$", color=TASKS[0], ha="center", fontsize=13)
    for x in (left, right):
        _arrow(sheet, (x + wide / 2, low + tall + 0.1), (x + wide / 2, high - 0.1), TASKS[1])
        place = (x + wide / 2 + 0.12, (low + tall + high) / 2)
        sheet.text(*place, r"$+\,\tau_2$", color=TASKS[1], va="center", fontsize=13)
    legend = ("arrows: steps in weight space", "boxes: the model there, over input space", "dashed: pre-trained")
    sheet.text(3.7, 5.1, "      ".join(legend), fontsize=9, color=GREY, ha="center")
    return figure


def _project(x: Values, y: Values, z: Values) -> np.ndarray:
    """Points in space on the page: seen from a fixed direction, without perspective."""
    turn, tilt = np.radians(-28), np.radians(24)
    across, back = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return np.stack([across, back * np.sin(tilt) + z * np.cos(tilt)], axis=-1)


def surface(x: Values, y: Values) -> Values:
    """The height of the curved space over its tangent plane z = 0, which it touches at the origin."""
    return -0.34 * x**2 - 0.30 * y**2 + 0.03 * x**3


def _path(axis: Axes, x: np.ndarray, y: np.ndarray, z: np.ndarray, colour: str) -> np.ndarray:
    """A path in space with an arrow head half way and a dot at its end, which is returned."""
    page = _project(x, y, z)
    half = len(page) // 2
    axis.plot(*page.T, color="white", linewidth=5.5, solid_capstyle="round", zorder=4)
    axis.plot(*page.T, color=colour, linewidth=2.6, solid_capstyle="round", zorder=5)
    _arrow(axis, tuple(page[half]), tuple(page[half + 4]), colour, mutation_scale=20, zorder=6)
    return page[-1]


def _dot(axis: Axes, point: np.ndarray, colour: str, marker: str = "o") -> None:
    axis.plot(*point, marker, color=colour, markersize=10, markeredgecolor="white", markeredgewidth=1.4, zorder=9)


def _say(axis: Axes, place: tuple, lines: tuple[str, str, str], colour: str, leader: tuple, point: np.ndarray) -> None:
    """Three lines in the margin, tied to a point: what is done, its formula, and where it takes place."""
    styles = ({"color": colour, "fontweight": "bold"}, {"color": INK, "fontsize": 12}, {"color": "#555555"})
    for line, down, style in zip(lines, (0, 0.14, 0.31), styles):
        axis.text(place[0], place[1] - down, line, va="top", zorder=10, **{"fontsize": 10, **style})
    axis.plot(*np.stack([leader, point]).T, color=GREY, linewidth=0.8, zorder=3)


def tangent_space() -> Figure:
    """The curved space N of the network's functions, its tangent space K at f(.; theta_0), and three ways to edit.

    Tangent-space paper, Figure 4 and equation 3. Surface and plane come from one formula: the plane truly touches the
    surface at theta_0, and post-hoc linearisation keeps the weights and changes the model::

        f_lin(x; theta) = f(x; theta_0) + (theta - theta_0)^T grad f(x; theta_0)
    """
    figure = _figure(7.4, 5.0)
    axis = _canvas(figure, xlim=(-2.5, 2.5), ylim=(-2.14, 1.24), aspect="equal")
    ticks = np.linspace(-1.55, 1.55, 17)
    x, y = np.meshgrid(ticks, ticks)
    page, cells = _project(x, y, surface(x, y)), list(np.ndindex(16, 16))[::-1]
    quads = [page[[i, i, i + 1, i + 1], [j, j + 1, j + 1, j]] for i, j in cells]
    height = surface(x, y)
    depth = np.array([[height[cell]] for cell in cells]) / abs(height).max()
    tint = np.array([[0.84, 0.91, 0.97]]) + depth * np.array([[0.20, 0.13, 0.08]])
    axis.add_collection(PolyCollection(quads, facecolors=tint, edgecolors="white", linewidths=0.6))
    square = 1.5 * np.array([[-1, 1, 1, -1], [-1, -1, 1, 1]])
    plane = _project(*square, np.zeros(4))
    axis.add_patch(plt.Polygon(plane, facecolor="#fdeee2", alpha=0.62, zorder=2))
    axis.add_patch(plt.Polygon(plane, facecolor="none", edgecolor="#a06a50", linewidth=1, zorder=3))
    origin, share = _project(0.0, 0.0, 0.0), np.linspace(0, 1, 60)
    tau, tau_lin = (0.05, -1.3), (1.0, 0.35)
    x, y = tau[0] * share + 0.12 * np.sin(np.pi * share), tau[1] * share
    below = _path(axis, x, y, surface(x, y), COLOURS["non-linear"])
    x, y = tau_lin[0] * share, tau_lin[1] * share + 0.12 * np.sin(np.pi * share)
    aside = _path(axis, x, y, 0 * x, COLOURS["linear"])
    above = _project(*tau, 0.0)
    axis.plot(*np.stack([below, above]).T, color=COLOURS["post-hoc"], linewidth=3, linestyle=(0, (1.2, 0.7)), zorder=5)
    for point, colour, marker in ((origin, INK, "o"), (below, COLOURS["non-linear"], "o"),
                                  (above, COLOURS["post-hoc"], "s"), (aside, COLOURS["linear"], "D")):  # fmt: skip
        _dot(axis, point, colour, marker)
    f_lin = r"$f_\mathrm{lin}(\cdot\,;\,\theta_0 + \tau%s)$"
    lines = ("non-linear fine-tuning", r"$f(\cdot\,;\,\theta_0 + \tau)$", "along the curved space")
    _say(axis, (-1.4, -1.44), lines, COLOURS["non-linear"], (-0.85, -1.41), below)
    lines = ("post-hoc linearisation", f_lin % "", r"the same $\tau$, projected onto $\mathcal{K}$")
    _say(axis, (-2.42, 1.12), lines, "#8a5f00", (-1.75, 0.62), above)
    lines = ("linear fine-tuning", f_lin % r"_\mathrm{lin}", r"within $\mathcal{K}$")
    _say(axis, (0.95, 1.12), lines, COLOURS["linear"], (1.13, 0.65), aside)
    axis.text(*origin + [-0.1, 0.05], r"pre-trained $f(\cdot\,;\,\theta_0)$", fontsize=10.5, ha="right", zorder=10)
    name = "$\\mathcal{N}$: functions $f(\\cdot\\,;\\,\\theta)$\nof the network"
    axis.text(1.05, -1.72, name, fontsize=10, color="#1f4e79")
    axis.text(-0.52, 0.5, r"$\mathcal{K}$: its tangent space", fontsize=10, color="#8a4b2c")
    return figure


def _part(axis: Axes, box: tuple, text: str, colour: str | None, twin: bool) -> None:
    """A part of the tower: coloured where it is trained, grey where frozen; a twin has its frozen theta_0 behind it."""
    x, y, width, height = box
    if twin:
        _box(axis, x - 0.07, y + 0.07, width, height, "#bdbdbd", edge="white", linewidth=1, zorder=0.85)
    _box(axis, x, y, width, height, colour or FROZEN, edge="white", linewidth=1.2)
    style = {"color": "white", "fontweight": "bold"} if colour else {"color": "#444444"}
    axis.text(x + width / 2, y + height / 2 - 0.01, text, ha="center", va="center", fontsize=10, **style)


def _tower(axis: Axes, left: float, attention: str | None, rest: str | None, twin: bool = False) -> None:
    """An image tower from patches to features, one of its blocks drawn whole; a colour a kind of weight, None for frozen."""
    x, width, middle, skip = left + 0.3, 1.86, left + 1.23, left + 0.12
    for back in (0.1, 0.05, 0):
        _box(axis, left + back, 0.9 + back, 2.24, 3.1, "white", edge="#8c8c8c", linewidth=1, zorder=0.3)
    axis.text(left + 2.27, 4.14, r"$\times L$", fontsize=10, ha="right", va="bottom", color="#555555")
    _arrow(axis, (middle, 0.3), (middle, 4.93), INK, linewidth=1.4, zorder=0.6)
    for start, end in ((1.0, 2.58), (2.7, 3.88)):
        axis.plot([middle, skip, skip, middle - 0.1], [start, start, end, end], color=GREY, linewidth=1.2, zorder=0.5)
        axis.plot(middle, end, "o", markersize=10, markerfacecolor="white", markeredgecolor=GREY, zorder=0.7)
        axis.plot(middle, end, "+", markersize=6, color=INK, zorder=0.8)
    for y, height, text, colour in (
        (0.42, 0.32, "embeddings", rest),
        (1.12, 0.24, "layer norm", rest),
        (2.08, 0.32, r"$\mathbf{W_o}$", attention),
        (2.82, 0.24, "layer norm", rest),
        (3.2, 0.5, "MLP", rest),
        (4.34, 0.32, "norm, projection", rest),
    ):
        _part(axis, (x, y, width, height), text, colour, twin)
    for i, name in enumerate("qkv"):
        _part(axis, (x + 0.635 * i, 1.49, 0.59, 0.32), rf"$\mathbf{{W_{name}}}$", attention, twin)
    axis.text(middle, 1.95, "attention", ha="center", va="center", fontsize=8.5, color=INK,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6}, zorder=0.9)  # fmt: skip


def paradigms() -> Figure:
    """Three ways to fine-tune a vision transformer: which of its weights move, and in which function.

    Attention-only paper, Figure 4. Trained weights have the colour of their mode, frozen ones are grey::

        non-linear: f(x; theta),  linear: f_lin(x; theta),  attention-only: f(x; theta) with W_q, W_k, W_v, W_o trained
    """
    figure = _figure(7.4, 5.8)
    axis = _canvas(figure, xlim=(0, 7.4), ylim=(0, 5.8))
    blue, red = COLOURS["non-linear"], COLOURS["linear"]
    around = r"all of $\theta - \theta_0$, around $\theta_0$ (grey)"
    for left, title, formula, which, colours in (
        (0.05, "non-linear", r"$f(x;\,\theta)$", "all weights", (blue, blue)),
        (2.51, "linear", r"$f_\mathrm{lin}(x;\,\theta)$", around, (red, red)),
        (4.97, "attention-only", r"$f(x;\,\theta)$", "four matrices a block, no biases", (ATTENTION_COLOUR, None)),
    ):
        _tower(axis, left, *colours, twin=title == "linear")
        for y, text, style in (
            (5.55, title, {"fontsize": 11.5, "fontweight": "bold", "color": colours[0]}),
            (5.28, formula, {"fontsize": 12}),
            (5.03, which, {"fontsize": 9, "color": "#555555"}),
        ):
            axis.text(left + 1.17, y, text, ha="center", **style)
    axis.text(0.05, 0.09, "coloured: trained      grey: frozen", fontsize=9, color="#555555")
    return figure
