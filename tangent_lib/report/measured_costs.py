"""Measured numbers of the page on cost: results of ``benchmarks/`` with this library's goals, and a live comparison.

Imported by notebooks alone; ``counted_costs`` has what is counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import Tensor

from tangent_lib.cost.measured_steps import StepCost
from tangent_lib.evaluation import classify, features_at
from tangent_lib.kernels import ntk
from tangent_lib.linearization import linearize, listing_1
from tangent_lib.models.clip import Clip
from tangent_lib.modes import ALPHAS
from tangent_lib.report import paper
from tangent_lib.report.quantities import NONE
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.inputs import in_float64, where_float64_is
from tangent_lib.task_vectors import Function, Params, add, apply

RESULTS = ROOT / "benchmarks" / "results"
BENCHMARKS = {"linear_step": "", "alpha_sweep": "", "xi_grid": " --nonlinear", "ntk": ""}  # and options of theirs
_KINDS = {"time": "seconds", "memory": "peak_bytes"}  # to the names in a report
ALONE = "its products alone"  # the floor of a side: the same products, on numbers that lie ready
SHARE = 0.05  # length of a drawn task vector, of the weights
Report = Mapping[str, object]  # what a benchmark writes


@dataclass(frozen=True)
class Goal:
    """What this library set itself: one side of a benchmark over another, in ``time`` or peak ``memory``."""

    benchmark: str
    ratio: str
    kind: str
    limit: float | int
    at_most: bool = False

    def __str__(self) -> str:
        return f"at {'most' if self.at_most else 'least'} {self.limit:g}"

    def met(self, value: float) -> bool:
        return value <= self.limit if self.at_most else value >= self.limit


GOALS = (
    Goal("linear_step", "fast / non-linear", "time", 1.67, at_most=True),
    Goal("linear_step", "fast / non-linear", "memory", 1.15, at_most=True),
    Goal("alpha_sweep", "naive / fast", "time", 20),
    Goal("xi_grid", "naive / fast", "time", 100),
    Goal("xi_grid", "naive non-linear / fast non-linear", "time", 1.8),
    Goal("ntk", "naive / fast", "time", 10),
    Goal("ntk", f"fast / {ALONE}", "time", 1.3, at_most=True),
    Goal("ntk", "naive / fast", "memory", 10),  # a tenth
)


def read_results(folder: Path = RESULTS) -> list[Report]:
    """What the benchmarks wrote, in the order of file names and with a ``name`` from them; nothing where there is no file."""
    reports = []
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        known = isinstance(report, dict) and report.get("benchmark") in BENCHMARKS
        if not known or not report.keys() >= {"pairs", "ratios", "operations", "floor", "provenance"}:
            raise InputError(f"{path} is no result of benchmarks/: move it away, or write it anew with --json")
        name = path.stem.removeprefix(report["benchmark"]).strip("-") or report["model"]  # of model and variant
        reports.append({**report, "name": name})
    return reports


def command(benchmark: str) -> str:
    """What measures a benchmark where no result is there."""
    return f"python benchmarks/{benchmark}.py{BENCHMARKS[benchmark]} --json benchmarks/results/{benchmark}-ViT-Mini-8.json"


def result_table(reports: Iterable[Report], benchmark: str) -> pd.DataFrame:
    """A row a result, ratio and kind: the median of the rounds with its spread, the goal, and both sides' own medians.

    Last come the ways of this library over their floor, where that is timed.
    """
    goals, rows = {(each.benchmark, each.ratio, each.kind): each for each in GOALS}, {}
    for report in (each for each in reports if each["benchmark"] == benchmark):
        for ratio, found in _ratios(report).items():
            for kind, value in found.items():
                goal = goals.get((benchmark, ratio, kind))
                rows[(_name(report), f"{ratio}, {kind}")] = {
                    "median": _spread(**value),
                    "by operations": _by_operations(report, ratio) if kind == "time" else NONE,
                    "goal": f"{goal}: {'met' if goal.met(value['median']) else 'not met'}" if goal else NONE,
                    "both sides": " / ".join(_shown(each, kind) for each in _medians(report, ratio, kind)),
                }
    if not rows:
        return pd.DataFrame({"no result yet; this command makes one": [command(benchmark)]}, index=[benchmark])
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["result", "ratio"])


def _ratios(report: Report) -> dict[str, dict]:
    """By ratio and kind, with those over a side's floor."""
    floors = {f"{side} / {ALONE}": {"time": found} for side, found in report["floor"].items()}
    return {**report["ratios"], **floors}


