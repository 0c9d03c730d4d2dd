"""Analyses of an experiment on tasks of a few images: what is asked for is what is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tangent_lib.data.batches import batches
from tangent_lib.evaluation import classify
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.kernels import local_energy, ntk
from tangent_lib.linearization import linearize
from tangent_lib.modes import MODES, TRAININGS, mode_named
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError, in_full
from tangent_lib.task_vectors import apply, cosine, total

pytestmark = pytest.mark.slow

PAIR = ("Digits", "Signs")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    given = {"tasks": "Digits,Signs", "steps": 2, "batch_size": 4, "learning_rate": 1e-2, "points": 12}
    return Experiment(Materials(check_parameters(**given, store=str(tmp_path_factory.mktemp("store")))))


def other(made: Experiment, **changes: object) -> Experiment:
    """The same with other parameters, of the same model and store."""
    return Experiment(Materials(made.parameters.model_copy(update=changes), made.materials.clip))


# -- xi ----------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_xi_compares_each_vector_alone_with_both(short, mode):
    run = short(learning_rate=1e-2)
    clip, taus = run.materials.clip, [run.materials.task_vector(name, mode_named(mode).training, 0) for name in PAIR]
    f = clip.f if mode == "non-linear" else linearize(clip.f, clip.theta_0)
    expected = 0
    for name, tau in zip(PAIR, taus):
        alone, both = (
            [
                classify(f(apply(clip.theta_0, v, 0.5), x), run.materials.head(name)).argmax(-1)
                for x, _ in batches(run.materials.task(name).split("test"), 120, clip.device)
            ]
            for v in (tau, total(taus))
        )
        expected += (alone[0] != both[0]).float().mean().item()
    xi = run.xi_diagonal(PAIR, mode, 0, (0.0, 0.5, 1.0)).xi
    assert xi[0] == 0 and xi[1] == pytest.approx(expected, abs=1e-6) and 0 < max(xi) <= 2


def test_a_grid_has_both_alphas_in_order_and_its_diagonal_is_the_diagonal(made):
    grid = made.xi_grid(PAIR, "non-linear", 0, (-2.0, 0.0, 2.0))
    along = made.xi_diagonal(PAIR, "non-linear", 0, grid.alphas)
    assert grid.alphas == along.alphas == (-2, 0, 2) and grid.points == (12, 12)
    for name, values in (("prediction error", along.xi), ("KL divergence", along.kl)):
        assert np.diag(grid.by(name)).tolist() == pytest.approx(values)
        assert grid.by(name)[1][1] == 0 < grid.kl_divergence[0][2]


def test_the_first_index_of_a_grid_is_alpha_1(made, monkeypatch):
    """With tau_1 = 0 the error depends on alpha_2 alone, so all rows are equal."""
    finetuned = Materials.finetuned
    still = lambda self, name, *rest: self.clip.theta_0 if name == "Digits" else finetuned(self, name, *rest)
    monkeypatch.setattr(Materials, "finetuned", still)
    rows = np.array(other(made, points=11).xi_grid(PAIR, "non-linear", 0, (-3.0, 0.0, 3.0)).kl_divergence)
    assert (rows == rows[0]).all() and rows[0, 0] > 0 == rows[0, 1]


def test_exchanging_the_tasks_transposes_the_grid(made):
    alphas = (-1.0, 0.0, 1.0)
    there, back = (np.array(made.xi_grid(pair, "linear", 0, alphas).kl_divergence) for pair in (PAIR, PAIR[::-1]))
    assert there == pytest.approx(back.T, rel=1e-4) and there.max() > 0


def test_a_pair_of_one_task_is_refused(made):
    with pytest.raises(InputError, match="Signs-Signs: a task has no interference with itself"):
        made.xi_grid(("Signs", "Signs"), "linear", 0, (0.0,))
    with pytest.raises(InputError, match="task and control are both Signs"):
        made.local_energy("Signs", "Signs")


def test_one_task_alone_has_no_pair_and_the_way_out_is_named(made):
    alone = other(made, tasks=("Signs",), pairs=())
    with pytest.raises(InputError, match=r"a pair takes two tasks, but there is only Signs\nname more with -p tasks"):
        alone.pairs  # noqa: B018
    assert made.pairs == (PAIR,)


def test_more_points_than_a_task_has_are_refused_before_any_training_with_the_way_out(made, monkeypatch):
    monkeypatch.setattr(Materials, "finetuned", lambda *args: pytest.fail("trained before the input was checked"))
    with pytest.raises(InputError, match=r"1001 points asked for: from 1 to 1000.*\ngive fewer with -p points") as error:
        other(made, points=1001).xi_grid(PAIR, "non-linear", 0, (0.0, 1.0))
    assert in_full(error.value).endswith(": give fewer with -p points")


def test_automatic_points_are_as_many_as_there_are(made):
    ample = other(made, points=2000, exact_points=False)
    assert ample.xi_grid(PAIR, "linear", 0, (-1.0,)).points == (1000, 1000)


# -- task vectors ------------------------------------------------------------------------------------------------------
def test_cosines_are_those_of_the_task_vectors(made):
    taus = [made.materials.task_vector(name, TRAININGS["attention-only"], 0) for name in PAIR]
    found = made.cosines("attention-only", 0)
    assert found.tasks == PAIR
    assert np.allclose(found.cosines, [[1, cosine(*taus)], [cosine(*taus), 1]], atol=1e-6)


# -- the NTK -----------------------------------------------------------------------------------------------------------
def test_local_energy_is_of_training_points_of_both_supports(made):
    found = made.local_energy(*PAIR, seed=1, points=5, classes=2)
    assert found.classes == ("0", "1") and [len(each) for each in found.energy] == [10, 10] and found.trained == 5
    assert [sum(each) for each in found.energy] == pytest.approx([5, 5], rel=1e-3)
    assert 0.5 < found.localisation <= 1
    assert found.localisation == pytest.approx(np.mean([sum(each[:5]) / sum(each) for each in found.energy]))
    assert made.local_energy(*PAIR, seed=2, points=5, classes=2).energy != found.energy


def test_the_kernel_of_a_logit_is_that_of_its_gradient(made):
    x, head, clip = torch.randn(3, 3, 32, 32), made.materials.head("Digits"), made.materials.clip
    theta = {name: value.clone().requires_grad_() for name, value in clip.theta_0.items()}
    found = made._kernels("Digits", 2, x, 2)
    assert found.shape == (2, 2, 3)
    for output, kernel in enumerate(found):
        logits = [classify(clip.f(theta, x[i : i + 1]), head)[0, output] for i in range(3)]
        rows = [torch.autograd.grad(logit, tuple(theta.values()), allow_unused=True) for logit in logits]
        flat = torch.stack([torch.cat([g.flatten() for g in row if g is not None]) for row in rows])
        assert torch.allclose(kernel, flat[:2] @ flat.T, rtol=1e-3)


def test_where_the_device_has_no_float64_the_kernel_is_computed_on_the_processor(made, on_mps, monkeypatch):
    x, clip = torch.randn(3, 3, 32, 32), made.materials.clip
    expected, theta_0 = made._kernels("Digits", 2, x, 2), {name: on_mps(value) for name, value in clip.theta_0.items()}
    monkeypatch.setattr(made.materials, "clip", replace(clip, theta_0=theta_0))
    assert torch.equal(made._kernels("Digits", 2, on_mps(x), 2), expected)


def logit(made: Experiment, output: int):
    head, f = made.materials.head("Digits"), made.materials.clip.f
    return lambda params, x: classify(f(params, x), head)[:, output]


def test_the_kernel_on_three_supports_holds_that_of_the_local_energy(made):
    kernel, n = made.kernel_on_supports(*PAIR, seed=1, points=4), 4
    assert kernel.shape == (n, 3 * n) and torch.allclose(kernel[:, :n], kernel[:, :n].T, rtol=1e-3)
    assert not torch.allclose(kernel[:, :n], kernel[:, n : 2 * n], rtol=1e-2)
    x = torch.cat([made._support("Digits", 2 * n, 1), made._support("Signs", n, 1)])
    again = ntk(logit(made, 0), made.materials.clip.theta_0, x[:n], x, "plain")
    assert torch.allclose(kernel, again, rtol=1e-3)


def test_the_local_energy_is_that_of_each_output_s_own_kernel(made):
    n, x = 5, torch.cat([made._support(name, 5, 1) for name in PAIR])
    found = made.local_energy(*PAIR, seed=1, points=n, classes=2)
    for output, energy in enumerate(found.energy):
        kernel = ntk(logit(made, output), made.materials.clip.theta_0, x[:n], x, "plain")
        assert energy == pytest.approx(local_energy(kernel).tolist(), abs=1e-3)


def test_too_little_memory_names_the_way_out(made, monkeypatch):
    def large(*given):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr("tangent_lib.experiment.ntk", large)
    with pytest.raises(InputError, match=r"the NTK does not fit .* with 6 points at a time.*\nlower -p micro_batch"):
        made.local_energy(*PAIR, seed=3, points=6, classes=2)
    monkeypatch.setattr("tangent_lib.experiment.evaluate", large)
    monkeypatch.setattr("tangent_lib.disentanglement.features_at", large)
    with pytest.raises(InputError, match=r"evaluation does not fit .*\nlower -p micro_batch"):
        other(made, points=7).xi_grid(PAIR, "linear", 0, (0.0,))


# -- from random weights -----------------------------------------------------------------------------------------------
def test_an_untrained_experiment_has_the_same_head_and_another_image_tower(made):
    random, another = made.untrained(0), made.untrained(1)
    proj = lambda run: run.materials.clip.theta_0["proj"]
    assert torch.equal(random.materials.head("Digits"), made.materials.head("Digits"))
    assert not torch.equal(proj(random), proj(made)) and not torch.equal(proj(random), proj(another))
    assert random.zero_shot("Digits").test < made.zero_shot("Digits").test
    first = lambda run: run.materials.clip.theta_0["conv1.weight"]
    assert torch.equal(first(made.untrained(0)), first(random))
