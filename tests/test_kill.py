"""A run that is killed again and again ends with the results of an undisturbed one."""

import json
import random
import subprocess
import sys
import time

from tangent_lib.manifests import ROOT

PROGRAM = """
import json, sys
from tangent_lib.experiment import Experiment
from tangent_lib.parameters import check_parameters

run = Experiment(check_parameters(tasks="Digits,Signs", steps=4, batch_size=16, store=sys.argv[1]), alphas=(0.0, 0.5, 1.0))
print(json.dumps({mode: run.summary(mode, 0) for mode in ("non-linear", "linear")}))
"""


def start(store):
    command = [sys.executable, "-c", PROGRAM, str(store)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def test_ten_kills_leave_the_results_unchanged(tmp_path):
    begin = time.monotonic()
    undisturbed = json.loads(start(tmp_path / "calm").communicate()[0])
    duration = time.monotonic() - begin
    moments = random.Random(0)
    killed = 0
    for _ in range(10):
        process = start(tmp_path / "killed")
        try:
            process.wait(timeout=moments.uniform(0.2, 0.9) * duration)
        except subprocess.TimeoutExpired:
            process.kill()
            killed += 1
        process.communicate()
    assert killed >= 3
    assert json.loads(start(tmp_path / "killed").communicate()[0]) == undisturbed
