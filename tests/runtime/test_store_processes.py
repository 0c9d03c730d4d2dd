"""The store between processes: one computes, the others wait, and one that is killed leaves nothing that is read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.store import Store


def child(code: str, *args: object) -> subprocess.Popen:
    modules = ("os, sys, time", "torch", "tangent_lib.runtime.disk")
    head = "".join(f"import {each}\n" for each in modules) + "from tangent_lib.runtime.store import Store\n"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", head + code, *map(str, args)], cwd=ROOT, env=environment)


def test_two_processes_compute_once(tmp_path):
    code = """
root, log, ready, other = sys.argv[1:]
def compute():
    with open(log, "a") as file:
        file.write("computed ")
    time.sleep(1)
    return {"w": torch.ones(3)}, {"x": 1}
open(ready, "w").close()
while not os.path.exists(other):
    time.sleep(0.01)
sys.exit(Store(root).fetch("kind", {"a": 1}, compute).values != {"x": 1})
"""
    log, ready = tmp_path / "log", [tmp_path / "ready-0", tmp_path / "ready-1"]
    children = [child(code, tmp_path / "store", log, *order) for order in (ready, ready[::-1])]
    assert [each.wait(60) for each in children] == [0, 0]
    assert log.read_text() == "computed "


@pytest.mark.parametrize("stage", ["compute", "write tensors", "write record"])
def test_a_process_killed_at_work_leaves_nothing_that_is_read(tmp_path, stage):
    code = """
root, ready, stage = sys.argv[1:]
def wait(*args):
    open(ready, "w").close()
    time.sleep(60)
def compute():
    if stage == "compute":
        wait()
    return {"w": torch.zeros(9)}, {"accuracy": 0.0}
def fsync(handle, calls=[]):
    calls.append(1)
    if len(calls) == ["write tensors", "write record"].index(stage) + 1:
        wait()
if stage != "compute":
    tangent_lib.runtime.disk.os.fsync = fsync
Store(root).fetch("kind", {"task": "Signs", "seed": 3}, compute)
"""
    process = child(code, tmp_path / "store", tmp_path / "ready", stage)
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and (tmp_path / "ready").exists()
    store = Store(tmp_path / "store")
    config = {"task": "Signs", "seed": 3}
    assert store.find("kind", config) is None
    anew = store.fetch("kind", config, lambda: ({"w": torch.ones(9)}, {"accuracy": 1.0}))
    assert anew.values == {"accuracy": 1.0} and torch.equal(anew.tensors["w"], torch.ones(9))
