"""Tensors that carry tangents: value and Jacobian-vector products computed together, operation by operation.

``rules`` says how each operation moves a tangent. One without a rule is differentiated by ``torch.func.jvp``, with a warning:
correct, and slower.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache

import torch
from torch import Tensor
from torch.func import jvp

from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.runtime.private_doors import tree_flatten, tree_leaves, tree_unflatten, wrapper

Tangent = Tensor | Callable[[], Tensor] | None  # a tensor, what makes one when it is needed, or zero
Along = Callable[[int], Tensor | Sequence[Tensor] | None]  # the tangent of a result in direction k
RULES: dict[Callable, Callable[..., tuple[object, Along | None]]] = {}
ABOUT = {getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "requires_grad", "layout")}
ABOUT |= {Tensor.dim, Tensor.size, Tensor.numel, Tensor.is_floating_point, Tensor.is_contiguous, Tensor.stride}


class NotCovered(Exception):
    """An operation that cannot be differentiated by itself, such as one that writes into its argument."""


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
        covered = func in RULES and args and all(takes(RULES[func], name) for name in kwargs)
        if kwargs.get("inplace") or kwargs.get("out") is not None:
            raise NotCovered(f"{func.__name__} in place")
        value, along = RULES[func](*args, **kwargs) if covered else by_jvp(func, args, kwargs)
        if along is None:
            return value
        with torch.no_grad():
            tangents = [along(k) for k in range(_directions(args, kwargs))]
        if isinstance(value, Tensor):
            return dual(value, tangents)
        parts, form = tree_flatten(value)
        moves = zip(*([None] * len(parts) if each is None else each for each in tangents))
        duals = [dual(part, move) if _is_floating(part) else part for part, move in zip(parts, moves, strict=True)]
        return tree_unflatten(duals, form)


@cache
def takes(rule: Callable, name: str) -> bool:
    """Whether a rule has an argument of this name."""
    arguments = inspect.signature(rule).parameters
    return name in arguments or any(each.kind is each.VAR_KEYWORD for each in arguments.values())


def dual(value: Tensor, tangents: Sequence[Tangent]) -> Tensor:
    """The value with its tangents; by itself where all are zero."""
    return value if all(tangent is None for tangent in tangents) else Dual(value, tuple(tangents))


def value_of(x: object) -> object:
    """The tensor without tangents; anything else as it is."""
    return x.value if isinstance(x, Dual) else x


def tangent_of(x: object, k: int) -> Tensor | None:
    """The tangent in direction k; None for zero."""
    tangent = x.tangents[k] if isinstance(x, Dual) else None
    return tangent if tangent is None or isinstance(tangent, Tensor) else tangent()


def _directions(args: Sequence[object], kwargs: dict) -> int:
    return next(len(x.tangents) for x in (*args, *tree_leaves((args, kwargs))) if isinstance(x, Dual))


def by_jvp(func: Callable, args: Sequence[object], kwargs: dict) -> tuple[object, Along | None]:
    """The rule of an operation that has none of its own.

    Raises:
        NotCovered: if it writes into its argument.
    """
    name = getattr(func, "__name__", str(func))
    if name == "__setitem__" or name.startswith("__i") or (name.endswith("_") and not name.endswith("__")):
        raise NotCovered(name)
    leaves, form = tree_flatten((args, kwargs))
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Dual)]

    def of_values(*given: Tensor) -> object:
        replaced = dict(zip(places, given, strict=True))
        at, named = tree_unflatten([replaced.get(i, leaf) for i, leaf in enumerate(leaves)], form)
        return func(*at, **named)

    def floating(*given: Tensor) -> list[Tensor]:
        return [part for part in tree_leaves(of_values(*given)) if _is_floating(part)]

    values = [leaves[i].value for i in places]
    device, state = values[0].device, random_state(values[0].device)
    with forward_differentiable():  # as below, so that both draw the same random numbers
        result = of_values(*values)
    if not any(_is_floating(part) for part in tree_leaves(result)):
        return result, None  # such as indices
    _say(name)

    def along(k: int) -> object:
        moves = [tangent_of(leaves[i], k) for i in places]
        moves = tuple(torch.zeros_like(x) if dx is None else dx for x, dx in zip(values, moves, strict=True))
        with forward_differentiable(), drawn_from(state, device):
            tangents = iter(jvp(floating, tuple(x.detach() for x in values), moves)[1])
        if isinstance(result, Tensor):
            return next(tangents)
        return [next(tangents) if _is_floating(part) else None for part in tree_leaves(result)]

    return result, along


def _is_floating(part: object) -> bool:
    return isinstance(part, Tensor) and part.is_floating_point()


def random_state(device: torch.device) -> list[Tensor]:
    """Where the generators stand that an operation on this device may draw from."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(state: Sequence[Tensor], device: torch.device) -> None:
    """Draw on from where ``random_state`` was asked."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def drawn_from(state: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Inside, random numbers are those that followed the state; outside, drawing goes on as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        set_random_state(state, device)
        yield


@cache
def _say(name: str) -> None:
    warnings.warn(f"{name} has no tangent rule: torch.func.jvp differentiates it, which is slower", stacklevel=4)
