"""Measured numbers of the page on cost, from made-up results."""

import json

import pytest

from tangent_lib.cost.measured_steps import StepCost
from tangent_lib.report import measured_costs
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
    measured = lambda seconds, peak: {"seconds": seconds, "peak_bytes": peak, "products_seconds": seconds / 2}
    pairs = [{name: measured(s[i], b) for name, (s, b) in sides.items()} for i in range(3)]

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
        "operations": {"non-linear": 300, "fast": 498, "naive": 498},
        "floor": {"fast": {"median": 1.2, "lowest": 1.1, "highest": 1.4}},
        "distance": {"features, fp32": 3.7e-7, "gradient, float64": 5e-16},
        "note": ["Products go through oneDNN."], "provenance": ORIGIN,
    }  # fmt: skip


def test_a_row_has_both_ratios_with_their_spread_and_goal():
    table, name = measured_costs.result_table([report()], "linear_step"), "ViT-Mini-8, cpu, fp32"
    time = table.loc[(name, "fast / non-linear, time")]
    assert time.tolist() == ["1.60 (1.50 to 1.70)", "1.66", "at most 1.67: met", "1.7 s / 1 s"]
    memory = table.loc[(name, "fast / non-linear, memory")]
    assert memory.tolist() == ["1.10", "–", "at most 1.15: met", "0.00011 MB / 0.0001 MB"]  # the same in every round
    assert set(table.loc[[(name, f"naive / non-linear, {kind}") for kind in ("time", "memory")], "goal"]) == {"–"}
    floor = table.loc[(name, "fast / its products alone, time")]
    assert floor.tolist() == ["1.20 (1.10 to 1.40)", "–", "–", "1.7 s / 850 ms"]
    assert len(table) == 7


def test_a_table_says_what_its_numbers_depend_on():
    other = {**report("ntk", [("fast", "naive")]), "sizes": {"points": 9, "plain_products": True}, "device": "cuda"}
    sizes = "batch size 32, parameters 1,233,408, threads 2"
    text = f"ViT-Mini-8, cpu, fp32: {sizes}; 3 rounds; 2 cores; commit abc123, 2026-11-22."
    assert measured_costs.result_origins([report(), other], "linear_step") == text
    assert measured_costs.result_origins([report(), other], "ntk").startswith(
        "ViT-Mini-8, cuda, fp32, plain products: points 9, threads 2;"
    )


def test_goals_are_met_by_the_median_or_not():
    slow = {"non-linear": ((1.0,) * 3, 100), "fast": ((1.0, 1.68, 9.0), 116), "naive": ((3.0,) * 3, 200)}
    goals = measured_costs.result_table([report(**slow)], "linear_step")["goal"].tolist()
    assert goals[:2] == ["at most 1.67: not met", "at most 1.15: not met"]
    table = measured_costs.goal_table([report(), report(**slow)])
    assert table["met in"].tolist() == ["1 of 2"] * 2 + ["0 of 0"] * 6 and len(table) == len(measured_costs.GOALS)
    time = table.loc[("linear_step", "fast / non-linear", "time"), "medians"]
    assert time == "1.60 (ViT-Mini-8, cpu, fp32); 1.68 (ViT-Mini-8, cpu, fp32)"


@pytest.mark.parametrize(("seconds", "met"), [(1.0, "met"), (2.1, "not met")])
def test_a_speed_up_has_to_be_as_large_as_its_goal(seconds, met):
    sides = {"naive": ((20.0,) * 3, 50), "fast": ((seconds,) * 3, 5)}
    table = measured_costs.result_table([report("ntk", [("naive", "fast")], **sides)], "ntk")
    assert table["goal"].tolist() == [f"at least 10: {met}", "at least 10: met", "at most 1.3: met"]


def test_what_is_not_measured_yet_is_a_command(tmp_path):
    assert measured_costs.read_results(tmp_path / "none") == []
    assert measured_costs.result_table([report()], "xi_grid").iloc[0, 0] == measured_costs.command("xi_grid")
    commands = [measured_costs.command(name) for name in measured_costs.BENCHMARKS]
    assert measured_costs.distance_table([])["made by"].tolist() == commands
    assert measured_costs.result_origins([], "ntk") == ""
    assert set(measured_costs.goal_table([])["medians"]) == {"no result yet"}


def test_the_commands_name_benchmarks_that_exist():
    for name in measured_costs.BENCHMARKS:
        script = measured_costs.ROOT / measured_costs.command(name).split()[1]
        assert script.is_file() and all(goal.benchmark in measured_costs.BENCHMARKS for goal in measured_costs.GOALS)


def test_results_are_read_from_files_and_others_are_refused(tmp_path):
    (tmp_path / "linear_step-ViT-Mini-8-batch128.json").write_text(json.dumps(report()))
    (found,) = measured_costs.read_results(tmp_path)
    assert measured_costs.distance_table([found]).index.tolist() == [("linear_step", "ViT-Mini-8-batch128, cpu, fp32")]
    assert measured_costs.distance_table([found]).iloc[0].tolist() == [
        "features, fp32 3.7e-07; gradient, float64 5.0e-16",
        "Products go through oneDNN.",
    ]
    (tmp_path / "other.json").write_text("[1]")
    with pytest.raises(InputError, match=r"other\.json is no result"):
        measured_costs.read_results(tmp_path)


def test_the_committed_results_fill_the_tables():
    reports = measured_costs.read_results()
    for name in measured_costs.BENCHMARKS:
        assert len(measured_costs.result_table(reports, name))
    assert len(measured_costs.distance_table(reports))


def test_the_papers_ratios_are_those_of_its_table():
    time, memory = (40 * 60 + 59) / (17 * 60 + 38), 1881.926 / 891.614
    assert measured_costs.printed_ratios() == pytest.approx({"time": time, "memory": memory})


def test_live_ratios_are_taken_round_by_round():
    cost = lambda rounds, saved: StepCost(sorted(rounds)[1], saved, 0, 0, 0, 0, rounds)
    live = {"non-linear": cost((1.0, 2.0, 4.0), 10), "linear": cost((2.0, 3.0, 16.0), 15)}
    row = measured_costs.live_table(live).loc["linear"]
    assert row.tolist() == ["3e+03", "2.00 (1.50 to 4.00)", "0.0", "1.50"]


def test_fast_paths_give_the_plain_formulas_results(random_clip):
    assert max(measured_costs.same_results(random_clip).values()) < 1e-12


def test_another_function_is_told_apart(random_clip, monkeypatch):
    monkeypatch.setattr(measured_costs, "linearize", lambda f, theta_0: f)  # f in place of f_lin
    apart = measured_costs.same_results(random_clip)
    assert apart["features of a step"] > 1e-6 < apart["gradient of a step"]
