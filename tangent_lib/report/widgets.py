"""The interactive parts of `tangent_lib.report.controls` as ipywidgets, for a live notebook. Imported by notebooks alone.

A widget needs a kernel, which the built page has not. A cell that shows one therefore carries two tags:
``skip-execution`` (papermill leaves it unexecuted, so that the page shows its code alone) and ``nbval-skip``.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from ipywidgets import HTML, Dropdown, HBox, SelectionSlider, VBox, Widget

from tangent_lib.report.controls import Accuracies, Grids, Number, slider_data, xi_data

SIDE, LEFT, BAR = 300, 40, 360  # of the map: its side, its left edge and the colour bar's, in pixels


def alpha_widget(alphas: Sequence[Number], accuracies: Accuracies, title: str) -> VBox:
    """`tangent_lib.report.controls.alpha_slider` as ipywidgets: a slider over alpha, a choice of mode, a bar per task.

    Args: as `tangent_lib.report.controls.alpha_slider`.

    Raises:
        InputError: as `tangent_lib.report.controls.slider_data`.

    Example:
        >>> widget = alpha_widget([0.0, 1.0], {"linear": {"Signs": [0.4, 0.8]}}, "validation accuracy")
        >>> widget.alpha.value = 1
        >>> "80.0 %" in widget.picture.value
        True
    """
    data = slider_data(alphas, accuracies, title)
    mode = Dropdown(options=list(data["modes"]), description="mode")
    steps = _steps(data["alphas"])
    alpha = SelectionSlider(options=steps, value=round(0.3 * (len(steps) - 1)), description="α")
    return _together(lambda: bars_html(data, mode.value, alpha.value), title, mode=mode, alpha=alpha)


def xi_widget(grids: Grids, box: tuple[Number, Number] = (0, 1), title: str = "", quantity: str = "ξ") -> VBox:
    """`tangent_lib.report.controls.xi_explorer` as ipywidgets: a slider for each alpha, a choice of mode and of task pair.

    Args: as `tangent_lib.report.controls.xi_explorer`.

    Raises:
        InputError: as `tangent_lib.report.controls.xi_data`.

    Example:
        >>> widget = xi_widget({"linear": {"Signs-Digits": {"alphas": [0.0, 1.0], "xi": [[0.0, 0.2], [0.25, 0.4]]}}})
        >>> widget.alpha_1.value, widget.alpha_2.value = 1, 0
        >>> "ξ = 0.250" in widget.picture.value
        True
    """
    data = xi_data(grids, box, title, quantity)
    mode = Dropdown(options=list(data["grids"]), description="mode")
    pair = Dropdown(options=list(data["grids"][mode.value]), description="tasks")
    first = data["grids"][mode.value][pair.value]["alphas"]
    corner = min(range(len(first)), key=lambda i: abs(first[i] - data["box"][1]))
    alpha_1, alpha_2 = (SelectionSlider(options=_steps(first), value=corner, description=name) for name in ("α₁", "α₂"))

    def draw() -> str:
        pairs = data["grids"][mode.value]
        if pair.options != tuple(pairs):
            chosen = pair.value
            pair.options = list(pairs)
            pair.value = chosen if chosen in pairs else pair.options[0]
        for slider in (alpha_1, alpha_2):
            steps = _steps(pairs[pair.value]["alphas"])
            if slider.options != tuple(steps):
                slider.options = steps
        return map_html(data, mode.value, pair.value, alpha_1.value, alpha_2.value)

    return _together(draw, title, mode=mode, pair=pair, alpha_1=alpha_1, alpha_2=alpha_2)


def _steps(alphas: Sequence[float]) -> list[tuple[str, int]]:
    return [(f"{alpha:.2f}", i) for i, alpha in enumerate(alphas)]


def _together(draw: Callable[[], str], title: str, **parts: Widget) -> VBox:
    """The parts in rows of two above a picture that is drawn anew whenever one of them changes."""
    picture, widgets = HTML(draw()), list(parts.values())
    rows = [HBox(widgets[i : i + 2]) for i in range(0, len(widgets), 2)]
    whole = VBox([*rows, picture, HTML(f"<small>{html.escape(title)}</small>")])
    for part in widgets:
        part.observe(lambda change: setattr(picture, "value", draw()), names="value")
    for name, part in {**parts, "picture": picture}.items():
        setattr(whole, name, part)
    return whole


def bars_html(data: dict, mode: str, at: int) -> str:
    """A bar per task and one for their average, at one alpha. `data` as of `slider_data`.

    Example:
        >>> data = slider_data([0.0, 1.0], {"linear": {"Signs": [0.4, 0.8]}}, "")
        >>> bars_html(data, "linear", 0).count("40.0 %")
        2
    """
    values = {task: accuracies[at] for task, accuracies in data["modes"][mode].items()}
    rows = []
    for task, value in [*values.items(), ("average", data["averages"][mode][at])]:
        bar = f'<div style="height:100%;width:{value}%;background:{data["colours"][mode]}"></div>'
        rows.append(
            '<div style="display:flex;align-items:center;gap:0.6em;line-height:1.5">'
            f'<span style="width:9em">{html.escape(task)}</span>'
            f'<div style="width:20em;height:0.8em;background:#8884">{bar}</div>'
            f'<span style="white-space:nowrap">{value:.1f} %</span></div>'
        )
    return "".join(rows)


def map_html(data: dict, mode: str, pair: str, i: int, j: int) -> str:
    """The heat map of one grid as SVG, a cell of it marked and read off. `data` as of `xi_data`.

    Example:
        >>> data = xi_data({"linear": {"Signs-Digits": {"alphas": [0.0, 1.0], "xi": [[0.0, 0.2], [0.25, 0.4]]}}})
        >>> "α₁ = 1.00, α₂ = 0.00: ξ = 0.250" in map_html(data, "linear", "Signs-Digits", 1, 0)
        True
    """
    alphas, xi = (data["grids"][mode][pair][name] for name in ("alphas", "xi"))
    count, colours = len(alphas), data["colours"]
    size, step = SIDE / count, (alphas[-1] - alphas[0]) / (count - 1) if count > 1 else 1.0
    place = lambda alpha: ((alpha - alphas[0]) / step + 0.5) * size  # alphas at equal distances
    colour = lambda value: "#888888" if value is None else colours[round(value / data["top"] * (len(colours) - 1))]
    number = lambda value: "not a number" if value is None else f"{value:.3f}"
    read = lambda i, j: f"α₁ = {alphas[i]:.2f}, α₂ = {alphas[j]:.2f}: {data['quantity']} = {number(xi[i][j])}"
    square = lambda i, j: (
        f'x="{LEFT + i * size:.2f}" y="{SIDE - (j + 1) * size:.2f}" width="{size:.2f}" height="{size:.2f}"'
    )
    cells = "".join(
        f'<rect {square(i, j)} fill="{colour(xi[i][j])}"><title>{read(i, j)}</title></rect>'
        for i in range(count)
        for j in range(count)
    )
    low, high = (place(bound) for bound in data["box"])
    frame = f'x="{LEFT + low:.2f}" y="{SIDE - high:.2f}" width="{high - low:.2f}" height="{high - low:.2f}" fill="none"'
    bar = "".join(
        f'<rect x="{BAR}" y="{SIDE * (1 - (k + 1) / len(colours)):.2f}" width="14" height="5" fill="{colour}"/>'
        for k, colour in enumerate(colours)
    )
    text = lambda x, y, label: f'<text x="{x}" y="{y}" text-anchor="middle">{html.escape(label)}</text>'
    labels = [
        *(text(LEFT + place(alpha), SIDE + 16, f"{alpha:.2g}") for alpha in (alphas[0], alphas[-1])),
        *(text(LEFT - 20, SIDE - place(alpha) + 4, f"{alpha:.2g}") for alpha in (alphas[0], alphas[-1])),
        text(LEFT + SIDE / 2, SIDE + 18, "α₁") + text(LEFT - 20, SIDE / 2, "α₂"),
        text(BAR + 30, 10, f"{data['top']:.2g}")
        + text(BAR + 30, SIDE, "0")
        + text(BAR + 7, SIDE + 18, data["quantity"]),
    ]
    return (
        f'<svg width="420" height="{SIDE + 26}" fill="currentColor" font-size="12">'
        f'<g shape-rendering="crispEdges">{cells}{bar}</g>'
        f'<rect {frame} stroke="#fff" stroke-width="4"/><rect {frame} stroke="#000" stroke-width="1.6"/>'
        f'<rect {square(i, j)} fill="none" stroke="#000" stroke-width="4"/>'
        f'<rect {square(i, j)} fill="none" stroke="#fff" stroke-width="2"/>'
        f"{''.join(labels)}</svg><div><b>{html.escape(read(i, j))}</b></div>"
    )
