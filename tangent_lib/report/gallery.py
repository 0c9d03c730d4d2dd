"""The gallery: every figure and table of the papers that concerns image models, and where it stands in this book.

``tangent gallery`` writes ``gallery.md`` and its thumbnails beside the executed notebooks, and runs none. A row whose
counterpart does not exist is an error.
"""

from __future__ import annotations

import base64
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path
from shutil import rmtree

import nbformat

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

EXECUTED = ROOT / "book" / "executed"
PAPERS = {"S1": ("tangent-space paper", "ortizjimenez2023tangent"), "S2": ("attention-only paper", "jin2024attention")}
WIDTH, HEIGHT, HEAVIEST = 340, 230, 150_000  # of a thumbnail: its frame in pixels, and the most bytes it may have
NONLINEAR, XI, LINEAR, NTK = "03_nonlinear_advantage", "04_disentanglement", "05_linear_ft", "06_ntk_localization"
RANDOM, ATTENTION = "07_random_init", "08_attention_only"


@dataclass(frozen=True)
class Counterpart:
    """An item of a paper, and the label of the figure, table or section of a page here that stands for it."""

    paper: str
    item: str
    title: str
    page: str
    label: str
    note: str = ""
    illustration: bool = False


@dataclass(frozen=True)
class Target:
    """A label of a page: its cell, from 1, and the outputs that a thumbnail can be drawn from."""

    page: str
    cell: int
    outputs: Sequence[dict]


COUNTERPARTS = [
    Counterpart("S1", "Figure 1", "What weight disentanglement is", XI, "fig-disentanglement-idea", illustration=True),
    Counterpart("S1", "Figure 2", "Non-linear models against their linearisation", NONLINEAR, "fig-advantage"),
    Counterpart("S1", "Figure 3", "Disentanglement error over both alphas", XI, "fig-xi-pairs"),
    Counterpart("S1", "Figure 4", "The tangent space of functions", LINEAR, "fig-tangent-space-idea", illustration=True),
    Counterpart("S1", "Figure 5", "Non-linear against linear fine-tuning", LINEAR, "fig-linear"),
    Counterpart("S1", "Figure 6", "Localised eigenfunctions", NTK, "fig-local-energy"),
    Counterpart("S1", "Figure 7", "Single-task accuracy", LINEAR, "fig-single"),
    Counterpart("S1", "Figure 8", "Accuracy per task after addition", LINEAR, "fig-addition"),
    Counterpart("S1", "Figure 9", "Disentanglement and model scale", XI, "fig-xi-scale", "three miniatures"),
    Counterpart("S1", "Figure 10", "Disentanglement of linear fine-tuning", XI, "fig-xi-pairs", "with the paper's Figure 3"),
    Counterpart("S1", "Figure 11", "Disentanglement from random weights", RANDOM, "fig-xi-random"),
    Counterpart("S1", "Figure 14", "Localised eigenfunctions, more tasks", NTK, "fig-local-energy"),
    Counterpart("S1", "Figure 15", "Eigenfunctions from random weights", NTK, "fig-local-energy-random"),
    Counterpart("S1", "Figure 16", "Single-task accuracy from random weights", RANDOM, "fig-random-single"),
    Counterpart("S1", "Table 1", "Task addition", LINEAR, "tab-addition"),
    Counterpart("S1", "Table 2", "Task negation", LINEAR, "tab-negation"),
    Counterpart("S1", "Table 3", "Task addition from random weights", RANDOM, "tab-random-init"),
    Counterpart("S1", "Proposition 1", "Localised eigenfunctions suffice", NTK, "fig-ring", "shown on a ring"),
    Counterpart("S1", "Proposition 2", "The same, stated formally", NTK, "fig-ring", "shown on a ring"),
    Counterpart("S1", "Proposition 3", "When localisation is necessary", NTK, "fig-ring", "shown on a ring"),
    Counterpart("S1", "Appendix B", "Linearising a model in code", LINEAR, "sec-listing", "with Listing 1"),
    Counterpart("S2", "Figure 1", "Task vectors added up", XI, "fig-disentanglement-idea", illustration=True),
    Counterpart("S2", "Figure 3", "The test of kernel behaviour", ATTENTION, "fig-kernel-behaviour"),
    Counterpart("S2", "Figure 4", "Three ways to fine-tune", ATTENTION, "fig-paradigms", illustration=True),
    Counterpart("S2", "Figure 5", "Average single-task accuracy", ATTENTION, "fig-attention-single-average"),
    Counterpart("S2", "Figure 6", "Error of features and of predictions", ATTENTION, "fig-xi-attention"),
    Counterpart("S2", "Figure 7", "Single-task accuracy", ATTENTION, "fig-attention-single"),
    Counterpart("S2", "Figure 8", "Error of both, another pair", ATTENTION, "fig-xi-attention-2"),
    Counterpart("S2", "Figure 9", "Sensitivity to alpha", ATTENTION, "fig-alpha-sensitivity"),
    Counterpart("S2", "Figure 10", "Cosines of task vectors", ATTENTION, "fig-cosines"),
    Counterpart("S2", "Table 2", "Task addition", ATTENTION, "tab-attention-addition"),
    Counterpart("S2", "Table 4", "Parameters, memory and time", ATTENTION, "tab-efficiency", "the paper names no model"),
    Counterpart("S2", "Table 5", "Which weights to train", ATTENTION, "tab-ablation"),
]
LEFT_OUT = [  # paper, item, title, why it has no counterpart here
    ("S1", "Table 4", "Addition with a ConvNeXt", "a convolutional network; the miniatures are transformers"),
    ("S1", "Table 5", "Addition without a text tower", "a closed vocabulary; this book has CLIP only"),
    ("S1", "Figure 12", "Disentanglement of a ConvNeXt and of T5", "other architectures, and text"),
    ("S1", "Figure 13", "Disentanglement with a closed vocabulary", "the model of Table 5"),
    ("S2", "Table 1", "Methods, with ticks", "a summary of Table 2, without numbers of its own"),
    ("S2", "Figure 2", "The paper's line of thought", "a flow chart, which shows no result"),
    ("S2", "Table 3", "Addition of language models", "text models; this book is about images"),
]
INTRODUCTION = """# Gallery: the papers' figures beside this book's

Each card leads to what stands here for a figure, a table or a proposition of the two papers. What the cards show was computed
with the model that the pages were run with, by default a miniature, unless it is labelled as a paper's or as an illustration.
Below, the same as a list, with what was left out and why.
"""


