"""What to do where a GPU's memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tangent_lib.errors import InputError


@contextmanager
def enough_memory(work: str, images: int) -> Iterator[None]:
    """Turn an accelerator's out-of-memory error into advice.

    Args:
        work: what is being done.
        images: how many images at a time.

    Raises:
        InputError: naming the settings to lower.

    Example:
        >>> with enough_memory("fine-tuning", 128):
        ...     raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        Traceback (most recent call last):
        tangent_lib.errors.InputError: fine-tuning does not fit into the GPU's memory with 128 images at a time: ...
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{work} does not fit into the GPU's memory with {images} images at a time: lower -p micro_batch (the batch, and "
            "so the result, stays the same), take -p precision bf16 for fine-tuning, or free the GPU "
            f"({str(error).splitlines()[0]})"
        ) from error
