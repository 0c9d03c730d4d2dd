"""What the benchmarks share: options, turns, peak memory, ratios and their spread, the table, the JSON object.

A benchmark computes the same in several ways, its sides. They run in turn in one process, on the same inputs, in the same
precision and with the same threads, so that a change in the machine's load meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NoReturn

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from tangent_lib import miniature
from tangent_lib.data import ImageArray
from tangent_lib.errors import InputError
from tangent_lib.fast.products import plain_products
from tangent_lib.models import Clip, check_model, load_clip
from tangent_lib.provenance import provenance
from tangent_lib.store import write_whole
from tangent_lib.task_vectors import Params

CLASSES = 10  # rows of a head
SHARE = 0.05  # size of a task vector, of the weights


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


@dataclass(frozen=True)
class Bench:
    """What one benchmark measures.

    Attributes:
        sides: by name.
        compared: pairs of names; the ratio is that of the first to the second.
        operations: by side, counted; the ratios that follow are what the measured ones are compared with.
        distance: from the sides' results, how far they lie apart, by what is compared.
        sizes: all that the numbers depend on, for the JSON object.
        note: sentences for the reader.
    """

    sides: Mapping[str, Side]
    compared: Sequence[tuple[str, str]]
    operations: Mapping[str, float]
    distance: Callable[[Mapping[str, object]], dict[str, float]]
    sizes: dict[str, object]
    note: list[str] = field(default_factory=list)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are those of the reader's input: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(message)


def count(text: str) -> int:
    """A whole number from 1 on, as an option's value.

    Example:
        >>> count("3")
        3
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def command(
    name: str,
    about: str,
    options: Callable[[argparse.ArgumentParser], object],
    build: Callable[[argparse.Namespace], Bench],
    arguments: Sequence[str] | None = None,
) -> int:
    """The command line of a benchmark. Errors of the reader's input end in one line and status 2.

    Args:
        name: of the benchmark.
        about: the first line is shown by ``--help``.
        options: adds the benchmark's own.
        build: makes the benchmark from the options.
    """
    parser = Parser(prog=f"python benchmarks/{name}.py", description=about.split("\n")[0], allow_abbrev=False)
    parser.add_argument("--model", default="ViT-Mini-8", help="a model of open_clip (%(default)s)")
    parser.add_argument("--pretrained", help="auto for miniatures, none (random weights) for others, unless given")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--pairs", type=count, default=5, help="timed rounds of all sides, after a warm-up (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of images, heads and task vectors (%(default)s)")
    parser.add_argument("--plain-products", action="store_true", help="PyTorch's own matrix products on every side")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    options(parser)
    try:
        given = parser.parse_args(arguments)
        _check(given)
        with plain_products() if given.plain_products else nullcontext():
            report = _report(name, given, build(given))
        print(table(report))
        if given.json:
            write_whole(given.json, (json.dumps(report, indent=1) + "\n").encode())
    except torch.OutOfMemoryError as error:
        print(f"error: not enough memory on the GPU, give smaller sizes ({str(error).splitlines()[0]})", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check(given: argparse.Namespace) -> None:
    given.pretrained = given.pretrained or ("auto" if given.model in miniature.NAMES else "none")
    given.pretrained = check_model(given.model, given.pretrained)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': PyTorch finds no GPU here; give --device cpu")
    if given.json:
        folder = given.json.absolute().parent
        if given.json.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InputError(f"--json '{given.json}': name a file in a folder that exists and can be written")


def _report(name: str, given: argparse.Namespace, bench: Bench) -> dict:
    device = torch.device(given.device)
    note = list(bench.note)
    precision = getattr(given, "precision", "fp32")
    if given.plain_products:
        note.append("All sides compute with PyTorch's own matrix products.")
    elif given.device == "cpu" and precision == "fp32" and torch.backends.mkldnn.is_available():
        note.append("Products go through oneDNN, but for those that torch.func differentiates; see --plain-products.")
    pairs, results = take_turns(bench.sides, given.pairs, device)
    floor = {f"{a} / {b}": bench.operations[a] / bench.operations[b] for a, b in bench.compared}
    return {
        "benchmark": name,
        "model": given.model,
        "pretrained": given.pretrained,
        "device": given.device,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "sizes": {**bench.sizes, "seed": given.seed, "plain_products": given.plain_products},
        "pairs": pairs,
        "ratios": ratios(pairs, bench.compared),
        "distance": bench.distance(results),
        "floor": floor,
        "note": note,
        "provenance": provenance(),
    }


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
        >>> pairs = [{"a": {"seconds": s, "peak_bytes": 30}, "b": {"seconds": 1.0, "peak_bytes": 10}} for s in (2.0, 3.0, 5.0)]
        >>> ratios(pairs, [("a", "b")])["a / b"]["time"]
        {'median': 3.0, 'lowest': 2.0, 'highest': 5.0}
    """

    def spread(a: str, b: str, what: str) -> dict[str, float]:
        found = [pair[a][what] / pair[b][what] for pair in pairs]
        return {"median": median(found), "lowest": min(found), "highest": max(found)}

    kinds = {"time": "seconds", "memory": "peak_bytes"}
    return {f"{a} / {b}": {kind: spread(a, b, what) for kind, what in kinds.items()} for a, b in compared}


def operations(side: Side) -> float:
    """Multiplications and additions of matrix products, convolutions and attention; what passes over numbers once is not seen.

    Example:
        >>> operations(Side(lambda: torch.ones(2, 3) @ torch.ones(3, 4), times=10))
        480
    """
    with plain_products(), FlopCounterMode(display=False) as counter:  # the counter does not know oneDNN's
        side.run()
    return counter.get_total_flops() * side.times


def table(report: Mapping) -> str:
    """The numbers of a report as text."""
    sizes = ", ".join(f"{name} {value}" for name, value in report["sizes"].items())
    lines = [
        f"{report['benchmark']}: {report['model']} ({report['pretrained']}), {report['precision']} on {report['device']}, "
        f"{report['threads']} threads; {sizes}",
        f"\n{'side':32}{'seconds: median (lowest, highest)':>40}{'peak memory, MB':>18}",
    ]
    for name, measured in report["pairs"][0].items():
        seconds = [pair[name]["seconds"] for pair in report["pairs"]]
        shown = f"{median(seconds):.4g} ({min(seconds):.4g}, {max(seconds):.4g})"
        lines.append(f"{name:32}{shown:>40}{measured['peak_bytes'] / 1e6:>18.1f}")
    lines.append(f"\n{'ratio':48}{'time':>24}{'by operations':>16}{'memory':>10}")
    for name, found in report["ratios"].items():
        shown = "{median:.2f} ({lowest:.2f}, {highest:.2f})".format(**found["time"])
        lines.append(f"{name:48}{shown:>24}{report['floor'][name]:>16.2f}{found['memory']['median']:>10.2f}")
    lines.append("\ndistance between results: " + "; ".join(f"{k} {v:.1e}" for k, v in report["distance"].items()))
    return "\n".join([*lines, *report["note"]])


def distance(found: Tensor | Params, wanted: Tensor | Params) -> float:
    """The largest absolute difference over the largest absolute value.

    Example:
        >>> distance(torch.tensor([1.0, 4.5]), torch.tensor([1.0, 4.0]))
        0.125
    """
    if isinstance(wanted, Tensor):
        found, wanted = {"": found}, {"": wanted}
    largest = lambda tensors: max(value.abs().max().item() for value in tensors)
    gap = largest(found[name].double() - value.double() for name, value in wanted.items())
    return gap / largest(wanted.values()) if gap else 0.0


def load(given: argparse.Namespace) -> Clip:
    """The model that the options name."""
    return load_clip(given.model, given.pretrained, given.device)


def doubled(clip: Clip) -> tuple[Callable[[Params, Tensor], Tensor], Params]:
    """The image tower in float64."""
    return lambda params, x: clip.f(params, x.double()), {k: value.double() for k, value in clip.theta_0.items()}


def images(clip: Clip, number: int, seed: int) -> ImageArray:
    """So many images of random colours, and labels, on the model's device."""
    rng, size = torch.Generator().manual_seed(seed), clip.image_size
    colours = torch.randint(0, 256, (number, 3, size, size), generator=rng, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (number,), generator=rng)
    data = ImageArray(colours, labels, clip.image_mean, clip.image_std, size)
    for name in ("images", "labels", "mean", "std"):
        setattr(data, name, getattr(data, name).to(clip.device))
    return data


def head(clip: Clip, rows: int, seed: int) -> Tensor:
    """A random head for features of this model, ``(rows, dim)``, of the length that CLIP's have."""
    dim = clip.model.visual.output_dim
    drawn = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return 100 * torch.nn.functional.normalize(drawn, dim=1).to(clip.device)


def task_vectors(clip: Clip, number: int, seed: int) -> list[Params]:
    """Random task vectors: for each weight a random direction, a twentieth of the weight in length."""
    rng = torch.Generator().manual_seed(seed)

    def drawn(value: Tensor) -> Tensor:
        direction = torch.randn(value.shape, generator=rng).to(value.device)
        return SHARE * value.norm() * direction / direction.norm()

    return [{name: drawn(value) for name, value in clip.theta_0.items()} for _ in range(number)]