def find_targets(folder: Path) -> dict[str, Target]:
    """Every label that a page of ``folder`` can be linked by.

    Args:
        folder: where the notebooks lie.

    Returns:
        By label: its page and outputs; those of the next code cell for the label of a heading.

    Raises:
        InputError: if two places have one label.

    Example:
        >>> find_targets(ROOT / "notebooks")["fig-linear"].page
        '05_linear_ft'
    """
    found: dict[str, Target] = {}
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        for place, cell in enumerate(cells):
            if cell.cell_type == "code":
                labels, source = [cell.metadata.get("mystnb", {}).get("figure", {}).get("name")], cell
            else:
                labels = re.findall(r"^(?:\(|:name: +|:label: +)([\w-]+)(?:\)=)?\s*$", cell.source, re.MULTILINE)
                source = next((c for c in cells[place:] if c.cell_type == "code"), {})
            for label in filter(None, labels):
                if label in found:
                    places = f"{found[label].page} and in {path.stem}"
                    raise InputError(f"label '{label}' stands in {places}; rename one: a label of the book is unique")
                found[label] = Target(path.stem, place + 1, source.get("outputs", []))
    return found


def check_targets(found: dict[str, Target], rows: Sequence[Counterpart] = tuple(COUNTERPARTS)) -> None:
    """Refuse a gallery with rows that lead nowhere.

    Raises:
        InputError: naming every row whose label its page lacks.

    Example:
        >>> check_targets({}, [Counterpart("S1", "Figure 5", "", "05_linear_ft", "fig-linear")])
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: the gallery lacks tangent-space paper, Figure 5: ...
    """
    missing = [row for row in rows if row.label not in found or found[row.label].page != row.page]
    if missing:
        names = "\n".join(f"  {PAPERS[row.paper][0]}, {row.item}: no '{row.label}' in {row.page}" for row in missing)
        raise InputError(f"the gallery lacks\n{names}\nName the figure so in its notebook, and run it: make report")


