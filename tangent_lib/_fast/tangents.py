"""The linearised model near its floor: value and tangents in one forward pass, and an ordinary backward pass.

The gradient of a loss L(f_lin) is J^T dL/df_lin, with the Jacobian J of f at theta_0: the backward pass of f itself at
theta_0, from another cotangent. So a training step keeps the activations of f and no tangent. For each matrix product of f
it takes one for the value, two for the tangent and two in the backward pass, where a step of f takes three: 5/3 of it.
``linearize.linearize`` is the plain formula (tangent-space paper, equation 3 and Listing 1).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from tangent_lib import linearize as plain
from tangent_lib.fast import rules  # noqa: F401  operations learn here how to move tangents
from tangent_lib.fast.dual import NotCovered, drawn_from, dual, random_state, set_random_state, tangent_of, value_of
from tangent_lib.fast.operations import forward_differentiable
from tangent_lib.fast.products import differentiated_by_func
from tangent_lib.linearize import Function
from tangent_lib.task_vectors import Params, check_match


def value_and_tangents(f: Function, theta_0: Params, taus: Sequence[Params], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """f(x; theta_0) and tau_t^T grad_theta f(x; theta_0) of each task vector, in one pass that shares the value (equation 3).

    f_lin is affine in the alphas, so these give f_lin(x; theta_0 + sum_t alpha_t tau_t) for all of them.

    Args:
        f: the model, ``f(params, x)``.
        theta_0: its weights.
        taus: task vectors; all weights, by name.
        x: a batch.

    Returns:
        the value, and as many tangents of its shape as there are task vectors.

    Raises:
        MismatchError: if a task vector has other names, shapes or dtypes than theta_0.

    Example:
        >>> f = lambda params, x: x * params["w"] * params["w"]
        >>> taus = [{"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)}]
        >>> value_and_tangents(f, {"w": torch.tensor(3.0)}, taus, torch.tensor(2.0))
        (tensor(18.), [tensor(12.), tensor(24.)])
    """
    for tau in taus:
        check_match(theta_0, tau)
    return _pushed(f, theta_0, theta_0, taus, x)


def linearize(f: Function, theta_0: Params) -> Function:
    """f_lin with the signature of f, and gradients in the weights of first order; the same as ``linearize.linearize``.

    What is not trained costs nothing: a weight that is theta_0's own tensor has no tangent and no gradient.

    Args:
        f: a function ``f(params, x)``.
        theta_0: the weights at which to linearise.

    Returns:
        ``f_lin(params, x)``. Inside torch.func, and where x needs a gradient, it is the plain formula.

    Raises:
        MismatchError: when called with parameters of other names, shapes or dtypes than theta_0.

    Example:
        >>> f_lin = linearize(lambda params, x: x * params["w"] * params["w"], {"w": torch.tensor(3.0)})
        >>> w = torch.tensor(4.0, requires_grad=True)
        >>> f_lin({"w": w}, torch.tensor(2.0)), torch.autograd.grad(f_lin({"w": w}, torch.tensor(2.0)), w)
        (tensor(30., grad_fn=<AddBackward0>), (tensor(12.),))
    """

    def f_lin(params: Params, x: Tensor) -> Tensor:
        check_match(theta_0, params)
        if differentiated_by_func() or x.requires_grad:
            return plain.linearize(f, theta_0)(params, x)
        at = {name: _at_theta_0(params[name], value) for name, value in theta_0.items()}
        tau = {
            name: partial(torch.sub, params[name].detach(), value)  # computed where it is used, then dropped
            for name, value in theta_0.items()
            if params[name] is not value
        }
        value, (tangent,) = _pushed(f, theta_0, at, [tau], x)
        if torch.is_autocast_enabled(x.device.type):  # in half precision a small tangent would be lost in the sum
            return value.float() + tangent.float()
        return value + tangent

    return f_lin


def _pushed(
    f: Function, theta_0: Params, at: Params, directions: Sequence[Mapping[str, Tensor | Callable]], x: Tensor
) -> tuple[Tensor, list[Tensor]]:
    """f at theta_0, with the autograd graph of ``at``, and its tangents, without one."""
    params = {name: dual(value, [each.get(name) for each in directions]) for name, value in at.items()}
    state = random_state(x.device)
    try:
        out = f(params, x)
    except NotCovered as operation:
        warnings.warn(f"{operation} has no tangent rule: torch.func.jvp differentiates the whole model", stacklevel=3)
        set_random_state(state, x.device)  # as if f had not been tried
        return _by_jvp(f, theta_0, at, directions, x)
    moves = [tangent_of(out, k) for k in range(len(directions))]
    return value_of(out), [torch.zeros_like(value_of(out)) if move is None else move for move in moves]


def _by_jvp(f: Function, theta_0: Params, at: Params, directions: Sequence, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    tangents, state = [], random_state(x.device)
    with forward_differentiable():  # as in jvp, so that value and tangents draw the same random numbers
        value = f(at, x)
    with torch.no_grad():
        for direction in directions:
            moves = {name: tangent_of(dual(value, [direction.get(name)]), 0) for name, value in theta_0.items()}
            tau = {name: torch.zeros_like(theta_0[name]) if move is None else move for name, move in moves.items()}
            with drawn_from(state, x.device):
                tangents.append(plain.value_and_tangent(f, theta_0, tau, x)[1])
    return value, tangents


def _at_theta_0(theta: Tensor, theta_0: Tensor) -> Tensor:
    return _AtTheta0.apply(theta, theta_0) if theta.requires_grad else theta_0


class _AtTheta0(torch.autograd.Function):
    """theta_0, whose gradient goes to theta."""

    @staticmethod
    def forward(ctx, theta: Tensor, theta_0: Tensor) -> Tensor:
        return theta_0.view_as(theta_0)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None
