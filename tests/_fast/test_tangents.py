"""The fast f_lin against the plain formula: towers of every kind, gradients, bytes kept, and where it must not be used."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, jacrev, jvp, vmap

from tangent_lib._fast import tangents as fast
from tangent_lib.cost.counted_steps import kept_for_backward
from tangent_lib.kernels import ntk
from tangent_lib.linearization import functional, linearize, listing_1, value_and_tangent, value_and_tangents
from tangent_lib.models.clip import load_clip
from tangent_lib.modes import SELECTIONS, select
from tangent_lib.task_vectors import MismatchError, apply, scale
from tests.models.test_real_towers import CONFIGS, TEXT, shaken

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
VITS = ("Own-ViT", "Own-ViT-quick", "Own-custom-block-ViT")  # of which no operation is without a rule
WHOLE = ("Own-ResNet", "Own-EfficientNet")  # these write into their tensors


@pytest.fixture(scope="module")
def own(tmp_path_factory, random_clip):
    """A small tower of some kind, or the miniature, by name: a model, and what ``shaken`` makes of it in float64."""
    folder = tmp_path_factory.mktemp("configs")

    @cache
    def loaded(name: str):
        if name == "miniature":
            return random_clip
        (folder / f"{name}.json").write_text(json.dumps({"embed_dim": 24, "text_cfg": TEXT, **CONFIGS[name]}))
        return load_clip(str(folder / f"{name}.json"), "none")

    return loaded


@pytest.fixture(autouse=True)
def own_random_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def random_like(params: dict, size: float = 1.0) -> dict:
    return {name: size * torch.randn_like(value) for name, value in params.items()}


def trained(theta_0: dict, names=None, size: float = 0.1) -> dict:
    """Weights of which the named ones, by default all, are trained; the others are theta_0's own tensors."""
    names = theta_0 if names is None else names
    return theta_0 | {name: (theta_0[name] + size * torch.randn_like(theta_0[name])).requires_grad_() for name in names}


def loss(z: Tensor) -> Tensor:
    """As in fine-tuning: cross-entropy of normalised features with a head."""
    head = torch.sin(torch.arange(5.0 * z.shape[-1], dtype=z.dtype)).reshape(5, -1)
    return nn.functional.cross_entropy(10 * nn.functional.normalize(z, dim=-1) @ head.T, torch.arange(len(z)) % 5)


def results(make, f, theta_0: dict, theta: dict, x: Tensor, seed: int = 0) -> tuple[Tensor, dict]:
    """Features, and the gradient of the loss in each weight that is trained."""
    torch.manual_seed(seed)
    z = make(f, theta_0)(theta, x)
    moving = {name: value for name, value in theta.items() if value.requires_grad}
    gradients = torch.autograd.grad(loss(z), list(moving.values()), allow_unused=True)
    return z, dict(zip(moving, gradients))


def check(f, theta_0: dict, theta: dict, x: Tensor):
    torch.testing.assert_close(*(results(make, f, theta_0, theta, x) for make in (linearize, listing_1)), **CLOSE)


# -- closed forms ------------------------------------------------------------------------------------------------------
def test_quadratic_has_its_tangent_line():
    f, theta_0 = (lambda params, x: x * params["w"] ** 2), {"w": torch.tensor(3.0)}
    x, w = torch.tensor([1.0, -2.0]), torch.tensor(5.0, requires_grad=True)
    z = linearize(f, theta_0)({"w": w}, x)
    assert torch.equal(z, x * (9 + (5 - 3) * 6))
    assert torch.equal(torch.autograd.grad(z.square().sum(), w)[0], (2 * z * x * 6).sum())


def test_a_model_without_its_parameters_is_itself():
    theta_0, x = {"w": torch.ones(2)}, torch.randn(3)
    z = linearize(lambda params, x: x.exp(), theta_0)({"w": torch.zeros(2, requires_grad=True)}, x)
    assert torch.equal(z, x.exp()) and not z.requires_grad
    value, tangents = value_and_tangents(lambda params, x: x.exp(), theta_0, [theta_0, theta_0], x)
    assert torch.equal(value, x.exp()) and torch.equal(torch.stack(tangents), torch.zeros(2, 3))


