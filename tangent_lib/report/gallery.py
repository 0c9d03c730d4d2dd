"""The gallery: every figure and table of the papers that concerns image models, and where it stands in this book.

``python -m tangent_lib.report.gallery`` writes ``gallery.md`` and its thumbnails beside the executed notebooks, and runs
none. A row whose counterpart does not exist is an error.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree

import nbformat

from tangent_lib.report.pages import ADVANTAGE_PAGE, ATTENTION_PAGE, LINEAR_PAGE, NTK_PAGE, RANDOM_PAGE, XI_PAGE
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

EXECUTED = ROOT / "book" / "executed"
_CITED = {"S1": ("tangent-space paper", "ortizjimenez2023tangent"), "S2": ("attention-only paper", "jin2024attention")}
HEAVIEST = 150_000  # bytes of a thumbnail


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
    """A label of a page: its cell, from 1, the outputs that a thumbnail can be taken from, and a caption or heading."""

    page: str
    cell: int
    outputs: Sequence[dict]
    caption: str = ""


COUNTERPARTS = [
    Counterpart("S1", "Figure 1", "What weight disentanglement is", XI_PAGE, "fig-disentanglement-idea", illustration=True),
    Counterpart("S1", "Figure 2", "Non-linear models against their linearisation", ADVANTAGE_PAGE, "fig-advantage"),
    Counterpart("S1", "Figure 3", "Disentanglement error over both alphas", XI_PAGE, "fig-xi-pairs"),
    Counterpart("S1", "Figure 4", "The tangent space of functions", LINEAR_PAGE, "fig-tangent-space-idea", illustration=True),
    Counterpart("S1", "Figure 5", "Non-linear against linear fine-tuning", LINEAR_PAGE, "fig-linear"),
    Counterpart("S1", "Figure 6", "Localised eigenfunctions", NTK_PAGE, "fig-local-energy"),
    Counterpart("S1", "Figure 7", "Single-task accuracy", LINEAR_PAGE, "fig-single"),
    Counterpart("S1", "Figure 8", "Accuracy per task after addition", LINEAR_PAGE, "fig-addition"),
    Counterpart("S1", "Figure 9", "Disentanglement and model scale", XI_PAGE, "fig-xi-scale", "three miniatures"),
    Counterpart("S1", "Figure 10", "Disentanglement of linear fine-tuning", XI_PAGE, "fig-xi-pairs", "with Figure 3"),
    Counterpart("S1", "Figure 11", "Disentanglement from random weights", RANDOM_PAGE, "fig-xi-random"),
    Counterpart("S1", "Figure 14", "Localised eigenfunctions, more tasks", NTK_PAGE, "fig-local-energy"),
    Counterpart("S1", "Figure 15", "Eigenfunctions from random weights", NTK_PAGE, "fig-local-energy-random"),
    Counterpart("S1", "Figure 16", "Single-task accuracy from random weights", RANDOM_PAGE, "fig-random-single"),
    Counterpart("S1", "Table 1", "Task addition", LINEAR_PAGE, "tab-addition"),
    Counterpart("S1", "Table 2", "Task negation", LINEAR_PAGE, "tab-negation"),
    Counterpart("S1", "Table 3", "Task addition from random weights", RANDOM_PAGE, "tab-random-init"),
    Counterpart("S1", "Proposition 1", "Localised eigenfunctions suffice", NTK_PAGE, "fig-ring", "shown on a ring"),
    Counterpart("S1", "Proposition 2", "The same, stated formally", NTK_PAGE, "fig-ring", "shown on a ring"),
    Counterpart("S1", "Proposition 3", "When localisation is necessary", NTK_PAGE, "fig-ring", "shown on a ring"),
    Counterpart("S1", "Appendix B", "Linearising a model in code", LINEAR_PAGE, "sec-listing", "with Listing 1"),
    Counterpart("S2", "Figure 1", "Task vectors added up", XI_PAGE, "fig-disentanglement-idea", illustration=True),
    Counterpart("S2", "Figure 3", "The test of kernel behaviour", ATTENTION_PAGE, "fig-kernel-behaviour"),
    Counterpart("S2", "Figure 4", "Three ways to fine-tune", ATTENTION_PAGE, "fig-paradigms", illustration=True),
    Counterpart("S2", "Figure 5", "Average single-task accuracy", ATTENTION_PAGE, "fig-attention-single-average"),
    Counterpart("S2", "Figure 6", "Error of features and of predictions", ATTENTION_PAGE, "fig-xi-attention"),
    Counterpart("S2", "Figure 7", "Single-task accuracy", ATTENTION_PAGE, "fig-attention-single"),
    Counterpart("S2", "Figure 8", "Error of both, another pair", ATTENTION_PAGE, "fig-xi-attention-2"),
    Counterpart("S2", "Figure 9", "Sensitivity to alpha", ATTENTION_PAGE, "fig-alpha-sensitivity"),
    Counterpart("S2", "Figure 10", "Cosines of task vectors", ATTENTION_PAGE, "fig-cosines"),
    Counterpart("S2", "Table 2", "Task addition", ATTENTION_PAGE, "tab-attention-addition"),
    Counterpart("S2", "Table 4", "Parameters, memory and time", ATTENTION_PAGE, "tab-efficiency", "the paper names no model"),
    Counterpart("S2", "Table 5", "Which weights to train", ATTENTION_PAGE, "tab-ablation"),
]  # fmt: skip
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
    """Every label that a page of ``folder`` can be linked by; a heading has the outputs of the next code cell."""
    found: dict[str, Target] = {}
    for path in sorted(folder.glob("[0-9]*.ipynb")):
        cells = nbformat.read(path, as_version=4).cells
        for place, cell in enumerate(cells):
            if cell.cell_type == "code":
                figure, source = cell.metadata.get("mystnb", {}).get("figure", {}), cell
                labels, caption = [figure.get("name")], figure.get("caption", "")
            else:
                labels = re.findall(r"^(?:\(|:name: +|:label: +)([\w-]+)(?:\)=)?\s*$", cell.source, re.MULTILINE)
                source = next((c for c in cells[place:] if c.cell_type == "code"), {})
                caption = next(iter(re.findall(r"^#+ +(.+)$", cell.source, re.MULTILINE)), "")
            for label in filter(None, labels):
                if label in found:
                    places = f"{found[label].page} and in {path.stem}"
                    raise InputError(f"label '{label}' stands in {places}; rename one: a label of the book is unique")
                found[label] = Target(path.stem, place + 1, source.get("outputs", []), caption)
    return found


def check_targets(found: dict[str, Target], rows: Sequence[Counterpart] = tuple(COUNTERPARTS)) -> None:
    """Refuse a gallery with rows whose label their page lacks, and name every one."""
    missing = [row for row in rows if row.label not in found or found[row.label].page != row.page]
    if missing:
        names = "\n".join(f"  {_CITED[row.paper][0]}, {row.item}: no '{row.label}' in {row.page}" for row in missing)
        raise InputError(f"the gallery lacks\n{names}\nName the figure so in its notebook, and run it: make report")


def thumbnail(target: Target) -> tuple[str, bytes] | None:
    """The ending and the bytes of a target's picture; None for a table, a text, or a picture above ``HEAVIEST``."""
    data = {kind: content for output in target.outputs for kind, content in output.get("data", {}).items()}
    if "image/svg+xml" in data:
        ending, content = ".svg", data["image/svg+xml"].encode()
    elif "image/png" in data:
        ending, content = ".png", base64.b64decode(data["image/png"])
    elif "<table" in data.get("text/html", "") or "text/markdown" in data:
        return None
    else:
        where = f"{target.page}, cell {target.cell}"
        raise InputError(f"{where}: no picture, table or text for the gallery; run the notebook")
    return (ending, content) if len(content) <= HEAVIEST else None


