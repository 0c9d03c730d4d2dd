"""The page on cost: measured numbers from made-up results, counted ones against the library's own counts."""

import json

import matplotlib.pyplot as plt
import pytest
import torch

from tangent_lib._fast.kernel import MEMORY
from tangent_lib.cost import both_papers as workload
from tangent_lib.cost.both_papers import PAPERS, kind_of
from tangent_lib.cost.counted_steps import CLASSES, StepCount, shapes_only
from tangent_lib.cost.measured_steps import LISTING_1, StepCost, step_costs
from tangent_lib.editing import ALPHAS
from tangent_lib.finetuning import Protocol
from tangent_lib.report import at_scale
from tangent_lib.report import counted_costs as cost_counts
from tangent_lib.report import measured_costs as costs
from tangent_lib.report.counted_costs import F_LIN, F
from tangent_lib.runtime.errors import InputError

STEP = [("fast", "non-linear"), ("naive", "non-linear"), ("naive", "fast")]
ORIGIN = {"machine": "2 cores", "commit": "abc123", "date": "2026-11-22T09:24:17+00:00"}


def report(benchmark="linear_step", compared=STEP, **sides):
    """Made up as a benchmark would write it: by side, seconds of three rounds and bytes."""
    sides = sides or {
        "non-linear": ((1.0, 1.0, 2.0), 100),
        "fast": ((1.6, 1.7, 3.0), 110),
        "naive": ((3.0, 3.0, 8.0), 200),
    }
    pairs = [{name: {"seconds": s[i], "peak_bytes": b} for name, (s, b) in sides.items()} for i in range(3)]

    def spread(a, b, what):
        found = sorted(pair[a][what] / pair[b][what] for pair in pairs)
        return {"median": found[1], "lowest": found[0], "highest": found[2]}

    both = {"time": "seconds", "memory": "peak_bytes"}
    return {
        "benchmark": benchmark, "model": "ViT-Mini-8", "name": "ViT-Mini-8",
        "device": "cpu", "precision": "fp32", "threads": 2,
        "sizes": {"batch_size": 32, "parameters": 1_233_408, "seed": 0, "plain_products": False},
        "pairs": pairs,
        "ratios": {f"{a} / {b}": {kind: spread(a, b, what) for kind, what in both.items()} for a, b in compared},
        "floor": {f"{a} / {b}": 1.66 for a, b in compared},
        "distance": {"features, fp32": 3.7e-7, "gradient, float64": 5e-16},
        "note": ["Products go through oneDNN."], "provenance": ORIGIN,
    }  # fmt: skip


@pytest.fixture(scope="module")
def counts():
    kinds = {kind_of(each): StepCount(30, 10, 0, 0, 4, 10**6, 0) for each in workload.TRAININGS}
    return kinds | {F_LIN: StepCount(50, 29, 0, 0, 4, 2 * 10**6, 0)}


def test_a_row_has_both_ratios_with_their_spread_and_goal():
    table, name = costs.result_table([report()], "linear_step"), "ViT-Mini-8, cpu, fp32"
    time = table.loc[(name, "fast / non-linear, time")]
    assert time.tolist() == ["1.60 (1.50 to 1.70)", "1.66", "at most 1.67: met", "1.7 s / 1 s"]
    memory = table.loc[(name, "fast / non-linear, memory")]
    assert memory.tolist() == ["1.10", "–", "at most 1.15: met", "0.00011 MB / 0.0001 MB"]  # the same in every round
    assert set(table.loc[[(name, f"naive / non-linear, {kind}") for kind in ("time", "memory")], "goal"]) == {"–"}
    assert len(table) == 6


def test_a_table_says_what_its_numbers_depend_on():
    other = {**report("ntk", [("fast", "naive")]), "sizes": {"points": 9, "plain_products": True}, "device": "cuda"}
    sizes = "batch size 32, parameters 1,233,408, threads 2"
    text = f"ViT-Mini-8, cpu, fp32: {sizes}; 3 rounds; 2 cores; commit abc123, 2026-11-22."
    assert costs.origins([report(), other], "linear_step") == text
    assert costs.origins([report(), other], "ntk").startswith(
        "ViT-Mini-8, cuda, fp32, plain products: points 9, threads 2;"
    )


