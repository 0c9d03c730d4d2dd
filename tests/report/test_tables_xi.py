"""The numbers behind the heat maps change with the grids, and say so where nothing is recorded."""

import json

import pytest

from tangent_lib.experiments import records
from tangent_lib.experiments.records import Summary
from tangent_lib.report.plots_xi import Grid
from tangent_lib.report.tables_xi import areas, diagonals, mean_within, recorded_grids

GRID = Grid([-1.0, 0.0, 1.0], [[1.0, 1.0, 1.0], [1.0, 0.0, 0.05], [1.0, 0.2, 0.3]])


def test_areas_of_the_plane_and_of_the_box():
    table = areas({"non-linear": {"a-b": GRID}, "linear": {"a-b": None}}, 0.1)
    assert table.loc["non-linear"].to_dict() == {("whole plane", "a-b"): "22 %", ("search box", "a-b"): "50 %"}
    assert set(table.loc["linear"]) == {"–"}
    assert areas({"linear": {"a-b": GRID}}, 2).loc["linear"].tolist() == ["100 %", "100 %"]


def test_the_mean_takes_both_bounds_in():
    assert mean_within(GRID, (0, 1)) == pytest.approx((0 + 0.05 + 0.2 + 0.3) / 4)
    assert mean_within(GRID, (-1, -1)) == 1


def test_diagonals_need_two_modes_with_xi():
    seeds = lambda value: dict.fromkeys("01", Summary(xi={"a-b": (0.0, value)}))
    without = {"0": Summary(single={})}
    table = diagonals({"non-linear": seeds(0.4), "linear": seeds(0.2), "old": without}, "non-linear", ["a-b"])
    assert list(table.index) == ["non-linear", "linear"]
    assert table.loc["linear"].tolist() == ["0.100 ± 0.000", "2 of 2"]
    assert table.loc["non-linear"].tolist() == ["0.200 ± 0.000", "–"]
    mixed = {str(seed): Summary(xi={"a-b": (0.0, value)}) for seed, value in enumerate((0.2, 0.6))}
    mixed = diagonals({"non-linear": seeds(0.4), "linear": mixed}, "non-linear", ["a-b"])
    assert mixed.loc["linear"].tolist() == ["0.200 ± 0.141", "1 of 2"]
    assert diagonals({"non-linear": without}, "non-linear", ["a-b"]) is None
    assert diagonals({"non-linear": seeds(0.4), "linear": seeds(0.2)}, "non-linear", ["c-d"]) is None


def test_recorded_grids_name_what_is_missing(tmp_path, monkeypatch):
    result = {"seed": 0, "alphas": [0.0], "points": [250, 200], "prediction error": [[0.0]]}
    origin = {"commit": "abc", "date": "2026-11-22T06:20:00", "machine": "two cores"}
    bare = {"configuration": {}, "zero_shot": {}, "provenance": {"xi_grids": origin}}
    one = {**bare, "xi_grids": {"non-linear": {"a-b": result}}}
    (tmp_path / "One.json").write_text(json.dumps(one))
    (tmp_path / "Two.json").write_text(json.dumps(bare))
    monkeypatch.setattr(records, "RECORDED", tmp_path)
    grids, lines = recorded_grids(["non-linear", "linear"], "a-b", ["One", "Two", "Three"])
    assert grids["non-linear"] == {"One": Grid((0.0,), ((0.0,),)), "Two": None, "Three": None}
    assert set(grids["linear"].values()) == {None}
    assert lines == [
        "One: not recorded for linear",
        "One: recorded 2026-11-22 at commit abc on two cores; 250 and 200 points",
        "Two: not recorded for non-linear, linear",
        "Three: not recorded for non-linear, linear",
    ]
