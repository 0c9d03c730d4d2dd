"""Which form of an operation runs: matrix products and attention, the fast one or one that torch.func can differentiate.

PyTorch's own products in fp32 go through MKL, which on processors of other makers than Intel leaves AVX-512 unused: there,
oneDNN takes about half the time. PyTorch ships both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Inexact
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from tangent_lib.runtime.private_doors import inside_func_transform, onednn_add_product, onednn_product

_enabled = True


@contextmanager
def forward_differentiable() -> Iterator[None]:
    """Inside, attention and products are computed by operations that forward-mode differentiation knows.

    ``nn.MultiheadAttention`` has a fused fast path in eval mode, scaled dot-product attention has fused kernels, and products
    go through oneDNN; none has a forward derivative. This is the one place that switches them off, and back on afterwards.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), plain_products():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)


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
    x: Inexact[Tensor, "*batch d_in"], weight: Inexact[Tensor, "*d_out d_in"], bias: Inexact[Tensor, "*shape"] | None = None
) -> Inexact[Tensor, "*batch_and_d_out"]:
    """x W^T + b, like ``torch.nn.functional.linear``, with a gradient of first order.

    Example:
        >>> linear(torch.ones(1, 2), torch.ones(3, 2), torch.tensor([0.0, 1.0, 2.0]))
        tensor([[2., 3., 4.]])
    """
    expanded = lambda: bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != torch.float32)
    if not (through_onednn(x) and through_onednn(weight)) or weight.dim() != 2 or expanded():
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
    if not (through_onednn(x) and through_onednn(weight)) or weight.dim() != 2:
        return to.add_(F.linear(x, weight))
    rows, sums = _dense(x.reshape(-1, x.shape[-1])), to.reshape(-1, to.shape[-1])
    return onednn_add_product(rows, sums, _dense(weight)).view(to.shape)


def through_onednn(tensor: Tensor) -> bool:
    """Whether products of this tensor go through oneDNN: on a processor, in fp32, where nothing has to look into them."""
    return (
        _enabled
        and type(tensor) in (Tensor, torch.nn.Parameter)  # no subclass, such as a tensor without content
        and tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and tensor.numel() > 0
        and not inside_func_transform()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and torch.backends.mkldnn.is_available()
    )


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a b^T + bias; both may be transposed views."""
    bias = None if bias is None else bias.contiguous()  # oneDNN reads it as if it were
    return onednn_product(_dense(a), _dense(b), bias)


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


def self_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    need_weights: bool = True,
    **options: object,
) -> tuple[Tensor, None] | None:
    """What ``torch.nn.functional.multi_head_attention_forward`` gives, or None where this is not plain self-attention.

    That is: one sequence for query, key and value, ``(tokens, batch, dim)``, no mask, no weights asked for.

    Example:
        >>> import torch
        >>> x, net = torch.ones(3, 2, 4), torch.nn.MultiheadAttention(4, num_heads=2)
        >>> packed = (net.in_proj_weight, net.in_proj_bias, None, None, False, 0.0, net.out_proj.weight, net.out_proj.bias)
        >>> z, _ = self_attention(x, x, x, 4, 2, *packed, need_weights=False)
        >>> torch.allclose(z, net(x, x, x)[0], atol=1e-6)
        True
    """
    asked = [name for name, option in options.items() if option is not None and option is not False]
    beyond = need_weights or add_zero_attn or bias_k is not None or in_proj_weight is None or query.dim() != 3
    if not (query is key is value) or beyond or set(asked) - {"average_attn_weights"}:
        return None
    x = query.transpose(0, 1)  # what nn.MultiheadAttention had transposed before: contiguous again
    batch, tokens, dim = x.shape
    packed = linear(x, in_proj_weight, in_proj_bias).reshape(batch, tokens, 3, num_heads, dim // num_heads)
    q, k, v = packed.permute(2, 0, 3, 1, 4).unbind(0)
    mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout_p if training else 0.0)
    mixed = mixed.transpose(1, 2).reshape(batch, tokens, dim)
    return linear(mixed, out_proj_weight, out_proj_bias).transpose(0, 1), None
