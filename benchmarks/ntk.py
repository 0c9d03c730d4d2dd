"""Neural tangent kernels of several logits: from Jacobians of torch.func, or without a Jacobian.

    python benchmarks/ntk.py --model ViT-Mini-8 --points 400 --outputs 10 --json ntk.json
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import torch
from pairs import Bench, Side, command, count, distance, doubled, head, images, load, operations
from torch import Tensor
from torch.func import jacrev, vmap

from tangent_lib.batches import batches
from tangent_lib.fast.kernel import MEMORY, ntk_of_outputs
from tangent_lib.linearize import Function, forward_differentiable
from tangent_lib.models import classify
from tangent_lib.ntk import ntk
from tangent_lib.task_vectors import Params

COUNTED = (2, 4)  # points, of which operations are counted; the larger number is compared in float64


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--points", type=count, default=400, help="images (%(default)s)")
    parser.add_argument("--outputs", type=count, default=10, help="logits, each with a kernel (%(default)s)")
    parser.add_argument("--memory", type=count, default=MEMORY, help="numbers that the fast side may hold (%(default)s)")
    parser.add_argument(
        "--jacobian", type=count, default=10**9, help="numbers that the naive side may hold of Jacobians (%(default)s)"
    )


def build(given: argparse.Namespace) -> Bench:
    clip = load(given)
    weights = head(clip, given.outputs, given.seed)
    ((x, _),) = batches(images(clip, given.points, given.seed), given.points, clip.device)
    numbers = sum(value.numel() for value in clip.theta_0.values())
    together = min(given.outputs, given.jacobian // (given.points * numbers))
    block = min(given.points, max(1, given.jacobian // (2 * numbers)))

    def sides(f: Function, params: Params, x: Tensor) -> dict[str, Side]:
        logits = lambda params, x: classify(f(params, x), weights.to(x.dtype))
        naive = partial(dense, together=together) if together else partial(in_blocks, block=block)
        found = {"naive": partial(naive, logits, params, x, given.outputs)}
        found["fast"] = partial(ntk_of_outputs, logits, params, x, memory=given.memory)
        return {name: Side(run) for name, run in found.items()}

    def distances(results: dict[str, Tensor]) -> dict[str, float]:
        f, params = doubled(clip)
        exact = {name: side.run() for name, side in sides(f, params, x[: COUNTED[1]].double()).items()}
        return {
            "kernels, fp32": distance(results["fast"], results["naive"]),
            "kernels, float64": distance(exact["fast"], exact["naive"]),
        }

    return Bench(
        sides(clip.f, clip.theta_0, x),
        [("naive", "fast")],
        ...,
        distances,
        ...
    )
