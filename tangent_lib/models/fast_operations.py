"""Modules as functions whose linear layers and attention take the fast form on this machine, where there is one."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode, has_torch_function

from tangent_lib.linearization import functional
from tangent_lib.runtime.inputs import Inputs, tensors_of
from tangent_lib.runtime.operations import linear, self_attention, through_onednn
from tangent_lib.task_vectors import Function, Params


def fast_functional(module: nn.Module) -> tuple[Function, Params]:
    """``functional``, with linear layers and attention through oneDNN wherever that can be used; the same within rounding.

    Example:
        >>> import torch
        >>> net, x = nn.Linear(2, 3), torch.ones(1, 2)
        >>> f, theta_0 = fast_functional(net)
        >>> torch.allclose(f(theta_0, x), net(x))
        True
    """
    plain, theta_0 = functional(module)

    def f(params: Params, x: Inputs):
        has_rules = has_torch_function(tuple(params.values()))  # such as tensors with tangents: they choose the form
        if has_rules or not all(through_onednn(part) for part in tensors_of(x)):
            return plain(params, x)
        with _FastOperations():
            return plain(params, x)

    return f, theta_0


class _FastOperations(TorchFunctionMode):
    def __torch_function__(self, func: Callable, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear:
            given = dict(zip(("input", "weight", "bias"), args)) | kwargs
            return linear(given["input"], given["weight"], given.get("bias"))
        if func is F.multi_head_attention_forward and (composed := self_attention(*args, **kwargs)) is not None:
            return composed
        return func(*args, **kwargs)
