"""Fine-tuning in weight space or in the tangent space: one loop for every mode (tangent-space paper, Appendix A)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.data import Dataset
from tqdm import tqdm

from tangent_lib.data.batches import training_batches
from tangent_lib.evaluation import Head, check_labels, classify
from tangent_lib.linearization import linearize
from tangent_lib.modes import Protocol
from tangent_lib.runtime.errors import InputError, NotFinite
from tangent_lib.runtime.functions import pure
from tangent_lib.runtime.inputs import Inputs, device_of
from tangent_lib.runtime.memory import enough_memory
from tangent_lib.runtime.processes import accelerator
from tangent_lib.runtime.snapshots import Snapshots
from tangent_lib.task_vectors import Function, Params


class _Trained(nn.Module):
    """The weights that are trained as parameters of a module; what is frozen stays outside of it."""

    def __init__(self, model: Function, theta: Params, trained: Sequence[str]):
        super().__init__()
        self.model, self.names = model, [name for name in theta if name in set(trained)]
        self.frozen = {name: value for name, value in theta.items() if name not in set(trained)}
        self.order = list(theta)
        self.weights = nn.ParameterList([nn.Parameter(theta[name].clone()) for name in self.names])

    def forward(self, x: Inputs) -> Tensor:
        return self.model(self.theta(), x)

    def theta(self) -> Params:
        values = self.frozen | dict(zip(self.names, self.weights))
        return {name: values[name] for name in self.order}


@dataclass(frozen=True)
class Execution:
    """How a fine-tuning runs on this machine; nothing here changes its result beyond rounding.

    Attributes:
        micro_batch: points at a time in a process; gradients are summed until the batch is complete. None: all at once.
        snapshots: where the state is kept now and then, and where an interrupted training goes on.
        progress: what the progress bar says; empty for none.
    """

    micro_batch: int | None = None
    snapshots: Snapshots | None = None
    progress: str = ""


def finetune(
    f: Function,
    theta_0: Params,
    head: Head,
    data: Dataset,
    protocol: Protocol,
    *,
    linearized: bool = False,
    seed: int = 0,
    trained: Sequence[str] | None = None,
    execution: Execution = Execution(),
) -> Params:
    """Fine-tune the model f, or its linearisation f_lin, with the head frozen.

    Where ``accelerate launch`` started several processes, each computes its share of every batch; the loss is the mean
    over the whole batch, however it is divided.

    Args:
        f: the model, ``f(params, x)``, which gives features.
        theta_0: the weights to start from, and to linearise at; training happens on their device.
        head: the zero-shot head, or any readout of the features.
        data: the training split: pairs of inputs, a tensor or a dict of tensors, and labels.
        protocol: steps, batch size, learning rate and so on.
        linearized: train f_lin (Section 5) instead of f.
        seed: of the order of the points, of augmentation and of dropout.
        trained: the names of the parameters to train (``modes.select``); all by default. The others stay as they are.
        execution: what does not change the result: micro-batches, snapshots, progress.

    Returns:
        theta_star, the fine-tuned weights.

    Raises:
        InputError: if nothing is trained, a name is not one of the model's parameters, or the GPU's memory is too small.
        NotFinite: if the loss or a weight is no longer finite.

    Example:
        >>> f = lambda params, x: torch.nn.functional.linear(x, params["w"])
        >>> data = torch.utils.data.TensorDataset(torch.eye(2), torch.tensor([0, 1]))
        >>> protocol = Protocol(steps=2, batch_size=2, learning_rate=0.1, weight_decay=0)
        >>> theta_star = finetune(f, {"w": torch.zeros(2, 2)}, lambda z: z, data, protocol)
        >>> theta_star["w"].diagonal() > 0
        tensor([True, True])
    """
    model = linearize(f, theta_0) if linearized else pure(f)
    trained = set(theta_0) if trained is None else set(trained)
    if not trained or not trained <= theta_0.keys():
        raise InputError(f"nothing to train, or not of this model: {sorted(trained - theta_0.keys())[:3]}")
    device = device_of(theta_0)
    processes, snapshots = accelerator(device), execution.snapshots
    if not len(data):
        raise InputError("the dataset is empty: training needs at least one point")
    batch = min(protocol.batch_size, len(data))
    if batch < processes.num_processes:
        raise InputError(f"{processes.num_processes} processes for {batch} images a step: start fewer")
    own = _Trained(model, theta_0, sorted(trained))
    module = processes.prepare_model(own, device_placement=False)
    weights = list(own.weights)
    optimizer = torch.optim.AdamW(weights, lr=protocol.learning_rate, weight_decay=protocol.weight_decay, fused=True)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        start = snapshots.restore(optimizer) if snapshots else 0
        if processes.num_processes > 1 and len({*gather_object([start])}) > 1:
            raise InputError("the processes do not see one state of the interrupted training: all must share the store")
        place = (processes.process_index, processes.num_processes)
        images = training_batches(data, protocol.batch_size, device, seed, start, place, execution.micro_batch)
        shown = execution.progress and processes.is_main_process
        bar = {"desc": execution.progress, "disable": not shown, "mininterval": 5, "ncols": 100}
        for step in tqdm(range(start, protocol.steps), initial=start, total=protocol.steps, **bar):
            for group in optimizer.param_groups:
                group["lr"] = protocol.learning_rate_at(step)
            optimizer.zero_grad(set_to_none=True)
            with enough_memory("fine-tuning", execution.micro_batch or protocol.batch_size):
                loss = _gradients(module, head, next(images), batch, protocol, processes)
                torch.nn.utils.clip_grad_norm_(weights, protocol.clip_norm)
                optimizer.step()
            if step % 50 == 0 or step == protocol.steps - 1:
                _check_finite(loss, step, protocol)
            if snapshots and processes.is_main_process and step + 1 < protocol.steps:
                snapshots.keep(step + 1, optimizer)
    theta = own.theta()
    if not all(value.isfinite().all() for value in theta.values()):
        raise NotFinite(f"the fine-tuned weights are not finite: the learning rate of {protocol.learning_rate} is too high")
    return {name: value.detach() for name, value in theta.items()}


def _gradients(
    module: nn.Module, head: Head, parts: list[tuple[Inputs, Tensor]], images: int, protocol: Protocol, processes: Accelerator
) -> Tensor:
    """Leave the gradient of the batch's mean loss in the weights; return the part of the loss that this process saw."""
    device = parts[0][1].device
    total = torch.zeros((), device=device)
    for i, (x, y) in enumerate(parts):
        last = i == len(parts) - 1
        with nullcontext() if last else processes.no_sync(module):
            with torch.autocast(device.type, torch.bfloat16, enabled=protocol.precision == "bf16"):
                features = module(x)
            share, logits = len(y) * processes.num_processes / images, classify(features, head)
            if device.type == "cpu":  # a GPU checks for itself, and would have to be waited for
                check_labels(y, logits)
            loss = torch.nn.functional.cross_entropy(logits, y) * share
            loss.backward()
        total = total + loss.detach()
    return total


def _check_finite(loss: Tensor, step: int, protocol: Protocol) -> None:
    if not torch.isfinite(loss):
        raise NotFinite(
            f"the loss is {loss.item()} at step {step}: the learning rate of {protocol.learning_rate} is too high, or "
            f"{protocol.precision} too coarse"
        )
