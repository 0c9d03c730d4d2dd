"""Readers of formats of their own: Matlab files (Cars, SVHN), IDX (MNIST), PPM with CSV (GTSRB)."""

from __future__ import annotations

import csv
import gzip
import math
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from scipy.io import loadmat

from tangent_lib.data.folders import class_folders, file_stamp, globbed
from tangent_lib.data.listing import (
    Item,
    Listing,
    check_range,
    file_item,
    first_match,
    in_order,
    labels_of_folders,
    labels_of_names,
    numbered_classes,
)
from tangent_lib.data.manifests import Manifest
from tangent_lib.data.trees import class_images
from tangent_lib.runtime.errors import InputError


def nested(path: str) -> str:
    """Globs for a file or folder, or the same once more in a folder of its name, as some archives pack them.

    Example:
        >>> nested("cars_train")
        'cars_train|cars_train/cars_train'
    """
    return f"{path}|{path}/{path.rpartition('/')[2]}"


def _of_cars(path: str) -> str:
    """Where an annotation of Cars may lie: at its own place first."""
    places = [path, *(f"{place}{Path(path).name}" for place in ("", "devkit/", "devkit/devkit/", "car_devkit/devkit/"))]
    return "|".join(map(nested, dict.fromkeys(places)))


CARS_META = _of_cars("devkit/cars_meta.mat")
CARS_ANNOTATIONS = {
    "train": _of_cars("devkit/cars_train_annos.mat"),
    "test": _of_cars("cars_test_annos_withlabels.mat"),
}
GTSRB_TRAIN, GTSRB_TEST, GTSRB_TABLE = "GTSRB/Training", "GTSRB/Final_Test/Images", nested("GT-final_test.csv")
MNIST_FILES = [(f"**/{prefix}-images?idx3-ubyte", f"**/{prefix}-labels?idx1-ubyte") for prefix in ("train", "t10k")]
SVHN_FILES = (nested("train_32x32.mat"), nested("test_32x32.mat"))
DEFLATE_AT_MOST = 1032  # bytes that one compressed byte can stand for
CHUNK_OF_IDX = 1 << 20
GZIP = b"\x1f\x8b"  # what a compressed file begins with


def read_cars(folder: Path, manifest: Manifest) -> Listing:
    """Stanford Cars as it is distributed: ``cars_train/``, ``cars_test/``, and annotations in Matlab files."""
    meta = first_match(folder, CARS_META)
    found = [str(name) for name in np.atleast_1d(_mat(meta, ("class_names",), manifest.name)["class_names"])]
    names, labels = labels_of_names(manifest, found, str(meta))
    splits = []
    for split, need in CARS_ANNOTATIONS.items():
        path = first_match(folder, need)
        rows = np.atleast_1d(_mat(path, ("annotations",), manifest.name)["annotations"])
        for field in ("fname", "class"):
            if field not in (rows.dtype.names or ()):
                raise InputError(
                    f"{manifest.name}: annotations in {path} have no field '{field}'. Those of test that have one are in "
                    "the separate cars_test_annos_withlabels.mat; cars_test_annos.mat does not serve"
                )
        files, numbers = [str(row["fname"]) for row in rows], np.array([int(row["class"]) - 1 for row in rows])
        check_range(manifest.name, numbers, len(labels), f"{path} (less 1, as they begin there with 1)")
        root = folder / f"cars_{split}"
        root = root / root.name if (root / root.name).is_dir() else root
        _check_there(root, files, str(path), manifest.name)
        splits.append([file_item(root, name, labels[i], manifest.name) for name, i in zip(files, numbers)])
    return Listing(names, *splits, dict(zip(found, labels)))


