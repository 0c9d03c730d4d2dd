"""Predictions of f_lin along alpha: the plain formula anew at each alpha, or one pass for all of them.

    python benchmarks/alpha_sweep.py --model ViT-Mini-8 --alphas 21 --images 1000 --json sweep.json

f_lin is affine in alpha, so that its value and its tangents at theta_0 give it everywhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial

import torch
from inputs import CLASSES, doubled, head, images, load, task_vectors
from measures import Side, distance
from pairs import Bench, command, count
from torch import Tensor

from tangent_lib.data.batches import batches
from tangent_lib.data.tasks import ImageArray
from tangent_lib.evaluation import EVAL_BATCH, features_at, predict
from tangent_lib.linearization import listing_1
from tangent_lib.task_vectors import Function, Params, apply, total

COMPARED = 2  # images, whose features are
PART = 2  # alphas whose peak memory is that of all


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--alphas", type=count, default=21, help="values of alpha in [0, 1] (%(default)s)")
    parser.add_argument("--images", type=count, default=1000, help="whose classes are predicted (%(default)s)")
    parser.add_argument("--tasks", type=count, default=1, help="task vectors added with one alpha (%(default)s)")
    parser.add_argument("--batch-size", type=count, default=EVAL_BATCH, help="images at a time (%(default)s)")


def build(given: argparse.Namespace) -> Bench:
    clip = load(given)
    weights, taus = head(clip, CLASSES, given.seed), task_vectors(clip, given.tasks, given.seed)
    alphas, tau = torch.linspace(0, 1, given.alphas).tolist(), total(taus)
    few = images(clip, COMPARED, given.seed)

    def sides(data: ImageArray) -> dict[str, Side]:
        def naive(alphas: list[float]) -> Tensor:
            """At each alpha f_lin is evaluated at the edited weights, like any other model."""
            f_lin, edited = listing_1(clip.f, clip.theta_0), (apply(clip.theta_0, tau, alpha) for alpha in alphas)
            found = [predict(f_lin, theta, [], [[]], weights, data, False, given.batch_size)[0] for theta in edited]
            return torch.cat(found)

        def fast(alphas: list[float]) -> Tensor:
            """One tangent a task vector serves all alphas."""
            settings = [[alpha] * len(taus) for alpha in alphas]
            return predict(clip.f, clip.theta_0, taus, settings, weights, data, True, given.batch_size)[0]

        runs = {"naive": naive, "fast": fast}
        part = lambda run: partial(run, alphas[:PART])
        return {name: Side(partial(run, alphas), part(run), floor=name == "fast") for name, run in runs.items()}

    def apart(f: Function, theta_0: Params, taus: list[Params], x: Tensor) -> float:
        fast = features_at(f, theta_0, taus, [x], linearized=True)([[alpha] * len(taus) for alpha in alphas], [0])
        naive = [listing_1(f, theta_0)(apply(theta_0, total(taus), alpha), x) for alpha in alphas]
        return distance(torch.stack([z for (z,) in fast]), torch.stack(naive))

    @torch.no_grad()
    def distances(results: dict[str, Tensor]) -> dict[str, float]:
        ((x, _),) = batches(few, COMPARED, clip.device)
        in_float64 = [{name: value.double() for name, value in tau.items()} for tau in taus]
        return {
            "share of predictions that differ": (results["fast"] != results["naive"]).double().mean().item(),
            "features, fp32": apart(clip.f, clip.theta_0, taus, x),
            "features, float64": apart(*doubled(clip), in_float64, x.double()),
        }

    return Bench(
        sides(images(clip, given.images, given.seed)),
        [("naive", "fast")],
        distances,
        {"alphas": given.alphas, "images": given.images, "tasks": given.tasks, "batch_size": given.batch_size},
        [f"Peak memory is that of {PART} values of alpha; each further one adds a number an image."],
    )


def main(arguments: Sequence[str] | None = None) -> int:
    return command("alpha_sweep", __doc__, options, build, arguments)


if __name__ == "__main__":
    sys.exit(main())