def test_two_weights_that_are_added_have_gradients_of_their_own():
    theta_0 = {"a": torch.ones(2), "b": torch.ones(2)}
    theta = {name: value.clone().requires_grad_() for name, value in theta_0.items()}
    linearize(lambda params, x: params["a"] + params["b"], theta_0)(theta, torch.ones(1)).sum().backward()
    theta["a"].grad.mul_(3)
    assert torch.equal(theta["b"].grad, torch.ones(2)) and all(value.grad is None for value in theta_0.values())


def test_tied_weights_count_in_all_their_places():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Linear(3, 3, bias=False)).double()
    net[2].weight = net[0].weight
    f, theta_0 = functional(net)
    check(f, theta_0, trained(theta_0), torch.randn(5, 3).double())


# -- towers against the plain formula ----------------------------------------------------------------------------------
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("name", ["miniature", *CONFIGS])
def test_outputs_and_gradients_of_a_tower(own, name, train):
    """In train mode with its random depth, and with statistics of the batch, both of which the two share."""
    tower = own(name).model.visual
    was = tower.training
    f, theta_0, _, x = (tower.train(train), shaken(own(name)), tower.train(was))[1]  # a copy, in this mode
    check(f, theta_0, trained(theta_0, size=0.02), x)


@pytest.mark.parametrize("name", ["miniature", *VITS])
@pytest.mark.parametrize("selection", SELECTIONS)
def test_what_is_frozen_has_neither_gradient_nor_tangent(own, name, selection, monkeypatch):
    f, theta_0, _, x = shaken(own(name))
    chosen, moved, dual = select(theta_0, selection), [], fast.dual
    monkeypatch.setattr(fast, "dual", lambda value, moves: (moved.append(moves != [None]), dual(value, moves))[1])
    theta = trained(theta_0, chosen)
    check(f, theta_0, theta, x)
    assert [each for each, move in zip(theta_0, moved, strict=True) if move] == list(chosen)
    linearize(f, theta_0)(theta, x).sum().backward()
    assert {key for key, value in theta.items() if value.grad is not None} == set(chosen)


def test_what_is_frozen_elsewhere_than_at_theta_0_has_a_tangent_and_no_gradient(own):
    f, theta_0, _, x = shaken(own("Own-ViT"))
    theta = apply(theta_0, random_like(theta_0, 0.1)) | {"conv1.weight": theta_0["conv1.weight"] + 0.1}
    theta["ln_post.bias"].requires_grad_()
    check(f, theta_0, theta, x)


@pytest.mark.parametrize("name", ["miniature", *VITS, "Own-ConvNeXt"])
def test_in_single_precision(own, name):
    f, theta_0 = own(name).f, own(name).theta_0
    theta, x = trained(theta_0, size=0.01), torch.randn(4, 3, own(name).image_size, own(name).image_size)
    (z, gradients), (expected, others) = (results(make, f, theta_0, theta, x) for make in (linearize, listing_1))
    assert (z - expected).norm() < 1e-5 * expected.norm()
    limit = 1e-5 * max(gradient.norm() for gradient in others.values())
    assert all((gradients[key] - others[key]).norm() < 1e-5 * others[key].norm() + limit for key in theta)


@pytest.mark.parametrize("name", ["miniature", *VITS])
def test_in_half_precision(own, name):
    """About the result in fp32, with a sum in fp32 that a small tangent survives."""
    f, theta_0 = own(name).f, own(name).theta_0
    theta, x = trained(theta_0, size=1e-4), torch.randn(4, 3, own(name).image_size, own(name).image_size)
    expected, others = results(linearize, f, theta_0, theta, x)
    with torch.autocast("cpu", torch.bfloat16):
        z = linearize(f, theta_0)(theta, x)
        at_theta_0 = linearize(f, theta_0)(theta_0, x)
    assert z.dtype == torch.float32 and (z - expected).norm() < 0.02 * expected.norm()
    tangent = expected - f(theta_0, x)
    assert (z - at_theta_0 - tangent).norm() < 0.05 * tangent.norm() + 1e-6
    gradients = dict(zip(theta, torch.autograd.grad(loss(z), list(theta.values()))))
    whole = lambda parts: torch.cat([part.flatten().float() for part in parts.values()])
    assert (whole(gradients) - whole(others)).norm() < 0.1 * whole(others).norm()


