"""The benchmarks' command line: options, the table, the JSON object.

A benchmark computes the same in several ways, its sides. They run in turn in one process, on the same inputs, in the same
precision and with the same threads, so that a change in the machine's load meets all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import NoReturn

import torch
from measures import Side, over_products, ratios, take_turns

from tangent_lib.models.clip import check_model
from tangent_lib.modes import MINIATURES
from tangent_lib.runtime.disk import write_whole
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.operations import plain_products
from tangent_lib.runtime.provenance import provenance


@dataclass(frozen=True)
class Bench:
    """What one benchmark measures.

    Attributes:
        sides: by name.
        compared: pairs of names; the ratio is that of the first to the second.
        distance: from the sides' results, how far they lie apart, by what is compared.
        sizes: all that the numbers depend on, for the JSON object.
        note: sentences for the reader.
    """

    sides: Mapping[str, Side]
    compared: Sequence[tuple[str, str]]
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
    parser.add_argument("--pairs", type=count, default=5, help="timed rounds, after a warm-up (%(default)s)")
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
        print(f"error: the GPU's memory is too small for these sizes ({str(error).splitlines()[0]})", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check(given: argparse.Namespace) -> None:
    given.pretrained = given.pretrained or ("auto" if given.model in MINIATURES else "none")
    given.pretrained = check_model(given.model, given.pretrained)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': PyTorch finds no GPU here; give --device cpu")
    if given.json:
        folder = given.json.absolute().parent
        if given.json.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InputError(f"--json '{given.json}': name a file in a folder that exists and can be written")


def _report(name: str, given: argparse.Namespace, bench: Bench) -> dict:
    note, precision = list(bench.note), getattr(given, "precision", "fp32")
    if given.plain_products:
        note.append("All sides compute with PyTorch's own matrix products.")
    elif given.device == "cpu" and precision == "fp32" and torch.backends.mkldnn.is_available():
        note.append("Products go through oneDNN, except where torch.func differentiates them; see --plain-products.")
    pairs, results, operations = take_turns(bench.sides, given.pairs, torch.device(given.device))
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
        "operations": operations,
        "floor": over_products(pairs),
        "note": note,
        "provenance": provenance(),
    }


def table(report: Mapping) -> str:
    """The numbers of a report as text."""
    sizes = ", ".join(f"{name} {value}" for name, value in report["sizes"].items())
    lines = [
        f"{report['benchmark']}: {report['model']} ({report['pretrained']}), {report['precision']} on {report['device']}, "
        f"threads {report['threads']}; {sizes}",
        f"\n{'side':32}{'seconds: median (lowest, highest)':>40}{'peak memory, MB':>18}",
    ]
    for name, measured in report["pairs"][0].items():
        seconds = [pair[name]["seconds"] for pair in report["pairs"]]
        shown = f"{median(seconds):.4g} ({min(seconds):.4g}, {max(seconds):.4g})"
        lines.append(f"{name:32}{shown:>40}{measured['peak_bytes'] / 1e6:>18.1f}")
    lines.append(f"\n{'ratio':48}{'time':>24}{'by operations':>16}{'memory':>10}")
    for name, found in report["ratios"].items():
        shown = "{median:.2f} ({lowest:.2f}, {highest:.2f})".format(**found["time"])
        above, below = (report["operations"][side] for side in name.split(" / "))
        lines.append(f"{name:48}{shown:>24}{above / below:>16.2f}{found['memory']['median']:>10.2f}")
    for name, found in report["floor"].items():
        lines.append(f"{name + ' / its products alone':48}{'{median:.2f} ({lowest:.2f}, {highest:.2f})'.format(**found):>24}")
    lines.append("\ndistance between results: " + "; ".join(f"{k} {v:.1e}" for k, v in report["distance"].items()))
    return "\n".join([*lines, *report["note"]])
