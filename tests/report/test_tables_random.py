"""Table 3 is computed from summaries: its rows, its spread, and what a recorded file may lack."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import AdditionSummary, Record, Summary
from tangent_lib.report import paper
from tangent_lib.report.tables_random import (
    RANDOM,
    ROW_NAMES,
    Started,
    chance,
    gain,
    kept,
    kept_table,
    recorded_starts,
    table_3,
)


def summary(single, absolute, start=None):
    addition = AdditionSummary(0.3, absolute, absolute / single, {"a": absolute, "b": absolute}, (absolute,))
    by_task = {"a": single, "b": single}
    return Summary(by_task, addition) if start is None else Started(by_task, addition, start=start)


def at(test):
    return Accuracies(val=0.0, test=test)


@pytest.fixture
def run():
    tasks = {"a": SimpleNamespace(classes=["x"] * 10), "b": SimpleNamespace(classes=["x"] * 5)}
    found = Experiment.__new__(Experiment)  # without opening a model: only names and classes are read
    parameters = SimpleNamespace(model="Toy", tasks=("a", "b"))
    found.parameters, found.materials = parameters, SimpleNamespace(task=tasks.__getitem__)
    return found


@pytest.fixture
def recorded():
    modes = ("non-linear", "linear")
    return Record(
        configuration={},
        provenance={},
        zero_shot={"a": at(0.4), "b": at(0.6), "control": at(0.9)},
        summaries={mode: {seed: summary(0.8, 0.6) for seed in "012"} for mode in modes},
        untrained={mode: {"0": summary(0.5, 0.12), "1": summary(0.6, 0.14)} for mode in modes},
        untrained_zero_shot={seed: {"a": at(0.1), "b": at(0.1)} for seed in "01"},
    )


def test_chance_is_the_mean_over_tasks(run):
    assert chance(run) == pytest.approx((1 / 10 + 1 / 5) / 2)


def test_gains_are_counted_from_where_fine_tuning_started():
    assert gain(summary(0.5, 0.2, 0.1)) == pytest.approx(0.1)
    assert kept(summary(0.5, 0.2, 0.1)) == pytest.approx(0.25)
    assert kept(summary(0.1, 0.1, 0.1)) != kept(summary(0.1, 0.1, 0.1))  # not a number: nothing was learned


def test_recorded_starts_join_both_origins(recorded):
    found = recorded_starts(recorded, ("a", "b"))
    assert list(found["linear"]) == ["0", "1"] == list(found["linear" + RANDOM])
    assert found["linear"]["0"].start == 0.5 and found["linear"]["0"].single == {"a": 0.8, "b": 0.8}
    assert found["linear" + RANDOM]["0"].start == 0.1 and found["linear" + RANDOM]["0"].addition.absolute == 0.12


def test_recorded_starts_may_be_missing(recorded):
    for section in ("untrained", "summaries", "untrained_zero_shot"):
        assert recorded_starts(replace(recorded, **{section: {}}), ("a", "b")) is None
    assert recorded_starts(None, ("a",)) is None


def test_table_3_shows_this_run_recorded_seeds_and_the_paper(run, recorded):
    kept_starts = recorded_starts(recorded, ("a", "b"))
    live = {name: {"0": by_seed["0"]} for name, by_seed in kept_starts.items()}
    table = table_3(run, live, kept_starts)
    row = table.loc[ROW_NAMES["non-linear"]]
    assert row[("Toy, this run, seed 0", "Sing.")] == "50.0" and row[("Toy, this run, seed 0", "Multi")] == "12.0"
    assert row[("Toy, recorded, 2 seeds", "Sing.")] == "55.0 ± 7.1"
    assert row[(f"paper: {paper.SCALES[0]}", "Sing.")] == "48.5" and row[(f"paper: {paper.SCALES[2]}", "Multi")] == "4.8"
    assert table.loc[ROW_NAMES["random init"]].iloc[:2].tolist() == ["10.0", "–"]
    assert table.loc[ROW_NAMES["chance"]].iloc[:2].tolist() == ["15.0", "–"]
    assert len(table_3(run, live, None).columns) == 2 + 2 * len(paper.SCALES)


def test_what_addition_keeps_is_shown_by_start_and_mode(recorded):
    starts = recorded_starts(recorded, ("a", "b"))
    live = {name: {"0": by_seed["0"]} for name, by_seed in starts.items()}
    table = kept_table(live, starts)
    row = table.loc[("linear", "random init")]
    assert row[("gain of addition, points", "this run")] == "2.0" and row[("kept, %", "this run")] == "5.0"
    assert row[("gain of addition, points", "recorded")] == "3.0 ± 1.4"
    assert table.loc[("non-linear", "pre-trained"), ("kept, %", "this run")] == "33.3"
    assert set(kept_table(live, None).columns.get_level_values(1)) == {"this run"}
