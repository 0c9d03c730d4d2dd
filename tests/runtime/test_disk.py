"""Files that are written whole or not at all, and disks that are too small."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tangent_lib.runtime import disk
from tangent_lib.runtime.disk import (
    ROOT,
    DiskFull,
    check_disk,
    check_place,
    free_bytes,
    given_path,
    in_words,
    is_full,
    remove_unfinished,
    unfinished,
    write_whole,
)
from tangent_lib.runtime.errors import InputError


def test_the_root_is_that_of_the_repository():
    assert (ROOT / "tangent_lib" / "runtime" / "disk.py").is_file() and (ROOT / "pyproject.toml").is_file()


# -- paths that are given ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, meant",
    [
        ("runs/store", f"{ROOT}/runs/store"),
        ("./a", f"{ROOT}/a"),
        ("/there", "/there"),
        (Path("/there"), "/there"),
        ("~", "/home/me"),
        ("~/a", "/home/me/a"),
        ("./~", f"{ROOT}/~"),
        ("a~b", f"{ROOT}/a~b"),
        ("$SCRATCH", "/scratch/me"),
        ("$SCRATCH/a b", "/scratch/me/a b"),
        ("${SCRATCH}/a", "/scratch/me/a"),
        ("/big/$WHO/a", "/big/me/a"),
        ("/big/${WHO}-a", "/big/me-a"),
        ("costs $", f"{ROOT}/costs $"),
        ("$HOMELY/a", "/home/me/x/a"),
    ],
)
def test_one_rule_for_all_paths_that_are_given(monkeypatch, given, meant):
    for name, value in {"HOME": "/home/me", "SCRATCH": "/scratch/me", "WHO": "me", "HOMELY": "~/x"}.items():
        monkeypatch.setenv(name, value)
    assert given_path("store", given) == Path(meant)


def test_a_folder_with_a_dollar_sign_in_its_name_is_meant_where_it_is_there(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/me")
    folder = tmp_path / "$HOME"
    folder.mkdir()
    assert given_path("store", f"{folder}/store") == folder / "store"
    folder.rmdir()
    assert given_path("store", f"{folder}/store") == Path("/home/me/store")


@pytest.mark.parametrize(
    "given, said",
    [
        ("", "store '' is not a path"),
        ("  ", "store '  ' is not a path"),
        ("a\nb", "store 'a b' is not a path"),
        ("a\0b", r"store 'a\\x00b' is not a path"),
        (".", "store '.' is the repository itself"),
        (f"{ROOT}/runs/..", "is the repository itself"),
        ("..", r"store '\.\.' is the repository itself, or holds it"),
        ("/", "store '/' is the repository itself, or holds it"),
        ("s3://bucket/a", "store 's3://bucket/a' is an address"),
        ("file:///a", "store 'file:///a' is an address"),
        ("a" * 256, "is not a path"),
        ("a/" + "é" * 128, "is not a path"),
        ("a/" * 2001, "is not a path"),
        ("/a/${NOWHERE", "close the brace"),
        ("$NOWHERE/a", "the variable \\$NOWHERE is not set"),
        ("/a/${NOWHERE}", "the variable \\${NOWHERE} is not set"),
        ("$EMPTY/a", "the variable \\$EMPTY is not set"),
        ("~nobody-of-this-name/a", "there is no such home"),
        (5, "store 5 is no path: .* -r store VALUE keeps text"),
        (1e3, "store 1000.0 is no path"),
        (True, "store True is no path"),
        (None, "store None is no path"),
    ],
)
def test_what_is_no_path_is_refused(monkeypatch, given, said):
    monkeypatch.setenv("EMPTY", "")
    with pytest.raises(InputError, match=said):
        given_path("store", given)


def test_a_variable_that_makes_a_path_too_long_is_refused(monkeypatch):
    monkeypatch.setenv("LONG", "a" * 256)
    with pytest.raises(InputError, match=r"store '\$LONG/b' is not a path: what its variables hold is too long"):
        given_path("store", "$LONG/b")


# -- files -------------------------------------------------------------------------------------------------------------
def test_a_place_is_tried_and_left_as_it_was(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    for path in (tmp_path / "new" / "file", tmp_path / "file"):
        check_place(path)
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.parametrize(
    "path, said",
    [("file/x", "Not a directory"), ("", "it is a folder"), ("pipe", "it is a folder, a pipe"), ("link/x", "No such file")],
)
def test_a_place_where_nothing_can_be_written_is_refused(tmp_path, path, said):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=rf"{tmp_path / path}' cannot be written \({said}.*\): name a file elsewhere"):
        check_place(tmp_path / path)


@pytest.mark.parametrize("before", [None, b"before"])
def test_a_file_is_written_whole_and_nothing_is_left_beside_it(tmp_path, before):
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)
    write_whole(path, b"all of it")
    assert path.read_bytes() == b"all of it" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("kind", [OSError(errno.EIO, "broken"), KeyboardInterrupt()], ids=["broken", "interrupted"])
def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch, call, kind):
    def fail(*given):
        raise kind

    path = tmp_path / "file"
    path.write_bytes(b"before")
    monkeypatch.setattr(f"tangent_lib.runtime.disk.{call}", fail)
    with pytest.raises(InputError if isinstance(kind, OSError) else type(kind)):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_what_is_needed_and_free(tmp_path, monkeypatch, number):
    def full(handle):
        raise OSError(number, "No space left on device")

    monkeypatch.setattr("tangent_lib.runtime.disk.os.fsync", full)
    monkeypatch.setattr(disk, "free_bytes", lambda path: 512)
    with pytest.raises(DiskFull, match=f"'file' needs 2.0 kB of disk, but only 512 bytes are free at {tmp_path}") as error:
        write_whole(tmp_path / "file", bytes(2000))
    assert isinstance(error.value, InputError) and not list(tmp_path.iterdir())


def test_room_is_asked_for_where_the_path_will_lie(tmp_path, monkeypatch):
    asked = tmp_path / "not" / "yet"
    assert abs(free_bytes(asked) - free_bytes(tmp_path)) < 1e9
    monkeypatch.setattr(disk, "free_bytes", lambda path: int(2e9))
    check_disk(asked, 2, "Cars")
    with pytest.raises(DiskFull, match=r"Cars needs 2.1 GB of disk, but only 2.0 GB are free at .*yet: make room"):
        check_disk(asked, 2.1, "Cars")


def test_a_full_disk_is_found_among_the_causes():
    outer = RuntimeError("writing failed")
    outer.__cause__ = OSError(errno.ENOSPC, "full")
    assert is_full(outer) and is_full(RuntimeError("x: No space left on device"))
    assert not is_full(OSError(errno.EIO, "broken")) and not is_full(None)


@pytest.mark.parametrize(
    "size, said", [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (2.5e6, "2.5 MB"), (37.4e9, "37.4 GB")]
)
def test_sizes_in_words(size, said):
    assert in_words(size) == said


# -- kills -------------------------------------------------------------------------------------------------------------
WRITE = """
import os, sys, time
from pathlib import Path
from tangent_lib.runtime.disk import files_of_unfinished, unfinished

