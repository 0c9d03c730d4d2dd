"""What to do where a GPU's memory does not suffice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tangent_lib.runtime.errors import InputError


@contextmanager
def enough_memory(work: str, points: int) -> Iterator[None]:
    """Turn an accelerator's out-of-memory error into advice.

    Args:
        work: what is being done.
        points: how many points at a time.

    Raises:
        InputError: over the setting ``micro_batch``.

    Example:
        >>> with enough_memory("fine-tuning", 128):
        ...     raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: fine-tuning does not fit into the GPU's memory with 128 points at a time: ...
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"{work} does not fit into the GPU's memory with {points} points at a time ({str(error).splitlines()[0]})",
            "micro_batch",
        ) from error
