"""The linearised model f_lin (tangent-space paper, equations 2 and 3, Listing 1 of Appendix B).

    f_lin(x; theta) = f(x; theta_0) + (theta - theta_0)^T grad_theta f(x; theta_0)

The second term is a Jacobian-vector product, computed by forward-mode differentiation: ``value_and_tangent`` and
``listing_1`` are the plain formula, and the reference. ``linearize`` gives the same in less time and memory wherever the
operations of f have rules of their own. ``functional`` makes a function ``f(params, x)`` of any ``torch.nn.Module``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from tangent_lib.runtime.errors import InputError, unknown
from tangent_lib.runtime.functions import apart, pure
from tangent_lib.runtime.inputs import Inputs, device_of, tensors_of
from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.runtime.private_doors import inside_func_transform
from tangent_lib.task_vectors import Function, Params, check_match, subtract

IMPLEMENTATIONS = ("auto", "plain", "fast")


def functional(module: nn.Module) -> tuple[Function, Params]:
    """A module as a pure function of its parameters, and a copy of these.

    Buffers are carried along: each call starts from those of the module, and what a call writes to them (batch-norm
    statistics in train mode) is dropped, as is what it writes to x. Train or eval mode is the module's own, looked up at each
    call. Activation checkpointing is left out: a backward pass would use the weights that the module has by then.

    Args:
        module: any module of one input, a tensor or a dict of tensors.

    Returns:
        ``f(params, x)`` and ``theta_0``, detached copies by name.

    Raises:
        InputError: for TorchScript, whose weights cannot be replaced.

    Example:
        >>> f, theta_0 = functional(nn.Linear(2, 3))
        >>> f(theta_0, torch.ones(5, 2)).shape, sorted(theta_0)
        (torch.Size([5, 3]), ['bias', 'weight'])
    """

    def f(params: Params, x: Inputs) -> Tensor:
        if params.keys() != theta_0.keys():  # what is missing would be the module's own, what is misspelt would be dropped
            check_match(theta_0, params)
        buffers = {name: buffer.to(device_of(x), copy=True) for name, buffer in module.named_buffers()}
        return apart(lambda params, x: functional_call(module, {**params, **buffers}, (x,)), params, x)

    if any(isinstance(each, torch.jit.ScriptModule) and [*each.parameters()] for each in module.modules()):
        raise InputError("TorchScript has its weights to itself: load its state_dict() into the module it was made of")
    theta_0 = {name: p.detach().clone() for name, p in module.named_parameters()}
    return f, theta_0


def value_and_tangent(f: Function, theta_0: Params, tau: Params, x: Inputs) -> tuple[Tensor, Tensor]:
    """f(x; theta_0) and tau^T grad_theta f(x; theta_0), the two terms of equation 3, in one pass.

    Example:
        >>> f = lambda params, x: x * params["w"] ** 2
        >>> value_and_tangent(f, {"w": torch.tensor(3.0)}, {"w": torch.tensor(1.0)}, torch.tensor(2.0))
        (tensor(18.), tensor(12.))
    """
    check_match(theta_0, tau)
    in_order = {name: tau[name] for name in theta_0}  # jvp wants both dicts in one order
    try:
        with forward_differentiable():
            return jvp(lambda params: pure(f)(params, x), (theta_0,), (in_order,))
    except RuntimeError as error:
        if not any(known in str(error) for known in ("forward AD", "autograd.Function")):
            raise
        raise InputError(f"f has no forward derivative: {' '.join(str(error).split('. ')[0].split())}") from error


def listing_1(f: Function, theta_0: Params) -> Function:
    """f_lin as the formula has it; ``linearize`` with ``implementation="plain"``."""

    def f_lin(params: Params, x: Inputs) -> Tensor:
        return _sum(*value_and_tangent(f, theta_0, subtract(params, theta_0), x), x)

    return f_lin


def linearize(f: Function, theta_0: Params, implementation: str = "auto") -> Function:
    """f_lin, with the signature of f (equation 3). Differentiable in its parameters.

    Args:
        f: a function ``f(params, x)``.
        theta_0: the weights at which to linearise.
        implementation: ``plain``, the formula (Listing 1), with gradients of any order. ``fast``, value and tangent in one
            pass with a rule an operation, and gradients of first order from an ordinary backward pass of f at theta_0; a
            weight that is theta_0's own tensor has no tangent and costs nothing. ``auto``, fast wherever that is possible:
            plain inside torch.func, where x or theta_0 needs a gradient, and, with a warning, for a model that writes in
            place, has a ``torch.autograd.Function``, or holds another tensor that needs a gradient.

    Returns:
        ``f_lin(params, x)``, with f_lin(theta_0, x) = f(theta_0, x).

    Raises:
        InputError: for another implementation; when called, with ``fast``, for a model that has to be computed plainly.
        MismatchError: when called with parameters of other names, shapes or dtypes than theta_0.

    Example:
        >>> f_lin = linearize(lambda params, x: x * params["w"] * params["w"], {"w": torch.tensor(3.0)})
        >>> f_lin({"w": torch.tensor(4.0)}, torch.tensor(2.0))   # 18 + (4 - 3) * 12, where f itself gives 32
        tensor(30.)
    """
    check_implementation(implementation)
    f = pure(f)
    plain = listing_1(f, theta_0)
    if implementation == "plain":
        return plain
    from tangent_lib._fast.tangents import push, with_gradient_to

    def f_lin(params: Params, x: Inputs) -> Tensor:
        check_match(theta_0, params)
        moved = [name for name in theta_0 if params[name] is not theta_0[name]]
        if _beyond_tangents(*tensors_of(x), *(theta_0[name] for name in moved)):
            return _fall_back(implementation, plain, said=False)(params, x)
        minus = lambda name: lambda: torch.sub(params[name].detach(), theta_0[name])  # computed where used, then dropped
        found = push(f, with_gradient_to(params, theta_0), [{name: minus(name) for name in moved}], x)
        if found is None:
            return _fall_back(implementation, plain)(params, x)
        return _sum(found[0], *found[1], x)

    return f_lin


def value_and_tangents(
    f: Function, theta_0: Params, taus: Sequence[Params], x: Inputs, implementation: str = "auto"
) -> tuple[Tensor, list[Tensor]]:
    """f(x; theta_0) and tau_t^T grad_theta f(x; theta_0) of each task vector (equation 3).

    f_lin is affine in the alphas, so these give f_lin(x; theta_0 + sum_t alpha_t tau_t) for all of them.

    Args:
        f: the model, ``f(params, x)``.
        theta_0: its weights.
        taus: task vectors; all weights, by name.
        x: a batch.
        implementation: as for ``linearize``; the fast one takes all task vectors in one pass that shares the value.

    Returns:
        the value, and as many tangents of its shape as there are task vectors.

    Raises:
        InputError: as ``linearize``.
        MismatchError: if a task vector has other names, shapes or dtypes than theta_0.

    Example:
        >>> f = lambda params, x: x * params["w"] * params["w"]
        >>> taus = [{"w": torch.tensor(1.0)}, {"w": torch.tensor(2.0)}]
        >>> value_and_tangents(f, {"w": torch.tensor(3.0)}, taus, torch.tensor(2.0))
        (tensor(18.), [tensor(12.), tensor(24.)])
    """
    check_implementation(implementation)
    f = pure(f)
    for tau in taus:
        check_match(theta_0, tau)

    def plain(params: Params, x: Inputs) -> tuple[Tensor, list[Tensor]]:
        device, pairs = device_of(x), []
        for i, tau in enumerate(taus):  # all by the same random numbers, after which drawing goes on
            with torch.random.fork_rng([device] if device.type == "cuda" else [], enabled=i + 1 < len(taus)):
                pairs.append(value_and_tangent(f, params, tau, x))
        return (pairs[0][0] if pairs else f(params, x)), [tangent for _, tangent in pairs]

    beyond = _beyond_tangents(*tensors_of(x), *theta_0.values(), *(each for tau in taus for each in tau.values()))
    if implementation == "plain" or beyond:
        return _fall_back(implementation, plain, said=False)(theta_0, x)
    from tangent_lib._fast.tangents import push

    found = push(f, theta_0, taus, x)
    return _fall_back(implementation, plain)(theta_0, x) if found is None else found


def check_implementation(implementation: str) -> None:
    """Refuse a name that is not one of ``IMPLEMENTATIONS``."""
    if implementation not in IMPLEMENTATIONS:
        raise unknown("implementation", implementation, IMPLEMENTATIONS)


def _beyond_tangents(*constants: Tensor) -> bool:
    """Whether derivatives may be asked for that only the formula has."""
    return inside_func_transform() or (torch.is_grad_enabled() and any(each.requires_grad for each in constants))


def _fall_back(implementation: str, plain, said: bool = True):
    if implementation == "fast":
        why = "f writes in place, x or theta_0 needs a gradient, or torch.func differentiates"
        raise InputError(f"implementation 'fast': {why}; take auto or plain")
    if said:
        warnings.warn("an operation has no tangent rule: torch.func.jvp differentiates the whole model", stacklevel=3)
    return plain


def _sum(value: Tensor, tangent: Tensor, x: Inputs) -> Tensor:
    if torch.is_autocast_enabled(device_of(x).type):  # in half precision a small tangent would be lost in the sum
        return value.float() + tangent.float()
    return value + tangent
