"""The linearised model near its floor: value and tangents in one forward pass, and an ordinary backward pass.

The gradient of a loss L(f_lin) is J^T dL/df_lin, with the Jacobian J of f at theta_0: the backward pass of f itself at
theta_0, from another cotangent. So a training step keeps the activations of f and no tangent. For each matrix product of f
it takes one for the value, two for the tangent and two in the backward pass, where a step of f takes three: 5/3 of it.
``linearization`` has the plain formula (tangent-space paper, equation 3 and Listing 1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tangent_lib._fast import rules  # noqa: F401  operations learn here how to move tangents
from tangent_lib._fast.dual import NotCovered, dual, tangent_of, value_of, watchful
from tangent_lib.runtime.generators import random_state, set_random_state
from tangent_lib.runtime.inputs import Inputs, device_of
from tangent_lib.task_vectors import Function, Params


def push(
    f: Function, at: Params, directions: Sequence[Mapping[str, Tensor | Callable]], x: Inputs
) -> tuple[Tensor, list[Tensor]] | None:
    """f at some weights, with their autograd graph, and its tangents in each direction, without one.

    Args:
        at: the weights.
        directions: by name a tensor, or what makes one when it is needed; what is left out does not move.

    Returns:
        value and tangents; None where the model can only be differentiated as a whole, if at all.
    """
    graphs, state = torch.is_grad_enabled(), random_state(device_of(x))
    values = at if graphs else {name: value.detach() for name, value in at.items()}
    params = {name: dual(value, [each.get(name) for each in directions]) for name, value in values.items()}
    try:
        with watchful():
            out = f(params, x)
    except torch.OutOfMemoryError:  # no reason to take the way that needs more
        raise
    except (NotCovered, RuntimeError, TypeError):  # the latter from compiled code that these tensors cannot pass
        set_random_state(state, device_of(x))  # as if f had not been tried
        return None
    moves = [tangent_of(out, k) for k in range(len(directions))]
    value = value_of(out) if graphs else value_of(out).detach()
    return value, [torch.zeros_like(value) if move is None else move for move in moves]


def with_gradient_to(theta: Params, theta_0: Params) -> Params:
    """theta_0, whose gradient goes to theta."""
    moves = lambda name: theta[name] is not theta_0[name] and theta[name].requires_grad
    return {name: _At.apply(theta[name], value) if moves(name) else value for name, value in theta_0.items()}


class _At(torch.autograd.Function):
    @staticmethod
    def forward(ctx, theta: Tensor, theta_0: Tensor) -> Tensor:
        return theta_0.view_as(theta_0)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
