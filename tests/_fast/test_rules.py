"""Every rule against torch.func.jvp in float64: whichever arguments move, several directions at once, every option."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.func import jvp
from torch.nn import functional as F
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from tangent_lib._fast import dual, rules
from tangent_lib._fast.dual import RULES, Dual, tangent_of, value_of
from tangent_lib.runtime.operations import forward_differentiable

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
RNG = torch.Generator().manual_seed(0)
CASES: list = []


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=RNG, dtype=torch.float64)


def case(*operations: Callable | str, args: tuple, **kwargs: object):
    """A call of each operation; one given by its name is called as a function of torch and as a method, where it is one."""
    for operation in operations:
        named = [getattr(owner, operation, None) for owner in (torch, Tensor)] if isinstance(operation, str) else [operation]
        for func in named:
            if func in RULES:
                name = operation if isinstance(operation, str) else getattr(func, "__qualname__", str(func))
                CASES.append(pytest.param(func, args, kwargs, id=f"{len(CASES)}-{name}"))


def parameter(name: str) -> Callable:
    return getattr(Tensor, name).__get__


# -- the calls ---------------------------------------------------------------------------------------------------------
case(F.linear, args=(draw(3, 4), draw(5, 4), draw(5)))
case(F.linear, args=(draw(2, 3, 4).transpose(0, 1), draw(5, 4)))
case(F.linear, args=(draw(4), draw(5, 4), draw(5)))
case(F.linear, args=(draw(3, 4), draw(5, 4)), bias=draw(5))
case(F.linear, args=(draw(3, 4), draw(5, 4), draw()))
case(F.linear, args=(draw(2, 3, 4), draw(5, 4), draw(1)))
case(F.linear, args=(draw(3, 4), draw(5, 4), draw(3, 1)))
case(F.linear, args=(draw(2, 3, 4), draw(4)))
case("matmul", "__matmul__", args=(draw(3, 4), draw(4, 2)))
case("matmul", "__matmul__", args=(draw(2, 3, 4), draw(4, 2)))
case("matmul", "__matmul__", args=(draw(4), draw(2, 4, 3)))
case("mul", "__mul__", "__rmul__", args=(draw(3, 4), draw(3, 4)))
case("mul", "__mul__", "__rmul__", args=(draw(4), draw(2, 3, 1)))
case("mul", "__mul__", "__rmul__", args=(draw(3, 4), 1.7))
case("mul", "__mul__", "__rmul__", args=(draw(3, 4), torch.tensor([1, 0, 2, 3])))
case(torch.mul, args=(1.7, draw(3, 4)))
case(F.conv2d, args=(draw(2, 3, 6, 5), draw(4, 3, 2, 3), draw(4)))
case(F.conv2d, args=(draw(2, 3, 6, 5), draw(4, 3, 2, 3)), stride=2, padding=(1, 0))
case(F.conv2d, args=(draw(2, 4, 6, 5), draw(6, 2, 3, 3), draw(6), 1, "same", 2, 2))
case(F.conv2d, args=(draw(4, 6, 5), draw(4, 1, 3, 3)), bias=draw(4), padding=1, groups=4)
case(F.layer_norm, args=(draw(2, 3, 4), (4,), draw(4), draw(4)))
case(F.layer_norm, args=(draw(2, 3, 4).transpose(0, 2), [3, 2], draw(3, 2), draw(3, 2), 1e-2))
case(F.layer_norm, args=(draw(2, 3, 4), (4,)), weight=draw(4), eps=0.1)
case(F.layer_norm, args=(draw(2, 3, 4), (4,)), bias=draw(4))
case(F.layer_norm, args=(draw(2, 3, 4), (4,)))
case(F.gelu, args=(draw(3, 4),))
case(F.gelu, args=(draw(3, 4),), approximate="tanh")
case("sigmoid", "tanh", "relu", "exp", args=(draw(3, 4),))
case("relu", F.relu, args=(torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64),))
case(F.relu, args=(draw(3, 4),), inplace=False)
case(F.dropout, args=(draw(3, 4),))
case(F.dropout, args=(draw(3, 4), 0.2), training=True, inplace=False)
case(F.dropout, args=(draw(3, 4),), p=1.0)
case(F.dropout, args=(draw(3, 4),), training=False)
case(F.dropout, args=(draw(3, 4), 0.0))
case(torch.dropout, args=(draw(3, 4), 0.5, True))
case(torch.dropout, args=(draw(3, 4),), p=0.5, train=False)
for exponent in (2, 3.0, 1, 0, -1, 0.5):
    case("pow", "__pow__", args=(draw(3, 4).abs() + 0.1, exponent))
case("pow", "__pow__", args=(torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64), 2))
case("pow", args=(torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64),), exponent=0)
case(F.scaled_dot_product_attention, args=(draw(2, 3, 5, 4), draw(2, 3, 6, 4), draw(2, 3, 6, 7)))
case(F.scaled_dot_product_attention, args=tuple(draw(2, 5, 3, 4).transpose(1, 2) for _ in range(3)), scale=0.3)
case(F.scaled_dot_product_attention, args=(draw(2, 5, 4), draw(2, 5, 4), draw(2, 5, 4), None, 0.0, False))
case("add", "sub", "__add__", "__radd__", "__sub__", args=(draw(3, 4), draw(3, 4)))
case("add", "sub", "__add__", "__radd__", "__sub__", args=(draw(4), draw(2, 3, 1)))
case("add", "sub", "__add__", "__radd__", "__sub__", args=(draw(3, 4), 1.7))
case(torch.sub, torch.add, args=(1.7, draw(3, 4)))
case("cat", "stack", args=([draw(2, 3), draw(2, 3), draw(2, 3)],))
case("cat", "stack", args=((draw(2, 3), draw(2, 3)), 1))
case("cat", "stack", args=([draw(2, 3)],), dim=-1)
case(Tensor.reshape, args=(draw(2, 3, 4), 4, -1))
case("reshape", args=(draw(2, 3, 4).mT, (2, 12)))
case("view", args=(draw(2, 3, 4), 6, -1))
case("view", args=(draw(2, 3, 4), (2, 12)))
case("permute", args=(draw(2, 3, 4), (2, 0, 1)))
case("transpose", args=(draw(2, 3, 4), 0, -1))
case("transpose", args=(draw(2, 3, 4),), dim0=0, dim1=1)
case("flatten", args=(draw(2, 3, 4), 1))
case("flatten", args=(draw(2, 3, 4),), start_dim=0, end_dim=1)
case("unflatten", args=(draw(2, 6), 1, (2, 3)))
case("unsqueeze", args=(draw(2, 3), 1))
case("squeeze", args=(draw(2, 1, 3, 1),))
case("squeeze", args=(draw(2, 1, 3, 1),), dim=1)
case("expand", args=(draw(3, 1), 2, -1, 4))
case("expand_as", args=(draw(3, 1), draw(2, 3, 4)))
case("contiguous", "clone", "neg", args=(draw(3, 4).t(),))
case("contiguous", "clone", args=(draw(2, 3, 4, 5),), memory_format=torch.channels_last)
case("chunk", args=(draw(5, 6), 3), dim=1)
case("split", args=(draw(5, 6), [1, 4]))
case("split", args=(draw(5, 6), 4), dim=-1)
case("unbind", args=(draw(3, 4), 1))
case("unbind", args=(draw(3, 4),))
case("select", args=(draw(3, 4), 1, -1))
case("narrow", args=(draw(3, 4), 1, 1, 2))
case("movedim", args=(draw(2, 3, 4), 0, 2))
case("mean", "sum", args=(draw(3, 4),))
case("mean", "sum", args=(draw(3, 4), 1))
case("mean", "sum", args=(draw(2, 3, 4),), dim=(0, 2), keepdim=True)
case("sum", args=(draw(3, 4),), dtype=torch.float64)
case("to", args=(draw(3, 4), torch.float64))
case("to", args=(draw(3, 4), draw(1)))
case("to", args=(draw(3, 4),), dtype=torch.float64, copy=True)
case("roll", args=(draw(3, 4), 1, 0))
case("roll", args=(draw(3, 4),), shifts=(1, -1), dims=(0, 1))
case("repeat", args=(draw(3, 4), 2, 1, 2))
case("__getitem__", args=(draw(3, 4), 1))
case("__getitem__", args=(draw(3, 4), (slice(None), [2, 0])))
case("__getitem__", args=(draw(3, 4), torch.tensor([2, 2, 0])))
case("__getitem__", args=(draw(3, 4), (..., None, torch.tensor(1))))
case("__getitem__", args=(draw(3, 4), draw(3, 4) > 0))
case(parameter("T"), args=(draw(3, 4),))
case(parameter("mT"), args=(draw(2, 3, 4),))
BY_MODULES = {F.multi_head_attention_forward}  # its rule composes others: test_dual.py


def is_number(x: object) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


class Call:
    """A call of an operation as a function of its tensors in floating point."""

    def __init__(self, func: Callable, args: tuple, kwargs: dict, dtype: torch.dtype = torch.float64):
        self.func, (leaves, self.form) = func, tree_flatten((args, kwargs))
        self.leaves = [each.to(dtype) if is_number(each) else each for each in leaves]
        self.places = [i for i, each in enumerate(leaves) if is_number(each)]
        self.values = [self.leaves[i] for i in self.places]

    def __call__(self, *values: Tensor) -> object:
        replaced = dict(zip(self.places, values, strict=True))
        args, kwargs = tree_unflatten([replaced.get(i, each) for i, each in enumerate(self.leaves)], self.form)
        torch.manual_seed(0)  # of dropout
        return self.func(*args, **kwargs)

    def subsets(self) -> list[tuple[int, ...]]:
        count = range(len(self.places))
        return [chosen for size in count for chosen in combinations(count, size + 1)]


def directions(values: list[Tensor], moving: tuple[int, ...]) -> list[list[Tensor | None]]:
    """All that move at once, by any numbers and by the same row again and again; each by itself; and none."""
    along = lambda some: [torch.randn_like(x) if i in some else None for i, x in enumerate(values)]
    same = [torch.randn(x.shape[-1:], dtype=x.dtype).expand(x.shape) if i in moving else None for i, x in enumerate(values)]
    return [along(moving), same, *(along((i,)) for i in moving), along(())]


@pytest.fixture(autouse=True)
def own_random_numbers():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        yield


@pytest.fixture
def no_jvp(monkeypatch):
    for module in (dual, rules):
        monkeypatch.setattr(module, "by_jvp", lambda func, *rest: pytest.fail(f"{func} was left to torch.func.jvp"))


@pytest.fixture
def jvps(monkeypatch):
    """The operations that are left to torch.func.jvp."""
    seen, by_jvp = [], dual.by_jvp
    for module in (dual, rules):
        monkeypatch.setattr(module, "by_jvp", lambda func, *rest: (seen.append(func), by_jvp(func, *rest))[1])
    return seen


def check(call: Call, moving: tuple[int, ...]):
    """Value, autograd graph and tangents, whichever values move; and that nothing that was given is written to."""
    values = [each.detach().clone().requires_grad_() for each in call.values]
    ways = directions(call.values, moving)
    before = [None if move is None else move.clone() for way in ways for move in way]
    given = [Dual(x, [way[i] for way in ways]) if i in moving else x for i, x in enumerate(values)]
    result, expected = tree_leaves(call(*given)), tree_leaves(call(*values))
    torch.testing.assert_close([value_of(part) for part in result], expected, **CLOSE)
    used = [
        torch.autograd.grad(sum(part.square().sum() for part in map(value_of, parts)), values, allow_unused=True)
        for parts in (result, expected)
    ]
    for mine, other in zip(*used, strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)
    for k, way in enumerate(ways):
        zeroed = tuple(torch.zeros_like(x) if move is None else move for x, move in zip(call.values, way))
        with forward_differentiable():
            tangents = tree_leaves(jvp(lambda *given: tree_leaves(call(*given)), tuple(call.values), zeroed)[1])
        for part, tangent in zip(result, tangents, strict=True):
            move = tangent_of(part, k)
            assert move is None or not move.requires_grad
            torch.testing.assert_close(torch.zeros_like(tangent) if move is None else move, tangent, **CLOSE)
    assert all(tangent_of(part, len(ways) - 1) is None or not tangent_of(part, len(ways) - 1).any() for part in result)
    assert all(torch.equal(x, y) for x, y in zip(values, call.values))
    after = [move for way in ways for move in way]
    assert all(x is y is None or torch.equal(x, y) for x, y in zip(after, before))


@pytest.mark.parametrize("func, args, kwargs", CASES)
def test_tangents_are_those_of_jvp(no_jvp, func, args, kwargs):
    call = Call(func, args, kwargs)
    for moving in call.subsets():
        check(call, moving)


def test_every_rule_has_a_case():
    assert RULES.keys() - {each.values[0] for each in CASES} == BY_MODULES


# -- in half precision -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("func, args, kwargs", [each for each in CASES if each.values[0] is not Tensor.to])
def test_autocast_gives_about_the_same(no_jvp, func, args, kwargs):
    call = Call(func, args, kwargs | {"dtype": torch.float32} if "dtype" in kwargs else kwargs, torch.float32)
    for moving in call.subsets():
        ways = directions(call.values, moving)
        given = [Dual(x, [way[i] for way in ways]) if i in moving else x for i, x in enumerate(call.values)]
        with torch.autocast("cpu", torch.bfloat16):
            half = tree_leaves(call(*given))
        for part, full in zip(half, tree_leaves(call(*given)), strict=True):
            assert (value_of(part) - value_of(full)).norm() <= 0.02 * value_of(full).norm() + 0.01
            for k in range(len(ways)):
                mine, other = (tangent_of(each, k) for each in (part, full))
                assert (mine is None) == (other is None)
                if mine is not None:
                    assert (mine - other).norm() <= 0.03 * other.norm() + 0.02


# -- what a rule leaves to jvp -----------------------------------------------------------------------------------------
QKV, ATTENTION = tuple(draw(2, 5, 4) for _ in range(3)), F.scaled_dot_product_attention
LEFT = {
    "an exponent that is a tensor": (torch.pow, (draw(3, 4).abs() + 0.1, draw(4)), {}),
    "attention with a mask": (ATTENTION, QKV, {"attn_mask": draw(5, 5)}),
    "causal attention": (ATTENTION, QKV, {"is_causal": True}),
    "attention with dropout": (ATTENTION, QKV, {"dropout_p": 0.5}),
    "grouped attention": (ATTENTION, (draw(1, 4, 5, 4), draw(1, 2, 5, 4), draw(1, 2, 5, 4)), {"enable_gqa": True}),
    "attention of one batch to many": (ATTENTION, (draw(1, 5, 4), draw(3, 6, 4), draw(3, 6, 4)), {}),
    "attention to one set of keys": (ATTENTION, (draw(2, 3, 5, 4), draw(2, 1, 6, 4), draw(2, 1, 6, 4)), {}),
    "attention by names": (ATTENTION, (), dict(zip(("query", "key", "value"), QKV))),
    "alpha": (torch.add, (draw(3), draw(3)), {"alpha": 2}),
    "alpha of a method": (Tensor.sub, (draw(3), draw(3)), {"alpha": 2}),
    "other": (torch.mul, (draw(3),), {"other": draw(3)}),
    "names alone": (torch.matmul, (), {"input": draw(3), "other": draw(3)}),
    "names alone of what moves": (torch.mean, (), {"input": draw(3, 4), "dim": 1}),
    "names alone of a function of numbers": (torch.sigmoid, (), {"input": draw(3, 4)}),
    "axis": (torch.cat, ([draw(2, 3), draw(2, 3)],), {"axis": 1}),
}


@pytest.mark.parametrize("func, args, kwargs", LEFT.values(), ids=LEFT)
def test_options_that_a_rule_does_not_know_are_left_to_jvp(jvps, func, args, kwargs):
    call = Call(func, args, kwargs)
    for moving in call.subsets():
        check(call, moving)
    assert jvps and set(jvps) == {func}


@pytest.mark.parametrize("names", [("x",), ("x", "y"), ("y",)])
def test_a_shape_may_be_given_by_a_tensor_with_tangents(names):
    given = {"x": draw(1, 3), "y": draw(2, 3)}
    duals = {name: Dual(each, [draw(*each.shape)]) if name in names else each for name, each in given.items()}
    z = duals["x"].expand_as(other=duals["y"])
    assert torch.equal(value_of(z), given["x"].expand(2, 3))
    move = tangent_of(z, 0)
    assert (move is None) if "x" not in names else torch.equal(move, duals["x"].tangents[0].expand(2, 3))


def test_whole_numbers_have_no_tangent():
    x = Dual(draw(3), [draw(3)])
    assert not any(isinstance(x.to(dtype), Dual) for dtype in (torch.long, torch.bool))
    assert not isinstance(x.to(torch.zeros(1, dtype=torch.long)), Dual) and isinstance(x.to(torch.float32), Dual)
