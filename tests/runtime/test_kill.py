"""A run that is killed again and again ends with the results of an undisturbed one."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from tangent_lib.runtime.disk import ROOT

pytestmark = pytest.mark.slow

PROGRAM = """
import json, sys
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.experiments.records import as_json, summaries
from tangent_lib.parameters import check_parameters

given = {"tasks": "Digits,Signs", "alphas": "0,0.5,1", "steps": 4, "batch_size": 16, "store": sys.argv[1]}
run = Experiment(Materials(check_parameters(**given)))
print(json.dumps(as_json(summaries(run, ("non-linear", "linear")))))
"""


def start(store):
    command = [sys.executable, "-c", PROGRAM, str(store)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def records(store):
    return len(list(store.glob("*/*.json")))


def kill_after_progress(store, delay):
    """Start the program and kill it a moment after it has written something new."""
    process, before = start(store), records(store)
    while process.poll() is None and records(store) == before:
        time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    return process.returncode == -signal.SIGKILL


def test_ten_kills_leave_the_results_unchanged(tmp_path):
    undisturbed = json.loads(start(tmp_path / "calm").communicate()[0])
    moments = random.Random(0)
    killed = [kill_after_progress(tmp_path / "killed", moments.uniform(0, 0.5)) for _ in range(10)]
    assert sum(killed) >= 5
    assert json.loads(start(tmp_path / "killed").communicate()[0]) == undisturbed
