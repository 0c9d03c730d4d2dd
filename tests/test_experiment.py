"""The protocol of an experiment: what is trained and evaluated, where alpha is chosen, where results are reported."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from tangent_lib import editing, experiment
from tangent_lib.editing import Accuracies
from tangent_lib.evaluation import accuracies, evaluate
from tangent_lib.experiment import Experiment
from tangent_lib.experiments import materials
from tangent_lib.experiments.materials import Materials
from tangent_lib.linearization import linearize
from tangent_lib.modes import MODES, mode_named
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import apply, negate, total

pytestmark = pytest.mark.slow

GRID, NAMES, CONTROL, IMAGES = (0.0, 0.5, 1.0), ("Digits", "Signs"), "Objects", 120
LINEARISED = [mode for mode in MODES if mode_named(mode).linearized]


def same(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(left[name].equal(right[name]) for name in left)


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


def pretend(monkeypatch, made: Experiment, table: dict) -> list:
    """Accuracies out of a table; each call is noted: task, task vectors, split, settings, whether of f_lin."""
    task, seen = made.materials.task, []
    splits = {id(task(name).split(split)): (name, split) for name in (*NAMES, CONTROL) for split in ("val", "test")}

    def of_table(f, theta_0, taus, settings, head, data, linearized, batch_size):
        name, split = splits[id(data)]
        assert head is made.materials.head(name)
        seen.append((name, taus, split, [tuple(alphas) for alphas in settings], linearized))
        return [table[name, split][GRID.index(max(alphas, default=0.0))] for alphas in settings]

    at_theta_0 = lambda f, theta_0, head, data, batch: of_table(f, theta_0, [], [()], head, data, False, batch)[0]
    monkeypatch.setattr(editing, "accuracies", of_table)
    monkeypatch.setattr(experiment, "evaluate", at_theta_0)
    return seen


@pytest.mark.parametrize("mode", MODES)
def test_addition_chooses_on_validation_and_reports_test(run, monkeypatch, mode):
    made = run()
    pretend(monkeypatch, made, ADDED)
    result = made.addition(mode, 0)
    assert result.alpha == 0.5 and result.test == {"Digits": 0.36, "Signs": 0.04}
    assert result.absolute == pytest.approx(0.2, abs=1e-15)
    assert result.normalised == pytest.approx((0.36 / 0.9 + 0.04 / 0.1) / 2, abs=1e-15)
    assert result.val == {name: ADDED[name, "val"] for name in NAMES} and result.alphas == GRID


@pytest.mark.parametrize("mode", MODES)
def test_negation_chooses_on_validation_and_reports_test(run, monkeypatch, mode):
    made = run()
    pretend(monkeypatch, made, NEGATED)
    result = made.negation("Digits", mode, 0)
    assert (result.alpha, result.target, result.control) == (0.5, 0.45, 0.35)
    assert result.target_val == (0.9, 0.4, 0.1) and result.control_val == (0.6, 0.58, 0.3)


def test_test_images_are_seen_at_the_chosen_alpha_only(run, monkeypatch):
    best_at_half = {("Digits", "val"): (0.3, 0.25, 0.4), ("Signs", "val"): (0.1, 0.9, 0.3)}
    made = run()
    seen = pretend(monkeypatch, made, {**ADDED, **NEGATED, **best_at_half})
    assert made.addition("non-linear", 0).alpha == made.negation("Digits", "non-linear", 0).alpha == 0.5
    sweeps = [(split, settings) for _, _, split, settings, _ in seen if len(settings) > 1]
    assert sweeps == [("val", [(alpha,) for alpha in GRID[1:]])] * 4  # at alpha 0 there is zero-shot
    at = lambda alpha: sorted(name for name, _, split, settings, _ in seen if split == "test" and settings == [(alpha,)])
    assert at(0.5) == ["Digits", "Digits", "Objects", "Signs"] and at(1.0) == list(NAMES)


@pytest.mark.parametrize("mode", MODES)
def test_at_alpha_0_accuracies_are_those_of_zero_shot(run, monkeypatch, mode):
    made = run()
    seen = pretend(monkeypatch, made, {**NEGATED, ("Objects", "val"): (0.6, 0.3, 0.3)})
    found = made.negation("Digits", mode, 0)
    assert (found.alpha, found.target, found.control) == (0, 0.85, 0.62)  # no other alpha keeps the control
    at_0 = [(name, split) for name, taus, split, _, _ in seen if not taus]
    assert sorted(at_0) == [(name, split) for name in ("Digits", "Objects") for split in ("test", "val")]
    shared = [(CONTROL, "val"), (CONTROL, "test")] * (mode in LINEARISED)  # one pass for all settings
    again = [(name, split) for name, taus, split, settings, _ in seen if taus and (0.0,) in settings]
    assert again == shared


def test_the_sum_of_all_vectors_is_added_and_one_vector_negated(run, monkeypatch):
    made = run()
    seen = pretend(monkeypatch, made, {**ADDED, **NEGATED})
    vectors = [made.materials.task_vector(name, mode_named("non-linear").training, 0) for name in NAMES]
    made.addition("non-linear", 0)
    made.negation("Digits", "non-linear", 0)
    sweeps = [taus for _, taus, _, settings, _ in seen if settings == [(alpha,) for alpha in GRID[1:]]]
    assert len(sweeps) == 4 and all(same(tau, total(vectors)) for (tau,) in sweeps[:2])
    assert all(same(tau, negate(vectors[0])) for (tau,) in sweeps[2:])


# -- modes -------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "name, training, evaluation", [("non-linear", False, False), ("post-hoc", False, True), ("linear", True, True)]
)
@pytest.mark.parametrize("result", ["single_task", "addition", "negation"])
def test_a_mode_is_what_is_trained_and_what_is_evaluated(run, monkeypatch, name, training, evaluation, result):
    trained, evaluated = [], []

    def finetune(f, theta_0, head, data, protocol, *, linearized, **others):
        trained.append(linearized)
        return theta_0

    def accuracies(f, theta_0, taus, settings, head, data, linearized, batch_size):
        evaluated.append(linearized)
        # where both models are one, what is known is taken; the shared pass over the control gives it for nothing
        assert [0] not in settings or (linearized and data in made.materials.task(CONTROL).splits.values())
        return [0.5 for _ in settings]

    made = run()
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: Accuracies(0.5, 0.5))
    monkeypatch.setattr(materials, "finetune", finetune)
    monkeypatch.setattr(editing, "accuracies", accuracies)
    getattr(made, result)(*{"addition": ()}.get(result, ("Digits",)), name, 0)
    assert set(trained) == {training} and set(evaluated) == {evaluation}


def test_an_unknown_mode_is_refused_with_the_modes(run):
    made = run()
    for call in (lambda name: made.addition(name, 0), lambda name: made.single_task("Digits", name, 0)):
        with pytest.raises(InputError, match=r"mode 'lineer': did you mean 'linear'.*non-linear, post-hoc, linear"):
            call("lineer")


# -- in earnest --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", MODES)
def test_single_task_accuracies_are_those_of_the_mode(short, mode):
    made, name = short(learning_rate=1e-2, steps=4), "Digits"
    clip, theta = made.materials.clip, made.materials.finetuned(name, mode_named(mode).training, 0)
    f = clip.f if mode == "non-linear" else linearize(clip.f, clip.theta_0)
    of = lambda split: evaluate(f, theta, made.materials.head(name), made.materials.task(name).split(split))
    assert made.single_task(name, mode, 0) == Accuracies(of("val"), of("test")) != made.zero_shot(name)


@pytest.mark.parametrize("mode", MODES)
def test_addition_and_negation_run_in_every_mode(short, mode):
    made = short(learning_rate=1e-2)
    added, forgotten = made.addition(mode, 0), made.negation("Digits", mode, 0)
    clip, head, task = made.materials.clip, made.materials.head, made.materials.task
    tau = total(made.materials.task_vector(name, mode_named(mode).training, 0) for name in NAMES)
    f = clip.f if mode == "non-linear" else linearize(clip.f, clip.theta_0)
    edited = apply(clip.theta_0, tau, added.alpha)
    assert added.test == {name: evaluate(f, edited, head(name), task(name).split("test")) for name in NAMES}
    assert forgotten.alpha in GRID and added.val["Signs"][0] == made.zero_shot("Signs").val


def test_zero_shot_is_the_accuracy_at_theta_0(short):
    made = short()
    clip, signs, head = made.materials.clip, made.materials.task("Signs"), made.materials.head("Signs")
    of = lambda split: evaluate(clip.f, clip.theta_0, head, signs.split(split))
    assert made.zero_shot("Signs") == Accuracies(of("val"), of("test"))


# -- negation of all tasks at once -------------------------------------------------------------------------------------
@pytest.fixture
def counted(short):
    """Make an experiment in a store of its own, and count the images that pass through f."""
    passed = Counter()
    first = short(steps=6, batch_size=8, learning_rate=1e-3, pretrained="auto")

    def f(params, x):
        passed["images"] += len(x)
        return first.materials.clip.f(params, x)

    def start(mode: str) -> Experiment:
        made = Experiment(Materials(first.parameters, replace(first.materials.clip, f=f)))
        for path in made.store.root.glob("negation/*"):
            path.unlink()
        for name in (*NAMES, CONTROL):
            made.zero_shot(name)
        for name in NAMES:
            made.materials.finetuned(name, mode_named(mode).training, 0)
        passed.clear()
        return made

    return start, passed


@pytest.mark.parametrize("mode", MODES)
def test_negations_are_those_one_by_one_and_pass_over_the_control_as_often_as_needed(counted, mode):
    start, passed = counted
    made = start(mode)
    single = {name: made.negation(name, mode, 0) for name in NAMES}
    one_by_one = passed["images"]
    made = start(mode)
    assert made.negations(mode, 0) == single and list(single) == list(NAMES)
    if mode not in LINEARISED:
        assert passed["images"] == one_by_one
        return
    tested = sum(each.alpha > 0 for each in single.values())  # at alpha 0 the accuracy on test is known
    assert one_by_one == IMAGES * (3 * len(NAMES) + tested)  # of the control, both splits in one go
    assert passed["images"] == IMAGES * (2 + len(NAMES) + tested)  # both splits of the control once for all


@pytest.mark.parametrize("mode", LINEARISED)
def test_accuracies_on_the_control_are_those_of_each_vector_alone(counted, mode):
    made = counted[0](mode)
    clip, found = made.materials.clip, made.negations(mode, 0)
    head, control = made.materials.head(CONTROL), made.materials.task(CONTROL)
    for name in NAMES:
        tau = negate(made.materials.task_vector(name, mode_named(mode).training, 0))
        of = lambda split, tau=tau: accuracies(
            clip.f, clip.theta_0, [tau], [[alpha] for alpha in GRID], head, control.split(split), True
        )
        assert found[name].control_val == tuple(of("val")) and found[name].control_val[0] == made.zero_shot(CONTROL).val
        assert found[name].control == of("test")[GRID.index(found[name].alpha)]
    assert len({each.control_val for each in found.values()}) == 2


def test_only_what_the_store_lacks_is_subtracted(counted, monkeypatch):
    start, passed = counted
    made, vectors = start("linear"), []
    digits = made.negation("Digits", "linear", 0)
    edit = experiment.task_negation

    def noted(f, theta_0, taus, *given, **options):
        vectors.append(list(taus))
        return edit(f, theta_0, taus, *given, **options)

    monkeypatch.setattr(experiment, "task_negation", noted)
    negations = made.negations("linear", 0)
    assert negations["Digits"] == digits and vectors == [["Signs"]]
    passed.clear()
    assert made.negations("linear", 0) == negations and not passed


# Accuracy at alpha = 0, 0.5, 1 on the target and on the control, for each task that is forgotten. What keeps the control on
# test is not what keeps it on validation, and what keeps it for one task is not what keeps it for the other.
TARGET = {
    ("Digits", "val"): (0.9, 0.4, 0.1),
    ("Signs", "val"): (0.5, 0.3, 0.1),
    ("Digits", "test"): (0.8, 0.45, 0.2),
    ("Signs", "test"): (0.6, 0.7, 0.35),
}
KEPT = {
    ("Digits", "val"): (0.6, 0.58, 0.3),
    ("Signs", "val"): (0.6, 0.2, 0.59),
    ("Digits", "test"): (0.62, 0.25, 0.61),
    ("Signs", "test"): (0.62, 0.64, 0.1),
}


@pytest.mark.parametrize("mode", LINEARISED)
def test_alpha_is_chosen_on_validation_by_each_task_s_own_curve(counted, monkeypatch, mode):
    made = counted[0](mode)
    task = made.materials.task
    splits = {id(task(name).split(split)): (name, split) for name in (*NAMES, CONTROL) for split in ("val", "test")}

    def of_table(f, theta_0, taus, settings, head, data, linearized, batch_size):
        name, split = splits[id(data)]
        assert linearized
        if name != CONTROL:
            return [TARGET[name, split][GRID.index(alpha)] for (alpha,) in settings]
        found = []
        for alphas in settings:
            (subtracted,) = [name for name, alpha in zip(NAMES, alphas, strict=True) if alpha] or NAMES[:1]
            found.append(KEPT[subtracted, split][GRID.index(max(alphas))])
        return found

    at_0 = {name: Accuracies(TARGET[name, "val"][0], TARGET[name, "test"][0]) for name in NAMES}
    at_0[CONTROL] = Accuracies(0.6, 0.62)
    monkeypatch.setattr(editing, "accuracies", of_table)
    monkeypatch.setattr(Experiment, "zero_shot", lambda self, name: at_0[name])
    found = made.negations(mode, 0)
    assert {name: (each.alpha, each.target, each.control) for name, each in found.items()} == {
        "Digits": (0.5, 0.45, 0.25),
        "Signs": (1.0, 0.35, 0.1),
    }
    assert all(found[name].control_val == KEPT[name, "val"] for name in NAMES)


# -- the store ---------------------------------------------------------------------------------------------------------
def test_what_is_in_the_store_is_not_computed_again(short, monkeypatch):
    first = short()
    results = first.addition("linear", 0), first.negation("Digits", "linear", 0), first.zero_shot("Signs")
    for where, name in ((materials, "finetune"), (editing, "accuracies"), (materials, "zero_shot_head")):
        monkeypatch.setattr(where, name, lambda *args, **options: pytest.fail("computed again"))
    again = short()
    assert results == (again.addition("linear", 0), again.negation("Digits", "linear", 0), again.zero_shot("Signs"))


def test_other_alphas_are_other_results(short):
    made, other = short(), short(alphas="0")
    assert made.addition("post-hoc", 0).alphas == GRID and other.addition("post-hoc", 0).alphas == (0.0,)
