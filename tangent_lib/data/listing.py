"""What every reader of a dataset returns: its images, not yet decoded, and the label that each class has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tangent_lib.data.folders import any_of, file_stamp
from tangent_lib.data.manifests import Manifest
from tangent_lib.data.pictures import decode
from tangent_lib.runtime.errors import InputError


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its name, which no other of the split has, its label, and a function that decodes it, to RGB.

    Its ``stamp``, where it comes from a file, is that file's size and time of change.
    """

    name: str
    label: int
    read: Callable[[], Image.Image]
    stamp: str = ""


@dataclass(frozen=True)
class Listing:
    """A dataset that was read: class names in CLIP's wording, in label order, and the images of train and test."""

    classes: list[str]
    train: list[Item]
    test: list[Item]


def first_match(folder: Path, need: str) -> Path | None:
    """What lies in a folder and fits a glob, or, of several globs divided by ``|``, the first one that anything fits.

    A file goes before a folder of the same name, in which some archives put it; service files fit nothing.

    Example:
        >>> first_match(Path(__file__).parent, "no_such_file|list*.py").name
        'listing.py'
    """
    found = [path for path in (any_of(folder, pattern) for pattern in need.split("|")) if path is not None]
    return next((path for path in found if path.is_file()), found[0] if found else None)


def _decode_file(root: Path, name: str, dataset: str) -> Image.Image:
    return decode(root / name, str(root / name), dataset)


def file_item(root: Path, name: str, label: int, dataset: str) -> Item:
    """The item of an image file, ``name`` being its path within ``root``."""
    return Item(name, label, partial(_decode_file, root, name, dataset), file_stamp(root / name))


def in_order(items: Iterable[Item]) -> list[Item]:
    """Items by label, then by name: the same order, and so the same validation split, for every layout of these files."""
    return sorted(items, key=lambda item: (item.label, item.name))


def labels_of_folders(manifest: Manifest, folders: Iterable[str]) -> tuple[list[str], dict[str, int]]:
    """The names of all classes in label order, and the label of each class folder.

    A manifest that maps folders to names fixes all labels, even if only some of the folders are there. One that lists names
    needs as many folders; labels follow the names of the folders, or, if these are other names, their alphabetical order.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> names, labels = labels_of_folders(load_manifest("EuroSAT"), ["River", "Forest"])
        >>> labels["River"], names[labels["River"]]
        (8, 'river')
    """
    folders = sorted(folders)
    if manifest.classes is None:
        bare = [_without_letter(folder) for folder in folders]
        return list(map(_readable, bare if None not in bare else folders)), {name: i for i, name in enumerate(folders)}
    names, known = _known(manifest.classes)
    if isinstance(manifest.classes, list) and len(folders) != len(names):
        raise InputError(
            f"{manifest.name}: {len(folders)} class folders, but the manifest names {len(names)}. Found: {_some(folders)}"
        )
    labels = {folder: _label(folder, known) for folder in folders}
    strange = [folder for folder in folders if labels[folder] is None]
    if strange and isinstance(manifest.classes, list):
        elsewhere = [folder for i, folder in enumerate(folders) if labels[folder] not in (None, i)]
        if elsewhere:
            raise InputError(
                f"{manifest.name}: the manifest does not name the class folders {_some(strange)}, and alphabetical order "
                f"does not decide, since {elsewhere[0]} has another place in it: give `classes` there as FOLDER: name"
            )
        return names, {folder: i for i, folder in enumerate(folders)}
    if strange:
        raise InputError(
            f"{manifest.name}: class folders that the manifest does not name: {_some(strange)}. Remove them, or name them "
            f"in a manifest of your own; it names {_some(sorted(manifest.classes))}"
        )
    twice = [label for label, count in Counter(labels.values()).items() if count > 1]
    if twice:
        same = [folder for folder in folders if labels[folder] == twice[0]]
        raise InputError(f"{manifest.name}: class folders {_some(same)} are all the class '{names[twice[0]]}': leave one")
    return names, labels


def labels_of_names(manifest: Manifest, found: Sequence[str], where: str) -> tuple[list[str], list[int]]:
    """The names of all classes in label order, and the label of each class that the files themselves name.

    These names count as those of the manifest but for case, spaces and punctuation. Where some differ more, as ImageNet's
    first names do from CLIP's, the order decides, if there are as many and at least half of them are alike in their places.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> labels_of_names(load_manifest("EuroSAT"), ["Sea Lake", "annual crop land"], "train.parquet")[1]
        [9, 0]
    """
    if manifest.classes is None:
        return [name.replace("_", " ") for name in found], list(range(len(found)))
    names, known = _known(manifest.classes)
    labels = [_label(name, known) for name in found]
    if None not in labels and len(set(labels)) == len(labels):
        return names, labels
    alike = sum(_bare(own) in map(_bare, (each, *each.split(","))) for own, each in zip(names, found))
    if len(found) == len(names) and 2 * alike >= len(names):
        return names, list(range(len(names)))
    strange = [name for name, label in zip(found, labels) if label is None]
    raise InputError(
        f"{manifest.name}: {where} names {len(found)} classes, the manifest {len(names)}; it does not have "
        f"{_some(strange or found)}. Name the classes of these files in a manifest of your own"
    )


def numbered_classes(manifest: Manifest, labels: dict[str, np.ndarray]) -> list[str]:
    """The names of all classes, for files that know them by their labels only."""
    if manifest.classes is None:
        raise InputError(f"{manifest.name}: {next(iter(labels))} names no classes: give `classes` in the manifest")
    names, _ = _known(manifest.classes)
    for where, some in labels.items():
        check_range(manifest.name, some, len(names), where)
    return names


def check_range(dataset: str, labels: np.ndarray, count: int, where: str) -> None:
    """Check that labels are from 0 to ``count`` - 1."""
    strange = np.unique(labels[(labels < 0) | (labels >= count)])
    if len(strange):
        raise InputError(
            f"{dataset}: labels out of range in {where}: {_some(map(str, strange.tolist()))}; there are {count} classes, "
            f"0 to {count - 1}"
        )


def same_classes(dataset: str, train: Iterable[str], test: Iterable[str]) -> None:
    """Check that train and test have images of the same classes."""
    train, test = set(train), set(test)
    if train != test:
        only = {"train": train - test, "test": test - train}
        listed = "; ".join(f"{split} alone has {_some(sorted(some))}" for split, some in only.items() if some)
        raise InputError(f"{dataset}: train and test have different classes: {listed}")


def _known(classes: dict[str, str] | list[str]) -> tuple[list[str], dict[str, int]]:
    """Names in label order, and labels by bare folder or name; a name that two classes share says nothing."""
    folders = sorted(classes) if isinstance(classes, dict) else []
    names = [classes[folder] for folder in folders] if isinstance(classes, dict) else classes
    known = {}
    for words in (names, folders):  # a folder goes before a name
        words = [_bare(word) for word in words]
        count = Counter(words)
        known |= {word: label for label, word in enumerate(words) if count[word] == 1}
    return list(names), known


def _label(name: str, known: dict[str, int]) -> int | None:
    return known.get(_bare(name), known.get(_bare(_without_letter(name) or name)))


def _bare(name: str) -> str:
    """A name without case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


def _without_letter(folder: str) -> str | None:
    """What follows the letter under which SUN397 files a class: ``a_abbey`` or ``a/abbey`` gives ``abbey``."""
    match = re.fullmatch(r"([a-z])[/_](\1.*)", folder)
    return match and match[2]


def _readable(folder: str) -> str:
    return folder.replace("_", " ").replace("/", " ")


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