def _by_operations(report: Report, ratio: str) -> str:
    above, below = ratio.split(" / ")
    return NONE if below == ALONE else f"{report['operations'][above] / report['operations'][below]:.2f}"


def _medians(report: Report, ratio: str, kind: str) -> list[float | int]:
    """Of both sides of a ratio, in seconds or bytes."""
    above, below = ratio.split(" / ")
    named = [(above, _KINDS[kind]), (above, "products_seconds") if below == ALONE else (below, _KINDS[kind])]
    return [median(pair[side][what] for pair in report["pairs"]) for side, what in named]


def result_origins(reports: Iterable[Report], benchmark: str) -> str:
    """What the numbers of a table depend on: sizes, rounds, machine, commit and date of every result."""
    lines = []
    for report in (each for each in reports if each["benchmark"] == benchmark):
        sizes = {name: value for name, value in report["sizes"].items() if name not in ("seed", "plain_products")}
        named = [f"{k.replace('_', ' ')} {v:,}" for k, v in {**sizes, "threads": report["threads"]}.items()]
        origin, rounds = report["provenance"], len(report["pairs"])
        made = f"{origin['machine']}; commit {origin['commit']}, {origin['date'][:10]}"
        lines.append(f"{_name(report)}: {', '.join(named)}; {rounds} rounds; {made}.")
    return " ".join(lines)


def _name(report: Report) -> str:
    plain = ", plain products" * bool(report["sizes"].get("plain_products"))  # PyTorch's own on all sides
    return f"{report['name']}, {report['device']}, {report['precision']}{plain}"


def _spread(median: float, lowest: float, highest: float) -> str:
    return f"{median:.2f}" + f" ({lowest:.2f} to {highest:.2f})" * (lowest < highest)


def _shown(value: float | int, kind: str) -> str:
    if kind == "memory":
        return f"{value / 1e6:,.4g} MB" if value < 1e9 else f"{value / 1e9:,.3g} GB"
    return f"{value:.3g} s" if value >= 1 else f"{1000 * value:.3g} ms"


def distance_table(reports: Iterable[Report]) -> pd.DataFrame:
    """How far apart the sides' results lie, as the largest difference over the largest value, and the benchmark's notes."""
    rows = {}
    for report in reports:
        apart = "; ".join(f"{what} {value:.1e}" for what, value in report["distance"].items())
        rows[(report["benchmark"], _name(report))] = {"distance": apart, "notes": " ".join(report["note"]) or NONE}
    if not rows:
        return pd.DataFrame({"made by": [command(name) for name in BENCHMARKS]}, index=list(BENCHMARKS))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["benchmark", "result"])


