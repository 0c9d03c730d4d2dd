"""Seconds, bytes and operations of several ways to compute the same, taken in turn in one process."""

from __future__ import annotations

import gc
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, register_flop_formula

from tangent_lib.runtime.private_doors import tree_flatten, tree_leaves, tree_unflatten
from tangent_lib.task_vectors import Params

PRODUCT = r"\.(\w*(mm|mv|dot)|\w*(conv|linear|attention)\w*)$"  # names of operations that multiply matrices


@dataclass(frozen=True)
class Side:
    """One way to compute something.

    Attributes:
        run: what is timed; it gives the result.
        measured: what peak memory is measured of, before ``run`` is first called; ``run`` itself by default.
        held: bytes that it needs besides, made before.
        times: where only a part of the work is timed, how many times as much the whole is.
        floor: time its products alone, too.
    """

    run: Callable[[], object]
    measured: Callable[[], object] | None = None
    held: int = 0
    times: float = 1
    floor: bool = True


def take_turns(
    sides: Mapping[str, Side], rounds: int, device: torch.device
) -> tuple[list[dict], dict[str, object], dict[str, float]]:
    """Measure the peak memory of each side, then time all of them in turn, each round from another one on.

    Returns:
        for each round the seconds and bytes of each side, and the seconds of its products alone, right after it; the results
        of the last round; the operations of each side, counted while it warms up.
    """
    peaks = {name: side.held + peak_bytes(side.measured or side.run, device) for name, side in sides.items()}
    done = {name: products(side.run) for name, side in sides.items()}
    alone = {name: done[name].again() for name, side in sides.items() if side.floor}
    for run in (*(side.run for side in sides.values()), *alone.values()):
        run()
    names, pairs, results = list(sides), [], {}
    for i in range(rounds):
        first, pair = i % len(names), {}
        for name in (*names[first:], *names[:first]):
            results.pop(name, None)
            seconds, results[name] = timed(sides[name].run, device)
            pair[name] = {"seconds": seconds * sides[name].times, "peak_bytes": peaks[name]}
            if name in alone:
                pair[name]["products_seconds"] = timed(alone[name], device)[0] * sides[name].times
        pairs.append({name: pair[name] for name in names})
    return pairs, results, {name: done[name].operations * side.times for name, side in sides.items()}


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
    kinds = {"time": "seconds", "memory": "peak_bytes"}
    each = lambda a, b, what: spread(pair[a][what] / pair[b][what] for pair in pairs)
    return {f"{a} / {b}": {kind: each(a, b, what) for kind, what in kinds.items()} for a, b in compared}


def over_products(pairs: Sequence[Mapping]) -> dict[str, dict]:
    """The time of each side over that of its products alone, where those were timed.

    Example:
        >>> over_products([{"a": {"seconds": 3.0, "products_seconds": 2.0}, "b": {"seconds": 4.0}}])
        {'a': {'median': 1.5, 'lowest': 1.5, 'highest': 1.5}}
    """
    timed_alone = [name for name, measured in pairs[0].items() if "products_seconds" in measured]
    each = lambda name: spread(pair[name]["seconds"] / pair[name]["products_seconds"] for pair in pairs)
    return {name: each(name) for name in timed_alone}


def spread(values: Iterable[float]) -> dict[str, float]:
    """Median, lowest and highest.

    Example:
        >>> spread([2.0, 5.0, 3.0])
        {'median': 3.0, 'lowest': 2.0, 'highest': 5.0}
    """
    found = sorted(values)
    return {"median": median(found), "lowest": found[0], "highest": found[-1]}


def products(run: Callable[[], object]) -> Products:
    """The products that a function carries out, through whatever library, in their order.

    Example:
        >>> found = products(lambda: torch.ones(2, 3) @ torch.ones(3, 4))
        >>> found.operations, [str(func) for func, _, _ in found.calls]
        (48, ['aten.mm.default'])
    """
    with Products() as found:
        run()
    return found


class Products(TorchDispatchMode):
    """Notes products as they come: how many operations they are, and of what shapes, so that they can be done again alone.

    ``FlopCounterMode`` sums by module, which does not go together with ``torch.autograd.grad``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations, self.calls = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = func._overloadpacket
        if name in flop_registry:
            self.operations += flop_registry[name](*args, **kwargs, out_val=out)
            leaves, spec = tree_flatten((args, kwargs))
            formed = [_Form.of(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            self.calls.append((func, *tree_unflatten(formed, spec)))
        elif re.search(PRODUCT, str(name)):
            raise NotImplementedError(f"{name} is a product whose operations are not counted: give it a formula here")
        return out

    def again(self) -> Callable[[], None]:
        """A function that carries out the same products, and nothing else, on random numbers.

        Arguments in the same place share their memory, so that caches are used better than by the work itself.
        """
        sizes: dict[tuple, int] = {}
        forms = lambda call: ((place, form) for place, form in enumerate(tree_leaves(call[1:])) if isinstance(form, _Form))
        for place, form in (each for call in self.calls for each in forms(call)):
            key = place, form.dtype, form.device
            sizes[key] = max(sizes.get(key, 0), form.numbers)
        memory = {key: _random(numbers, *key[1:]) for key, numbers in sizes.items()}

        def placed(call: tuple) -> tuple:
            leaves, spec = tree_flatten(call[1:])
            found = [leaf.within(memory, place) if isinstance(leaf, _Form) else leaf for place, leaf in enumerate(leaves)]
            return call[0], *tree_unflatten(found, spec)

        calls = [placed(call) for call in self.calls]

        def run() -> None:
            with torch.no_grad():
                for func, args, kwargs in calls:
                    func(*args, **kwargs)

        return run


@dataclass(frozen=True)
class _Form:
    """What a tensor is without its numbers."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, tensor: Tensor) -> _Form:
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device)

    @property
    def numbers(self) -> int:
        return 1 + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides)) if all(self.shape) else 0

    def within(self, memory: Mapping[tuple, Tensor], place: int) -> Tensor:
        return memory[place, self.dtype, self.device].as_strided(self.shape, self.strides)


def _random(numbers: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    if dtype.is_floating_point:
        return torch.randn(numbers, device=device).to(dtype)
    return torch.zeros(numbers, dtype=dtype, device=device)


@register_flop_formula(torch.ops.mkldnn._linear_pointwise)
def _onednn_product(x: Sequence[int], *others: object, out_shape: Sequence[int], **options: object) -> int:
    """x is a shape, as all tensors are here; the result has a row for each of its rows."""
    return 2 * x[-1] * math.prod(out_shape)


@register_flop_formula((torch.ops.aten.mv, torch.ops.aten.dot))
def _with_a_vector(a: Sequence[int], *others: object, **options: object) -> int:
    return 2 * math.prod(a)


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
