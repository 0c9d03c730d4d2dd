"""Neural tangent kernels of several logits: from Jacobians by torch.func, or without a Jacobian.

    python benchmarks/ntk.py --model ViT-Mini-8 --points 400 --outputs 10 --json ntk.json

Where the Jacobians of all points do not fit even for one logit, the naive side makes them anew for blocks of the kernel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import torch
from inputs import doubled, head, images, load
from measures import Side, distance, operations
from pairs import Bench, command, count
from torch import Tensor
from torch.func import jacrev, vmap

from tangent_lib._fast.kernel import MEMORY, ntk_of_outputs
from tangent_lib.data.batches import batches
from tangent_lib.evaluation import classify
from tangent_lib.kernels import ntk
from tangent_lib.runtime.operations import forward_differentiable
from tangent_lib.task_vectors import Function, Params

COUNTED = 2  # points, of which operations are counted, and of twice as many


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--points", type=count, default=400, help="images (%(default)s)")
    parser.add_argument("--outputs", type=count, default=10, help="logits, each with a kernel (%(default)s)")
    parser.add_argument("--memory", type=count, default=MEMORY, help="numbers the fast side may hold (%(default)s)")
    parser.add_argument(
        "--jacobian", type=count, default=10**9, help="numbers of Jacobians the naive side may hold (%(default)s)"
    )


def build(given: argparse.Namespace) -> Bench:
    clip = load(given)
    weights = head(clip, given.outputs, given.seed)
    ((x, _),) = batches(images(clip, given.points, given.seed), given.points, clip.device)
    numbers = sum(value.numel() for value in clip.theta_0.values())
    logits_at_once = min(given.outputs, given.jacobian // (given.points * numbers))
    points_at_once = given.points if logits_at_once else max(1, given.jacobian // (2 * numbers))

    def sides(f: Function, params: Params, x: Tensor) -> dict[str, Side]:
        logits = lambda params, x: classify(f(params, x), weights.to(x.dtype))
        by_logit = partial(logit_by_logit, logits, params, x, given.outputs, points_at_once)
        naive = partial(dense, logits, params, x, given.outputs, logits_at_once) if logits_at_once else by_logit
        return {"naive": Side(naive), "fast": Side(partial(ntk_of_outputs, logits, params, x, memory=given.memory))}

    def distances(results: dict[str, Tensor]) -> dict[str, float]:
        exact = {name: side.run() for name, side in sides(*doubled(clip), points.double()).items()}
        kinds = {"fp32": results, "float64": exact}
        return {f"kernels, {kind}": distance(found["fast"], found["naive"]) for kind, found in kinds.items()}

    ((points, _),) = batches(images(clip, 2 * COUNTED, given.seed), 2 * COUNTED, clip.device)
    few, twice = (
        {name: operations(side) for name, side in sides(clip.f, clip.theta_0, some).items()}
        for some in (points[:COUNTED], points)
    )
    if logits_at_once:
        note = f"The naive side holds Jacobians of {logits_at_once} logits at a time, for all points."
    else:
        note = f"The naive side takes one logit at a time, and holds two Jacobians of {points_at_once} points."
    return Bench(
        sides(clip.f, clip.theta_0, x),
        [("naive", "fast")],
        {name: extended(few[name], twice[name], given.points) for name in few},
        distances,
        {
            "points": given.points,
            "outputs": given.outputs,
            "memory": given.memory,
            "jacobian": given.jacobian,
            "naive_logits_at_once": max(1, logits_at_once),
            "naive_points_at_once": points_at_once,
            "parameters": numbers,
        },
        [note],
    )


def dense(f: Function, params: Params, x: Tensor, outputs: int, at_once: int) -> Tensor:
    """K_c = J_c J_c^T with the whole Jacobians of some logits at a time."""
    kernels = []
    for start in range(0, outputs, at_once):
        some = lambda params, point, start=start: f(params, point.unsqueeze(0))[0, start : start + at_once]
        with forward_differentiable():
            jacobians = vmap(jacrev(some), in_dims=(None, 0))(params, x)
        rows = [value.flatten(start_dim=2).transpose(0, 1) for value in jacobians.values()]
        kernels.append(sum(each @ each.mT for each in rows))
    return torch.cat(kernels)


def logit_by_logit(f: Function, params: Params, x: Tensor, outputs: int, batch_size: int) -> Tensor:
    """The same with Jacobians of some points at a time, made anew for each block of the kernel."""
    ones = (lambda params, x, c=c: f(params, x)[:, c] for c in range(outputs))
    return torch.stack([ntk(one, params, x, batch_size=batch_size) for one in ones])


def extended(few: float, twice: float, points: int) -> float:
    """Operations for so many points, from those for a few and for twice as many: one part grows with n, one with n^2.

    Example:
        >>> extended(3 * COUNTED + COUNTED**2, 6 * COUNTED + 4 * COUNTED**2, 10)
        130.0
    """
    square = (twice - 2 * few) / (2 * COUNTED**2)
    return (few / COUNTED - square * COUNTED) * points + square * points**2


def main(arguments: Sequence[str] | None = None) -> int:
    return command("ntk", __doc__, options, build, arguments)


if __name__ == "__main__":
    sys.exit(main())
