"""What every reader of a dataset returns: its images, not yet decoded, and the label that each class has."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tangent_lib.data.folders import any_of, file_stamp
from tangent_lib.data.manifests import Manifest, check_class_names, composed
from tangent_lib.data.pictures import decode
from tangent_lib.runtime.errors import InputError

_SEPARATORS = r"[\s_.,:;'’\"“”()\[\]/\\&\-\u2010-\u2015]+"


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
    """A dataset that was read: class names in CLIP's wording, in label order, and the images of train and test.

    ``called`` has the label of each class by what the files call it, a folder or a name, where they call it anything.
    """

    classes: list[str]
    train: list[Item]
    test: list[Item]
    called: dict[str, int] = field(default_factory=dict)


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

    A folder is the class that is spelt as it is, or else the only one that differs from it in case, spaces and punctuation
    alone. A manifest that maps folders to names fixes all labels, even if only some of the folders are there. One that lists
    names needs as many folders. If some of these have other names, their order decides: alphabetical, or by their numbers
    where all end in one. Where that order is not sure, or a folder whose class is known has another place in it, it is not
    for us to say which is which.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> names, labels = labels_of_folders(load_manifest("EuroSAT"), ["River", "Forest"])
        >>> labels["River"], names[labels["River"]]
        (8, 'river')
    """
    folders = sorted(folders, key=composed)  # on a Mac's disk as on others
    if manifest.classes is None:
        bare = [_without_letter(folder) for folder in folders]
        names = list(map(_readable, bare if None not in bare else folders))
        return _checked(manifest, names), {name: i for i, name in enumerate(folders)}
    listed = isinstance(manifest.classes, list)
    folders = by_number(folders) if listed else folders
    names, alike = _alike(manifest.classes, folders)
    if listed and len(folders) != len(names):
        raise InputError(
            f"{manifest.name}: {len(folders)} class folders, but the manifest names {len(names)}. Found: {_some(folders)}"
        )
    strange = [folder for folder, places in zip(folders, alike) if len(places) != 1]
    if strange and not listed:
        raise InputError(
            f"{manifest.name}: class folders that the manifest does not name: {_some(strange)}. Remove them, or name them "
            f"in a manifest of your own; it names {_some(sorted(manifest.classes))}"
        )
    if strange:
        elsewhere = _elsewhere(folders, alike, names)
        if elsewhere or not _order_is_sure(folders):
            why = f"{elsewhere[0]} has another place in it" if elsewhere else "by number it is another"
            raise InputError(
                f"{manifest.name}: the manifest does not name the class folders {_some(strange)}, and alphabetical order "
                f"does not decide, since {why}: give `classes` there as FOLDER: name"
            )
        return names, {folder: i for i, folder in enumerate(folders)}
    labels = {folder: label for folder, [label] in zip(folders, alike)}
    twice = [label for label, count in Counter(labels.values()).items() if count > 1]
    if twice:
        same = [folder for folder in folders if labels[folder] == twice[0]]
        raise InputError(
            f"{manifest.name}: class folders {_some(same)} are all the class '{names[twice[0]]}': leave one, or give "
            "`classes` in the manifest as FOLDER: name"
        )
    return names, labels


def labels_of_names(manifest: Manifest, found: Sequence[str], where: str) -> tuple[list[str], list[int]]:
    """The names of all classes in label order, and the label of each class that the files themselves name.

    These names count as those of the manifest if they are spelt alike, or differ in case, spaces and punctuation alone. Where
    some differ more, as ImageNet's first names do from CLIP's, the order decides, if there are as many, at least half of them
    are alike in their places, and none is known as the name of another place.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> labels_of_names(load_manifest("EuroSAT"), ["Sea Lake", "annual crop land"], "train.parquet")[1]
        [9, 0]
    """
    if manifest.classes is None:
        return _checked(manifest, [composed(name.replace("_", " ")) for name in found]), list(range(len(found)))
    names, alike = _alike(manifest.classes, found)
    labels = [label for label, *more in filter(None, alike) if not more]
    if len(labels) == len(set(labels)) == len(found):
        return names, labels
    in_place = sum(_bare(own) in map(_bare, (each, *each.split(","))) for own, each in zip(names, found))
    elsewhere = _elsewhere(found, alike, names)
    if len(found) == len(names) and 2 * in_place >= len(names) and not elsewhere:
        return names, list(range(len(names)))
    strange = [name for name, places in zip(found, alike) if len(places) != 1]
    why = f", and has another place for {_some(elsewhere)}" if strange and elsewhere else ""
    raise InputError(
        f"{manifest.name}: {where} names {len(found)} classes, the manifest {len(names)}; it does not have "
        f"{_some(strange or found)}{why}. Name the classes of these files in a manifest of your own, as NAME THERE: name"
    )


