"""A training step: of the model f, of f_lin as it is trained here, and of f_lin by the plain formula (Listing 1).

    python benchmarks/linear_step.py --model ViT-Mini-8 --batch-size 32 --json step.json

A step is that of ``finetune``: gradients of all weights, their clipping, AdamW. Each side has weights of its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from inputs import CLASSES, doubled, head, images, load, task_vectors
from measures import Side, distance
from pairs import Bench, command, count
from torch import Tensor

from tangent_lib.data.batches import batches
from tangent_lib.evaluation import classify
from tangent_lib.finetuning import Protocol
from tangent_lib.linearization import linearize, listing_1
from tangent_lib.task_vectors import Function, Params, add

PROTOCOL = Protocol()
COMPARED = 2  # images, in float64


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 through autocast")
    parser.add_argument("--batch-size", type=count, default=32, help="images a step (%(default)s)")
    parser.add_argument("--steps", type=count, default=10, help="steps in a row, as in training, each turn (%(default)s)")


def build(given: argparse.Namespace) -> Bench:
    clip = load(given)
    ((x, y),) = batches(images(clip, given.batch_size, given.seed), given.batch_size, clip.device)
    weights, bf16 = head(clip, CLASSES, given.seed), given.precision == "bf16"

    def models(f: Function, theta_0: Params) -> dict[str, Function]:
        return {"non-linear": f, "fast": linearize(f, theta_0), "naive": listing_1(f, theta_0)}

    def sides() -> dict[str, Side]:
        held = sum(value.nbytes for value in clip.theta_0.values())  # f_lin needs theta_0 beside theta
        found = {}
        for name, model in models(clip.f, clip.theta_0).items():
            training = partial(trainer, model, clip.theta_0, weights, x, y, bf16)
            several = partial(repeated, training(), given.steps)
            beside, floor = held * (name != "non-linear"), name != "naive"
            found[name] = Side(several, partial(two_steps, training), beside, 1 / given.steps, floor)
        return found

    def apart(f: Function, theta_0: Params, tau: Params, x: Tensor, y: Tensor, kind: str) -> dict[str, float]:
        found = {}
        for name, model in models(f, theta_0).items():
            theta = {key: value.requires_grad_() for key, value in add(theta_0, tau).items()}
            with torch.autocast(x.device.type, torch.bfloat16, enabled=kind == "bf16"):
                features = model(theta, x)
            loss = torch.nn.functional.cross_entropy(classify(features, weights.to(features.dtype)), y)
            found[name] = features.detach(), dict(zip(theta, torch.autograd.grad(loss, theta.values())))
        pairs = zip(("features", "gradient"), found["fast"], found["naive"])
        return {f"{what}, {kind}": distance(left, right) for what, left, right in pairs}

    def distances(results: object) -> dict[str, float]:
        (tau,) = task_vectors(clip, 1, given.seed)
        in_float64 = {name: value.double() for name, value in tau.items()}
        exact = apart(*doubled(clip), in_float64, x[:COMPARED].double(), y[:COMPARED], "float64")
        return {**apart(clip.f, clip.theta_0, tau, x, y, given.precision), **exact}

    return Bench(
        sides(),
        (("fast", "non-linear"), ("naive", "non-linear"), ("naive", "fast")),
        distances,
        {
            "batch_size": given.batch_size,
            "steps": given.steps,
            "parameters": sum(value.numel() for value in clip.theta_0.values()),
        },
    )


def trainer(model: Function, theta_0: Params, weights: Tensor, x: Tensor, y: Tensor, bf16: bool) -> Callable[[], Tensor]:
    """A training step as ``finetune`` takes it. The first one makes its own copy of the weights, and an optimiser."""

    @cache
    def own() -> tuple[Params, torch.optim.Optimizer]:
        theta = {name: value.clone().requires_grad_() for name, value in theta_0.items()}
        rates = {"lr": PROTOCOL.learning_rate, "weight_decay": PROTOCOL.weight_decay}
        return theta, torch.optim.AdamW(theta.values(), **rates, fused=True)

    def step() -> Tensor:
        theta, optimizer = own()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
            features = model(theta, x)
        loss = torch.nn.functional.cross_entropy(classify(features, weights), y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theta.values(), PROTOCOL.clip_norm)
        optimizer.step()
        return loss.detach()

    return step


def repeated(step: Callable[[], Tensor], times: int) -> None:
    for _ in range(times):
        step()


def two_steps(training: Callable[[], Callable[[], Tensor]]) -> None:
    """From the start: the second step is the first one that meets the optimiser's moments."""
    step = training()
    step(), step()


def main(arguments: Sequence[str] | None = None) -> int:
    return command("linear_step", __doc__, options, build, arguments)


if __name__ == "__main__":
    sys.exit(main())
