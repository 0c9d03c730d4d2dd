"""What every reader of a dataset returns: its images, not yet decoded, and the label that each class has."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import SequenceMatcher
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from tangent_lib.data.folders import any_of, file_stamp
from tangent_lib.data.manifests import Manifest, check_class_names, composed
from tangent_lib.data.pictures import decode
from tangent_lib.runtime.errors import InputError

RESEMBLES = 0.8  # a likeness of names, as of tumor and tumour, that unrelated words do not often have
_MINUS = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63\uff0d"), "-")
_PLAIN = re.compile(r"[-+]?\d{1,4000}(?:\.(\d{1,4000}))?")  # numbers of one meaning: a sign perhaps, a point perhaps
_NUMBER = re.compile(r"((?:(?<![^\W_])[-+])?\d{1,4000}(?:\.\d{1,4000})?(?:e[-+]?\d{1,3})?)")
_GROUPED = re.compile(r"(?<![\d.,])([1-9]\d{0,2})((?:[.,'\u2019\s_]\d{3})+)(?!\d)")  # such as 1,000
_SEPARATORS = r"[\s_.,:;'’\"“”()\[\]/\\&\-\u2010-\u2015]+"


@dataclass(frozen=True, slots=True)
class Item:
    """One image: its name, which no other of the split has, its label, and a function that decodes it, to RGB.

    Its ``stamp``, where it comes from a file, is that file's :func:`~tangent_lib.data.folders.file_stamp`.
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
    where these alone tell them apart. Where that order is not sure, as that of 500 and 1,000, or a folder has another place
    in it by its name, or by what its name resembles or abbreviates, it is not for us to say which is which.

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
        elsewhere = _elsewhere(folders, alike, names) or _resembling(folders, alike, names)
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
    are alike in their places, and none is the name of another place, nor do any resemble each other's.

    Example:
        >>> from tangent_lib.data.manifests import load_manifest
        >>> labels_of_names(load_manifest("EuroSAT"), ["Sea Lake", "annual crop land"], "train.parquet")[1]
        [9, 0]
    """
    if manifest.classes is None:
        alike = defaultdict(list)
        for name in found:
            alike[_bare(name) if len(name) > 1 else name].append(name)
        twice = next((some for some in alike.values() if len(set(some)) > 1), None)
        if twice:
            raise InputError(
                f"{manifest.name}: {where} names {_some(twice)}, which are one class perhaps: give `classes` in the manifest "
                "as NAME THERE: name"
            )
        return _checked(manifest, [composed(name.replace("_", " ")) for name in found]), list(range(len(found)))
    names, alike = _alike(manifest.classes, found)
    labels = [label for label, *more in filter(None, alike) if not more]
    if len(labels) == len(set(labels)) == len(found):
        return names, labels
    in_place = sum(_bare(own) in map(_bare, (each, *each.split(","))) for own, each in zip(names, found))
    elsewhere = _elsewhere(found, alike, names)
    if len(found) == len(names) and not elsewhere:
        elsewhere = _resembling(found, alike, names, exchanged=True)
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
    """Words in alphabetical order, or by their numbers, where all are numbers, or are one but for these and end in one.

    Example:
        >>> by_number(["class10", "class9"]), by_number(["0.5", "-1", "0.25"]), by_number(["class10", "class9", "other"])
        (['class9', 'class10'], ['-1', '0.25', '0.5'], ['class10', 'class9', 'other'])
    """
    words = sorted(words, key=composed)
    if _are_numbers(words):
        return sorted(words, key=_decimal)
    around = {tuple(_natural(word)[::2]) for word in words}
    return sorted(words, key=_natural) if len(around) == 1 and around.pop()[-1] == "" else words


def spelt_alike(called: str, name: str) -> bool:
    """Whether two names are one but for case, spaces and punctuation.

    Example:
        >>> spelt_alike("Sea_Lake", "sea lake"), spelt_alike("C++", "C")
        (True, False)
    """
    return _bare(called) == _bare(name)


def _are_numbers(words: Sequence[str]) -> bool:
    """Whether words are numbers that are read in one way: 1.9 and 1.10 are versions perhaps."""
    found = [_PLAIN.fullmatch(word.translate(_MINUS)) for word in words]
    behind = [match[1] or "" for match in found if match]
    return len(behind) == len(words) and (len(set(map(len, behind))) < 2 or not any(each.endswith("0") for each in behind))


def _natural(word: str) -> list[str | int]:
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d{1,4000})", word))]


def _decimal(word: str) -> list[str | Decimal]:
    """A word with its numbers as such, with sign and exponent, and with a comma or underscore for a point."""
    return _measured(re.sub(r"(?<=\d)[,_](?=\d)", ".", word))


def _thousands(word: str) -> list[str | Decimal]:
    """A word with its numbers as such, where points, commas and spaces may divide thousands."""
    return _measured(_GROUPED.sub(lambda match: match[1] + re.sub(r"\D", "", match[2]), word))


def _measured(word: str) -> list[str | Decimal]:
    plain = (f"{unicodedata.numeric(c):g}" if c.isnumeric() and not c.isdecimal() else c for c in word.translate(_MINUS))
    return [Decimal(part) if i % 2 else part for i, part in enumerate(_NUMBER.split("".join(plain).casefold()))]


def _order_is_sure(folders: list[str]) -> bool:
    """Whether folders, as :func:`by_number` has them, stand so in each way to read their numbers, and in either case."""
    readings = [_decimal, _thousands]
    if not _are_numbers(folders):
        readings += [_natural, lambda folder: _natural(folder.casefold())]
    keys = [list(map(reading, folders)) for reading in readings]
    return all(key == sorted(key) and len(set(map(tuple, key))) == len(key) for key in keys)


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


def _resembling(found: Sequence[str], alike: list[list[int]], names: list[str], exchanged: bool = False) -> list[str]:
    """What is perhaps the class of another place: it resembles that one's name more than its own place's does, and more than
    what stands there; or it abbreviates that name. If asked, only where others resemble the names of their places in turn."""
    bare, meant = list(map(_bare, names)), {}
    spelt = [{_bare(word), *map(_bare, word.split(","))} for word in found]
    own = [max(_likeness(each, name, 0.0) for each in words) for words, name in zip(spelt, bare)]
    for i in (i for i, places in enumerate(alike) if len(places) != 1):
        least = max(RESEMBLES, own[i])
        meant[i] = {
            j for j, name in enumerate(bare) for each in spelt[i] if _likeness(each, name, least) > max(own[i], own[j])
        }
    strange = {i for i, places in meant.items() if places}
    while exchanged and strange != (claimed := {i for i in strange if any(i in meant[other] for other in strange)}):
        strange = claimed
    return [found[i] for i in sorted(strange)]


def _likeness(word: str, name: str, least: float) -> float:
    """From 0 to 1; 0 where it is below ``least``, without much work."""
    if word.isalpha() and name.startswith(word):
        return 1.0
    if 2 * min(len(word), len(name)) < least * (len(word) + len(name)):
        return 0.0
    matcher = SequenceMatcher(None, word, name, autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= least else 0.0


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
