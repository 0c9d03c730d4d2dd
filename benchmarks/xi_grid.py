"""The weight disentanglement error xi of two tasks on a grid of alphas: model by model, or all from shared passes.

    python benchmarks/xi_grid.py --model ViT-Mini-8 --grid 20 --points 50 --nonlinear --json xi.json

Both sides give the prediction error and the KL divergence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import torch
from inputs import CLASSES, head, images, load, task_vectors
from measures import Side, distance
from pairs import Bench, command, count
from torch import Tensor

from tangent_lib.data.batches import batches
from tangent_lib.data.tasks import ImageArray
from tangent_lib.disentanglement import DISTANCES, alpha_grid, disentanglement_error, xi_at
from tangent_lib.evaluation import EVAL_BATCH, Settings, classify
from tangent_lib.linearization import listing_1
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import Function, Params, apply

TASKS, BOUND = 2, 3.0
LINEAR, NON_LINEAR = ("naive", "fast"), ("naive non-linear", "fast non-linear")
Xi = dict[str, list[float]]  # by distance, a value for each cell


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--grid", type=count, default=20, help="values of each alpha in [-3, 3] (%(default)s)")
    parser.add_argument("--points", type=count, default=50, help="images a task (%(default)s)")
    parser.add_argument("--cells", type=count, help="time so many cells of the naive side alone and scale (all)")
    parser.add_argument("--nonlinear", action="store_true", help="also xi of the non-linear model")
    parser.add_argument("--batch-size", type=count, default=EVAL_BATCH, help="images at a time (%(default)s)")


def build(given: argparse.Namespace) -> Bench:
    every = given.grid**2
    cells = given.cells or every
    if cells > every:
        raise InputError(f"--cells {cells}: a grid of {given.grid} values has {every}")
    clip, compared = load(given), [LINEAR, NON_LINEAR][: 1 + given.nonlinear]
    taus, heads = task_vectors(clip, TASKS, given.seed), [head(clip, CLASSES, given.seed + t) for t in range(TASKS)]
    values = alpha_grid(given.grid, BOUND)
    settings = [[left, right] for left in values for right in values]
    chosen = [i * every // cells for i in range(cells)]  # spread over the grid
    by_cell = [settings[i] for i in chosen]

    def sides() -> dict[str, Side]:
        data = [images(clip, given.points, given.seed + t) for t in range(TASKS)]
        found = {}
        for (naive, fast), linear in zip(compared, (True, False)):
            model = listing_1(clip.f, clip.theta_0) if linear else clip.f
            run = partial(cell_by_cell, model, clip.theta_0, taus, heads, data, given.batch_size)
            found[naive] = Side(partial(run, by_cell), partial(run, by_cell[:1]), times=every / cells, floor=False)
            shared = (clip.f, clip.theta_0, taus, settings, heads, data, linear)
            found[fast] = Side(partial(xi_at, *shared, batch_size=given.batch_size))
        return found

    def distances(results: dict[str, Xi]) -> dict[str, float]:
        """Of xi in the cells that both sides have."""
        found = {}
        for naive, fast in compared:
            for name in DISTANCES:
                wanted, grid = (torch.tensor(results[side][name]) for side in (naive, fast))
                found[f"xi by {name}{naive.removeprefix('naive')}"] = distance(grid[chosen], wanted)
        return found

    note = ["Peak memory of the naive sides is that of one cell; each further one adds two numbers."]
    if cells < every:
        note.append(f"The naive sides computed {cells} of {every} cells; their time is scaled by {every / cells:g}.")
    return Bench(
        sides(),
        compared,
        distances,
        {"grid": given.grid, "points": given.points, "cells": cells, "tasks": TASKS, "batch_size": given.batch_size},
        note,
    )


@torch.no_grad()
def cell_by_cell(
    model: Function,
    theta_0: Params,
    taus: list[Params],
    heads: list[Tensor],
    data: list[ImageArray],
    batch_size: int,
    settings: Settings,
) -> Xi:
    """xi as equation 6 has it: in each cell the outputs on each task's points, with its own vector and with all."""
    values: Xi = {name: [] for name in DISTANCES}
    for alphas in settings:
        alone, together, everything = [], [], theta_0
        for tau, alpha in zip(taus, alphas):
            everything = apply(everything, tau, alpha)
        for tau, alpha, points in zip(taus, alphas, data):
            for theta, found in ((apply(theta_0, tau, alpha), alone), (everything, together)):
                found.append(torch.cat([model(theta, x) for x, _ in batches(points, batch_size, heads[0].device)]))
        classes = [[classify(z, rows).argmax(dim=-1) for z, rows in zip(found, heads)] for found in (alone, together)]
        for name, outputs in {"prediction error": classes, "KL divergence": (alone, together)}.items():
            values[name].append(disentanglement_error(*outputs, DISTANCES[name]).item())
    return values


def main(arguments: Sequence[str] | None = None) -> int:
    return command("xi_grid", __doc__, options, build, arguments)


if __name__ == "__main__":
    sys.exit(main())
