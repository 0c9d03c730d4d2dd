"""Repositories of the hub are fetched by its own client, here from a server that answers as the hub does."""

from __future__ import annotations

import inspect

import huggingface_hub
import pytest
from sources import COMMIT, HUB, REPO, SHARDS, fetched_files, in_sight, manifest

from tangent_lib.data.fetch import Fetched, fetch, recorded
from tangent_lib.runtime.errors import InputError


@pytest.mark.parametrize("revision", [None, COMMIT, "main"])
def test_a_hub_repository_comes_with_its_commit(server, root, revision):
    server.serve_hub("tanganke/dtd", COMMIT, REPO, revision)
    got = fetch(manifest({**HUB, "revision": revision}), root)
    assert fetched_files(root) == SHARDS
    assert got == Fetched(root / "dtd", "https://huggingface.co/datasets/tanganke/dtd", COMMIT) == recorded(root / "dtd")


def test_the_hub_client_is_called_as_it_wants_to_be(server, root, monkeypatch):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    signature = inspect.signature(huggingface_hub.snapshot_download)
    calls = []

    def stub(*args, **kwargs):
        call = signature.bind(*args, **kwargs).arguments
        calls.append(call)
        for name in SHARDS:
            (call["local_dir"] / name).parent.mkdir(parents=True, exist_ok=True)
            (call["local_dir"] / name).write_bytes(b"shard")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", stub)
    fetch(manifest(HUB), root)
    (call,) = calls
    assert root / "dtd" in call.pop("local_dir").parents
    assert call == {
        "repo_id": "tanganke/dtd", "repo_type": "dataset", "revision": COMMIT, "allow_patterns": HUB["patterns"],
    }  # fmt: skip


def test_a_begun_hub_download_goes_on(server, root):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    (lost,) = (path for path in server.files if path.endswith("test-00001-of-00002.parquet"))
    gone = server.files.pop(lost)
    with pytest.raises(InputError, match="404"):
        fetch(manifest(HUB), root)
    assert in_sight(root) == []
    server.files[lost] = gone
    server.asked.clear()
    fetch(manifest(HUB), root)
    assert {path for path, _ in server.asked if "/resolve/" in path} == {lost} and fetched_files(root) == SHARDS


def test_a_folder_that_the_client_takes_for_whole_is_counted(server, root, monkeypatch):
    server.serve_hub("tanganke/dtd", COMMIT, REPO)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: str(kwargs["local_dir"]))
    with pytest.raises(InputError, match=r"4 of 4 files did not come, data/test-00000|data/train-00000"):
        fetch(manifest(HUB), root)


def refusing(server, code):
    server.headers["/api/datasets/tanganke/dtd"] = {"X-Error-Code": code}
    server.statuses = [403 if code == "GatedRepo" else 404]


@pytest.mark.parametrize(
    "code, said",
    [
        ("GatedRepo", "its terms must be accepted at https://huggingface.co/datasets/tanganke/dtd"),
        ("RepoNotFound", "there is no such repository, or it is private"),
        ("RevisionNotFound", "it has no revision"),
    ],
)
def test_the_hubs_refusals_are_said_in_a_line(server, root, code, said):
    refusing(server, code)
    with pytest.raises(InputError, match=f"any source. https://huggingface.co/datasets/tanganke/dtd: {said}[^\n]*$"):
        fetch(manifest(HUB), root)


def test_patterns_that_match_nothing_are_said(server, root):
    server.serve_hub("tanganke/dtd", COMMIT, {"README.md": b""})
    with pytest.raises(InputError, match=r"it has no files data/train-\*.parquet, .*, only README.md"):
        fetch(manifest(HUB), root)
