"""The datasets from the command line: ``tangent data list|prepare|verify [NAME ...]``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from cyclopts import App, Parameter

from tangent_lib.cli import DONE, FAULTS, REFUSED, complain
from tangent_lib.cli.options import DATA_ROOT, Place
from tangent_lib.runtime.disk import in_words
from tangent_lib.runtime.errors import InputError, in_full, printable, unknown

if TYPE_CHECKING:
    from tangent_lib.data.manifests import Manifest
    from tangent_lib.data.prepare import Card

app = App(name="data", help="Get image datasets into place, and check them.")
Names = Annotated[str, Parameter(name="NAME", help="a dataset, such as Cars; or all")]
Some = Annotated[str, Parameter(name="NAME", help="a dataset, such as Cars; or all", required=True)]
Root = Annotated[Place, Parameter(help="where datasets lie")]


@app.command(name="list")
def list_(*names: Names, data_root: Root = DATA_ROOT) -> int:
    """Show which datasets there are and which are ready."""
    from tangent_lib.data.layouts import find_layout
    from tangent_lib.data.manifests import load_manifest
    from tangent_lib.data.prepare import current_card

    rows = [("name", "prepared", "files", "images", "classes", "disk", "licence", "first source")]
    remarks = []
    for name in _known(names, data_root):
        manifest = load_manifest(name, data_root)
        try:
            card = current_card(manifest, data_root)
            prepared = "yes" if card else "no"
        except InputError as error:
            card, prepared = None, "damaged"
            remarks.append(in_full(error))
        try:
            found = find_layout(manifest, data_root)
            files = f"{found[1].name} ({found[0].name})" if found else "no"
        except InputError as error:
            files = "incomplete"
            remarks.append(in_full(error))
        rows.append((name, prepared, files, *_extent(manifest, card, data_root), manifest.licence, _source(manifest)))
    print(_table(rows))
    for remark in remarks:
        print(remark)
    return DONE


@app.command
def prepare(
    *names: Some,
    data_root: Root = DATA_ROOT,
    raw_root: Annotated[
        Place | None, Parameter(name="--from", help="the folder that holds the datasets' folders; downloads nothing")
    ] = None,
    offline: Annotated[bool, Parameter(help="download nothing")] = False,
    again: Annotated[bool, Parameter(help="remove the prepared form and make it anew")] = False,
) -> int:
    """Download what is not there, decode and pack the images; show what the files call classes, where it is another name."""
    from tangent_lib.data import prepare as preparation
    from tangent_lib.data.listing import spelt_alike

    status = DONE
    for name in _known(names, data_root):
        try:
            card = preparation.prepare(name, data_root, raw_root, download=not offline, again=again)
        except InputError as error:  # the others are not held up
            complain(error)
            status = REFUSED
            continue
        counts = ", ".join(f"{sum(counts):,} {split}" for split, counts in card.counts.items())
        folder = preparation.prepared_folder(data_root, name)
        print(printable(f"{name}: {counts}, {len(card.classes)} classes, from {card.source}, in {folder}"))
        for called, meant in card.called.items():
            if not spelt_alike(called, meant):
                print(printable(f"  {called} is {meant}"))
    return status


@app.command
def verify(
    *names: Some,
    data_root: Root = DATA_ROOT,
    classes: Annotated[bool, Parameter(help="show how many images of each class there are")] = False,
) -> int:
    """Check counts and checksums, and that no test image is in train or val."""
    from tangent_lib.data.prepare import read_dataset_card
    from tangent_lib.data.verify import verify_dataset

    status = DONE
    for name in _known(names, data_root):
        for finding in verify_dataset(name, data_root):
            print(printable(f"{finding.level:5} {name}: {finding.text}"))
            status = FAULTS if finding.level == "fault" else status
        card = read_dataset_card(data_root, name) if classes else None
        if card is not None:
            print(class_table(card))
    return status


def _known(names: Sequence[str], data_root: Path) -> list[str]:
    from tangent_lib.data.manifests import load_manifest, task_names

    if not names or "all" in names:
        return list(task_names("images", data_root=data_root))
    known = task_names(data_root=data_root)  # those not asked for need not be valid
    for name in names:
        if name not in known:
            images = [each for each in known if each not in task_names("miniature")]
            raise unknown("dataset", name, (*images, "all"), f"Others: a manifest in {data_root}/manifests/.")
        if load_manifest(name, data_root).kind == "miniature":
            raise InputError(f"'{name}' is a task of the miniatures, which the library draws: nothing to get or check")
    return list(dict.fromkeys(names))


def _extent(manifest: Manifest, card: Card | None, data_root: Path) -> tuple[str, str, str]:
    """Images, classes and disk: as they are if it is prepared, else as the manifest expects, disk for download + prepared."""
    from tangent_lib.data.prepare import prepared_folder

    if card is not None:
        images = sum(map(sum, card.counts.values()))
        size = sum(path.stat().st_size for path in prepared_folder(data_root, card.name).iterdir())
        return f"{images:,}", str(len(card.classes)), in_words(size)
    images = f"{manifest.sizes.train + manifest.sizes.test:,}" if manifest.sizes else "?"
    size = f"{manifest.gigabytes.download:g} + {manifest.gigabytes.prepared:g} GB" if manifest.gigabytes else "?"
    return images, str(len(manifest.classes)) if manifest.classes else "?", size


def _source(manifest: Manifest) -> str:
    if not manifest.downloads:
        return "by hand"
    first = manifest.downloads[0]
    return f"hub {first.hub}" if first.hub else urlsplit(first.files[0].url).netloc


def class_table(card: Card) -> str:
    """How many images of each class each split has, as text."""
    return _table([("class", *card.counts), *zip(card.classes, *card.counts.values())])


def _table(rows: Sequence[Iterable]) -> str:
    cells = [list(map(printable, row)) for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)
