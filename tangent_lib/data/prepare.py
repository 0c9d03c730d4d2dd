"""Preparing a dataset: from the files as they came to packed splits, with a card that says what they are.

Each dataset has a folder, ``<data_root>/prepared/<name>``. Its ``card.json`` is written last: where it is, the dataset is
complete. A preparation that was killed is taken up again split by split.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from pydantic import BaseModel, ValidationError
from torch.utils.data import random_split

from tangent_lib.data.fetch import fetch, recorded
from tangent_lib.data.folders import folder_stamp
from tangent_lib.data.layouts import LAYOUTS, Layout, find_layout
from tangent_lib.data.listing import Item, Listing, first_match
from tangent_lib.data.manifests import Manifest, load_manifest
from tangent_lib.data.packed import PackedSplit, find_split, open_split, prepare_anew, write_split
from tangent_lib.runtime.disk import check_disk
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.provenance import provenance
from tangent_lib.runtime.words import command_line

MOST_HELD_OUT = 5000
RAW_STATE = "raw.checked"  # of this machine alone: the state of the files that were read, and their folder
SAMPLED = 16  # images decoded to estimate how much disk all take


class Card(BaseModel, extra="forbid", frozen=True):
    """What a prepared dataset is: where it comes from, its classes, counts and fingerprints, by split.

    ``called`` has, for each class, what the files call it: a folder, a name or a number; older cards do not say it.
    """

    name: str
    layout: str
    source: str
    revision: str | None
    classes: list[str]
    called: dict[str, str] = {}
    counts: dict[str, list[int]]
    content: dict[str, str]
    shared: dict[str, int]
    manifest: str
    provenance: dict[str, str]


def prepared_folder(data_root: str | Path, name: str) -> Path:
    """Where a dataset lies once it is prepared.

    Example:
        >>> prepared_folder("data", "Cars").as_posix()
        'data/prepared/Cars'
    """
    return Path(data_root, "prepared", name)


def read_dataset_card(data_root: str | Path, name: str) -> Card | None:
    """The card of a prepared dataset, or None if it is not prepared.

    Raises:
        InputError: if the card is damaged, or may not be read.
    """
    path = prepared_folder(data_root, name) / "card.json"
    try:
        return Card.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, IsADirectoryError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else "a folder"
        raise InputError(f"{path} is damaged ({why}). {prepare_anew(name, data_root)}") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): make it readable") from error


def current_card(manifest: Manifest, data_root: str | Path) -> Card | None:
    """The card of a dataset that is prepared as its manifest now says, or None if it is not prepared.

    Raises:
        InputError: if the card is damaged, or the manifest has changed since.
    """
    card = read_dataset_card(data_root, manifest.name)
    if card is not None and card.manifest != _digest(manifest):
        raise InputError(
            f"{manifest.name} was prepared by another manifest: classes or control have changed. "
            f"{prepare_anew(manifest.name, data_root)}"
        )
    return card


def check_prepared(manifests: Sequence[Manifest], data_root: str | Path) -> None:
    """Check, without decoding anything, that datasets are prepared or can be from files in ``data_root``.

    Raises:
        InputError: naming those that are neither, where files were looked for, and the ways out.
    """
    images = [each for each in manifests if each.kind == "images"]
    missing = [each for each in images if not (current_card(each, data_root) or find_layout(each, Path(data_root)))]
    if missing:
        raise _nowhere(missing, Path(data_root), Path(data_root))


def ensure_prepared(name: str, data_root: str | Path) -> Card:
    """The card of a dataset, which is prepared first if its files lie in ``data_root``; nothing is downloaded."""
    return prepare(name, data_root, download=False)


def prepare(
    name: str,
    data_root: str | Path,
    raw_root: str | Path | None = None,
    download: bool = True,
    progress: bool = True,
    again: bool = False,
) -> Card:
    """Prepare a dataset, unless it is prepared already, from files that are still there and as they were, or are gone.

    Args:
        name: of a manifest of kind ``images``.
        data_root: where the prepared form goes, and downloads.
        raw_root: where files lie already; then nothing is downloaded. By default they are looked for in ``data_root``.
        download: whether to download what is not there.
        progress: whether to show it, on a terminal.
        again: remove the prepared form first, if there is one.

    Raises:
        InputError: if images are missing or do not decode, or there is not enough disk; nothing half-written is left.
    """
    manifest = load_manifest(name, data_root)
    if manifest.kind != "images":
        raise InputError(f"{name} is a miniature: its images are drawn when they are needed, there is nothing to prepare")
    folder = prepared_folder(data_root, name)
    card = None if again else current_card(manifest, data_root)
    if card is not None and not _changed(card, folder):
        return card
    with _place_of(folder, data_root, again):
        card = None if again else current_card(manifest, data_root)
        if card is None:
            layout, raw = _find(manifest, Path(data_root), raw_root, download)
            return _prepare(manifest, layout, raw, folder, progress, again)
        if _changed(card, folder):
            layout, raw, _ = _read_from(card, folder)
            return _prepare(manifest, layout, raw, folder, progress, again)
    return card


@contextmanager
def _place_of(folder: Path, data_root: str | Path, again: bool) -> Iterator[None]:
    """Inside, a dataset's folder can be written, as far as it is there, and this process alone prepares the dataset.

    Raises:
        InputError: for what is in the way, or belongs to somebody else.
    """
    odd = [folder] if os.path.lexists(folder) and not folder.is_dir() else []
    odd += [] if again else [each for each in _made(folder) if each.is_dir()]
    if odd:
        raise InputError(f"{odd[0]} is in the way of what is prepared for {folder.name}: move it away")
    for place in (folder.parent, folder):
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place) if place.is_dir() else nullcontext():
                pass
        except OSError as error:
            raise InputError(
                f"{place} cannot be written ({error.strerror}): name another place with --data-root; files that lie here "
                f"are used with {command_line('--from', data_root)}"
            ) from error
    lock = FileLock(folder.parent / f".{folder.name}.lock")
    try:
        lock.acquire()
    except OSError as error:
        raise InputError(
            f"{lock.lock_file} cannot be locked ({error.strerror or error}): have its owner make it writable for you, or "
            f"remove it where nobody prepares {folder.name} now"
        ) from error
    try:
        yield
    finally:
        lock.release()


def _made(folder: Path) -> list[Path]:
    """What a preparation makes in a dataset's folder, whole or not."""
    return [path for pattern in ("card.json*", "*.pixels*", "*.safetensors*", "*.checked") for path in folder.glob(pattern)]


