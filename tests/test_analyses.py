"""Analyses of an experiment on tasks of a few images and random weights: what is asked for is what is computed."""

import numpy as np
import pytest
import torch

from tangent_lib.evaluation import classify
from tangent_lib.experiment import Experiment
from tangent_lib.kernels import local_energy, ntk
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import cosine

PAIR = ("Digits", "Signs")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    given = {"tasks": "Digits,Signs", "steps": 2, "batch_size": 4, "learning_rate": 1e-2, "points": 12}
    return Experiment(check_parameters(**given, store=str(tmp_path_factory.mktemp("store"))))


def test_a_grid_has_both_alphas_in_order_and_its_diagonal_is_the_diagonal(run):
    grid = run.xi_grid(PAIR, "non-linear", 0, count=3, bound=2.0)
    along = run.xi_diagonal(PAIR, "non-linear", 0, tuple(grid["alphas"]))
    assert grid["alphas"] == [-2, 0, 2] and grid["points"] == [12, 12]
    for name, key in (("prediction error", "xi"), ("KL divergence", "kl")):
        assert np.diag(grid[name]).tolist() == pytest.approx(along[key])
        assert grid[name][1][1] == 0 < grid["KL divergence"][0][2]


def test_the_first_index_of_a_grid_is_alpha_1(run, monkeypatch):
    """With tau_1 = 0 the error depends on alpha_2 alone, so all rows are equal."""
    run.finetuned("Digits", False, 0)
    finetuned = Experiment.finetuned
    still = lambda self, name, *rest: self.clip.theta_0 if name == "Digits" else finetuned(self, name, *rest)
    monkeypatch.setattr(Experiment, "finetuned", still)
    grid = Experiment(run.parameters.model_copy(update={"points": 11})).xi_grid(PAIR, "non-linear", 0, 3, 3.0)
    rows = np.array(grid["KL divergence"])
    assert (rows == rows[0]).all() and rows[0, 0] > 0 == rows[0, 1]


def test_exchanging_the_tasks_transposes_the_grid(run):
    there, back = (np.array(run.xi_grid(pair, "linear", 0, 3, 1.0)["KL divergence"]) for pair in (PAIR, PAIR[::-1]))
    assert there == pytest.approx(back.T, rel=1e-4) and there.max() > 0


def test_a_pair_of_one_task_is_refused(run):
    with pytest.raises(InputError, match="Signs-Signs: a task has no interference with itself"):
        run.xi_grid(("Signs", "Signs"), "linear", 0)
    with pytest.raises(InputError, match="task and control are both Signs"):
        run.local_energy("Signs", "Signs")


def test_more_points_than_a_task_has_are_refused_before_any_training(run, monkeypatch):
    greedy = Experiment(run.parameters.model_copy(update={"points": 1001}))
    monkeypatch.setattr(Experiment, "finetuned", lambda *args: pytest.fail("trained before the input was checked"))
    with pytest.raises(InputError, match=r"1001 points asked for: give from 1 to 1000"):
        greedy.xi_grid(PAIR, "non-linear", 0)


def test_automatic_points_are_as_many_as_there_are(run):
    ample = run.parameters.model_copy(update={"points": 2000, "exact_points": False})
    assert Experiment(ample).xi_grid(PAIR, "linear", 0, 1, 1.0)["points"] == [1000, 1000]


def test_cosines_are_those_of_the_task_vectors(run):
    taus = [run.task_vector(name, False, 0, "attention weights") for name in PAIR]
    found = run.cosines("attention-only", 0)
    assert found["tasks"] == list(PAIR)
    assert np.allclose(found["cosines"], [[1, cosine(*taus)], [cosine(*taus), 1]], atol=1e-6)


def test_local_energy_is_of_training_points_of_both_supports(run):
    found = run.local_energy(*PAIR, seed=1, points=5, classes=2)
    assert (
        found["classes"] == ["0", "1"] and [len(each) for each in found["energy"]] == [10, 10] and found["trained"] == 5
    )
    assert [sum(each) for each in found["energy"]] == pytest.approx([5, 5], rel=1e-3)
    assert 0.5 < found["localisation"] <= 1
    assert found["localisation"] == pytest.approx(np.mean([sum(each[:5]) / sum(each) for each in found["energy"]]))
    assert run.local_energy(*PAIR, seed=2, points=5, classes=2)["energy"] != found["energy"]


def test_the_kernel_of_a_logit_is_that_of_its_gradient(run):
    x, head = torch.randn(3, 3, 32, 32), run.head("Digits")
    theta = {name: value.clone().requires_grad_() for name, value in run.clip.theta_0.items()}
    found = run._kernels("Digits", 2, x, 2)
    assert found.shape == (2, 2, 3)
    for output, kernel in enumerate(found):
        logits = [classify(run.clip.f(theta, x[i : i + 1]), head)[0, output] for i in range(3)]
        rows = [torch.autograd.grad(logit, tuple(theta.values()), allow_unused=True) for logit in logits]
        flat = torch.stack([torch.cat([g.flatten() for g in row if g is not None]) for row in rows])
        assert torch.allclose(kernel, flat[:2] @ flat.T, rtol=1e-3)


def test_the_kernel_on_three_supports_holds_that_of_the_local_energy(run):
    kernel, n = run.kernel_on_supports(*PAIR, seed=1, points=4), 4
    assert kernel.shape == (n, 3 * n) and torch.allclose(kernel[:, :n], kernel[:, :n].T, rtol=1e-3)
    assert not torch.allclose(kernel[:, :n], kernel[:, n : 2 * n], rtol=1e-2)
    x = torch.cat([run._support("Digits", 2 * n, 1), run._support("Signs", n, 1)])
    head, f = run.head("Digits"), run.clip.f
    again = ntk(lambda params, x: classify(f(params, x), head)[:, 0], run.clip.theta_0, x[:n], x)
    assert torch.allclose(kernel, again, rtol=1e-3)


def test_the_local_energy_is_that_of_each_output_s_own_kernel(run):
    n, x = 5, torch.cat([run._support(name, 5, 1) for name in PAIR])
    head, f = run.head("Digits"), run.clip.f
    found = run.local_energy(*PAIR, seed=1, points=n, classes=2)
    for output, energy in enumerate(found["energy"]):
        kernel = ntk(
            lambda params, x, output=output: classify(f(params, x), head)[:, output], run.clip.theta_0, x[:n], x
        )
        assert energy == pytest.approx(local_energy(kernel).tolist(), abs=1e-3)


def test_an_untrained_experiment_has_the_same_head_and_another_image_tower(run):
    random, other = run.untrained(0), run.untrained(1)
    assert torch.equal(random.head("Digits"), run.head("Digits"))
    assert not torch.equal(random.clip.theta_0["proj"], run.clip.theta_0["proj"])
    assert not torch.equal(random.clip.theta_0["proj"], other.clip.theta_0["proj"])
    assert random.zero_shot("Digits")["test"] < run.zero_shot("Digits")["test"]
    assert torch.equal(run.untrained(0).clip.theta_0["conv1.weight"], random.clip.theta_0["conv1.weight"])
