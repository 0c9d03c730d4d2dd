"""Neural tangent kernels of several logits: from all gradients by torch.func, or from what enters and leaves each layer.

    python benchmarks/ntk.py --model ViT-Mini-8 --points 400 --outputs 10 --json ntk.json

Where the gradients of all points do not fit, the naive side takes them anew for blocks of the kernel.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

from inputs import doubled, head, images, load
from measures import Side, distance
from pairs import Bench, command, count
from torch import Tensor

from tangent_lib.data.batches import batches
from tangent_lib.evaluation import classify
from tangent_lib.kernels import NUMBERS_HELD_ELSEWHERE, ntk
from tangent_lib.task_vectors import Function, Params

COMPARED = 4  # points, in float64


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--points", type=count, default=400, help="images (%(default)s)")
    parser.add_argument("--outputs", type=count, default=10, help="logits, each with a kernel (%(default)s)")
    held = NUMBERS_HELD_ELSEWHERE
    parser.add_argument("--memory", type=count, default=held, help="numbers the fast side may hold (%(default)s)")
    parser.add_argument("--jacobian", type=count, default=10**9, help="numbers the naive side may hold (%(default)s)")


def build(given: argparse.Namespace) -> Bench:
    clip = load(given)
    weights = head(clip, given.outputs, given.seed)
    ((x, _),) = batches(images(clip, given.points, given.seed), given.points, clip.device)
    numbers = sum(value.numel() for value in clip.theta_0.values())
    at_once = min(given.points, max(1, given.jacobian // (2 * given.outputs * numbers)))

    def sides(f: Function, params: Params, x: Tensor) -> dict[str, Side]:
        logits = lambda params, x: classify(f(params, x), weights.to(x.dtype))
        kernels = partial(ntk, logits, params, x, None)
        naive, fast = partial(kernels, "plain", given.jacobian), partial(kernels, "auto", given.memory)
        return {"naive": Side(naive, floor=False), "fast": Side(fast)}

    def distances(results: dict[str, Tensor]) -> dict[str, float]:
        exact = {name: side.run() for name, side in sides(*doubled(clip), points.double()).items()}
        kinds = {"fp32": results, "float64": exact}
        return {f"kernels, {kind}": distance(found["fast"], found["naive"]) for kind, found in kinds.items()}

    ((points, _),) = batches(images(clip, COMPARED, given.seed), COMPARED, clip.device)
    note = f"The naive side holds the gradients of all logits at {at_once} points a side of a block."
    return Bench(
        sides(clip.f, clip.theta_0, x),
        [("naive", "fast")],
        distances,
        {
            "points": given.points,
            "outputs": given.outputs,
            "memory": given.memory,
            "jacobian": given.jacobian,
            "naive_points_at_once": at_once,
            "parameters": numbers,
        },
        [note],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return command("ntk", __doc__, options, build, arguments)


if __name__ == "__main__":
    sys.exit(main())
