"""Archives that are damaged, too large, or killed in the middle: nothing half-written is left."""

from __future__ import annotations

import errno
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
from archives import NOISE, TREE, entry, files_of, gzipped, refused, tarred, zipped

from tangent_lib.data.unpack import unpack
from tangent_lib.runtime.disk import ROOT, DiskFull, check_disk
from tangent_lib.runtime.errors import InputError


def no_room(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))


# -- damage ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.gz"])
def test_no_damage_leaves_anything_behind(tmp_path, name):
    """Cut off anywhere, with bytes changed anywhere: all comes out as it was, or nothing does and the reader is told."""
    archive = tmp_path / name
    make = {".zip": zipped, ".tar": tarred}.get(archive.suffix, tarred if ".tar" in name else gzipped)
    data = make(archive).read_bytes()
    draw = random.Random(0)
    told = 0
    for number in range(60):
        damaged = bytearray(data)
        if number % 2:
            del damaged[draw.randrange(len(data) * 9 // 10) :]
        else:
            for _ in range(20):
                damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        archive.write_bytes(damaged)
        try:
            unpack(archive, tmp_path / "to")
            shutil.rmtree(tmp_path / "to")
        except InputError as error:
            told += archive.name in str(error)
        assert [path.name for path in tmp_path.iterdir()] == [name]
    assert told >= 30 if name == "x.tar" else told == 60  # a tar file has no checksum of what its files hold


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path):
    archive = tarred(tmp_path / "x.tar", entry("a", b"1"), entry("b", b"2"))
    data = bytearray(archive.read_bytes())
    data[1024:1030] = b"broken"  # of the second entry, after a block of header and one of data
    archive.write_bytes(data)
    refused(archive, "a damaged header")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.gz"])
@pytest.mark.parametrize("data", [b"", b"<html>404</html>"])
def test_what_is_no_archive_is_refused(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    refused(tmp_path / name, "cannot be unpacked|is empty")


@pytest.mark.parametrize("make", [zipped, tarred])
def test_an_archive_without_files_is_refused(tmp_path, make):
    archive = zipped(tmp_path / "x.zip", {}) if make is zipped else tarred(tmp_path / "x.tar", entry("a", kind=b"5"))
    refused(archive, "is empty")


def test_a_file_and_a_folder_of_one_name_are_refused(tmp_path):
    refused(tarred(tmp_path / "x.tar", entry("a", b"1"), entry("a/b", b"2")), "cannot be unpacked")


# -- room --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.tbz2", "x.txz", "x.gz"])
def test_a_bomb_is_refused_by_what_it_would_hold(tmp_path, name, monkeypatch):
    zeros = b"\x00" * 3_000_000
    archive = tmp_path / name
    if name == "x.gz":
        gzipped(archive, zeros)
    else:
        zipped(archive, {"a": zeros}) if name == "x.zip" else tarred(archive, entry("a", zeros))
    no_room(monkeypatch, 2_500_000)
    refused(archive, r"x.*, unpacked, needs [23].. MB of disk, but only 2.5 MB are free", DiskFull)
    no_room(monkeypatch, 3_000_000)
    unpack(archive, tmp_path / "to")


def test_a_claimed_size_is_believed_before_it_is_read(tmp_path):
    info, _ = entry("a", 10**15)
    (tmp_path / "x.tar").write_bytes(info.tobuf(tarfile.GNU_FORMAT) + b"\x00" * 10_240)
    refused(tmp_path / "x.tar", "holds more than 1.0 GB, unpacked, or more than 2,000,000 entries: .* `gigabytes`")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target, *_):
        target.write(source.read(1000))
        raise OSError(errno.ENOSPC, "No space left on device")

    archive = zipped(tmp_path / "x.zip")
    monkeypatch.setattr(shutil, "copyfileobj", full)
    refused(archive, r"x.zip, unpacked, needs 35.0 kB of disk, but only .* are free at .*to: make room", DiskFull)


def test_check_disk_counts_where_the_path_will_lie(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or SimpleNamespace(free=2_000_000_000))
    check_disk(tmp_path / "not" / "yet", 2, "Cars")
    with pytest.raises(DiskFull, match=r"Cars needs 2.1 GB of disk, but only 2.0 GB are free at .*yet"):
        check_disk(tmp_path / "not" / "yet", 2.1, "Cars")
    assert set(asked) == {tmp_path}


# -- kills -------------------------------------------------------------------------------------------------------------
KILLED = """
import os, signal, sys
from pathlib import Path
import tarfile
from tangent_lib.data import unpack
extract = tarfile.TarFile.extract
def dying(self, member, *args, **kwargs):
    extract(self, member, *args, **kwargs)
    if member.name == "dtd/labels/train1.txt":
        os.kill(os.getpid(), signal.SIGKILL)
tarfile.TarFile.extract = dying
unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_leaves_nothing_in_sight_and_the_next_run_cleans_up(tmp_path):
    archive = tarred(tmp_path / "x.tgz")
    command = [sys.executable, "-c", KILLED, str(archive), str(tmp_path / "to")]
    assert subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "to").iterdir()] == [".unpacking-x.tgz"]
    assert (tmp_path / "to/.unpacking-x.tgz/dtd/labels/train1.txt").exists()
    unpack(archive, tmp_path / "to")
    assert files_of(tmp_path / "to") == TREE


def test_an_interrupt_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    archive = zipped(tmp_path / "x.zip")
    monkeypatch.setattr(zipfile.ZipFile, "extract", interrupted)
    refused_by = pytest.raises(KeyboardInterrupt)
    with refused_by:
        unpack(archive, tmp_path / "to")
    assert [path.name for path in tmp_path.iterdir()] == ["x.zip"]


# -- a disk that is really full ----------------------------------------------------------------------------------------
FULL = """
import sys
from pathlib import Path
from tangent_lib.runtime import disk
from tangent_lib.data import unpack
disk.free_bytes = lambda path: 10**9          # what was free when it was looked, before others wrote
try:
    unpack.unpack(Path(sys.argv[1]), Path(sys.argv[2], "to"))
except disk.DiskFull as error:
    print(error, "|", *Path(sys.argv[2]).iterdir())
"""


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.gz"])
def test_a_really_full_disk_leaves_nothing(tmp_path, name):
    (tmp_path / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}/disk"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("this system lets no user mount a disk of their own")
    big = random.Random(1).randbytes(2_000_000)
    archive = tmp_path / name
    zipped(archive, {"a/1": NOISE, "a/2": big}) if name == "x.zip" else (
        tarred(archive, entry("a/1", NOISE), entry("a/2", big)) if name == "x.tgz" else gzipped(archive, big)
    )
    run = f"{mount} && \"{sys.executable}\" -c '{FULL}' {archive} {tmp_path}/disk"
    said = subprocess.run(["unshare", "-rm", "sh", "-c", run], cwd=ROOT, capture_output=True, text=True)
    message, left = said.stdout.split("|")
    assert "unpacked, needs 2.0 MB of disk" in message and not left.strip(), said.stderr


# -- bounds ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tgz", "x.tbz2", "x.txz", "x.gz"])
def test_no_more_is_unpacked_than_is_allowed(tmp_path, name):
    zeros = b"\x00" * 3_000_000
    archive = tmp_path / name
    if name == "x.gz":
        gzipped(archive, zeros)
    else:
        zipped(archive, {"a": zeros}) if name == "x.zip" else tarred(archive, entry("a", zeros))
    with pytest.raises(InputError, match=r"x\..* holds more than 2.0 MB, unpacked, or .*`gigabytes`") as error:
        unpack(archive, tmp_path / "to", most=2e6)
    assert not isinstance(error.value, DiskFull) and list(tmp_path.iterdir()) == [archive]
    unpack(archive, tmp_path / "to", most=3e6)


def test_by_default_a_gigabyte_and_a_hundred_times_its_size_are_allowed(tmp_path):
    archive = tarred(tmp_path / "x.tar", entry("a", 10**9 + 100 * 10_240 + 1))  # claimed; the file has 10,240 bytes
    refused(archive, r"holds more than 1.0 GB")


def test_entries_are_counted_even_where_they_hold_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tangent_lib.data.unpack.MOST_ENTRIES", 3)
    folders = [entry(f"{i}", kind=tarfile.DIRTYPE) for i in range(3)]
    refused(tarred(tmp_path / "x.tar", entry("a", b"1"), *folders), "more than 3 entries")
    unpack(tarred(tmp_path / "y.tar", entry("a", b"1"), *folders[:2]), tmp_path / "to")


def test_a_header_that_would_fill_the_memory_is_not_read(tmp_path):
    names, _ = entry("x", 10**9, kind=tarfile.XHDTYPE)
    whole = tarred(tmp_path / "x.tar", entry("a", b"1")).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:1024] + names.tobuf(tarfile.GNU_FORMAT) + whole[1024:])
    refused(tmp_path / "x.tar", "cannot be unpacked .*a header of 1.0 GB")


def test_an_archive_cut_off_between_two_files_is_refused(tmp_path):
    whole = tarred(tmp_path / "x.tar", entry("a", b"1"), entry("b", b"2")).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:1024])  # a header and a block of data
    refused(tmp_path / "x.tar", "ends without the mark of its end, cut off perhaps")


def test_endless_padding_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("tangent_lib.data.unpack._PADDING", 100_000)
    archive = tarred(tmp_path / "x.tar", entry("a", b"1"))
    archive.write_bytes(archive.read_bytes() + bytes(200_000))
    refused(archive, "it goes on behind its end")


def test_a_method_that_python_does_not_read_is_named_before_anything_is_unpacked(tmp_path):
    archive = zipped(tmp_path / "x.zip", {"a": b"1", "b": b"2"})
    data = bytearray(archive.read_bytes())
    data[data.rindex(b"PK\x01\x02") + 10] = 9  # Deflate64, as Windows packs large files
    archive.write_bytes(data)
    refused(archive, "its entry 'b' is packed by method 9: unpack it by hand")
