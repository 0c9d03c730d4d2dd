"""A dry run: time and memory of a few real steps of each way to fine-tune, and what a whole reproduction will take."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass

import torch

from tangent_lib.cost.measured_steps import WAYS
from tangent_lib.experiment import Experiment
from tangent_lib.finetuning import Execution, finetune
from tangent_lib.modes import TRAININGS, Training, select
from tangent_lib.runtime.errors import InputError

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
    """Some steps of each way on the first task's training images; nothing is kept."""
    found = []
    for way in WAYS:
        with suppress(InputError):  # the selection trains nothing in this model
            select(run.materials.clip.theta_0, TRAININGS[way].selection)
            found.append(way)
    return {way: _trial(run, TRAININGS[way]) for way in found}


def _trial(run: Experiment, training: Training) -> Trial:
    task, clip, cuda = run.parameters.tasks[0], run.materials.clip, run.materials.clip.device.type == "cuda"
    data, trained = run.materials.task(task).split("train"), select(clip.theta_0, training.selection)
    if cuda:
        torch.cuda.reset_peak_memory_stats(clip.device)
    times = []
    for steps in (1, 1, 1 + STEPS):
        protocol = run.parameters.protocol.model_copy(update={"steps": steps})
        start = time.perf_counter()
        finetune(
            clip.f,
            clip.theta_0,
            run.materials.head(task),
            data,
            protocol,
            linearized=training.linearized,
            trained=trained,
            execution=Execution(run.parameters.micro_batch),
        )
        times.append(time.perf_counter() - start)
    return Trial((times[2] - times[1]) / STEPS, torch.cuda.max_memory_allocated(clip.device) if cuda else None)


def trial_table(run: Experiment) -> str:
    """The trials as text, with the hours that the run's tasks and seeds will take."""
    parameters, protocol = run.parameters, run.parameters.protocol
    lines = [
        f"{parameters.model} ({run.materials.clip.pretrained}), {protocol.batch_size} images a step, {protocol.precision}, "
        f"on {parameters.device}: {STEPS} steps of {parameters.tasks[0]}",
        f"{'':16}{'seconds a step':>16}{'peak memory':>16}{'hours a task':>16}{'hours in all':>16}",
    ]
    for way, trial in trials(run).items():
        steps = [run.materials.protocol(name).steps for name in parameters.tasks]
        hours = [trial.seconds * each / 3600 for each in steps]
        peak = "not measured" if trial.peak_bytes is None else f"{trial.peak_bytes / 1e9:.1f} GB"
        total = sum(hours) * len(parameters.seeds)
        lines.append(f"{way:16}{trial.seconds:16.3f}{peak:>16}{max(hours):16.2f}{total:16.2f}")
    lines.append(f"in all: {len(parameters.tasks)} tasks, {len(parameters.seeds)} seeds; evaluation not counted")
    return "\n".join(lines)
