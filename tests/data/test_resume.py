"""Downloads by HTTP: continued where they broke off, of one version of the file only, checked."""

from __future__ import annotations

import errno
import gzip
import hashlib
import shutil
import socket
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tangent_lib.data import resume
from tangent_lib.data.resume import fetch_file
from tangent_lib.runtime.disk import DiskFull
from tangent_lib.runtime.errors import InputError

DATA = b"".join(hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(10_000))  # 320 kB
OTHER = DATA[::-1]
SHA256 = hashlib.sha256(DATA).hexdigest()


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def begin(server, path, drop=100_000):
    """A download that broke off for good."""
    server.drops = [drop] + [0] * 9
    with pytest.raises(InputError, match=r"broke off again and again.*what came is kept"):
        fetch_file(server.url("x.zip"), path)
    server.drops, server.asked[:] = [], []
    assert path.with_name("x.zip.part").read_bytes() == server.files["/x.zip"][:drop] and not path.exists()


# -- what comes --------------------------------------------------------------------------------------------------------
def test_a_file_comes_whole_and_is_checked(server, tmp_path):
    url = server.url("x.zip", DATA)
    md5 = hashlib.md5(DATA).hexdigest()
    assert fetch_file(url, tmp_path / "new" / "x.zip", md5=md5.upper(), sha256=SHA256) == SHA256
    assert (tmp_path / "new" / "x.zip").read_bytes() == DATA and left(tmp_path / "new") == ["x.zip"]


def test_a_connection_that_drops_twice_is_continued_where_it_broke(server, tmp_path):
    server.drops = [70_000, 30_001]
    assert fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip") == SHA256
    assert server.asked == [("/x.zip", 0), ("/x.zip", 70_000), ("/x.zip", 100_001)]


def test_what_an_earlier_run_left_is_continued(server, tmp_path):
    server.url("x.zip", DATA)
    begin(server, tmp_path / "x.zip")
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip", sha256=SHA256) == SHA256
    assert server.asked == [("/x.zip", 100_000)] and left(tmp_path) == ["x.zip"]


def test_progress_starts_the_count_of_tries_anew(server, tmp_path):
    server.drops = [30_000] * 10  # ten breaks, though only three waits
    assert fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip") == SHA256


def test_bytes_that_are_labelled_as_encoded_are_not_decoded(server, tmp_path):
    packed = gzip.compress(DATA)
    server.headers["/x.tgz"] = {"Content-Encoding": "x-gzip"}
    fetch_file(server.url("x.tgz", packed), tmp_path / "x.tgz")
    assert (tmp_path / "x.tgz").read_bytes() == packed


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    (tmp_path / "x.zip").write_bytes(DATA)
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip", sha256=SHA256) == SHA256 and not server.asked


def test_a_file_with_another_checksum_is_replaced(server, tmp_path):
    (tmp_path / "x.zip").write_bytes(OTHER)
    assert fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip", sha256=SHA256) == SHA256
    assert (tmp_path / "x.zip").read_bytes() == DATA


# -- servers as they are -----------------------------------------------------------------------------------------------
def test_a_server_that_ignores_ranges_sends_it_anew(server, tmp_path):
    server.url("x.zip", DATA)
    begin(server, tmp_path / "x.zip")
    server.ignores_range = True
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip") == SHA256


def test_a_server_that_sends_another_range_is_not_believed(server, tmp_path):
    server.url("x.zip", DATA)
    begin(server, tmp_path / "x.zip")
    server.shifts_range = True
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip") == SHA256 and server.answered[-2:] == [206, 200]


def test_a_weak_version_is_not_asked_for(server, tmp_path):
    server.weak_version = True
    server.url("x.zip", DATA)
    begin(server, tmp_path / "x.zip")
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip") == SHA256 and server.answered[-1] == 206


def test_the_rest_may_break_off_too_though_its_length_is_not_told(server, tmp_path):
    server.url("x.zip", DATA)
    begin(server, tmp_path / "x.zip")
    server.hides_length, server.drops = True, [50_000]
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip") == SHA256
    assert server.asked == [("/x.zip", 100_000), ("/x.zip", 150_000)]


def test_a_whole_part_is_only_checked(server, tmp_path):
    url = server.url("x.zip", DATA)
    (tmp_path / "x.zip.part").write_bytes(DATA)
    (tmp_path / "x.zip.part.json").write_text(f'{{"url": "{url}", "validator": null, "total": {len(DATA)}}}')
    assert fetch_file(url, tmp_path / "x.zip") == SHA256 and not server.asked and left(tmp_path) == ["x.zip"]


SIZES = (len(DATA) + 5_000, 100_001, 100_000, 60_000)  # greater and smaller, more and less than what is there


@pytest.mark.parametrize("hides_version, size", [(False, len(DATA)), *((hides, n) for hides in (False, True) for n in SIZES)])
def test_a_file_that_changed_meanwhile_is_not_mixed_with_the_old_one(server, tmp_path, hides_version, size):
    server.url("x.zip", DATA)
    server.hides_version = hides_version
    begin(server, tmp_path / "x.zip")
    new = (OTHER + OTHER)[:size]
    assert fetch_file(server.url("x.zip", new), tmp_path / "x.zip") == hashlib.sha256(new).hexdigest()


