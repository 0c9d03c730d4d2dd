"""Reader of datasets of the Hugging Face hub: images as bytes in parquet files, read a row group at a time."""

from __future__ import annotations

import io
import re
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from pydantic import BaseModel, ValidationError

from tangent_lib.data.folders import file_stamp, globbed
from tangent_lib.data.listing import Item, Listing, check_range, labels_of_names, numbered_classes, same_classes
from tangent_lib.data.manifests import Manifest
from tangent_lib.data.pictures import decode
from tangent_lib.runtime.disk import in_words
from tangent_lib.runtime.errors import InputError, unknown

LEAST_OF_A_ROW = 16  # bytes of a file for each of its rows; where there are fewer, images are missing or all one
LARGEST_GROUP = 2e9  # bytes of a row group, which is read as a whole
KEPT = 2  # row groups of a split that are held in memory: threads that decode in order may be at the seam of two


def read_parquet(folder: Path, manifest: Manifest, test: str = "test") -> Listing:
    """``<folder>/train-*.parquet`` and ``<folder>/test-*.parquet``, or another split for test.

    Columns are those that the manifest names, or the only ones of their kind in a file, or called image and label. Images are
    bytes. Labels are numbers, whose class names stand in the files or, if not, are those of the manifest; or they are names.
    Before rows are read, it is checked that there can be so many. Images that are one are held in memory once.
    """
    splits = [_Rows(_files(folder, split, manifest.name), manifest) for split in ("train", test)]
    where = [str(rows.paths[0]) for rows in splits]
    found, labels = _numbers(splits, manifest.name)
    if found is None:
        names, called = numbered_classes(manifest, dict(zip(where, labels))), {}
    else:
        for each, path in zip(labels, where):
            check_range(manifest.name, each, len(found), path)
        names, meant = labels_of_names(manifest, found, where[0])
        labels, called = [np.array(meant)[each] for each in labels], dict(zip(found, meant))
    new = sorted(set(labels[1].tolist()) - set(labels[0].tolist()))
    if new:
        raise InputError(
            f"{manifest.name}: {where[1]} has classes of which {where[0]} has no images, "
            f"{', '.join(names[i] for i in new[:5])}: take both from one source, or leave those rows out"
        )
    return Listing(names, *(rows.items(each) for rows, each in zip(splits, labels)), called)


class _Rows:
    """The rows of the files of a split: labels at once, images when they are asked for."""

    def __init__(self, paths: list[Path], manifest: Manifest):
        self.paths, self._dataset = paths, manifest.name
        self._groups: list[tuple[Path, int, int]] = []  # file, number of the row group, first of its rows in the file
        self._starts = [0]  # first row of each group in the split
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = Lock()
        named, labels = set(), []
        for path in paths:
            with _open(path, manifest.name) as file:
                self._image_column, label_column, names = _columns(file.schema_arrow, path, manifest)
                _check_kind(file.schema_arrow.field(label_column).type, path, manifest.name)
                _check_size(file.metadata, path, manifest, self._starts[-1])
            named.add(names)
            with _open(path, manifest.name, label_column) as file:
                labels.append(_labels(file.read(columns=[label_column]).column(0), path, manifest.name))
                first = 0
                for group in range(file.num_row_groups):
                    self._groups.append((path, group, first))
                    first += file.metadata.row_group(group).num_rows
                    self._starts.append(self._starts[-1] + file.metadata.row_group(group).num_rows)
        if len(named) > 1:
            raise InputError(f"{manifest.name}: the files beside {paths[0]} name different classes: take all from one source")
        self.class_names: tuple[str, ...] | None = named.pop()
        self.labels = np.concatenate(labels)
        if not len(self.labels):
            raise InputError(f"{manifest.name}: {paths[0]} has no rows: take a file with the images of this split in it")

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
        image = self._group(number)[row].as_py()
        if image is None:
            raise InputError(f"{self._dataset}: {what} has no image: take a file with all images in it, or leave the row out")
        if image["bytes"] is None:
            raise InputError(f"{self._dataset}: {what} has only the path of an image: take a file with the images in it")
        return decode(io.BytesIO(image["bytes"]), what, self._dataset)

    def _group(self, number: int) -> pa.ChunkedArray:
        with self._lock:
            if number not in self._kept:
                path, group, _ = self._groups[number]
                column = f"{self._image_column}.bytes"
                with _open(path, self._dataset, column) as file:
                    self._kept[number] = file.read_row_group(group, columns=[column]).column(0)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[number]


def _files(folder: Path, split: str, dataset: str) -> list[Path]:
    """The files of a split, none of which is missing: their names say how many there are."""
    paths = sorted(globbed(folder, f"*/{split}-*.parquet"))
    paths = [path for path in paths if path.name[len(split) + 1].isdecimal()] or paths  # not those of train-unlabeled
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
def _open(path: Path, dataset: str, column: str | None = None) -> Iterator[pq.ParquetFile]:
    """A parquet file; of the column, what is often the same is read once and not as often as it is there."""
    try:
        with pq.ParquetFile(path, read_dictionary=[column] if column else None) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{dataset}: {path} cannot be read as parquet ({error}): put a good copy in its place") from error