def goal_table(reports: Sequence[Report]) -> pd.DataFrame:
    """A row a goal: the medians that were measured, and in how many results it is met."""
    rows = {}
    for goal in GOALS:
        of = [each for each in reports if each["benchmark"] == goal.benchmark and goal.ratio in _ratios(each)]
        medians = [_ratios(each)[goal.ratio][goal.kind]["median"] for each in of]
        rows[(goal.benchmark, goal.ratio, goal.kind)] = {
            "goal": str(goal),
            "medians": "; ".join(f"{value:.2f} ({_name(each)})" for value, each in zip(medians, of)) or "no result yet",
            "met in": f"{sum(map(goal.met, medians))} of {len(medians)}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(["benchmark", "of", "in"])


def live_table(costs: Mapping[str, StepCost], base: str = "non-linear") -> pd.DataFrame:
    """Time and bytes of a gradient in several ways, beside those of one of them, round by round."""
    rows = {}
    for way, cost in costs.items():
        ratios = [own / other for own, other in zip(cost.rounds, costs[base].rounds)]
        rows[way] = {
            "ms a gradient": f"{1000 * cost.seconds:.3g}",
            f"over {base}, time": f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            "MB kept": f"{cost.saved_bytes / 1e6:.1f}",
            f"over {base}, bytes": f"{cost.saved_bytes / costs[base].saved_bytes:.2f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def printed_ratios() -> dict[str, float]:
    """Linear over non-linear in Table 4 of the attention-only paper, of a language model: training time, and "cost (MB)"."""
    linear, plain = (paper.ATTENTION_TABLE_4[way] for way in ("linear", "non-linear"))
    seconds = lambda row: 60 * int(row[3].split(":")[0]) + int(row[3].split(":")[1])
    return {"time": seconds(linear) / seconds(plain), "memory": linear[2] / plain[2]}


def drawn(clip: Clip, images: int, seed: int, classes: int = 10) -> tuple[Tensor, Tensor, Tensor, Params]:
    """Random images, labels, head and task vector: cost does not depend on what an image shows."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(images, 3, clip.image_size, clip.image_size, generator=rng).to(clip.device)
    y = torch.randint(0, classes, (images,), generator=rng).to(clip.device)
    with torch.no_grad():
        dim = clip.f(clip.theta_0, x[:1]).shape[1]
    head = 100 * torch.nn.functional.normalize(torch.randn(classes, dim, generator=rng), dim=1).to(clip.device)
    directions = {name: torch.randn(value.shape, generator=rng).to(value) for name, value in clip.theta_0.items()}
    return x, y, head, {n: SHARE * v.norm() * directions[n] / directions[n].norm() for n, v in clip.theta_0.items()}


def same_results(clip: Clip, images: int = 2, outputs: int = 2, seed: int = 0) -> dict[str, float]:
    """How far each fast path lies from its plain formula, in float64: the largest difference over the largest value.

    Compared are features and gradient of a step by Listing 1, features along alpha, and kernels from gradients.
    """
    x, y, head, tau = drawn(clip, images, seed)
    theta_0, tau, x, head, y = *map(in_float64, (clip.theta_0, tau, x, head)), where_float64_is(y)
    plain, here, sweep = listing_1(clip.f, theta_0), linearize(clip.f, theta_0), [[alpha] for alpha in ALPHAS]
    logits = lambda params, x: classify(clip.f(params, x), head)[:, :outputs]
    with torch.no_grad():
        along = torch.stack([plain(apply(theta_0, tau, alpha), x) for (alpha,) in sweep])
        one_pass = torch.stack([z for (z,) in features_at(clip.f, theta_0, [tau], [x], True)(sweep, [0])])
    steps = [_step(model, add(theta_0, tau), x, y, head) for model in (here, plain)]
    pairs = {
        "features of a step": [features for features, _ in steps],
        "gradient of a step": [gradient for _, gradient in steps],
        f"features at {len(sweep)} values of α": (one_pass, along),
        f"kernels of {outputs} logits": (ntk(logits, theta_0, x), ntk(logits, theta_0, x, implementation="plain")),
    }
    return {what: ((found - wanted).abs().max() / wanted.abs().max()).item() for what, (found, wanted) in pairs.items()}


def _step(model: Function, theta: Params, x: Tensor, y: Tensor, head: Tensor) -> tuple[Tensor, Tensor]:
    """The features of a step, and the gradient of all weights in one row."""
    moving = {name: value.requires_grad_() for name, value in theta.items()}
    features = model(moving, x)
    loss = torch.nn.functional.cross_entropy(classify(features, head), y)
    gradient = torch.autograd.grad(loss, list(moving.values()))
    return features.detach(), torch.cat([each.flatten() for each in gradient])
