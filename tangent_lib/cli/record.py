"""Record results over several seeds: ``tangent record``. What is recorded before for the same configuration stays."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from tangent_lib.cli.options import Given, Place, given_parameters
from tangent_lib.cli.workflow_config import SECTIONS, SEEDS
from tangent_lib.modes import MINIATURES, PARAMETERS
from tangent_lib.runtime.disk import check_place, write_whole
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.words import words

if TYPE_CHECKING:
    from tangent_lib.experiment import Experiment


def record(
    *,
    model: Annotated[str | None, Parameter(help=f"an open_clip model; {PARAMETERS['model']} by default")] = None,
    seeds: Annotated[str | None, Parameter(help=f"comma-separated; {SEEDS[0]} to {SEEDS[-1]} by default")] = None,
    sections: Annotated[str, Parameter(help="some of them; the others stay as recorded before")] = ",".join(SECTIONS),
    store: Annotated[str | None, Parameter(help="folder where results are kept")] = None,
    parameters: Given = (),
    receipt: Annotated[Place | None, Parameter(help="compute into the store only; write this file when all is done")] = None,
) -> None:
    """Compute the results of a model over several seeds, and record them in book/recorded/MODEL.json."""
    options = {name: value for name, value in {"model": model, "seeds": seeds, "store": store}.items() if value is not None}
    others = given_parameters(parameters)
    if twice := sorted(options.keys() & others.keys()):
        raise InputError(f"{twice[0]} is given twice, as --{twice[0]} and as -p {twice[0]}: give it once")
    given = {"seeds": ",".join(map(str, SEEDS)), **options, **others}
    if receipt:
        check_place(receipt)
    from tangent_lib.experiment import Experiment
    from tangent_lib.experiments.materials import Materials
    from tangent_lib.parameters import check_parameters

    run = Experiment(Materials(check_parameters(**given)))
    if receipt:
        leave_receipt(run, words(sections), receipt)
    else:
        update_record(run, words(sections))


def leave_receipt(run: Experiment, sections: Sequence[str], path: Path) -> None:
    """Have the store hold all that these sections take, so that whoever writes the record finds it."""
    from tangent_lib.experiments.recording import make_record
    from tangent_lib.runtime.provenance import provenance

    make_record(run, sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    receipt = {"sections": sections, "seeds": run.parameters.seeds, "provenance": provenance()}
    write_whole(path, (json.dumps(receipt, indent=1) + "\n").encode())


def update_record(run: Experiment, sections: Sequence[str]) -> None:
    """Write the record of a model with these sections in it, unless it holds the same results already."""
    from tangent_lib.experiments.recording import make_record
    from tangent_lib.experiments.records import read_recorded, recorded_path, typed_record

    path, before = recorded_path(run.parameters.model), read_recorded(run)
    check_place(path)
    if before is None and path.is_file() and run.parameters.model not in MINIATURES:  # a miniature can be recorded anew
        raise InputError(
            f"{path} holds results of another configuration (weights, data, protocol, pairs, points or checkpoints): "
            "move it away first, or give the parameters that it was made with"
        )
    text = json.dumps(make_record(run, sections), indent=1) + "\n"
    if before is not None and replace(before, provenance={}) == replace(typed_record(json.loads(text)), provenance={}):
        print(f"{path} holds these results already")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text.encode())
    print(f"wrote {path}")
