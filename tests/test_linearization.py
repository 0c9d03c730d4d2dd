"""f_lin by the formula against closed forms and the dense Jacobian of an attention tower; and its implementations."""

from __future__ import annotations

import copy
import subprocess
import sys

import pytest
import torch
from open_clip.transformer import VisionTransformer
from torch import nn
from torch.func import functional_call, jacrev

from tangent_lib.linearization import (
    IMPLEMENTATIONS,
    functional,
    linearize,
    listing_1,
    value_and_tangent,
    value_and_tangents,
)
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.task_vectors import MismatchError, apply, scale

CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def random_like(params: dict, seed: int, size: float = 1.0) -> dict:
    rng = torch.Generator().manual_seed(seed)
    return {name: size * torch.randn(value.shape, generator=rng, dtype=value.dtype) for name, value in params.items()}


def dense(net: nn.Module, theta_0: dict, x: torch.Tensor) -> dict:
    """The Jacobian of the outputs with respect to each parameter, by reverse mode, without this library."""

    def output(params: dict) -> torch.Tensor:
        buffers = {name: buffer.clone() for name, buffer in net.named_buffers()}
        return functional_call(net, {**params, **buffers}, (x,))

    return jacrev(output, chunk_size=1)(theta_0)


def times(jacobian: dict, tau: dict) -> torch.Tensor:
    return sum(jacobian[name].flatten(2) @ tau[name].flatten() for name in tau)


@pytest.fixture(scope="module")
def tower():
    """An open_clip image tower, small, in float64, no weight of it zero or one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = VisionTransformer(image_size=8, patch_size=4, width=8, layers=2, heads=2, mlp_ratio=2.0, output_dim=4).double()
        for p in net.parameters():
            p.data += 0.3 * torch.randn_like(p)
        return net.requires_grad_(False), torch.randn(3, 3, 8, 8, dtype=torch.float64)


@pytest.fixture(scope="module")
def tower_jacobian(tower):
    """In train mode, where attention has no fast path; without dropout the two modes are one function."""
    net, x = tower
    f, theta_0 = functional(net.train())
    return f, theta_0, x, dense(net, theta_0, x)


def normed(train: bool) -> tuple[nn.Module, torch.Tensor]:
    """A network with buffers."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2)).double().train(train)
        net[1].running_mean += torch.randn(4)
        return net, torch.randn(6, 3, dtype=torch.float64)


# -- closed forms ------------------------------------------------------------------------------------------------------
def test_quadratic_has_its_tangent_line():
    f, theta_0 = (lambda params, x: x * params["w"] ** 2), {"w": torch.tensor(3.0, dtype=torch.float64)}
    x, w = torch.tensor([1.0, -2.0], dtype=torch.float64), torch.tensor(5.0, dtype=torch.float64)
    assert torch.equal(listing_1(f, theta_0)({"w": w}, x), x * (9 + (5 - 3) * 6))
    value, tangent = value_and_tangent(f, theta_0, {"w": w}, x)
    assert torch.equal(value, 9 * x) and torch.equal(tangent, 30 * x)


def test_model_linear_in_theta_is_its_own_linearisation():
    f, theta_0 = functional(nn.Linear(3, 2).double())
    x, theta = torch.randn(5, 3, dtype=torch.float64), random_like(theta_0, 0)
    torch.testing.assert_close(listing_1(f, theta_0)(theta, x), f(theta, x), **CLOSE)


