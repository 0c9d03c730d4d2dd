"""The figure of the README, drawn from the recorded results: ``python -m tangent_lib.report.overview``."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tangent_lib.experiments.records import Record, read_record, recorded_path
from tangent_lib.modes import MODES, PARAMETERS
from tangent_lib.report import plots
from tangent_lib.report.tables import means_by_task
from tangent_lib.runtime.errors import InputError


def draw_overview(record: Record) -> Figure:
    """The figure of the README: accuracy per task after addition, mean over the recorded seeds."""
    plt.style.use(plots.STYLE)
    return plots.bars_per_task(means_by_task(record, record.tasks, lambda s: s.addition.test, MODES), "test accuracy (%)")


def write_overview() -> Path:
    """Draw the figure of the default model and write it beside its record."""
    model = PARAMETERS["model"]
    record, path = read_record(model), recorded_path(model)
    if record is None:
        raise InputError(f"nothing is recorded in {path}: make it with tangent record")
    draw_overview(record).savefig(path.with_suffix(".svg"))
    return path.with_suffix(".svg")


if __name__ == "__main__":
    print(f"wrote {write_overview()}")
