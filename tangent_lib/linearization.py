"""The linearised model f_lin (tangent-space paper, equations 2 and 3, Listing 1 of Appendix B).

    f_lin(x; theta) = f(x; theta_0) + (theta - theta_0)^T grad_theta f(x; theta_0)

The second term is a Jacobian-vector product, computed by forward-mode differentiation. This is the plain formula, and the
reference; ``tangent_lib.fast.linear`` gives the same in less time and memory, and is what training and evaluation use. Models
here are functions ``f(params, x)``; ``functional`` makes one of any ``torch.nn.Module``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, jvp

from tangent_lib.fast.operations import fast_operations, forward_differentiable
from tangent_lib.task_vectors import Params, check_match, subtract

Function = Callable[[Params, Tensor], Tensor]


def functional(module: nn.Module) -> tuple[Function, Params]:
    """A module as a pure function of its parameters, and a copy of these.

    Buffers are carried along: each call starts from those of the module, and what a call writes to them (batch-norm
    statistics in train mode) is dropped. Train or eval mode is the module's own, looked up at each call.

    Args:
        module: any module of one input.

    Returns:
        ``f(params, x)`` and ``theta_0``, detached copies by name.

    Example:
        >>> f, theta_0 = functional(nn.Linear(2, 3))
        >>> f(theta_0, torch.ones(5, 2)).shape, sorted(theta_0)
        (torch.Size([5, 3]), ['bias', 'weight'])
    """

    def f(params: Params, x: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
        with fast_operations(params, x):
            return functional_call(module, {**params, **buffers}, (x,))

    return f, {name: p.detach().clone() for name, p in module.named_parameters()}


def value_and_tangent(f: Function, theta_0: Params, tau: Params, x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x; theta_0) and tau^T grad_theta f(x; theta_0), the two terms of equation 3, in one pass.

    Since f_lin is affine in alpha along tau, these two give f_lin(x; theta_0 + alpha tau) for every alpha.

    Example:
        >>> f = lambda params, x: x * params["w"] ** 2
        >>> value_and_tangent(f, {"w": torch.tensor(3.0)}, {"w": torch.tensor(1.0)}, torch.tensor(2.0))
        (tensor(18.), tensor(12.))
    """
    check_match(theta_0, tau)
    in_order = {name: tau[name] for name in theta_0}  # jvp wants both dicts in one order
    with forward_differentiable():
        return jvp(lambda params: f(params, x), (theta_0,), (in_order,))


def linearize(f: Function, theta_0: Params) -> Function:
    """f_lin, with the signature of f (equation 3). Differentiable in its parameters.

    Args:
        f: a function ``f(params, x)``.
        theta_0: the weights at which to linearise.

    Returns:
        ``f_lin(params, x)``, with f_lin(theta_0, x) = f(theta_0, x).

    Raises:
        MismatchError: when called with parameters of other names, shapes or dtypes than theta_0.

    Example:
        >>> f_lin = linearize(lambda params, x: x * params["w"] ** 2, {"w": torch.tensor(3.0)})
        >>> f_lin({"w": torch.tensor(4.0)}, torch.tensor(2.0))   # 18 + (4 - 3) * 12, where f itself gives 32
        tensor(30.)
    """

    def f_lin(params: Params, x: Tensor) -> Tensor:
        value, tangent = value_and_tangent(f, theta_0, subtract(params, theta_0), x)
        if torch.is_autocast_enabled(x.device.type):  # in half precision a small tangent would be lost in the sum
            return value.float() + tangent.float()
        return value + tangent

    return f_lin


class LinearizedModel(nn.Module):
    """A module with the outputs of f_lin, trainable like any other (Listing 1).

    ``self.theta`` holds the trainable weights, ``self.theta_0`` the frozen ones; both are copies of the module.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
        >>> x, lin = torch.ones(5, 2), LinearizedModel(net)
        >>> torch.equal(lin(x), net(x)), sum(p.requires_grad for p in lin.parameters())
        (True, 2)
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.theta = copy.deepcopy(module).requires_grad_(True)
        self.theta_0 = copy.deepcopy(module).requires_grad_(False)

    def forward(self, x: Float[Tensor, "batch ..."]) -> Float[Tensor, "batch ..."]:
        f, theta_0 = functional(self.theta_0)
        return linearize(f, theta_0)(dict(self.theta.named_parameters()), x)