def test_goals_are_met_by_the_median_or_not():
    slow = {"non-linear": ((1.0,) * 3, 100), "fast": ((1.0, 1.68, 9.0), 116), "naive": ((3.0,) * 3, 200)}
    goals = costs.result_table([report(**slow)], "linear_step")["goal"].tolist()
    assert goals[:2] == ["at most 1.67: not met", "at most 1.15: not met"]
    table = costs.goal_table([report(), report(**slow)])
    assert table["met in"].tolist() == ["1 of 2"] * 2 + ["0 of 0"] * 5 and len(table) == len(costs.GOALS)
    time = table.loc[("linear_step", "fast / non-linear", "time"), "medians"]
    assert time == "1.60 (ViT-Mini-8, cpu, fp32); 1.68 (ViT-Mini-8, cpu, fp32)"


@pytest.mark.parametrize(("seconds", "met"), [(1.0, "met"), (2.1, "not met")])
def test_a_speed_up_has_to_be_as_large_as_its_goal(seconds, met):
    sides = {"naive": ((20.0,) * 3, 50), "fast": ((seconds,) * 3, 5)}
    table = costs.result_table([report("ntk", [("naive", "fast")], **sides)], "ntk")
    assert table["goal"].tolist() == [f"at least 10: {met}", "at least 10: met"]


def test_what_is_not_measured_yet_is_a_command(tmp_path):
    assert costs.read_results(tmp_path / "none") == []
    assert costs.result_table([report()], "xi_grid").iloc[0, 0] == costs.command("xi_grid")
    assert costs.distance_table([])["made by"].tolist() == [costs.command(name) for name in costs.BENCHMARKS]
    assert costs.origins([], "ntk") == "" and set(costs.goal_table([])["medians"]) == {"no result yet"}


def test_the_commands_name_benchmarks_that_exist():
    for name in costs.BENCHMARKS:
        script = costs.ROOT / costs.command(name).split()[1]
        assert script.is_file() and all(goal.benchmark in costs.BENCHMARKS for goal in costs.GOALS)


def test_results_are_read_from_files_and_others_are_refused(tmp_path):
    (tmp_path / "linear_step-ViT-Mini-8-batch128.json").write_text(json.dumps(report()))
    (found,) = costs.read_results(tmp_path)
    assert costs.distance_table([found]).index.tolist() == [("linear_step", "ViT-Mini-8-batch128, cpu, fp32")]
    assert costs.distance_table([found]).iloc[0].tolist() == [
        "features, fp32 3.7e-07; gradient, float64 5.0e-16",
        "Products go through oneDNN.",
    ]
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match=r"other\.json is no result"):
        costs.read_results(tmp_path)


def test_the_committed_results_fill_the_tables():
    reports = costs.read_results()
    for name in costs.BENCHMARKS:
        assert len(costs.result_table(reports, name))
    assert len(costs.distance_table(reports))


def test_live_ratios_are_taken_round_by_round():
    cost = lambda rounds, saved: StepCost(sorted(rounds)[1], saved, 0, 0, 0, 0, rounds)
    live = {"non-linear": cost((1.0, 2.0, 4.0), 10), "linear": cost((2.0, 3.0, 16.0), 15)}
    row = costs.live_table(live).loc["linear"]
    assert row.tolist() == ["3e+03", "2.00 (1.50 to 4.00)", "0.0", "1.50"]


def test_fast_paths_give_the_plain_formulas_results(random_clip):
    assert max(costs.same_results(random_clip).values()) < 1e-12


def test_another_function_is_told_apart(random_clip, monkeypatch):
    monkeypatch.setattr(costs, "linearize", lambda f, theta_0: f)  # f in place of f_lin
    apart = costs.same_results(random_clip)
    assert apart["features of a step"] > 1e-6 < apart["gradient of a step"]


def test_the_bytes_of_listing_1_are_those_of_real_steps(random_clip):
    tower, x = shapes_only("ViT-Mini-8"), torch.randn(4, 3, 32, 32)
    real = [
        step_costs(
            random_clip.f, random_clip.theta_0, torch.randn(CLASSES, 128), x[:n], torch.arange(n), 1, (LISTING_1,)
        )
        for n in (2, 4)
    ]
    few, more = (each[LISTING_1].saved_bytes for each in real)
    image = x[0].nbytes  # without content, jvp copies the images once more
    assert cost_counts.kept_by_listing_1(tower) - (more - few) // 2 in (0, image)


