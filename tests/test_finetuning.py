"""Fine-tuning: f against f_lin where they are one, the protocol in closed form, determinism."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from tangent_lib.evaluation import classify, evaluate
from tangent_lib.finetuning import Execution, Protocol, finetune
from tangent_lib.linearization import linearize
from tangent_lib.models.clip import zero_shot_head
from tangent_lib.runtime.errors import InputError, NotFinite

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
    theta, theta_lin = (finetune(affine, *toy, QUICK, linearized=linearized) for linearized in (False, True))
    for name in theta:
        torch.testing.assert_close(theta[name], theta_lin[name], rtol=1e-10, atol=1e-12)
    assert (theta["w"] - toy[0]["w"]).abs().max() > 0.1


def test_on_a_model_not_linear_they_differ(toy):
    theta, theta_lin = (finetune(bent, *toy, QUICK, linearized=linearized) for linearized in (False, True))
    assert (theta["w"] - theta_lin["w"]).abs().max() > 1e-3


@BOTH
def test_training_lowers_the_loss_of_the_model_that_is_trained(toy, linearized):
    theta_0, head, data = toy
    theta = finetune(bent, *toy, Protocol(steps=200, batch_size=32, learning_rate=0.05), linearized=linearized)
    f = linearize(bent, theta_0) if linearized else bent
    assert loss(f, theta, head, data) < 0.35 * loss(f, theta_0, head, data)
    assert evaluate(f, theta, head, data) > 0.8 > 0.4 > evaluate(f, theta_0, head, data)


@BOTH
def test_same_seed_is_bit_identical_whatever_the_global_seed_and_another_seed_differs(toy, linearized):
    def noisy(params, x):
        return torch.dropout(bent(params, x), 0.2, train=True)

    runs = []
    for outer, seed in ((1, 0), (2, 0), (2, 1)):
        torch.manual_seed(outer)
        runs.append(finetune(noisy, *toy, QUICK, linearized=linearized, seed=seed))
    assert same(runs[0], runs[1]) and not same(runs[1], runs[2])


@BOTH
def test_another_seed_is_another_order_of_the_images(toy, linearized):
    thetas = [finetune(bent, *toy, QUICK, linearized=linearized, seed=seed) for seed in (0, 0, 1)]
    assert same(thetas[0], thetas[1]) and not same(thetas[1], thetas[2])


@BOTH
def test_theta_0_and_the_global_random_numbers_stay_as_they_were(toy, linearized):
    kept, state = {name: value.clone() for name, value in toy[0].items()}, torch.get_rng_state()
    noisy = lambda params, x: torch.dropout(bent(params, x), 0.2, train=True)
    theta = finetune(noisy, *toy, QUICK, linearized=linearized, seed=3)
    assert same(toy[0], kept) and not any(value.requires_grad for value in (*theta.values(), *toy[0].values()))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("batch_size, length", [(8, 8), (1000, 200)])
def test_there_are_as_many_steps_and_images_as_asked_for(toy, batch_size, length):
    seen = []
    protocol = Protocol(steps=30, batch_size=batch_size, learning_rate=0.01)
    finetune(lambda params, x: seen.append(len(x)) or bent(params, x), *toy, protocol)
    assert seen == [length] * 30


@BOTH
def test_micro_batches_change_nothing_but_rounding(toy, linearized):
    whole = finetune(bent, *toy, QUICK, linearized=linearized)
    for size in (1, 3):
        parts = finetune(bent, *toy, QUICK, linearized=linearized, execution=Execution(micro_batch=size))
        for name in whole:
            torch.testing.assert_close(parts[name], whole[name], rtol=1e-10, atol=1e-12)


@BOTH
def test_a_head_may_be_any_readout_of_the_features(toy, linearized):
    theta_0, head, data = toy
    named = finetune(bent, *toy, QUICK, linearized=linearized)
    called = finetune(bent, theta_0, lambda z: classify(z, head), data, QUICK, linearized=linearized)
    assert same(named, called)
    readout = nn.Linear(3, 3).double().requires_grad_(False)
    theta = finetune(bent, theta_0, readout, data, QUICK, linearized=linearized)
    assert not same(theta, named) and all(p.grad is None for p in readout.parameters())


class Halves(Dataset):
    """Points that are dicts of two tensors."""

    def __init__(self, data: TensorDataset):
        self.x, self.labels = data.tensors

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[dict, torch.Tensor]:
        return {"left": self.x[i, :2], "right": self.x[i, 2:]}, self.labels[i]


@BOTH
@pytest.mark.parametrize("micro_batch", [None, 3])
def test_points_may_be_dicts_of_tensors(toy, linearized, micro_batch):
    theta_0, head, data = toy
    of_halves = lambda params, x: bent(params, torch.cat([x["left"], x["right"]], dim=1))
    options = {"linearized": linearized, "execution": Execution(micro_batch)}
    assert same(finetune(of_halves, theta_0, head, Halves(data), QUICK, **options), finetune(bent, *toy, QUICK, **options))


@BOTH
@pytest.mark.parametrize("trained", [["w"], ["b"]])
def test_only_what_is_named_is_trained(toy, linearized, trained):
    theta = finetune(bent, *toy, QUICK, linearized=linearized, trained=trained)
    assert list(theta) == list(toy[0])
    assert {name for name in theta if not torch.equal(theta[name], toy[0][name])} == set(trained)


def test_too_little_memory_names_the_points_at_a_time(toy):
    def large(params, x):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    for execution, points in ((Execution(), 8), (Execution(micro_batch=2), 2)):
        with pytest.raises(InputError, match=f"fine-tuning does not fit .* with {points} points at a time") as error:
            finetune(large, *toy, QUICK, execution=execution)
        assert error.value.setting == "micro_batch"


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
    theta = finetune(lambda params, x: x[:, :3] + 0 * affine(params, x), theta_0, head, data, protocol, linearized=linearized)
    left = math.prod(1 - protocol.learning_rate_at(step) * 0.5 for step in range(20))
    for name in theta:
        torch.testing.assert_close(theta[name], left * theta_0[name], rtol=1e-12, atol=0)
    assert left < 0.7


def test_gradients_are_clipped(toy):
    """AdamW's first step is lr g / (|g| + 1e-8): half of lr for a gradient that is clipped to 1e-8."""
    theta_0, head, data = {"w": torch.ones(1, dtype=torch.float64)}, *toy[1:]
    protocol = Protocol(steps=1, batch_size=200, learning_rate=0.5, warmup_share=0, weight_decay=0, clip_norm=1e-8)
    far = lambda params, x: x[:, :3] + 1e6 * (params["w"] - 1) * torch.eye(3, dtype=torch.float64)[0]
    theta = finetune(far, theta_0, head, data, protocol)
    assert abs(theta["w"].item() - 1) == pytest.approx(0.25, rel=1e-4)


