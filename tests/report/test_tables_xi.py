"""The numbers behind the heat maps change with the grids, and say so where nothing is recorded."""

import json

import pandas as pd
import pytest

from tangent_lib.report.tables_xi import areas, comparison, diagonals, mean_within, recorded_grids, verdict, verdict_of

GRID = {"alphas": [-1.0, 0.0, 1.0], "xi": [[1.0, 1.0, 1.0], [1.0, 0.0, 0.05], [1.0, 0.2, 0.3]]}


def test_areas_of_the_plane_and_of_the_box():
    table = areas({"non-linear": {"a-b": GRID}, "linear": {"a-b": None}}, 0.1)
    assert table.loc["non-linear"].to_dict() == {("whole plane", "a-b"): "22 %", ("search box", "a-b"): "50 %"}
    assert set(table.loc["linear"]) == {"–"}
    assert areas({"linear": {"a-b": GRID}}, 2).loc["linear"].tolist() == ["100 %", "100 %"]


def test_the_mean_takes_both_bounds_in():
    assert mean_within(GRID, (0, 1)) == pytest.approx((0 + 0.05 + 0.2 + 0.3) / 4)
    assert mean_within(GRID, (-1, -1)) == 1


def test_a_comparison_flips_with_its_numbers():
    values = {"a-b": 0.2, "c-d": 0.1}
    table = comparison({"x above y": lambda pair: values[pair]}, list(values))
    assert table.loc["x above y"].tolist() == ["+0.200, yes", "+0.100, yes", "2 of 2"]
    values["c-d"] = -0.1
    assert comparison({"x above y": lambda pair: values[pair]}, list(values)).loc["x above y", "holds in"] == "1 of 2"


def test_diagonals_need_two_modes_with_xi():
    seeds = lambda value: {"0": {"xi": {"a-b": [0.0, value]}}, "1": {"xi": {"a-b": [0.0, value]}}}
    table = diagonals(
        {"non-linear": seeds(0.4), "linear": seeds(0.2), "old": {"0": {"single": {}}}}, "non-linear", ["a-b"]
    )
    assert list(table.index) == ["non-linear", "linear"]
    assert table.loc["linear"].tolist() == ["0.100 ± 0.000", "2 of 2"]
    assert table.loc["non-linear"].tolist() == ["0.200 ± 0.000", "–"]
    assert diagonals({"non-linear": {"0": {"single": {}}}}, "non-linear", ["a-b"]) is None
    assert diagonals({"non-linear": seeds(0.4), "linear": seeds(0.2)}, "non-linear", ["c-d"]) is None


def test_recorded_grids_name_what_is_missing(tmp_path):
    result = {"alphas": [0.0], "points": [250, 200], "prediction error": [[0.0]]}
    origin = {"commit": "abc", "date": "2026-11-22T06:20:00", "machine": "two cores"}
    one = {"xi_grids": {"non-linear": {"a-b": result}}, "provenance": {"xi_grids": origin}}
    (tmp_path / "One.json").write_text(json.dumps(one))
    (tmp_path / "Two.json").write_text(json.dumps({"provenance": origin}))
    grids, lines = recorded_grids(["non-linear", "linear"], "a-b", ["One", "Two", "Three"], tmp_path)
    assert grids["non-linear"] == {"One": {"alphas": [0.0], "xi": [[0.0]]}, "Two": None, "Three": None}
    assert set(grids["linear"].values()) == {None}
    assert lines == [
        "One: not recorded for linear",
        "One: recorded 2026-11-22 at commit abc on two cores; 250 and 200 points",
        "Two: not recorded for non-linear, linear",
        "Three: not recorded for non-linear, linear",
    ]


def test_a_verdict_follows_the_table():
    table = comparison({"x": lambda pair: {"a-b": 1.0, "c-d": -1.0}[pair], "y": lambda pair: -1.0}, ["a-b", "c-d"])
    assert verdict(table).split("\n\n") == [
        "**Matched:** none.",
        "**Matched in part:** x (1 of 2).",
        "**Not matched:** y (0 of 2).",
    ]
    here = pd.DataFrame({"holds here": ["yes", "no"]}, index=["x", "y"])
    assert verdict(here).startswith("**Matched:** x (yes).") and verdict(here).endswith("**Not matched:** y (no).")
    assert "**Matched:** x (5 of 5 seeds)." in verdict(pd.DataFrame({"holds in": ["5 of 5 seeds"]}, index=["x"]))


def test_checks_become_a_verdict_without_those_that_do_not_apply():
    assert verdict_of({"x": True, "y": False, "z": None}).split("\n\n") == [
        "**Matched:** x (yes).",
        "**Matched in part:** none.",
        "**Not matched:** y (no).",
    ]