with unfinished(Path(sys.argv[1], "weights")) as file:
    files_of_unfinished(Path(file.name)).mkdir()
    (files_of_unfinished(Path(file.name)) / "more").write_bytes(bytes(10))
    print(file.write(bytes(10_000)), flush=True)
    time.sleep(60)
"""


@pytest.fixture
def writer(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITE, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "10000\n"
    yield process
    process.kill()
    process.communicate()


def test_what_a_killed_writer_left_goes_with_the_next_write_there(tmp_path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert len(list(tmp_path.iterdir())) == 2
    write_whole(tmp_path / "another", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["another"]


def test_what_a_living_process_writes_stays(tmp_path, writer):
    before = set(tmp_path.iterdir())
    write_whole(tmp_path / "weights", b"x")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "weights"} and len(before) == 2


def test_many_write_at_once_to_one_place_and_none_loses_what_it_writes(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: write_whole(tmp_path / f"{i % 3}", b"%d" % (i % 3)), range(300)))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "0", "1": "1", "2": "2"}


def test_other_hidden_files_and_disks_without_locks_are_left_alone(tmp_path, monkeypatch):
    (tmp_path / ".notes").write_text("mine")
    (tmp_path / ".0a.unfinished").write_text("of another node")

    def no_locks(*given):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("tangent_lib.runtime.disk.fcntl.flock", no_locks)
    write_whole(tmp_path / "file", b"x")
    assert {path.name for path in tmp_path.iterdir()} == {".notes", ".0a.unfinished", "file"}
    monkeypatch.undo()
    remove_unfinished(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".notes", "file"}


def test_a_file_that_was_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    removed = []

    def remove_once(file, kind):
        if not removed:
            removed.append(os.unlink(file.name))

    monkeypatch.setattr("tangent_lib.runtime.disk.fcntl.flock", remove_once)
    with unfinished(tmp_path / "file") as file:
        assert [path.name for path in tmp_path.iterdir()] == [os.path.basename(file.name)]
    assert removed and not list(tmp_path.iterdir())
