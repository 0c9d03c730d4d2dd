"""Which form of an operation runs: the fast one, or one that torch.func can differentiate."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode, has_torch_function

from tangent_lib.fast.attention import self_attention
from tangent_lib.fast.products import linear, plain_products, through_onednn


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


def fast_operations(params: dict[str, Tensor], x: Tensor) -> TorchFunctionMode | nullcontext:
    """A context in which a module computes its linear layers and attention by ``products.linear``, where that can be used.

    Example:
        >>> net, x = torch.nn.Linear(2, 3), torch.ones(1, 2)
        >>> with fast_operations(dict(net.named_parameters()), x):
        ...     fast = net(x)
        >>> torch.allclose(fast, net(x))
        True
    """
    if not through_onednn(x) or has_torch_function(tuple(params.values())):  # the latter have rules of their own
        return nullcontext()
    return _FastOperations()


class _FastOperations(TorchFunctionMode):
    def __torch_function__(self, func: Callable, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.linear:
            given = dict(zip(("input", "weight", "bias"), args)) | kwargs
            return linear(given["input"], given["weight"], given.get("bias"))
        if func is F.multi_head_attention_forward and (composed := self_attention(*args, **kwargs)) is not None:
            return composed
        return func(*args, **kwargs)
