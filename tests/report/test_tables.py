"""Tables are computed from summaries: alter a number and the table changes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from tangent_lib.experiment import Experiment
from tangent_lib.experiments.records import AdditionSummary, NegationSummary, Record, Summary
from tangent_lib.report import tables
from tangent_lib.report.quantities import ABSOLUTE, CONTROL, SINGLE


def summary(single, absolute, target):
    return Summary(
        single={"a": single, "b": single},
        addition=AdditionSummary(0.2, absolute, absolute / single, {"a": absolute}, (absolute,)),
        negation={"a": NegationSummary(0.1, target, 0.5)},
    )


@pytest.fixture
def live():
    return {"non-linear": {"0": summary(0.8, 0.6, 0.3)}, "linear": {"0": summary(0.7, 0.65, 0.2)}}


@pytest.fixture
def recorded(live):
    other = {mode: dict(by_seed) for mode, by_seed in live.items()}
    other["linear"]["1"] = summary(0.7, 0.55, 0.2)
    other["non-linear"]["1"] = summary(0.8, 0.60, 0.3)
    return Record(configuration={}, provenance={}, zero_shot={}, seeds=(0, 1), summaries=other)


def test_near_takes_three_points_or_three_deviations(live, recorded):
    assert tables.near(live, recorded, "non-linear", SINGLE) is True
    live["non-linear"]["0"] = replace(live["non-linear"]["0"], single={"a": 0.76, "b": 0.76})
    assert tables.near(live, recorded, "non-linear", SINGLE) is False
    assert tables.near(live, None, "non-linear", SINGLE) is None


def test_sources_name_the_model_and_its_seeds(live, recorded):
    protocol = SimpleNamespace(model_dump=dict)
    run = Experiment.__new__(Experiment)  # without opening a model: only its parameters are read
    run.parameters = SimpleNamespace(model="ViT-B-32", seeds=(0, 3), tasks=("a", "b"), protocol=protocol)
    found = tables.sources(run, live, recorded)
    assert list(found) == ["ViT-B-32, this run, seed 0, 3", "ViT-B-32, recorded, 2 seeds"]
    assert list(tables.sources(run, live, None)) == ["ViT-B-32, this run, seed 0, 3"]
    assert len(tables.sources(run, live, replace(recorded, summaries={}))) == 1


def test_the_table_shows_each_source_beside_the_paper(live, recorded):
    sources = {"here": live, "recorded": recorded.summaries}
    numbers = {"linear": ((76.5, None),)}
    table = tables.accuracy_table(sources, ["linear"], {"Abs.": ABSOLUTE, "Cont.": CONTROL}, numbers, ["B/32"])
    assert table.iloc[0].tolist() == ["65.0", "50.0", "60.0 ± 7.1", "50.0 ± 0.0", "76.5", "–"]
    live["linear"]["0"] = summary(0.7, 0.4, 0.2)
    assert tables.accuracy_table(sources, ["linear"], {"Abs.": ABSOLUTE}, {}, []).iloc[0].tolist() == [
        "40.0",
        "60.0 ± 7.1",
    ]


def test_what_is_not_recorded_is_said():
    table = tables.accuracy_table({"here": {}}, ["linear"], {"Abs.": ABSOLUTE}, {"linear": ()}, [])
    assert table.iloc[0].tolist() == ["not recorded"]


def test_means_by_task_are_over_the_seeds_asked_for(recorded):
    recorded.summaries["linear"]["1"] = replace(recorded.summaries["linear"]["1"], single={"a": 0.9, "b": 0.5})
    assert tables.mean_by_task(recorded.summaries, "linear", [0, 1]) == pytest.approx({"a": 0.8, "b": 0.6})
    assert tables.mean_by_task(recorded.summaries, "linear", [1]) == {"a": 0.9, "b": 0.5}
    assert tables.across(recorded.summaries, "linear", SINGLE) == pytest.approx([0.7, 0.7])


def test_predictions_are_answered_and_a_dash_says_that_one_does_not_apply():
    assert tables.answers({"a": True, "b": False, "c": None})["holds here"].tolist() == ["yes", "no", "–"]
