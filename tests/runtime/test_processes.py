"""Two processes on the gloo backend train as one, in exactly the shares that a batch has."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.processes import fetch_together, own_device
from tangent_lib.runtime.store import Store

pytestmark = pytest.mark.slow

PROGRAM = """
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

from tangent_lib.data.tasks import load_task
from tangent_lib.finetuning import Execution, Protocol, finetune
from tangent_lib.models.clip import load_clip, zero_shot_head
from tangent_lib.runtime.processes import accelerator, fetch_together
from tangent_lib.runtime.store import Store

folder, cpu = Path(sys.argv[1]), torch.device("cpu")
clip = load_clip()
task = load_task("Digits", clip, Store(folder / "images"))
head = zero_shot_head(clip, task.classes, task.manifest.templates)
protocol, store = Protocol(steps=3, batch_size=9, learning_rate=6e-4), Store(folder / "store")
in_double = lambda params, x: clip.f(params, x.double())
results = {}
for linear in (False, True):
    for kind, f, dtype in (("float32", clip.f, torch.float32), ("float64", in_double, torch.float64)):
        theta_0 = {name: value.to(dtype) for name, value in clip.theta_0.items()}
        given, how = (f, theta_0, head.to(dtype), task.split("train"), protocol), Execution(micro_batch=4)
        compute = lambda: (finetune(*given, linearized=linear, execution=how), {})
        entry = fetch_together(store, "theta", {"linear": linear, "kind": kind}, compute, cpu)
        results |= {f"{kind} {linear} {name}": value for name, value in entry.tensors.items()}
        again = fetch_together(store, "theta", {"linear": linear, "kind": kind}, lambda: 1 / 0, cpu)
        assert all(torch.equal(again.tensors[name], value) for name, value in entry.tensors.items())

x = torch.randn(23, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
theta_0, head, data = {"w": x[:4, :3].clone()}, 5 * torch.eye(3, dtype=torch.float64), TensorDataset(x, x[:, :3].argmax(-1))
bent = lambda params, x: torch.tanh(x @ params["w"])
for micro in (None, 1, 2):
    for linear in (False, True):
        odd = Protocol(steps=15, batch_size=9, learning_rate=0.05)
        how = Execution(micro_batch=micro)
        results[f"toy {linear} {micro}"] = finetune(bent, theta_0, head, data, odd, linearized=linear, execution=how)["w"]
processes = accelerator(cpu)
save_file(results, folder / f"theta-{processes.process_index}.safetensors")
kind = str(processes.distributed_type)
(folder / f"{processes.process_index}.json").write_text(json.dumps([processes.num_processes, kind]))
"""


def launch(folder, processes):
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if processes > 1:
        environment["ACCELERATE_MIXED_PRECISION"] = "bf16"  # as a user's own configuration may say: it must not matter
    done = subprocess.run(
        [*command, str(folder / "program.py"), str(folder)], env=environment, cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [load_file(folder / f"theta-{i}.safetensors") for i in range(processes)]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("processes")
    return folder, launch(folder / "one", 1)[0], launch(folder / "two", 2)


def test_two_processes_take_part(runs):
    found = [json.loads((runs[0] / "two" / f"{i}.json").read_text()) for i in range(2)]
    assert found == [[2, "DistributedType.MULTI_CPU"]] * 2


def test_two_processes_end_with_the_weights_of_one(runs):
    _, one, two = runs
    exact = [name for name, value in one.items() if value.dtype == torch.float64]
    assert len(exact) > 100
    for name in exact:
        for each in two:
            torch.testing.assert_close(each[name], one[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("linear", [False, True], ids=["f", "f_lin"])
def test_in_single_precision_they_differ_by_rounding(runs, clip, linear):
    """AdamW divides by the size of the gradient, so rounding shows where a gradient is nearly zero."""
    _, one, two = runs
    names = [f"float32 {linear} {name}" for name in clip.theta_0]
    moved = sum((one[name] - clip.theta_0[name.split()[-1]]).square().sum() for name in names).sqrt()
    for each in two:
        apart = sum((one[name] - each[name]).square().sum() for name in names).sqrt()
        assert moved > 0.1 and apart < 1e-3 * moved


def test_micro_batches_leave_the_weights_as_they_are(runs):
    one = runs[1]
    for linear in (False, True):
        for micro in (1, 2):
            torch.testing.assert_close(one[f"toy {linear} {micro}"], one[f"toy {linear} None"], rtol=1e-10, atol=1e-12)


def test_one_process_alone_uses_the_store_as_ever(tmp_path):
    values = [fetch_together(Store(tmp_path), "n", {}, lambda: ({}, {"n": 1}), torch.device("cpu")).values for _ in range(2)]
    assert values == [{"n": 1}] * 2


def test_each_process_has_a_gpu_of_its_own_and_more_than_there_are_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert own_device("cuda") == "cuda:1" and own_device("cpu") == "cpu"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(InputError, match=r"3 processes for 2 GPUs.*CUDA_VISIBLE_DEVICES"):
        own_device("cuda")