def light_svg(text: str) -> str:
    """An SVG as a thumbnail: fitted into the common frame on white, one decimal a coordinate, no comments or metadata.

    Example:
        >>> light_svg('<svg height="9pt" viewBox="0 0 9 9" width="9pt"><path d="M 1.2345 2 L 3.5555 4"/></svg>')
        '<svg width="340" height="230" style="background:#fff" viewBox="0 0 9 9"><path d="M 1.2 2 L 3.6 4"/></svg>'
    """
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<\?xml.*?\?>|<!DOCTYPE.*?>", "", text, flags=re.DOTALL)
    rounded = lambda path: re.sub(r"-?\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}", " ".join(path.split()))
    text = re.sub(r'(?<=\s)(d|points)="([^"]*)"', lambda found: f'{found[1]}="{rounded(found[2])}"', text)
    root, rest = re.fullmatch(r"(.*?<svg\b[^>]*)(>.*)", text.strip(), re.DOTALL).groups()
    root = re.sub(r'\s+(?:width|height|style)="[^"]*"', "", root)
    return root.replace("<svg", f'<svg width="{WIDTH}" height="{HEIGHT}" style="background:#fff"', 1) + rest


def table_cells(page: str) -> list[tuple[int, int, int, str, bool]]:
    """The first table of some HTML as ``(row, column, columns it spans, text, is_heading)``.

    Example:
        >>> table_cells('<table><tr><th rowspan="2">mode</th><td>1</td></tr> <tr><td><b>2</b></td></tr></table>')
        [(0, 0, 1, 'mode', True), (0, 1, 1, '1', False), (1, 1, 1, '2', False)]
    """
    cells, taken = [], set()
    table = re.search(r"<table.*?</table>", page, re.DOTALL)[0]
    for r, row in enumerate(re.findall(r"<tr\b.*?</tr>", table, re.DOTALL)):
        for kind, attributes, text in re.findall(r"<(t[dh])\b([^>]*)>(.*?)</\1>", row, re.DOTALL):
            spans = [re.search(rf'{name}="?(\d+)', attributes) for name in ("rowspan", "colspan")]
            rows, columns = (int(span[1]) if span else 1 for span in spans)
            c = next(c for c in itertools.count() if (r, c) not in taken)
            taken |= set(itertools.product(range(r, r + rows), range(c, c + columns)))
            cells.append((r, c, columns, unescape(" ".join(re.sub("<[^>]*>", "", text).split())), kind == "th"))
    return cells


def _card(lines: Sequence[tuple], size: float) -> str:
    """A white card with text: ``(x, y, style, text)`` a line."""
    words = "".join(f'<text x="{x:.0f}" y="{y:.0f}" {style}>{escape(text)}</text>' for x, y, style, text in lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'style="background:#fff" font-family="sans-serif" font-size="{size:.1f}" fill="#222">{words}</svg>'
    )


def table_card(page: str) -> str:
    """The upper left of an HTML table as a small SVG.

    Example:
        >>> re.findall(">([^<>]+)<", table_card("<table><tr><th>mode</th><td>70.8</td></tr></table>"))
        ['mode', '70.8']
    """
    cells = [cell for cell in table_cells(page) if cell[0] < 9 and cell[1] < 5]
    wide = [max([0, *(2 + min(len(t), 16) for _, c, n, t, _ in cells if (c, n) == (column, 1))]) for column in range(5)]
    size = min(13.0, 1.65 * WIDTH / max(sum(wide), 1))
    style = ["", 'font-weight="bold"']
    at = lambda r, c: (10 + 0.58 * size * sum(wide[:c]), 28 + 2.0 * size * r)
    return _card([(*at(r, c), style[th], t[: sum(wide[c : c + span]) - 2]) for r, c, span, t, th in cells], size)


