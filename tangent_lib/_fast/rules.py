"""How each operation moves a tangent: dy = (dy/dx) dx, summed over its arguments. One rule an operation.

The Jacobians of softmax, of layer normalisation and of functions of single numbers are symmetric, so that the kernels
written for their backward pass serve forwards as well.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tangent_lib._fast.dual import RULES, Along, Dual, by_jvp, can_move, tangent_of, value_of
from tangent_lib.runtime.operations import add_linear, linear, self_attention
from tangent_lib.runtime.private_doors import softmax_backward

aten = torch.ops.aten


def rule(*operations: Callable) -> Callable:
    """Register the rule of some operations: it takes their arguments and gives their value and ``along(k)``."""

    def register(function: Callable) -> Callable:
        RULES.update(dict.fromkeys(operations, function))
        return function

    return register


@rule(F.linear)
def _linear(input, weight, bias=None) -> tuple[Tensor, Along]:
    x, x0, w0 = input, value_of(input), value_of(weight)

    def along(k: int) -> Tensor | None:
        dx, dw, db = (tangent_of(each, k) for each in (x, weight, bias))
        moved = linear(x0, dw, db) if dw is not None else None
        if dx is None:
            return moved if moved is not None or db is None else db.expand(out.shape)
        return linear(dx, w0, db) if moved is None else add_linear(moved, dx, w0)

    out = linear(x0, w0, value_of(bias))
    return out, along


def _bilinear(func: Callable) -> Callable:
    """The product rule: d(a b) = da b + a db; further arguments are constants."""

    def product(a, b, *rest) -> tuple[Tensor, Along]:
        a0, b0 = value_of(a), value_of(b)

        def along(k: int) -> Tensor | None:
            da, db = tangent_of(a, k), tangent_of(b, k)
            return _sum(func(da, b0, *rest) if da is not None else None, func(a0, db, *rest) if db is not None else None)

        return func(a0, b0, *rest), along

    return product


for func in (torch.matmul, Tensor.matmul, Tensor.__matmul__, torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__):
    RULES[func] = _bilinear(func)


@rule(F.conv2d)
def _conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> tuple[Tensor, Along]:
    x0, w0, how = value_of(x), value_of(weight), (stride, padding, dilation, groups)

    def along(k: int) -> Tensor | None:
        dx, dw, db = (tangent_of(each, k) for each in (x, weight, bias))
        if dx is None and dw is None:
            return None if db is None else db.view(-1, 1, 1).expand(out.shape)
        moved = F.conv2d(dx, w0, db, *how) if dx is not None else None
        own = F.conv2d(x0, dw, db if moved is None else None, *how) if dw is not None else None
        return _sum(moved, own)

    out = F.conv2d(x0, w0, value_of(bias), *how)
    return out, along


@rule(F.layer_norm)
def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5) -> tuple[Tensor, Along]:
    x0, w0 = value_of(x), value_of(weight)
    if torch.is_autocast_enabled(x0.device.type):
        x0 = x0.float()
    out, mean, rstd = torch.native_layer_norm(x0, normalized_shape, w0, value_of(bias), eps)

    def along(k: int) -> Tensor | None:
        dx, dw, db = (tangent_of(each, k) for each in (x, weight, bias))
        moved = own = None
        if dx is not None:
            given = (dx.to(x0.dtype), x0, normalized_shape, mean, rstd, None, None, [True, False, False])
            moved = aten.native_layer_norm_backward(*given)[0]
        if dw is not None or db is not None:
            own = F.layer_norm(x0, normalized_shape, torch.zeros_like(db) if dw is None else dw, db, eps)
        if moved is None or w0 is None:
            return _sum(moved, own)
        return moved * w0 if own is None else torch.addcmul(own, moved, w0, out=moved)

    return out, along


@rule(F.gelu)
def _gelu(x, approximate="none") -> tuple[Tensor, Along]:
    x0 = value_of(x)
    along = lambda k: aten.gelu_backward(tangent_of(x, k).to(x0.dtype), x0, approximate=approximate)
    return F.gelu(x0, approximate=approximate), _unless_zero(x, along)


def _from_result(func: Callable, backward: Callable) -> Callable:
    """Of a function of single numbers whose derivative ``backward`` knows from the function's value."""

    def of_numbers(x, *rest) -> tuple[object, Along | None]:
        if value_of(x).is_complex():  # where a backward pass takes conjugates
            return by_jvp(func, (x, *rest), {})
        y0 = func(value_of(x), *rest)
        return y0, _unless_zero(x, lambda k: backward(tangent_of(x, k).to(y0.dtype), y0))

    return of_numbers


for names, backward in (
    ((torch.sigmoid, Tensor.sigmoid), aten.sigmoid_backward),
    ((torch.tanh, Tensor.tanh), aten.tanh_backward),
    ((torch.relu, Tensor.relu), lambda dx, y0: aten.threshold_backward(dx, y0, 0)),
    ((torch.exp, Tensor.exp), torch.mul),
):
    RULES.update(dict.fromkeys(names, _from_result(names[0], backward)))


@rule(F.relu)
def _relu(x, inplace=False) -> tuple[Tensor, Along]:
    return RULES[torch.relu](x)


@rule(F.dropout)
def _dropout(x, p=0.5, training=True, inplace=False) -> tuple[Tensor, Along | None]:
    if not training or not p:
        return x, None
    mask = F.dropout(torch.ones_like(value_of(x)), p)  # one for the value and all tangents
    return RULES[torch.mul](x, mask)


