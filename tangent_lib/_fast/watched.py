"""What weights do to each point, without gradients of the weights: what entered an operation, and where its result went.

At one point the gradient of an output with respect to the weight of a linear layer is the sum over tokens of outer products,
of what comes back to the layer (the cotangent) and what had entered it. ``kernel`` takes inner products of such sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from tangent_lib._fast.dual import ABOUT, takes
from tangent_lib.runtime.inputs import Inputs, count
from tangent_lib.runtime.operations import linear, self_attention
from tangent_lib.runtime.private_doors import tree_leaves, version_number, wrapper
from tangent_lib.task_vectors import Function, Params


class NotWatched(Exception):
    """A weight is used in a way whose gradient is not known here. Its name is the argument."""


@dataclass(frozen=True)
class Use:
    """One use of weights, whose result is y.

    Attributes:
        y: the result; its first dimension is that of the points.
        entered: of a matrix product, what entered it, ``(points, tokens, d_in)``; None for other uses.
        returned: of a matrix product, brings a cotangent of y into the shape ``(points, tokens, d_out)``.
        direct: the gradient of further weights, such as biases, from a cotangent of y, ``(points, numbers)``.
        label: the name of the weight.
        versions: of y and of what entered, as they were; whatever writes into them counts them up.
    """

    y: Tensor
    entered: Float[Tensor, "points tokens d_in"] | None = None
    returned: Callable[[Tensor], Tensor] | None = None
    direct: Callable[[Tensor], Tensor] | None = None
    label: str = ""
    versions: tuple[int, ...] = ()


class Watched(Tensor):
    """A weight whose use, on so many points, is noted in a dict by its name."""

    @staticmethod
    def __new__(cls, value: Tensor, name: str, uses: dict[str, Use], points: int) -> Watched:
        made = wrapper(cls, value)
        made.value, made.label, made.uses, made.points = value, name, uses, points
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types, args=(), kwargs=None) -> object:
        raise NotWatched(_first(args).label)

    @classmethod
    def __torch_function__(cls, func: Callable, types, args=(), kwargs=None) -> object:
        kwargs = kwargs or {}
        if not torch.is_grad_enabled() and func not in ABOUT:  # of this no cotangent comes back as it went
            raise NotWatched(_first((args, kwargs)).label)
        if func in USES and all(takes(USES[func], name) for name in kwargs):
            return USES[func](*args, **kwargs)
        weight, *rest = args or (None,)
        if not isinstance(weight, Watched) or func not in ABOUT | MOVES:
            raise NotWatched(_first((args, kwargs)).label)
        result = func(weight.value, *rest, **kwargs)
        return result if func in ABOUT else Watched(result, weight.label, weight.uses, weight.points)


def watch(f: Function, params: Params, names: Iterable[str], x: Inputs) -> tuple[Tensor, list[Use]]:
    """The outputs of f on a batch, with an autograd graph that reaches down to each use of the named weights, and the uses.

    Raises:
        NotWatched: if a weight is used otherwise than by linear layers, convolutions, layer norms and additions, or twice,
            or with a first dimension that is not that of the points, or if something is written into what it used or gave.

    Example:
        >>> f = lambda params, x: torch.nn.functional.linear(x, params["w"])
        >>> y, (use,) = watch(f, {"w": torch.ones(1, 2)}, ["w"], torch.tensor([[3.0, 4.0]]))
        >>> y.tolist(), use.entered.tolist()
        ([[7.0]], [[[3.0, 4.0]]])
    """
    uses: dict[str, Use] = {}
    with torch.enable_grad():
        outputs = f({**params, **{name: Watched(params[name], name, uses, count(x)) for name in names}}, x)
    found = list({id(use): use for use in uses.values()}.values())
    uses.clear()  # or weights and uses would hold each other, and all activations, until the garbage is collected
    uses.update(dict.fromkeys(names))  # so that what is computed anew in the backward pass, as in a checkpoint, is noticed
    for use in found:
        if use.versions != _versions(use.y, use.entered):
            raise NotWatched(use.label)
    return outputs, found


def _value(x: object) -> object:
    return x.value if isinstance(x, Watched) else x


def _first(arguments: object) -> Watched:
    return next(each for each in tree_leaves(arguments) if isinstance(each, Watched))


def _versions(*tensors: Tensor | None) -> tuple[int, ...]:
    return tuple(version_number(each) for each in tensors if each is not None)


def _note(weights: Iterable[object], y: Tensor, entered=None, returned=None, direct=None) -> Tensor:
    watched = [each for each in weights if isinstance(each, Watched)]
    if len({each.label for each in watched}) < len(watched):
        raise NotWatched(watched[0].label)
    for each in watched:
        if each.label in each.uses or len(y) != each.points or y.is_complex():
            raise NotWatched(each.label)
    if not y.requires_grad:
        y = y.requires_grad_(True).clone()  # so that cotangents come back to it; into a leaf, nothing could be written
    use = Use(y, entered, returned, direct, watched[0].label, _versions(y, entered))
    watched[0].uses.update({each.label: use for each in watched})
    return y


def _entering(x: Tensor) -> Tensor:
    if isinstance(x, Watched):
        raise NotWatched(x.label)
    return x.detach()


def _rows(x: Tensor) -> Float[Tensor, "points tokens dim"]:
    return x.reshape(len(x), -1, x.shape[-1])


def _summed(x: Tensor) -> Float[Tensor, "points dim"]:
    return _rows(x).sum(dim=1)


def _linear(x, weight, bias=None) -> Tensor:
    entering = _entering(x)
    if weight.dim() != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise NotWatched(_first((weight, bias)).label)
    y = linear(x, _value(weight), _value(bias))
    entered = _rows(entering) if isinstance(weight, Watched) else None
    return _note((weight, bias), y, entered, _rows, _summed if isinstance(bias, Watched) else None)


def _matmul(x, weight) -> Tensor:
    entering = _entering(x)
    if weight.dim() != 2 or x.dim() < 2:
        raise NotWatched(weight.label)
    return _note((weight,), x @ weight.value, _rows(entering), _rows)


def _conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> Tensor:
    entering = _entering(x)
    if groups != 1 or isinstance(padding, str):
        raise NotWatched(_first((weight, bias)).label)
    y = F.conv2d(x, _value(weight), _value(bias), stride, padding, dilation)
    patches = F.unfold(entering, weight.shape[-2:], dilation, padding, stride).mT if isinstance(weight, Watched) else None
    pixels = lambda g: g.flatten(start_dim=2).mT
    return _note((weight, bias), y, patches, pixels, (lambda g: g.sum(dim=(2, 3))) if isinstance(bias, Watched) else None)


def _layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5) -> Tensor:
    entering = _entering(x)
    if len(normalized_shape) != 1:
        raise NotWatched(_first((weight, bias)).label)
    y = F.layer_norm(x, normalized_shape, _value(weight), _value(bias), eps)
    normal = F.layer_norm(entering, normalized_shape, eps=eps)

    def direct(g: Tensor) -> Tensor:
        parts = [_summed(g * normal)] if isinstance(weight, Watched) else []
        return torch.cat([*parts, _summed(g)] if isinstance(bias, Watched) else parts, dim=1)

    return _note((weight, bias), y, None, None, direct)


def _add(a, b) -> Tensor:
    x, weight = (b, a) if isinstance(a, Watched) else (a, b)
    known = isinstance(x, Tensor) and not isinstance(x, Watched) and weight.dim() < x.dim()
    if not known or x.shape[x.dim() - weight.dim() :] != weight.shape:
        raise NotWatched(weight.label)
    return _note((weight,), x + weight.value, None, None, lambda g: g.reshape(len(g), -1, weight.numel()).sum(dim=1))


def _attention(*args, **kwargs) -> tuple[Tensor, None]:
    composed = self_attention(*args, **kwargs)
    if composed is None:
        raise NotWatched(_first((args, kwargs)).label)
    return composed


def _expand(weight, *sizes) -> Tensor:
    """A weight repeated for each point, such as the class token: its gradient at a point is the cotangent there."""
    result = weight.value.expand(*sizes)
    if result[0].numel() != weight.numel():
        raise NotWatched(weight.label)
    return _note((weight,), result.clone(), None, None, lambda g: g.flatten(start_dim=1))


USES = {
    F.linear: _linear,
    F.conv2d: _conv2d,
    F.layer_norm: _layer_norm,
    F.multi_head_attention_forward: _attention,
    Tensor.expand: _expand,
    **dict.fromkeys((torch.matmul, Tensor.matmul, Tensor.__matmul__), _matmul),
    **dict.fromkeys((torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__), _add),
}
MOVES = {Tensor.view, Tensor.reshape, Tensor.to, Tensor.unsqueeze, Tensor.flatten}
