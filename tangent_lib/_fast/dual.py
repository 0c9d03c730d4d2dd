"""Tensors that carry tangents: value and Jacobian-vector products computed together, operation by operation.

``rules`` says how each operation moves a tangent. One without a rule is differentiated by ``torch.func.jvp``, with a warning:
correct, and slower.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache

import numpy
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.func import jvp

from tangent_lib.runtime.generators import drawn_from, random_state
from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.runtime.private_doors import tree_flatten, tree_leaves, tree_unflatten, version_number, wrapper

Tangent = Tensor | Callable[[], Tensor] | None  # a tensor, what makes one when it is needed, or zero
Along = Callable[[int], Tensor | Sequence[Tensor] | None]  # the tangent of a result in direction k
RULES: dict[Callable, Callable[..., tuple[object, Along | None]]] = {}
ABOUT = {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "requires_grad", "layout")}
ABOUT |= {Tensor.dim, Tensor.size, Tensor.numel, Tensor.is_floating_point, Tensor.is_contiguous, Tensor.stride}
STATISTICS = {"batch_norm", "instance_norm"}  # these write into what they are given: running means, without a tangent
_with_graphs: bool | None = None  # whether values keep their autograd graph; None where a rule is tried by itself


@contextmanager
def watchful() -> Iterator[None]:
    """Inside, gradients are enabled even where they were not, but nothing is kept for them then.

    So an operation that finds them disabled is known to be in the ``forward`` of a ``torch.autograd.Function``.
    """
    global _with_graphs
    before, _with_graphs = _with_graphs, torch.is_grad_enabled()
    dropped = saved_tensors_hooks(lambda tensor: None, lambda nothing: nothing)
    try:
        with torch.enable_grad(), nullcontext() if _with_graphs else dropped:
            yield
    finally:
        _with_graphs = before


class NotCovered(Exception):
    """What cannot be differentiated operation by operation, such as one that writes into its argument."""


class Dual(Tensor):
    """A tensor ``value`` with a tangent in each of some directions.

    The value keeps its autograd graph; tangents have none.

    Example:
        >>> from tangent_lib._fast import rules
        >>> x = Dual(torch.tensor([3.0]), [torch.tensor([1.0]), None])
        >>> y = 2 * x
        >>> y.value, y.tangents
        (tensor([6.]), (tensor([2.]), None))
    """

    value: Tensor
    tangents: Sequence[Tangent]

    @staticmethod
    def __new__(cls, value: Tensor, tangents: Sequence[Tangent]) -> Dual:
        made = wrapper(cls, value)
        made.value, made.tangents = value, tangents
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Callable, types, args=(), kwargs=None) -> object:
        raise NotCovered(str(func))  # went past the rules, and would lose the tangents

    @classmethod
    def __torch_function__(cls, func: Callable, types, args=(), kwargs=None) -> object:
        kwargs = kwargs or {}
        if func in ABOUT:
            return func(args[0].value, *args[1:], **kwargs)
        given = tree_leaves((args, kwargs))
        if not torch.is_grad_enabled():
            raise NotCovered("a torch.autograd.Function, whose derivative is its own, or torch.no_grad")
        if any(isinstance(x, Tensor) and type(x) is not Dual and x.requires_grad for x in given):
            if _with_graphs:
                raise NotCovered("a tensor beside the parameters needs a gradient, which tangents do not keep")
            if _with_graphs is False:
                leaves, form = tree_flatten((args, kwargs))
                constant = lambda x: isinstance(x, Tensor) and type(x) is not Dual
                args, kwargs = tree_unflatten([x.detach() if constant(x) else x for x in leaves], form)
        covered = func in RULES and args and all(takes(RULES[func], name) for name in kwargs)
        if kwargs.get("inplace") or kwargs.get("out") is not None:
            raise NotCovered(f"{func.__name__} in place")
        value, along = RULES[func](*args, **kwargs) if covered else by_jvp(func, args, kwargs)
        if along is None:
            return value
        with torch.no_grad():
            directions = next(len(x.tangents) for x in given if isinstance(x, Dual))
            tangents = [along(k) for k in range(directions)]
        if isinstance(value, Tensor):
            return dual(value, tangents)
        parts, form = tree_flatten(value)
        moves = zip(*([None] * len(parts) if each is None else each for each in tangents))
        duals = [dual(part, move) if can_move(part) else part for part, move in zip(parts, moves, strict=True)]
        return tree_unflatten(duals, form)


@cache
def takes(rule: Callable, name: str) -> bool:
    """Whether a rule has an argument of this name."""
    arguments = inspect.signature(rule).parameters
    return name in arguments or any(each.kind is each.VAR_KEYWORD for each in arguments.values())


def dual(value: Tensor, tangents: Sequence[Tangent]) -> Tensor:
    """The value with its tangents; by itself where all are zero.

    Raises:
        NotCovered: for a tangent of another shape, so that no rule can be wrong in silence.
    """
    for tangent in tangents:
        if isinstance(tangent, Tensor) and tangent.shape != value.shape:
            raise NotCovered(f"a tangent of shape {tuple(tangent.shape)} for a value of {tuple(value.shape)}")
    return value if all(tangent is None for tangent in tangents) else Dual(value, tuple(tangents))


def value_of(x: object) -> object:
    """The tensor without tangents; anything else as it is."""
    return x.value if isinstance(x, Dual) else x


def tangent_of(x: object, k: int) -> Tensor | None:
    """The tangent in direction k; None for zero."""
    tangent = x.tangents[k] if isinstance(x, Dual) else None
    return tangent if tangent is None or isinstance(tangent, Tensor) else tangent()


def by_jvp(func: Callable, args: Sequence[object], kwargs: dict) -> tuple[object, Along | None]:
    """The rule of an operation that has none of its own.

    Raises:
        NotCovered: if it writes into its argument, or leaves PyTorch.
    """
    name = getattr(func, "__name__", str(func))
    if name in ("__setitem__", "__set__") or name.startswith("__i") or (name.endswith("_") and not name.endswith("__")):
        raise NotCovered(name)
    leaves, form = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Dual)]

    def of_values(*given: Tensor) -> object:
        replaced = dict(zip(places, given, strict=True))
        at, named = tree_unflatten([replaced.get(i, leaf) for i, leaf in enumerate(leaves)], form)
        return func(*at, **named)

    def floating(*given: Tensor) -> list[Tensor]:
        return [part for part in tree_leaves(of_values(*given)) if can_move(part)]

    values = [leaves[i].value for i in places]
    device, state = values[0].device, random_state(values[0].device)
    tensors = {i: value_of(leaf) for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor)}
    before = {i: version_number(tensor) for i, tensor in tensors.items()}
    with forward_differentiable():  # as below, so that both draw the same random numbers
        result = of_values(*values)
    for i in before:
        if name in STATISTICS and i not in places:
            leaves[i] = leaves[i].clone()  # or it would be updated once more in each direction
        elif version_number(tensors[i]) != before[i]:
            raise NotCovered(f"{name} in place")
    if isinstance(result, numpy.ndarray):
        raise NotCovered(f"{name}: NumPy keeps no tangent")
    if not any(can_move(part) for part in tree_leaves(result)):
        return result, None  # such as indices
    _say(getattr(func.__self__, "__name__", name) if name == "__get__" else name)  # such as that of x.real

    def along(k: int) -> object:
        moves = [tangent_of(leaves[i], k) for i in places]
        moves = tuple(torch.zeros_like(x) if dx is None else dx.to(x.dtype) for x, dx in zip(values, moves, strict=True))
        with forward_differentiable(), drawn_from(state, device):
            tangents = iter(jvp(floating, tuple(x.detach() for x in values), moves)[1])
        if isinstance(result, Tensor):
            return next(tangents)
        return [next(tangents) if can_move(part) else None for part in tree_leaves(result)]

    return result, along


def can_move(part: object) -> bool:
    """Whether it can have a tangent: tensors of real or complex numbers can, those of whole numbers cannot."""
    return isinstance(part, Tensor) and (part.is_floating_point() or part.is_complex())


@cache
def _say(name: str) -> None:
    warnings.warn(f"{name} has no tangent rule: torch.func.jvp differentiates it, which is slower", stacklevel=4)