def _read_from(card: Card, folder: Path) -> tuple[Layout, Path, str] | None:
    """Layout, folder and state of the files that a dataset was prepared from, while they are there."""
    stamp, raw = "", ""
    with suppress(OSError):
        stamp, _, raw = (folder / RAW_STATE).read_text().partition("\n")
    layout = LAYOUTS.get(card.layout)
    if not raw or layout is None or any(first_match(Path(raw), need) is None for need in layout.needs):
        return None
    return layout, Path(raw), stamp


def _changed(card: Card, folder: Path) -> bool:
    """Whether packed images, or the files that they came from, are no longer what they were when the card was written.

    Raises:
        InputError: if packed images are not, and those files are gone.
    """
    source = _read_from(card, folder)
    try:
        for split, content in card.content.items():
            packed = open_split(folder, split)
            packed.check()
            if packed.content != content:
                raise InputError(f"{folder}: images or labels of {split} are not those that the card records")
    except InputError:
        if source is None:
            raise
        return True
    return source_changed(card, folder)


def source_changed(card: Card, folder: Path) -> bool:
    """Whether the files that a dataset was prepared from are there, and no longer what they were then."""
    source = _read_from(card, folder)
    return source is not None and folder_stamp(source[1], source[0].needs, folder.parent) != source[2]


def _find(manifest: Manifest, data_root: Path, raw_root: str | Path | None, download: bool) -> tuple[Layout, Path]:
    """Where the files lie and how, after they are downloaded if need be and allowed."""
    root = data_root if raw_root is None else Path(raw_root)
    if not root.is_dir() and raw_root is not None:
        raise InputError(f"there is no folder {root}: name the one that holds {' or '.join(manifest.folders)} with --from")
    if not (download and raw_root is None and manifest.downloads):
        found = find_layout(manifest, root)
        if found is None:
            raise _nowhere([manifest], root, data_root)
        return found
    begun = ""
    try:
        found = find_layout(manifest, root)
    except InputError as error:  # perhaps a download that broke off, which now goes on
        found, begun = None, f" {error}"
    if found is None:
        try:
            fetched = fetch(manifest, root)
        except InputError as error:
            raise InputError(f"{error}{begun}") from error
        found = find_layout(manifest, root)
        if found is None:
            raise InputError(f"{manifest.name}: what came from {fetched.origin} has none of the layouts of the manifest")
    return found


