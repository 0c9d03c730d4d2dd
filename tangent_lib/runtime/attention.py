"""Multi-head attention of ``torch.nn.MultiheadAttention``, composed of steps of which each has a fast path."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from tangent_lib.fast.products import linear


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
