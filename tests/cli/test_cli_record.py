"""``tangent record``: receipts for jobs, records for the book, and what it refuses to overwrite."""

from __future__ import annotations

import json

import pytest

from tangent_lib.editing import Accuracies
from tangent_lib.experiment import Experiment
from tangent_lib.experiments import recording, records
from tangent_lib.experiments.records import Summary, read_record
from tangent_lib.models import clip as clips

pytestmark = pytest.mark.slow


@pytest.fixture
def quick(run, monkeypatch, tmp_path):
    """``tangent record`` of two quick sections in the place of all, into a folder of its own."""
    by_seed = lambda run, mode: {mode: {str(seed): Summary(cosine=float(seed)) for seed in run.parameters.seeds}}
    of = lambda mode: lambda run: {"summaries": by_seed(run, mode)}
    monkeypatch.setattr(recording, "MAKERS", {"a": of("linear"), "b": of("post-hoc")})
    monkeypatch.setattr(records, "RECORDED", tmp_path / "recorded")
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: Accuracies(0.5, 0.5))
    common = ("-p", "tasks", "Signs,Digits", "--store", tmp_path / "store")
    return lambda *given: run("record", *common, *given)


def test_a_job_of_some_sections_leaves_a_receipt_and_no_record(quick, tmp_path):
    path = tmp_path / "new" / "receipt.json"
    assert quick("--sections", "a", "--seeds", "3", "--receipt", path) == (0, [], [])
    receipt = json.loads(path.read_text())
    assert receipt["sections"] == ["a"] and receipt["seeds"] == [3] and not (tmp_path / "recorded").exists()
    assert {"commit", "date", "machine"} <= receipt["provenance"].keys()


def test_a_record_is_written_once_and_added_to(quick):
    status, out, err = quick("--sections", "a", "--seeds", "0,1")
    assert (status, err) == (0, []) and out[0].startswith("wrote ") and out[0].endswith("recorded/ViT-Mini-8.json")
    before = records.recorded_path("ViT-Mini-8").read_bytes()
    assert "holds these results already" in quick("--sections", "a", "--seeds", "1")[1][0]
    assert records.recorded_path("ViT-Mini-8").read_bytes() == before
    assert quick("--sections", "a,b", "--seeds", "2")[1][0].startswith("wrote ")
    found = read_record("ViT-Mini-8")
    assert {mode: list(each) for mode, each in found.summaries.items()} == {"linear": ["0", "1", "2"], "post-hoc": ["2"]}
    assert found.seeds == (0, 1, 2) and found.provenance.keys() == {"a", "b"}


def test_a_miniature_is_recorded_anew_with_another_protocol(quick):
    quick("--sections", "a", "--seeds", "0")
    assert quick("--sections", "a", "--seeds", "5", "-p", "steps", "3")[1][0].startswith("wrote ")
    assert list(read_record("ViT-Mini-8").summaries["linear"]) == ["5"]


def test_results_of_a_real_model_are_not_lost_to_another_configuration(quick, monkeypatch):
    quick("--sections", "a", "--seeds", "0")
    before = records.recorded_path("ViT-Mini-8").read_bytes()
    monkeypatch.setattr("tangent_lib.cli.record.MINIATURES", ())
    status, out, err = quick("--sections", "a", "--seeds", "0", "-p", "steps", "3")
    assert (status, out, len(err)) == (2, [], 1) and "results of another configuration" in err[0]
    assert records.recorded_path("ViT-Mini-8").read_bytes() == before


@pytest.mark.parametrize(
    "given, message",
    [
        (["--sections", "tangents"], "unknown section 'tangents'"),
        (["--seeds", "0,x"], "seeds 'x'"),
        (["--model", "ViT-Mini-9"], "unknown model 'ViT-Mini-9'"),
        (["-p", "precison", "bf16"], "unknown parameter 'precison': did you mean 'precision'?"),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(quick, given, message, tmp_path):
    status, out, err = quick(*given)
    assert (status, out, len(err)) == (2, [], 1) and err[0].startswith("error: ") and message in err[0]
    assert not (tmp_path / "recorded").exists()


def test_nothing_is_loaded_for_a_value_that_cannot_be_used(quick, monkeypatch):
    monkeypatch.setattr(clips, "load_clip", lambda *args: pytest.fail("a model was loaded"))
    assert quick("--seeds", "1,1")[0] == 2
