"""Tables of the notebooks: ours beside the paper's, with the scale in the header. Imported by notebooks alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from tangent_lib import paper
from tangent_lib.editing import mean_and_spread
from tangent_lib.experiment import Experiment
from tangent_lib.recorded import Summaries

ROW_NAMES = {
    "pre-trained": "Pre-trained f(·; θ₀)",
    "non-linear": "Non-lin. FT f(·; θ₀ ± τ)",
    "post-hoc": "Post-hoc lin. f_lin(·; θ₀ ± τ)",
    "linear": "Linear. FT f_lin(·; θ₀ ± τ_lin)",
}
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


def paper_table(
    run: Experiment,
    live: Summaries,
    recorded: dict | None,
    modes: Sequence[str],
    measures: dict[str, Measure],
    pretrained: dict[str, float],
    numbers: dict[str, tuple],
) -> pd.DataFrame:
    """A row a mode; for this run, the recorded seeds and each scale of the paper, a column a measure.

    Args:
        measures: the columns, such as ``{"Abs.": absolute, "Norm.": normalised}``.
        pretrained: the columns' values for the pre-trained model, shares; a missing one is shown as a dash.
        numbers: the paper's, as in ``tangent_lib.paper``.
    """
    name = run.parameters.model
    rows = {}
    for mode in ("pre-trained", *modes):
        cells = {}
        for i, (column, measure) in enumerate(measures.items()):
            for header, source in _sources(name, live, recorded):
                if mode == "pre-trained":
                    text = percent([pretrained[column]]) if column in pretrained else "–"
                else:
                    text = percent(across(source, mode, measure))
                cells[(header, column)] = text
            for scale, values in zip(paper.SCALES, numbers[mode]):
                cells[(f"paper: {scale}", column)] = "–" if values[i] is None else f"{values[i]:.1f}"
        rows[ROW_NAMES[mode]] = cells
    table = pd.DataFrame.from_dict(rows, orient="index")
    headers = [header for header, _ in _sources(name, live, recorded)] + [f"paper: {scale}" for scale in paper.SCALES]
    return table[[(header, column) for header in headers for column in measures]]


def _sources(name: str, live: Summaries, recorded: dict | None) -> list[tuple[str, Summaries]]:
    seeds = ", ".join(next(iter(live.values())))
    found = [(f"{name}, this run, seed {seeds}", live)]
    if recorded:
        found.append((f"{name}, recorded, {len(recorded['seeds'])} seeds", recorded["summaries"]))
    return found


def pretrained_average(run: Experiment, names: Sequence[str]) -> float:
    """The mean zero-shot test accuracy over tasks."""
    return float(np.mean([run.zero_shot(name)["test"] for name in names]))


def table_1(run: Experiment, live: Summaries, recorded: dict | None, modes: Sequence[str]) -> pd.DataFrame:
    """Task addition, as Table 1."""
    pretrained = {"Abs.": pretrained_average(run, run.parameters.tasks)}
    return paper_table(run, live, recorded, modes, {"Abs.": absolute, "Norm.": normalised}, pretrained, paper.TABLE_1)


def table_2(run: Experiment, live: Summaries, recorded: dict | None, modes: Sequence[str]) -> pd.DataFrame:
    """Task negation, as Table 2."""
    pretrained = {
        "Targ.": pretrained_average(run, run.parameters.tasks),
        "Cont.": run.zero_shot(run.parameters.control)["test"],
    }
    return paper_table(run, live, recorded, modes, {"Targ.": target, "Cont.": control}, pretrained, paper.TABLE_2)


def single_task_table(run: Experiment, live: Summaries, recorded: dict | None) -> pd.DataFrame:
    """Average single-task accuracy a mode (Figure 7 as numbers; the paper prints no table of it)."""
    rows = {
        ROW_NAMES["pre-trained"]: {
            h: percent([pretrained_average(run, run.parameters.tasks)])
            for h, _ in _sources(run.parameters.model, live, recorded)
        }
    }
    for mode in live:
        rows[ROW_NAMES[mode]] = {
            header: percent(across(source, mode, single))
            for header, source in _sources(run.parameters.model, live, recorded)
        }
    return pd.DataFrame.from_dict(rows, orient="index")


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
        left = across(summaries, *greater)
        right = [lesser] * len(left) if isinstance(lesser, float) else across(summaries, *lesser)
        return [a - b for a, b in zip(left, right)]

    here = gaps(live)
    row = {
        "relation": claim,
        "difference, this run": f"{100 * np.mean(here):+.1f} points",
        "holds here": "yes" if np.mean(here) > 0 else "no",
    }
    if recorded:
        past = gaps(recorded["summaries"])
        mean, spread = mean_and_spread([100 * gap for gap in past])
        row |= {
            "difference, recorded seeds": f"{mean:+.1f} ± {spread:.1f} points",
            "holds in": f"{sum(gap > 0 for gap in past)} of {len(past)} seeds",
        }
    return row


def relations(rows: Sequence[dict[str, str]]) -> pd.DataFrame:
    """The rows of ``relation`` as a table."""
    return pd.DataFrame(rows).set_index("relation")


def near(summaries: Summaries, recorded: dict | None, mode: str, measure: Measure) -> bool | None:
    """Is the mean of this run within 3 points or 3 standard deviations of the recorded mean? None where none is recorded."""
    if recorded is None:
        return None
    mean, spread = mean_and_spread(across(recorded["summaries"], mode, measure))
    return bool(abs(np.mean(across(summaries, mode, measure)) - mean) <= max(0.03, 3 * (spread or 0)))