def test_tied_weights_count_in_all_their_places():
    net = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)).double()
    net[1].weight = net[0].weight
    f, theta_0 = functional(net)
    w, d, x = theta_0["0.weight"], torch.randn(3, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    _, tangent = value_and_tangent(f, theta_0, {"0.weight": d}, x)
    torch.testing.assert_close(tangent, x @ (d @ w + w @ d).T, **CLOSE)


# -- an attention tower ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_value_and_tangent_equal_the_dense_jacobian_product(tower, tower_jacobian, train):
    f, theta_0, x, jacobian = tower_jacobian
    net, tau = tower[0], random_like(theta_0, 1)
    expected_value = functional_call(net.train(), theta_0, (x,))
    value, tangent = value_and_tangent(functional(net.train(train))[0], theta_0, tau, x)
    torch.testing.assert_close(value, expected_value, **CLOSE)
    torch.testing.assert_close(tangent, times(jacobian, tau), **CLOSE)
    torch.testing.assert_close(listing_1(f, theta_0)(apply(theta_0, tau), x), value + tangent, **CLOSE)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_at_theta_0_f_lin_is_f(tower, tower_jacobian, train):
    f, theta_0, x, _ = tower_jacobian
    tower[0].train(train)
    torch.testing.assert_close(listing_1(f, theta_0)(theta_0, x), f(theta_0, x), **CLOSE)


def test_f_lin_is_affine_in_theta_and_f_is_not(tower_jacobian):
    f, theta_0, x, _ = tower_jacobian
    f_lin, (a, b) = listing_1(f, theta_0), (apply(theta_0, random_like(theta_0, seed)) for seed in (1, 2))
    middle, gap = apply(scale(a, 0.25), b, 0.75), lambda g: g(middle, x) - 0.25 * g(a, x) - 0.75 * g(b, x)
    torch.testing.assert_close(gap(f_lin), torch.zeros_like(gap(f_lin)), rtol=0, atol=1e-11)
    assert gap(f).abs().max() > 0.1


def test_residual_falls_with_the_square_of_the_distance(tower_jacobian):
    f, theta_0, x, _ = tower_jacobian
    f_lin, tau = listing_1(f, theta_0), random_like(theta_0, 3)
    residuals = [(f(theta, x) - f_lin(theta, x)).norm() for theta in (apply(theta_0, tau, d) for d in (2e-4, 1e-4, 5e-5))]
    for wide, narrow in zip(residuals, residuals[1:]):
        assert 3.98 < wide / narrow < 4.02


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_gradient_of_f_lin_is_the_jacobian_transposed_at_theta_0(tower, tower_jacobian, train):
    f, theta_0, x, jacobian = tower_jacobian
    tower[0].train(train)
    theta = {name: value.requires_grad_(True) for name, value in apply(theta_0, random_like(theta_0, 4)).items()}
    v = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    gradients = torch.autograd.grad((listing_1(f, theta_0)(theta, x) * v).sum(), list(theta.values()))
    for name, gradient in zip(theta, gradients):
        torch.testing.assert_close(gradient, torch.tensordot(v, jacobian[name], 2), **CLOSE)


def test_order_of_names_does_not_matter(tower_jacobian):
    f, theta_0, x, _ = tower_jacobian
    tau = random_like(theta_0, 6)
    turned = dict(reversed(tau.items()))
    assert torch.equal(value_and_tangent(f, theta_0, turned, x)[1], value_and_tangent(f, theta_0, tau, x)[1])
    theta = apply(theta_0, tau)
    assert torch.equal(listing_1(f, theta_0)(dict(reversed(theta.items())), x), listing_1(f, theta_0)(theta, x))


# -- buffers, modes, switches ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_batch_norm_is_linearised_in_its_mode_and_keeps_its_statistics(train):
    net, x = normed(train)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    f, theta_0 = functional(net)
    tau = random_like(theta_0, 7)
    expected = functional_call(copy.deepcopy(net), theta_0, (x,)) + times(dense(net, theta_0, x), tau)
    torch.testing.assert_close(listing_1(f, theta_0)(apply(theta_0, tau), x), expected, **CLOSE)
    f(theta_0, x)
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())


def test_mode_is_looked_up_at_each_call():
    net, x = normed(train=True)
    f, theta_0 = functional(net)
    trained = f(theta_0, x)
    net.eval()
    torch.testing.assert_close(f(theta_0, x), net(x), **CLOSE)
    assert not torch.allclose(f(theta_0, x), trained)


def test_theta_0_is_a_copy():
    net = nn.Linear(2, 2)
    _, theta_0 = functional(net)
    before = theta_0["weight"].clone()
    net.weight.data.zero_()
    assert torch.equal(theta_0["weight"], before) and not theta_0["weight"].requires_grad


