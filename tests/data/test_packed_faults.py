"""Packed splits that are interrupted or damaged: complete, or not there."""

from __future__ import annotations

import errno
import os
from functools import partial

import numpy as np
import pytest
import torch
from prepared import items_of
from safetensors.torch import save_file

from tangent_lib.data import packed
from tangent_lib.data.listing import Item
from tangent_lib.data.packed import find_split, open_split, write_split
from tangent_lib.runtime import disk
from tangent_lib.runtime.errors import InputError


def fail(error):
    raise error


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- complete or not there ---------------------------------------------------------------------------------------------
def test_a_complete_split_is_not_decoded_again(written, arrays):
    once_more = [Item(item.name, item.label, partial(fail, AssertionError("decoded"))) for item in items_of(arrays)]
    before = (written / "val.pixels").stat().st_mtime_ns
    assert write_split(written, "val", once_more).content == open_split(written, "val").content
    assert (written / "val.pixels").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", ["name", "label", "order", "fewer"])
def test_a_split_of_other_items_is_written_anew(written, arrays, change):
    items = items_of([array // 2 for array in arrays])
    items = {
        "name": [Item(f"x{item.name}", item.label, item.read) for item in items],
        "label": [Item(item.name, item.label + 1, item.read) for item in items],
        "order": items[::-1],
        "fewer": items[:-1],
    }[change]
    assert find_split(written, "val", items) is None
    split = write_split(written, "val", items)
    assert split.labels.tolist() == [item.label for item in items]
    for i, item in enumerate(items):
        assert np.array_equal(np.asarray(split.image(i)), np.asarray(item.read()))


@pytest.mark.parametrize("error", [InputError("Cars: 3.png does not decode"), KeyboardInterrupt(), RuntimeError()], ids=repr)
def test_what_breaks_off_leaves_nothing_of_the_split(written, arrays, error):
    items = items_of(arrays * 20)
    items[60] = Item("bad", 0, partial(fail, error))
    before = {path: path.read_bytes() for path in written.iterdir()}
    with pytest.raises(type(error)) as raised:
        write_split(written, "train", items)
    assert raised.value is error
    assert {path: path.read_bytes() for path in written.iterdir()} == before


def test_what_a_killed_process_left_is_written_over(written, arrays):
    for name in ("test.pixels.part", "test.safetensors.part", "test.pixels"):
        (written / name).write_bytes(b"x" * 10_000)
    split = write_split(written, "test", items_of(arrays))
    assert all(split.intact(i) for i in range(5))
    assert names(written) == [f"{split}.{kind}" for split in ("test", "val") for kind in ("checked", "pixels", "safetensors")]


def test_killed_between_the_two_files_the_old_index_is_gone(written, arrays, monkeypatch):
    replace, calls = packed.os.replace, []

    def once(*paths):
        calls.append(paths)
        replace(*paths) if len(calls) == 1 else fail(KeyboardInterrupt())

    monkeypatch.setattr(packed.os, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        write_split(written, "val", items_of([255 - array for array in arrays], 1))
    with pytest.raises(InputError, match="val"):
        open_split(written, "val")


class FullDisk:
    """A file on a disk with room for 300 bytes."""

    def __init__(self, path, mode, code):
        self.file, self.code, self.room = path.open(mode), code, 300

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, data):
        self.room -= memoryview(data).nbytes
        if self.room < 0:
            raise OSError(self.code, os.strerror(self.code))
        self.file.write(data)
        self.file.flush()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_what_is_needed_and_free(folder, arrays, monkeypatch, code):
    monkeypatch.setattr(packed, "open", partial(FullDisk, code=code), raising=False)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 2 * 10**9)
    said = r"Cars.* full after 3 of 5 images of train, which needs 420 bytes of disk, but only 2.0 GB are free.*make room"
    with pytest.raises(InputError, match=said):
        write_split(folder, "train", items_of(arrays))
    assert names(folder) == []


def test_another_error_of_the_system_stays_what_it_is(folder, arrays, monkeypatch):
    monkeypatch.setattr(packed, "open", partial(FullDisk, code=errno.EIO), raising=False)
    with pytest.raises(OSError, match="Input/output"):
        write_split(folder, "train", items_of(arrays))
    assert names(folder) == []


# -- damage ------------------------------------------------------------------------------------------------------------
def test_a_split_that_is_not_there_is_refused(written):
    with pytest.raises(
        InputError, match=rf"Cars has no split 'train'.*prepare Cars --data-root {written.parents[1]} --again"
    ):
        open_split(written, "train")


@pytest.mark.parametrize("name", ["val.pixels", "val.safetensors"])
@pytest.mark.parametrize("damage", ["lost", "cut", "longer", "empty"])
def test_damaged_files_are_refused(written, name, damage):
    data = (written / name).read_bytes()
    (written / name).unlink()
    if damage != "lost":
        (written / name).write_bytes({"cut": data[:-3], "longer": data + b"abc", "empty": b""}[damage])
    with pytest.raises(InputError, match=r"val.*prepare Cars --data-root .* --again"):
        open_split(written, "val")


def test_an_index_of_something_else_is_refused(written):
    save_file({"w": torch.zeros(2)}, written / "val.safetensors")
    with pytest.raises(InputError, match=r"not the index of a split: it holds w"):
        open_split(written, "val")


def test_the_index_of_another_split_is_refused(written, arrays):
    write_split(written, "test", items_of(arrays[:3]))
    (written / "test.safetensors").replace(written / "val.safetensors")
    with pytest.raises(InputError, match=r"510 bytes.*600 bytes|600 bytes.*252"):
        open_split(written, "val")


def test_one_altered_byte_is_found(written):
    data = bytearray((written / "val.pixels").read_bytes())
    data[300] ^= 1  # in the fourth image, which begins at 252
    (written / "val.pixels").write_bytes(data)
    split = open_split(written, "val")
    assert [split.intact(i) for i in range(5)] == [True, True, True, False, True]


def test_the_way_out_names_the_data_root_as_a_shell_takes_it(written, tmp_path):
    (tmp_path / "my data & co").mkdir()
    written = written.parent.rename(tmp_path / "my data & co" / "prepared") / "Cars"
    (written / "val.pixels").write_bytes(b"")
    with pytest.raises(InputError, match=rf"tangent data prepare Cars --data-root '{tmp_path}/my data & co' --again"):
        open_split(written, "val")
