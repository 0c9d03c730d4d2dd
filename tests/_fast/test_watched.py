"""Uses of weights against the gradients of each point, and what is left to torch.func because its gradient is not known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.func import jacrev
from torch.nn import functional as F

from tangent_lib._fast.watched import NotWatched, Use, watch
from tangent_lib.kernels import ntk
from tangent_lib.linearization import functional
from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.task_vectors import Function, Params

CLOSE, POINTS = {"rtol": 1e-10, "atol": 1e-10}, 4
RNG = torch.Generator().manual_seed(0)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=RNG, dtype=torch.float64)


def gradients(f: Function, params: Params, names: list[str], x: Tensor) -> Tensor:
    """The gradient of the sum of f at each point by itself, without this library, ``(points, numbers)``."""
    rows = []
    for point in x:
        leaves = {name: value.clone().requires_grad_(name in names) for name, value in params.items()}
        total = f(leaves, point.unsqueeze(0)).sum()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(total, [leaves[name] for name in names])]))
    return torch.stack(rows)


def of_use(use: Use, outputs: Tensor) -> Tensor:
    """The same by what was noted of a use."""
    (g,) = torch.autograd.grad(outputs.sum(), use.y, retain_graph=True)
    parts = [] if use.direct is None else [use.direct(g)]
    if use.entered is not None:
        parts.append(torch.einsum("nsi,nso->noi", use.entered, use.returned(g)).flatten(start_dim=1))
    return torch.cat(parts, dim=1)


def gram(f: Function, params: Params, x: Tensor) -> Tensor:
    with forward_differentiable():
        jacobian = jacrev(f)(params, x)
    rows = torch.cat([row.reshape(*row.shape[:2], -1) for row in jacobian.values()], dim=2)
    return torch.einsum("icn,jcn->cij", rows, rows)


def outputs_of(y: Tensor) -> Tensor:
    """Some nonlinear outputs of whatever a weight made."""
    return torch.tanh(y).flatten(start_dim=1)[:, :6]


# -- what is known: the operation on x with its parameters p, the shape of a point, the parameters' shapes -------------
KNOWN = {
    "linear": (lambda x, p: F.linear(x, p["w"], p["b"]), (3,), {"w": (5, 3), "b": (5,)}),
    "linear, tokens": (lambda x, p: F.linear(x, p["w"], bias=p["b"]), (2, 4, 3), {"w": (5, 3), "b": (5,)}),
    "linear, no bias": (lambda x, p: F.linear(x, p["w"]), (4, 3), {"w": (5, 3)}),
    "linear by names": (lambda x, p: F.linear(x, bias=p["b"], weight=p["w"]), (3,), {"w": (5, 3), "b": (5,)}),
    "transposed tokens": (lambda x, p: F.linear(x.mT, p["w"]), (3, 4), {"w": (5, 3)}),
    "matmul": (lambda x, p: torch.matmul(x, p["w"]), (3,), {"w": (3, 5)}),
    "matmul, operator": (lambda x, p: x @ p["w"], (4, 3), {"w": (3, 5)}),
    "matmul, method": (lambda x, p: x.matmul(p["w"]), (2, 4, 3), {"w": (3, 5)}),
    "convolution": (lambda x, p: F.conv2d(x, p["w"], p["b"]), (2, 5, 4), {"w": (3, 2, 3, 2), "b": (3,)}),
    "convolution, no bias": (lambda x, p: F.conv2d(x, p["w"]), (2, 5, 4), {"w": (3, 2, 1, 1)}),
    "patches": (lambda x, p: F.conv2d(x, p["w"], stride=2), (3, 6, 4), {"w": (5, 3, 2, 2)}),
    "convolution, options": (
        lambda x, p: F.conv2d(x, p["w"], p["b"], stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        (2, 6, 5),
        {"w": (3, 2, 3, 2), "b": (3,)},
    ),
    "layer norm": (lambda x, p: F.layer_norm(x, (3,), p["w"], p["b"]), (3,), {"w": (3,), "b": (3,)}),
    "layer norm, tokens": (lambda x, p: F.layer_norm(x, (3,), p["w"], p["b"], 0.1), (4, 3), {"w": (3,), "b": (3,)}),
    "layer norm, weight": (lambda x, p: F.layer_norm(x, [3], weight=p["w"], eps=0.1), (2, 4, 3), {"w": (3,)}),
    "layer norm, bias": (lambda x, p: F.layer_norm(x, (3,), bias=p["b"]), (4, 3), {"b": (3,)}),
    "addition": (lambda x, p: x + p["w"], (3,), {"w": (3,)}),
    "addition from the left": (lambda x, p: p["w"] + x, (4, 3), {"w": (4, 3)}),
    "addition to each token": (lambda x, p: torch.add(p["w"], x), (4, 3), {"w": (3,)}),
    "addition of a number": (lambda x, p: x.add(p["w"]), (4, 3), {"w": ()}),
    "a token for each point": (
        lambda x, p: torch.cat([p["w"].view(1, 1, -1).expand(x.shape[0], -1, -1) + x[:, :1], x], dim=1),
        (4, 3),
        {"w": (3,)},
    ),
    "expanded by a shape": (lambda x, p: x * p["w"].reshape(1, 4, 3).expand((len(x), 4, 3)), (4, 3), {"w": (12,)}),
    "moved": (
        lambda x, p: F.linear(x, p["w"].to(x.dtype).view(3, 5).reshape(5, 3), p["b"].unsqueeze(1).flatten()),
        (4, 3),
        {"w": (15,), "b": (5,)},
    ),
    "asked about": (lambda x, p: F.linear(x, p["w"]) * p["w"].shape[0] / p["w"].numel(), (3,), {"w": (5, 3)}),
}


@pytest.mark.parametrize("operation, shape, shapes", KNOWN.values(), ids=KNOWN)
def test_a_use_gives_the_gradient_at_each_point(operation, shape, shapes):
    x, params = draw(POINTS, *shape), {name: draw(*each) for name, each in shapes.items()}
    f = lambda params, x: outputs_of(operation(x, params))
    for names in (list(params), *([name] for name in params)):
        outputs, (use,) = watch(f, params, names, x)
        torch.testing.assert_close(outputs, f(params, x), **CLOSE)
        mine, expected = of_use(use, outputs), gradients(f, params, names, x)
        torch.testing.assert_close(mine @ mine.T, expected @ expected.T, **CLOSE)
        assert use.y.shape[0] == POINTS and expected.abs().min(dim=0).values.max() > 0


def test_what_entered_and_what_came_back():
    x, params = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]), {"w": torch.eye(2), "b": torch.zeros(2)}
    outputs, (use,) = watch(lambda params, x: F.linear(x, **{"weight": params["w"], "bias": params["b"]}), params, params, x)
    assert use.y is outputs and torch.equal(use.entered, x) and not use.entered.requires_grad
    assert use.returned(2 * x).tolist() == [[[2, 4], [6, 8]]] and use.direct(x).tolist() == [[4, 6]]


def test_uses_come_in_order_and_weights_that_are_not_named_have_none():
    net = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Tanh(), nn.Linear(4, 2)).double()
    (f, params), x = functional(net), draw(POINTS, 3)
    outputs, uses = watch(f, params, params, x)
    assert [use.y.shape[1] for use in uses] == [4, 4, 2] and torch.equal(uses[-1].y, f(params, x))
    last = watch(f, params, ["3.bias"], x)[1]
    assert len(last) == 1 and last[0].entered is None and torch.equal(last[0].direct(x), x)
    outputs, none = watch(f, params, [], x)
    assert none == [] and not outputs.requires_grad


@pytest.mark.parametrize("part", ["", "in_proj_weight", "in_proj_bias", "out_proj"])
@pytest.mark.parametrize("bias", [True, False])
def test_attention_is_watched_in_its_two_layers(part, bias):
    net = nn.MultiheadAttention(4, 2, bias=bias, batch_first=True).double()
    _, params = functional(net)
    params = {name: draw(*value.shape) for name, value in params.items()}
    f = lambda params, x: outputs_of(torch.func.functional_call(net, params, (x, x, x), {"need_weights": False})[0])
    names, x = [name for name in params if part in name], draw(POINTS, 3, 4)
    outputs, uses = watch(f, params, names, x)
    torch.testing.assert_close(outputs, f(params, x), **CLOSE)
    if names:
        mine, expected = torch.cat([of_use(use, outputs) for use in uses], dim=1), gradients(f, params, names, x)
        torch.testing.assert_close(mine @ mine.T, expected @ expected.T, **CLOSE)


# -- what is not -------------------------------------------------------------------------------------------------------
def in_place(net: nn.Module) -> Callable:
    return lambda x, p: torch.func.functional_call(net, {"0.weight": p["w"], "2.weight": p["v"]}, (x,))


RELU = nn.Sequential(nn.Linear(3, 4, False), nn.ReLU(inplace=True), nn.Linear(4, 4, False), nn.ReLU(inplace=True)).double()
UNKNOWN = {
    "a product of numbers": (lambda x, p: x * p["w"], (3,), {"w": (3,)}),
    "a number": (lambda x, p: F.linear(x, p["v"]) * p["w"], (3,), {"w": (), "v": (2, 3)}),
    "transposed": (lambda x, p: x @ p["w"].T, (3,), {"w": (5, 3)}),
    "two weights": (lambda x, p: x @ (p["w"] + p["v"]), (3,), {"w": (3, 3), "v": (3, 3)}),
    "a weight and a number": (lambda x, p: F.linear(x, 1 + p["w"]), (3,), {"w": (5, 3)}),
    "a weight that enters": (lambda x, p: x @ F.linear(p["w"], torch.ones(4, 3).double()), (3,), {"w": (3, 3)}),
    "a weight that enters a norm": (lambda x, p: x @ F.layer_norm(p["w"], (3,)), (3,), {"w": (3, 3)}),
    "a weight that enters a convolution": (
        lambda x, p: x + F.conv2d(p["w"], torch.ones(1, 1, 2, 2).double()).flatten(),
        (4,),
        {"w": (1, 1, 3, 3)},
    ),
    "a weight on the left": (lambda x, p: (p["w"] @ x.mT).mT, (4, 3), {"w": (5, 3)}),
    "a vector": (lambda x, p: F.linear(x, p["w"]).unsqueeze(1), (3,), {"w": (3,)}),
    "a scaled addition": (lambda x, p: torch.add(x, p["w"], alpha=2), (3,), {"w": (3,)}),
    "an addition into": (lambda x, p: x.clone().add_(p["w"]), (3,), {"w": (3,)}),
    "a bias without dimensions": (lambda x, p: F.linear(x, p["v"], p["w"]), (3,), {"w": (), "v": (5, 3)}),
    "a bias of one number": (lambda x, p: F.linear(x, p["v"], p["w"]), (4, 3), {"w": (1,), "v": (5, 3)}),
    "one weight for scale and shift": (lambda x, p: F.layer_norm(x, (3,), p["w"], p["w"]), (3,), {"w": (3,)}),
    "one weight for product and bias": (lambda x, p: F.linear(x, p["w"].view(3, 1), p["w"]), (1,), {"w": (3,)}),
    "an addition to complex numbers": (lambda x, p: (torch.fft.fft(x) + p["w"]).abs(), (3,), {"w": (3,)}),
    "names": (lambda x, p: F.linear(input=x, weight=p["w"]), (3,), {"w": (5, 3)}),
    "a table": (lambda x, p: F.embedding((x > 0).long(), p["w"]), (3,), {"w": (2, 4)}),
    "a batch of matrices": (lambda x, p: x @ p["w"], (2, 4, 3), {"w": (2, 3, 5)}),
    "groups": (lambda x, p: F.conv2d(x, p["w"], p["v"], groups=2), (2, 4, 4), {"w": (4, 1, 2, 2), "v": (4,)}),
    "padding by name": (lambda x, p: F.conv2d(x, p["w"], padding="same"), (2, 4, 4), {"w": (3, 2, 3, 3)}),
    "a norm of matrices": (lambda x, p: F.layer_norm(x, (4, 3), p["w"], p["v"]), (4, 3), {"w": (4, 3), "v": (4, 3)}),
    "positions with a dimension for points": (lambda x, p: x + p["w"], (4, 3), {"w": (1, 4, 3)}),
    "repeated for each token": (lambda x, p: x * p["w"].view(1, 1, -1).expand(len(x), 4, -1), (4, 3), {"w": (3,)}),
    "repeated within a point": (lambda x, p: x + p["w"].expand(4, 3), (4, 3), {"w": (1, 3)}),
    "a layer used twice": (lambda x, p: F.linear(torch.tanh(F.linear(x, p["w"])), p["w"]), (3,), {"w": (3, 3)}),
    "an addition done twice": (lambda x, p: torch.tanh(x + p["w"]) + p["w"], (3,), {"w": (3,)}),
    "a layer whose result is overwritten": (in_place(RELU), (3,), {"w": (4, 3), "v": (4, 4)}),
    "a result that is no point's": (lambda x, p: x @ (torch.ones(3, 4).double() @ p["w"]), (3,), {"w": (4, 5)}),
    "tokens first": (lambda x, p: F.linear(x.transpose(0, 1), p["w"]).transpose(0, 1), (3, 3), {"w": (5, 3)}),
    "as many tokens as points, first": (
        lambda x, p: torch.tanh(F.linear(x.transpose(0, 1), p["w"], p["v"])).sum(dim=0),
        (POINTS, 3),
        {"w": (5, 3), "v": (5,)},
    ),
    "one token, first": (lambda x, p: F.linear(x[:, :1].transpose(0, 1), p["w"])[0], (4, 3), {"w": (5, 3)}),
    "windows": (lambda x, p: F.linear(x.reshape(-1, 3), p["w"]).view(len(x), -1), (6, 3), {"w": (5, 3)}),
}


@pytest.mark.parametrize("operation, shape, shapes", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_is_left_to_torch_func(operation, shape, shapes):
    x, params = draw(POINTS, *shape), {name: draw(*each) for name, each in shapes.items()}
    f = lambda params, x: outputs_of(operation(x, params))
    torch.testing.assert_close(ntk(f, params, x), gram(f, params, x), **CLOSE)
    trained = {name: value.clone().requires_grad_() for name, value in params.items()}
    found = ntk(f, trained, x, memory=1)
    torch.testing.assert_close(found, gram(f, params, x), **CLOSE)
    assert not found.requires_grad
    some = {"w": params["w"]}
    g = lambda some, x: f({**params, **some}, x)
    torch.testing.assert_close(ntk(g, some, x), gram(g, some, x), **CLOSE)


@pytest.mark.parametrize("operation, shape, shapes", UNKNOWN.values(), ids=UNKNOWN)
def test_what_is_not_known_names_a_weight(operation, shape, shapes):
    params = {name: draw(*each) for name, each in shapes.items()}
    with pytest.raises(NotWatched) as found:
        watch(lambda params, x: operation(x, params), params, params, draw(2, *shape))
    assert str(found.value) in params


def test_a_weight_that_is_used_without_gradient_is_not_watched():
    def f(params: Params, x: Tensor) -> Tensor:
        with torch.no_grad():
            scale = F.linear(x, params["w"])
        return scale * F.linear(x, params["v"])

    params, x = {"w": draw(3, 3), "v": draw(3, 3)}, draw(POINTS, 3)
    assert left(f, params, x) == {"w"}
    torch.testing.assert_close(ntk(f, params, x), gram(f, params, x), **CLOSE)


def test_what_entered_may_not_be_overwritten():
    """Nor does autograd allow it."""
    f = lambda params, x: F.linear(z := x + 0, params["w"]) * z.mul_(2)
    with pytest.raises(NotWatched, match="w"):
        watch(f, {"w": draw(3, 3)}, ["w"], draw(2, 3))


@pytest.mark.parametrize("used", ["not at all", "for nothing", "otherwise"])
def test_outputs_that_depend_on_no_watched_weight(used):
    params, x = {"v": draw(4, 4), "w": draw(4)}, draw(3, 4)

    def f(params: Params, x: Tensor) -> Tensor:
        if used != "not at all":
            F.linear(x, params["v"])
        return x * params["w"] if used == "otherwise" else x + 0

    expected = torch.stack([torch.outer(column, column) for column in x.T]) if used == "otherwise" else torch.zeros(4, 3, 3)
    torch.testing.assert_close(ntk(f, params, x), expected.double(), **CLOSE)


def test_numbers_that_are_not_finite_are_not_lost():
    f = lambda params, x: F.linear(F.linear(x, params["v"]), params["w"])
    params = {"v": draw(4, 3), "w": torch.full((1, 4), float("nan"), dtype=torch.float64)}
    assert ntk(f, {"v": params["v"]} | params, draw(2, 3)).isnan().all()
    only = lambda given, x: f({**params, **given}, x)
    assert ntk(only, {"v": params["v"]}, draw(2, 3)).isnan().all()


def test_outputs_may_be_of_another_precision_than_weights():
    params, x = {"w": draw(5, 4).float()}, draw(3, 6, 4)
    f = lambda params, x: F.linear(x.float(), params["w"]).tanh().mean(dim=1).double()
    g = lambda params, x: F.linear(x, params["w"]).tanh().mean(dim=1)
    expected = gram(g, {"w": params["w"].double()}, x)
    torch.testing.assert_close(ntk(f, params, x).double(), expected, rtol=1e-5, atol=1e-5)


def left(f: Function, params: Params, x: Tensor) -> set[str]:
    names = list(params)
    while True:
        try:
            watch(f, params, names, x)
        except NotWatched as found:
            names.remove(str(found))
        else:
            return set(params) - set(names)


def test_of_a_transformer_all_weights_are_watched():
    f, params = functional(VisionTransformer(8, 4, 8, 2, 2, 2.0, output_dim=4).double().eval())
    assert left(f, params, draw(POINTS, 3, 8, 8)) == set()
    assert len(watch(f, params, params, draw(POINTS, 3, 8, 8))[1]) == len(
        {name.rpartition(".")[0] or name for name in params}
    )


def test_of_other_towers_what_is_left_is_little():
    f, params = functional(timm.create_model("test_convnext", num_classes=2).double().eval())
    found = left(f, params, draw(2, 3, 32, 32))
    assert found == {name for name in params if "conv_dw" in name or "gamma" in name}
    f, params = functional(ModifiedResNet([1, 1, 1, 1], output_dim=3, heads=2, image_size=64, width=4).double().eval())
    found = left(f, params, draw(POINTS, 3, 64, 64))
    assert found == {name for name in params if "bn" in name or "downsample.1" in name or "attnpool" in name}
