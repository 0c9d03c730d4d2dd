"""Interactive parts of a page. Imported by notebooks alone.

They are plain HTML with a small script: they work in the built page, without a kernel or a network, and in a live
notebook too.
"""

from __future__ import annotations

import base64
import hashlib
import html
import itertools
import json
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib import colormaps
from matplotlib.colors import to_hex

from tangent_lib.experiments.records import as_json
from tangent_lib.report.plots import COLOURS
from tangent_lib.report.plots_xi import Grid, Number
from tangent_lib.report.quantities import NONE
from tangent_lib.runtime.errors import InputError

_FOLDER = Path(__file__).parent
# the colours of the static heat maps
_COLOURS = [to_hex(colour) for colour in colormaps["cividis_r"](np.linspace(0, 1, 65))]
_Accuracies = Mapping[str, Mapping[str, Sequence[Number]]]
_Grids = Mapping[str, Mapping[str, Grid]]
_counter = itertools.count()


def alpha_slider(alphas: Sequence[Number], accuracies: _Accuracies, title: str, save_as: str = "") -> HTML:
    """A slider over alpha and a choice of mode, with a bar per task and one for their average.

    Accuracies are shares, by mode, then by task, one an alpha. Under ``save_as`` the data are offered for download.
    """
    if not alphas or not accuracies or not all(accuracies.values()):
        raise InputError("a slider over alpha needs at least one alpha, one mode and one task in each mode")
    for mode, tasks in accuracies.items():
        for task, values in tasks.items():
            if len(values) != len(alphas):
                counts = f"{len(values)} accuracies for {len(alphas)} alphas"
                raise InputError(f"{mode}, {task}: {counts}; give one an alpha")
    percent = lambda values: [round(100 * float(value), 1) for value in values]
    data = {
        "alphas": [round(float(alpha), 6) for alpha in alphas],
        "title": title,
        "colours": {mode: COLOURS.get(mode, COLOURS["non-linear"]) for mode in accuracies},
        "modes": {mode: {task: percent(each) for task, each in tasks.items()} for mode, tasks in accuracies.items()},
        "averages": {mode: percent(np.mean(list(tasks.values()), axis=0)) for mode, tasks in accuracies.items()},
    }
    return _control("slider", data, {"alphas": list(alphas), "accuracies": accuracies, "title": title}, save_as)


def xi_explorer(
    grids: _Grids, box: tuple[Number, Number] = (0, 1), title: str = "", quantity: str = "ξ", save_as: str = ""
) -> HTML:
    """A heat map of xi(alpha_1, alpha_2) to read values off, with a choice of mode and task pair; one scale for all.

    Tangent-space paper, equation 6 and Figures 3 and 10. alpha_1 runs to the right and alpha_2 upward; ``box`` is the
    interval of the search, drawn as a frame.
    """
    if not grids or not all(grids.values()):
        raise InputError("an explorer of xi needs at least one mode, and one task pair in each mode")
    if not box[0] < box[1]:
        raise InputError(f"the search box {tuple(box)} is empty: give (lowest alpha, highest alpha)")
    rounded = {mode: {pair: _grid(mode, pair, grid) for pair, grid in pairs.items()} for mode, pairs in grids.items()}
    rows = [row for pairs in rounded.values() for grid in pairs.values() for row in grid["xi"]]
    data = {
        "grids": rounded,
        "box": [float(bound) for bound in box],
        "title": title,
        "quantity": quantity,
        "colours": _COLOURS,
        "top": max((value for row in rows for value in row if value is not None), default=0) or 1.0,
    }
    return _control("xi_explorer", data, grids, save_as)


def _grid(mode: str, pair: str, grid: Grid) -> dict[str, list]:
    alphas, values = [round(float(alpha), 6) for alpha in grid.alphas], grid.xi
    if not alphas or len(values) != len(alphas) or any(len(row) != len(alphas) for row in values):
        shape = f"{len(values)} rows of {sorted({len(row) for row in values})} values for {len(alphas)} alphas"
        raise InputError(f"{mode}, {pair}: {shape}; give one row an alpha_1, one value an alpha_2")
    if any(left >= right for left, right in itertools.pairwise(alphas)):
        raise InputError(f"{mode}, {pair}: the alphas {alphas} do not rise; sort them")
    number = lambda value: round(float(value), 3) if math.isfinite(value) else None
    return {"alphas": alphas, "xi": [[number(value) for value in row] for row in values]}