@pytest.mark.parametrize("name", WHOLE)
def test_a_tower_that_writes_into_its_tensors_says_so(own, name):
    f, theta_0, tau, x = shaken(own(name))
    with pytest.warns(UserWarning, match="torch.func.jvp differentiates the whole model"):
        value_and_tangents(f, theta_0, [tau], x)


@pytest.mark.parametrize("name", ["miniature", *VITS])
def test_a_vision_transformer_is_covered_by_rules(own, name, monkeypatch):
    monkeypatch.setattr("tangent_lib._fast.dual._say", lambda operation: pytest.fail(f"{operation} has no rule"))
    f, theta_0, tau, x = shaken(own(name))
    value_and_tangents(f, theta_0, [tau], x)


# -- at theta_0, and along several task vectors ------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["miniature", "Own-ViT-quick", "Own-ConvNeXt"])
def test_at_theta_0_f_lin_is_f(own, name):
    f, theta_0 = own(name).f, own(name).theta_0
    x = torch.randn(3, 3, own(name).image_size, own(name).image_size)
    f_lin, expected = linearize(f, theta_0), f(theta_0, x)
    assert torch.equal(f_lin(theta_0, x), expected) and torch.equal(f_lin({**theta_0}, x), expected)
    copies = {key: value.clone().requires_grad_() for key, value in theta_0.items()}
    assert torch.equal(f_lin(copies, x), expected)


@pytest.mark.parametrize("name", ["miniature", *CONFIGS])
def test_several_task_vectors_are_each_by_itself(own, name):
    f, theta_0, tau, x = shaken(own(name))
    taus = [tau, random_like(theta_0), dict(reversed(scale(tau, -2.0).items()))]
    value, tangents = value_and_tangents(f, theta_0, taus, x)
    for each, tangent in zip(taus, tangents, strict=True):
        torch.testing.assert_close((value, tangent), value_and_tangent(f, theta_0, each, x), **CLOSE)
        assert torch.equal(value_and_tangents(f, theta_0, [each], x)[1][0], tangent)
    torch.testing.assert_close(tangents[2], -2 * tangents[0], **CLOSE)
    value, none = value_and_tangents(f, theta_0, [], x)
    assert none == [] and torch.equal(value, f(theta_0, x))


@pytest.mark.parametrize("params", [{"v": torch.ones(2)}, {"w": torch.ones(3)}, {"w": torch.ones(2).double()}, {}])
def test_parameters_of_another_model_are_refused(params):
    f, theta_0 = (lambda params, x: x * params["w"]), {"w": torch.ones(2)}
    with pytest.raises(MismatchError):
        linearize(f, theta_0)(params, torch.ones(2))
    with pytest.raises(MismatchError):
        value_and_tangents(f, theta_0, [theta_0, params], torch.ones(2))


# -- training ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["miniature", *VITS])
@pytest.mark.parametrize("selection", ["all", "attention weights"])
def test_as_many_bytes_are_kept_as_for_f(own, name, selection):
    f, theta_0 = own(name).f, own(name).theta_0
    theta, x = (
        trained(theta_0, select(theta_0, selection)),
        torch.randn(3, 3, own(name).image_size, own(name).image_size),
    )
    bytes_kept = []
    for model in (f, linearize(f, theta_0)):
        with kept_for_backward([x, *theta.values(), *theta_0.values()]) as kept:
            z = model(theta, x)
        bytes_kept.append(sum(kept.values()))
        assert z.requires_grad
    assert bytes_kept[0] == bytes_kept[1] > 0