def test_one_of_the_same_size_and_without_a_version_is_caught_by_the_checksum(server, tmp_path):
    server.hides_version = True
    server.url("x.zip", DATA)
    begin(server, tmp_path / "x.zip")
    wanted = hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(InputError, match=wanted):
        fetch_file(server.url("x.zip", OTHER), tmp_path / "x.zip", sha256=wanted)
    assert fetch_file(server.url("x.zip"), tmp_path / "x.zip", sha256=wanted) == wanted


def test_without_a_length_a_whole_part_is_recognised(server, tmp_path):
    server.hides_length = True
    url = server.url("x.zip", DATA)
    fetch_file(url, tmp_path / "x.zip")
    (tmp_path / "x.zip").rename(tmp_path / "x.zip.part")
    (tmp_path / "x.zip.part.json").write_text(f'{{"url": "{url}", "validator": null, "total": null}}')
    assert fetch_file(url, tmp_path / "x.zip") == SHA256
    assert server.asked[1:] == [("/x.zip", len(DATA))]


@pytest.mark.parametrize("notes", ["", "{", None, '{"url": "http://elsewhere/x.zip", "validator": null, "total": null}'])
def test_a_part_of_unknown_origin_is_not_used(server, tmp_path, notes):
    (tmp_path / "x.zip.part").write_bytes(OTHER[:1000])
    if notes is not None:
        (tmp_path / "x.zip.part.json").write_text(notes)
    assert fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip") == SHA256


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.statuses = [503, 429]
    assert fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip") == SHA256


# -- refusals ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_final_and_leaves_nothing(server, tmp_path, status):
    server.statuses = [status]
    with pytest.raises(InputError, match=f"the server answers {status}"):
        fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip")
    assert len(server.asked) == 1 and left(tmp_path) == []


@pytest.mark.parametrize("names", [{"md5": "0" * 32}, {"sha256": "0" * 64}, {"md5": "0" * 32, "sha256": SHA256}])
def test_a_wrong_checksum_names_both_and_leaves_nothing(server, tmp_path, names):
    url = server.url("x.zip", DATA)
    with pytest.raises(InputError) as error:
        fetch_file(url, tmp_path / "x.zip", **names)
    kind, expected = next(iter(names.items()))
    for part in ("x.zip", url, kind, expected, hashlib.new(kind, DATA).hexdigest()):
        assert part in str(error.value)
    assert left(tmp_path) == []


def test_a_web_page_is_not_taken_for_the_file(server, tmp_path):
    server.headers["/x.zip"] = {"Content-Type": "text/html; charset=utf-8"}
    with pytest.raises(InputError, match="web page"):
        fetch_file(server.url("x.zip", b"<html>please log in"), tmp_path / "x.zip")
    assert left(tmp_path) == []


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/x.zip", "ftp://127.0.0.1:{}/x.zip", "http://[{}/x.zip", "x.zip"])
def test_no_server_is_said_at_once(tmp_path, url):
    start = time.perf_counter()
    with pytest.raises(InputError, match="cannot be reached") as error:
        fetch_file(url.format(closed_port()), tmp_path / "x.zip")
    assert time.perf_counter() - start < 5 and left(tmp_path) == [] and "\n" not in str(error.value)


def test_a_server_that_goes_away_in_the_middle_is_not_asked_for_ever(server, tmp_path, monkeypatch):
    server.drops = [100_000]
    waits = []

    def away(seconds):
        if not waits:
            server.shutdown()
            server.socket.close()
        waits.append(seconds)

    monkeypatch.setattr(resume, "WAITS", (1, 2, 4))
    monkeypatch.setattr(time, "sleep", away)
    with pytest.raises(InputError, match=r"at last after 100000 bytes .*refused"):
        fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip")
    assert waits == [1, 2, 4]
    monkeypatch.undo()


# -- full disks --------------------------------------------------------------------------------------------------------
def test_a_disk_that_is_too_small_is_seen_before_the_first_byte(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=len(DATA) - 1))
    with pytest.raises(DiskFull, match=r"x.zip.* needs 320.0 kB of disk, but only 320.0 kB are free"):
        fetch_file(server.url("x.zip", DATA), tmp_path / "x.zip")
    assert left(tmp_path) == []


class FullFile:
    """A file on a disk with room for so many bytes."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        self.file.write(data[: self.room])
        if len(data) > self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.room -= len(data)
        return len(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


def test_a_disk_that_fills_up_leaves_what_can_be_continued(server, tmp_path, monkeypatch):
    url, path, usual = server.url("x.zip", DATA), tmp_path / "x.zip", Path.open

    def full(self, mode="r", *args, **kwargs):
        file = usual(self, mode, *args, **kwargs)
        return FullFile(file, 150_000) if self.name == "x.zip.part" and mode == "wb" else file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        with pytest.raises(DiskFull, match=r"the rest of x.zip \(what came is kept\) needs .* but only .* free"):
            fetch_file(url, path)
    assert (tmp_path / "x.zip.part").read_bytes() == DATA[:150_000]
    assert fetch_file(url, path) == SHA256 and server.asked[-1] == ("/x.zip", 150_000)
