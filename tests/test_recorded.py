"""The recorded results belong to the shipped weights and the default protocol, and to nothing else."""

import json

from tangent_lib.experiment import Experiment
from tangent_lib.parameters import check_parameters
from tangent_lib.recorded import read_recorded, recorded_path


def experiment(tmp_path, **parameters):
    return Experiment(check_parameters(store=str(tmp_path), **parameters))


def test_they_are_those_of_the_default_run(tmp_path):
    record = read_recorded(experiment(tmp_path))
    assert record is not None and len(record["seeds"]) >= 3


def test_another_protocol_has_none(tmp_path):
    assert read_recorded(experiment(tmp_path, steps=3)) is None


def test_every_result_carries_its_origin():
    record = json.loads(recorded_path("ViT-Mini-8").read_text())
    assert {"commit", "date", "machine", "torch"} <= record["provenance"].keys()
    assert record["configuration"]["protocol"]["steps"] > 0 and record["configuration"]["weights"]


def test_the_averages_follow_from_the_tasks():
    record = json.loads(recorded_path("ViT-Mini-8").read_text())
    for by_seed in record["summaries"].values():
        for summary in by_seed.values():
            test = summary["addition"]["test"]
            assert abs(sum(test.values()) / len(test) - summary["addition"]["absolute"]) < 1e-9
            shares = [test[task] / summary["single"][task] for task in test]
            assert abs(sum(shares) / len(shares) - summary["addition"]["normalised"]) < 1e-9
