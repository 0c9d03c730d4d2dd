"""Tables of the notebooks: ours beside the paper's, with the scale in the header. Imported by notebooks alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from tangent_lib.editing import mean_and_spread
from tangent_lib.experiment import Experiment
from tangent_lib.modes import MODES
from tangent_lib.recorded import Summaries, is_of_shipped_weights, recorded_path
from tangent_lib.report import paper

ROW_NAMES = {
    "pre-trained": "Pre-trained f(·; θ₀)",
    "non-linear": "Non-lin. FT f(·; θ₀ ± τ)",
    "post-hoc": "Post-hoc lin. f_lin(·; θ₀ ± τ)",
    "linear": "Linear. FT f_lin(·; θ₀ ± τ_lin)",
}
MISSING = "not recorded"
Measure = Callable[[dict], float]  # of one summary, a share in [0, 1]

# what is read off one summary (a mode, a seed; all on test)
single: Measure = lambda s: float(np.mean(list(s["single"].values())))
absolute: Measure = lambda s: s["addition"]["absolute"]
normalised: Measure = lambda s: s["addition"]["normalised"]
target: Measure = lambda s: float(np.mean([each["target"] for each in s["negation"].values()]))
control: Measure = lambda s: float(np.mean([each["control"] for each in s["negation"].values()]))
addition_alpha: Measure = lambda s: s["addition"]["alpha"]


def percent(values: Sequence[float]) -> str:
    """Shares as a mean in percent, with the standard deviation over seeds where there are several.

    Example:
        >>> percent([0.5]), percent([0.5, 0.52])
        ('50.0', '51.0 ± 1.4')
    """
    mean, spread = mean_and_spread([100 * value for value in values])
    return f"{mean:.1f}" if spread is None else f"{mean:.1f} ± {spread:.1f}"


def across(summaries: Summaries, mode: str, measure: Measure) -> list[float]:
    """A measure for every seed of a mode."""
    return [measure(summary) for summary in summaries[mode].values()]


def sources(
    run: Experiment, live: Summaries, recorded: dict | None, section: str = "summaries"
) -> dict[str, Summaries]:
    """This run, its recorded seeds, and those of the other miniatures, by what a header says of them."""
    found = {f"{run.parameters.model}, this run, seed {', '.join(map(str, run.parameters.seeds))}": live}
    for model, record in records(run, recorded).items():
        seeds = max((len(by_seed) for by_seed in record.get(section, {}).values()), default=0)
        if seeds:
            found[f"{model}, recorded, {seeds} seed{'s' * (seeds > 1)}"] = record[section]
    return found


def records(run: Experiment, recorded: dict | None) -> dict[str, dict]:
    """This model's record, if there is one, and the other miniatures' where they have its tasks and protocol."""
    name, tasks, protocol = run.parameters.model, run.parameters.tasks, run.parameters.protocol.model_dump()
    records = {name: recorded} if recorded else {}
    for other in MINIATURES if name in MINIATURES else ():
        if other != name and recorded_path(other).is_file():
            record = json.loads(recorded_path(other).read_text())
            same = set(tasks) <= record["zero_shot"].keys() and record["configuration"]["protocol"] == protocol
            if same and is_of_shipped_weights(record):
                records[other] = record
    return records


def other_miniatures(run: Experiment) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Test accuracies of the other miniatures, of which the three modes are recorded; means over their seeds.

    Returns:
        by title of the model, ``single`` and ``addition``, each by mode (and ``zero-shot``), then by task.
    """
    found = {}
    for model, record in records(run, None).items():
        if not MODES.keys() <= record.get("summaries", {}).keys():
            continue
        zero_shot = {task: record["zero_shot"][task]["test"] for task in run.parameters.tasks}
        views = {"single": lambda s: s["single"], "addition": lambda s: s["addition"]["test"]}
        found[f"{model} (recorded)"] = {
            name: {"zero-shot": zero_shot}
            | {
                mode: {task: float(np.mean([view(s)[task] for s in by_seed.values()])) for task in zero_shot}
                for mode, by_seed in record["summaries"].items()
            }
            for name, view in views.items()
        }
    return found


