"""Where a result comes from: the commit and whether files differ from it, the machine, the versions."""

from __future__ import annotations

import platform
import subprocess
from datetime import datetime

import pytest
import torch

from tangent_lib.runtime import provenance as origin
from tangent_lib.runtime.provenance import commit, provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit in the place of this one."""
    run = lambda *args: subprocess.run(["git", "-C", str(tmp_path), *args], check=True, capture_output=True, text=True)
    run("init", "-q")
    (tmp_path / "file").write_text("one\n")
    run("add", "file")
    run("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-qm", "First")
    monkeypatch.setattr(origin, "ROOT", tmp_path)
    commit.cache_clear()
    yield tmp_path, run("rev-parse", "--short=12", "HEAD").stdout.strip()
    commit.cache_clear()


def test_the_commit_is_that_of_the_checkout(repository):
    folder, head = repository
    (folder / "untracked").write_text("")
    assert commit() == head and len(head) == 12


def test_changes_of_tracked_files_are_told(repository):
    folder, head = repository
    (folder / "file").write_text("two\n")
    assert commit() == f"{head}+changes"


def test_outside_git_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(origin, "ROOT", tmp_path)
    commit.cache_clear()
    assert commit() == "unknown"
    commit.cache_clear()


def git(folder, *args):
    subprocess.run(["git", "-C", str(folder), *args], check=True, capture_output=True)


@pytest.mark.parametrize("inner", ["", "damaged", "unborn"])
def test_a_repository_around_this_one_is_not_its_own(repository, monkeypatch, inner):
    folder = repository[0] / "downloaded"
    folder.mkdir()
    if inner == "damaged":
        (folder / ".git").mkdir()
    elif inner == "unborn":
        git(folder, "init", "-q")
    monkeypatch.setattr(origin, "ROOT", folder)
    assert commit() == "unknown"


@pytest.mark.parametrize("names", [["GIT_DIR"], ["GIT_DIR", "GIT_WORK_TREE"], ["GIT_INDEX_FILE"], ["GIT_COMMON_DIR"]])
def test_variables_of_another_repository_change_nothing(repository, monkeypatch, tmp_path_factory, names):
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "-q")
    values = {"GIT_DIR": other / ".git", "GIT_WORK_TREE": repository[0], "GIT_INDEX_FILE": other / "index"}
    for name in names:
        monkeypatch.setenv(name, str(values.get(name, other / ".git")))
    assert commit() == repository[1]


def test_a_worktree_and_a_link_to_the_checkout_are_the_checkout(repository, monkeypatch, tmp_path_factory):
    folder, head = repository
    at = tmp_path_factory.mktemp("trees")
    git(folder, "worktree", "add", "-q", str(at / "tree"))
    (at / "link").symlink_to(folder)
    for root in (at / "tree", at / "link"):
        monkeypatch.setattr(origin, "ROOT", root)
        commit.cache_clear()
        assert commit() == head


def test_a_record_names_machine_versions_and_time():
    found = provenance()
    assert list(found) == ["commit", "date", "machine", "python", "torch", "versions"]
    assert all(isinstance(value, str) and value for value in found.values())
    assert datetime.fromisoformat(found["date"]).utcoffset().total_seconds() == 0
    assert platform.machine() in found["machine"] and "cores" in found["machine"]
    assert found["torch"].startswith(f"{torch.__version__}, {torch.get_num_threads()} threads")
    assert all(f"{name} " in found["versions"] for name in ("open_clip_torch", "numpy", "safetensors"))


def test_a_processor_that_is_not_listed_is_named_otherwise(monkeypatch):
    monkeypatch.setattr(origin.Path, "read_text", lambda self: "flags\t: sse\n")
    assert origin._processor() == "unknown processor"
    monkeypatch.setattr(origin.Path, "read_text", lambda self: "model name\t: Made: Up 9000\nmodel name\t: Other\n")
    assert origin._processor() == "Made: Up 9000"