@BOTH
@pytest.mark.parametrize("bad", [0, 5, 11])
def test_a_loss_that_is_not_finite_is_an_error(toy, linearized, bad):
    calls = []

    def broken(params, x):
        calls.append(1)
        return bent(params, x) * (math.nan if len(calls) == bad + 1 else 1)

    with pytest.raises(NotFinite, match=r"the loss is nan at step.*the learning rate of 0.05 is too high") as error:
        finetune(broken, *toy, QUICK, linearized=linearized)
    assert error.value.setting == "learning_rate"


def test_weights_that_are_not_finite_are_never_returned(toy):
    """The root is finite at 0 and its slope is not: the last loss is finite, the last update is not."""
    theta_0 = {"w": torch.zeros(1, dtype=torch.float64)}
    with pytest.raises(NotFinite, match="the fine-tuned weights are not finite: the learning rate of 1e-05 is too high"):
        finetune(
            lambda params, x: x[:, :3] + params["w"].sqrt() * x[:, :1] * torch.eye(3)[0],
            theta_0,
            *toy[1:],
            Protocol(steps=1, batch_size=8),
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
            linearized=linearized,
        )
        for precision in ("fp32", "bf16")
    ]
    moved, apart = (sum((runs[0][k] - other[k]).square().sum() for k in runs[0]) for other in (clip.theta_0, runs[1]))
    assert 0 < apart.sqrt() < 0.1 * moved.sqrt()
    assert {value.dtype for value in runs[1].values()} == {torch.float32}


@pytest.mark.parametrize("label", [-100, 2])
def test_labels_that_the_head_does_not_have_are_refused(label):
    """Cross-entropy leaves out points of label -100, without a word."""
    data = torch.utils.data.TensorDataset(torch.eye(2), torch.tensor([0, label]))
    protocol = Protocol(steps=1, batch_size=2, learning_rate=0.1, weight_decay=0)
    with pytest.raises(InputError, match="give one class number a point, 0 to 1"):
        finetune(lambda params, x: x @ params["w"], {"w": torch.eye(2)}, torch.eye(2), data, protocol)
