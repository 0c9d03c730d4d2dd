"""Work for a command line or a cluster: fine-tune into the store, or say beforehand what fine-tuning will take.

    tangent finetune --task Cars --training linear -p model ViT-B-16 -p seeds 0
    tangent dry-run -p model ViT-B-16
    accelerate launch --multi_gpu --num_processes 4 -m tangent_lib.cli.finetune finetune ...
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import torch

from tangent_lib.cost.dry_run import trial_table
from tangent_lib.experiment import Experiment
from tangent_lib.modes import ALL_MODES
from tangent_lib.parameters import check_parameters, given_parameters, words
from tangent_lib.runtime.disk import write_whole
from tangent_lib.runtime.errors import InputError, unknown
from tangent_lib.runtime.processes import accelerator

DRAWN_CONTROL = "Objects"  # a control plays no part in fine-tuning; this one is there without any data


@dataclass(frozen=True)
class Training:
    """One kind of fine-tuning: the mode whose task vectors it makes, and where it starts."""

    mode: str
    untrained: bool = False


TRAININGS = {
    "non-linear": Training("non-linear"),
    "linear": Training("linear"),
    "attention-only": Training("attention-only"),
    "attention-biases": Training("attention + biases"),
    "attention-mlp": Training("attention + MLP"),
    "attention-mlp-biases": Training("attention + MLP + biases"),
    "random-non-linear": Training("non-linear", untrained=True),
    "random-linear": Training("linear", untrained=True),
}


def training_named(name: str) -> Training:
    """A training by name.

    Raises:
        InputError: for an unknown one.

    Example:
        >>> training_named("random-linear")
        Training(mode='linear', untrained=True)
    """
    if name not in TRAININGS:
        raise unknown("training", name, TRAININGS)
    return TRAININGS[name]


def finetune_job(run: Experiment, tasks: Sequence[str], training: str) -> list[dict]:
    """Fine-tune some tasks for every seed of the run, unless the store has it; a record a task and seed.

    Raises:
        InputError: for an unknown task or training.
    """
    kind, records = training_named(training), []
    if run.imported and training == "non-linear":
        raise InputError("checkpoints take the place of non-linear fine-tuning: leave them out, or take another training")
    mode = ALL_MODES[kind.mode]
    for task, seed in product(tasks, run.parameters.seeds):
        start = time.perf_counter()
        each = run.untrained(seed) if kind.untrained else run
        config = each.finetuned_config(task, mode.linear_training, seed, mode.selection)
        found = each.store.find("finetuned", config) is not None
        each.finetuned(task, mode.linear_training, seed, mode.selection)
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


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the module's description. Errors of the reader's input end in one line and status 2."""
    parser = argparse.ArgumentParser(prog="tangent", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    work = commands.add_parser("finetune", help="fine-tune into the store")
    work.add_argument("--task", required=True, help="one, or several: Cars,DTD")
    work.add_argument("--training", required=True, help=", ".join(TRAININGS))
    work.add_argument("--receipt", type=Path, help="a JSON file that is written when all is done")
    trial = commands.add_parser("dry-run", help="time and memory of a few steps, and what the whole will take")
    for each in (work, trial):
        each.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    given = parser.parse_args(arguments)
    try:
        parameters = given_parameters(given.parameters)
        if given.command == "finetune":
            training_named(given.training)
            parameters = {"tasks": given.task, **parameters}
        checked = check_parameters(**{"control": DRAWN_CONTROL, **parameters})
        if given.command == "dry-run":
            print(trial_table(Experiment(checked)))
            return 0
        records = finetune_job(Experiment(checked), words(given.task), given.training)
        if given.receipt and accelerator(torch.device(checked.device)).is_main_process:
            given.receipt.parent.mkdir(parents=True, exist_ok=True)
            write_whole(given.receipt, (json.dumps(records, indent=1) + "\n").encode())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
