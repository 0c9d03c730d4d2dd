"""What a training step costs: time, and the memory that the backward pass needs (Appendix B, computational complexity)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tangent_lib.linearize import Function, linearize
from tangent_lib.models import classify
from tangent_lib.task_vectors import Params


@dataclass(frozen=True)
class StepCost:
    """The median seconds of a step, and the bytes of activations kept for its backward pass."""

    seconds: float
    saved_bytes: int


def step_costs(
    f: Function,
    theta_0: Params,
    head: Float[Tensor, "classes dim"],
    x: Float[Tensor, "batch ..."],
    y: Int[Tensor, " batch"],
    repeats: int = 5,
) -> dict[str, StepCost]:
    """Cost of one gradient of the loss for f and for f_lin, measured in turn on the same batch.

    Returns:
        ``StepCost`` by ``non-linear`` and ``linear``.
    """
    models = {"non-linear": f, "linear": linearize(f, theta_0)}
    seconds, saved = {name: [] for name in models}, {}
    for _ in range(repeats + 1):  # the first round warms up
        for name, model in models.items():
            elapsed, saved[name] = _gradient(model, theta_0, head, x, y)
            seconds[name].append(elapsed)
    return {name: StepCost(median(seconds[name][1:]), saved[name]) for name in models}


def _gradient(model: Function, theta_0: Params, head: Tensor, x: Tensor, y: Tensor) -> tuple[float, int]:
    theta = {name: value.clone().requires_grad_(True) for name, value in theta_0.items()}
    weights = {value.untyped_storage().data_ptr() for value in (*theta.values(), *theta_0.values())}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    _synchronise(x)
    start = time.perf_counter()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = torch.nn.functional.cross_entropy(classify(model(theta, x), head), y)
        loss.backward()
    _synchronise(x)
    return time.perf_counter() - start, sum(kept.values())


def _synchronise(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize()