def write_gallery(folder: Path = EXECUTED) -> Path:
    """Write ``gallery.md`` and ``thumbnails/`` into the folder of the executed notebooks, and give the page's path."""
    found = find_targets(folder)
    check_targets(found)
    rmtree(folder / "thumbnails", ignore_errors=True)
    (folder / "thumbnails").mkdir()
    files = {}
    for label in dict.fromkeys(row.label for row in COUNTERPARTS):
        if picture := thumbnail(found[label]):
            ending, content = picture
            files[label] = f"thumbnails/{label}{ending}"
            (folder / files[label]).write_bytes(content)
    (folder / "gallery.md").write_text(page_text(found, files))
    return folder / "gallery.md"


def _link(row: Counterpart) -> str:
    return f"{{ref}}`{row.label}`" if row.label.startswith("sec-") else f"{{numref}}`{row.label}`"


def _card(row: Counterpart, caption: str, picture: str | None) -> list[str]:
    """A card that leads to a counterpart: with its picture, or else with the first two sentences of its caption."""
    name = _CITED[row.paper][0]
    kind = ", an illustration without data" if row.illustration else ""
    shown = [f":img-top: {picture}", f":img-alt: thumbnail of: {row.title}"] if picture else []
    words = [] if picture else ["", ". ".join(caption.split(". ")[:2])]
    return [
        f":::{{grid-item-card}} {row.item}", *shown, f":link: {row.label}", ":link-type: ref",
        f":link-alt: {name}, {row.item}: its counterpart here", f":footer: here: {_link(row)}{kind}\n",
        row.title, *words, ":::\n",
    ]  # fmt: skip


def page_text(found: Mapping[str, Target], files: Mapping[str, str]) -> str:
    """The page in MyST, from the targets and the paths of their thumbnails by label."""
    lines = [INTRODUCTION]
    for paper, (name, _) in _CITED.items():
        lines += [f"## Of the {name}\n", "::::{grid} 1 2 3 3", ":gutter: 3\n"]
        for row in (row for row in COUNTERPARTS if row.paper == paper):
            lines += _card(row, found[row.label].caption, files.get(row.label))
        lines += ["::::\n"]
    lines += ["## Every figure and table, and where it stands here\n"]
    for paper, (name, key) in _CITED.items():
        lines += [f"### {name.capitalize()}\n", f"{{cite}}`{key}`\n"]
        lines += ["| in the paper | what it shows | in this book | page | note |", "|---|---|---|---|---|"]
        for row in (row for row in COUNTERPARTS if row.paper == paper):
            note = "illustration, drawn without data" if row.illustration else row.note
            lines += [f"| {row.item} | {row.title} | {_link(row)} | {{doc}}`{row.page}` | {note} |"]
        lines += [f"| {item} | {title} | – | – | left out: {why} |" for of, item, title, why in LEFT_OUT if of == paper]
        lines += [""]
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(f"wrote {write_gallery()}")
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
