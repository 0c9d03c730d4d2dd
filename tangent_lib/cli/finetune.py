"""Work for a command line or a cluster: fine-tune into the store, or say beforehand what fine-tuning will take.

tangent finetune --task Cars --training linear -p model ViT-B-16 -p seeds 0
tangent dry-run -p model ViT-B-16
accelerate launch --multi_gpu --num_processes 4 -m tangent_lib.cli finetune ...
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tangent_lib.cli.options import Given, Place, chosen_tasks, given_parameters
from tangent_lib.modes import MINIATURE, TRAININGS, select, training_named
from tangent_lib.runtime.disk import check_place, write_whole
from tangent_lib.runtime.errors import InputError

if TYPE_CHECKING:
    from tangent_lib.experiment import Experiment


def finetune(
    *,
    task: Annotated[str, Parameter(help="one, or several: Cars,DTD; of those of -p tasks, where it is given")],
    training: Annotated[str, Parameter(help=f"one of {', '.join(TRAININGS)}")],
    parameters: Given = (),
    receipt: Annotated[Place | None, Parameter(help="a JSON file that is written when all is done")] = None,
) -> None:
    """Fine-tune into the store."""
    given = {"tasks": task, **given_parameters(parameters)}
    training_named(training)
    if receipt:
        check_place(receipt)
    run = drawn_control_run(given, task)
    records = finetune_job(run, chosen_tasks(task, run.parameters.tasks), training)
    if receipt:
        from tangent_lib.runtime.processes import accelerator

        if accelerator(run.materials.clip.device).is_main_process:
            receipt.parent.mkdir(parents=True, exist_ok=True)
            write_whole(receipt, (json.dumps(records, indent=1) + "\n").encode())


def dry_run(*, parameters: Given = ()) -> None:
    """Time and memory of a few steps, and what the whole will take."""
    given = given_parameters(parameters)
    from tangent_lib.cost.dry_run import trial_table

    print(trial_table(drawn_control_run(given)))


def drawn_control_run(given: dict[str, str], task: str | None = None) -> Experiment:
    """The experiment of these parameters. A control plays no part in it: the miniature's is there without any data.

    Where ``--task`` was given, it is looked at before anything is loaded.
    """
    from tangent_lib.experiment import Experiment
    from tangent_lib.experiments.materials import Materials
    from tangent_lib.parameters import check_parameters

    parameters = check_parameters(**{"control": MINIATURE.control, **given})
    if task is not None:
        chosen_tasks(task, parameters.tasks)
    return Experiment(Materials(parameters))


def finetune_job(run: Experiment, tasks: Sequence[str], training: str) -> list[dict]:
    """Fine-tune some tasks for every seed of the run, unless the store has it; a record a task and seed."""
    kind, records = training_named(training), []
    if run.materials.replaces(kind):
        raise InputError("checkpoints take the place of non-linear fine-tuning: leave them out, or take another training")
    select(run.materials.clip.theta_0, kind.selection)
    for task, seed in product(tasks, run.parameters.seeds):
        start = time.perf_counter()
        each = run.materials.untrained(seed) if kind.untrained else run.materials
        config = each.finetuned_config(task, kind, seed)
        found = each.store.find("finetuned", config) is not None
        each.finetuned(task, kind, seed)
        entry = each.store.find("finetuned", config)
        records.append(
            {
                "task": task,
                "training": training,
                "seed": seed,
                "computed": not found,
                "seconds": round(time.perf_counter() - start, 2),
                "sha256": entry.record["sha256"],
                "provenance": entry.record["provenance"],
            }
        )
    return records
