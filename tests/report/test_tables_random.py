"""Table 3 is computed from summaries: its rows, its spread, and what a recorded file may lack."""

from types import SimpleNamespace

import pytest

from tangent_lib.experiment import Experiment
from tangent_lib.report import paper
from tangent_lib.report.tables_random import (
    RANDOM,
    ROW_NAMES,
    chance,
    gain,
    kept,
    localisations,
    recorded_starts,
    table_3,
)


def summary(single, absolute, start=None):
    found = {"single": {"a": single, "b": single}, "addition": {"absolute": absolute}}
    return found if start is None else {**found, "start": start}


@pytest.fixture
def run():
    tasks = {"a": SimpleNamespace(classes=["x"] * 10), "b": SimpleNamespace(classes=["x"] * 5)}
    found = Experiment.__new__(Experiment)  # without opening a model: only names and classes are read
    found.parameters, found.task = SimpleNamespace(model="Toy", tasks=("a", "b")), tasks.__getitem__
    return found


@pytest.fixture
def recorded():
    modes = ("non-linear", "linear")
    return {
        "zero_shot": {"a": {"test": 0.4}, "b": {"test": 0.6}, "control": {"test": 0.9}},
        "summaries": {mode: {seed: summary(0.8, 0.6) for seed in "012"} for mode in modes},
        "untrained": {mode: {"0": summary(0.5, 0.12), "1": summary(0.6, 0.14)} for mode in modes},
        "untrained_zero_shot": {seed: {"a": {"test": 0.1}, "b": {"test": 0.1}} for seed in "01"},
    }


def test_chance_is_the_mean_over_tasks(run):
    assert chance(run) == pytest.approx((1 / 10 + 1 / 5) / 2)


def test_gains_are_counted_from_where_fine_tuning_started():
    assert gain(summary(0.5, 0.2, 0.1)) == pytest.approx(0.1)
    assert kept(summary(0.5, 0.2, 0.1)) == pytest.approx(0.25)
    assert kept(summary(0.1, 0.1, 0.1)) != kept(summary(0.1, 0.1, 0.1))  # not a number: nothing was learned


def test_recorded_starts_join_both_origins(recorded):
    found = recorded_starts(recorded, ("a", "b"))
    assert found["seeds"] == ["0", "1"] and set(found["summaries"]["linear"]) == {"0", "1"}
    assert found["summaries"]["linear"]["0"]["start"] == 0.5
    assert found["summaries"]["linear" + RANDOM]["0"]["start"] == 0.1


def test_recorded_starts_may_be_missing(recorded):
    del recorded["untrained"]
    assert recorded_starts(recorded, ("a", "b")) is None and recorded_starts(None, ("a",)) is None


def test_table_3_shows_this_run_recorded_seeds_and_the_paper(run, recorded):
    kept_starts = recorded_starts(recorded, ("a", "b"))
    live = {name: {"0": by_seed["0"]} for name, by_seed in kept_starts["summaries"].items()}
    table = table_3(run, live, kept_starts)
    row = table.loc[ROW_NAMES["non-linear"]]
    assert row[("Toy, this run, seed 0", "Sing.")] == "50.0" and row[("Toy, this run, seed 0", "Multi")] == "12.0"
    assert row[("Toy, recorded, 2 seeds", "Sing.")] == "55.0 ± 7.1"
    assert (
        row[(f"paper: {paper.SCALES[0]}", "Sing.")] == "48.5" and row[(f"paper: {paper.SCALES[2]}", "Multi")] == "4.8"
    )
    assert table.loc[ROW_NAMES["random init"]].iloc[:2].tolist() == ["10.0", "–"]
    assert table.loc[ROW_NAMES["chance"]].iloc[:2].tolist() == ["15.0", "–"]
    assert len(table_3(run, live, None).columns) == 2 + 2 * len(paper.SCALES)


def test_localisations_are_means_over_recorded_seeds(recorded):
    assert localisations(recorded) is None and localisations(None) is None
    seeds = lambda *values: {str(seed): {"a-b": {"control": value, "unseen": 0.5}} for seed, value in enumerate(values)}
    table = localisations({**recorded, "ntk": {"pretrained": seeds(0.9, 0.9), "untrained": seeds(0.5, 0.6)}})
    assert table["a-b"].tolist() == ["90.0 ± 0.0", "55.0 ± 7.1"]
