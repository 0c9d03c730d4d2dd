"""The choice of alpha and the normalised accuracy on plain numbers; addition and negation of a model made up by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, TensorDataset

from tangent_lib import editing
from tangent_lib.editing import (
    Accuracies,
    Addition,
    Negation,
    choose_addition_alpha,
    choose_negation_alpha,
    normalised,
    single_task,
    task_addition,
    task_negation,
)
from tangent_lib.modes import ALPHAS
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError
from tangent_lib.task_vectors import MismatchError

GRID = (0.0, 0.5, 1.0)


def test_normalised_is_the_mean_of_ratios_not_the_ratio_of_means():
    assert normalised({"a": 0.25, "b": 0.75}, {"a": 0.5, "b": 1.0}) == 0.625
    assert normalised({"a": 0.7, "b": 0.2}, {"b": 0.2, "a": 0.7}) == 1


@pytest.mark.parametrize("other", [{"a": 0.5}, {"a": 0.5, "c": 0.5}, {"a": 0.5, "b": 0.5, "c": 0.5}])
def test_normalised_refuses_other_tasks(other):
    with pytest.raises(ValueError, match=r"\['a', 'b'\].*" + ".*".join(sorted(other))):
        normalised({"a": 0.5, "b": 0.5}, other)


def test_addition_takes_one_alpha_with_the_best_average():
    val = {"a": [0.1, 0.5, 0.6], "b": [0.9, 0.8, 0.2]}
    assert choose_addition_alpha(GRID, val, {"a": 1.0, "b": 1.0}) == 0.5


def test_addition_weighs_tasks_by_their_single_task_accuracy():
    val = {"a": [0.0, 0.4, 0.2], "b": [0.0, 0.5, 0.8]}
    assert choose_addition_alpha(GRID, val, {"a": 0.2, "b": 0.8}) == 0.5
    assert choose_addition_alpha(GRID, val, {"a": 0.9, "b": 0.1}) == 1.0


def test_addition_takes_the_smallest_alpha_on_a_tie():
    assert choose_addition_alpha(GRID, {"a": [0.2, 0.7, 0.7]}, {"a": 0.8}) == 0.5
    val = {"a": [0.0, 0.3, 0.1], "b": [0.0, 0.2, 0.2], "c": [0.0, 0.1, 0.3]}  # added in this order, 1.0 is 1e-16 ahead
    assert choose_addition_alpha(GRID, val, dict.fromkeys("abc", 1.0)) == 0.5


def test_negation_forgets_most_within_the_constraint():
    assert choose_negation_alpha(GRID, [0.5, 0.3, 0.1], [0.6, 0.58, 0.4], 0.6) == 0.5
    assert choose_negation_alpha(GRID, [0.5, 0.3, 0.1], [0.6, 0.58, 0.58], 0.6) == 1.0
    assert choose_negation_alpha(GRID, [0.5, 0.3, 0.1], [0.6, 0.56, 0.4], 0.6) == 0.0


def test_negation_need_not_take_the_last_alpha_that_is_allowed():
    assert choose_negation_alpha(GRID, [0.5, 0.1, 0.3], [0.6, 0.4, 0.6], 0.6) == 1.0
    assert choose_negation_alpha(GRID, [0.5, 0.1, 0.3], [0.6, 0.6, 0.6], 0.6) == 0.5


def test_negation_takes_the_smallest_alpha_on_a_tie():
    assert choose_negation_alpha(GRID, [0.5, 0.2, 0.2], [0.6, 0.6, 0.6], 0.6) == 0.5


def test_control_may_fall_to_95_percent_and_not_below():
    assert choose_negation_alpha([1.0], [0.1], [0.475], 0.5) == 1.0
    with pytest.raises(ValueError, match=r"no alpha of 1.0 keeps the control at 95% of 0.5"):
        choose_negation_alpha([1.0], [0.1], [0.4749], 0.5)


@pytest.mark.parametrize("images", [500, 1000])
def test_exactly_95_percent_counts_for_every_number_of_images(images):
    for right in range(20, images + 1, 20):
        assert choose_negation_alpha([0.0, 1.0], [0.5, 0.1], [1.0, right // 20 * 19 / images], right / images) == 1.0


# -- a model made up by hand -------------------------------------------------------------------------------------------
# A point (p, q) has the features (p + u^2, q + v^2) at the weights w = (u, v): task a pushes u, task b pushes v. The head is
# the identity, so that a point is of class 0 where p + u^2 > q + v^2. With theta_0 = (1, 1), features in f_lin are
# (p + 2 u - 1, q + 2 v - 1). The task vectors (1, 0) and (0, 1) move the difference of the features by
#     f:      (1 + alpha)^2 - 1 = alpha^2 + 2 alpha        f_lin:     2 alpha
# where one is added, and by alpha^2 - 2 alpha or -2 alpha where it is subtracted.
THETA_0 = {"w": torch.ones(2).double()}
TAUS = {"a": {"w": torch.tensor([1.0, 0.0]).double()}, "b": {"w": torch.tensor([0.0, 1.0]).double()}}
EYE = torch.eye(2).double()


def f(params: dict, x: Tensor) -> Tensor:
    return x + params["w"].square()


def points(*differences: float, label: int = 0) -> TensorDataset:
    """Points by how far p lies above q; the features are kept positive and far from zero."""
    x = torch.tensor([[10.0 + difference, 10.0] for difference in differences]).double()
    return TensorDataset(x, torch.full((len(x),), label))


def splits(val: Dataset, test: Dataset) -> dict[str, Dataset]:
    return {"val": val, "test": test}


# Of a, a point is right where difference + move > 0; of b, with label 1, where difference - move < 0, moved by its own.
# Together the two vectors cancel, so both tasks are as at theta_0 at every alpha, in f and in f_lin.
DATA = {
    "a": splits(points(-0.4, -1.1, -2.5, 1.0), points(-0.9, -1.2, -2.6, -5.0)),
    "b": splits(points(0.4, 1.1, 2.5, -1.0, label=1), points(0.9, 1.2, label=1)),
}
HEADS = dict.fromkeys(DATA, EYE)
GRID3 = (0.0, 0.5, 1.0)  # moves of one vector: f by 0, 1.25, 3; f_lin by 0, 1, 2


@pytest.mark.parametrize("linearized", [False, True])
def test_addition_of_one_task_has_the_accuracies_computed_by_hand(linearized):
    found = task_addition(f, THETA_0, {"a": TAUS["a"]}, HEADS, DATA, GRID3, linearized=linearized)
    val, test = ((0.25, 0.5, 0.75), 0.5) if linearized else ((0.25, 0.75, 1.0), 0.75)
    assert (found.alpha, found.alphas, found.val, found.test) == (1.0, GRID3, {"a": val}, {"a": test})
    assert (found.absolute, found.normalised, found.curve) == (test, 1.0, val)  # at alpha = 1 it is the single-task model


@pytest.mark.parametrize("linearized", [False, True])
def test_addition_of_two_tasks_that_cancel_takes_the_smallest_alpha(linearized):
    found = task_addition(f, THETA_0, TAUS, HEADS, DATA, GRID3, linearized=linearized)
    assert found.val == {"a": (0.25,) * 3, "b": (0.25,) * 3} and found.test == {"a": 0.0, "b": 0.0}
    assert (found.alpha, found.absolute, found.normalised) == (0.0, 0.0, 0.0)


def test_addition_divides_by_single_task_accuracies_of_its_own_split():
    """Weights alone decide here: on validation a has 1/4, 1/2, 3/4 and b the reverse."""
    data = {"a": DATA["a"], "c": splits(points(0.1, -3.1, -3.2, -3.3, label=0), points(9.0))}
    taus = {"a": TAUS["a"], "c": {"w": torch.zeros(2).double()}}
    heads = {"a": EYE, "c": EYE.flip(0)}  # class 0 where p is smaller: what a adds, c suffers
    by = {"a": Accuracies(0.75, 0.5), "c": Accuracies(0.75, 1.0)}
    found = task_addition(f, THETA_0, taus, heads, data, GRID3, linearized=True, single=by)
    assert found.val == {"a": (0.25, 0.5, 0.75), "c": (0.75, 0.75, 0.75)} and found.alpha == 1.0
    assert found.test == {"a": 0.5, "c": 0.0} and found.normalised == (0.5 / 0.5 + 0.0) / 2
    computed = task_addition(f, THETA_0, taus, heads, data, GRID3, linearized=True)
    assert computed.val == found.val and computed.test == found.test


def test_alpha_weighs_tasks_by_validation_accuracies_alone():
    """What a gains with alpha, c loses; the single-task accuracies of validation and test order the two ends differently."""
    data = {"a": splits(points(-0.5, -1.5), points(1.0)), "c": splits(points(-0.5, -1.5), points(1.0))}
    taus, heads = {"a": TAUS["a"], "c": {"w": torch.zeros(2).double()}}, {"a": EYE, "c": EYE.flip(0)}
    chosen = {}
    for val, test in (((1.0, 0.5), (0.5, 1.0)), ((0.5, 1.0), (1.0, 0.5))):
        by = {"a": Accuracies(val[0], test[0]), "c": Accuracies(val[1], test[1])}
        found = task_addition(f, THETA_0, taus, heads, data, (0.0, 1.0), linearized=True, single=by)
        assert found.val == {"a": (0.0, 1.0), "c": (1.0, 0.0)}
        chosen[val] = found.alpha
    assert chosen == {(1.0, 0.5): 0.0, (0.5, 1.0): 1.0}


def test_alpha_is_chosen_on_validation_and_test_is_reported_there():
    """Validation is best at 0.5, test at 1."""
    val = TensorDataset(torch.cat([points(-0.9).tensors[0], points(-2.1).tensors[0]]), torch.tensor([0, 1]))
    data = {"a": splits(val, points(-1.5))}
    single = {"a": Accuracies(1.0, 1.0)}
    found = task_addition(f, THETA_0, {"a": TAUS["a"]}, HEADS, data, (0.0, 0.5, 1.0), single=single)
    assert found.val == {"a": (0.5, 1.0, 0.5)} and found.alpha == 0.5 and found.test == {"a": 0.0}


@pytest.mark.parametrize("known", [{}, {"c": Accuracies(1.0, 1.0)}])
def test_single_task_accuracies_that_are_not_known_are_computed(known):
    found = [task_addition(f, THETA_0, {"a": TAUS["a"]}, HEADS, DATA, GRID3, single=given) for given in (None, known)]
    assert found[0] == found[1]


# Forgetting a: f moves by 0, -0.75, -1 at alpha = 0, 0.5, 1; f_lin by 0, -1, -2. The control falls with it.
FORGET = {
    "a": splits(points(0.5, 0.9, 1.5, 3.0), points(0.8, 0.9, 1.1, 3.0)),
    "b": splits(points(-0.5, -0.8, label=1), points(-0.3, label=1)),
    "kept": splits(points(*[5.0] * 19, 0.8), points(0.6, 1.5, 4.0, 5.0)),
}


@pytest.mark.parametrize("linearized", [False, True])
def test_negation_has_the_accuracies_computed_by_hand(linearized):
    given = (f, THETA_0, {"a": TAUS["a"]}, dict.fromkeys(FORGET, EYE), FORGET, GRID3)
    found = task_negation(*given, control="kept", linearized=linearized)["a"]
    if linearized:  # at alpha = 1 the control has 19 of 20, which is 95 %
        assert found == Negation(1.0, GRID3, (1.0, 0.5, 0.25), (1.0, 0.95, 0.95), 0.25, 0.5)
    else:
        assert found == Negation(1.0, GRID3, (1.0, 0.75, 0.5), (1.0, 1.0, 0.95), 0.5, 0.75)


@pytest.mark.parametrize("linearized", [False, True])
def test_each_task_is_forgotten_by_itself(linearized):
    """What b subtracts lifts the control; the passes that they share in f_lin change nothing."""
    taus, heads = TAUS, dict.fromkeys(FORGET, EYE)
    both = task_negation(f, THETA_0, taus, heads, FORGET, GRID3, control="kept", linearized=linearized)
    for name in taus:
        some = {name: taus[name]}
        assert task_negation(f, THETA_0, some, heads, FORGET, GRID3, control="kept", linearized=linearized) == {
            name: both[name]
        }
    assert both["b"].control_val == (1.0, 1.0, 1.0) and both["b"].control == 1.0 and both["b"].target == 0.0


def test_negation_keeps_the_control_where_it_must():
    strict = FORGET | {"kept": splits(points(1.5, 5.0), points(0.1))}
    heads = dict.fromkeys(FORGET, EYE)
    found = task_negation(f, THETA_0, {"a": TAUS["a"]}, heads, strict, GRID3, control="kept", linearized=True)["a"]
    assert (found.alpha, found.control_val, found.control) == (0.5, (1.0, 1.0, 0.5), 0.0)
    with pytest.raises(InputError, match=r"no alpha of 1.0 keeps the control at 95% of 1.0; 0 does") as error:
        task_negation(f, THETA_0, {"a": TAUS["a"]}, heads, strict, [1.0], control="kept", linearized=True)
    assert error.value.setting == "alphas"


def test_what_is_known_at_alpha_0_is_taken_and_not_computed(monkeypatch):
    seen, accuracies = [], editing.accuracies
    monkeypatch.setattr(
        editing,
        "accuracies",
        lambda f, theta_0, taus, settings, *rest: (seen.extend(settings), accuracies(f, theta_0, taus, settings, *rest))[1],
    )
    known = {"a": Accuracies(0.125, 0.5)}
    found = task_addition(f, THETA_0, {"a": TAUS["a"]}, HEADS, DATA, GRID3, zero_shot=known)
    assert found.val["a"][0] == 0.125 and [0.0] not in seen and [0.5] in seen


@pytest.mark.parametrize("linearized", [False, True])
def test_a_single_task_is_that_of_the_edited_weights(linearized):
    found = single_task(f, THETA_0, TAUS["a"], EYE, DATA["a"], linearized)
    assert found == (Accuracies(0.75, 0.5) if linearized else Accuracies(1.0, 0.75))


@pytest.mark.parametrize("linearized", [False, True])
def test_a_head_may_be_any_readout_of_the_features(linearized):
    readout = dict.fromkeys(FORGET, lambda z: z @ EYE)
    for edit, options in ((task_addition, {}), (task_negation, {"control": "kept"})):
        given = (f, THETA_0, {"a": TAUS["a"]})
        named, called = (
            edit(*given, heads, FORGET, GRID3, linearized=linearized, **options)
            for heads in (dict.fromkeys(FORGET, EYE), readout)
        )
        assert named == called


class Pairs(Dataset):
    """Points that are dicts of two tensors."""

    def __init__(self, data: TensorDataset):
        self.x, self.labels = data.tensors

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[dict[str, Tensor], Tensor]:
        return {"p": self.x[i, :1], "q": self.x[i, 1:]}, self.labels[i]


@pytest.mark.parametrize("linearized", [False, True])
def test_points_may_be_dicts_of_tensors(linearized):
    as_pairs = {name: {split: Pairs(data) for split, data in each.items()} for name, each in FORGET.items()}
    of_pairs = lambda params, x: f(params, torch.cat([x["p"], x["q"]], dim=1))
    heads, some = dict.fromkeys(FORGET, EYE), {"a": TAUS["a"]}
    for edit, options in ((task_addition, {}), (task_negation, {"control": "kept"})):
        options = options | {"linearized": linearized, "batch_size": 3}
        found = edit(of_pairs, THETA_0, some, heads, as_pairs, GRID3, **options)
        assert found == edit(f, THETA_0, some, heads, FORGET, GRID3, **options)


WITHOUT = [
    ({}, HEADS, DATA, "no task vectors given"),
    (TAUS, {"a": EYE}, DATA, "task 'b' has no head: give both for a, b"),
    (TAUS, {"a": EYE}, {"a": DATA["a"]}, "task 'b' has no head and no data"),
    (TAUS, HEADS, DATA | {"b": {"test": DATA["b"]["test"]}}, "task 'b' has no split val"),
]


@pytest.mark.parametrize("taus, heads, data, said", WITHOUT)
def test_tasks_that_differ_between_the_arguments_are_refused(taus, heads, data, said):
    with pytest.raises(InputError, match=said):
        task_addition(f, THETA_0, taus, heads, data)
    with pytest.raises(InputError, match=said):
        task_negation(f, THETA_0, taus, heads, data, control="a")


def test_a_control_without_data_and_other_misuse_are_refused():
    with pytest.raises(InputError, match="task 'kept' has no head and no data: give both for a, b, kept"):
        task_negation(f, THETA_0, TAUS, HEADS, DATA, control="kept")
    for alphas in ([], [0.5, 0.0], [1.5]):
        with pytest.raises(InputError, match="alpha"):
            task_addition(f, THETA_0, TAUS, HEADS, DATA, alphas)
    with pytest.raises(MismatchError):
        task_addition(f, THETA_0, {"a": {"v": torch.ones(2).double()}}, HEADS, DATA)


def test_a_control_cannot_be_forgotten_and_kept():
    points = TensorDataset(torch.eye(2), torch.tensor([0, 1]))
    data = {key: {"val": points, "test": points} for key in "ab"}
    taus, heads = {key: {"w": torch.eye(2)} for key in "ab"}, dict.fromkeys("ab", torch.eye(2))
    with pytest.raises(InputError, match="control 'b' is among the tasks to forget, a, b"):
        editing.task_negation(lambda params, x: x @ params["w"], {"w": torch.eye(2)}, taus, heads, data, control="b")


def test_a_list_in_place_of_a_mapping_and_a_loader_in_place_of_data_are_refused():
    code = """
