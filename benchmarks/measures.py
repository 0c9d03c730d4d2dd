"""Seconds, bytes and operations of several ways to compute the same, taken in turn in one process."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from tangent_lib.runtime.operations import plain_products
from tangent_lib.task_vectors import Params


@dataclass(frozen=True)
class Side:
    """One way to compute something.

    Attributes:
        run: what is timed; it gives the result.
        measured: what peak memory is measured of, before ``run`` is first called; ``run`` itself by default.
        held: bytes that it needs besides, made before.
        times: where only a part of the work is timed, how many times as much the whole is.
    """

    run: Callable[[], object]
    measured: Callable[[], object] | None = None
    held: int = 0
    times: float = 1


def take_turns(sides: Mapping[str, Side], rounds: int, device: torch.device) -> tuple[list[dict], dict[str, object]]:
    """Measure the peak memory of each side, then time all of them in turn, each round from another one on.

    Returns:
        for each round the seconds and bytes of each side; the results of the last round.
    """
    peaks = {name: side.held + peak_bytes(side.measured or side.run, device) for name, side in sides.items()}
    for side in sides.values():
        side.run()
    names, pairs, results = list(sides), [], {}
    for i in range(rounds):
        first, pair = i % len(names), {}
        for name in (*names[first:], *names[:first]):
            results.pop(name, None)
            seconds, results[name] = timed(sides[name].run, device)
            pair[name] = {"seconds": seconds * sides[name].times, "peak_bytes": peaks[name]}
        pairs.append({name: pair[name] for name in names})
    return pairs, results


def timed(run: Callable[[], object], device: torch.device) -> tuple[float, object]:
    """The seconds that a function takes, and its result."""
    _synchronise(device)
    start = time.perf_counter()
    result = run()
    _synchronise(device)
    return time.perf_counter() - start, result


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """The most that a function holds at a time of what it allocates itself, in bytes.

    On a processor from every event of PyTorch's allocator: exact, and the same each time. What libraries hold for
    themselves, a few MB, is not seen.

    Example:
        >>> peak_bytes(lambda: torch.ones(1000).sum(), torch.device("cpu")) // 1000 * 1000
        4000
    """
    gc.collect()
    if device.type == "cuda":
        run()  # libraries take their work space once
        _synchronise(device)
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        run()
        _synchronise(device)
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = [event for event in seen.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def ratios(pairs: Sequence[Mapping], compared: Sequence[tuple[str, str]]) -> dict[str, dict]:
    """Time and memory of one side over those of another: median, lowest and highest of the rounds.

    Example:
        >>> once = {"seconds": 1.0, "peak_bytes": 10}
        >>> pairs = [{"a": {"seconds": s, "peak_bytes": 30}, "b": once} for s in (2.0, 3.0, 5.0)]
        >>> ratios(pairs, [("a", "b")])["a / b"]["time"]
        {'median': 3.0, 'lowest': 2.0, 'highest': 5.0}
    """

    def spread(a: str, b: str, what: str) -> dict[str, float]:
        found = [pair[a][what] / pair[b][what] for pair in pairs]
        return {"median": median(found), "lowest": min(found), "highest": max(found)}

    kinds = {"time": "seconds", "memory": "peak_bytes"}
    return {f"{a} / {b}": {kind: spread(a, b, what) for kind, what in kinds.items()} for a, b in compared}


def operations(side: Side) -> float:
    """Multiplications and additions of matrix products, convolutions and attention; other work is not counted.

    Example:
        >>> operations(Side(lambda: torch.ones(2, 3) @ torch.ones(3, 4), times=10))
        480
    """
    with plain_products(), _Counter() as counter:  # oneDNN's products are not in PyTorch's list
        side.run()
    return counter.total * side.times


class _Counter(TorchDispatchMode):
    """``FlopCounterMode`` without its sums by module, which do not go together with ``torch.autograd.grad``."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func._overloadpacket in flop_registry:
            self.total += flop_registry[func._overloadpacket](*args, **(kwargs or {}), out_val=out)
        return out


def distance(found: Tensor | Params, wanted: Tensor | Params) -> float:
    """The largest absolute difference over the largest absolute value that is wanted.

    Example:
        >>> distance(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 4.0]))
        0.125
    """
    if isinstance(wanted, Tensor):
        found, wanted = {"": found}, {"": wanted}
    largest = lambda tensors: max(value.abs().max().item() for value in tensors)
    gap = largest(found[name].double() - value.double() for name, value in wanted.items())
    return gap / (largest(wanted.values()) or 1.0)
