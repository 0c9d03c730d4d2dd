"""An interrupted training goes on exactly: after a kill, after a damaged file, with random numbers of its own."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import TensorDataset

from tangent_lib.finetuning import Execution, Protocol, finetune
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.snapshots import Snapshots

pytestmark = pytest.mark.slow

STEPS = 30
PROTOCOL = Protocol(steps=STEPS, batch_size=8, learning_rate=0.05)

PROGRAM = """
import sys
from pathlib import Path

from safetensors.torch import save_file

from tangent_lib.data.tasks import load_task
from tangent_lib.finetuning import Execution, Protocol, finetune
from tangent_lib.models.clip import load_clip, zero_shot_head
from tangent_lib.runtime.snapshots import Snapshots
from tangent_lib.runtime.store import Store

folder, linearized = Path(sys.argv[1]), sys.argv[2] == "linear"
clip = load_clip()
task = load_task("Digits", clip, Store(folder.parent / "images"))
head = zero_shot_head(clip, task.classes, task.manifest.templates)
protocol = Protocol(steps=16, batch_size=16, learning_rate=6e-4)
snapshots = Snapshots(folder / "state", 0)
options = {"linearized": linearized, "execution": Execution(snapshots=snapshots)}
theta = finetune(clip.f, clip.theta_0, head, task.split("train"), protocol, **options)
save_file(theta, folder / "theta.safetensors")
"""


def kept_at(path: Path, seconds: float | int = 0) -> Callable[[], Execution]:
    """Executions that keep the state of the training there, each in an object of its own."""
    return lambda: Execution(snapshots=Snapshots(path, seconds))


def noisy(params, x):
    return torch.dropout(torch.tanh(x @ params["w"]), 0.2, train=True)


@pytest.fixture
def toy(rng):
    x = torch.randn(50, 4, generator=rng)
    return {"w": torch.randn(4, 3, generator=rng)}, 5 * torch.eye(3), TensorDataset(x, x[:, :3].argmax(-1))


class Interrupted(Exception):
    pass


def interrupted_after(calls):
    """``noisy``, which fails after so many calls, as if the machine went down."""
    left = [calls]

    def f(params, x):
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        return noisy(params, x)

    return f


@pytest.mark.parametrize("linearized", [False, True], ids=["f", "f_lin"])
@pytest.mark.parametrize("stops", [[1], [7], [STEPS - 1], [3, 5, 2, 9]], ids=str)
def test_training_goes_on_bit_identically_dropout_included(toy, tmp_path, linearized, stops):
    whole, kept = finetune(noisy, *toy, PROTOCOL, linearized=linearized), kept_at(tmp_path / "s")
    for steps in stops:
        with pytest.raises(Interrupted):
            finetune(interrupted_after(steps), *toy, PROTOCOL, linearized=linearized, execution=kept())
    calls = []
    counted = lambda params, x: calls.append(1) or noisy(params, x)
    resumed = finetune(counted, *toy, PROTOCOL, linearized=linearized, execution=kept())
    assert torch.equal(whole["w"], resumed["w"]) and len(calls) == STEPS - sum(stops)


def test_frozen_weights_are_not_in_the_file_and_stay(toy, tmp_path):
    theta_0 = {**toy[0], "bias": torch.zeros(3)}
    f = lambda params, x: noisy(params, x) + params["bias"]
    theta = finetune(f, theta_0, *toy[1:], PROTOCOL, trained=["w"], execution=kept_at(tmp_path / "s")())
    assert torch.equal(theta["bias"], theta_0["bias"]) and not torch.equal(theta["w"], theta_0["w"])
    assert {name for name in load_file(tmp_path / "s") if "random" not in name} == {
        "weight 0",
        "step 0",
        "exp_avg 0",
        "exp_avg_sq 0",
    }


def truncate(path):
    path.write_bytes(path.read_bytes()[:100])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)


def count_other_steps(path):
    path.write_bytes(path.read_bytes().replace(b'"steps":"9"', b'"steps":"8"'))


def put_tensors_alone(path):
    save_file({"weight 0": torch.zeros(4, 3)}, path)


def put_text(path):
    path.write_text("steps: 9\n")


def take_that_of_another_training(path):
    toy = {"w": torch.zeros(4, 3)}, torch.eye(3), TensorDataset(torch.eye(4), torch.arange(4) % 3)
    with pytest.raises(Interrupted):
        finetune(interrupted_after(5), *toy, PROTOCOL, execution=kept_at(path.with_name("other"))())
    path.with_name("other").replace(path)


def take_that_of_other_weights(path):
    path.unlink()
    toy = {"w": torch.zeros(4, 2)}, torch.eye(2), TensorDataset(torch.eye(4), torch.arange(4) % 2)
    with pytest.raises(Interrupted):
        finetune(interrupted_after(5), *toy, PROTOCOL, execution=kept_at(path)())


OTHER_CONTENT = [truncate, flip_a_bit, count_other_steps, put_tensors_alone, put_text]
OTHER_CONTENT += [take_that_of_another_training, take_that_of_other_weights]


@pytest.mark.parametrize("spoil", OTHER_CONTENT, ids=lambda spoil: spoil.__name__)
def test_a_file_of_other_content_is_not_gone_on_from_and_replaced(toy, tmp_path, spoil):
    path = tmp_path / "s"
    with pytest.raises(Interrupted):
        finetune(interrupted_after(9), *toy, PROTOCOL, execution=kept_at(path)())
    spoil(path)
    with pytest.warns(UserWarning, match="training starts anew: '.*/s' does not hold its state"):
        again = finetune(noisy, *toy, PROTOCOL, execution=kept_at(path)())
    assert torch.equal(again["w"], finetune(noisy, *toy, PROTOCOL)["w"])
    kept_at(path)().snapshots.discard()
    assert not path.exists()


def test_a_folder_in_its_place_is_refused_before_the_first_step(toy, tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(InputError, match=r"'.*/s' is no file, but the state of a training is kept there: move it away"):
        finetune(lambda params, x: pytest.fail("a step was taken"), *toy, PROTOCOL, execution=kept_at(tmp_path / "s")())
    kept_at(tmp_path / "s")().snapshots.discard()
    assert (tmp_path / "s").is_dir()


def test_files_are_written_no_more_often_than_asked_for(toy, tmp_path):
    finetune(noisy, *toy, PROTOCOL, execution=kept_at(tmp_path / "s", seconds=1000)())
    assert not (tmp_path / "s").exists()


def run(folder: Path, way: str) -> subprocess.Popen:
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), way]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_after_progress(folder, way, delay):
    """Start training, and kill it a moment after it has kept a new state."""
    state = folder / "state"
    before = state.stat().st_mtime_ns if state.exists() else None
    process = run(folder, way)
    while process.poll() is None and (not state.exists() or state.stat().st_mtime_ns == before):
        time.sleep(0.005)
    time.sleep(delay)
    process.kill()
    return process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("way", ["non-linear", "linear"])
def test_a_training_killed_at_random_steps_ends_bit_identically(tmp_path, way):
    moments = random.Random(way)
    assert run(tmp_path / "calm", way).wait() == 0
    assert kill_after_progress(tmp_path / "killed", way, moments.uniform(0, 0.2))
    assert run(tmp_path / "killed", way).wait() == 0
    calm, resumed = (load_file(tmp_path / name / "theta.safetensors") for name in ("calm", "killed"))
    assert calm.keys() == resumed.keys() and all(torch.equal(calm[name], resumed[name]) for name in calm)