def _check_size(metadata: pq.FileMetaData, path: Path, manifest: Manifest, before: int) -> None:
    """Check, from what a file says of itself, that its rows can be the images of a split."""
    rows, size = metadata.num_rows, path.stat().st_size
    most = manifest.sizes and manifest.sizes.train + manifest.sizes.test
    if most and before + rows > most:
        raise InputError(
            f"{manifest.name}: {path} has {rows:,} rows, with the files before it more than the {most:,} images that the "
            "manifest gives: correct `sizes` there, or take other files"
        )
    if rows * LEAST_OF_A_ROW > size:
        raise InputError(
            f"{manifest.name}: {path} has {rows:,} rows in {in_words(size)}: their images are missing, or one and the same. "
            "Take a file with the images in it"
        )
    largest = max((metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups)), default=0)
    if largest > LARGEST_GROUP:
        raise InputError(
            f"{manifest.name}: {path} has a row group of {in_words(largest)}, at most {in_words(LARGEST_GROUP)} are read "
            "at once: write it anew in smaller ones, with pyarrow's row_group_size=1000"
        )


class _Info(BaseModel):
    features: dict[str, Any] = {}


class _HubMetadata(BaseModel):
    """What the hub keeps in the metadata of a schema, as far as it is needed here."""

    info: _Info = _Info()


class _ClassLabel(BaseModel):
    names: list[str] | None = None


def _columns(schema: pa.Schema, path: Path, manifest: Manifest) -> tuple[str, str, tuple[str, ...] | None]:
    """The columns of images and of labels, and the class names."""
    try:
        features = _HubMetadata.model_validate_json((schema.metadata or {}).get(b"huggingface", b"{}")).info.features
        image = _column("image", "Image", features, schema, path, manifest)
        label = _column("label", "ClassLabel", features, schema, path, manifest)
        names = _ClassLabel.model_validate(features.get(label, {})).names
    except ValidationError as error:
        raise InputError(
            f"{manifest.name}: the metadata 'huggingface' of {path} are not as the hub writes them "
            f"({error.errors()[0]['msg']}): take the file from its source again, or write it anew without them"
        ) from error
    unique = len(set(schema.names)) == len(schema.names)
    if not unique or image is None or label is None or not _has_bytes(schema.field(image).type):
        raise InputError(
            f"{manifest.name}: {path} has columns {', '.join(schema.names)}; an image column of structs with a field 'bytes' "
            "and a label column are needed, called image and label if neither the file's metadata nor `columns: {image: ..., "
            "label: ...}` in the manifest say which they are"
        )
    if pa.types.is_struct(schema.field(label).type):
        raise InputError(
            f"{manifest.name}: the label column '{label}' of {path} holds structs, as images are, where numbers or names are "
            f"needed: name another of {', '.join(schema.names)} with `columns: {{label: ...}}` in the manifest"
        )
    return image, label, None if names is None else tuple(names)


def _column(role: str, kind: str, features: dict, schema: pa.Schema, path: Path, manifest: Manifest) -> str | None:
    """The column that the manifest names; or the only candidate; or, of several or of none, the one with the usual name."""
    if role in manifest.columns:
        if manifest.columns[role] not in schema.names:
            way_out = f"These are in {path}: correct `columns` in the manifest of {manifest.name}."
            raise unknown(f"{role} column", manifest.columns[role], schema.names, way_out)
        return manifest.columns[role]
    typed = [name for name, feature in features.items() if isinstance(feature, dict) and feature.get("_type") == kind]
    candidates = [name for name in typed if name in schema.names]
    name = candidates[0] if len(candidates) == 1 else role
    if len(candidates) > 1 and role not in candidates:
        raise InputError(
            f"{manifest.name}: {path} has several {role} columns, {', '.join(candidates)}: name the one to take in the "
            f"manifest, such as `columns: {{{role}: {candidates[0]}}}`"
        )
    return name if name in schema.names else None


def _has_bytes(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0


def _check_kind(kind: pa.DataType, path: Path, dataset: str) -> None:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise InputError(f"{dataset}: labels in {path} are of type {kind}: numbers or names are needed, one in each row")


def _labels(column: pa.ChunkedArray, path: Path, dataset: str) -> np.ndarray:
    if column.null_count:
        raise InputError(
            f"{dataset}: labels in {path} are of type {column.type}, and {column.null_count} are missing: one is needed in "
            "each row"
        )
    if not pa.types.is_dictionary(column.type):
        return column.to_numpy()
    whole = column.unify_dictionaries().combine_chunks()
    return whole.dictionary.to_numpy(zero_copy_only=False)[whole.indices.to_numpy()]


def _numbers(splits: list[_Rows], dataset: str) -> tuple[list[str] | None, list[np.ndarray]]:
    """The class names that the files give, if they do, and the labels of each split as numbers."""
    labels = [rows.labels for rows in splits]
    if any(each.dtype == object for each in labels):
        train, test = ({str(name) for name in each} for each in labels)
        same_classes(dataset, train, test)
        found = sorted(train)
        number = {name: i for i, name in enumerate(found)}
        return found, [np.array([number[str(name)] for name in each]) for each in labels]
    if len({rows.class_names for rows in splits}) > 1:
        raise InputError(f"{dataset}: {' and '.join(str(rows.paths[0]) for rows in splits)} name different classes")
    names = splits[0].class_names
    return None if names is None else list(names), labels