@pytest.mark.parametrize("enabled", [True, False])
def test_fast_path_is_off_inside_and_as_before_afterwards(enabled):
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        with pytest.raises(KeyError), forward_differentiable():
            assert not torch.backends.mha.get_fastpath_enabled()
            raise KeyError
        assert torch.backends.mha.get_fastpath_enabled() == enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_fused_attention_kernels_are_back_after_an_error():
    def f(params, x):
        assert not torch.backends.cuda.flash_sdp_enabled()
        raise KeyError

    before = torch.backends.cuda.flash_sdp_enabled()
    with pytest.raises(KeyError):
        listing_1(f, {"w": torch.ones(1)})({"w": torch.ones(1)}, torch.ones(1))
    assert before and torch.backends.cuda.flash_sdp_enabled() and torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize(
    "params",
    [
        {"v": torch.zeros(2)},
        {"w": torch.zeros(2), "b": torch.zeros(2)},
        {},
        {"w": torch.zeros(3)},
        {"w": torch.zeros(2).double()},
    ],
    ids=["renamed", "extra", "missing", "shape", "dtype"],
)
def test_parameters_of_another_model_are_refused(params):
    f, theta_0 = (lambda params, x: x * params["w"]), {"w": torch.ones(2)}
    with pytest.raises(MismatchError):
        listing_1(f, theta_0)(params, torch.ones(2))
    with pytest.raises(MismatchError):
        value_and_tangent(f, theta_0, params, torch.ones(2))


# -- implementations ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_every_implementation_gives_the_formula_with_its_gradients(tower, tower_jacobian, train):
    f, theta_0, x, _ = tower_jacobian
    tower[0].train(train)
    theta = {name: value.requires_grad_(True) for name, value in apply(theta_0, random_like(theta_0, 8)).items()}
    results = []
    for f_lin in (listing_1(f, theta_0), *(linearize(f, theta_0, name) for name in IMPLEMENTATIONS)):
        z = f_lin(theta, x)
        results.append((z, torch.autograd.grad(z.square().sum(), list(theta.values()))))
    for each in results[1:]:
        torch.testing.assert_close(each, results[0], **CLOSE)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_every_implementation_has_the_tangents_of_the_formula(tower_jacobian, implementation):
    f, theta_0, x, _ = tower_jacobian
    taus = [random_like(theta_0, seed) for seed in (9, 10)]
    value, tangents = value_and_tangents(f, theta_0, taus, x, implementation)
    for tau, tangent in zip(taus, tangents, strict=True):
        torch.testing.assert_close((value, tangent), value_and_tangent(f, theta_0, tau, x), **CLOSE)
    value, none = value_and_tangents(f, theta_0, [], x, implementation)
    assert none == []
    torch.testing.assert_close(value, f(theta_0, x), **CLOSE)


def test_an_unknown_implementation_is_refused_with_the_known_ones():
    f, theta_0, x = (lambda params, x: x * params["w"]), {"w": torch.ones(2)}, torch.ones(2)
    for call in (lambda: linearize(f, theta_0, "quick"), lambda: value_and_tangents(f, theta_0, [theta_0], x, "quick")):
        with pytest.raises(InputError, match="unknown implementation 'quick': Allowed: auto, plain, fast"):
            call()


def writing(params, x):
    """A model that writes into its own tensors."""
    hidden = x @ params["w"]
    hidden.mul_(hidden)
    return hidden * params["v"]


def test_fast_refuses_a_model_that_writes_in_place_and_auto_takes_the_formula_with_a_warning():
    theta_0, x = {"w": torch.eye(2).double(), "v": torch.ones(2).double()}, torch.tensor([1.0, 2.0]).double()
    tau = random_like(theta_0, 11)
    theta, expected = apply(theta_0, tau), value_and_tangent(writing, theta_0, tau, x)
    said = "implementation 'fast': f writes in place.*take auto or plain"
    with pytest.raises(InputError, match=said):
        linearize(writing, theta_0, "fast")(theta, x)
    with pytest.raises(InputError, match=said):
        value_and_tangents(writing, theta_0, [tau], x, "fast")
    with pytest.warns(UserWarning, match="torch.func.jvp differentiates the whole model"):
        torch.testing.assert_close(linearize(writing, theta_0)(theta, x), sum(expected), **CLOSE)
    with pytest.warns(UserWarning, match="torch.func.jvp differentiates the whole model"):
        value, (tangent,) = value_and_tangents(writing, theta_0, [tau], x)
    torch.testing.assert_close((value, tangent), expected, **CLOSE)
    torch.testing.assert_close(linearize(writing, theta_0, "plain")(theta, x), sum(expected), **CLOSE)


def test_fast_refuses_what_only_the_formula_can_differentiate(tower_jacobian):
    f, theta_0, x, _ = tower_jacobian
    f_lin, said = linearize(f, theta_0, "fast"), "x or theta_0 needs a gradient, or torch.func differentiates"
    with pytest.raises(InputError, match=said):
        f_lin(theta_0, x.clone().requires_grad_())
    with pytest.raises(InputError, match=said):
        torch.func.grad(lambda theta: f_lin(theta, x).sum())(theta_0)