def accuracy_table(
    found: Mapping[str, Summaries],
    modes: Sequence[str],
    measures: Mapping[str, Measure],
    numbers: Mapping[str, tuple],
    scales: Sequence[str],
    pretrained: Mapping[str, Mapping[str, float]] | None = None,
    digits: int = 1,
    names: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A row a mode; for each source and each scale of the paper, a column a measure. Percent, with the deviation over seeds.

    Args:
        found: as ``sources`` gives.
        measures: the columns, such as ``{"Abs.": absolute}``.
        numbers: by mode, for each scale the paper's values in the order of the measures; None is shown as a dash.
        pretrained: by source, the columns' values of the pre-trained model, shares; gives a first row.
        digits: of the paper's numbers.
        names: what the rows are called, by mode; ``ROW_NAMES`` by default.

    Example:
        >>> live = {"a": {"0": {"single": {"x": 0.5}}}}
        >>> accuracy_table({"here": live}, ["a"], {"Acc.": single}, {"a": ((49.0,),)}, ["CLIP"]).iloc[0].tolist()
        ['50.0', '49.0']
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
                    cells[(header, column)] = _cell(summaries, mode, measure)
        for scale, values in zip(scales, numbers.get(mode, ())):
            for column, value in zip(measures, values):
                cells[(f"paper: {scale}", column)] = "–" if value is None else f"{value:.{digits}f}"
        rows[(names or ROW_NAMES).get(mode, mode)] = cells
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.columns = pd.MultiIndex.from_tuples(table.columns)
    return table


def _cell(summaries: Summaries, mode: str, measure: Measure) -> str:
    values = list(measured(summaries, mode, measure).values())
    return percent(values) if values else MISSING


def pretrained_average(run: Experiment, names: Sequence[str]) -> float:
    """The mean zero-shot test accuracy over tasks."""
    return float(np.mean([run.zero_shot(name)["test"] for name in names]))


def zero_shot_averages(run: Experiment, found: Iterable[str], recorded: dict | None, column: str) -> dict[str, dict]:
    """The pre-trained models' average accuracy over the tasks as one column of ``accuracy_table``, by source."""
    names = run.parameters.tasks
    averages = {run.parameters.model: pretrained_average(run, names)}
    for model, record in records(run, recorded).items():
        averages[model] = float(np.mean([record["zero_shot"][name]["test"] for name in names]))
    return {header: {column: averages[header.split(",")[0]]} for header in found}


def table_1(run: Experiment, live: Summaries, recorded: dict | None, modes: Sequence[str]) -> pd.DataFrame:
    """Task addition, as Table 1."""
    found = sources(run, live, recorded)
    pretrained = zero_shot_averages(run, found, recorded, "Abs.")
    return accuracy_table(found, modes, {"Abs.": absolute, "Norm.": normalised}, paper.TABLE_1, paper.SCALES, pretrained)


def table_2(run: Experiment, live: Summaries, recorded: dict | None, modes: Sequence[str]) -> pd.DataFrame:
    """Task negation, as Table 2."""
    found, kept = sources(run, live, recorded), run.zero_shot(run.parameters.control)["test"]
    pretrained = zero_shot_averages(run, found, recorded, "Targ.")
    for header in found:
        own = header.startswith(f"{run.parameters.model},")
        other = records(run, recorded).get(header.split(",")[0], {}).get("zero_shot", {})
        pretrained[header]["Cont."] = kept if own else other[run.parameters.control]["test"]
    return accuracy_table(found, modes, {"Targ.": target, "Cont.": control}, paper.TABLE_2, paper.SCALES, pretrained)


def single_task_table(run: Experiment, live: Summaries, recorded: dict | None) -> pd.DataFrame:
    """Average single-task accuracy a mode (Figure 7 as numbers; the paper prints no table of it)."""
    found = sources(run, live, recorded)
    table = accuracy_table(found, list(live), {"": single}, {}, (), zero_shot_averages(run, found, recorded, ""))
    return table.droplevel(1, axis=1)


def relation(
    claim: str,
    live: Summaries,
    recorded: dict | None,
    greater: tuple[str, Measure],
    lesser: tuple[str, Measure] | float,
) -> dict[str, str]:
    """A row that says whether one measure exceeds another in this run and in how many recorded seeds.

    Args:
        greater: mode and measure that should be larger.
        lesser: mode and measure that should be smaller, or a number.
    """

    def gaps(summaries: Summaries) -> list[float]:
        sides = [greater] if isinstance(lesser, float) else [greater, lesser]
        found = [measured(summaries, *side) for side in sides]
        seeds = sorted(set.intersection(*map(set, found)), key=int)
        return [found[0][seed] - (lesser if len(found) == 1 else found[1][seed]) for seed in seeds]

    here = gaps(live)
    row = {
        "relation": claim,
        "difference, this run": f"{100 * np.mean(here):+.1f} points",
        "holds here": "yes" if np.mean(here) > 0 else "no",
    }
    if recorded:
        past = gaps(recorded.get("summaries", {}))
        mean, spread = mean_and_spread([100 * gap for gap in past]) if past else (0.0, None)
        text = f"{mean:+.1f}" + ("" if spread is None else f" ± {spread:.1f}") + " points"
        row["difference, recorded seeds"] = text if past else MISSING
        row["holds in"] = f"{sum(gap > 0 for gap in past)} of {len(past)} seeds" if past else MISSING
    return row


def measured(summaries: Summaries, mode: str, measure: Measure) -> dict[str, float]:
    """A measure by seed, for the seeds that have it: not every record has every mode, nor negation.

    Example:
        >>> measured({"linear": {"0": {"single": {"Signs": 0.5}}}}, "linear", target)
        {}
    """
    has = lambda summary: measure not in (target, control) or "negation" in summary
    return {seed: measure(summary) for seed, summary in summaries.get(mode, {}).items() if has(summary)}


def relations(rows: Sequence[dict[str, str]]) -> pd.DataFrame:
    """The rows of ``relation`` as a table."""
    return pd.DataFrame(rows).set_index("relation")


def near(summaries: Summaries, recorded: dict | None, mode: str, measure: Measure) -> bool | None:
    """Is the mean of this run within 3 points or 3 standard deviations of the recorded mean? None where none is recorded."""
    past = list(measured((recorded or {}).get("summaries", {}), mode, measure).values())
    if not past:
        return None
    mean, spread = mean_and_spread(past)
    return bool(abs(np.mean(across(summaries, mode, measure)) - mean) <= max(0.03, 3 * (spread or 0)))
