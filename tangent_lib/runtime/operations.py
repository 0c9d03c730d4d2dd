"""Matrix products on processors through oneDNN.

PyTorch's own products in fp32 go through MKL, which on processors of other makers than Intel leaves AVX-512 unused: there,
oneDNN takes about half the time. PyTorch ships both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_enabled = True


@contextmanager
def plain_products() -> Iterator[None]:
    """Inside, products are PyTorch's own, as they must be where torch.func differentiates.

    Example:
        >>> with plain_products():
        ...     linear(torch.ones(1, 2), torch.ones(3, 2))
        tensor([[2., 2., 2.]])
    """
    global _enabled
    before, _enabled = _enabled, False
    try:
        yield
    finally:
        _enabled = before


def linear(
    x: Float[Tensor, "*batch d_in"], weight: Float[Tensor, "d_out d_in"], bias: Float[Tensor, " d_out"] | None = None
) -> Float[Tensor, "*batch d_out"]:
    """x W^T + b, like ``torch.nn.functional.linear``, with a gradient of first order.

    Example:
        >>> linear(torch.ones(1, 2), torch.ones(3, 2), torch.tensor([0.0, 1.0, 2.0]))
        tensor([[2., 3., 4.]])
    """
    if not through_onednn(x) or not through_onednn(weight):
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    needed = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, weight, bias))
    product = _Linear.apply(rows, weight, bias) if needed else _product(rows, weight, bias)
    return product.view(*x.shape[:-1], weight.shape[0])


def add_linear(to: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """to + x W^T, without a gradient; ``to`` may be overwritten.

    Example:
        >>> add_linear(torch.ones(1, 3), torch.ones(1, 2), torch.ones(3, 2))
        tensor([[3., 3., 3.]])
    """
    if not through_onednn(x) or not through_onednn(weight):
        return to.add_(F.linear(x, weight))
    rows, sums = _dense(x.reshape(-1, x.shape[-1])), to.reshape(-1, to.shape[-1])
    return torch.ops.mkldnn._linear_pointwise.binary(rows, sums, _dense(weight), None, "add").view(to.shape)


def through_onednn(tensor: Tensor) -> bool:
    """Whether products of this tensor go through oneDNN: on a processor, in fp32, where nothing has to look into them."""
    return (
        _enabled
        and type(tensor) in (Tensor, torch.nn.Parameter)  # no subclass, such as a tensor without content
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.numel() > 0
        and not differentiated_by_func()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and torch.backends.mkldnn.is_available()
    )


def differentiated_by_func() -> bool:
    """Whether this runs inside grad, jvp or vmap of torch.func, which cannot look into oneDNN."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b^T + bias; both may be transposed views."""
    bias = None if bias is None else bias.contiguous()  # oneDNN reads it as if it were
    return torch.ops.mkldnn._linear_pointwise(_dense(a), _dense(b), bias, "none", [], "")


def _dense(a: Tensor) -> Tensor:
    """Rows or columns one after another in memory: for any other strides oneDNN has no fast product."""
    return a if a.is_contiguous() or a.t().is_contiguous() else a.contiguous()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        for_x, for_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if for_weight else None, weight if for_x else None)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if for_x else None,
            _product(gradient.t(), x.t()) if for_weight else None,
            gradient.sum(dim=0) if for_bias else None,
        )
