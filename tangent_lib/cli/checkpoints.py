"""Published checkpoints from the command line.

    tangent checkpoints list
    tangent checkpoints import tall_masks --model ViT-B-32 [--from FOLDER]
    tangent checkpoints export --task Cars --training linear -p model ViT-B-32
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tangent_lib.checkpoints.export import TaskVectorCard, export_task_vector
from tangent_lib.checkpoints.families import FAMILIES, family_named
from tangent_lib.checkpoints.imported import ImportRecord, import_family
from tangent_lib.cli.finetune import DRAWN_CONTROL, TRAININGS
from tangent_lib.cli.zero_shot import check_zero_shot
from tangent_lib.experiment import Experiment
from tangent_lib.models.clip import fingerprint, load_clip
from tangent_lib.modes import ALL_MODES
from tangent_lib.parameters import check_parameters, given_parameters, words
from tangent_lib.runtime.errors import InputError, unknown

DONE, DIFFERS, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status: 0, 1 if zero-shot differs from the paper, 2 for input that cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tangent checkpoints",
        description="Import checkpoints that others fine-tuned; export task vectors.",
    )
    commands = parser.add_subparsers(required=True, metavar="list|import|export")

    def command(name: str, run, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help)
        made.set_defaults(run=run)
        return made

    command("list", _list, "Show the families, their models and tasks, and how their recipes differ.")
    made = command("import", _import, "Bring a family's checkpoints of one model into one form.")
    made.add_argument("family", metavar="FAMILY", help=", ".join(FAMILIES))
    made.add_argument("--model", default="ViT-B-32", help="an open_clip model (default: ViT-B-32)")
    made.add_argument("--pretrained", default="auto", help="the weights that they were fine-tuned from (default: OpenAI's)")
    made.add_argument("--from", dest="folder", metavar="FOLDER", help="files that lie here; without, the hub's")
    made.add_argument("--revision", help="a commit of the hub's repository; without, the newest, which is recorded")
    made.add_argument("--tasks", default="all", help="comma-separated; all eight by default")
    made.add_argument("--to", type=Path, default=Path("runs/checkpoints"), help="default: runs/checkpoints")
    made.add_argument("--data-root", help="check the zero-shot accuracies against the paper's on the data prepared here")
    made = command("export", _export, "Write a task vector of the store, with a card, for use elsewhere.")
    made.add_argument("--task", required=True)
    made.add_argument("--training", required=True, help=", ".join(TRAININGS))
    made.add_argument("--to", type=Path, default=Path("exports"), help="a folder for folders (default: exports)")
    made.add_argument("-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters")
    return parser


def _list(options: argparse.Namespace) -> int:
    for family in FAMILIES.values():
        print(f"{family.name}: {family.describes}")
        print(f"    from     {family.page}{'' if family.repository else ' (by hand: give --from FOLDER)'}")
        print(f"    models   {', '.join(family.models)}")
        print(f"    tasks    {', '.join(family.tasks)}")
        print(f"    licence  {family.licence}")
        print(f"    recipe   {family.recipe}")
    return DONE


def _import(options: argparse.Namespace) -> int:
    family = family_named(options.family)
    tasks = tuple(family.tasks) if options.tasks == "all" else words(options.tasks)
    family.check(tasks)
    if options.folder and options.revision:
        raise InputError("--revision names a commit of the hub, but --from takes files from a folder: give one of the two")
    if not (options.folder or family.repository):
        raise InputError(f"{family.name} is not on the hub: get the files from {family.page} and give --from FOLDER")
    run = None
    if options.data_root:  # what is missing there is refused before the import starts
        given = {"model": options.model, "pretrained": options.pretrained, "data_root": options.data_root}
        run = Experiment(check_parameters(tasks=tasks, control=DRAWN_CONTROL, **given))
    clip = run.clip if run else load_clip(options.model, options.pretrained)
    record = import_family(family.name, clip, options.folder or "hub", tasks, options.to, options.revision)
    _tell(record, tasks)
    print(f"\nWritten to {options.to / record.family / record.model}: give it to a notebook with -p checkpoints")
    if run is None:
        return DONE
    table = check_zero_shot(run)
    print(f"\nZero-shot accuracy of the weights that they were fine-tuned from\n{table}")
    return DIFFERS if table.agrees is False else DONE


def _tell(record: ImportRecord, tasks: Sequence[str]) -> None:
    print(f"{record.family}, {record.model}. Licence: {record.licence}.\nRecipe: {record.recipe}")
    for task in tasks:
        each = record.tasks[task]
        print(f"{task}: {each.origin.file}, {each.distance:.1%} of the pre-trained weights' norm away from them")
        print(f"    took {len(each.taken)} tensors" + (f", cast from {', '.join(each.cast)}" if each.cast else ""))
        if each.left:
            print(f"    left {len(each.left)}: {', '.join(each.left[:8])}" + (", ..." if len(each.left) > 8 else ""))
        if each.kept:
            print(f"    kept the pre-trained {', '.join(each.kept)}")
        if each.remark:
            print(f"    {each.remark}")
    if record.zero_shot is None:
        print("The family's own pre-trained weights were not there to compare with.")
    else:
        print(f"Its own pre-trained weights differ from the model's by at most {record.zero_shot.difference:.2g}.")


def _export(options: argparse.Namespace) -> int:
    if options.training not in TRAININGS:
        raise unknown("training", options.training, TRAININGS)
    given = {"control": DRAWN_CONTROL, "tasks": options.task, **given_parameters(options.parameters)}
    run, kind = Experiment(check_parameters(**given)), TRAININGS[options.training]
    if run.imported and options.training == "non-linear":
        raise InputError(f"checkpoints of {run.imported.record.family} were not trained here: leave out -p checkpoints")
    mode = ALL_MODES[kind.mode]
    for seed in run.parameters.seeds:
        each = run.untrained(seed) if kind.untrained else run
        card = TaskVectorCard(
            model=each.parameters.model,
            pretrained=each.clip.pretrained,
            quick_gelu="-quickgelu" in each.clip.digest,
            task=options.task,
            linear=mode.linear_training,
            selection=mode.selection,
            seed=seed,
            protocol=each.protocol(options.task),
            theta_0=fingerprint(each.clip.theta_0),
        )
        tau = each.task_vector(options.task, mode.linear_training, seed, mode.selection)
        name = f"{each.parameters.model}-{options.task}-{options.training}-seed{seed}"
        print(f"wrote {export_task_vector(tau, options.to / name, card)}")
    return DONE


if __name__ == "__main__":
    sys.exit(main())