def read_svhn(folder: Path, manifest: Manifest) -> Listing:
    """SVHN's cropped digits: images of height x width x 3 along the last axis of ``X``, labels ``y``, where 10 means 0."""
    splits, all_labels = [], {}
    for path in (first_match(folder, need) for need in SVHN_FILES):
        content = _mat(path, ("X", "y"), manifest.name)
        images, labels = np.asarray(content["X"]), np.atleast_1d(content["y"]).astype(np.int64)
        images = images[..., None] if images.ndim == 3 and len(labels) == 1 else images
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2:] != (3, len(labels)) or not images.size:
            raise InputError(
                f"{manifest.name}: in {path}, X has shape {images.shape} and type {images.dtype}, y has {labels.size} "
                "labels; X should be height x width x 3 x images, of type uint8"
            )
        labels[labels == 10] = 0
        splits.append(_in_memory(path, images.transpose(3, 0, 1, 2), labels))
        all_labels[str(path)] = labels
    return Listing(numbered_classes(manifest, all_labels), *splits)


def read_mnist(folder: Path, manifest: Manifest) -> Listing:
    """MNIST as it is distributed: IDX files, compressed or not, in one folder, such as ``MNIST/raw/``."""
    splits, all_labels = [], {}
    for paths in _mnist_files(folder, manifest.name):
        images, labels = (_idx(path, axes, manifest.name) for path, axes in zip(paths, (3, 1)))
        if len(images) != len(labels):
            raise InputError(f"{manifest.name}: {len(images)} images in {paths[0]}, {len(labels)} labels in {paths[1]}")
        splits.append(_in_memory(paths[0], images, labels))
        all_labels[str(paths[1])] = labels
    return Listing(numbered_classes(manifest, all_labels), *splits)


def _mnist_files(folder: Path, dataset: str) -> list[list[Path]]:
    """Images and labels of train, and those of test: all in one folder, since another may hold another dataset's.

    Files that are there several times must be equal. A folder of a file's own name, as in some archives, does not count.
    """
    homes = []
    for need in (need for needs in MNIST_FILES for need in needs):
        first, *others = found = [path for each in either_compressed(need).split("|") for path in globbed(folder, each)]
        for path in others:
            if _differ(first, path, dataset):
                raise InputError(f"{dataset}: {first} and {path} are both there and differ: leave one")
        name = need.removeprefix("**/")
        homes.append({path.parents[fnmatch(path.parent.name, f"{name}*")]: path for path in reversed(found)})
    shared = [home for home in homes[0] if all(home in each for each in homes)]
    if not shared:
        listed = ", ".join(str(next(iter(each.values()))) for each in homes)
        raise InputError(
            f"{dataset}: {listed} are not in one folder, and may be of different datasets: put the four files of one together"
        )
    files = [each[min(shared)] for each in homes]
    return [files[:2], files[2:]]


def either_compressed(need: str) -> str:
    """A glob for a file that may be compressed; the other goes before.

    Example:
        >>> either_compressed("train-images-idx3-ubyte")
        'train-images-idx3-ubyte|train-images-idx3-ubyte.gz'
    """
    return f"{need}|{need}.gz"


def read_gtsrb(folder: Path, manifest: Manifest) -> Listing:
    """GTSRB as it is distributed: ``GTSRB/Training/00000/*.ppm`` and, for test, one folder and a table of labels."""
    root, test_root, table = folder / GTSRB_TRAIN, folder / GTSRB_TEST, first_match(folder, GTSRB_TABLE)
    names, labels = labels_of_folders(manifest, class_folders(root))
    train = class_images(root, labels, manifest.name, (".ppm",))
    rows = _gtsrb_table(table, manifest.name)
    strange = sorted({number for _, number in rows if f"{number:05d}" not in labels})
    if strange:
        raise InputError(
            f"{manifest.name}: labels out of range in {table}: {', '.join(map(str, strange[:5]))}; {root} has no such folders"
        )
    _check_there(test_root, [name for name, _ in rows], str(table), manifest.name)
    test = [file_item(test_root, name, labels[f"{number:05d}"], manifest.name) for name, number in rows]
    return Listing(names, train, in_order(test), labels)


def _gtsrb_table(path: Path, dataset: str) -> list[tuple[str, int]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter=";", skipinitialspace=True))
        found = [(row["Filename"], int(row["ClassId"])) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{dataset}: {path} is not the table of test labels ({type(error).__name__}: {error}); it has columns Filename "
            "and ClassId, divided by semicolons"
        ) from error
    if not found:
        raise InputError(f"{dataset}: {path} lists no images: put a good copy in its place")
    return found


