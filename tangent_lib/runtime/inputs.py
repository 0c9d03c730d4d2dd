"""What a model takes: a tensor, or a dict of tensors such as token numbers and their mask, with one first dimension."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tangent_lib.runtime.errors import InputError

Inputs = Tensor | dict[str, Tensor]
NO_FLOAT64 = ("mps",)  # kinds of device


def on_each(function: Callable[[Tensor], Tensor], x: Inputs) -> Inputs:
    """The function of the tensor, or of each tensor of a dict.

    Example:
        >>> on_each(torch.neg, {"a": torch.ones(2)})
        {'a': tensor([-1., -1.])}
    """
    tensors_of(x)
    return {name: function(part) for name, part in x.items()} if isinstance(x, dict) else function(x)


def tensors_of(x: Inputs) -> list[Tensor]:
    """All tensors of some inputs.

    Raises:
        InputError: for anything else than a tensor, or a dict of tensors.
    """
    parts = list(x.values()) if isinstance(x, dict) else [x]
    for part in parts:
        if not isinstance(part, Tensor):
            where = f"a dict with {type(part).__name__}" if isinstance(x, dict) else type(part).__name__
            raise InputError(f"the inputs are {where}: give a tensor, or a dict (no other mapping) of tensors alone")
    return parts


def count(x: Inputs) -> int:
    """How many points there are; none in a tensor without dimensions.

    Raises:
        InputError: for no tensors, or first dimensions that differ.

    Example:
        >>> count(torch.zeros(5, 2)), count({"ids": torch.zeros(3, 7), "mask": torch.zeros(3, 7)})
        (5, 3)
    """
    sizes = {len(part) if part.dim() else 0 for part in tensors_of(x)}
    if len(sizes) != 1:
        raise InputError(f"inputs with first dimensions of {sorted(sizes)}: all must have one number of points")
    return sizes.pop()


def blocks(x: Inputs, size: int) -> list[Inputs]:
    """The points, so many at a time; the last block may be smaller, and there is none without points."""
    return [on_each(lambda part, i=i: part[i : i + size], x) for i in range(0, count(x), size)]


def joined(parts: Sequence[Inputs]) -> Inputs:
    """Blocks of points as one.

    Example:
        >>> joined([{"a": torch.zeros(1)}, {"a": torch.ones(1)}])
        {'a': tensor([0., 1.])}
    """
    if isinstance(parts[0], dict):
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return torch.cat(list(parts))


def same(left: Inputs, right: Inputs) -> bool:
    """Whether two inputs are equal, number by number."""
    if isinstance(left, dict) != isinstance(right, dict):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)
    return torch.equal(left, right)


def where_float64_is(x: Inputs) -> Inputs:
    """The same tensors, on the processor where their device, Apple's ``mps``, has no float64."""
    return on_each(lambda part: part.cpu() if part.device.type in NO_FLOAT64 else part, x)


def in_float64(x: Inputs) -> Inputs:
    """The tensor, or the tensors of a dict such as parameters, in float64, on a device that has it.

    Example:
        >>> in_float64({"w": torch.ones(1)})
        {'w': tensor([1.], dtype=torch.float64)}
    """
    return on_each(lambda part: part.double(), where_float64_is(x))


def device_of(x: Inputs) -> torch.device:
    """The device of the first tensor."""
    for part in tensors_of(x):
        return part.device
    raise InputError("the inputs are an empty dict: give a tensor, or a dict of tensors")
