"""Cores: as many as the process may use, by affinity and by the quotas of control groups."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tangent_lib.runtime import cores
from tangent_lib.runtime.disk import ROOT

FILE = ROOT / "tangent_lib" / "runtime" / "cores.py"
GROUPS = {
    "no group": ("", {}, 8),
    "no quota": ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
    "a container of version 2": ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
    "half a core": ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
    "one and a half": ("0::/\n", {"cpu.max": "150000 100000\n"}, 1),
    "more than there are": ("0::/\n", {"cpu.max": "6400000 100000\n"}, 8),
    "a group around it": ("0::/jobs/7\n", {"jobs/cpu.max": "300000 100000\n", "jobs/7/cpu.max": "max 100000\n"}, 3),
    "a path as outside": ("0::/docker/abc\n", {"cpu.max": "400000 100000\n"}, 4),
    "version 1": (
        "11:memory:/m\n4:cpu,cpuacct:/docker/abc\n",
        {"cpu/docker/abc/cpu.cfs_quota_us": "500000\n", "cpu/docker/abc/cpu.cfs_period_us": "100000\n"},
        5,
    ),
    "version 1 without a quota": ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    "sets of cores are another controller": ("3:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1\n", "cpu.max": "1 1\n"}, 8),
}


@pytest.mark.parametrize("membership, files, expected", GROUPS.values(), ids=GROUPS)
def test_quotas_of_control_groups(monkeypatch, tmp_path, membership, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "membership").write_text(membership)
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert cores.usable_cores() == expected


def test_where_affinity_and_groups_are_unknown_all_cores_are_usable(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(cores, "MEMBERSHIP", tmp_path / "none")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert cores.usable_cores() == 6


def keep_to_one_core():
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_a_process_kept_to_one_core_counts_one():
    command = [sys.executable, "-I", "-S", FILE]
    assert subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=keep_to_one_core).stdout == "1\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
@pytest.mark.parametrize("given, jobs, threads", [((), 1, 1), (("JOBS=2",), 2, 1), (("CORES=9", "JOBS=2"), 2, 4)])
def test_make_shares_the_usable_cores_among_its_jobs(given, jobs, threads):
    command = ["make", "-n", "check", f"PYTHON={sys.executable}", *given]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, preexec_fn=keep_to_one_core)
    tests = next(line for line in said.stdout.splitlines() if "-m pytest" in line)
    assert tests.startswith(f"OMP_NUM_THREADS={threads} ") and int(tests.split("-n ")[1].split()[0]) == jobs


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "1.5"])
def test_make_refuses_what_is_no_number_of_jobs(jobs):
    said = subprocess.run(["make", "-n", "check", f"JOBS={jobs}"], cwd=ROOT, capture_output=True, text=True)
    assert said.returncode and f"JOBS={jobs} is not a number of jobs: give one from 1 up" in said.stderr
