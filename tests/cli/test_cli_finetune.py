"""Jobs of the command line: what they put into the store, their receipts, and their errors."""

from __future__ import annotations

import json

import pytest
import torch

from tangent_lib.cli import main
from tangent_lib.cli.finetune import finetune_job
from tangent_lib.cli.options import given_parameters
from tangent_lib.cost import dry_run as trial
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.modes import ABLATION_MODES, ALL_MODES, TRAININGS
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError

pytestmark = pytest.mark.slow

SHORT = {"tasks": "Digits", "steps": "2", "batch_size": "8"}


def arguments(store, **more):
    return [part for name, value in {**SHORT, "store": str(store), **more}.items() for part in ("-p", name, value)]


def test_the_trainings_are_all_that_the_modes_need():
    needed = {(mode.training.linearized, mode.training.selection, False) for mode in ALL_MODES.values()}
    needed |= {(linear, "all", True) for linear in (False, True)}  # Section 6.2
    made = [(each.linearized, each.selection, each.untrained) for each in TRAININGS.values()]
    assert set(made) == needed and len(made) == len(needed) == 8 and len(ABLATION_MODES) == 4


@pytest.mark.parametrize("training", ["linear", "attention-biases", "random-non-linear"])
def test_a_job_leaves_what_the_notebooks_ask_for(tmp_path, training, monkeypatch):
    receipt = tmp_path / "receipts" / "one.json"
    given = ["finetune", "--task", "Digits", "--training", training, *arguments(tmp_path / "s")]
    status = main([*given, "--receipt", str(receipt)])
    (record,) = json.loads(receipt.read_text())
    assert status == 0 and record["computed"] and (record["training"], record["seed"]) == (training, 0)
    run = Materials(check_parameters(**SHORT, store=str(tmp_path / "s")))
    run = run.untrained(0) if TRAININGS[training].untrained else run
    monkeypatch.setattr("tangent_lib.experiments.materials.finetune", lambda *args: pytest.fail("trained again"))
    tau = run.task_vector("Digits", TRAININGS[training], 0)
    assert max(value.abs().max().item() for value in tau.values()) > 0


def test_what_the_store_has_is_not_computed_again(tmp_path):
    run = Experiment(Materials(check_parameters(**SHORT, seeds="0,1", store=str(tmp_path))))
    first, second = (finetune_job(run, ["Digits"], "non-linear") for _ in range(2))
    assert [each["computed"] for each in (*first, *second)] == [True, True, False, False]
    sums = [[each["sha256"] for each in found] for found in (first, second)]
    assert sums[0] == sums[1] and sums[0][0] != sums[0][1]
    assert not list(tmp_path.glob("finetuned/*.state"))


def test_a_job_needs_only_its_own_task(tmp_path):
    """Neither the other seven tasks nor the control have to be there."""
    assert main(["finetune", "--task", "Signs", "--training", "non-linear", *arguments(tmp_path, tasks="Signs")]) == 0


@pytest.mark.parametrize(
    "given, message",
    [
        (["finetune", "--task", "Digits", "--training", "lineer"], "unknown training 'lineer': did you mean 'linear'?"),
        (["finetune", "--task", "Sings", "--training", "linear", "-p", "tasks", "Sings"], "unknown task 'Sings'"),
        (["finetune", "--task", "Digits", "--training", "linear", "-p", "tasks", "Signs"], "--task chooses among the tasks"),
        (["finetune", "--task", "Signs", "--training", "linear", "-p", "sedes", "1"], "unknown parameter 'sedes'"),
        (["dry-run", "-p", "steps", "2", "-p", "steps", "3"], "'steps' is given twice"),
        (["finetune", "--task", "Cars", "--training", "linear", "-p", "data_root", "/nowhere"], "no data for Cars"),
    ],
)
def test_errors_are_one_line_and_come_before_any_work(capsys, given, message, no_model, tmp_path):
    receipt = tmp_path / "receipt.json"
    assert main([*given, *(["--receipt", str(receipt)] if given[0] == "finetune" else [])]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1 and not receipt.exists()


def test_parameters_come_as_papermill_takes_them():
    assert given_parameters([["seeds", "0,1"]]) == {"seeds": "0,1"}
    with pytest.raises(InputError, match=r"micro_bacth.*micro_batch"):
        given_parameters([["micro_bacth", "2"]])


def test_a_dry_run_says_time_and_memory_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trial, "STEPS", 1)
    assert main(["dry-run", *arguments(tmp_path, steps="3600", seeds="0,1")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ViT-Mini-8 (captions)" in lines[0] and "8 images a step, fp32, on cpu" in lines[0] and "2 seeds" in lines[-1]
    table = {line[:16].strip(): line[16:].split() for line in lines[2:-1]}
    assert set(table) == {"non-linear", "linear", "attention-only"}
    for seconds, *words, hours, total in table.values():
        assert words == ["not", "measured"] and float(hours) == pytest.approx(float(seconds), abs=0.006)
        assert float(total) == pytest.approx(2 * float(hours), abs=0.011)
    assert not list(tmp_path.glob("finetuned/*"))


def test_a_gpu_out_of_memory_says_what_to_lower(tmp_path, monkeypatch, capsys):
    def too_large(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr("tangent_lib.finetuning._gradients", too_large)
    assert main(["finetune", "--task", "Digits", "--training", "linear", *arguments(tmp_path, micro_batch="4")]) == 2
    error = capsys.readouterr().err
    parts = ("4 points at a time", "-p micro_batch", "-p precision bf16", "Tried to allocate 20.00")
    assert all(part in error for part in parts)
    assert not list(tmp_path.glob("finetuned/*.json"))
