"""A dry run: time and memory of a few real steps of each way to fine-tune, and what a whole reproduction will take."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import torch

from tangent_lib.cost.measured_steps import WAYS
from tangent_lib.experiment import Experiment
from tangent_lib.finetuning import finetune
from tangent_lib.runtime.errors import InputError
from tangent_lib.selection import select

STEPS = 3  # timed, after one that warms up


@dataclass(frozen=True)
class Trial:
    """What a step of one way to fine-tune took.

    Attributes:
        seconds: a step; on a GPU without loading of images, which goes on beside it as fast as processors allow.
        peak_bytes: of the accelerator's memory; None on a processor, where it is not measured.
    """

    seconds: float
    peak_bytes: int | None


def trials(run: Experiment) -> dict[str, Trial]:
    """Some steps of each way on the first task's training images; nothing is kept.

    Returns:
        by way (``cost.WAYS``) those that the model has: attention-only needs attention weights.
    """
    found = {}
    for way, selection in WAYS.items():
        with suppress(InputError):  # the selection trains nothing in this model
            select(run.clip.theta_0, selection)
            found[way] = selection
    return {way: _trial(run, way == "linear", selection) for way, selection in found.items()}


def _trial(run: Experiment, linear: bool, selection: str) -> Trial:
    task, clip, cuda = run.parameters.tasks[0], run.clip, run.clip.device.type == "cuda"
    data, trained = run.task(task).split("train"), select(clip.theta_0, selection)
    if cuda:
        torch.cuda.reset_peak_memory_stats(clip.device)
    times = []
    for steps in (1, 1, 1 + STEPS):
        protocol = run.parameters.protocol.model_copy(update={"steps": steps})
        start = time.perf_counter()
        finetune(
            clip.f,
            clip.theta_0,
            run.head(task),
            data,
            protocol,
            linear,
            0,
            trained=trained,
            micro_batch=run.parameters.micro_batch,
        )
        times.append(time.perf_counter() - start)
    return Trial((times[2] - times[1]) / STEPS, torch.cuda.max_memory_allocated(clip.device) if cuda else None)


def trial_table(run: Experiment) -> str:
    """The trials as text, with the hours that the run's tasks and seeds will take."""
    parameters, protocol = run.parameters, run.parameters.protocol
    lines = [
        f"{parameters.model} ({parameters.pretrained}), {protocol.batch_size} images a step, {protocol.precision}, "
        f"on {parameters.device}: {STEPS} steps of {parameters.tasks[0]}",
        f"{'':16}{'seconds a step':>16}{'peak memory':>16}{'hours a task':>16}{'hours in all':>16}",
    ]
    for way, trial in trials(run).items():
        steps = [run.protocol(name).steps for name in parameters.tasks]
        hours = [trial.seconds * each / 3600 for each in steps]
        peak = "not measured" if trial.peak_bytes is None else f"{trial.peak_bytes / 1e9:.1f} GB"
        total = sum(hours) * len(parameters.seeds)
        lines.append(f"{way:16}{trial.seconds:16.3f}{peak:>16}{max(hours):16.2f}{total:16.2f}")
    lines.append(f"in all: {len(parameters.tasks)} tasks, {len(parameters.seeds)} seeds; evaluation not counted")
    return "\n".join(lines)
