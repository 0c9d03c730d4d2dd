"""Readers of image trees: a folder for each class, the splits being folders too, or lists of files, or drawn at random.

Items come by label, then by file name, as the released code's image folders give them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch

from tangent_lib.data.folders import class_folders, files_below
from tangent_lib.data.listing import (
    Item,
    Listing,
    file_item,
    first_match,
    in_order,
    labels_of_folders,
    same_classes,
)
from tangent_lib.data.manifests import Manifest
from tangent_lib.data.pictures import IMAGE_SUFFIXES, refuse_image
from tangent_lib.runtime.errors import InputError

DTD_IMAGES = "images|dtd/images"
DTD_LISTS = {"train": ("train1.txt", "val1.txt"), "test": ("test1.txt",)}
EUROSAT_IMAGES = "2750|EuroSAT/2750|EuroSAT_RGB"
RESISC45_IMAGES = "NWPU-RESISC45"
RESISC45_LISTS = {"train": ("resisc45-train.txt",), "test": ("resisc45-test.txt",)}
SUN397_IMAGES = "SUN397|."
SUN397_LISTS = {"train": ("Training_01.txt",), "test": ("Testing_01.txt",)}
SUN397_PLACES = (".", "SUN397", "Partitions", "SUN397/Partitions")


def read_folders(folder: Path, manifest: Manifest, test: str = "test") -> Listing:
    """``train/<class>/`` and ``test/<class>/``, or another folder for test."""
    roots = {"train": folder / "train", "test": first_match(folder, test)}
    found = {split: class_folders(root) for split, root in roots.items()}
    real = folder / "test"
    if real not in roots.values() and real.is_dir() and set(class_folders(real)) & set(found["train"]):
        raise InputError(
            f"{manifest.name}: {folder} has train, {roots['test'].name} and test. The released code puts test images into "
            f"{roots['test'].name}, and all others into train: do so, and remove test, or name another layout in a manifest "
            "of your own"
        )
    same_classes(manifest.name, found["train"], found["test"])
    names, labels = labels_of_folders(manifest, found["train"])
    homes: dict[str, Path] = {}
    splits = [class_images(root, labels, manifest.name, homes=homes) for root in roots.values()]
    return Listing(names, *splits, labels)


def read_eurosat(folder: Path, manifest: Manifest) -> Listing:
    """EuroSAT as it is distributed, ``2750/<class>/``, and split here: a tenth for test, a tenth unused, the rest for train.

    The released code's split, 21,600 for train, 2,700 for validation and 2,700 for test, was drawn at random and is not
    published; this one has the same sizes and is drawn with seed 0.
    """
    root = first_match(folder, EUROSAT_IMAGES)
    names, labels = labels_of_folders(manifest, class_folders(root))
    items = class_images(root, labels, manifest.name)
    tenth = len(items) // 10
    if not tenth:
        raise InputError(f"{manifest.name}: {len(items)} images in {root}: at least 10 are needed to split them")
    drawn = torch.randperm(len(items), generator=torch.Generator().manual_seed(0)).tolist()
    test, train = sorted(drawn[:tenth]), sorted(drawn[2 * tenth :])
    return Listing(names, [items[i] for i in train], [items[i] for i in test], labels)


def read_dtd(folder: Path, manifest: Manifest) -> Listing:
    """DTD as it is distributed: ``images/<class>/`` and the lists of split 1, of which train and val make train."""
    root = first_match(folder, DTD_IMAGES)
    lists = _lists(DTD_LISTS, lambda name: root.parent / "labels" / name)
    return _listed(manifest, root, lists, class_folders(root))


def read_resisc45(folder: Path, manifest: Manifest) -> Listing:
    """RESISC45: ``NWPU-RESISC45/<class>/<class>_001.jpg`` and lists of file names; the official val is not used."""
    root = folder / RESISC45_IMAGES
    lists = _lists(RESISC45_LISTS, lambda name: folder / name)
    paths = {split: [f"{name.rpartition('_')[0]}/{name}" for name in names] for split, names in lists.items()}
    return _listed(manifest, root, paths, class_folders(root))


def read_sun397(folder: Path, manifest: Manifest) -> Listing:
    """SUN397: ``SUN397/a/abbey/sun_*.jpg``, some classes a folder deeper, and the lists of partition 1."""
    root = next(root for root in (folder / name for name in SUN397_IMAGES.split("|")) if first_match(root, "[a-z]/*/*"))
    lists = _lists(SUN397_LISTS, lambda name: first_match(folder, sun397_list(name)))
    paths = {split: [name.lstrip("/") for name in names] for split, names in lists.items()}
    return _listed(manifest, root, paths, {_class(path) for some in paths.values() for path in some})


def sun397_list(name: str) -> str:
    """Where a list of SUN397 may lie: beside the images, above them, or in the folder of the archive of lists.

    Example:
        >>> sun397_list("Testing_01.txt").split("|")[:2]
        ['Testing_01.txt', 'SUN397/Testing_01.txt']
    """
    return "|".join((Path(place) / name).as_posix() for place in SUN397_PLACES)


def class_images(
    root: Path,
    labels: dict[str, int],
    dataset: str,
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    homes: dict[str, Path] | None = None,
) -> list[Item]:
    """The images of class folders, at any depth, in order; other files may lie there, but no other images.

    Raises:
        InputError: for a class without images, an image that is not taken, or a file that is of two classes by links, or of
            two splits, where ``homes`` has the other's.
    """
    items, empty, homes = [], [], {} if homes is None else homes
    for name, label in labels.items():
        files = files_below(root / name, lambda file: file.lower().endswith(suffixes), partial(refuse_image, taken=suffixes))
        for real, file in files.items():
            path = f"{name}/{file}"
            other = homes.setdefault(real, root / path)
            if other != root / path:
                raise InputError(
                    f"{dataset}: {root / path} and {other} are one file, by a link, and cannot be of two classes or splits: "
                    "remove the link"
                )
            items.append(file_item(root, path, label, dataset))
        if not files:
            empty.append(name)
    if empty:
        raise InputError(f"{dataset}: no images in {', '.join(str(root / name) for name in empty[:5])}")
    return in_order(items)


def _lists(names: dict[str, tuple[str, ...]], place: Callable[[str], Path]) -> dict[str, list[str]]:
    """What each split's lists of files say, line by line."""
    return {split: [line for name in some for line in _read_list(place(name))] for split, some in names.items()}


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of images ({error}): put a good copy in its place") from error
    lines = [line.strip() for line in lines if line.strip()]
    if not lines:
        raise InputError(f"{path} lists no images: put a good copy in its place")
    return lines


