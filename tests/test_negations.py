"""Negation of all tasks at once against negation one by one: equal results, and for f_lin one pass over the control."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace

import pytest
import torch

from tangent_lib import experiment, materials
from tangent_lib.evaluation import accuracies_along
from tangent_lib.experiment import Experiment
from tangent_lib.modes import MODES, mode_named
from tangent_lib.parameters import check_parameters
from tangent_lib.task_vectors import negate

GRID, NAMES, CONTROL, IMAGES = (0.0, 0.5, 1.0), ("Digits", "Signs"), "Objects", 120
LINEARISED = [mode for mode in MODES if mode_named(mode).linear_evaluation]


@pytest.fixture(scope="module")
def made(tmp_path_factory, few):
    """An experiment of a few images a split, fine-tuned far enough for accuracies to change with alpha."""
    load = materials.load_task

    def load_few(*args):
        task = load(*args)
        task.splits.update({name: few(data, IMAGES) for name, data in task.splits.items()})
        return task

    protocol = {"tasks": ",".join(NAMES), "steps": 6, "batch_size": 8, "learning_rate": 1e-3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(materials, "load_task", load_few)
        made = Experiment(check_parameters(**protocol, store=str(tmp_path_factory.mktemp("store"))), GRID)
        for name in (*NAMES, CONTROL):
            made.zero_shot(name)
        for mode in MODES:
            for name in NAMES:
                made.finetuned(name, mode_named(mode).linear_training, 0)
        yield made


@pytest.fixture
def fresh(made):
    """The same without any negation yet, and with a count of the images that pass through f."""
    passed = Counter()

    def f(params, x):
        passed["images"] += len(x)
        return made.clip.f(params, x)

    def start() -> Experiment:
        shutil.rmtree(made.store.root / "negation", ignore_errors=True)
        passed.clear()
        again = Experiment(made.parameters, GRID, replace(made.clip, f=f))
        again._tasks, again._heads = made._tasks, made._heads
        return again

    return start, passed


@pytest.mark.parametrize("mode", MODES)
def test_negations_are_those_one_by_one_and_pass_over_the_control_as_often_as_needed(fresh, mode):
    start, passed = fresh
    run = start()
    single = {name: run.negation(name, mode, 0) for name in NAMES}
    one_by_one = passed["images"]
    run = start()
    assert run.negations(mode, 0) == single and list(single) == list(NAMES)
    if mode not in LINEARISED:
        assert passed["images"] == one_by_one
        return
    tested = sum(each["alpha"] > 0 for each in single.values())  # at alpha 0 the accuracy on test is known
    assert one_by_one == IMAGES * (2 * len(NAMES) + 2 * tested)
    assert passed["images"] == IMAGES * (2 + len(NAMES) + tested)  # both splits of the control once for all


@pytest.mark.parametrize("mode", LINEARISED)
def test_accuracies_on_the_control_are_those_of_each_vector_alone(made, mode):
    vectors = [made.task_vector(name, mode_named(mode).linear_training, 0) for name in NAMES]
    found, clip, control = made._control_accuracies(list(NAMES), mode_named(mode), 0), made.clip, made.task(CONTROL)
    assert list(found) == list(NAMES)
    for name, tau in zip(NAMES, vectors):
        for split in ("val", "test"):
            given = (GRID, made.head(CONTROL), control.split(split), True)
            assert found[name][split] == accuracies_along(clip.f, clip.theta_0, negate(tau), *given)
            assert found[name][split][0] == made.zero_shot(CONTROL)[split]
    assert found["Digits"]["test"] != found["Signs"]["test"] and len(set(found["Digits"]["test"])) > 1


def test_only_what_the_store_lacks_is_subtracted(fresh, monkeypatch):
    start, passed = fresh
    run = start()
    digits, vectors, predict = run.negation("Digits", "linear", 0), [], experiment.predict
    monkeypatch.setattr(
        experiment,
        "predict",
        lambda f, theta_0, taus, *given: (vectors.append(len(taus)), predict(f, theta_0, taus, *given))[1],
    )
    negations = run.negations("linear", 0)
    assert negations["Digits"] == digits and vectors == [1, 1]  # Signs alone, on either split of the control
    passed.clear()
    assert run.negations("linear", 0) == negations and not passed


# Accuracy at alpha = 0, 0.5, 1 on the target and on the control, for each task that is forgotten. What keeps the control on
# test is not what keeps it on validation, and what keeps it for one task is not what keeps it for the other.
TARGET = {
    ("Digits", "val"): (0.9, 0.4, 0.1),
    ("Signs", "val"): (0.5, 0.3, 0.1),
    ("Digits", "test"): (0.8, 0.45, 0.2),
    ("Signs", "test"): (0.6, 0.7, 0.35),
}
KEPT = {
    ("Digits", "val"): (0.6, 0.58, 0.3),
    ("Signs", "val"): (0.6, 0.2, 0.59),
    ("Digits", "test"): (0.62, 0.25, 0.61),
    ("Signs", "test"): (0.62, 0.64, 0.1),
}


@pytest.mark.parametrize("mode", LINEARISED)
def test_alpha_is_chosen_on_validation_by_each_task_s_own_curve(fresh, monkeypatch, mode):
    start, _ = fresh
    run = start()

    def predict(f, theta_0, taus, settings, head, data, linearized, batch_size):
        (split,) = [name for name in ("val", "test") if data is run.task(CONTROL).split(name)]
        shares = []
        for alphas in settings:
            (subtracted,) = [name for name, alpha in zip(NAMES, alphas, strict=True) if alpha] or NAMES[:1]
            shares.append(KEPT[subtracted, split][GRID.index(max(alphas))])
        right = [torch.arange(100) < round(100 * share) for share in shares]
        return torch.stack(right).long(), torch.ones(100, dtype=torch.long)

    def accuracies(self, name, tau, alphas, split, linear):
        assert name != CONTROL and linear  # its passes are shared
        return [TARGET[name, split][GRID.index(alpha)] for alpha in alphas]

    at_0 = {name: {split: TARGET[name, split][0] for split in ("val", "test")} for name in NAMES}
    at_0[CONTROL] = {"val": 0.6, "test": 0.62}
    monkeypatch.setattr(experiment, "predict", predict)
    monkeypatch.setattr(Experiment, "_accuracies", accuracies)
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: at_0[name])
    found = run.negations(mode, 0)
    assert {name: (each["alpha"], each["target"], each["control"]) for name, each in found.items()} == {
        "Digits": (0.5, 0.45, 0.25),
        "Signs": (1.0, 0.35, 0.1),
    }
    assert all(found[name]["control_val"] == list(KEPT[name, "val"]) for name in NAMES)