def _check_there(root: Path, files: list[str], listed_in: str, dataset: str) -> None:
    [(twice, count)] = Counter(files).most_common(1)
    if count > 1:
        raise InputError(f"{dataset}: {listed_in} names {twice} twice, so that its label is not sure: leave one row")
    there = set(os.listdir(root)) if root.is_dir() else set()
    missing = [name for name in files if name not in there]
    if missing:
        raise InputError(
            f"{dataset}: {len(missing)} of {len(files)} images listed in {listed_in} are missing in {root}, the first being "
            f"{missing[0]}. Get them from the dataset's source"
        )


def _mat(path: Path, variables: tuple[str, ...], dataset: str) -> dict:
    """Variables of a Matlab file."""
    try:
        content = loadmat(path, squeeze_me=True, variable_names=variables)
    except Exception as error:  # whatever its parser stumbles over
        raise InputError(
            f"{dataset}: {path} cannot be read as a Matlab file of version 5 ({type(error).__name__}: {error}): "
            "put a good copy in its place"
        ) from error
    missing = [name for name in variables if name not in content]
    if missing:
        raise InputError(f"{dataset}: {path} has no variable {', '.join(missing)}: it is another file, or another dataset's")
    return content


@contextmanager
def _unpacked(path: Path, dataset: str) -> Iterator[BinaryIO]:
    """A file, open for reading; one that is compressed, by its name or its beginning, is decompressed."""
    try:
        with open(path, "rb") as file:
            opened = gzip.open if path.suffix == ".gz" or file.read(2) == GZIP else open
        with opened(path, "rb") as file:
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{dataset}: {path} cannot be read ({error}): put a good copy in its place") from error


def _differ(one: Path, other: Path, dataset: str) -> bool:
    """Whether two files, compressed or not, hold different bytes, as far as both can be read."""
    with suppress(InputError), _unpacked(one, dataset) as left, _unpacked(other, dataset) as right:
        chunks = (iter(partial(file.read, CHUNK_OF_IDX), b"") for file in (left, right))
        return any(a != b for a, b in zip_longest(*chunks))
    return False


def _idx(path: Path, axes: int, dataset: str) -> ndarray:
    """An IDX file of bytes: two zeros, the type (8), the number of axes, their sizes as big-endian int32, and the values.

    The header says how much is read, and whether the file can hold as much before memory is taken.
    """
    start = 4 + 4 * axes
    with _unpacked(path, dataset) as file:
        head = file.read(start)
        if head[:4] != bytes((0, 0, 8, axes)) or len(head) < start:
            raise InputError(
                f"{dataset}: {path} is no IDX file of bytes with {axes} axes, it begins with {head[:4].hex(' ')}"
            )
        shape = np.frombuffer(head[4:], ">i4").tolist()
        needed, most = math.prod(shape), path.stat().st_size * (DEFLATE_AT_MOST if isinstance(file, gzip.GzipFile) else 1)
        if min(shape) < 1 or needed > most:
            raise InputError(
                f"{dataset}: {path} is truncated or damaged: its header says {' x '.join(map(str, shape))}, where each "
                f"must be 1 at least, and a file of this size holds {most} values at most"
            )
        values, there = np.empty(needed, np.uint8), 0
        while chunk := file.read(CHUNK_OF_IDX):
            if there < needed:
                values[there : there + len(chunk)] = np.frombuffer(chunk, np.uint8)[: needed - there]
            there += len(chunk)
            if there > needed:
                break
    if there != needed:
        raise InputError(
            f"{dataset}: {path} is truncated or damaged: {'more' if there > needed else there} bytes of values, where its "
            f"header {' x '.join(map(str, shape))} needs {needed}"
        )
    return values.reshape(shape)


def _in_memory(path: Path, images: UInt8[ndarray, "n height width *rgb"], labels: ndarray) -> list[Item]:
    stamp = file_stamp(path)
    return [Item(str(i), int(label), partial(_picture, images, i), stamp) for i, label in enumerate(labels)]


def _picture(images: ndarray, i: int) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(images[i])).convert("RGB")