def thumbnail(target: Target) -> tuple[str, bytes]:
    """The picture of a target: its SVG or PNG, its table, or the first lines of its text.

    Returns:
        The ending of the file, and its content, of at most ``HEAVIEST`` bytes.

    Raises:
        InputError: if nothing can be drawn, as where a cell was not run.
    """
    data = {kind: content for output in target.outputs for kind, content in output.get("data", {}).items()}
    if "image/svg+xml" in data:
        picture = ".svg", light_svg(data["image/svg+xml"]).encode()
    elif "image/png" in data:
        picture = ".png", base64.b64decode(data["image/png"])
    elif "<table" in data.get("text/html", ""):
        picture = ".svg", table_card(data["text/html"]).encode()
    elif "text/markdown" in data:
        text = [line for line in data["text/markdown"].splitlines() if not line.startswith("```")][:16]
        mono = 'font-family="monospace" xml:space="preserve"'
        picture = ".svg", _card([(10, 22 + 13 * i, mono, line[:60]) for i, line in enumerate(text)], 9.0).encode()
    else:
        raise InputError(f"{target.page}, cell {target.cell}: no picture, table or text for the gallery; run the notebook")
    if len(picture[1]) > HEAVIEST:
        return ".svg", _card([(WIDTH / 2, HEIGHT / 2, 'text-anchor="middle"', "too heavy for a preview")], 14.0).encode()
    return picture


def write_gallery(folder: Path = EXECUTED) -> Path:
    """Write ``gallery.md`` and ``thumbnails/`` into the folder of the executed notebooks.

    Returns:
        The page's path.

    Raises:
        InputError: if a counterpart does not exist there.
    """
    found = find_targets(folder)
    check_targets(found)
    rmtree(folder / "thumbnails", ignore_errors=True)
    (folder / "thumbnails").mkdir()
    files = {}
    for label in dict.fromkeys(row.label for row in COUNTERPARTS):
        ending, content = thumbnail(found[label])
        files[label] = f"thumbnails/{label}{ending}"
        (folder / files[label]).write_bytes(content)
    (folder / "gallery.md").write_text(page_text(files))
    return folder / "gallery.md"


def _link(row: Counterpart) -> str:
    return f"{{ref}}`{row.label}`" if row.label.startswith("sec-") else f"{{numref}}`{row.label}`"


def page_text(files: dict[str, str]) -> str:
    """The page in MyST, from the thumbnail's path by label."""
    lines = [INTRODUCTION]
    for paper, (name, _) in PAPERS.items():
        lines += [f"## Of the {name}\n", "::::{grid} 1 2 3 3", ":gutter: 3\n"]
        for row in (row for row in COUNTERPARTS if row.paper == paper):
            kind = ", an illustration without data" if row.illustration else ""
            lines += [
                f":::{{grid-item-card}} {row.item}", f":img-top: {files[row.label]}", f":img-alt: thumbnail of: {row.title}",
                f":link: {row.label}", ":link-type: ref", f":link-alt: {name}, {row.item}: its counterpart here",
                f":footer: here: {_link(row)}{kind}\n", row.title, ":::\n",
            ]  # fmt: skip
        lines += ["::::\n"]
    lines += ["## Every figure and table, and where it stands here\n"]
    for paper, (name, key) in PAPERS.items():
        lines += [f"### {name.capitalize()}\n", f"{{cite}}`{key}`\n"]
        lines += ["| in the paper | what it shows | in this book | page | note |", "|---|---|---|---|---|"]
        for row in (row for row in COUNTERPARTS if row.paper == paper):
            note = "illustration, drawn without data" if row.illustration else row.note
            lines += [f"| {row.item} | {row.title} | {_link(row)} | {{doc}}`{row.page}` | {note} |"]
        lines += [f"| {item} | {title} | – | – | left out: {why} |" for of, item, title, why in LEFT_OUT if of == paper]
        lines += [""]
    return "\n".join(lines)
