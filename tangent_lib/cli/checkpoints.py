"""Published checkpoints from the command line.

tangent checkpoints list
tangent checkpoints import tall_masks --model ViT-B-32 [--from FOLDER]
tangent checkpoints export --task Cars --training linear -p model ViT-B-32
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from tangent_lib.cli import DONE, FAULTS
from tangent_lib.cli.finetune import drawn_control_run
from tangent_lib.cli.options import Given, Place, chosen_tasks, given_parameters
from tangent_lib.modes import PARAMETERS, TRAININGS, training_named
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.words import command_line, words

if TYPE_CHECKING:
    from tangent_lib.checkpoints.imported import ImportRecord

app = App(name="checkpoints", help="Import checkpoints that others fine-tuned; export task vectors.")


@app.command(name="list")
def list_() -> None:
    """Show the families, their models and tasks, and how their recipes differ."""
    from tangent_lib.checkpoints.families import FAMILIES

    for family in FAMILIES.values():
        print(f"{family.name}: {family.describes}")
        print(f"    from     {family.page}{'' if family.repository else ' (by hand: give --from FOLDER)'}")
        print(f"    models   {', '.join(family.models)}")
        print(f"    tasks    {', '.join(family.tasks)}")
        print(f"    licence  {family.licence}")
        print(f"    recipe   {family.recipe}")


@app.command(name="import")
def import_(
    family: Annotated[str, Parameter(help="a name that tangent checkpoints list shows, such as tall_masks")],
    /,
    *,
    model: Annotated[str, Parameter(help="an open_clip model")] = "ViT-B-32",
    pretrained: Annotated[str, Parameter(help="the weights that they were fine-tuned from; auto: OpenAI's")] = PARAMETERS[
        "pretrained"
    ],
    folder: Annotated[
        Place | None, Parameter(name="--from", help="a folder of files that lie here; without, the hub's")
    ] = None,
    revision: Annotated[
        str | None, Parameter(help="a commit of the hub's repository; without, the newest, which is recorded")
    ] = None,
    tasks: Annotated[str, Parameter(help="comma-separated")] = "all",
    to: Annotated[Place, Parameter(help="a folder for folders")] = ROOT / "runs" / "checkpoints",
    data_root: Annotated[
        Place | None, Parameter(help="check the zero-shot accuracies against the paper's on the data prepared here")
    ] = None,
) -> int:
    """Bring a family's checkpoints of one model into one form."""
    from tangent_lib.checkpoints.families import family_named
    from tangent_lib.checkpoints.imported import check_import, import_family
    from tangent_lib.cli.zero_shot import check_zero_shot
    from tangent_lib.models.clip import load_clip
    from tangent_lib.parameters import given_model

    published = family_named(family)
    names = tuple(published.tasks) if tasks == "all" else words(tasks)
    published.check(names)
    if folder and revision:
        raise InputError("--revision names a commit of the hub, but --from takes files from a folder: give one of the two")
    if not (folder or published.repository):
        raise InputError(f"{published.name} is not on the hub: get the files from {published.page} and give --from FOLDER")
    name, weights = given_model(model, pretrained)
    check_import(published.name, name, folder or "hub", names, to, revision)
    run = None
    if data_root:  # what is missing there is refused before the import starts
        run = drawn_control_run({"model": model, "pretrained": pretrained, "data_root": data_root, "tasks": names})
    clip = run.materials.clip if run else load_clip(name, weights)
    record = import_family(published.name, clip, folder or "hub", names, to, revision)
    _tell(record, names)
    own = {} if pretrained == PARAMETERS["pretrained"] else {"pretrained": pretrained}
    given = {"model": model, **own, "checkpoints": to / record.family / record.model}
    advice = " ".join(command_line("-p", name, value) for name, value in given.items())
    print(f"\nWritten to {given['checkpoints']}: for a notebook, {advice}")
    if run is None:
        return DONE
    table = check_zero_shot(run)
    print(f"\nZero-shot accuracy of the weights that they were fine-tuned from\n{table}")
    return FAULTS if table.agrees is False else DONE


@app.command
def export(
    *,
    task: Annotated[str, Parameter(help="whose task vector; several: Cars,DTD")],
    training: Annotated[str, Parameter(help=f"one of {', '.join(TRAININGS)}")],
    to: Annotated[Place, Parameter(help="a folder for folders")] = ROOT / "exports",
    parameters: Given = (),
) -> None:
    """Write a task vector of the store, with a card, for use elsewhere."""
    kind = training_named(training)
    given = {"tasks": task, **given_parameters(parameters)}
    from tangent_lib.checkpoints.export import TaskVectorCard, export_task_vector
    from tangent_lib.models.clip import fingerprint

    run = drawn_control_run(given, task)
    if run.materials.replaces(kind):
        family = run.materials.imported.record.family
        raise InputError(f"checkpoints of {family} were not trained here: leave out -p checkpoints")
    for name, seed in product(chosen_tasks(task, run.parameters.tasks), run.parameters.seeds):
        each = run.materials.untrained(seed) if kind.untrained else run.materials
        card = TaskVectorCard(
            model=each.parameters.model,
            pretrained=each.clip.pretrained,
            quick_gelu="-quickgelu" in each.clip.digest,
            task=name,
            linear=kind.linearized,
            selection=kind.selection,
            seed=seed,
            protocol=each.protocol(name),
            theta_0=fingerprint(each.clip.theta_0),
        )
        folder = to / f"{each.parameters.model}-{name}-{training}-seed{seed}"
        print(f"wrote {export_task_vector(each.task_vector(name, kind, seed), folder, card)}")


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
