"""What an experiment works on: weights are trained once, told apart by all that determines them, and kept whole."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from tangent_lib.experiments import materials
from tangent_lib.experiments.materials import Materials
from tangent_lib.modes import TRAININGS
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.disk import DiskFull
from tangent_lib.runtime.errors import InputError, NotFinite, in_full
from tangent_lib.task_vectors import subtract

pytestmark = pytest.mark.slow

NAMES = ("Digits", "Signs")
PLAIN, LINEAR = TRAININGS["non-linear"], TRAININGS["linear"]


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_a_task_outside_the_experiment_is_refused(run):
    with pytest.raises(InputError, match=r"task 'Scenes'.*Digits, Signs, Objects.*-p tasks"):
        run().materials.task("Scenes")


@pytest.mark.parametrize("alphas", ["", "0,1.5", "-0.1", "0.5,0"])
def test_alphas_out_of_range_are_refused_before_weights_are_loaded(run, no_model, alphas):
    with pytest.raises(InputError, match="alpha"):
        run(alphas=alphas)


def test_a_task_vector_is_what_training_moved(short):
    made = short().materials
    theta, theta_0 = made.finetuned("Digits", PLAIN, 0), made.clip.theta_0
    assert same(made.task_vector("Digits", PLAIN, 0), subtract(theta, theta_0)) and not same(theta, theta_0)


def test_of_a_selection_only_what_was_trained_is_kept(short):
    made = short().materials
    theta, theta_0 = made.finetuned("Digits", TRAININGS["attention-only"], 0), made.clip.theta_0
    config = made.finetuned_config("Digits", TRAININGS["attention-only"], 0)
    kept = made.store.find("finetuned", config).tensors
    assert config["selection"] == "attention weights" and theta.keys() == theta_0.keys()
    assert {name for name in theta_0 if not torch.equal(theta[name], theta_0[name])} == set(kept) and len(kept) == 12
    assert "selection" not in made.finetuned_config("Digits", PLAIN, 0)


# -- the store ---------------------------------------------------------------------------------------------------------
def test_what_is_in_the_store_is_not_trained_again(short, monkeypatch):
    first, again = short().materials, short().materials
    theta, head = first.finetuned("Digits", LINEAR, 0), first.head("Signs")
    for name in ("finetune", "zero_shot_head"):
        monkeypatch.setattr(materials, name, lambda *args, **options: pytest.fail("computed again"))
    assert same(again.finetuned("Digits", LINEAR, 0), theta) and torch.equal(again.head("Signs"), head)


@pytest.mark.parametrize("entry", ["finetuned/.safetensors", "finetuned/.json", "head/.safetensors", "addition/.json"])
def test_damaged_entries_are_recomputed_to_the_same_result(short, entry):
    kind, suffix = entry.split("/")
    first = short()
    result, theta = first.addition("linear", 0), first.materials.finetuned("Digits", LINEAR, 0)
    for path in (first.store.root / kind).glob(f"*{suffix}"):
        path.write_bytes(path.read_bytes()[:-9])
    again = short()
    with pytest.warns(UserWarning, match=f"damaged.*{kind}/"):
        assert again.addition("linear", 0) == result and same(again.materials.finetuned("Digits", LINEAR, 0), theta)
        assert all(torch.equal(again.materials.head(name), first.materials.head(name)) for name in NAMES)


CHANGES = {
    "steps": {"steps": 3},
    "batch size": {"batch_size": 5},
    "learning rate": {"learning_rate": 1e-3},
    "precision": {"precision": "bf16"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_protocol_is_another_result(short, change):
    theta, other = (short(**given).materials.finetuned("Digits", PLAIN, 0) for given in ({}, change))
    assert not same(theta, other)


def test_micro_batches_are_the_same_result(short):
    config = lambda **given: short(**given).materials.finetuned_config("Digits", PLAIN, 0)
    assert config() == config(micro_batch=2)


def test_seed_task_and_training_are_told_apart(short):
    made = short().materials
    which = [("Digits", PLAIN, 0), ("Digits", PLAIN, 1), ("Digits", LINEAR, 0), ("Signs", PLAIN, 0)]
    which += [("Digits", TRAININGS["attention-only"], 0), ("Digits", TRAININGS["attention-biases"], 0)]
    thetas = [made.finetuned(*each) for each in which]
    assert not any(same(a, b) for i, a in enumerate(thetas) for b in thetas[:i])


def test_other_weights_are_other_results(short, tmp_path):
    made = short().materials
    state = made.clip.model.state_dict()
    save_file({name: 1.01 * value for name, value in state.items()}, tmp_path / "other.safetensors")
    other = short(pretrained=str(tmp_path / "other.safetensors")).materials
    assert not same(other.finetuned("Digits", PLAIN, 0), made.finetuned("Digits", PLAIN, 0))


def test_training_starts_anew_from_a_damaged_state_and_removes_it_at_the_end(short, monkeypatch):
    made, finetune, seen = short().materials, materials.finetune, []

    def noted(*given, execution, **options):
        seen.append((execution.snapshots.path, execution.micro_batch, execution.progress))
        execution.snapshots.path.write_bytes(b"a state that was damaged")
        return finetune(*given, execution=execution, **options)

    monkeypatch.setattr(materials, "finetune", noted)
    with pytest.warns(UserWarning, match=r"training starts anew: '.*\.state' does not hold its state"):
        made.finetuned("Digits", PLAIN, 0)
    ((path, micro_batch, progress),) = seen
    assert path.parent.name == "finetuned" and not path.exists() and micro_batch is None
    assert progress == "non-linear fine-tuning, Digits (1 of 2), seed 0"


# -- ways out ----------------------------------------------------------------------------------------------------------
def test_a_loss_that_is_not_finite_names_the_way_out(short):
    made = short(learning_rate=1e30, steps=6).materials
    with pytest.raises(NotFinite, match=r"not finite|the loss is") as error:
        made.finetuned("Digits", PLAIN, 0)
    assert "lower it with -p learning_rate, or take -p precision fp32" in in_full(error.value)


def test_too_little_memory_in_training_names_the_way_out(short, monkeypatch):
    def large(*given, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    made = short(batch_size=6).materials
    monkeypatch.setattr("tangent_lib.finetuning._gradients", large)
    with pytest.raises(InputError, match=r"fine-tuning does not fit .* with 6 points at a time.*\nlower -p micro_batch"):
        made.finetuned("Digits", PLAIN, 0)


def test_a_store_that_cannot_be_written_names_the_way_out_before_weights_are_loaded(tmp_path, no_model):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the store '.*/file' cannot be written .*\nname another folder with -p store"):
        Materials(check_parameters(store=str(tmp_path / "file")))


def test_a_disk_that_is_too_small_is_said_before_training(short, monkeypatch):
    made = short().materials
    monkeypatch.setattr("tangent_lib.runtime.disk.free_bytes", lambda path: 1000)
    monkeypatch.setattr(materials, "finetune", lambda *given, **options: pytest.fail("trained in spite of it"))
    with pytest.raises(DiskFull, match=r"fine-tuning Digits, with its state, needs .* of disk, but only 1.0 kB are free"):
        made.finetuned("Digits", PLAIN, 0)


# -- what determines a result ------------------------------------------------------------------------------------------
def test_steps_may_follow_from_the_epochs_of_the_released_code(short):
    made = short(steps="epochs", batch_size=50)
    with pytest.raises(InputError, match="steps 'epochs': the manifest of Digits names no epochs"):
        made.materials.protocol("Digits")


def test_an_untrained_tower_is_another_model_with_the_same_tasks(short):
    made = short().materials
    random = made.untrained(3)
    assert random.identity("Digits")["weights"] != made.identity("Digits")["weights"]
    assert random.identity("Digits")["tasks"] == made.identity("Digits")["tasks"]
    assert random.imported is None and not random.replaces(PLAIN)
