"""Tables of the notebooks: ours beside the paper's, with the scale in the header. Imported by notebooks alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import Record, Summaries, is_of_shipped_weights, read_record
from tangent_lib.modes import MINIATURES, MODES
from tangent_lib.report import paper
from tangent_lib.report.quantities import (
    ABSOLUTE,
    CONTROL,
    NORMALISED,
    SINGLE,
    TARGET,
    Quantity,
    mean_and_spread,
    measured,
    over_seeds,
    percent,
)

_ROW_NAMES = {
    "pre-trained": "Pre-trained f(·; θ₀)",
    "non-linear": "Non-lin. FT f(·; θ₀ ± τ)",
    "post-hoc": "Post-hoc lin. f_lin(·; θ₀ ± τ)",
    "linear": "Linear. FT f_lin(·; θ₀ ± τ_lin)",
}


def sources(
    run: Experiment,
    live: Summaries,
    recorded: Record | None,
    section: Callable[[Record], Summaries] = lambda record: record.summaries,
) -> dict[str, Summaries]:
    """This run, its recorded seeds, and those of the other miniatures, by what a header says of them."""
    found = {f"{run.parameters.model}, this run, seed {', '.join(map(str, run.parameters.seeds))}": live}
    for model, record in records(run, recorded).items():
        seeds = max((len(by_seed) for by_seed in section(record).values()), default=0)
        if seeds:
            found[f"{model}, recorded, {seeds} seed{'s' * (seeds > 1)}"] = section(record)
    return found


def records(run: Experiment, recorded: Record | None) -> dict[str, Record]:
    """This model's record, if there is one, and the other miniatures' where they have its tasks and protocol."""
    name, tasks, protocol = run.parameters.model, run.parameters.tasks, run.parameters.protocol.model_dump()
    records = {name: recorded} if recorded else {}
    for other in MINIATURES if name in MINIATURES else ():
        record = read_record(other) if other != name else None
        alike = record and set(tasks) <= record.zero_shot.keys() and record.configuration["protocol"] == protocol
        if alike and is_of_shipped_weights(record):
            records[other] = record
    return records


def other_miniatures(run: Experiment) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Test accuracies of the other miniatures, of which the three modes are recorded; means over their seeds.

    By title of the model, ``single`` and ``addition``, each by mode (and ``zero-shot``), then by task.
    """
    found = {}
    for model, record in records(run, None).items():
        if not MODES.keys() <= record.summaries.keys():
            continue
        views = {"single": lambda s: s.single, "addition": lambda s: s.addition.test}
        of = lambda view, record=record: means_by_task(record, run.parameters.tasks, view, record.summaries)
        found[f"{model} (recorded)"] = {name: of(view) for name, view in views.items()}
    return found


def means_by_task(record: Record, tasks: Sequence[str], view: Callable, modes: Iterable[str]) -> dict[str, dict[str, float]]:
    """Zero-shot accuracy by task, and what ``view`` reads of the summaries of each mode, averaged over seeds."""
    mean = lambda mode, task: float(np.mean([view(each)[task] for each in record.summaries[mode].values()]))
    zero_shot = {task: record.zero_shot[task].test for task in tasks}
    return {"zero-shot": zero_shot, **{mode: {task: mean(mode, task) for task in tasks} for mode in modes}}


