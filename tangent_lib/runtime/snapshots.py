"""Where an interrupted training goes on: weights, optimiser and random numbers after a step, kept in one file."""

from __future__ import annotations

import time
import warnings
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim import AdamW

from tangent_lib.runtime.digests import fingerprint
from tangent_lib.runtime.disk import write_whole
from tangent_lib.runtime.errors import InputError

STATE = ("step", "exp_avg", "exp_avg_sq")  # of AdamW


class Snapshots:
    """The latest state of a training, written whole or not at all, at most once in ``seconds``; 0 writes every step.

    Example:
        >>> import tempfile
        >>> weight = torch.ones(1, requires_grad=True)
        >>> optimizer, snapshots = AdamW([weight], lr=0.1), Snapshots(Path(tempfile.mkdtemp(), "state"), seconds=0)
        >>> weight.sum().backward(); optimizer.step(); snapshots.keep(1, optimizer)
        >>> again = torch.zeros(1, requires_grad=True)
        >>> snapshots.restore(AdamW([again], lr=0.1)), torch.equal(again, weight)
        (1, True)
    """

    def __init__(self, path: Path, seconds: float | int = 60):
        self.path, self.seconds = path, seconds
        self._last = time.monotonic()

    def keep(self, steps: int, optimizer: AdamW) -> None:
        """Write the state after so many steps, if the last one was written long enough ago."""
        if time.monotonic() - self._last < self.seconds:
            return
        state = optimizer.state_dict()["state"]
        weights = optimizer.param_groups[0]["params"]
        tensors = {f"weight {i}": weight for i, weight in enumerate(weights)}
        tensors |= {f"{key} {i}": value for i, each in state.items() for key, value in each.items()}
        data = {name: value.detach().cpu().contiguous() for name, value in (tensors | _random_states()).items()}
        start = time.monotonic()
        known = {"steps": str(steps), "of": self.path.name, "content": f"{fingerprint(data)} after {steps}"}
        write_whole(self.path, save(data, known))
        self._last = time.monotonic()
        self.seconds = max(self.seconds, 20 * (self._last - start)) if self.seconds else 0  # at most 5 % of the time

    def restore(self, optimizer: AdamW) -> int:
        """Take up the state that was kept, and say after how many steps; 0 where there is none.

        Anything but the state that was kept here, for these weights, is not taken up, with a warning; the next replaces it.

        Raises:
            InputError: if it cannot be read, or is no file, so that no state could be kept in its place.
        """
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"'{self.path}' is no file, but the state of a training is kept there: move it away")
        try:
            with safe_open(self.path, "pt") as file:
                known, tensors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            steps = self._checked(known, tensors, optimizer)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise InputError(f"the state of a training at '{self.path}' cannot be read ({error})") from error
        except (SafetensorError, ValueError) as error:
            warnings.warn(f"training starts anew: '{self.path}' does not hold its state ({error})", stacklevel=3)
            return 0
        weights = optimizer.param_groups[0]["params"]
        with torch.no_grad():
            for i, weight in enumerate(weights):
                weight.copy_(tensors[f"weight {i}"])
        state = {i: {key: tensors[f"{key} {i}"] for key in STATE} for i in range(len(weights)) if f"step {i}" in tensors}
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        _set_random_states(tensors)
        return steps

    def _checked(self, known: dict[str, str], tensors: dict[str, Tensor], optimizer: AdamW) -> int:
        """The number of steps, once all else is what was kept here."""
        if (known.get("of"), known.get("content")) != (self.path.name, f"{fingerprint(tensors)} after {known.get('steps')}"):
            raise ValueError("it was kept elsewhere, or altered")
        shapes = {f"weight {i}": each.shape for i, each in enumerate(optimizer.param_groups[0]["params"])}
        if shapes != {name: value.shape for name, value in tensors.items() if name.startswith("weight ")}:
            raise ValueError("it is that of other weights")
        return int(known["steps"])

    def discard(self) -> None:
        """Remove the file: the training is over."""
        if not self.path.is_dir():
            self.path.unlink(missing_ok=True)


def _random_states() -> dict[str, Tensor]:
    states = {"random cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["random cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random_states(tensors: dict[str, Tensor]) -> None:
    torch.set_rng_state(tensors["random cpu"])
    if torch.cuda.is_available() and "random cuda" in tensors:
        torch.cuda.set_rng_state(tensors["random cuda"])