def numbered_classes(manifest: Manifest, labels: dict[str, np.ndarray]) -> list[str]:
    """The names of all classes, for files that know them by their labels only."""
    if manifest.classes is None:
        raise InputError(f"{manifest.name}: {next(iter(labels))} names no classes: give `classes` in the manifest")
    names, _ = _in_label_order(manifest.classes)
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
    if train != test and set(map(composed, train)) == set(map(composed, test)):
        raise InputError(
            f"{dataset}: train and test spell {_some(sorted(train - test))} with other codes for the same letters (Unicode's "
            "composed and decomposed form): call the classes of both alike"
        )
    if train != test:
        only = {"train": train - test, "test": test - train}
        listed = "; ".join(f"{split} alone has {_some(sorted(some))}" for split, some in only.items() if some)
        raise InputError(f"{dataset}: train and test have different classes: {listed}")


def by_number(words: Iterable[str]) -> list[str]:
    """Words in alphabetical order, or, where all of them end in a number, in the order of these numbers.

    Example:
        >>> by_number(["class10", "class9"]), by_number(["class10", "class9", "other"])
        (['class9', 'class10'], ['class10', 'class9', 'other'])
    """
    words = sorted(words, key=composed)
    return sorted(words, key=_natural if all(word[-1:].isdecimal() for word in words) else None)


def spelt_alike(called: str, name: str) -> bool:
    """Whether two names are one but for case, spaces and punctuation.

    Example:
        >>> spelt_alike("Sea_Lake", "sea lake"), spelt_alike("C++", "C")
        (True, False)
    """
    return _bare(called) == _bare(name)


def _natural(word: str) -> list[str | int]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d{1,4000})", word))]


def _order_is_sure(folders: list[str]) -> bool:
    """Whether folders, as :func:`by_number` has them, would stand so by number and without regard to case too."""
    return len(set(map(str, map(_natural, folders)))) == len(folders) and (
        folders == sorted(folders, key=_natural) == sorted(folders, key=lambda folder: _natural(folder.casefold()))
    )


def _in_label_order(classes: dict[str, str] | list[str]) -> tuple[list[str], list[str]]:
    """The names in label order, and the folders, if these are known."""
    folders = by_number(classes) if isinstance(classes, dict) else []
    return ([classes[folder] for folder in folders] if folders else list(classes)), folders


def _alike(classes: dict[str, str] | list[str], found: Iterable[str]) -> tuple[list[str], list[list[int]]]:
    """The names in label order, and for each name found the labels of the classes that are spelt most like it.

    An exact spelling goes before one without case, spaces and punctuation, and a folder before a name.
    """
    names, folders = _in_label_order(classes)
    spellings = []
    for spell in (composed, _bare):
        for words in (folders, names):
            labels = defaultdict(list)
            for label, word in enumerate(words):
                labels[spell(word)].append(label)
            spellings.append((spell, labels))

    def places(name: str) -> list[int]:
        for each in filter(None, (name, _without_letter(name))):
            for spell, labels in spellings:
                if spell(each) in labels:
                    return labels[spell(each)]
        return []

    return names, [places(name) for name in found]


def _elsewhere(found: Sequence[str], alike: list[list[int]], names: list[str]) -> list[str]:
    """What cannot be the class of its place: its letters are those of others, whose own names are not in their places."""
    taken = {i for i, (word, name) in enumerate(zip(found, names)) if composed(word) == name}
    by_letters = defaultdict(list)
    for label, name in enumerate(names):
        by_letters[_letters(name)].append(label)
    strange = []
    for i, (word, places) in enumerate(zip(found, alike)):
        places = places or by_letters.get(_letters(word) or None, ())
        meant = {names[place] for place in places if place == i or place not in taken}
        if meant and meant != {names[i]}:
            strange.append(word)
    return strange


def _checked(manifest: Manifest, names: list[str]) -> list[str]:
    """Class names that the files give."""
    try:
        check_class_names(names, manifest.namesakes)
    except InputError as error:
        raise InputError(f"{manifest.name}: {error}") from error
    return names


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, composed(name).casefold()))


def _bare(name: str) -> str:
    """A name without case, spaces and punctuation, if letters are left; signs such as + and # are part of it.

    A separator between two digits stays: 1.0 is not 10.
    """
    bare = re.sub(r"(?<!\d) | (?!\d)", "", re.sub(_SEPARATORS, " ", composed(name).casefold()))
    return bare if any(map(str.isalpha, bare)) else composed(name)


def _without_letter(folder: str) -> str | None:
    """What follows the letter under which SUN397 files a class: ``a_abbey`` or ``a/abbey`` gives ``abbey``."""
    match = re.fullmatch(r"([a-z])[/_](\1.*)", folder)
    return match and match[2]


def _readable(folder: str) -> str:
    return composed(folder.replace("_", " ").replace("/", " "))


def _some(names: Iterable[str], most: int = 5) -> str:
    names = list(names)
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")
