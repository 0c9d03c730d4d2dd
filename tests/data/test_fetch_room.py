"""Room is asked for before a download; a disk that fills up all the same leaves what can be continued."""

from __future__ import annotations

import errno
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from archives import NOISE, contents
from sources import COMMIT, HUB, REPO, WHOLE, archives, fetched_files, in_sight, manifest

from tangent_lib.data.fetch import fetch
from tangent_lib.runtime.disk import DiskFull
from tangent_lib.runtime.errors import InputError


def with_room(monkeypatch, gigabytes):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(gigabytes * 1e9)))


@pytest.mark.parametrize("hub, needed", [(True, 5.0), (False, 7.0)])  # archives lie beside what is unpacked from them
def test_room_is_asked_for_before_any_download(server, root, tmp_path, monkeypatch, hub, needed):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    source = HUB if hub else archives(server, tmp_path)
    about = manifest(source, gigabytes={"download": 2, "prepared": 3})
    with_room(monkeypatch, needed - 0.1)
    with pytest.raises(DiskFull, match=f"DTD, fetched and prepared, needs {needed} GB of disk, but only {needed - 0.1} GB"):
        fetch(about, root)
    assert not server.asked and list(contents(root)) == [".dtd.fetch.lock"]
    with_room(monkeypatch, needed)
    fetch(about, root)


def test_what_came_already_needs_no_room_again(server, root, tmp_path, monkeypatch):
    source = archives(server, tmp_path)
    gone = server.files.pop("/more.zip")
    about = manifest(source, gigabytes={"download": 50e-6, "prepared": 10e-6})
    with pytest.raises(InputError, match="404"):
        fetch(about, root)
    server.files["/more.zip"] = gone
    with_room(monkeypatch, 100e-6)  # less than 2 * 50 + 10 kB, but 30 of them are there
    fetch(about, root)


def test_a_hub_repository_is_measured_without_the_manifest(server, root, monkeypatch):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    with_room(monkeypatch, 100e-6)
    with pytest.raises(DiskFull, match=r"tanganke/dtd \(what came is kept\) needs 120.0 kB of disk, but only 100.0 kB"):
        fetch(manifest(HUB), root)


@pytest.mark.parametrize("how", ["itself", "as the cause", "in words"])
def test_a_disk_that_fills_up_ends_it(server, root, tmp_path, monkeypatch, how):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)

    def full(*args, local_dir, **kwargs):
        (local_dir / "data").mkdir(parents=True)
        (local_dir / "data/begun.incomplete").write_bytes(NOISE)
        error = OSError(errno.ENOSPC, "No space left on device")
        if how == "itself":
            raise error
        if how == "as the cause":
            raise RuntimeError("a worker failed") from error
        raise RuntimeError("Data processing error: No space left on device (os error 28)")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", full)
    with pytest.raises(DiskFull, match=r"tanganke/dtd \(what came is kept\) needs 90.0 kB of disk, but only .* are free"):
        fetch(manifest(HUB, archives(server, tmp_path)), root)
    assert in_sight(root) == [] and not [path for path, _ in server.asked if "zip" in path or "tar" in path]
    assert [path.read_bytes() for path in root.rglob("begun.incomplete")] == [NOISE]


def test_a_disk_that_fills_up_while_unpacking_keeps_the_downloads(server, root, tmp_path, monkeypatch):
    source = archives(server, tmp_path)

    def full(file, target, *_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)  # as zipfile copies; the tar archive comes out before
        with pytest.raises(DiskFull, match=r"more.zip, unpacked, needs 30.0 kB of disk"):
            fetch(manifest(source), root)
    assert in_sight(root) == [] and not list(root.rglob(".unpacking*"))
    server.asked.clear()
    fetch(manifest(source), root)
    assert not server.asked and fetched_files(root) == WHOLE
