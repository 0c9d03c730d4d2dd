"""Imported checkpoints in an experiment: in place of non-linear fine-tuning, of nothing else, and under keys of their own."""

from __future__ import annotations

import pytest
import torch
from published import TASKS

from tangent_lib.checkpoints.imported import import_family
from tangent_lib.cli.finetune import finetune_job
from tangent_lib.experiment import Experiment
from tangent_lib.experiments.materials import Materials
from tangent_lib.experiments.records import configuration
from tangent_lib.modes import TRAININGS, mode_named
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError
from tests.data.small_files import write_all

pytestmark = pytest.mark.slow


@pytest.fixture
def run(publish, random_clip, tmp_path):
    import_family("tall_masks", random_clip, publish("tall_masks"), TASKS, tmp_path / "imported")
    write_all(tmp_path / "data", tasks=tuple(TASKS))
    common = {"pretrained": "none", "tasks": TASKS, "control": "Objects", "steps": 2, "batch_size": 4, "alphas": "0,0.5,1"}
    places = {"data_root": str(tmp_path / "data"), "store": str(tmp_path / "store")}

    def make(**more):
        folder = str(tmp_path / "imported" / "tall_masks" / "ViT-Mini-8")
        return Experiment(Materials(check_parameters(**{**common, **places, "checkpoints": folder, **more})))

    return make


def test_they_are_the_task_vectors_of_nonlinear_fine_tuning(run, starred, random_clip):
    with_import = run()
    for task in TASKS:
        theta = with_import.materials.finetuned(task, TRAININGS["non-linear"], 0)
        assert all(torch.equal(theta[name], value) for name, value in starred(task).items())
    assert not list(with_import.store.root.glob("finetuned/*"))


def test_everything_else_is_trained_here(run, starred):
    materials = run().materials
    others = [
        materials.finetuned(TASKS[0], TRAININGS["linear"], 0),
        materials.finetuned(TASKS[0], TRAININGS["attention-only"], 0),
        materials.untrained(0).finetuned(TASKS[0], TRAININGS["non-linear"], 0),
    ]
    assert all(not torch.equal(theta["proj"], starred(TASKS[0])["proj"]) for theta in others)


def test_results_with_and_without_an_import_never_mix(run):
    with_import, without = run(), run(checkpoints="none")
    kinds = [("non-linear", True), ("post-hoc", True), ("linear", False), ("attention-only", False)]
    for mode, differs in kinds:
        configs = [each._config(mode_named(mode), 0, *TASKS) for each in (with_import, without)]
        assert (configs[0] != configs[1]) == differs, mode
    assert configuration(with_import) != configuration(without) != configuration(run(checkpoints="none", steps="epochs"))
    with_import.addition("non-linear", 0)
    assert not list(with_import.store.root.glob("finetuned/*"))


def test_what_others_trained_is_neither_trained_nor_exported_as_ours(run, tmp_path):
    with_import = run()
    with pytest.raises(InputError, match="take the place of non-linear fine-tuning"):
        finetune_job(with_import, TASKS[:1], "non-linear")
    (record,) = finetune_job(with_import, TASKS[:1], "linear")
    assert record["computed"]


def test_a_task_that_was_not_imported_is_refused_at_once(run):
    with pytest.raises(InputError, match="Digits"):
        run(tasks=[*TASKS, "Digits"])
