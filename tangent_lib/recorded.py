"""Results over several seeds, computed beforehand by ``make record`` and kept in the repository with their full record.

The default run of the book takes one seed; a spread needs several. A recorded file is used only for the configuration it
was made with: same weights, tasks, images and protocol.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tangent_lib import plots
from tangent_lib.experiment import MODES, Experiment
from tangent_lib.manifests import ROOT
from tangent_lib.parameters import check_parameters
from tangent_lib.provenance import provenance

FOLDER = ROOT / "book" / "recorded"
Summaries = dict[str, dict[str, dict]]  # by mode, then by seed


def configuration(run: Experiment) -> dict:
    """What a recorded file belongs to, as JSON values."""
    names = (*run.parameters.tasks, run.parameters.control)
    return json.loads(
        json.dumps(
            {
                **run.identity(*names),
                "protocol": run.parameters.protocol.model_dump(),
                "order": names,
                "alphas": run.alphas,
            }
        )
    )


def recorded_path(model: str) -> Path:
    return FOLDER / f"{model}.json"


def read_recorded(run: Experiment) -> dict | None:
    """The recorded results for this very configuration (``summaries``, ``seeds``, ``provenance``), or None."""
    path = recorded_path(run.parameters.model)
    if not path.is_file():
        return None
    record = json.loads(path.read_text())
    return record if record["configuration"] == configuration(run) else None


def summaries(run: Experiment) -> Summaries:
    """The summaries of all modes and of the run's own seeds."""
    return {mode: {str(seed): run.summary(mode, seed) for seed in run.parameters.seeds} for mode in MODES}


def draw_overview(record: dict) -> Figure:
    """The figure of the README: accuracy per task after addition, mean over the recorded seeds."""
    plt.style.use(plots.STYLE)
    tasks = list(record["summaries"]["linear"]["0"]["single"])
    means = {
        mode: {task: sum(s["addition"]["test"][task] for s in by_seed.values()) / len(by_seed) for task in tasks}
        for mode, by_seed in record["summaries"].items()
    }
    zero_shot = {task: record["zero_shot"][task]["test"] for task in tasks}
    return plots.bars_per_task({"zero-shot": zero_shot, **means}, "test accuracy (%)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="ViT-Mini-8")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--store", default="auto")
    args = parser.parse_args()
    run = Experiment(check_parameters(model=args.model, seeds=args.seeds, store=args.store))
    names = (*run.parameters.tasks, run.parameters.control)
    record = {
        "configuration": configuration(run),
        "seeds": list(run.parameters.seeds),
        "zero_shot": {name: run.zero_shot(name) for name in names},
        "summaries": summaries(run),
        "provenance": provenance(),
    }
    FOLDER.mkdir(parents=True, exist_ok=True)
    recorded_path(args.model).write_text(json.dumps(record, indent=1) + "\n")
    draw_overview(record).savefig(recorded_path(args.model).with_suffix(".svg"))
    print(f"wrote {recorded_path(args.model).relative_to(ROOT)}")


if __name__ == "__main__":
    main()
