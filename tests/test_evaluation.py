"""One pass over all alphas against one evaluation an alpha."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import TensorDataset

from tangent_lib.evaluation import EVAL_BATCH, accuracies_along, accuracy, predict
from tangent_lib.linearization import linearize
from tangent_lib.models.clip import zero_shot_head
from tangent_lib.task_vectors import apply, scale, total

ALPHAS = (0.0, 0.05, 0.3, 0.55, 1.0)


def f(params, x):
    return torch.tanh(x @ params["w"]) @ params["v"]


@pytest.fixture
def toy(rng):
    """Weights, two task vectors, a head and enough points for several batches, the last one not full."""
    draw = lambda *shape: torch.randn(*shape, generator=rng, dtype=torch.float64)
    theta_0, tau, sigma = ({"w": draw(4, 6), "v": draw(6, 5)} for _ in range(3))
    labels = torch.randint(3, (4 * EVAL_BATCH + 101,), generator=rng)
    return theta_0, tau, sigma, draw(3, 5), TensorDataset(draw(len(labels), 4), labels)


def test_accuracy_is_the_share_of_right_labels():
    data = TensorDataset(torch.eye(3).repeat(200, 1), torch.tensor([0, 1, 0]).repeat(200))
    assert accuracy(lambda params, x: x + params["w"], {"w": torch.zeros(3)}, torch.eye(3), data) == 400 / 600
    assert accuracy(lambda params, x: x + params["w"], {"w": 3 * torch.eye(3)[1]}, torch.eye(3), data) == 200 / 600


def test_accuracies_of_f_are_those_of_the_edited_weights(toy):
    theta_0, tau, _, head, data = toy
    along = accuracies_along(f, theta_0, tau, ALPHAS, head, data, linearized=False)
    assert along == [accuracy(f, apply(theta_0, tau, alpha), head, data) for alpha in ALPHAS]
    assert len(set(along)) == len(ALPHAS)


def test_accuracies_of_f_lin_are_those_of_the_linearised_model(toy):
    theta_0, tau, _, head, data = toy
    along = accuracies_along(f, theta_0, tau, ALPHAS, head, data, linearized=True)
    f_lin = linearize(f, theta_0)
    assert along == [accuracy(f_lin, apply(theta_0, tau, alpha), head, data) for alpha in ALPHAS]
    assert along[1:] != accuracies_along(f, theta_0, tau, ALPHAS, head, data, linearized=False)[1:]


@pytest.mark.parametrize("linearized", [False, True])
def test_alpha_0_is_zero_shot(toy, linearized):
    theta_0, tau, _, head, data = toy
    at_0, at_1 = accuracies_along(f, theta_0, tau, [0.0, 1.0], head, data, linearized)
    assert at_0 == accuracy(f, theta_0, head, data) != at_1


@pytest.mark.parametrize("linearized", [False, True])
def test_predictions_with_two_vectors_are_those_with_their_sum(toy, linearized):
    theta_0, tau, sigma, head, data = toy
    settings = [(0.0, 0.0), (1.0, 0.5), (0.2, 0.9)]
    predictions, labels = predict(f, theta_0, [tau, sigma], settings, head, data, linearized)
    assert torch.equal(labels, data.tensors[1])
    for found, (a, b) in zip(predictions, settings):
        summed = total([scale(tau, a), scale(sigma, b)])
        assert torch.equal(found, predict(f, theta_0, [summed], [[1.0]], head, data, linearized)[0][0])
    assert (predictions[0] != predictions[1]).any() and (predictions[1] != predictions[2]).any()


@pytest.mark.parametrize("linearized", [False, True])
def test_a_setting_needs_one_alpha_per_vector(toy, linearized):
    theta_0, tau, sigma, head, data = toy
    with pytest.raises(ValueError):
        predict(f, theta_0, [tau, sigma], [(0.5,)], head, data, linearized)


@pytest.mark.parametrize("linearized", [False, True])
def test_on_the_miniature_one_pass_equals_one_evaluation_an_alpha(random_clip, task, rng, few, linearized):
    digits, theta_0 = task("Digits"), random_clip.theta_0
    head = zero_shot_head(random_clip, digits.classes, digits.manifest.templates)
    tau = {name: 0.05 * torch.randn(value.shape, generator=rng) for name, value in theta_0.items()}
    data, g = few(digits.split("test"), 300), linearize(random_clip.f, theta_0) if linearized else random_clip.f
    along = accuracies_along(random_clip.f, theta_0, tau, (0.0, 1.0), head, data, linearized)
    assert along == [accuracy(g, apply(theta_0, tau, alpha), head, data) for alpha in (0.0, 1.0)]
    assert along[0] != along[1]
