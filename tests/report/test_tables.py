"""Tables are computed from summaries: alter a number and the table changes."""

import copy

import pytest

from tangent_lib.report import tables


def summary(single, absolute, target):
    return {
        "single": {"a": single, "b": single},
        "addition": {"alpha": 0.2, "absolute": absolute, "normalised": absolute / single, "test": {"a": absolute}},
        "negation": {"a": {"target": target, "control": 0.5, "alpha": 0.1}},
    }


@pytest.fixture
def live():
    return {"non-linear": {"0": summary(0.8, 0.6, 0.3)}, "linear": {"0": summary(0.7, 0.65, 0.2)}}


@pytest.fixture
def recorded(live):
    other = copy.deepcopy(live)
    other["linear"]["1"] = summary(0.7, 0.55, 0.2)
    other["non-linear"]["1"] = summary(0.8, 0.60, 0.3)
    return {"seeds": [0, 1], "summaries": other}


def test_a_relation_says_yes_and_in_how_many_seeds(live, recorded):
    row = tables.relation("x", live, recorded, ("linear", tables.absolute), ("non-linear", tables.absolute))
    assert row["holds here"] == "yes" and row["difference, this run"] == "+5.0 points" and row["holds in"] == "1 of 2 seeds"


def test_a_relation_flips_with_the_result(live, recorded):
    live["linear"]["0"]["addition"]["absolute"] = 0.5
    row = tables.relation("x", live, recorded, ("linear", tables.absolute), ("non-linear", tables.absolute))
    assert row["holds here"] == "no" and row["difference, this run"] == "-10.0 points"


def test_a_relation_to_a_number(live):
    assert tables.relation("x", live, None, ("linear", tables.control), 0.51)["holds here"] == "no"
    assert tables.relation("x", live, None, ("linear", tables.control), 0.49)["holds here"] == "yes"


def test_near_takes_three_points_or_three_deviations(live, recorded):
    assert tables.near(live, recorded, "non-linear", tables.single) is True
    live["non-linear"]["0"]["single"] = {"a": 0.76, "b": 0.76}
    assert tables.near(live, recorded, "non-linear", tables.single) is False
    assert tables.near(live, None, "non-linear", tables.single) is None


def test_the_measures_read_what_they_say(live):
    one = live["linear"]["0"]
    found = [measure(one) for measure in (tables.single, tables.absolute, tables.target, tables.control)]
    assert found == [0.7, 0.65, 0.2, 0.5]