def accuracy_table(
    found: Mapping[str, Summaries],
    modes: Sequence[str],
    measures: Mapping[str, Quantity],
    numbers: Mapping[str, tuple],
    scales: Sequence[str],
    pretrained: Mapping[str, Mapping[str, float]] | None = None,
    digits: int = 1,
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A row a mode; for each source and each scale of the paper, a column a measure. Percent, with the deviation over seeds.

    ``numbers`` are the paper's, by mode, for each scale in the order of the measures; None is a dash. ``pretrained`` has
    shares by source and column, and gives a first row.
    """
    rows = {}
    for mode in (*(["pre-trained"] if pretrained else []), *modes):
        cells = {}
        for header, summaries in found.items():
            for column, measure in measures.items():
                if mode == "pre-trained":
                    value = (pretrained or {}).get(header, {}).get(column)
                    cells[(header, column)] = "–" if value is None else percent([value])
                else:
                    cells[(header, column)] = over_seeds(summaries, mode, measure)
        for scale, values in zip(scales, numbers.get(mode, ())):
            for column, value in zip(measures, values):
                cells[(f"paper: {scale}", column)] = "–" if value is None else f"{value:.{digits}f}"
        rows[(names or _ROW_NAMES).get(mode, mode)] = cells
    return pd.DataFrame.from_dict(rows, orient="index")


def across(summaries: Summaries, mode: str, measure: Quantity) -> list[float]:
    """A quantity for every seed of a mode."""
    return [measure(summary) for summary in summaries[mode].values()]


def mean_by_task(summaries: Summaries, mode: str, seeds: Sequence[int]) -> dict[str, float]:
    """Single-task accuracy of a mode by task, averaged over seeds."""
    chosen = [summaries[mode][str(seed)].single for seed in seeds]
    return {task: float(np.mean([single[task] for single in chosen])) for task in chosen[0]}


def pretrained_average(run: Experiment, names: Sequence[str]) -> float:
    """The mean zero-shot test accuracy over tasks."""
    return float(np.mean([run.zero_shot(name).test for name in names]))


def zero_shot_averages(
    run: Experiment, found: Iterable[str], recorded: Record | None, columns: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """The pre-trained models' accuracy, averaged over the tasks of each column of ``accuracy_table``, by source."""
    averages = {run.parameters.model: {column: pretrained_average(run, names) for column, names in columns.items()}}
    for model, record in records(run, recorded).items():
        mean = lambda names, record=record: float(np.mean([record.zero_shot[name].test for name in names]))
        averages[model] = {column: mean(names) for column, names in columns.items()}
    return {header: averages[header.split(",")[0]] for header in found}


def table_1(run: Experiment, live: Summaries, recorded: Record | None, modes: Sequence[str]) -> pd.DataFrame:
    """Task addition, as Table 1."""
    found, measures = sources(run, live, recorded), {"Abs.": ABSOLUTE, "Norm.": NORMALISED}
    pretrained = zero_shot_averages(run, found, recorded, {"Abs.": run.parameters.tasks})
    return accuracy_table(found, modes, measures, paper.TABLE_1, paper.SCALES, pretrained)


def table_2(run: Experiment, live: Summaries, recorded: Record | None, modes: Sequence[str]) -> pd.DataFrame:
    """Task negation, as Table 2."""
    found, measures = sources(run, live, recorded), {"Targ.": TARGET, "Cont.": CONTROL}
    columns = {"Targ.": run.parameters.tasks, "Cont.": (run.parameters.control,)}
    pretrained = zero_shot_averages(run, found, recorded, columns)
    return accuracy_table(found, modes, measures, paper.TABLE_2, paper.SCALES, pretrained)


def single_task_table(run: Experiment, live: Summaries, recorded: Record | None) -> pd.DataFrame:
    """Average single-task accuracy a mode (Figure 7 as numbers; the paper prints no table of it)."""
    found = sources(run, live, recorded)
    pretrained = zero_shot_averages(run, found, recorded, {"": run.parameters.tasks})
    return accuracy_table(found, list(live), {"": SINGLE}, {}, (), pretrained).droplevel(1, axis=1)


def near(summaries: Summaries, recorded: Record | None, mode: str, measure: Quantity) -> bool | None:
    """Is the mean of this run within 3 points or 3 standard deviations of the recorded mean? None where none is recorded."""
    past = list(measured(recorded.summaries if recorded else {}, mode, measure).values())
    if not past:
        return None
    mean, spread = mean_and_spread(past)
    return bool(abs(np.mean(across(summaries, mode, measure)) - mean) <= max(0.03, 3 * (spread or 0)))


def answers(checks: Mapping[str, bool | None]) -> pd.DataFrame:
    """What a page predicted beforehand, and whether it holds here; a dash where it does not apply."""
    words = {name: "–" if holds is None else "yes" if holds else "no" for name, holds in checks.items()}
    return pd.DataFrame({"holds here": words}).rename_axis("prediction")
