"""How recorded files are put together: section by section, for one configuration, with their origin."""

from __future__ import annotations

import json

import pytest

from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.experiments import recording, records
from tangent_lib.experiments.materials import Materials
from tangent_lib.experiments.recording import MAKERS, make_record
from tangent_lib.experiments.records import Summary, read_record, recorded_path
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError

pytestmark = pytest.mark.slow


def experiment(tmp_path, **parameters):
    return Experiment(Materials(check_parameters(store=str(tmp_path), tasks="Signs,Digits", **parameters)))


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """A folder of records of its own."""
    monkeypatch.setattr(records, "RECORDED", tmp_path / "recorded")
    (tmp_path / "recorded").mkdir()
    return tmp_path


@pytest.fixture
def sections(monkeypatch, folder):
    """Two quick sections in the place of all."""
    by_seed = lambda run, mode: {mode: {str(seed): Summary(cosine=seed / 10) for seed in run.parameters.seeds}}
    quick = {"a": lambda run: {"summaries": by_seed(run, "linear")}, "b": lambda run: {"summaries": by_seed(run, "post-hoc")}}
    monkeypatch.setattr(recording, "MAKERS", quick)
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: Accuracies(0.5, 0.5))
    return folder


def write(run, names):
    recorded_path(run.parameters.model).write_text(json.dumps(make_record(run, names)))


def test_seeds_and_sections_are_added_to_what_was_recorded(sections):
    for seeds, names in (("0,1", ["a"]), ("2", ["a"]), ("0", ["b"])):
        write(experiment(sections, seeds=seeds), names)
    found = read_record("ViT-Mini-8")
    assert {seed: each.cosine for seed, each in found.summaries["linear"].items()} == {"0": 0, "1": 0.1, "2": 0.2}
    assert list(found.summaries["post-hoc"]) == ["0"]
    assert set(found.provenance) == {"a", "b"} and found.seeds == (0, 1, 2)


def test_a_record_of_another_configuration_is_not_mixed_in(sections):
    write(experiment(sections, steps=3), ["a"])
    write(experiment(sections, steps=4, seeds="5"), ["a"])
    assert list(read_record("ViT-Mini-8").summaries["linear"]) == ["5"]


def test_results_of_other_points_or_pairs_are_not_averaged_with_it(sections):
    for seeds, other in (("0", {}), ("5", {"points": 20}), ("6", {"pairs": "Digits-Signs"})):
        write(experiment(sections, seeds=seeds, **other), ["a"])
        assert list(read_record("ViT-Mini-8").summaries["linear"]) == [seeds]


def test_an_unknown_section_is_refused_with_the_known_ones(sections):
    with pytest.raises(InputError, match=r"section 'tangents'.*a, b"):
        make_record(experiment(sections), ["tangents"])


def test_sections_in_earnest_can_be_read_again(folder, short):
    made = short(points=20)
    wanted = ["non-linear", "negation", "xi_grids", "cost"]
    write(made, wanted)
    found = read_record("ViT-Mini-8")
    assert list(found.provenance) == wanted and set(wanted) <= set(MAKERS)
    both = found.summaries["non-linear"]["0"]
    assert both.single == {name: made.single_task(name, "non-linear", 0).test for name in made.parameters.tasks}
    assert both.negation["Signs"].control == made.negation("Signs", "non-linear", 0).control
    assert both.xi["Digits-Signs"] == made.xi_diagonal(("Digits", "Signs"), "non-linear", 0, records.BOX).xi
    grid = found.xi_grids["post-hoc"]["Digits-Signs"]
    assert grid.prediction_error == made.xi_grid(("Digits", "Signs"), "post-hoc", 0, recording.XI_ALPHAS).prediction_error
    assert grid.alphas == recording.XI_ALPHAS and grid.points == (20, 20)
    assert all(each.saved_bytes > 0 and len(each.seconds) > 0 for each in found.cost.values())
