"""Fine-tuning: f against f_lin where they are one, the protocol in closed form, determinism."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch.utils.data import TensorDataset

from tangent_lib.evaluation import accuracy, classify
from tangent_lib.finetuning import Protocol, finetune
from tangent_lib.linearization import linearize
from tangent_lib.models.clip import zero_shot_head

QUICK = Protocol(steps=12, batch_size=8, learning_rate=0.05)
BOTH = pytest.mark.parametrize("linearized", [False, True], ids=["f", "f_lin"])


def affine(params, x):
    return x @ params["w"] + params["b"]


def bent(params, x):
    return torch.tanh(affine(params, x))


@pytest.fixture
def toy(rng):
    """Weights, a head, and points whose class is the largest of their first three coordinates."""
    x = torch.randn(200, 4, generator=rng, dtype=torch.float64)
    theta_0 = {"w": torch.randn(4, 3, generator=rng, dtype=torch.float64), "b": torch.ones(3, dtype=torch.float64)}
    return theta_0, 5 * torch.eye(3, dtype=torch.float64), TensorDataset(x, x[:, :3].argmax(-1))


def same(left, right):
    return all(torch.equal(left[name], right[name]) for name in left)


def loss(f, params, head, data):
    x, y = data.tensors
    return torch.nn.functional.cross_entropy(classify(f(params, x), head), y).item()


def test_on_a_model_linear_in_theta_both_trainings_are_one(toy):
    theta, theta_lin = (finetune(affine, *toy, QUICK, linearized, seed=0) for linearized in (False, True))
    for name in theta:
        torch.testing.assert_close(theta[name], theta_lin[name], rtol=1e-10, atol=1e-12)
    assert (theta["w"] - toy[0]["w"]).abs().max() > 0.1


def test_on_a_model_not_linear_they_differ(toy):
    theta, theta_lin = (finetune(bent, *toy, QUICK, linearized, seed=0) for linearized in (False, True))
    assert (theta["w"] - theta_lin["w"]).abs().max() > 1e-3


@BOTH
def test_training_lowers_the_loss_of_the_model_that_is_trained(toy, linearized):
    theta_0, head, data = toy
    theta = finetune(bent, *toy, Protocol(steps=200, batch_size=32, learning_rate=0.05), linearized, seed=0)
    f = linearize(bent, theta_0) if linearized else bent
    assert loss(f, theta, head, data) < 0.35 * loss(f, theta_0, head, data)
    assert accuracy(f, theta, head, data) > 0.8 > 0.4 > accuracy(f, theta_0, head, data)


@BOTH
def test_same_seed_is_bit_identical_whatever_the_global_seed_and_another_seed_differs(toy, linearized):
    def noisy(params, x):
        return torch.dropout(bent(params, x), 0.2, train=True)

    runs = []
    for outer, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(outer)
        runs.append(finetune(noisy, *toy, QUICK, linearized, seed))
    assert same(runs[0], runs[1]) and not same(runs[1], runs[2])


@BOTH
def test_another_seed_is_another_order_of_the_images(toy, linearized):
    thetas = [finetune(bent, *toy, QUICK, linearized, seed) for seed in (0, 0, 1)]
    assert same(thetas[0], thetas[1]) and not same(thetas[1], thetas[2])


@BOTH
def test_theta_0_and_the_global_random_numbers_stay_as_they_were(toy, linearized):
    kept, state = {name: value.clone() for name, value in toy[0].items()}, torch.get_rng_state()
    theta = finetune(lambda params, x: torch.dropout(bent(params, x), 0.2, train=True), *toy, QUICK, linearized, seed=3)
    assert same(toy[0], kept) and not any(value.requires_grad for value in (*theta.values(), *toy[0].values()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size, length", [(8, 8), (1000, 200)])
def test_there_are_as_many_steps_and_images_as_asked_for(toy, batch_size, length):
    seen = []
    protocol = Protocol(steps=30, batch_size=batch_size, learning_rate=0.01)
    finetune(lambda params, x: seen.append(len(x)) or bent(params, x), *toy, protocol, False, seed=0)
    assert seen == [length] * 30


# -- the protocol ------------------------------------------------------------------------------------------------------
def test_learning_rate_warms_up_linearly_and_falls_as_a_cosine():
    protocol = Protocol(steps=110, learning_rate=2.0, warmup_share=0.1)
    rates = [protocol.learning_rate_at(step) for step in range(110)]
    assert rates[:11] == pytest.approx([2 * (step + 1) / 11 for step in range(11)], abs=1e-15)
    assert rates[11:] == pytest.approx([1 + math.cos(math.pi * step / 99) for step in range(99)], abs=1e-15)
    assert min(rates) > 0


def test_the_defaults_are_the_papers():
    protocol = Protocol()
    assert (protocol.steps, protocol.batch_size, protocol.learning_rate, protocol.weight_decay) == (
        2000,
        128,
        1e-5,
        0.1,
    )
    assert protocol.learning_rate_at(199) == 1e-5 > protocol.learning_rate_at(198)


@pytest.mark.parametrize(
    "field, value",
    [
        ("steps", 0),
        ("steps", -3),
        ("steps", 2.5),
        ("batch_size", 0),
        ("learning_rate", 0),
        ("learning_rate", -1e-5),
        ("learning_rate", math.nan),
        ("warmup_share", 1),
        ("warmup_share", -0.1),
        ("weight_decay", -0.1),
        ("clip_norm", 0),
        ("precision", "fp16"),
        ("step", 10),
    ],
)
def test_limits_of_the_protocol(field, value):
    with pytest.raises(ValidationError, match=field):
        Protocol(**{field: value})


@BOTH
def test_weight_decay_pulls_theta_to_zero_not_to_theta_0(toy, linearized):
    theta_0, head, data = toy
    protocol = Protocol(steps=20, batch_size=8, learning_rate=0.1, weight_decay=0.5)
    theta = finetune(
        lambda params, x: x[:, :3] + 0 * affine(params, x), theta_0, head, data, protocol, linearized, seed=0
    )
    left = math.prod(1 - protocol.learning_rate_at(step) * 0.5 for step in range(20))
    for name in theta:
        torch.testing.assert_close(theta[name], left * theta_0[name], rtol=1e-12, atol=0)
    assert left < 0.7


def test_gradients_are_clipped(toy):
    """AdamW's first step is lr g / (|g| + 1e-8): half of lr for a gradient that is clipped to 1e-8."""
    theta_0, head, data = {"w": torch.ones(1, dtype=torch.float64)}, *toy[1:]
    protocol = Protocol(steps=1, batch_size=200, learning_rate=0.5, warmup_share=0, weight_decay=0, clip_norm=1e-8)
    far = lambda params, x: x[:, :3] + 1e6 * (params["w"] - 1) * torch.eye(3, dtype=torch.float64)[0]
    theta = finetune(far, theta_0, head, data, protocol, False, seed=0)
    assert abs(theta["w"].item() - 1) == pytest.approx(0.25, rel=1e-4)