def test_models_are_compared_with_f(counts):
    row = cost_counts.model_table({"ViT-B-32": counts}, {"ViT-B-32": 8}).loc["ViT-B-32"]
    assert row.tolist() == ["1.0", "3e-08", "1.667", "2.900", "4e-06", "1.000", "2.00"]


def test_growth_is_that_of_the_workload(counts):
    panels, forward = cost_counts.growth(counts, outputs=3), counts[F].forward_operations
    at = lambda title, name, where: panels[title]["series"][name][panels[title]["at"].index(where)]
    assert at("a sweep", "f_lin, here", 21) * forward == pytest.approx(29 * workload._sweep(True))
    assert at("a sweep", "f, here", len(ALPHAS)) == workload._sweep(False)
    assert at("a sweep", "f_lin, anew", 21) * forward == pytest.approx(21 * 29)
    for vectors in (1, 8):
        here = at("negation, on the control", "f_lin, here", vectors)
        assert here * forward == pytest.approx(workload._passes(counts, vectors))
    points = workload._grids(counts, False, 1) / forward / 2
    for linear, name in ((True, "f_lin, here"), (False, "f, here")):
        assert at("a grid of ξ", name, 20) * forward * points == pytest.approx(workload._grids(counts, linear, 20))
    kernels = panels["kernels of 3 logits"]["series"]
    assert kernels["Jacobian"][0] == pytest.approx(4 * (16 * 3 * 10**6 + 3 * 16**2) / 1e9)
    assert kernels["here, the limit"][-1] == pytest.approx(4 * (MEMORY + 3 * 4096**2) / 1e9)


def test_the_figure_draws_every_line(counts):
    panels = cost_counts.growth(counts)
    figure = cost_counts.growth_figure(panels)
    assert [len(axis.lines) for axis in figure.axes] == [len(panel["series"]) for panel in panels.values()]
    assert [line.get_linestyle() for line in figure.axes[0].lines] == ["--", "-", "--", "-"]
    plt.close(figure)


def test_anew_only_evaluation_takes_more(counts):
    anew, here = (count(counts, PAPERS, Protocol(steps=10)) for count in (cost_counts.work_anew, workload.work))
    shared = {"addition", "negation", "disentanglement error"}
    assert set(anew) == set(here) and {part for part in here if anew[part] > here[part]} >= shared
    assert {part for part in here if anew[part] != here[part]} <= shared | {"NTK"}
    images = sum(len(ALPHAS) * val + test for val, test in map(workload.split_sizes, cost_counts.PAPER_TASKS))
    only = cost_counts.work_anew(counts, ["attention-only"], Protocol())
    modes = [10, 29, 29, 10, 29, 10, 10, 10]  # forward passes of the eight modes, five of f and three of f_lin
    assert only["addition"] == sum(modes) * images and only["NTK"] == 0
    points = workload._grids(counts, False, 1) // 20
    assert only["disentanglement error"] == 2 * 15**2 * points * (10 + 29 + 29 + 10 + 29)


def test_hours_are_of_the_gpu_that_the_paper_names(counts):
    table = cost_counts.hours_table({"ViT-B-32": counts}, Protocol(), 1.0)
    column = ("attention-only paper, RTX 3090", "here")
    assert table.loc["in all", ("tangent-space paper, V100", "the paper's figure")] == "less than 350"
    assert table.loc["zero-shot", ("tangent-space paper, V100", "the paper's figure")] == "–"
    big = {kind: StepCount(10**12, 10**12, 0, 0, 4, 1, 0) for kind in counts}
    whole = at_scale.paper_hours(
        {"m": big}, ["attention-only"], Protocol(), at_scale.GPUS["RTX 3090"], "fp32", {"fp32": 1.0}
    )
    assert float(cost_counts.hours_table({"m": big}, Protocol(), 1.0).loc["in all", column]) == pytest.approx(
        whole, abs=0.05
    )
