"""Doors of other packages that are not public, all of them, each with the reason to use it.

A release of the package may close one: ``tests/runtime/test_private_doors.py`` then says which, in words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch import Tensor
from torch.utils import checkpoint as checkpointing
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten  # torch.func has the same and exports none

__all__ = [
    "accelerate_started", "add_pretrained_tag", "inside_func_transform", "onednn_add_product", "onednn_product",
    "shapes_without_content", "softmax_backward", "storage_number", "tree_flatten", "tree_leaves", "tree_unflatten",
    "version_number", "without_checkpoints", "wrapper",
]  # fmt: skip


def inside_func_transform() -> bool:
    """Whether this runs inside grad, jvp or vmap of torch.func, which cannot look into oneDNN; torch tells nobody else.

    Example:
        >>> seen = []
        >>> _ = torch.func.vmap(lambda x: seen.append(inside_func_transform()) or x)(torch.ones(2))
        >>> seen, inside_func_transform()
        ([True], False)
    """
    return torch._C._functorch.peek_interpreter_stack() is not None


def onednn_product(a: Tensor, b: Tensor, bias: Tensor | None) -> Tensor:
    """a b^T + bias by oneDNN. PyTorch ships it for compiled models; eager ones go through MKL, which is slower on AMD."""
    return torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")


def onednn_add_product(a: Tensor, sums: Tensor, b: Tensor) -> Tensor:
    """sums + a b^T by oneDNN, in one pass; ``sums`` may be overwritten."""
    return torch.ops.mkldnn._linear_pointwise.binary(a, sums, b, None, "add")


def softmax_backward(gradient: Tensor, shares: Tensor) -> Tensor:
    """The backward pass of a softmax over the last dimension; its Jacobian is symmetric, so it moves tangents too."""
    return torch.ops.aten._softmax_backward_data(gradient, shares, -1, shares.dtype)


def wrapper(cls: type, value: Tensor) -> Tensor:
    """A tensor of a subclass with the shape, dtype and device of a value, and no content of its own.

    It needs a gradient, or a ``torch.autograd.Function`` would hand on unseen what it returns as it was.
    """
    needs = value.is_floating_point() or value.is_complex()
    return Tensor._make_wrapper_subclass(cls, value.shape, dtype=value.dtype, device=value.device, requires_grad=needs)


def storage_number(tensor: Tensor) -> int:
    """A number that tells storages apart; ``data_ptr()`` is 0 for all that have no content."""
    return tensor.untyped_storage()._cdata


def version_number(tensor: Tensor) -> int:
    """How often something was written into a tensor; 0 of one made in inference mode, where nobody counts."""
    return 0 if tensor.is_inference() else tensor._version


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """Inside, ``torch.utils.checkpoint`` (without ``use_reentrant``) computes nothing anew; PyTorch has no switch for it."""
    with patch.object(checkpointing, "_checkpoint_hook", lambda frame: nullcontext()):
        yield


def shapes_without_content() -> torch.overrides.TorchFunctionMode | object:
    """A mode in which tensors have shapes and no numbers: PyTorch's fake tensors, which it keeps to its compiler."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode()


def accelerate_started() -> bool:
    """Whether accelerate's state exists in this process: asking it in a public way would create it."""
    from accelerate import PartialState

    return bool(PartialState._shared_state)


def add_pretrained_tag(model: str, tag: str, settings: Mapping[str, object]) -> None:
    """Make weights known to open_clip under a tag; its registry of configs has a public way in, that of weights none."""
    import open_clip

    open_clip.pretrained._PRETRAINED[model] = {tag: dict(settings)}