def _prepare(manifest: Manifest, layout: Layout, raw: Path, folder: Path, progress: bool, again: bool) -> Card:
    raw_stamp = folder_stamp(raw, layout.needs, folder.parent)
    listing = layout.read(raw, manifest)
    _check_classes(manifest.name, listing, raw)
    splits = split_items(manifest, listing)
    before = _made(folder) if folder.is_symlink() else list(folder.glob("*"))  # behind a link others' files may lie
    for left in before if again else ():
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
    (folder / "card.json").unlink(missing_ok=True)
    for left in folder.glob("*.part"):
        left.unlink()
    todo = [items for split, items in splits.items() if find_split(folder, split, items) is None]
    if todo:
        check_disk(folder, _gigabytes(list(chain(*todo))), f"{manifest.name}, prepared,")
    written = {split: write_split(folder, split, items, progress) for split, items in splits.items()}
    fetched = recorded(raw)
    called = listing.called or {str(label): label for label in range(len(listing.classes))}
    card = Card(
        name=manifest.name,
        layout=layout.name,
        source=fetched.origin if fetched else f"files in {raw.name}",
        revision=fetched.revision if fetched else None,
        classes=listing.classes,
        called={word: listing.classes[label] for word, label in sorted(called.items(), key=lambda each: each[1])},
        counts={split: packed.labels.bincount(minlength=len(listing.classes)).tolist() for split, packed in written.items()},
        content={split: packed.content for split, packed in written.items()},
        shared={f"{split}-test": count_seen(written["test"], written[split]) for split in written if split != "test"},
        manifest=_digest(manifest),
        provenance=provenance(),
    )
    (folder / RAW_STATE).write_text(f"{raw_stamp}\n{raw.absolute()}")
    part = folder / "card.json.part"
    part.write_text(card.model_dump_json(indent=1))
    os.replace(part, folder / "card.json")
    return card


def _check_classes(dataset: str, listing: Listing, raw: Path) -> None:
    """Check that there is something to tell apart: a folder around the class folders looks like the only class."""
    found = sorted({item.label for item in (*listing.train, *listing.test)})
    if len(found) < 2:
        said = f", '{listing.classes[found[0]]}'" if found else ""
        raise InputError(
            f"{dataset}: the images in {raw} are of {len(found)} class{said}; at least 2 are needed. If that is a folder "
            "with the class folders in it, move these a level up; if it is not, add images of the other classes"
        )


def split_items(manifest: Manifest, listing: Listing) -> dict[str, list[Item]]:
    """The items of each split: a tenth of train, at most 5,000, is held out as val; a control task has no train.

    Raises:
        InputError: if there are too few images to hold any out, or no test images.
    """
    count = len(listing.train)
    held_out = min(MOST_HELD_OUT, count // 10)
    if not held_out or not listing.test:
        raise InputError(
            f"{manifest.name}: {count} training images and {len(listing.test)} test images; at least 10, of which one is "
            "held out for validation, and 1 are needed"
        )
    train, val = random_split(range(count), [count - held_out, held_out], torch.Generator().manual_seed(0))
    splits = {"val": [listing.train[i] for i in sorted(val.indices)], "test": listing.test}
    if not manifest.control:
        splits["train"] = [listing.train[i] for i in sorted(train.indices)]
    return splits


def count_seen(test: PackedSplit, *others: PackedSplit) -> int:
    """How many of the test images are, pixel by pixel, in one of the other splits too."""
    known = {row.tobytes() for other in others for row in other.hashes}
    return sum(row.tobytes() in known for row in test.hashes)


def _gigabytes(items: list[Item]) -> float:
    """About how much disk items take when decoded, from a few of them."""
    some = items[:: -(-len(items) // SAMPLED)]
    return sum(np.asarray(item.read()).nbytes for item in some) / len(some) * len(items) / 1e9


def _digest(manifest: Manifest) -> str:
    """Of what in a manifest determines the prepared form, besides the files."""
    relevant = {"classes": manifest.classes, "control": manifest.control}
    if manifest.columns:
        relevant["columns"] = manifest.columns
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


def _nowhere(manifests: list[Manifest], root: Path, data_root: Path) -> InputError:
    first, names = manifests[0], [each.name for each in manifests]
    others, by_hand = ", ".join(names[1:]), ", ".join(each.name for each in manifests if not each.downloads)
    places = " or ".join(str(root / folder) for folder in first.folders)
    command = command_line("tangent", "data", "prepare", *names, "--data-root", data_root)
    layouts = "; or ".join(f"{LAYOUTS[name].describes} ({name})" for name in first.layouts)
    return InputError(
        f"no data for {first.name}{f' (nor for {others})' if others else ''}: expected in {places}: {layouts}. "
        f"Source: {first.source}. {f'To be got by hand: {by_hand}. ' if by_hand else ''}"
        f"Get the data ready: {command}; where files lie elsewhere, add --from and the folder. "
        "Or name another place with -p data_root, or take miniature tasks, such as -p tasks Signs."
    )