def sortable(table: pd.DataFrame, caption: str = "", save_as: str = "") -> HTML:
    """A table that is sorted by a column at a click on its (lowest) header: up, down, then as it was.

    A cell that begins with a number, such as ``60.7 ± 0.4``, counts as that number; dashes come last either way.
    """
    if not len(table.columns):
        raise InputError("a table to sort needs at least one column")
    head = "".join(f"<tr>{row}</tr>\n" for row in _header_rows(table))
    body = ""
    for index, cells in zip(table.index, table.itertuples(index=False, name=None)):
        names = "".join(f"<th>{_cell(name)}</th>" for name in _levels(index))
        body += f"<tr>{names}{''.join(f'<td>{_cell(value)}</td>' for value in cells)}</tr>\n"
    title = f"<caption>{html.escape(caption)}</caption>\n" if caption else ""
    text = f'<table class="dataframe">\n{title}<thead>\n{head}</thead>\n<tbody>\n{body}</tbody>\n</table>'
    link = _link(table, save_as) if save_as else ""
    return HTML(_fill("sortable", text, TABLE=text) + link)


def _levels(label: Hashable) -> tuple:
    return label if isinstance(label, tuple) else (label,)


def _header_rows(table: pd.DataFrame) -> list[str]:
    """The cells of each level of the header; equal neighbours share a cell, in all levels but the last."""
    columns, depth, rows = [_levels(column) for column in table.columns], table.columns.nlevels, []
    for level in range(depth):
        last = level == depth - 1
        cells = "".join(f"<th>{'' if name is None or not last else _cell(name)}</th>" for name in table.index.names)
        if last:
            cells += "".join(f"<th>{_cell(column[level])}</th>" for column in columns)
        else:
            for label, group in itertools.groupby(columns, key=lambda column: column[: level + 1]):
                cells += f'<th colspan="{len(list(group))}" scope="colgroup">{_cell(label[level])}</th>'
        rows.append(cells)
    return rows


def _cell(value: object) -> str:
    if value is None or (pd.api.types.is_scalar(value) and pd.isna(value)):
        return NONE
    return html.escape(f"{value:g}" if isinstance(value, float) else str(value), quote=False)


def download_link(data: Mapping | Sequence | pd.DataFrame, name: str) -> HTML:
    """A link that saves the data of a figure: a table as CSV, anything else as JSON. The data are in the page itself."""
    return HTML(_fill("", "") + _link(data, name))


def _link(data: Mapping | Sequence | pd.DataFrame, name: str) -> str:
    if not name or not all(letter.isascii() and (letter.isalnum() or letter in "-_.") for letter in name):
        raise InputError(f"'{name}' cannot be the name of a file: use letters, digits, -, _ and .")
    if isinstance(data, pd.DataFrame):
        table, kind, ending, what = data.copy(), "text/csv", "csv", "table"
        table.columns = [" / ".join(str(part) for part in _levels(column)) for column in table.columns]
        content = table.to_csv(lineterminator="\n")
    else:
        kind, ending, what = "application/json", "json", "figure"
        content = json.dumps(_plain(data), ensure_ascii=False, separators=(",", ":"))
    raw = content.encode()
    size = f"{max(1, round(len(raw) / 1000))} kB"
    link = f'href="data:{kind};charset=utf-8;base64,{base64.b64encode(raw).decode()}"'
    return (
        f'<p class="tangent-download"><a download="{name}.{ending}" {link}>'
        f"data of this {what} ({ending.upper()}, {size})</a></p>\n"
    )


def _plain(data: object) -> object:
    """The same data as JSON knows them: no arrays, no numpy numbers, null for what is not finite."""
    if is_dataclass(data):
        data = as_json(data)
    if isinstance(data, Mapping):
        return {str(key): _plain(value) for key, value in data.items()}
    if isinstance(data, np.ndarray | np.generic):
        return _plain(data.tolist())
    if isinstance(data, Sequence) and not isinstance(data, str | bytes):
        return [_plain(value) for value in data]
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if data is None or isinstance(data, str | int):
        return data
    kind = type(data).__name__
    raise InputError(f"{kind} cannot be offered for download: give numbers, texts, mappings and sequences")


def _control(template: str, data: dict, plain: Mapping, save_as: str) -> HTML:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return HTML(_fill(template, text, DATA=text) + (_link(plain, save_as) if save_as else ""))


def _fill(template: str, content: str, **values: str) -> str:
    """The shared style and a template, under a name that no other output of this notebook has."""
    page = (_FOLDER / "controls.html").read_text()
    if template:
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        page += (_FOLDER / f"{template}.html").read_text().replace("@NAME@", f"{template}-{digest}-{next(_counter)}")
    for key, value in values.items():
        page = page.replace(f"@{key}@", value)
    return page
