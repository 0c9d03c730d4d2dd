"""What a training step costs: numbers held and trained, bytes kept for the backward pass, and time.

Tangent-space paper, Appendix B (computational complexity); attention-only paper, Table 4.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangent_lib.cost.counted_steps import kept_for_backward
from tangent_lib.evaluation import classify
from tangent_lib.linearization import linearize, listing_1
from tangent_lib.modes import TRAININGS, select
from tangent_lib.runtime.errors import unknown
from tangent_lib.task_vectors import Function, Params

WAYS = {name: TRAININGS[name].selection for name in ("non-linear", "linear", "attention-only")}  # to what is trained
LISTING_1 = "linear, Listing 1"  # as the papers did it, for comparison
COMPARED = (*WAYS, LISTING_1)


@dataclass(frozen=True)
class StepCost:
    """The cost of one gradient; only the image tower is counted, and the frozen head is not.

    Attributes:
        seconds: median time of a gradient.
        saved_bytes: activations kept for the backward pass; weights are not among them.
        gradient_bytes: gradients of the trained parameters. AdamW's two moments take twice as much again.
        parameters: numbers held; f_lin holds theta beside theta_0.
        trainable: numbers trained.
        weight_bytes: what the held numbers take.
        rounds: the times of which ``seconds`` is the median; round i of every way was taken in the same turn.

    Example:
        >>> StepCost(0.1, saved_bytes=5, gradient_bytes=1, parameters=2, trainable=1, weight_bytes=2).memory_bytes
        10
    """

    seconds: float
    saved_bytes: int
    gradient_bytes: int
    parameters: int
    trainable: int
    weight_bytes: int
    rounds: tuple[float, ...] = ()

    @property
    def memory_bytes(self) -> int:
        """Weights, kept activations, gradients and AdamW's two moments together: a count, not a measured peak."""
        return self.weight_bytes + self.saved_bytes + 3 * self.gradient_bytes


def step_costs(
    f: Function,
    theta_0: Params,
    head: Float[Tensor, "classes dim"],
    x: Float[Tensor, "batch ..."],
    y: Int[Tensor, " batch"],
    repeats: int = 5,
    ways: Sequence[str] = COMPARED,
) -> dict[str, StepCost]:
    """Cost of one gradient of the loss for f, for f_lin in two ways, and for f with only attention weights trained.

    The ways take turns on the same batch, so that a change in the machine's load meets all of them. A first round warms up
    and counts bytes; the ``repeats`` after it are timed.

    Args:
        f: the image tower, ``f(params, x)``.
        theta_0: its weights.
        head: the frozen head.
        x: images.
        y: their labels.
        repeats: timed rounds.
        ways: some of ``COMPARED``.

    Returns:
        ``StepCost`` by way.

    Example:
        >>> theta_0 = {"w": torch.ones(3, 4)}
        >>> x, y = torch.ones(2, 4), torch.zeros(2, dtype=torch.long)
        >>> f = lambda params, x: x @ params["w"].T
        >>> costs = step_costs(f, theta_0, torch.eye(3), x, y, repeats=1, ways=("non-linear", "linear"))
        >>> {way: (cost.parameters, cost.trainable, cost.gradient_bytes) for way, cost in costs.items()}
        {'non-linear': (12, 12, 48), 'linear': (24, 12, 48)}
    """
    selections = {**WAYS, LISTING_1: "all"}
    for way in ways:
        if way not in selections:
            raise unknown("way to fine-tune", way, selections)
    trained = {way: select(theta_0, selections[way]) for way in ways}
    linearised = {"linear": linearize(f, theta_0), LISTING_1: listing_1(f, theta_0)}
    models = {way: linearised.get(way, f) for way in ways}
    saved = {way: _saved_bytes(models[way], theta_0, trained[way], head, x, y) for way in ways}
    seconds = {way: [] for way in ways}
    for _ in range(repeats):
        for way in ways:
            seconds[way].append(_seconds(models[way], theta_0, trained[way], head, x, y))
    return {way: _cost(theta_0, trained[way], way in linearised, tuple(seconds[way]), saved[way]) for way in ways}


def _cost(theta_0: Params, trained: Sequence[str], twice: bool, rounds: tuple[float, ...], saved: int) -> StepCost:
    held = [value for value in theta_0.values() for _ in range(1 + twice)]
    moving = [theta_0[name] for name in trained]
    return StepCost(
        median(rounds),
        saved,
        gradient_bytes=sum(value.nbytes for value in moving),
        parameters=sum(value.numel() for value in held),
        trainable=sum(value.numel() for value in moving),
        weight_bytes=sum(value.nbytes for value in held),
        rounds=rounds,
    )


def _leaves(theta_0: Params, trained: Sequence[str]) -> Params:
    """theta_0 with fresh, trainable copies of what is trained."""
    return {name: v.clone().requires_grad_(True) if name in trained else v for name, v in theta_0.items()}


def _loss(model: Function, theta: Params, head: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(classify(model(theta, x), head), y)


def _saved_bytes(model: Function, theta_0: Params, trained: Sequence[str], head: Tensor, x: Tensor, y: Tensor) -> int:
    theta = _leaves(theta_0, trained)
    with kept_for_backward((*theta.values(), *theta_0.values())) as kept:
        loss = _loss(model, theta, head, x, y)
    loss.backward()
    return sum(kept.values())


def _seconds(model: Function, theta_0: Params, trained: Sequence[str], head: Tensor, x: Tensor, y: Tensor) -> float:
    theta = _leaves(theta_0, trained)
    _synchronise(x)
    start = time.perf_counter()
    _loss(model, theta, head, x, y).backward()
    _synchronise(x)
    return time.perf_counter() - start


def _synchronise(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()
