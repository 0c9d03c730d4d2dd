"""Results over several seeds, computed beforehand by ``make record`` and kept in the repository with their full record.

The default run of the book takes one seed; a spread needs several. A recorded file is used only for the configuration it
was made with: same weights, tasks, images and protocol.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from tangent_lib.batches import batches
from tangent_lib.cost import step_costs
from tangent_lib.errors import InputError, unknown
from tangent_lib.experiment import Experiment
from tangent_lib.manifests import ROOT
from tangent_lib.memory import enough_memory
from tangent_lib.miniature import NAMES, read_card
from tangent_lib.modes import ABLATION_MODES, ATTENTION_MODES, MODES
from tangent_lib.ntk import support_shares
from tangent_lib.parameters import check_parameters, given_parameters, words
from tangent_lib.provenance import provenance
from tangent_lib.store import write_whole

BOX = (0.2, 0.4, 0.6, 0.8, 1.0)  # alpha_1 = alpha_2 at which xi is recorded, in the box where alpha is searched
XI_GRID = 12  # values on each axis over [-3, 3] (Figure 9)
LEADING = 10  # eigenfunctions of the largest singular values
FOLDER = ROOT / "book" / "recorded"
Summaries = dict[str, dict[str, dict]]  # by mode, then by seed


def configuration(run: Experiment) -> dict:
    """What a recorded file belongs to, as JSON values."""
    names = (*run.parameters.tasks, run.parameters.control)
    special = {}  # only where it is so: what was recorded before knows nothing of it
    if run.parameters.by_epochs:
        special["epochs"] = {name: run.protocol(name).steps for name in run.parameters.tasks}
    if run.imported:
        special["checkpoints"] = run.imported.digest
    return json.loads(
        json.dumps(
            {
                **{key: value for key, value in run.identity(*names).items() if key != "device"},
                "protocol": run.parameters.protocol.model_dump(),
                "card": read_card(run.parameters.model)["sha256"] if run.parameters.model in NAMES else None,
                "order": names,
                "alphas": run.alphas,
                **special,
            }
        )
    )


def recorded_path(model: str) -> Path:
    return FOLDER / f"{model}.json"


def read_recorded(run: Experiment) -> dict | None:
    """The recorded results for this very configuration (``summaries``, ``seeds``, ``provenance`` and more), or None."""
    path = recorded_path(run.parameters.model)
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    return record if record["configuration"] == configuration(run) else None


def is_of_shipped_weights(record: dict) -> bool:
    """Was a miniature's record made with the weights that are shipped? Cheap: the weights are not loaded."""
    configuration = record["configuration"]
    return configuration.get("card") == read_card(configuration["model"])["sha256"]


def summaries(run: Experiment, modes: Iterable[str] = MODES) -> Summaries:
    """The summaries of some modes and of the run's own seeds."""
    return {mode: {str(seed): run.summary(mode, seed) for seed in run.parameters.seeds} for mode in modes}


def _kept(run: Experiment, mode: str, seed: int) -> dict:
    """A summary with xi on the diagonal of the search box and how similar the task vectors are."""
    xi = {"-".join(pair): run.xi_diagonal(pair, mode, seed, BOX) for pair in run.parameters.pairs}
    cosines = np.abs(run.cosines(mode, seed)["cosines"])
    return {
        **run.summary(mode, seed, negation=False),
        "xi": {pair: each["xi"] for pair, each in xi.items()},
        "kl": {pair: each["kl"] for pair, each in xi.items()},
        "cosine": float(cosines[~np.eye(len(cosines), dtype=bool)].mean()),
    }


def by_mode(run: Experiment, modes: Iterable[str]) -> dict:
    """Summaries with xi and cosines of some modes, for every seed of the run."""
    return {mode: {str(seed): _kept(run, mode, seed) for seed in run.parameters.seeds} for mode in modes}


def _negation(run: Experiment) -> dict:
    keep = ("alpha", "target", "control")
    short = lambda found: {task: {key: each[key] for key in keep} for task, each in found.items()}
    by_seed = lambda mode: {str(seed): {"negation": short(run.negations(mode, seed))} for seed in run.parameters.seeds}
    return {"summaries": {mode: by_seed(mode) for mode in MODES}}


def _untrained(run: Experiment, mode: str) -> dict:
    """Everything from random initialisation; a seed draws theta_0^rd and the order of the images."""
    found, zero_shot = {}, {}
    for seed in run.parameters.seeds:
        random = run.untrained(seed)
        zero_shot[str(seed)] = {name: random.zero_shot(name) for name in run.parameters.tasks}
        found[str(seed)] = _kept(random, mode, seed)
    return {"untrained": {mode: found}, "untrained_zero_shot": zero_shot}


def _ntk(run: Experiment) -> dict:
    """Localisation against a control, against unseen points of the task, and of the leading eigenfunctions (notebook 06)."""
    found: dict[str, dict] = {"pretrained": {}, "untrained": {}}
    for seed in run.parameters.seeds:
        for kind, each in (("pretrained", run), ("untrained", run.untrained(seed))):
            kernels = {"-".join(pair): each.kernel_on_supports(*pair, seed) for pair in run.parameters.pairs}
            found[kind][str(seed)] = {pair: support_shares(kernel, LEADING) for pair, kernel in kernels.items()}
    return {"ntk": found}


