"""The recorded results belong to the shipped weights and the default protocol, and to nothing else."""

import json

import pytest
from tangent_lib.recorded import make_record, read_recorded, recorded_path

from tangent_lib import miniature, recorded
from tangent_lib.experiment import Experiment
from tangent_lib.modes import ATTENTION_MODES, MODES
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError


def experiment(tmp_path, **parameters):
    return Experiment(check_parameters(store=str(tmp_path), **parameters))


@pytest.fixture(params=MINIATURES)
def record(request):
    return json.loads(recorded_path(request.param).read_text())


def test_they_are_those_of_the_default_run(tmp_path):
    record = read_recorded(experiment(tmp_path))
    assert record is not None and len(record["seeds"]) >= 5
    assert {mode: len(by_seed) for mode, by_seed in record["summaries"].items()} == {
        mode: len(record["seeds"]) for mode in (*MODES, *ATTENTION_MODES)
    }


def test_another_protocol_has_none(tmp_path):
    assert read_recorded(experiment(tmp_path, steps=3)) is None


def test_every_section_carries_its_origin(record):
    assert record["provenance"] and set(record["provenance"]) <= set(recorded.SECTIONS)
    for origin in record["provenance"].values():
        assert {"commit", "date", "machine", "torch"} <= origin.keys()
    assert record["configuration"]["protocol"]["steps"] == 240 and record["configuration"]["weights"]


def test_the_averages_follow_from_the_tasks(record):
    for by_seed in record.get("summaries", {}).values():
        for summary in by_seed.values():
            test = summary["addition"]["test"]
            assert abs(sum(test.values()) / len(test) - summary["addition"]["absolute"]) < 1e-9
            shares = [test[task] / summary["single"][task] for task in test]
            assert abs(sum(shares) / len(shares) - summary["addition"]["normalised"]) < 1e-9


# -- how they are put together -----------------------------------------------------------------------------------------
@pytest.fixture
def sections(monkeypatch, tmp_path):
    """Two quick sections in the place of all, and a folder of their own."""
    by_seed = lambda run, mode: {mode: {str(seed): {"value": seed} for seed in run.parameters.seeds}}
    quick = {"a": lambda run: {"summaries": by_seed(run, "linear")}, "b": lambda run: {"summaries": by_seed(run, "post-hoc")}}
    monkeypatch.setattr(recorded, "SECTIONS", quick)
    monkeypatch.setattr(recorded, "FOLDER", tmp_path / "recorded")
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: {"val": 0.5, "test": 0.5})
    (tmp_path / "recorded").mkdir()
    return tmp_path


def write(run, names):
    recorded_path(run.parameters.model).write_text(json.dumps(make_record(run, names)))


def test_seeds_and_sections_are_added_to_what_was_recorded(sections):
    for seeds, names in (("0,1", ["a"]), ("2", ["a"]), ("0", ["b"])):
        write(experiment(sections, tasks="Signs,Digits", seeds=seeds), names)
    found = json.loads(recorded_path("ViT-Mini-8").read_text())
    assert sorted(found["summaries"]["linear"]) == ["0", "1", "2"] and list(found["summaries"]["post-hoc"]) == ["0"]
    assert set(found["provenance"]) == {"a", "b"} and found["seeds"] == [0, 1, 2]


def test_a_record_of_another_configuration_is_not_mixed_in(sections):
    write(experiment(sections, tasks="Signs,Digits", steps=3), ["a"])
    write(experiment(sections, tasks="Signs,Digits", steps=4, seeds="5"), ["a"])
    assert list(json.loads(recorded_path("ViT-Mini-8").read_text())["summaries"]["linear"]) == ["5"]


def test_an_unknown_section_is_refused_with_the_known_ones(sections):
    with pytest.raises(InputError, match=r"section 'tangents'.*a, b"):
        make_record(experiment(sections, tasks="Signs,Digits"), ["tangents"])
