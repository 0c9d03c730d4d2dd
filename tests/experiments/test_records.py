"""The recorded results belong to the shipped weights and the default protocol, and to nothing else; summaries of a run."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.experiments.recording import MAKERS
from tangent_lib.experiments.records import (
    BOX,
    AdditionSummary,
    NegationSummary,
    Record,
    Summary,
    as_json,
    is_of_shipped_weights,
    read_record,
    read_recorded,
    recorded_path,
    same_configuration,
    summaries,
    summary,
    typed_record,
)
from tangent_lib.modes import ATTENTION_MODES, MINIATURES, MODES
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError

pytestmark = pytest.mark.slow

NAMES = ("Digits", "Signs")


def experiment(store, **parameters):
    return Experiment(Materials(check_parameters(store=str(store.root), **parameters)))


@pytest.fixture(params=MINIATURES)
def record(request):
    return read_record(request.param)


# -- what is recorded --------------------------------------------------------------------------------------------------
def test_they_are_those_of_the_default_run(store):
    record = read_recorded(experiment(store))
    assert isinstance(record, Record) and len(record.seeds) >= 5
    assert {mode: len(by_seed) for mode, by_seed in record.summaries.items()} == {
        mode: len(record.seeds) for mode in (*MODES, *ATTENTION_MODES)
    }


@pytest.mark.parametrize(
    "other",
    [
        {"steps": 3},
        {"alphas": "0,0.5,1"},
        {"tasks": "Signs,Digits"},
        {"pairs": "Signs-Digits"},
        {"pairs": "Vehicles-Aerial,Textures-Scenes,Digits-ClutteredDigits"},
        {"points": 100},
    ],
    ids=str,
)
def test_another_configuration_has_none(store, other):
    assert read_recorded(experiment(store, **other)) is None


def test_points_and_pairs_given_as_they_are_recorded_are_the_same(store):
    pairs = "Textures-Scenes,Vehicles-Aerial,Digits-ClutteredDigits"
    assert read_recorded(experiment(store, points=200, pairs=pairs)) == read_recorded(experiment(store))


def test_drawn_images_may_differ_as_processors_do_and_no_more(record):
    one = record.configuration
    moved = lambda by: {**one, "images": {**one["images"], "Signs": [each + by for each in one["images"]["Signs"]]}}
    assert same_configuration(one, moved(20)) and same_configuration(moved(-20), one)
    assert not same_configuration(one, moved(2000)) and not same_configuration(one, {**one, "images": {}})
    assert not same_configuration({name: one[name] for name in one.keys() - {"points", "pairs", "images"}}, one)


def test_a_model_without_a_record_has_none():
    assert read_record("ViT-B-16") is None


def test_every_section_carries_its_origin(record):
    assert record.provenance and set(record.provenance) <= set(MAKERS)
    for origin in record.provenance.values():
        assert {"commit", "date", "machine", "torch"} <= origin.keys()
    assert record.configuration["protocol"]["steps"] == 240 and record.configuration["weights"]
    assert is_of_shipped_weights(record) and len(record.tasks) == 8


def test_the_averages_follow_from_the_tasks(record):
    for by_seed in record.summaries.values():
        for each in by_seed.values():
            test = each.addition.test
            assert abs(sum(test.values()) / len(test) - each.addition.absolute) < 1e-9
            shares = [test[task] / each.single[task] for task in test]
            assert abs(sum(shares) / len(shares) - each.addition.normalised) < 1e-9


@pytest.mark.parametrize("model", MINIATURES)
def test_types_take_every_value_of_the_file(model):
    """Back in JSON a record is the file, but for sections that are empty and for names of distances."""
    values = json.loads(recorded_path(model).read_text())
    back = json.loads(json.dumps(as_json(typed_record(values))))
    grids = values.pop("xi_grids", {})
    found = back.pop("xi_grids")
    assert {key: value for key, value in back.items() if value} == {key: value for key, value in values.items() if value}
    for mode, by_pair in grids.items():
        for pair, grid in by_pair.items():
            assert found[mode][pair] == {key.replace(" ", "_"): value for key, value in grid.items()}


def test_what_was_not_computed_is_none_and_left_out():
    values = {"configuration": {}, "provenance": {}, "zero_shot": {"Signs": {"val": 0.5, "test": 0.25}}}
    record = typed_record({**values, "summaries": {"linear": {"0": {"cosine": 0.5}}}})
    assert record.zero_shot == {"Signs": Accuracies(0.5, 0.25)} and record.seeds == ()
    assert record.summaries["linear"]["0"] == Summary(cosine=0.5)
    assert as_json(record.summaries) == {"linear": {"0": {"cosine": 0.5}}}


# -- summaries of a run ------------------------------------------------------------------------------------------------
def test_a_summary_holds_test_accuracies(short):
    made = short()
    found, added, negated = summary(made, "linear", 0), made.addition("linear", 0), made.negations("linear", 0)
    assert found.single == {name: made.single_task(name, "linear", 0).test for name in NAMES}
    curve = tuple(sum(added.val[name][i] for name in NAMES) / len(NAMES) for i in range(3))
    assert found.addition == AdditionSummary(added.alpha, added.absolute, added.normalised, added.test, curve)
    assert found.negation == {name: NegationSummary(n.alpha, n.target, n.control) for name, n in negated.items()}
    assert found.xi is found.kl is found.cosine is None


def test_xi_and_cosines_come_where_they_are_asked_for(short):
    made = short(points=20, learning_rate=1e-2)
    found = summary(made, "post-hoc", 0, negation=False, xi=True)
    diagonal = made.xi_diagonal(NAMES, "post-hoc", 0, BOX)
    assert found.negation is None and found.xi == {"Digits-Signs": diagonal.xi} and found.kl == {"Digits-Signs": diagonal.kl}
    assert found.cosine == pytest.approx(abs(np.array(made.cosines("post-hoc", 0).cosines)[0, 1]))


def test_summaries_are_of_the_modes_and_seeds_asked_for(short):
    made = short(seeds="1,0")
    found = summaries(made, ("non-linear", "post-hoc"), negation=False)
    assert {mode: list(by_seed) for mode, by_seed in found.items()} == {"non-linear": ["1", "0"], "post-hoc": ["1", "0"]}
    assert found["non-linear"]["1"] == summary(made, "non-linear", 1, negation=False)
    assert list(summaries(made, ("non-linear",), seeds=[0], negation=False)["non-linear"]) == ["0"]


@pytest.mark.parametrize("seeds", [[True], ["1"], [1.5]])
def test_what_is_no_seed_is_not_made_one(seeds):
    values = json.loads(recorded_path("ViT-Mini-8").read_text())
    with pytest.raises(InputError, match=r"damaged at seeds\.0: Input should be a valid int"):
        typed_record({**values, "seeds": seeds})


def test_a_recorded_file_that_is_no_json_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("tangent_lib.experiments.records.RECORDED", tmp_path)
    (tmp_path / "ViT-B-16.json").write_text("{")
    with pytest.raises(InputError, match=r"ViT-B-16.json' cannot be used \(Expecting property name.*git checkout"):
        read_record("ViT-B-16")
