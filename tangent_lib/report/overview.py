"""The figure of the README, drawn from the recorded results: ``python -m tangent_lib.report.overview``."""

from __future__ import annotations

import json

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tangent_lib.modes import MODES
from tangent_lib.recorded import recorded_path
from tangent_lib.report import plots


def draw_overview(record: dict) -> Figure:
    """The figure of the README: accuracy per task after addition, mean over the recorded seeds."""
    plt.style.use(plots.STYLE)
    tasks = record["configuration"]["order"][:-1]
    means = {
        mode: {task: sum(s["addition"]["test"][task] for s in by_seed.values()) / len(by_seed) for task in tasks}
        for mode, by_seed in record["summaries"].items()
        if mode in MODES
    }
    zero_shot = {task: record["zero_shot"][task]["test"] for task in tasks}
    return plots.bars_per_task({"zero-shot": zero_shot, **means}, "test accuracy (%)")


if __name__ == "__main__":
    path = recorded_path("ViT-Mini-8")
    draw_overview(json.loads(path.read_text())).savefig(path.with_suffix(".svg"))