import torch, tangent_lib as tl  # without the tests' own checks of types
from torch.utils.data import DataLoader, TensorDataset
f, theta_0, points = lambda params, x: x + params["w"], {"w": torch.zeros(2)}, TensorDataset(torch.eye(2), torch.arange(2))
for make in (
    lambda: tl.task_addition(f, theta_0, [theta_0], {"a": torch.eye(2)}, {"a": {"val": points, "test": points}}),
    lambda: tl.evaluate(f, theta_0, torch.eye(2), DataLoader(points)),
):
    try:
        make()
    except ValueError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "taus is a list: give a mapping" in ran.stdout and "a DataLoader was given for data" in ran.stdout, ran.stderr


def test_results_are_of_the_documented_types():
    added = task_addition(f, THETA_0, TAUS, HEADS, DATA)
    assert isinstance(added, Addition) and added.alphas == ALPHAS and len(added.curve) == 21


def test_editing_needs_neither_open_clip_nor_a_store():
    code = """
import sys
sys.modules.update(dict.fromkeys(("open_clip", "timm", "tangent_lib.runtime.store", "tangent_lib.models.clip")))
import doctest
from tangent_lib import editing
print(doctest.testmod(editing, optionflags=doctest.ELLIPSIS).failed)
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout.strip()) == (0, "0"), ran.stdout[-1500:] + ran.stderr[-1500:]