def _class(path: str) -> str:
    return path.rpartition("/")[0]


def _listed(manifest: Manifest, root: Path, lists: dict[str, list[str]], folders: Iterable[str]) -> Listing:
    """The images that lists name by their paths in ``root``."""
    for split, paths in lists.items():
        if len(set(paths)) < len(paths):
            [(twice, _)] = Counter(paths).most_common(1)
            raise InputError(f"{manifest.name}: the lists of {split} name {twice} twice")
        missing = [path for path in paths if not (root / path).is_file()]
        if missing:
            raise InputError(
                f"{manifest.name}: {len(missing)} of {len(paths)} images listed for {split} are missing in {root}, the "
                f"first being {missing[0]}. Get them from the dataset's source"
            )
    in_both = sorted(set.intersection(*map(set, lists.values())))
    if in_both:
        raise InputError(
            f"{manifest.name}: the lists of {' and '.join(lists)} both name {in_both[0]}, and {len(in_both) - 1} more: take "
            "lists of one source, in which no image is of both"
        )
    found = {split: {_class(path) for path in paths} for split, paths in lists.items()}
    same_classes(manifest.name, found["train"], found["test"])
    names, labels = labels_of_folders(manifest, folders)
    unlisted = sorted(labels.keys() - found["train"])
    if unlisted:
        raise InputError(f"{manifest.name}: class folders without a listed image in {root}: {', '.join(unlisted[:5])}")
    return Listing(
        names,
        *(in_order(file_item(root, path, labels[_class(path)], manifest.name) for path in some) for some in lists.values()),
        labels,
    )
