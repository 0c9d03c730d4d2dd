"""Decoded images of a split, packed: their pixels one after the other in one file, and an index beside it.

``<split>.pixels`` holds height x width x 3 bytes an image, at full size, so that preprocessing sees what the files hold.
``<split>.safetensors`` holds, for each image, ``offsets``, ``heights``, ``widths``, ``labels`` and ``hashes``: the first
16 bytes of the SHA-256 over height, width and pixels. The index is put in place last: where it is, the split is complete.
``<split>.checked`` says in which state the pixels were seen to be those of the index.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from tangent_lib.data.folders import file_stamp
from tangent_lib.data.listing import Item
from tangent_lib.runtime.cores import usable_cores
from tangent_lib.runtime.disk import full_disk, is_full
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.words import command_line

HASH_BYTES = 16
DECODERS = min(8, usable_cores())
INDEX = {"offsets": torch.int64, "heights": torch.int32, "widths": torch.int32, "labels": torch.int64, "hashes": torch.uint8}
Pixels = UInt8[ndarray, "height width 3"]


def prepare_anew(name: str, data_root: str | Path) -> str:
    """The way out where a prepared dataset is no longer what it was."""
    return f"Prepare it anew: {command_line('tangent', 'data', 'prepare', name, '--data-root', data_root, '--again')}"


class PackedSplit:
    """The images of a split, read from disk one at a time; made by :func:`open_split` and :func:`write_split`.

    Pickled, it is only its path: workers that load images open it anew.
    """

    def __init__(self, folder: Path, split: str):
        self.folder, self.split = folder, split
        self._path = folder / f"{split}.pixels"
        index = folder / f"{split}.safetensors"
        try:
            for path in (index, self._path):  # safe_open says of a file that may not be read that it is not there
                with open(path, "rb"):
                    pass
            with safe_open(index, "pt") as file:
                self.listed = (file.metadata() or {}).get("listed", "")
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            size = self._path.stat().st_size
        except FileNotFoundError as error:
            raise InputError(
                f"{folder.name} has no split '{split}': {folder} lacks {split}.safetensors or {split}.pixels. {self._way_out}"
            ) from error
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror}): make it readable for you") from error
        except SafetensorError as error:
            raise InputError(f"{index} is damaged ({error}). {self._way_out}") from error
        if {name: value.dtype for name, value in tensors.items()} != INDEX:
            raise InputError(f"{index} is not the index of a split: it holds {', '.join(sorted(tensors))}. {self._way_out}")
        self.labels: Tensor = tensors["labels"]
        self.hashes: ndarray = tensors["hashes"].numpy()
        self._heights, self._widths, self._offsets = tensors["heights"], tensors["widths"], tensors["offsets"]
        ends = (self._heights.long() * self._widths * 3).cumsum(0)
        if len(ends) and (int(ends[-1]) != size or not torch.equal(self._offsets[1:], ends[:-1])):
            raise InputError(f"{self._path} has {size} bytes, its index says {int(ends[-1])}. {self._way_out}")

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple:
        return open_split, (self.folder, self.split)

    @property
    def _way_out(self) -> str:
        return prepare_anew(self.folder.name, self.folder.absolute().parents[1])

    @cached_property
    def _memory(self) -> np.memmap:
        return np.memmap(self._path, np.uint8, "r")

    def pixels(self, i: int) -> Pixels:
        """The pixels of image i, in place: nothing is read before they are looked at."""
        start, height, width = int(self._offsets[i]), int(self._heights[i]), int(self._widths[i])
        return self._memory[start : start + height * width * 3].reshape(height, width, 3)

    def image(self, i: int) -> Image.Image:
        """Image i, in RGB."""
        return Image.fromarray(self.pixels(i))

    def intact(self, i: int) -> bool:
        """Whether the pixels of image i are those that were written."""
        return content_hash(self.pixels(i)) == self.hashes[i].tobytes()

    def check(self) -> None:
        """Check that the pixels are those that were written.

        In ``<split>.checked`` stands the stamp of the pixels' file when that was known last. Where it is now another, as in a
        copy, every image is compared with its hash.

        Raises:
            InputError: if some are not.
        """
        note = self._path.with_suffix(".checked")
        with suppress(OSError):
            if note.read_text() == file_stamp(self._path):
                return
        numbers = tqdm(range(len(self)), f"checking {self.folder.name} {self.split}", unit=" images", disable=None, delay=1)
        bad = [i for i in numbers if not self.intact(i)]
        if bad:
            raise InputError(
                f"{self._path}: {len(bad)} of {len(self)} images have changed since they were packed, the first being number "
                f"{bad[0]}. {self._way_out}"
            )
        self.note_checked()

    def note_checked(self) -> None:
        """Note that the pixels, as they are now, are those that were written."""
        with suppress(OSError):  # in a place that cannot be written they are checked each time
            self._path.with_suffix(".checked").write_text(file_stamp(self._path))

    @property
    def content(self) -> str:
        """SHA-256 over all hashes and labels: equal for equal images and labels in the same order."""
        return hashlib.sha256(self.hashes.tobytes() + self.labels.numpy().tobytes()).hexdigest()


def open_split(folder: Path, split: str) -> PackedSplit:
    """Open a split that was written; its pixels stay on disk.

    Raises:
        InputError: if it is not there, or its two files do not belong together.
    """
    return PackedSplit(folder, split)


def content_hash(pixels: Pixels) -> bytes:
    """The first 16 bytes of the SHA-256 over height, width (four bytes each, the lowest first) and pixels.

    Example:
        >>> tall, wide = np.zeros((2, 1, 3), np.uint8), np.zeros((1, 2, 3), np.uint8)
        >>> content_hash(tall) == content_hash(tall.copy()), content_hash(tall) == content_hash(wide)
        (True, False)
    """
    digest = hashlib.sha256(np.array(pixels.shape[:2], "<i4").tobytes())
    digest.update(np.ascontiguousarray(pixels))
    return digest.digest()[:HASH_BYTES]


def find_split(folder: Path, split: str, items: Sequence[Item]) -> PackedSplit | None:
    """The split of just these items, from files as they are now, if it was written completely before."""
    try:
        found = open_split(folder, split)
        if found.listed != _listed(items):
            return None
        found.check()
    except InputError:
        return None
    return found


def write_split(folder: Path, split: str, items: Sequence[Item], progress: bool = True) -> PackedSplit:
    """Decode items and pack them, in their order; a split that is complete already is left as it is.

    A few items are decoded at once, and no more of them are held in memory. One process at a time may write a split.

    Raises:
        InputError: if an image does not decode, or the disk is full; no file of the split is left then.

    Example:
        >>> import tempfile
        >>> items = [Item(f"{i}.png", i, lambda i=i: Image.new("RGB", (4, 2), (i, 0, 9))) for i in range(3)]
        >>> split = write_split(Path(tempfile.mkdtemp()), "test", items)
        >>> split.labels.tolist(), split.image(1).size, split.image(1).getpixel((3, 1))
        ([0, 1, 2], (4, 2), (1, 0, 9))
    """
    found = find_split(folder, split, items)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    pixels, index = (folder / f"{split}.{suffix}" for suffix in ("pixels", "safetensors"))
    parts = [path.with_name(f"{path.name}.part") for path in (pixels, index)]
    try:
        _write(*parts, items, progress)
        index.unlink(missing_ok=True)  # that of other items, should there be one
        for part, path in zip(parts, (pixels, index), strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    written = open_split(folder, split)
    written.note_checked()
    return written


def _write(pixels: Path, index: Path, items: Sequence[Item], progress: bool) -> None:
    dataset, split = pixels.parent.name, pixels.name.split(".")[0]
    bar = tqdm(total=len(items), desc=f"{dataset} {split}", unit=" images", disable=None if progress else True)
    sizes, hashes, written = [], [], 0
    try:
        with bar, closing(_decoded(items)) as decoded, open(pixels, "wb") as file:
            for image, digest in decoded:
                file.write(np.ascontiguousarray(image))
                sizes.append(image.shape[:2])
                hashes.append(digest)
                written += image.nbytes
                bar.update()
            _to_disk(file)
        with open(index, "wb") as file:
            file.write(_index(items, sizes, hashes))
            _to_disk(file)
    except OSError as error:
        if not is_full(error):
            raise
        needed = written / max(len(sizes), 1) * len(items)
        pixels.unlink(missing_ok=True)
        where = f"{dataset}: the disk became full after {len(sizes)} of {len(items)} images of {split}, which"
        raise full_disk(where, needed, pixels.parent) from error


def _index(items: Sequence[Item], sizes: list[tuple[int, int]], hashes: list[bytes]) -> bytes:
    heights, widths = torch.tensor(sizes, dtype=torch.int32).T.contiguous()
    ends = (heights.long() * widths * 3).cumsum(0)
    tensors = {
        "offsets": torch.cat([torch.zeros(1, dtype=torch.int64), ends[:-1]]),
        "heights": heights,
        "widths": widths,
        "labels": torch.tensor([item.label for item in items]),
        "hashes": torch.frombuffer(bytearray(b"".join(hashes)), dtype=torch.uint8).view(-1, HASH_BYTES),
    }
    return save(tensors, {"listed": _listed(items)})


def _listed(items: Sequence[Item]) -> str:
    """A digest of which items these are, and of the state of the files that they come from."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(f"{item.label} {item.name} {item.stamp}\0".encode())
    return digest.hexdigest()


def _decoded(items: Sequence[Item]) -> Generator[tuple[Pixels, bytes], None, None]:
    """Pixels and hash of each item in order; one more than decoders are on their way, 270 MB each at most, others wait."""

    def work(item: Item) -> tuple[Pixels, bytes]:
        pixels = np.asarray(item.read())
        return pixels, content_hash(pixels)

    coming, pool = iter(items), ThreadPoolExecutor(DECODERS)
    try:
        begun = deque(pool.submit(work, item) for item in islice(coming, DECODERS + 1))
        while begun:
            yield begun.popleft().result()
            begun.extend(pool.submit(work, item) for item in islice(coming, 1))
    finally:
        pool.shutdown(cancel_futures=True)


def _to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
