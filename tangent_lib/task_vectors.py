"""Task vectors, tau = theta_star - theta_0, and the arithmetic on them (tangent-space paper, Section 2).

A set of weights and a task vector have one type here, ``Params``: a dict of tensors by parameter name. Every operation
is pure (new tensors come out, nothing is changed in place) and refuses operands whose names, shapes or dtypes differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch  # noqa: F401, used by the examples
from jaxtyping import Float
from torch import Tensor

from tangent_lib.runtime.inputs import Inputs

Params = dict[str, Float[Tensor, "..."]]
Function = Callable[[Params, Inputs], Tensor]  # a model, f(params, x); its result has a row a point


class MismatchError(ValueError):
    """Two sets of parameters do not belong to the same architecture."""


def check_match(left: Params, right: Params) -> None:
    """Raise unless both have the same names, shapes and dtypes.

    Raises:
        MismatchError: with the names, or the shapes and dtypes, that differ.

    Example:
        >>> check_match({"w": torch.zeros(2)}, {"v": torch.zeros(2)})
        Traceback (most recent call last):
        tangent_lib.task_vectors.MismatchError: parameter names differ: only left has ['w'], only right has ['v']
    """
    if left.keys() != right.keys():
        only_left, only_right = sorted(left.keys() - right.keys()), sorted(right.keys() - left.keys())
        raise MismatchError(f"parameter names differ: only left has {only_left[:5]}, only right has {only_right[:5]}")
    for name in left:
        a, b = left[name], right[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            raise MismatchError(f"{name}: {tuple(a.shape)} {a.dtype} against {tuple(b.shape)} {b.dtype}")


def add(left: Params, right: Params) -> Params:
    """left + right, name by name.

    Example:
        >>> add({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])})
        {'w': tensor([3.])}
    """
    check_match(left, right)
    return {name: left[name] + right[name] for name in left}


def subtract(left: Params, right: Params) -> Params:
    """left - right; of fine-tuned and pre-trained weights, the task vector tau = theta_star - theta_0 (Section 2).

    Example:
        >>> theta_star, theta_0 = {"w": torch.tensor([3.0])}, {"w": torch.tensor([1.0])}
        >>> subtract(theta_star, theta_0)
        {'w': tensor([2.])}
    """
    check_match(left, right)
    return {name: left[name] - right[name] for name in left}


def scale(tau: Params, alpha: float) -> Params:
    """alpha * tau.

    Example:
        >>> scale({"w": torch.tensor([2.0])}, 0.5)
        {'w': tensor([1.])}
    """
    return {name: alpha * value for name, value in tau.items()}


def negate(tau: Params) -> Params:
    """-tau, the vector that forgets the task.

    Example:
        >>> negate({"w": torch.tensor([2.0])})
        {'w': tensor([-2.])}
    """
    return scale(tau, -1.0)


def total(taus: Iterable[Params]) -> Params:
    """The sum of task vectors, sum_t tau_t.

    Raises:
        ValueError: if there are none.

    Example:
        >>> total([{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}, {"w": torch.tensor([3.0])}])
        {'w': tensor([6.])}
    """
    taus = list(taus)
    if not taus:
        raise ValueError("the sum of no task vectors has no shape: give at least one")
    result = scale(taus[0], 1.0)
    for tau in taus[1:]:
        result = add(result, tau)
    return result


def apply(theta_0: Params, tau: Params, alpha: float = 1.0) -> Params:
    """theta_0 + alpha * tau, the edited weights (Property 1, equation 1).

    Example:
        >>> apply({"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}, alpha=0.5)
        {'w': tensor([2.])}
    """
    check_match(theta_0, tau)
    return {name: theta_0[name] + alpha * tau[name] for name in theta_0}


def dot(left: Params, right: Params) -> float:
    """The inner product over all parameters, summed in float64.

    Example:
        >>> dot({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 4.0])})
        11.0
    """
    check_match(left, right)
    return sum((left[name].cpu().double() * right[name].cpu().double()).sum().item() for name in left)


def norm(tau: Params) -> float:
    """The Euclidean norm over all parameters.

    Example:
        >>> norm({"w": torch.tensor([3.0]), "b": torch.tensor([4.0])})
        5.0
    """
    return math.sqrt(dot(tau, tau))


def cosine(left: Params, right: Params) -> float:
    """The cosine of the angle between two task vectors; orthogonal task vectors interfere least.

    Raises:
        ValueError: if one of them is zero.

    Example:
        >>> cosine({"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([1.0, 1.0])})  # doctest: +ELLIPSIS
        0.7071...
    """
    norms = norm(left) * norm(right)
    if norms == 0:
        raise ValueError("the cosine with a zero task vector is undefined: was the model trained at all?")
    return dot(left, right) / norms
