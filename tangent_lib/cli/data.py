"""The datasets from the command line: ``tangent data list|prepare|verify [NAME ...]``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from tangent_lib.data.layouts import find_layout
from tangent_lib.data.manifests import Manifest, load_manifest, task_names
from tangent_lib.data.prepare import Card, current_card, prepare, prepared_folder, read_card
from tangent_lib.data.verify import verify
from tangent_lib.runtime.disk import in_words
from tangent_lib.runtime.errors import InputError, unknown

DONE, FAULTS, REFUSED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 for faults that verify found, 2 for input that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        _complain(error)
        return REFUSED
    except KeyboardInterrupt:
        _complain("interrupted; run the same command again: what is complete is kept")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tangent data", description="Get image datasets into place, and check them."
    )
    commands = parser.add_subparsers(required=True, metavar="list|prepare|verify")

    def command(name: str, run, names: str, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.add_argument("names", metavar="NAME", nargs=names, help="a dataset, such as Cars; or all")
        made.add_argument("--data-root", default="data", metavar="DIR", help="where datasets lie (default: data)")
        made.set_defaults(run=run)
        return made

    command("list", _list, "*", "Show which datasets there are and which are ready.")
    made = command("prepare", _prepare, "+", "Download what is not there, decode and pack the images.")
    folder = "the folder that holds the datasets' folders; downloads nothing"
    made.add_argument("--from", dest="raw_root", metavar="DIR", help=folder)
    made.add_argument("--offline", action="store_true", help="download nothing")
    made.add_argument("--again", action="store_true", help="remove the prepared form and make it anew")
    made = command("verify", _verify, "+", "Check counts and checksums, and that no test image is in train or val.")
    made.add_argument("--classes", action="store_true", help="show how many images of each class there are")
    return parser


def _names(options: argparse.Namespace) -> list[str]:
    known = task_names("images", data_root=options.data_root)
    if not options.names or "all" in options.names:
        return list(known)
    for name in options.names:
        if name not in known:
            raise unknown("dataset", name, (*known, "all"), f"Others: a manifest in {options.data_root}/manifests/.")
    return list(dict.fromkeys(options.names))


def _list(options: argparse.Namespace) -> int:
    rows = [("name", "prepared", "files", "images", "classes", "disk", "licence", "first source")]
    remarks = []
    for name in _names(options):
        manifest = load_manifest(name, options.data_root)
        try:
            card = current_card(manifest, options.data_root)
            prepared = "yes" if card else "no"
        except InputError as error:
            card, prepared = None, "damaged"
            remarks.append(error)
        try:
            found = find_layout(manifest, Path(options.data_root))
            files = f"{found[1].name} ({found[0].name})" if found else "no"
        except InputError as error:
            files = "incomplete"
            remarks.append(error)
        rows.append((name, prepared, files, *_extent(manifest, card, options.data_root), manifest.licence, _source(manifest)))
    print(_table(rows))
    for remark in remarks:
        print(remark)
    return DONE


def _extent(manifest: Manifest, card: Card | None, data_root: str) -> tuple[str, str, str]:
    """Images, classes and disk: as they are if it is prepared, else as the manifest expects, disk for download + prepared."""
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


def _prepare(options: argparse.Namespace) -> int:
    status = DONE
    for name in _names(options):
        try:
            card = prepare(
                name, options.data_root, options.raw_root, download=not options.offline, again=options.again
            )
        except InputError as error:  # the others are not held up
            _complain(error)
            status = REFUSED
            continue
        counts = ", ".join(f"{sum(counts):,} {split}" for split, counts in card.counts.items())
        folder = prepared_folder(options.data_root, name)
        print(f"{name}: {counts}, {len(card.classes)} classes, from {card.source}, in {folder}")
    return status


def _verify(options: argparse.Namespace) -> int:
    status = DONE
    for name in _names(options):
        for finding in verify(name, options.data_root):
            print(f"{finding.level:5} {name}: {finding.text}")
            status = FAULTS if finding.level == "fault" else status
        card = read_card(options.data_root, name) if options.classes else None
        if card is not None:
            print(class_table(card))
    return status


def class_table(card: Card) -> str:
    """How many images of each class each split has, as text."""
    return _table([("class", *card.counts), *zip(card.classes, *card.counts.values())])


def _table(rows: Sequence[Iterable]) -> str:
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells)


def _complain(problem: object) -> None:
    print(problem, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
