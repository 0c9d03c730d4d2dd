"""The protocol of an experiment: what is trained and evaluated, where alpha is chosen, where results are reported."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from safetensors.torch import save_file

from tangent_lib import experiment, materials
from tangent_lib.data.batches import batches
from tangent_lib.evaluation import accuracy, classify
from tangent_lib.experiment import Experiment
from tangent_lib.linearization import linearize
from tangent_lib.modes import MODES, mode_named
from tangent_lib.parameters import check_parameters
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import apply, negate, total

GRID = (0.0, 0.5, 1.0)
NAMES = ("Digits", "Signs")


@pytest.fixture(scope="session")
def images(task, store):
    """The tasks' images, drawn once, to be copied into each test's own store."""
    for name in (*NAMES, "Objects"):
        task(name)
    return store.root / "images"


@pytest.fixture
def run(tmp_path, images):
    """Make an experiment of two steps on random weights; experiments of one test share a store."""
    root = tmp_path / "store"
    shutil.copytree(images, root / "images", copy_function=os.link)

    def make(alphas=GRID, **given):
        usual = {"tasks": ",".join(NAMES), "steps": 2, "batch_size": 4, "pretrained": "none", "store": str(root)}
        return Experiment(check_parameters(**usual | given), alphas)

    return make


@pytest.fixture
def short(run, few, monkeypatch):
    """The same with 120 images a split, for what evaluates in earnest."""
    load = materials.load_task

    def load_few(*args):
        task = load(*args)
        task.splits.update({name: few(data, 120) for name, data in task.splits.items()})
        return task

    monkeypatch.setattr(materials, "load_task", load_few)
    return run


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


# -- validation and test -----------------------------------------------------------------------------------------------
# Accuracy at alpha = 0, 0.5, 1. Validation is best at 0.5 and test at 1, and dividing by the other split's single-task
# accuracy (that at alpha = 1) would choose 1 on validation too.
ADDED = {
    ("Digits", "val"): (0.1, 0.4, 0.2),
    ("Signs", "val"): (0.1, 0.5, 0.8),
    ("Digits", "test"): (0.3, 0.36, 0.9),
    ("Signs", "test"): (0.05, 0.04, 0.1),
}
NEGATED = {
    ("Digits", "val"): (0.9, 0.4, 0.1),
    ("Objects", "val"): (0.6, 0.58, 0.3),
    ("Digits", "test"): (0.85, 0.45, 0.2),
    ("Objects", "test"): (0.62, 0.35, 0.61),
}


def pretend(monkeypatch, table: dict) -> list:
    seen = []

    def accuracies(self, name, tau, alphas, split, linear):
        seen.append((name, tau, split, tuple(alphas)))
        return [table[name, split][GRID.index(alpha)] for alpha in alphas]

    monkeypatch.setattr(Experiment, "_accuracies", accuracies)
    return seen


@pytest.mark.parametrize("mode", MODES)
def test_addition_chooses_on_validation_and_reports_test(run, monkeypatch, mode):
    pretend(monkeypatch, ADDED)
    result = run().addition(mode, 0)
    assert result["alpha"] == 0.5 and result["test"] == {"Digits": 0.36, "Signs": 0.04}
    assert result["absolute"] == pytest.approx(0.2, abs=1e-15)
    assert result["normalised"] == pytest.approx((0.36 / 0.9 + 0.04 / 0.1) / 2, abs=1e-15)
    assert result["val"] == {name: list(ADDED[name, "val"]) for name in NAMES} and result["alphas"] == list(GRID)


@pytest.mark.parametrize("mode", MODES)
def test_negation_chooses_on_validation_and_reports_test(run, monkeypatch, mode):
    pretend(monkeypatch, NEGATED)
    result = run().negation("Digits", mode, 0)
    assert (result["alpha"], result["target"], result["control"]) == (0.5, 0.45, 0.35)
    assert result["target_val"] == [0.9, 0.4, 0.1] and result["control_val"] == [0.6, 0.58, 0.3]


def test_test_images_are_seen_at_the_chosen_alpha_only(run, monkeypatch):
    best_at_half = {("Digits", "val"): (0.3, 0.25, 0.4), ("Signs", "val"): (0.1, 0.9, 0.3)}
    seen, made = pretend(monkeypatch, {**ADDED, **NEGATED, **best_at_half}), run()
    assert made.addition("non-linear", 0)["alpha"] == made.negation("Digits", "non-linear", 0)["alpha"] == 0.5
    sweeps = [(split, alphas) for _, _, split, alphas in seen if len(alphas) > 1]
    assert sweeps == [("val", GRID[1:])] * 4  # at alpha 0 there is zero-shot
    at = lambda wanted: sorted(name for name, _, split, alphas in seen if split == "test" and alphas == (wanted,))
    assert at(0.5) == ["Digits", "Digits", "Objects", "Signs"] and at(1.0) == list(NAMES)


def test_at_alpha_0_accuracies_are_those_of_zero_shot(run, monkeypatch):
    seen, made = pretend(monkeypatch, {**NEGATED, ("Objects", "val"): (0.6, 0.3, 0.3)}), run()
    found = made.negation("Digits", "post-hoc", 0)
    assert (found["alpha"], found["target"], found["control"]) == (0, 0.85, 0.62)  # no other alpha keeps the control
    at_0 = [(name, split, alphas) for name, tau, split, alphas in seen if 0 in alphas]
    assert sorted(at_0) == [(name, split, (0.0,)) for name in ("Digits", "Objects") for split in ("test", "val")]


def test_the_sum_of_all_vectors_is_added_and_one_vector_negated(run, monkeypatch):
    seen, added = pretend(monkeypatch, {**ADDED, **NEGATED}), run()
    vectors = [added.task_vector(name, False, 0) for name in NAMES]
    added.addition("non-linear", 0)
    added.negation("Digits", "non-linear", 0)
    sweeps = [tau for _, tau, _, alphas in seen if alphas == GRID[1:]]
    assert len(sweeps) == 4 and all(same(tau, total(vectors)) for tau in sweeps[:2])
    assert all(same(tau, negate(vectors[0])) for tau in sweeps[2:])


# -- modes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, training, evaluation", [("non-linear", False, False), ("post-hoc", False, True), ("linear", True, True)]
)
@pytest.mark.parametrize("result", ["single_task", "addition", "negation"])
def test_a_mode_is_what_is_trained_and_what_is_evaluated(run, monkeypatch, name, training, evaluation, result):
    trained, evaluated = [], []

    def finetune(f, theta_0, head, data, protocol, linearized, *others):
        trained.append(linearized)
        return theta_0

    def accuracies_along(f, theta_0, tau, alphas, head, data, linearized, batch_size):
        evaluated.append(linearized)
        assert 0 not in alphas  # where both models are one, what is known is taken
        return [0.5 for _ in alphas]

    made = run()
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: {"val": 0.5, "test": 0.5})
    monkeypatch.setattr(materials, "finetune", finetune)
    monkeypatch.setattr(experiment, "accuracies_along", accuracies_along)
    getattr(made, result)(*{"addition": ()}.get(result, ("Digits",)), name, 0)
    assert set(trained) == {training} and set(evaluated) == {evaluation}


def test_an_unknown_mode_is_refused_with_the_modes(run):
    for call in (mode_named, lambda name: run().addition(name, 0), lambda name: run().single_task("Digits", name, 0)):
        with pytest.raises(InputError, match=r"mode 'lineer': did you mean 'linear'.*non-linear, post-hoc, linear"):
            call("lineer")


# -- in earnest --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_single_task_accuracies_are_those_of_the_mode(short, mode):
    made, name = short(learning_rate=1e-2, steps=4), "Digits"
    clip, theta = made.clip, made.finetuned(name, mode == "linear", 0)
    f = clip.f if mode == "non-linear" else linearize(clip.f, clip.theta_0)
    expected = {split: accuracy(f, theta, made.head(name), made.task(name).split(split)) for split in ("val", "test")}
    assert made.single_task(name, mode, 0) == expected != made.zero_shot(name)


@pytest.mark.parametrize("mode", MODES)
def test_addition_and_negation_run_in_every_mode(short, mode):
    made = short(learning_rate=1e-2)
    added, forgotten = made.addition(mode, 0), made.negation("Digits", mode, 0)
    tau = total(made.task_vector(name, mode == "linear", 0) for name in NAMES)
    clip = made.clip
    f = clip.f if mode == "non-linear" else linearize(clip.f, clip.theta_0)
    edited = apply(clip.theta_0, tau, added["alpha"])
    assert added["test"] == {
        name: accuracy(f, edited, made.head(name), made.task(name).split("test")) for name in NAMES
    }
    assert forgotten["alpha"] in GRID and added["val"]["Signs"][0] == made.zero_shot("Signs")["val"]


def test_zero_shot_is_the_accuracy_at_theta_0(short):
    made = short()
    clip, signs = made.clip, made.task("Signs")
    expected = {
        split: accuracy(clip.f, clip.theta_0, made.head("Signs"), signs.split(split)) for split in ("val", "test")
    }
    assert made.zero_shot("Signs") == expected


@pytest.mark.parametrize("mode", MODES)
def test_xi_compares_each_vector_alone_with_both(short, mode):
    made = short(learning_rate=1e-2)
    clip, taus = made.clip, [made.task_vector(name, mode == "linear", 0) for name in NAMES]
    f = clip.f if mode == "non-linear" else linearize(clip.f, clip.theta_0)
    expected = 0
    for name, tau in zip(NAMES, taus):
        alone, both = (
            [
                classify(f(apply(clip.theta_0, v, 0.5), x), made.head(name)).argmax(-1)
                for x, _ in batches(made.task(name).split("test"), 120, clip.device)
            ]
            for v in (tau, total(taus))
        )
        expected += (alone[0] != both[0]).float().mean().item()
    xi = made.xi_diagonal(NAMES, mode, 0, GRID)["xi"]
    assert xi[0] == 0 and xi[1] == pytest.approx(expected, abs=1e-6) and 0 < max(xi) <= 2


def test_a_summary_holds_test_accuracies(short):
    made = short()
    summary, added, negated = made.summary("linear", 0), made.addition("linear", 0), made.negations("linear", 0)
    assert summary["single"] == {name: made.single_task(name, "linear", 0)["test"] for name in NAMES}
    curve = summary["addition"].pop("curve")
    assert summary["addition"] == {key: added[key] for key in ("alpha", "absolute", "normalised", "test")}
    assert curve == [sum(added["val"][name][i] for name in NAMES) / len(NAMES) for i in range(len(GRID))]
    assert summary["negation"] == {n: {key: negated[n][key] for key in ("alpha", "target", "control")} for n in NAMES}


def test_a_task_outside_the_experiment_is_refused(run):
    with pytest.raises(InputError, match=r"task 'Scenes'.*Digits, Signs, Objects.*-p tasks"):
        run().zero_shot("Scenes")


@pytest.mark.parametrize("alphas", [(), (0.0, 1.5), (-0.1,)])
def test_alphas_out_of_range_are_refused_before_weights_are_loaded(run, no_model, alphas):
    with pytest.raises(InputError, match="alpha"):
        run(alphas)


# -- the store ---------------------------------------------------------------------------------------------------------
def test_what_is_in_the_store_is_not_computed_again(short, monkeypatch):
    first = short()
    results = first.addition("linear", 0), first.negation("Digits", "linear", 0), first.zero_shot("Signs")
    for where, name in ((materials, "finetune"), (experiment, "accuracies_along"), (materials, "zero_shot_head")):
        monkeypatch.setattr(where, name, lambda *args: pytest.fail("computed again"))
    again = short()
    assert results == (again.addition("linear", 0), again.negation("Digits", "linear", 0), again.zero_shot("Signs"))
    assert same(again.finetuned("Digits", True, 0), first.finetuned("Digits", True, 0))


@pytest.mark.parametrize("entry", ["finetuned/.safetensors", "finetuned/.json", "head/.safetensors", "addition/.json"])
def test_damaged_entries_are_recomputed_to_the_same_result(short, entry):
    kind, suffix = entry.split("/")
    first = short()
    result, theta = first.addition("linear", 0), first.finetuned("Digits", True, 0)
    for path in (first.store.root / kind).glob(f"*{suffix}"):
        path.write_bytes(path.read_bytes()[:-9])
    again = short()
    with pytest.warns(UserWarning, match=f"damaged.*{kind}/"):
        assert again.addition("linear", 0) == result and same(again.finetuned("Digits", True, 0), theta)
        assert all(torch.equal(again.head(name), first.head(name)) for name in NAMES)


CHANGES = {
    "steps": {"steps": 3},
    "batch size": {"batch_size": 5},
    "learning rate": {"learning_rate": 1e-3},
    "precision": {"precision": "bf16"},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_protocol_is_another_result(short, change):
    theta, other = (short(**given).finetuned("Digits", False, 0) for given in ({}, change))
    assert not same(theta, other)


def test_seed_task_and_linearity_are_told_apart(short):
    made = short()
    which = [("Digits", False, 0), ("Digits", False, 1), ("Digits", True, 0), ("Signs", False, 0)]
    thetas = [made.finetuned(*each) for each in which]
    assert not any(same(a, b) for i, a in enumerate(thetas) for b in thetas[:i])


def test_other_weights_and_other_alphas_are_other_results(short, tmp_path):
    made = short()
    state = made.clip.model.state_dict()
    save_file({name: 1.01 * value for name, value in state.items()}, tmp_path / "other.safetensors")
    other = short(pretrained=str(tmp_path / "other.safetensors"))
    assert not same(other.finetuned("Digits", False, 0), made.finetuned("Digits", False, 0))
    assert made.addition("post-hoc", 0)["alphas"] == list(GRID) != short((0.0,)).addition("post-hoc", 0)["alphas"]
