"""Where PyTorch's generators of random numbers stand, and drawing again from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


def random_state(device: torch.device) -> list[Tensor]:
    """Where the generators stand that an operation on this device may draw from."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(state: Sequence[Tensor], device: torch.device) -> None:
    """Draw on from where ``random_state`` was asked."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def drawn_from(state: Sequence[Tensor], device: torch.device) -> Iterator[None]:
    """Inside, random numbers are those that followed the state; outside, drawing goes on as if nothing had been."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        set_random_state(state, device)
        yield