def _cost(run: Experiment) -> dict:
    """The cost of a training step in every way: the seconds of each round, the bytes kept for the backward pass."""
    task, protocol = run.parameters.tasks[0], run.parameters.protocol
    images = min(protocol.batch_size, run.parameters.micro_batch or protocol.batch_size)
    x, y = next(iter(batches(run.task(task).split("train"), images, run.clip.device)))
    with enough_memory("measuring the cost of a step", images):
        costs = step_costs(run.clip.f, run.clip.theta_0, run.head(task), x, y, repeats=9)
    return {"cost": {way: {"seconds": list(c.rounds), "saved_bytes": c.saved_bytes} for way, c in costs.items()}}


def _xi_grids(run: Experiment) -> dict:
    pair, seed = run.parameters.pairs[0], run.parameters.seeds[0]
    keep = ("alphas", "points", "prediction error")
    grids = {mode: run.xi_grid(pair, mode, seed, XI_GRID) for mode in ("non-linear", "post-hoc")}
    kept = {mode: {"-".join(pair): {"seed": seed, **{key: grid[key] for key in keep}}} for mode, grid in grids.items()}
    return {"xi_grids": kept}


SECTIONS: dict[str, Callable[[Experiment], dict]] = {
    "non-linear": lambda run: {"summaries": by_mode(run, ("non-linear", "post-hoc"))},
    "linear": lambda run: {"summaries": by_mode(run, ("linear",))},
    "negation": _negation,
    "attention": lambda run: {"summaries": by_mode(run, ATTENTION_MODES)},
    "untrained": lambda run: _untrained(run, "non-linear"),
    "untrained linear": lambda run: _untrained(run, "linear"),
    "ntk": _ntk,
    "ablation": lambda run: {"ablation": by_mode(run, ABLATION_MODES)},
    "xi_grids": _xi_grids,
    "cost": _cost,
}


def make_record(run: Experiment, sections: Sequence[str]) -> dict:
    """Compute some sections; those recorded before for the same configuration are kept, seeds are added to each other.

    Raises:
        InputError: for an unknown section.
    """
    for section in sections:
        if section not in SECTIONS:
            raise unknown("section", section, SECTIONS)
    names = (*run.parameters.tasks, run.parameters.control)
    zero_shot = {name: run.zero_shot(name) for name in names}
    found = {section: SECTIONS[section](run) for section in sections}
    record = read_recorded(run) or {"configuration": configuration(run), "provenance": {}}  # after the work
    record["zero_shot"] = zero_shot
    for section in sections:
        record = _merged(record, found[section])
        record["provenance"][section] = provenance()
    record["seeds"] = sorted(int(seed) for seed in next(iter(record.get("summaries", {"": {}}).values())))
    return record


def _merged(old: dict, new: dict) -> dict:
    both = {key: _merged(old[key], new[key]) if isinstance(old.get(key), dict) else new[key] for key in new}
    return {**old, **both}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Errors of the reader's input end in one line and status 2."""
    parser = argparse.ArgumentParser(prog="python -m tangent_lib.recorded", description=__doc__)
    parser.add_argument("--model", default="ViT-Mini-8")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--sections", default=",".join(SECTIONS), help="some of them; the others stay as recorded before")
    parser.add_argument("--store", default="auto")
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="others", help="another parameter"
    )
    parser.add_argument("--receipt", type=Path, help="compute into the store only and write this file when all is done")
    given = parser.parse_args(arguments)
    try:
        parameters = {"model": given.model, "seeds": given.seeds, "store": given.store, **given_parameters(given.others)}
        run, sections = Experiment(check_parameters(**parameters)), words(given.sections)
        if given.receipt:
            _leave_receipt(run, sections, given.receipt)
        else:
            _update_record(run, sections)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _leave_receipt(run: Experiment, sections: Sequence[str], path: Path) -> None:
    """Have the store hold all that these sections take, so that whoever writes the record finds it."""
    make_record(run, sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    receipt = {"sections": sections, "seeds": run.parameters.seeds, "provenance": provenance()}
    write_whole(path, (json.dumps(receipt, indent=1) + "\n").encode())


def _update_record(run: Experiment, sections: Sequence[str]) -> None:
    path, before = recorded_path(run.parameters.model), read_recorded(run)
    if before is None and path.is_file() and run.parameters.model not in NAMES:  # a miniature can be recorded anew
        raise InputError(
            f"{path.relative_to(ROOT)} holds results of another configuration (weights, data, protocol or checkpoints): "
            "move it away first, or give the parameters that it was made with"
        )
    record = make_record(run, sections)
    if before is not None and {**before, "provenance": {}} == {**json.loads(json.dumps(record)), "provenance": {}}:
        print(f"{path.relative_to(ROOT)} holds these results already")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
