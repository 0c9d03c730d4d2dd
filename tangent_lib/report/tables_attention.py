"""Tables of the attention-only paper: ours beside the paper's, with the scale in the header. Imported by notebooks alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import pandas as pd

from tangent_lib.cost.measured_steps import LISTING_1, StepCost
from tangent_lib.disentanglement import DISTANCES, XiGrid
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import Record, Summaries
from tangent_lib.report import paper, tables
from tangent_lib.report.plots_xi import Grid, area_below, grid_of
from tangent_lib.report.quantities import ABSOLUTE, NORMALISED, SINGLE
from tangent_lib.report.tables_xi import mean_within
from tangent_lib.task_vectors import Params

_ROW_NAMES = {
    "pre-trained": "Pre-trained f(·; θ₀)",
    "non-linear": "Non-linear f(·; θ₀ + τ)",
    "linear": "NTK linearisation f_lin(·; θ₀ + τ_lin)",
    "attention-only": "Attention only f(·; θ₀ + τ_attn)",
    "attention + biases": "Attention, weights and biases",
    "attention + MLP": "Attention and MLP, weights",
    "attention + MLP + biases": "Attention and MLP, weights and biases",
}
EFFICIENCY_ROWS = {  # to the names of rows, and the rows of Table 4, which has linear training by Listing 1
    "non-linear": ("Non-linear", "non-linear"),
    LISTING_1: ("NTK linearisation, Listing 1", "linear"),
    "linear": ("NTK linearisation, this library", None),
    "attention-only": ("Attention only", "attention-only"),
}
Grids = Mapping[str, Mapping[str, XiGrid]]  # by task pair, then by mode
_NON_LINEAR, _LINEAR, _ATTENTION = "non-linear", "linear", "attention-only"
ABLATED = ("attention + biases", "attention + MLP", "attention + MLP + biases")


def addition_table(run: Experiment, live: Summaries, recorded: Record | None) -> pd.DataFrame:
    """Task addition in three ways, as Table 2."""
    found = tables.sources(run, live, recorded)
    pretrained = tables.zero_shot_averages(run, found, recorded, {"Abs.": run.parameters.tasks})
    measures, modes = {"Abs.": ABSOLUTE, "Norm.": NORMALISED}, (_NON_LINEAR, _LINEAR, _ATTENTION)
    numbers = paper.ATTENTION_TABLE_2
    return tables.accuracy_table(found, modes, measures, numbers, paper.SCALES, pretrained, 2, _ROW_NAMES)


def ablation_table(run: Experiment, live: Summaries, recorded: Record | None) -> pd.DataFrame:
    """Which weights are trained, as Table 5."""
    measures = {"Single": SINGLE, "Abs.": ABSOLUTE, "Norm.": NORMALISED}
    numbers = {mode: (values,) for mode, values in paper.ATTENTION_TABLE_5.items()}
    found = tables.sources(run, live, recorded, lambda record: record.ablation)
    modes = (_ATTENTION, *ABLATED)
    return tables.accuracy_table(found, modes, measures, numbers, ["ViT-B/32"], digits=2, names=_ROW_NAMES)


def what_moved(theta_0: Params, theta: Params) -> pd.DataFrame:
    """Which parameters differ from theta_0 in any bit, a row for all blocks together."""
    kinds = {name: re.sub(r"\.\d+\.", ".*.", name) for name in theta_0}
    bits = lambda tensor: tensor.detach().cpu().numpy().tobytes()
    rows = [(kinds[n], 1, v.numel(), int(bits(theta[n]) != bits(v))) for n, v in theta_0.items()]
    columns = ["kind", "tensors", "numbers", "tensors changed"]
    return pd.DataFrame(rows, columns=columns).groupby("kind", sort=False).sum().rename_axis(None)


def efficiency_table(costs: Mapping[str, StepCost], name: str) -> pd.DataFrame:
    """What a gradient takes, measured, beside Table 4 (of a language model); linear training by Listing 1 and as here."""
    rows, printed = {}, "paper: Flan-T5-base"
    for way, (row, of_paper) in EFFICIENCY_ROWS.items():
        cost = costs[way]
        cells = {
            (name, "held (M)"): f"{cost.parameters / 1e6:.2f}",
            (name, "trained (M)"): f"{cost.trainable / 1e6:.2f}",
            (name, "weights (MB)"): f"{cost.weight_bytes / 1e6:.1f}",
            (name, "gradients (MB)"): f"{cost.gradient_bytes / 1e6:.1f}",
            (name, "activations (MB)"): f"{cost.saved_bytes / 1e6:.1f}",
            (name, "with AdamW (MB)"): f"{cost.memory_bytes / 1e6:.1f}",
            (name, "ms a gradient"): f"{1000 * cost.seconds:.0f}",
        }
        if of_paper:
            total, trainable, megabytes, minutes = paper.ATTENTION_TABLE_4[of_paper]
            cells |= {(printed, "held (M)"): f"{total:g}", (printed, "trained (M)"): f"{trainable:g}"}
            cells |= {(printed, "cost (MB)"): f"{megabytes:.1f}", (printed, "minutes"): minutes}
        rows[row] = cells
    return pd.DataFrame.from_dict(rows, orient="index").fillna("–")


def single_averages(run: Experiment, live: Summaries) -> dict[str, dict[str, tuple[float, float]]]:
    """Average single-task accuracy of linear and attention-only models against the non-linear ones', a point a model.

    This model as computed in this run, the other miniatures as recorded (Figure 5); by mode, then by model.
    """
    found = {run.parameters.model: live}
    found |= {f"{model} (recorded)": record.summaries for model, record in tables.records(run, None).items()}
    average = lambda summaries, mode: float(np.mean(tables.across(summaries, mode, SINGLE)))
    return {
        mode: {
            model: (average(summaries, _NON_LINEAR), average(summaries, mode))
            for model, summaries in found.items()
            if summaries.get(mode) and summaries.get(_NON_LINEAR)
        }
        for mode in (_LINEAR, _ATTENTION)
    }


def areas_table(grids: Grids, part: float = 0.1) -> pd.DataFrame:
    """The share of the plane where xi is below a part of the largest value in any mode, in percent (Figures 6 and 8).

    Says in numbers what the colours of ``plots_attention.xi_by_distance`` show; each distance is measured by its own largest
    value for the pair, so the result has no unit.
    """
    return _by_distance(grids, lambda grid, top: f"{100 * area_below(grid, part * top):.0f}")


def beyond_box_table(grids: Grids) -> pd.DataFrame:
    """How many times larger the mean error is beyond the search box than within (attention-only paper, Section 4.2).

    The mean where both alphas are above 1, over the mean in [0, 1]^2; a ratio, so it has no unit in either distance.
    """

    def cell(grid: Grid, _: float) -> str:
        within, above = mean_within(grid, (0, 1)), [alpha for alpha in grid.alphas if alpha > 1]
        return f"{mean_within(grid, (min(above), max(above))) / within:.1f} times" if within else "–"

    return _by_distance(grids, cell)


def _by_distance(grids: Grids, cell: Callable[[Grid, float], str]) -> pd.DataFrame:
    """A row a mode, a column a pair and distance; a cell is made of the grid and the largest value in any mode."""
    columns = {}
    for pair, distance in product(grids, DISTANCES):
        of = {mode: grid_of(grid, distance) for mode, grid in grids[pair].items()}
        top = max(float(np.max(grid.xi)) for grid in of.values())
        columns[(pair, distance)] = {mode: cell(grid, top) for mode, grid in of.items()}
    return pd.DataFrame(columns)
