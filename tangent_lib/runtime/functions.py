"""What a model must be as a function f(params, x): of these alone, with one tensor for its result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.checkpoint import CheckpointFunction

from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.generators import random_state
from tangent_lib.runtime.inputs import Inputs, device_of, joined, on_each
from tangent_lib.runtime.private_doors import version_number, without_checkpoints

APPLY = Function.__dict__["apply"]


@dataclass(frozen=True)
class Pure:
    """f, which gives one tensor, leaves x as it was, and computes nothing anew in a backward pass (``pure``)."""

    f: Callable

    def __call__(self, params: dict[str, Tensor], x: Inputs) -> Tensor:
        found = apart(self.f, params, x)
        if not isinstance(found, Tensor):
            way_out = "take one tensor out of it, such as lambda params, x: f(params, x)[0]"
            raise InputError(f"f gives {type(found).__name__}, where a tensor is needed: {way_out}")
        return found


def pure(f: Callable) -> Pure:
    """A model as what its derivatives take it for: a function of params and x.

    Example:
        >>> x = torch.ones(2)
        >>> pure(lambda params, x: x.mul_(params["w"]))({"w": torch.tensor(3.0)}, x), x
        (tensor([3., 3.]), tensor([1., 1.]))
    """
    return f if isinstance(f, Pure) else Pure(f)


def output_alone(f: Callable, params: dict[str, Tensor], x: Inputs) -> Tensor:
    """What f gives for the first point by itself, ``(1, ...)``.

    Raises:
        InputError: if that depends on the number of points in the batch, or on another one, or is drawn at random.
    """
    point, last = (on_each(lambda part, some=some: part[some], x) for some in (slice(0, 1), slice(-1, None)))
    state = random_state(device_of(x))
    mixes = InputError("f mixes points, as batch normalisation does in train mode: call eval(), or use fixed statistics")
    with torch.no_grad():
        try:
            alone = f(params, point)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise mixes from error
        twice, beside = f(params, joined([point, point])), f(params, joined([point, last]))
    if not all(map(torch.equal, state, random_state(device_of(x)))):
        raise InputError("f draws random numbers, as dropout does in train mode: at each pass it is another f; call eval()")
    if alone.shape[:1] == (1,) and alone.is_floating_point():
        exact = _rounding(alone, *params.values()) ** 0.75  # in batches of one size, a point is computed in one way
        if len(twice) != 2 or _differ(twice[0], beside[0], exact) or _differ(twice[0], alone[0], 0.05):
            raise mixes
    return alone


def _rounding(*tensors: Tensor) -> float:
    device, dtypes = tensors[0].device.type, [each.dtype for each in tensors if each.is_floating_point()]
    if torch.is_autocast_enabled(device):
        dtypes.append(torch.get_autocast_dtype(device))
    return max(torch.finfo(dtype).eps for dtype in dtypes)


def _differ(a: Tensor, b: Tensor, share: float) -> bool:
    return a.shape != b.shape or bool((a - b).norm() > share * torch.maximum(a.norm(), b.norm()))


def apart(f: Callable, params: dict[str, Tensor], x: Inputs) -> object:
    """f(params, x) on a copy of x, into which a model may write, and with all kept that its backward pass needs.

    Raises:
        InputError: if f writes into a weight, or another package than PyTorch computes a part of a module anew.
    """
    versions = {name: version_number(value) for name, value in params.items() if type(value) in (Tensor, nn.Parameter)}
    with without_checkpoints(), patch.object(Function, "apply", classmethod(_applied)):
        found = f(params, on_each(torch.clone, x))
    for name, version in versions.items():
        if version_number(params[name]) != version:
            raise InputError(
                f"f writes into its weight {name}, which has other numbers now: give f a copy, or leave out max_norm"
            )
    return found


def _applied(operation: type[Function], *args, **kwargs) -> object:
    """``operation.apply``. A function or module among the arguments would be called anew in the backward pass."""
    if operation is CheckpointFunction:
        return args[0](*args[2:])  # after the function, whether to keep the generators' state
    if torch.is_grad_enabled() and any(map(_leads_to_weights, args)):
        why = "a module has other weights than it was given: switch that off, as by gradient_checkpointing_disable()"
        raise InputError(f"{operation.__name__} computes a part of f anew in the backward pass, when {why}")
    return APPLY.__get__(None, operation)(*args, **kwargs)


def _leads_to_weights(kept: object) -> bool:
    match kept:
        case nn.Module():
            return next(kept.parameters(), None) is not None
        case MethodType():
            return _leads_to_weights(kept.__self__)
        case partial():
            return any(map(_leads_to_weights, (kept.func, *kept.args)))
        case FunctionType():
            return any(_leads_to_weights(cell.cell_contents) for cell in kept.__closure__ or ())
        case list() | tuple():
            return any(map(_leads_to_weights, kept))
    return False
