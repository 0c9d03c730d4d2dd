"""Fine-tuning in weight space or in the tangent space: one loop for every mode (tangent-space paper, Appendix A)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import Dataset
from tqdm import tqdm

from tangent_lib.data import batches
from tangent_lib.errors import InputError
from tangent_lib.linearize import Function, linearize
from tangent_lib.models import classify
from tangent_lib.task_vectors import Params

Precision = Literal["fp32", "bf16"]


class Protocol(BaseModel):
    """How to fine-tune: AdamW, linear warm-up, cosine to zero, gradient clipping, weight decay on every parameter.

    The defaults are the paper's for CLIP: 2,000 iterations of 128 images at 1e-5 with 200 warm-up steps. Weight decay pulls
    theta, not theta - theta_0, towards zero, in the tangent space too.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(2000, ge=1)
    batch_size: int = Field(128, ge=1)
    learning_rate: float = Field(1e-5, gt=0)
    warmup_share: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    precision: Precision = "fp32"

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0.

        Example:
            >>> protocol = Protocol(steps=20, learning_rate=1.0)
            >>> [round(protocol.learning_rate_at(step), 3) for step in (0, 1, 2, 11, 19)]
            [0.5, 1.0, 1.0, 0.5, 0.008]
        """
        warmup = round(self.warmup_share * self.steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup)))


def finetune(
    f: Function,
    theta_0: Params,
    head: Float[Tensor, "classes dim"],
    data: Dataset,
    protocol: Protocol,
    linearized: bool,
    seed: int,
    progress: str = "",
    trained: Sequence[str] | None = None,
) -> Params:
    """Fine-tune the image tower f, or its linearisation f_lin, with the head frozen.

    Args:
        f: the image tower, ``f(params, x)``.
        theta_0: the weights to start from, and to linearise at.
        head: the zero-shot head.
        data: the training split.
        protocol: steps, batch size, learning rate and so on.
        linearized: train f_lin (Section 5) instead of f.
        seed: of the order of the images and of dropout.
        progress: what the progress bar says; empty for none.
        trained: the names of the parameters to train (``selection.select``); all by default. The others stay as they are.

    Returns:
        theta_star, the fine-tuned weights.

    Raises:
        InputError: if nothing is trained, or a name is not one of the model's parameters.
        FloatingPointError: if the loss is no longer finite.
    """
    model = linearize(f, theta_0) if linearized else f
    trained = set(theta_0) if trained is None else set(trained)
    if not trained or not trained <= theta_0.keys():
        raise InputError(f"nothing to train, or not of this model: {sorted(trained - theta_0.keys())[:3]}")
    theta = {name: value.clone().requires_grad_(name in trained) for name, value in theta_0.items()}
    weights = [value for value in theta.values() if value.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=protocol.learning_rate, weight_decay=protocol.weight_decay)
    order = torch.Generator().manual_seed(seed)
    device = head.device
    images = _endless(data, protocol.batch_size, device, order)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for step in tqdm(range(protocol.steps), desc=progress, disable=not progress, mininterval=5, ncols=100):
            for group in optimizer.param_groups:
                group["lr"] = protocol.learning_rate_at(step)
            x, y = next(images)
            with autocast:
                features = model(theta, x)
            loss = torch.nn.functional.cross_entropy(classify(features, head), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, protocol.clip_norm)
            optimizer.step()
            if step % 50 == 0 or step == protocol.steps - 1:
                _check_finite(loss, step, protocol)
    if not all(value.isfinite().all() for value in theta.values()):
        raise FloatingPointError(
            f"the fine-tuned weights are not finite: lower the learning rate of {protocol.learning_rate} (-p learning_rate)"
        )
    return {name: value.detach() for name, value in theta.items()}


def _endless(data: Dataset, batch_size: int, device: torch.device, order: torch.Generator):
    while True:
        yield from batches(data, batch_size, device, order)


def _check_finite(loss: Tensor, step: int, protocol: Protocol) -> None:
    if not torch.isfinite(loss):
        raise FloatingPointError(
            f"the loss is {loss.item()} at step {step}: lower the learning rate of "
            f"{protocol.learning_rate} with -p learning_rate, or use -p precision fp32"
        )
