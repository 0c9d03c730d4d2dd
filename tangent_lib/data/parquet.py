"""Reader of datasets of the Hugging Face hub: images as bytes in parquet files, read a row group at a time."""

from __future__ import annotations

import io
import json
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tangent_lib.data.folders import file_stamp, globbed
from tangent_lib.data.listing import Item, Listing, check_range, labels_of_names, numbered_classes
from tangent_lib.data.manifests import Manifest
from tangent_lib.data.pictures import decode
from tangent_lib.runtime.errors import InputError

KEPT = 2  # row groups of a split that are held in memory: threads that decode in order may be at the seam of two


def read_parquet(folder: Path, manifest: Manifest, test: str = "test") -> Listing:
    """``<folder>/train-*.parquet`` and ``<folder>/test-*.parquet``, or another split for test.

    The image column holds bytes. The label column holds numbers, whose class names stand in the files or, if not, are those
    of the manifest; or it holds the names.
    """
    splits = [_Rows(_files(folder, split, manifest.name), manifest.name) for split in ("train", test)]
    where = [str(rows.paths[0]) for rows in splits]
    found, labels = _numbers(splits, manifest.name)
    if found is None:
        names, called = numbered_classes(manifest, dict(zip(where, labels))), {}
    else:
        for each, path in zip(labels, where):
            check_range(manifest.name, each, len(found), path)
        names, meant = labels_of_names(manifest, found, where[0])
        labels, called = [np.array(meant)[each] for each in labels], dict(zip(found, meant))
    return Listing(names, *(rows.items(each) for rows, each in zip(splits, labels)), called)


class _Rows:
    """The rows of the files of a split: labels at once, images when they are asked for."""

    def __init__(self, paths: list[Path], dataset: str):
        self.paths, self._dataset = paths, dataset
        self._groups: list[tuple[Path, int, int]] = []  # file, number of the row group, first of its rows in the file
        self._starts = [0]  # first row of each group in the split
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = Lock()
        named, labels = set(), []
        for path in paths:
            with _open(path, dataset) as file:
                self._image_column, label_column, names = _columns(file.schema_arrow, path, dataset)
                named.add(names)
                labels.append(_labels(file.read(columns=[label_column]).column(0), path, dataset))
                first = 0
                for group in range(file.num_row_groups):
                    self._groups.append((path, group, first))
                    first += file.metadata.row_group(group).num_rows
                    self._starts.append(self._starts[-1] + file.metadata.row_group(group).num_rows)
        if len(named) > 1:
            raise InputError(f"{dataset}: the files beside {paths[0]} name different classes: take all from one source")
        self.class_names: tuple[str, ...] | None = named.pop()
        self.labels = np.concatenate(labels)

    def items(self, labels: np.ndarray) -> list[Item]:
        names = [f"{path.name} {first + row}" for (path, _, first), size in zip(self._groups, np.diff(self._starts).tolist())
                 for row in range(size)]  # fmt: skip
        stamp = " ".join(map(file_stamp, self.paths))
        return [Item(name, int(label), partial(self._image, i), stamp) for i, (name, label) in enumerate(zip(names, labels))]

    def _image(self, row: int) -> Image.Image:
        number = bisect_right(self._starts, row) - 1
        path, _, first = self._groups[number]
        row -= self._starts[number]
        what = f"row {first + row} of {path}"
        data = self._group(number)[row].as_py()["bytes"]
        if data is None:
            raise InputError(f"{self._dataset}: {what} has only the path of an image: take a file with the images in it")
        return decode(io.BytesIO(data), what, self._dataset)

    def _group(self, number: int) -> pa.ChunkedArray:
        with self._lock:
            if number not in self._kept:
                path, group, _ = self._groups[number]
                with _open(path, self._dataset) as file:
                    self._kept[number] = file.read_row_group(group, columns=[f"{self._image_column}.bytes"]).column(0)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[number]


def _files(folder: Path, split: str, dataset: str) -> list[Path]:
    """The files of a split, none of which is missing: their names say how many there are."""
    paths = sorted(globbed(folder, f"*/{split}-*.parquet"))
    places = sorted({path.parent.name for path in paths})
    if len(places) > 1:
        raise InputError(f"{dataset}: several folders of {folder} have parquet files, {', '.join(places)}: leave one")
    numbered = [re.search(r"-(\d+)-of-(\d+)", path.name) for path in paths]
    found = [(int(match[1]), int(match[2])) for match in numbered if match]
    totals = {total for _, total in found}
    if len(totals) > 1 or len(set(found)) < len(found):
        raise InputError(f"{dataset}: the {split} files in {paths[0].parent} are of several versions: leave one")
    missing = sorted({(i, total) for total in totals for i in range(total)} - set(found))
    if missing:
        raise InputError(
            f"{dataset}: {len(missing)} of {missing[0][1]} {split} files are missing in {paths[0].parent}, the first being "
            f"{split}-{missing[0][0]:05d}-of-{missing[0][1]:05d}.parquet"
        )
    return paths


@contextmanager
def _open(path: Path, dataset: str) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(path) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{dataset}: {path} cannot be read as parquet ({error}): put a good copy in its place") from error


def _columns(schema: pa.Schema, path: Path, dataset: str) -> tuple[str, str, tuple[str, ...] | None]:
    """The columns of images and of labels, and the class names, which the hub keeps in the schema's metadata."""
    features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features", {})
    kinds = {name: feature.get("_type") for name, feature in features.items() if isinstance(feature, dict)}
    image = _column([name for name, kind in kinds.items() if kind == "Image"], "image", schema)
    label = _column([name for name, kind in kinds.items() if kind == "ClassLabel"], "label", schema)
    if image is None or label is None or not _has_bytes(schema.field(image).type):
        raise InputError(
            f"{dataset}: {path} has columns {', '.join(schema.names)}; an image column of structs with a field 'bytes' and a "
            "label column are needed, called image and label if the file's metadata do not say which they are"
        )
    names = features.get(label, {}).get("names")
    return image, label, None if names is None else tuple(names)


def _column(candidates: list[str], usual: str, schema: pa.Schema) -> str | None:
    """The only candidate; of several, or of none, the one with the usual name."""
    name = candidates[0] if len(candidates) == 1 else usual
    return name if name in schema.names else None


def _has_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def _labels(column: pa.ChunkedArray, path: Path, dataset: str) -> np.ndarray:
    kind = column.type
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(
            f"{dataset}: labels in {path} are of type {kind}, and {column.null_count} are missing: numbers or names are "
            "needed, one in each row"
        )
    return column.to_numpy()


def _numbers(splits: list[_Rows], dataset: str) -> tuple[list[str] | None, list[np.ndarray]]:
    """The class names that the files give, if they do, and the labels of each split as numbers."""
    labels = [rows.labels for rows in splits]
    if any(each.dtype == object for each in labels):
        found = sorted({str(name) for each in labels for name in each})
        number = {name: i for i, name in enumerate(found)}
        return found, [np.array([number[str(name)] for name in each]) for each in labels]
    if len({rows.class_names for rows in splits}) > 1:
        raise InputError(f"{dataset}: {' and '.join(str(rows.paths[0]) for rows in splits)} name different classes")
    names = splits[0].class_names
    return None if names is None else list(names), labels
