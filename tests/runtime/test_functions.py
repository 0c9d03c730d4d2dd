"""Models as functions of parameters and inputs alone: what they write, compute anew, give, and mix."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from tangent_lib.evaluation import accuracies
from tangent_lib.finetuning import finetune
from tangent_lib.kernels import ntk
from tangent_lib.linearization import IMPLEMENTATIONS, functional, linearize, value_and_tangents
from tangent_lib.modes import Protocol
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.functions import output_alone

IMPLEMENTED = pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
CLOSE = {"rtol": 1e-12, "atol": 1e-12}
X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
THETA = {"w": X[:2] + 0.1}
DATA = torch.utils.data.TensorDataset(X, torch.tensor([0, 1, 0, 1, 0]))
PROTOCOL = Protocol(steps=3, batch_size=5, learning_rate=0.1)


# -- computed anew in the backward pass ----------------------------------------------------------------------------------
class Recomputed(torch.autograd.Function):
    """As other packages write their checkpoints."""

    @staticmethod
    def forward(ctx, run, x: Tensor) -> Tensor:
        ctx.run = run
        ctx.save_for_backward(x)
        return run(x)

    @staticmethod
    def backward(ctx, g: Tensor) -> tuple[None, Tensor]:
        with torch.enable_grad():
            x = ctx.saved_tensors[0].detach().requires_grad_()
            ctx.run(x).backward(g)
        return None, x.grad


WAYS = {
    "kept": lambda part, x: part(x),
    "anew": partial(checkpoint, use_reentrant=False),
    "anew, reentrant": partial(checkpoint, use_reentrant=True),
    "a decorator": lambda part, x: checkpoint(use_reentrant=False)(part)(x),
    "in sequence": lambda part, x: checkpoint_sequential([part], 1, x, use_reentrant=False),
    "one in another": lambda part, x: checkpoint(lambda x: checkpoint(part, x, use_reentrant=False), x, use_reentrant=False),
}


class Net(nn.Module):
    def __init__(self, way):
        super().__init__()
        self.a, self.b, self.way = nn.Linear(6, 6), nn.Linear(6, 2), way
        for i, p in enumerate(self.parameters()):
            p.data = torch.randn(p.shape, generator=torch.Generator().manual_seed(i))

    def part(self, x: Tensor) -> Tensor:
        return torch.tanh(self.a(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.way(self.part, x))


def moved(way) -> tuple:
    """A module as a function, other weights than its own, and still others, which need gradients."""
    f, own = functional(Net(way).double())
    return f, {name: p + 0.3 for name, p in own.items()}, {name: (p + 0.4).requires_grad_() for name, p in own.items()}


def found(way) -> list[Tensor]:
    f, at, theta = moved(way)
    results = [ntk(f, at, X, implementation=each) for each in ("auto", "plain")]
    for g in (f, *(linearize(f, at, each) for each in IMPLEMENTATIONS)):
        results += torch.autograd.grad(g(theta, X).square().sum(), list(theta.values()))
    return results + [finetune(f, at, lambda z: z, DATA, PROTOCOL, linearized=each)["a.weight"] for each in (False, True)]


@pytest.fixture(scope="module")
def kept() -> list[Tensor]:
    return found(WAYS["kept"])


@pytest.mark.parametrize("way", list(WAYS)[1:])
def test_what_would_be_computed_anew_is_computed_with_the_weights_given(way, kept):
    for mine, right in zip(found(WAYS[way]), kept, strict=True):
        torch.testing.assert_close(mine, right, **CLOSE)


@pytest.mark.parametrize("run", [lambda run: run, lambda run: partial(run), lambda run: lambda x: run(x)])
def test_what_another_package_computes_anew_is_refused(run):
    f, at, theta = moved(lambda part, x: Recomputed.apply(run(part), x * 1.0))
    calls = [lambda: f(theta, X), lambda: ntk(f, at, X), lambda: linearize(f, at)(theta, X)]
    for call in (*calls, lambda: finetune(f, at, lambda z: z, DATA, PROTOCOL)):
        with pytest.raises(InputError, match=r"Recomputed computes a part of f anew in the backward pass.*switch that off"):
            call()


def test_checkpoints_are_as_before_afterwards():
    apply, calls = torch.autograd.Function.apply, []
    net = Net(partial(checkpoint, use_reentrant=False)).double()
    net.a.register_forward_hook(lambda *given: calls.append(1))
    f, theta_0 = functional(net)
    f(theta_0, X)
    net(X).sum().backward()
    assert len(calls) == 3 and torch.autograd.Function.apply == apply


# -- written into the input ------------------------------------------------------------------------------------------------
def normalised(params: dict, x: Tensor) -> Tensor:
    return F.linear((x - 0.5) / 0.2, params["w"]).tanh()


def writing(params: dict, x: Tensor) -> Tensor:
    return F.linear(x.sub_(0.5).div_(0.2), params["w"]).tanh()


@IMPLEMENTED
def test_a_model_that_writes_into_its_input_is_what_it_is_on_fresh_inputs(implementation):
    x, tau = X.clone(), {"w": THETA["w"].cos()}
    results = []
    for f in (normalised, writing):
        value, (tangent,) = value_and_tangents(f, THETA, [tau], x, implementation)
        results.append([ntk(f, THETA, x, implementation=implementation), value, tangent])
        results[-1].append(linearize(f, THETA, implementation)(tau, x))
    torch.testing.assert_close(results[1], results[0], **CLOSE)
    assert torch.equal(x, X)


@pytest.mark.parametrize("linearized", [False, True])
def test_evaluation_and_training_leave_the_data_as_they_were(linearized):
    data, taus = torch.utils.data.TensorDataset(X.clone(), DATA.tensors[1]), [{"w": THETA["w"].cos()}]
    of = lambda f: (
        accuracies(f, THETA, taus, [[0.0], [1.0], [-1.0]], lambda z: z, data, linearized),
        finetune(f, THETA, lambda z: z, data, PROTOCOL, linearized=linearized)["w"],
    )
    torch.testing.assert_close(of(writing), of(normalised), **CLOSE)
    assert torch.equal(data.tensors[0], X)


@IMPLEMENTED
def test_a_model_that_writes_into_its_weights_is_refused(implementation):
    weights = {"w": THETA["w"].clone()}
    f = lambda params, x: F.linear(x, params["w"].mul_(2))
    for call in (
        lambda: ntk(f, weights, X, implementation=implementation),
        lambda: linearize(f, weights, implementation)(weights, X),
        lambda: value_and_tangents(f, weights, [THETA], X, implementation),
        lambda: accuracies(f, weights, [], [[]], lambda z: z, DATA, False),
    ):
        with pytest.raises(InputError, match=r"f writes into its weight w|implementation 'fast': f writes in place"):
            call()


def test_an_embedding_that_normalises_its_table_is_refused():
    f, theta_0 = functional(nn.Sequential(nn.Embedding(3, 4, max_norm=0.1), nn.Flatten()))
    with pytest.raises(InputError, match=r"f writes into its weight 0.weight, .*leave out max_norm"):
        f(theta_0, torch.tensor([[0, 1]]))


def test_a_module_called_twice_on_one_batch_gives_the_same():
    f, theta_0 = functional(nn.Sequential(nn.ELU(inplace=True), nn.Linear(6, 2)).double())
    x = X.clone()
    assert torch.equal(f(theta_0, x), f(theta_0, x)) and torch.equal(x, X)


# -- one tensor ------------------------------------------------------------------------------------------------------------
@IMPLEMENTED
@pytest.mark.parametrize("wrap", [lambda z: (z, z), lambda z: {"logits": z}, lambda z: None], ids=["tuple", "dict", "None"])
def test_other_results_than_one_tensor_are_refused(implementation, wrap):
    f, said = lambda params, x: wrap(x @ params["w"].T), "f gives (tuple|dict|NoneType), where a tensor is needed: take one"
    for call in (
        lambda: linearize(f, THETA, implementation)(THETA, X),
        lambda: value_and_tangents(f, THETA, [THETA], X, implementation),
        lambda: ntk(f, THETA, X, implementation=implementation),
    ):
        with pytest.raises(InputError, match=said):
            call()


# -- point by point --------------------------------------------------------------------------------------------------------
MIXING = {
    "centred": lambda z: z - z.mean(0),
    "centred by constants": lambda z: z - z.mean(0).detach(),
    "a share of the sum": lambda z: z / len(z),
    "a mean": lambda z: z.mean(0, keepdim=True),
    "a little of the others": lambda z: z + 1e-9 * z.sum(0).sin(),
}


@IMPLEMENTED
@pytest.mark.parametrize("mix", MIXING.values(), ids=MIXING)
def test_a_model_that_mixes_points_has_no_kernel(implementation, mix):
    with pytest.raises(InputError, match=r"f mixes points, as batch normalisation does in train mode: call eval\(\)"):
        ntk(lambda params, x: mix(x @ params["w"].T), THETA, X, implementation=implementation)


@pytest.mark.parametrize("images", [False, True])
def test_batch_normalisation_has_a_kernel_in_eval_mode_alone(images):
    norm, x = (nn.BatchNorm2d(6), X[:, :, None, None].expand(-1, -1, 2, 2)) if images else (nn.BatchNorm1d(6), X)
    net = nn.Sequential(norm, nn.Flatten(), nn.LazyLinear(2)).double()
    net(x)
    f, theta_0 = functional(net)
    with pytest.raises(InputError, match="f mixes points"):
        ntk(f, theta_0, x)
    net.eval()
    assert ntk(f, theta_0, x).shape == (2, 5, 5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_rounding_is_not_taken_for_mixing(dtype):
    net = nn.Sequential(nn.Linear(300, 400), nn.GELU(), nn.LayerNorm(400), nn.Linear(400, 3)).to(dtype)
    f, theta_0 = functional(net)
    inputs = torch.randn(4, 300, generator=torch.Generator().manual_seed(1))
    single = lambda params, x: f({name: p.to(dtype) for name, p in params.items()}, x.to(dtype))
    assert output_alone(single, theta_0, inputs.to(dtype)).shape == (1, 3)
    inside = lambda params, x: single(params, x).double()
    assert output_alone(inside, {name: p.double() for name, p in theta_0.items()}, inputs.double()).shape == (1, 3)


def test_whole_numbers_have_no_kernel():
    with pytest.raises(InputError, match="the kernel is one of real outputs and weights"):
        ntk(lambda params, x: (x @ params["w"].T).long(), THETA, X)