@BOTH
@pytest.mark.parametrize("bad", [0, 5, 11])
def test_a_loss_that_is_not_finite_is_an_error(toy, linearized, bad):
    calls = []

    def broken(params, x):
        calls.append(1)
        return bent(params, x) * (math.nan if len(calls) == bad + 1 else 1)

    with pytest.raises(FloatingPointError, match=r"nan.*0.05.*learning_rate"):
        finetune(broken, *toy, QUICK, linearized, seed=0)


def test_weights_that_are_not_finite_are_never_returned(toy):
    """The root is finite at 0 and its slope is not: the last loss is finite, the last update is not."""
    theta_0 = {"w": torch.zeros(1, dtype=torch.float64)}
    with pytest.raises(FloatingPointError):
        finetune(
            lambda params, x: x[:, :3] + params["w"].sqrt() * x[:, :1] * torch.eye(3)[0],
            theta_0,
            *toy[1:],
            Protocol(steps=1, batch_size=8),
            False,
            seed=0,
        )


@BOTH
def test_bf16_ends_within_a_tenth_of_the_way_from_fp32(clip, task, linearized):
    digits = task("Digits")
    head = zero_shot_head(clip, digits.classes, digits.manifest.templates)
    data = digits.split("train")
    runs = [
        finetune(
            clip.f,
            clip.theta_0,
            head,
            data,
            Protocol(steps=10, batch_size=16, learning_rate=6e-4, precision=precision),
            linearized,
            seed=0,
        )
        for precision in ("fp32", "bf16")
    ]
    moved, apart = (
        sum((runs[0][k] - other[k]).square().sum() for k in runs[0]) for other in (clip.theta_0, runs[1])
    )
    assert 0 < apart.sqrt() < 0.1 * moved.sqrt()
    assert {value.dtype for value in runs[1].values()} == {torch.float32}
