"""The fast kernel of all outputs against dense Jacobians in float64, and against the formula, one output at a time."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import timm
import torch
import torch.utils.checkpoint
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn import functional as F

from tangent_lib._fast import kernel
from tangent_lib.evaluation import classify
from tangent_lib.kernels import ntk
from tangent_lib.linearization import functional
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.task_vectors import Function, Params

CLOSE = {"rtol": 1e-10, "atol": 1e-10}


class Attention(nn.Module):
    """One block of attention on three tokens, then two logits."""

    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(4, 2, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(dim=1))


class Pooled(nn.Module):
    """A layer on six tokens, then what a pooling leaves of them."""

    def __init__(self, width: int, pool):
        super().__init__()
        self.layer, self.head, self.pool = nn.Linear(4, width), nn.Linear(width, 3, bias=False), pool

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(torch.tanh(self.layer(x))))


def convolutions() -> nn.Module:
    first = nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), bias=False)
    return nn.Sequential(first, nn.GELU(), nn.Conv2d(3, 4, 2), nn.Flatten(), nn.Linear(16, 2))


MODELS = {  # how it is made, and the shape of a point
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)), (4,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3)), (4,)),
    "attention": (Attention, (3, 4)),
    "convolutions": (convolutions, (2, 6, 5)),
    "one token": (lambda: Pooled(40, lambda z: z[:, 0]), (6, 4)),
    "all tokens": (lambda: Pooled(5, lambda z: z.mean(dim=1)), (6, 4)),
    "other tokens at other points": (lambda: Pooled(40, lambda z: z.amax(dim=1)), (6, 4)),
    "transformer": (lambda: VisionTransformer(8, 4, 8, 2, 2, 2.0, output_dim=4), (3, 8, 8)),
    "ConvNeXt": (lambda: timm.create_model("test_convnext", num_classes=2), (3, 32, 32)),
    "ResNet": (lambda: ModifiedResNet([1, 1, 1, 1], output_dim=3, heads=2, image_size=32, width=4), (3, 32, 32)),
}
LARGER = ("ConvNeXt", "ResNet")


@dataclass(frozen=True)
class Model:
    """A network in float64, as a function of its parameters, and its Jacobian at some points, ``(points, outputs, ...)``."""

    net: nn.Module
    f: Function
    params: Params
    x: Tensor
    jacobian: Params

    def kernel(self, *names: str) -> Tensor:
        """With respect to all parameters, or to some."""
        parts = [self.jacobian[name].flatten(start_dim=2) for name in names or self.params]
        return sum(torch.einsum("icn,jcn->cij", part, part) for part in parts)


def build(name: str) -> Model:
    make, shape = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, x = make().double().eval(), torch.randn(3 if name in LARGER else 5, *shape, dtype=torch.float64)
        for value in (*net.parameters(), *net.buffers()):
            if value.is_floating_point():
                value.data *= 1 + 0.2 * torch.rand_like(value)
                value.data += 0.02 * torch.rand_like(value)  # none is zero or one
    f, params = functional(net)
    with forward_differentiable():
        return Model(net, f, params, x, jacrev(f)(params, x))


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return build(request.param)


@pytest.fixture(scope="module", params=["mlp", "convolutions", "attention"])
def some(request):
    return build(request.param)


@pytest.fixture(scope="module")
def transformer():
    return build("transformer")


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# -- against the definition --------------------------------------------------------------------------------------------
def test_it_is_the_jacobian_of_each_output_times_its_transpose(model):
    found = ntk(model.f, model.params, model.x)
    torch.testing.assert_close(found, model.kernel(), **CLOSE)
    assert found.dtype == torch.float64 and len(found) > 1 and (found[0] - found[1]).abs().max() > 1e-3


def test_in_float32_it_is_ntk_output_by_output(model):
    f, params = functional(copy.deepcopy(model.net).float())
    x = model.x.float()
    found = ntk(f, params, x)
    assert found.dtype == torch.float32
    for output, each in enumerate(found):
        one = lambda params, x, output=output: f(params, x)[:, output]
        expected = ntk(one, params, x, implementation="plain")
        torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_it_goes_through_the_image_tower_of_open_clip(random_clip):
    head, x = draw(3, 128).float(), draw(6, 3, 32, 32).float()
    f = lambda params, x: classify(random_clip.f(params, x), head)
    found = ntk(f, random_clip.theta_0, x[:3], x)
    for output, each in enumerate(found):
        one = lambda params, x, output=output: f(params, x)[:, output]
        expected = ntk(one, random_clip.theta_0, x[:3], x, "plain")
        torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    params = {name: value.double() for name, value in random_clip.theta_0.items()}
    g = lambda params, x: classify(random_clip.f(params, x), head.double())
    with forward_differentiable():
        rows = torch.cat([part.flatten(start_dim=2) for part in jacrev(g)(params, x[:2].double()).values()], dim=2)
    found = ntk(g, params, x[:2].double())
    torch.testing.assert_close(found, torch.einsum("icn,jcn->cij", rows, rows), **CLOSE)


def test_each_is_symmetric_and_positive_semi_definite(model):
    for each in ntk(model.f, model.params, model.x):
        torch.testing.assert_close(each, each.T, rtol=1e-13, atol=0)
        assert torch.linalg.eigvalsh(each).min() > -1e-12 * each.trace()


# -- points and blocks -------------------------------------------------------------------------------------------------
COLUMNS = {
    "others": [3, 4],
    "a single one": [2],
    "those of the rows": [0, 1, 2],
    "those of the rows, then others": [0, 1, 2, 3, 4],
    "others, then those of the rows": [4, 3, 0, 1, 2],
    "the rows in another order": [2, 0, 1],
    "one of the rows again and again": [0, 0, 0, 0],
    "fewer than the rows": [0, 1],
}


@pytest.mark.parametrize("memory", [1, 2**10, 2**26])
@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_a_rectangular_kernel_is_a_block_of_the_square_one(some, columns, memory):
    found = ntk(some.f, some.params, some.x[:3], some.x[columns], memory=memory)
    torch.testing.assert_close(found, some.kernel()[:, :3, columns], **CLOSE)


@pytest.mark.parametrize("own", [True, False])
def test_memory_changes_blocks_and_not_the_result(own):
    """From one point at a time to all at once."""
    model, sizes, calls = build("attention"), [], []
    f = lambda params, x: (sizes.append(len(x)), model.f(params, x))[1]
    expected = model.kernel() if own else model.kernel().flip(2)
    for power in range(0, 29, 2):
        sizes.clear()
        found = ntk(f, model.params, model.x, None if own else model.x.flip(0), memory=int(1.5**power))
        torch.testing.assert_close(found, expected, **CLOSE)
        calls.append(len(sizes))
        assert power or set(sizes[-5:]) == {1}
    assert sizes[-1] == 5 and calls == sorted(calls, reverse=True) and len(set(calls)) > 2


@pytest.mark.parametrize("block", [1, 2, 3, 4])
def test_a_last_block_may_be_smaller(some, block, monkeypatch):
    monkeypatch.setattr(kernel, "_points_at_a_time", lambda *given: block)
    torch.testing.assert_close(ntk(some.f, some.params, some.x), some.kernel(), **CLOSE)
    found = ntk(some.f, some.params, some.x[1:4], some.x[1:])
    torch.testing.assert_close(found, some.kernel()[:, 1:4, 1:], **CLOSE)


@pytest.mark.parametrize("points", [64, 65, 150])
def test_many_points(points):
    f, x = (lambda params, x: F.linear(torch.tanh(F.linear(x, params["v"], params["b"])), params["w"])), draw(points, 3)
    params = {"v": draw(4, 3), "b": draw(4), "w": draw(2, 4)}
    rows = torch.cat([row.flatten(start_dim=2) for row in jacrev(f)(params, x).values()], dim=2)
    for count in (points, points // 2):
        expected = torch.einsum("icn,jcn->cij", rows[:count], rows)
        torch.testing.assert_close(ntk(f, params, x[:count], x), expected, **CLOSE)


# -- parameters --------------------------------------------------------------------------------------------------------
def test_only_the_given_parameters_are_differentiated(model):
    """By itself, each gives its own part of the kernel, and the parts add up."""
    names = [name for i, name in enumerate(model.params) if len(model.params) < 30 or i % 5 == 0]
    for name in names:
        fixed = {other: value for other, value in model.params.items() if other != name}
        f = lambda params, x, fixed=fixed: model.f({**fixed, **params}, x)
        found, expected = ntk(f, {name: model.params[name]}, model.x), model.kernel(name)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * model.kernel().abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("part", ["weight", "bias", "attn", "ln_", "embedding", "resblocks.1", "proj"])
def test_a_selection_of_parameters(transformer, part, dtype):
    chosen = [name for name in transformer.params if part in name]
    f, params = functional(copy.deepcopy(transformer.net).to(dtype))
    fixed = {name: value for name, value in params.items() if name not in chosen}
    given, expected = {name: params[name] for name in chosen}, transformer.kernel(*chosen)
    found = ntk(lambda params, x: f({**fixed, **params}, x), given, transformer.x.to(dtype))
    close = CLOSE if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-5 * expected.abs().max().item()}
    torch.testing.assert_close(found, expected.to(dtype), **close)


def test_nothing_that_is_given_changes_and_nothing_comes_with_a_graph(transformer):
    given = {name: value.clone().requires_grad_() for name, value in transformer.params.items()}
    x = transformer.x.clone()
    found = ntk(transformer.f, given, x)
    assert not found.requires_grad and all(value.grad is None for value in given.values()) and not x.requires_grad
    assert all(torch.equal(given[name], value) for name, value in transformer.params.items())
    assert torch.equal(x, transformer.x) and not any(value.requires_grad for value in transformer.params.values())
    torch.testing.assert_close(found, transformer.kernel(), **CLOSE)
    with torch.no_grad():
        torch.testing.assert_close(ntk(transformer.f, given, x), found, **CLOSE)


# -- both ways to an inner product -------------------------------------------------------------------------------------
@pytest.mark.parametrize("memory", [1, 2**26])
def test_the_cheaper_way_is_taken(monkeypatch, memory):
    ways = []
    for name in ("_by_token", "_sums"):
        way = getattr(kernel, name)
        monkeypatch.setattr(kernel, name, lambda *given, name=name, way=way: (ways.append(name), way(*given))[1])
    layer = lambda model: lambda params, x: model.f({**model.params, **params}, x)
    for name in ("one token", "all tokens"):
        each = build(name)
        ways.clear()
        found = ntk(layer(each), {"layer.weight": each.params["layer.weight"]}, each.x, memory=memory)
        torch.testing.assert_close(found, each.kernel("layer.weight"), **CLOSE)
        if memory > 1:  # else no more than one row of the weight is taken at a time
            assert set(ways) == {{"one token": "_by_token", "all tokens": "_sums"}[name]}


def test_tokens_of_one_side_may_not_be_those_of_the_other():
    """The token that comes back is the largest, another one at each point; both blocks and both ways."""
    for width in (3, 80):
        f = lambda params, x: F.linear(x, params["w"]).amax(dim=1)[:, :3]
        params, x = {"w": draw(width, 4)}, draw(8, 6, 4)
        rows = jacrev(f)(params, x)["w"].flatten(start_dim=2)
        expected = torch.einsum("icn,jcn->cij", rows, rows)
        for memory in (1, 2**11, 2**26):
            found = ntk(f, params, x[:5], x, memory=memory)
            torch.testing.assert_close(found, expected[:, :5], **CLOSE)


# -- outputs -----------------------------------------------------------------------------------------------------------
def test_an_output_that_depends_on_nothing_gives_zeros(model):
    f = lambda params, x: torch.cat([model.f(params, x), x.flatten(1)[:, :1]], dim=1)
    *others, last = ntk(f, model.params, model.x)
    torch.testing.assert_close(torch.stack(others), model.kernel(), **CLOSE)
    assert not last.any()


# -- odd models ----------------------------------------------------------------------------------------------------------
def test_a_model_that_draws_random_numbers_is_refused():
    f = lambda params, x: F.dropout(F.linear(x, params["w"]))
    with pytest.raises(InputError, match=r"f draws random numbers, as dropout does in train mode.*call eval\(\)"):
        ntk(f, {"w": draw(3, 4)}, draw(5, 4))


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_a_model_under_autocast_of_its_own(precision):
    def f(params: Params, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return torch.tanh(F.linear(x, params["w"])).to(precision)

    params, x = {"w": draw(3, 4).to(precision)}, draw(5, 4).to(precision)
    expected = ntk(lambda params, x: torch.tanh(F.linear(x, params["w"])), params, x)
    assert (ntk(f, params, x) - expected).abs().max() < 0.05 * expected.abs().max()


def test_torch_func_may_be_used_within():
    f = lambda params, x: torch.func.vmap(torch.func.grad(lambda point: (point @ params["w"]).square().sum()))(x)
    with forward_differentiable():
        rows = jacrev(f)({"w": draw(3, 3)}, draw(4, 3))["w"].flatten(2)
    torch.testing.assert_close(ntk(f, {"w": draw(3, 3)}, draw(4, 3)), torch.einsum("icp,jcp->cij", rows, rows), **CLOSE)


def test_a_part_may_be_computed_anew_in_the_backward_pass():
    hidden = lambda params, x: torch.tanh(F.linear(x, params["v"]))
    f = lambda params, x: F.linear(torch.utils.checkpoint.checkpoint(hidden, params, x, use_reentrant=False), params["w"])
    params, x = {"v": draw(4, 3), "w": draw(2, 4)}, draw(5, 3)
    expected = ntk(lambda params, x: F.linear(hidden(params, x), params["w"]), params, x)
    torch.testing.assert_close(ntk(f, params, x), expected, **CLOSE)
