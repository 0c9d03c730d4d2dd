"""Packed splits: what was written is read, image by image, and reading costs little."""

from __future__ import annotations

import hashlib
import pickle
import struct
import threading
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from prepared import SIZES, items_of
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from tangent_lib.data import packed
from tangent_lib.data.listing import Item, file_item
from tangent_lib.data.packed import content_hash, open_split, write_split


# -- what is written is read -------------------------------------------------------------------------------------------
def test_images_and_labels_come_back_in_order_and_exactly(written, arrays):
    split = open_split(written, "val")
    assert len(split) == 5 and split.labels.tolist() == [0, 3, 6, 9, 12] and split.labels.dtype == torch.int64
    for i, array in enumerate(arrays):
        image = split.image(i)
        assert image.mode == "RGB" and image.size == array.shape[1::-1]
        assert np.array_equal(np.asarray(image), array) and split.intact(i)
    assert sorted(path.name for path in written.iterdir()) == ["val.checked", "val.pixels", "val.safetensors"]


def test_pixels_of_image_files_are_those_of_the_decoder(folder, tmp_path):
    wave = np.add.outer(np.arange(30), np.arange(40))[..., None] * np.array([1, 2, 3]) % 256
    for name in ("a.jpg", "b.png", "c.ppm"):
        Image.fromarray(wave.astype(np.uint8)).save(tmp_path / name)
    Image.fromarray(wave[..., 0].astype(np.uint8)).save(tmp_path / "d.png")
    files = ["a.jpg", "b.png", "c.ppm", "d.png"]
    split = write_split(folder, "test", [file_item(tmp_path, name, 0, "Cars") for name in files])
    for i, name in enumerate(files):
        with Image.open(tmp_path / name) as image:
            assert np.array_equal(np.asarray(split.image(i)), np.asarray(image.convert("RGB")))


def test_the_files_hold_what_the_module_says(written, arrays):
    index = load_file(written / "val.safetensors")
    assert (written / "val.pixels").read_bytes() == b"".join(array.tobytes() for array in arrays)
    assert {name: value.dtype for name, value in index.items()} == packed.INDEX
    assert index["offsets"].tolist() == [0, 105, 108, 252, 357]
    assert list(zip(index["heights"].tolist(), index["widths"].tolist())) == SIZES
    for array, found in zip(arrays, index["hashes"]):
        data = struct.pack("<ii", *array.shape[:2]) + array.tobytes()
        assert bytes(found.tolist()) == hashlib.sha256(data).digest()[:16]


def test_the_hash_sees_one_pixel_and_the_shape(arrays):
    other = arrays[0].copy()
    other[2, 2, 2] ^= 1
    assert content_hash(other) != content_hash(arrays[0]) != content_hash(arrays[0].reshape(7, 5, 3))
    assert content_hash(arrays[0][::-1]) == content_hash(np.ascontiguousarray(arrays[0][::-1]))


def test_the_fingerprint_sees_images_labels_and_their_order(folder, arrays):
    def content(name, *args):
        return write_split(folder, name, items_of(*args)).content

    assert content("a", arrays) == content("b", [array.copy() for array in arrays])
    assert len({content("a", arrays), content("c", arrays[::-1]), content("d", arrays, 1), content("e", arrays[:4])}) == 4


def test_more_images_than_are_decoded_at_once_stay_in_order(folder):
    def read(i):
        if i % 3 == 0:  # some take longer than those after them
            threading.Event().wait(0.002)
        return Image.new("RGB", (2, 2), (i, 0, 0))

    split = write_split(folder, "train", [Item(str(i), i, partial(read, i)) for i in range(100)])
    assert [split.image(i).getpixel((0, 0))[0] for i in range(100)] == split.labels.tolist() == list(range(100))


def test_few_images_are_held_in_memory(folder, monkeypatch):
    ahead, written = [], []
    monkeypatch.setattr(packed, "DECODERS", 2)

    def read(i):
        ahead.append(i - len(written))
        return Image.new("RGB", (1, 1))

    whole = packed._decoded
    monkeypatch.setattr(packed, "_decoded", lambda items: (written.append(0) or pair for pair in whole(items)))
    write_split(folder, "train", [Item(str(i), 0, partial(read, i)) for i in range(50)])
    assert len(ahead) == 50 and max(ahead) <= 5


# -- reading costs little ----------------------------------------------------------------------------------------------
def test_opening_reads_no_pixels(folder):
    sizes = [(40_000, 30_000), (2, 2)]  # 3.6 GB, which lie in a file with a hole
    folder.mkdir(parents=True)
    heights, widths = torch.tensor(sizes, dtype=torch.int32).T.contiguous()
    last = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    with open(folder / "train.pixels", "wb") as file:
        file.seek(40_000 * 30_000 * 3)
        file.write(last.tobytes())
    tensors = {
        "offsets": torch.tensor([0, 40_000 * 30_000 * 3]),
        "heights": heights,
        "widths": widths,
        "labels": torch.tensor([0, 1]),
        "hashes": torch.zeros(2, 16, dtype=torch.uint8),
    }
    save_file(tensors, folder / "train.safetensors")
    split = open_split(folder, "train")
    assert "_memory" not in vars(split)
    assert np.array_equal(np.asarray(split.image(1)), last)
    assert isinstance(split._memory, np.memmap) and isinstance(split.pixels(0).base, np.memmap)
    assert not split._memory.flags.writeable


def test_a_pickled_split_is_small_and_reads_the_same(written, arrays):
    split = open_split(written, "val")
    split.image(0)
    data = pickle.dumps(split)
    assert len(data) < 300
    assert np.array_equal(np.asarray(pickle.loads(data).image(4)), arrays[4])


class Rows:
    """First pixels and labels, as a dataset."""

    def __init__(self, split):
        self.split = split

    def __len__(self):
        return len(self.split)

    def __getitem__(self, i):
        return torch.from_numpy(np.array(self.split.image(i))[0, 0]), self.split.labels[i]


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_forked_workers_read_the_same(written, arrays):
    split = open_split(written, "val")
    split.image(0)  # the file is open before the fork
    pixels, labels = next(iter(DataLoader(Rows(split), 5, num_workers=2, multiprocessing_context="fork")))
    assert pixels.tolist() == [array[0, 0].tolist() for array in arrays] and labels.tolist() == split.labels.tolist()