def test_steps_of_an_optimiser_are_those_of_the_plain_formula(own):
    f, theta_0, _, x = shaken(own("Own-ViT"))
    ends, chosen = [], select(theta_0, "attention and MLP")
    for make in (linearize, listing_1):
        theta = trained(theta_0, chosen, size=0.0)
        optimizer, losses = torch.optim.AdamW([theta[name] for name in chosen], lr=1e-3), []
        for _ in range(4):
            optimizer.zero_grad()
            losses.append(loss(make(f, theta_0)(theta, x)))
            losses[-1].backward()
            optimizer.step()
        ends.append((losses, theta))
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-8)  # Adam divides by small numbers
    assert ends[0][0][-1] < ends[0][0][0]


def test_weights_that_are_computed_from_others_get_their_gradient(own):
    (f, theta_0, tau, x), derivatives = shaken(own("Own-ViT")), []
    for make in (linearize, listing_1):
        alpha = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
        value = loss(make(f, theta_0)({name: theta_0[name] + alpha * tau[name] for name in theta_0}, x))
        derivatives.append((value, *torch.autograd.grad(value, alpha)))
    torch.testing.assert_close(*derivatives, **CLOSE)


# -- where the plain formula is used -----------------------------------------------------------------------------------
@pytest.mark.parametrize("power", [1, 2])
def test_a_second_derivative_is_refused_rather_than_wrong(power):
    f, theta_0 = (lambda params, x: x * params["w"] * params["w"]), {"w": torch.tensor(3.0)}
    w = torch.tensor(4.0, requires_grad=True)
    z = linearize(f, theta_0)({"w": w}, torch.tensor(2.0))
    (gradient,) = torch.autograd.grad(z**power, w, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.backward()


def test_the_gradient_in_the_images_is_that_of_the_plain_formula(own):
    f, theta_0, _, x = shaken(own("Own-ViT"))
    theta, outputs = trained(theta_0), []
    for make in (linearize, listing_1):
        given = x.clone().requires_grad_()
        gradient = torch.autograd.grad(loss(make(f, theta_0)(theta, given)), given, create_graph=True)[0]
        outputs.append((gradient, *torch.autograd.grad(gradient.square().sum(), theta["ln_post.weight"])))
    torch.testing.assert_close(*outputs, **CLOSE)


def test_torch_func_sees_the_plain_formula(own):
    f, theta_0, tau, x = shaken(own("Own-ViT"))
    theta = apply(theta_0, random_like(theta_0, 0.1))

    def seen(f_lin):
        yield grad(lambda theta: loss(f_lin(theta, x)))(theta)
        yield jvp(lambda theta: f_lin(theta, x), (theta,), (tau,))
        yield vmap(lambda image: f_lin(theta, image[None])[0])(x)
        yield jacrev(lambda w: f_lin(theta | {"proj": w}, x))(theta["proj"])
        yield grad(lambda w: grad(lambda w: loss(f_lin(theta | {"proj": w}, x)))(w).sum())(theta["proj"])

    torch.testing.assert_close(*([*seen(make(f, theta_0))] for make in (linearize, listing_1)), **CLOSE)


def test_without_gradients_nothing_is_kept(own):
    f, theta_0 = own("Own-ViT").f, own("Own-ViT").theta_0
    with torch.no_grad(), kept_for_backward([]) as kept:
        z = linearize(f, theta_0)(trained(theta_0), torch.randn(2, 3, 32, 32))
    assert not kept and not z.requires_grad


@pytest.mark.parametrize("compute", [
    lambda f, theta, x: linearize(f, {"w": torch.ones(2)})(theta, x), lambda f, theta, x: ntk(f, theta, x),
], ids=["f_lin", "kernel"])  # fmt: skip
def test_a_gpu_that_is_too_small_is_no_reason_for_the_formula(compute):
    def f(params, x):
        if len(x) > 1 or type(params["w"]) is not torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x * params["w"]

    with pytest.raises(torch.OutOfMemoryError):
        compute(f, {"w": torch.zeros(2)}, torch.ones(3, 2))
