"""A dry run: which ways it tries, what it trains in each, and what it counts."""

from __future__ import annotations

import pytest

from tangent_lib.cost import dry_run
from tangent_lib.cost.dry_run import Trial, trial_table, trials
from tangent_lib.cost.measured_steps import WAYS
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.modes import select
from tangent_lib.parameters import check_parameters


@pytest.fixture
def run(random_clip, tmp_path):
    given = {"pretrained": "none", "tasks": "Digits,Signs", "control": "Objects", "store": str(tmp_path)}
    return Experiment(Materials(check_parameters(**given, steps=3600, seeds="0,1,2", batch_size=8, micro_batch=4)))


@pytest.fixture
def asked(monkeypatch):
    """What fine-tuning was asked for, in the place of any."""
    found = []
    monkeypatch.setattr(dry_run, "finetune", lambda f, theta_0, head, data, protocol, **more: found.append((protocol, more)))
    return found


def test_each_way_trains_what_it_names_after_warming_up(run, asked):
    assert list(trials(run)) == list(WAYS)
    assert [protocol.steps for protocol, _ in asked] == [1, 1, 1 + dry_run.STEPS] * 3
    assert [more["linearized"] for _, more in asked[::3]] == [False, True, False]
    theta_0 = run.materials.clip.theta_0
    assert [more["trained"] for _, more in asked[::3]] == [select(theta_0, selection) for selection in WAYS.values()]
    assert all(more["execution"].micro_batch == 4 and more["execution"].snapshots is None for _, more in asked)


def test_a_way_that_the_model_does_not_have_is_left_out(run, asked):
    theta_0 = run.materials.clip.theta_0
    for name in select(theta_0, "attention weights"):
        theta_0 = {each: value for each, value in theta_0.items() if each != name}
    object.__setattr__(run.materials.clip, "theta_0", theta_0)
    assert list(trials(run)) == ["non-linear", "linear"]


def test_hours_are_those_of_all_tasks_and_seeds(run, monkeypatch):
    monkeypatch.setattr(dry_run, "trials", lambda run: {"linear": Trial(2.0, 3_500_000_000), "non-linear": Trial(1.0, None)})
    first, _, linear, plain, last = trial_table(run).splitlines()
    assert first.startswith("ViT-Mini-8 (none), 8 images a step, fp32, on ") and "steps of Digits" in first
    assert linear.split() == ["linear", "2.000", "3.5", "GB", "2.00", "12.00"]
    assert plain.split() == ["non-linear", "1.000", "not", "measured", "1.00", "6.00"]
    assert last.startswith("in all: 2 tasks, 3 seeds")