@rule(torch.dropout)
def _torch_dropout(x, p, train) -> tuple[Tensor, Along | None]:
    return _dropout(x, p, train)


@rule(torch.pow, Tensor.pow, Tensor.__pow__)
def _pow(x, exponent) -> tuple[Tensor, Along | None]:
    if isinstance(exponent, Tensor):
        return by_jvp(torch.pow, (x, exponent), {})
    x0 = value_of(x)
    if not exponent:
        return x0**exponent, None
    return x0**exponent, _unless_zero(x, lambda k: tangent_of(x, k) * (exponent * x0 ** (exponent - 1)))


@rule(F.multi_head_attention_forward)
def _multi_head_attention(*args, **kwargs) -> tuple[object, Along | None]:
    composed = self_attention(*args, **kwargs)  # of operations with rules of their own
    return by_jvp(F.multi_head_attention_forward, args, kwargs) if composed is None else (composed, None)


@rule(F.scaled_dot_product_attention)
def _attention(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    values = [value_of(each) for each in (q, k, v)]
    broadcast = len({value.shape[:-2] for value in values}) > 1
    if attn_mask is not None or dropout_p or is_causal or enable_gqa or broadcast:
        given = {"attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal, "enable_gqa": enable_gqa}
        return by_jvp(F.scaled_dot_product_attention, (q, k, v), {**given, "scale": scale})
    scale = values[0].shape[-1] ** -0.5 if scale is None else scale
    out = F.scaled_dot_product_attention(*values, scale=scale)
    cached: list[Tensor] = []  # query, key, value and attention weights, for all directions

    def along(direction: int) -> Tensor | None:
        moves = (tangent_of(each, direction) for each in (q, k, v))
        dq, dk, dv = (None if move is None else _matrices(move.to(out.dtype)) for move in moves)
        if not cached:
            cached.extend(_matrices(value.to(out.dtype)) for value in values)
            cached.append((cached[0] @ cached[1].mT).mul_(scale).softmax(dim=-1).to(out.dtype))
        q0, k0, v0, shares = cached
        scores = _product(dq, k0.mT, q0, None if dk is None else dk.mT)
        if scores is not None:
            scores = softmax_backward(scores.mul_(scale), shares)
        moved = _product(scores, v0, shares, dv)
        return None if moved is None else moved.view(*values[0].shape[:-1], moved.shape[-1])

    return out, along


def _matrices(x: Tensor) -> Tensor:
    return x.reshape(-1, *x.shape[-2:])


def _product(da: Tensor | None, b: Tensor, a: Tensor, db: Tensor | None) -> Tensor | None:
    """da b + a db, of batches of matrices; None is zero."""
    if da is None:
        return None if db is None else torch.bmm(a, db)
    first = torch.bmm(da, b)
    return first if db is None else first.baddbmm_(a, db)


def _additive(func: Callable, sign: int) -> Callable:
    def addition(a, b) -> tuple[Tensor, Along]:
        out = func(value_of(a), value_of(b))

        def along(k: int) -> Tensor | None:
            da, db = tangent_of(a, k), tangent_of(b, k)
            if da is None or db is None:
                return None if da is db is None else (da if db is None else sign * db).expand(out.shape).to(out.dtype)
            return func(da, db)

        return out, along

    return addition


for func in (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__):
    RULES[func] = _additive(func, 1)
for func in (torch.sub, Tensor.sub, Tensor.__sub__):
    RULES[func] = _additive(func, -1)


def _joined(func: Callable) -> Callable:
    def joint(tensors, dim=0) -> tuple[Tensor, Along]:
        values = [value_of(each) for each in tensors]

        def along(k: int) -> Tensor:
            moves = [tangent_of(each, k) for each in tensors]
            return func([torch.zeros_like(x) if dx is None else dx for x, dx in zip(values, moves)], dim)

        return func(values, dim), along

    return joint


for func in (torch.cat, torch.stack):
    RULES[func] = _joined(func)


def _moved(func: Callable) -> Callable:
    """Of an operation that is linear in its first argument, such as all that only move numbers: the tangent goes along."""

    def movement(x, *rest, **options) -> tuple[object, Along | None]:
        rest = [value_of(each) for each in rest]
        options = {name: value_of(each) for name, each in options.items()}
        out = func(value_of(x), *rest, **options)
        if isinstance(out, Tensor) and not can_move(out):
            return out, None
        return out, _unless_zero(x, lambda k: func(tangent_of(x, k), *rest, **options))

    return movement


MOVING = """reshape permute transpose flatten unflatten unsqueeze squeeze expand expand_as contiguous chunk split unbind
    select narrow movedim mean sum to clone neg roll repeat __getitem__""".split()  # noqa: SIM905  each as in torch
for name in MOVING:
    for owner in (torch, Tensor):
        if callable(func := getattr(owner, name, None)):
            RULES[func] = _moved(func)
for name in ("T", "mT"):
    RULES[getattr(Tensor, name).__get__] = _moved(getattr(Tensor, name).__get__)


@rule(Tensor.view)
def _view(x, *shape) -> tuple[object, Along | None]:
    if isinstance(shape[0], torch.dtype):  # the same bytes, read otherwise
        return by_jvp(Tensor.view, (x, *shape), {})
    return value_of(x).view(*shape), _unless_zero(x, lambda k: tangent_of(x, k).reshape(*shape))


def _unless_zero(x: object, along: Along) -> Along:
    return lambda k: None if not isinstance(x, Dual) or x.tangents[k] is None else along(k)


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
