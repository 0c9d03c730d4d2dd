"""Files appear together or not at all, and the one that vouches for the others comes last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tangent_lib.checkpoints import staging
from tangent_lib.checkpoints.staging import staged
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

FILES = {"a.safetensors": "1", "record.json": "{}", "z.safetensors": "2"}


def write(folder, files=FILES):
    for name, text in files.items():
        (folder / name).write_text(text)


def found(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_all_files_move_and_the_last_one_is_last(tmp_path, monkeypatch):
    moved, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (moved.append(target.name), replace(source, target)))
    with staged(tmp_path / "new" / "folder", last="record.json") as temporary:
        write(temporary)
    assert moved == ["a.safetensors", "z.safetensors", "record.json"] and found(tmp_path / "new" / "folder") == FILES


def test_what_lay_there_stays_and_what_has_the_same_name_is_replaced(tmp_path):
    write(tmp_path, {"record.json": "old", "b.safetensors": "3"})
    with staged(tmp_path, last="record.json") as temporary:
        write(temporary)
    assert found(tmp_path) == FILES | {"b.safetensors": "3"}


def test_an_error_of_any_kind_leaves_the_folder_as_it_was(tmp_path):
    write(tmp_path, {"record.json": "old"})
    for error in (ValueError("not these weights"), KeyboardInterrupt()):
        with pytest.raises(type(error)), staged(tmp_path, last="record.json") as temporary:
            write(temporary)
            raise error
        assert found(tmp_path) == {"record.json": "old"}


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(staging, "free_bytes", lambda path: 1000)
    message = r"needs 2\.0 kB of disk, but only 1\.0 kB are free.*--to"
    with pytest.raises(InputError, match=message), staged(tmp_path / "new", last="record.json", size=2000):
        pytest.fail("it was begun")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written.*--to"), staged(tmp_path / "file", last="record.json"):
        pytest.fail("it was begun")


KILLED = """
import os, signal, sys
from pathlib import Path
from tangent_lib.checkpoints.staging import staged

with staged(Path(sys.argv[1]), last="record.json") as temporary:
    (temporary / "a.safetensors").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_kill_left_goes_before_room_is_asked_for(tmp_path, monkeypatch):
    command = [sys.executable, "-c", KILLED, tmp_path / "to"]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert len(list((tmp_path / "to").iterdir())) == 2
    left = lambda path: 2000 - sum(each.stat().st_size for each in path.rglob("*.safetensors"))
    monkeypatch.setattr(staging, "free_bytes", left)
    with staged(tmp_path / "to", last="record.json", size=1500) as temporary:
        write(temporary)
    assert found(tmp_path / "to") == FILES
