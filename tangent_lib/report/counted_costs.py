"""Counted numbers of the page on cost: operations and bytes by model, tasks, alphas, grid and points, and GPU-hours.

Imported by notebooks alone; ``measured_costs`` has what is measured. In ``anew`` each edited model is evaluated by itself.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import matplotlib.pyplot as plt
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from tangent_lib.cost.both_papers import PAPERS, Counts, kind_of, split_sizes, work
from tangent_lib.cost.counted_steps import BATCHES, CLASSES, NUMBER, ShapesOnly, kept_for_backward
from tangent_lib.evaluation import classify
from tangent_lib.finetuning import Protocol
from tangent_lib.kernels import NUMBERS_HELD, NUMBERS_HELD_ELSEWHERE
from tangent_lib.linearization import listing_1
from tangent_lib.modes import ALL_MODES, ALPHAS, PAPER
from tangent_lib.report.at_scale import GPUS, hours
from tangent_lib.report.plots import COLOURS
from tangent_lib.report.quantities import NONE

F, F_LIN = (False, "all"), (True, "all")  # kinds of training
Panels = Mapping[str, Mapping[str, object]]


def kept_by_listing_1(tower: ShapesOnly) -> int:
    """Bytes that a step by Listing 1 keeps for its backward pass, for each image; counted, in fp32."""
    kept = []
    with tower.shapes:
        for images in BATCHES:
            theta = {name: torch.empty_like(value, requires_grad=True) for name, value in tower.theta_0.items()}
            x, head = torch.empty(images, 3, tower.size, tower.size), torch.empty(CLASSES, tower.dim)
            with kept_for_backward((*theta.values(), *tower.theta_0.values())) as found:
                logits = classify(listing_1(tower.f, tower.theta_0)(theta, x), head)
                torch.nn.functional.cross_entropy(logits, torch.zeros(images, dtype=torch.long))
            kept.append(sum(found.values()))
    return (kept[1] - kept[0]) // (BATCHES[1] - BATCHES[0])


def model_table(counts: Mapping[str, Counts], plain: Mapping[str, int]) -> pd.DataFrame:
    """A row a model: a training step of f, and that of f_lin over it, in operations and in bytes kept for each image."""
    rows = {}
    for model, by_kind in counts.items():
        f, f_lin = by_kind[F], by_kind[F_LIN]
        rows[model] = {
            "millions of weights": f"{f.parameters / 1e6:.1f}",
            "GFLOP an image, f": f"{f.operations / 1e9:.3g}",
            "f_lin over f": f"{f_lin.operations / f.operations:.3f}",
            "forward pass, f_lin over f": f"{f_lin.forward_operations / f.forward_operations:.3f}",
            "MB an image, f": f"{f.image_bytes / 1e6:.3g}",
            "f_lin over f, bytes": f"{f_lin.image_bytes / f.image_bytes:.3f}",
            "Listing 1 over f, bytes": f"{plain[model] / f.image_bytes:.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def growth(counts: Counts, outputs: int = 10) -> dict[str, dict]:
    """How evaluation grows, counted: forward passes of f that an image or point takes, and numbers held by kernels in GB.

    By title of a panel: the labels ``x`` and ``y``, the values ``at`` and the ``series`` over them.
    """
    linear = counts[F_LIN].forward_operations / counts[F].forward_operations
    passes = lambda vectors: 1 + vectors * (linear - 1)  # of f_lin at theta_0: one value, and a tangent for each vector
    values, grids, tasks = range(2, 102), range(1, 41), range(1, 33)
    points = [2**k for k in range(4, 13)]
    gigabytes = lambda numbers, n: NUMBER * (numbers + outputs * n**2) / 1e9
    series = {
        "a sweep": ("values of α", values, {
            "f_lin, anew": lambda n: n * linear, "f_lin, here": lambda n: passes(1),
            "f, anew": lambda n: n, "f, here": lambda n: n - 1}),
        "negation, on the control": ("task vectors", tasks, {
            "f_lin, anew": lambda n: n * len(ALPHAS) * linear, "f_lin, here": passes,
            "f, anew": lambda n: n * len(ALPHAS), "f, here": lambda n: n * (len(ALPHAS) - 1)}),
        "a grid of ξ": ("values on each axis", grids, {
            "f_lin, anew": lambda n: 2 * n**2 * linear, "f_lin, here": lambda n: passes(2),
            "f, anew": lambda n: 2 * n**2, "f, here": lambda n: n**2 + n}),
        f"kernels of {outputs} logits": ("points", points, {
            "Jacobian": lambda n: gigabytes(n * outputs * counts[F].parameters, n),
            "here, the limit": lambda n: gigabytes(NUMBERS_HELD_ELSEWHERE, n)}),
    }  # fmt: skip
    return {
        title: {
            "x": x,
            "y": "GB held" if x == "points" else "forward passes of f",
            "at": list(at),
            "series": {name: [float(of(n)) for n in at] for name, of in lines.items()},
        }
        for title, (x, at, lines) in series.items()
    }


def growth_figure(panels: Panels) -> Figure:
    """A panel each on logarithmic axes; dashed what is computed anew, f_lin and kernels in the colour of linear models."""
    figure, axes = plt.subplots(1, len(panels), figsize=(8.5, 3.0), squeeze=False)
    for axis, (title, panel) in zip(axes[0], panels.items()):
        for name, line in panel["series"].items():
            colour = COLOURS["non-linear" if name.startswith("f,") else "linear"]
            style = "-" if "here" in name else "--"
            axis.loglog(panel["at"], line, style, color=colour, label=name)
        axis.set(xlabel=panel["x"], ylabel=panel["y"])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set_title(title, fontsize=9)
        axis.legend(fontsize=6)
    return figure


def work_anew(counts: Counts, papers: Iterable[str], protocol: Protocol) -> dict[str, int]:
    """``both_papers.work`` with every edited model evaluated by itself, and kernels from Jacobians in the same memory."""
    chosen = list(papers)
    found = work(counts, chosen, protocol) | dict.fromkeys(("addition", "negation", "disentanglement error", "NTK"), 0)
    uses = lambda training: [
        counts[mode.linearized, "all"].forward_operations
        for mode in ALL_MODES.values()
        if kind_of(mode.training.name) == kind_of(training)
    ]
    swept = lambda names: sum(len(ALPHAS) * val + test for val, test in map(split_sizes, names))
    for training in dict.fromkeys(training for name in chosen for training in PAPERS[name].trainings):
        found["addition"] += sum(uses(training)) * swept(PAPER.tasks)
        if training in ("non-linear", "linear"):
            found["negation"] += sum(uses(training)) * (swept(PAPER.tasks) + len(PAPER.tasks) * swept([PAPER.control]))
    points = sum(min(PAPER.points, split_sizes(name)[1]) for pair in PAPER.pairs for name in pair)
    for name in chosen:
        for training, values in PAPERS[name].grids.items():
            found["disentanglement error"] += sum(uses(training)) * points * 2 * values**2  # alone, and together
        for rows, columns, outputs in PAPERS[name].kernels:
            blocks = math.ceil(rows / max(1, NUMBERS_HELD["cuda"] // 2 // counts[F].parameters))
            points_passed = rows + blocks * columns  # for each block of rows the columns' gradients are made anew
            gradients = points_passed * counts[F].operations
            found["NTK"] += len(PAPER.pairs) * outputs * (gradients + 2 * rows * columns * counts[F].parameters)
    return found


def hours_table(counts: Mapping[str, Counts], protocol: Protocol, share: float) -> pd.DataFrame:
    """GPU-hours by part on the GPU that each paper names, in fp32: evaluated anew, as here, and what the paper says."""
    columns: dict[tuple[str, str], dict[str, str]] = {}
    for name, paper in PAPERS.items():
        printed, gpu = paper.printed
        for way, count in (("anew", work_anew), ("here", work)):
            parts: Counter = Counter()
            for by_kind in counts.values():
                for part, operations in count(by_kind, [name], protocol).items():
                    parts[part.split(",")[0]] += hours(operations, GPUS[gpu].fp32, share)
            whole = {**parts, "in all": sum(parts.values())}
            columns[(f"{name} paper, {gpu}", way)] = {part: f"{value:.1f}" for part, value in whole.items()}
        columns[(f"{name} paper, {gpu}", "the paper's figure")] = {"in all": f"less than {printed}"}
    return pd.DataFrame(columns).fillna(NONE)