def test_the_formula_has_gradients_of_any_order_and_the_fast_one_says_that_it_has_not():
    f, theta_0 = (lambda params, x: x * params["w"] ** 2), {"w": torch.tensor(3.0)}
    w, x = torch.tensor(4.0, requires_grad=True), torch.tensor(2.0)
    gradient = lambda name: torch.autograd.grad(linearize(f, theta_0, name)({"w": w}, x) ** 2, w, create_graph=True)[0]
    assert torch.autograd.grad(gradient("plain"), w)[0] == 2 * 12**2  # f_lin = 18 + 12 (w - 3)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient("fast").backward()


WITHOUT_FAST = """
import sys
sys.modules["tangent_lib._fast"] = None  # importing it, or anything in it, is an error from here on
import torch
import tangent_lib as tl
from tangent_lib.linearization import value_and_tangents

net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
f, theta_0 = tl.functional(net)
tau, x = tl.scale(theta_0, 0.1), torch.ones(5, 3)
print(tl.linearize(f, theta_0, implementation="plain")(tl.add(theta_0, tau), x).shape)
print(value_and_tangents(f, theta_0, [tau], x, implementation="plain")[1][0].shape)
print(tl.ntk(f, theta_0, x, implementation="plain").shape)
try:
    tl.linearize(f, theta_0)
except ImportError:
    print("blocked")
print([name for name in sys.modules if name.startswith("tangent_lib._fast.")])
"""


def test_plain_needs_nothing_of_the_fast_package():
    ran = subprocess.run([sys.executable, "-c", WITHOUT_FAST], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-2000:]
    shapes = [f"torch.Size([{size}])" for size in ("5, 2", "5, 2", "2, 5, 5")]
    assert ran.stdout.splitlines() == [*shapes, "blocked", "[]"]


# -- inputs ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_a_model_may_take_a_dict_of_tensors(implementation):
    """Token numbers and their mask, as a text tower takes them."""

    class Text(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Embedding(7, 4), nn.Linear(4, 3)

        def forward(self, x):
            mask = x["mask"].unsqueeze(-1)
            return self.layer(torch.tanh(self.table(x["ids"]) * mask).sum(dim=1) / mask.sum(dim=1))

    with torch.random.fork_rng():
        torch.manual_seed(2)
        net = Text().double()
    x = {"ids": torch.tensor([[1, 2, 3], [4, 5, 0]]), "mask": torch.tensor([[1.0, 1, 1], [1, 1, 0]]).double()}
    f, theta_0 = functional(net)
    tau = random_like(theta_0, 12)
    expected = net(x) + times(jacrev(lambda params: functional_call(net, params, (x,)))(theta_0), tau)
    theta = {name: value.requires_grad_() for name, value in apply(theta_0, tau).items()}
    z = linearize(f, theta_0, implementation)(theta, x)
    torch.testing.assert_close(z, expected, **CLOSE)
    gradients = torch.autograd.grad(z.square().sum(), list(theta.values()))
    reference = torch.autograd.grad(listing_1(f, theta_0)(theta, x).square().sum(), list(theta.values()))
    torch.testing.assert_close(gradients, reference, **CLOSE)
    value, (tangent,) = value_and_tangents(f, theta_0, [tau], x, implementation)
    torch.testing.assert_close(value + tangent, expected, **CLOSE)


@pytest.mark.parametrize("names", [(), ("weight",), ("weight", "bais"), ("weight", "bias", "more")])
def test_a_module_as_a_function_takes_its_own_parameters_and_no_others(names):
    f, theta_0 = functional(torch.nn.Linear(2, 2))
    with pytest.raises(MismatchError, match="parameter names differ"):
        f({name: theta_0.get(name, torch.zeros(2)) for name in names}, torch.ones(1, 2))


@pytest.mark.filterwarnings("ignore:.*torch.jit:")
@pytest.mark.parametrize("wrap", [lambda net: net, lambda net: nn.Sequential(net)], ids=["itself", "a part"])
def test_torchscript_is_refused(wrap):
    scripted = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
    with pytest.raises(InputError, match=r"TorchScript has its weights to itself: load its state_dict\(\) into the module"):
        functional(wrap(scripted))
