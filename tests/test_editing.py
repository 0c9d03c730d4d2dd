"""The choice of alpha and the normalised accuracy, on plain numbers."""

from __future__ import annotations

import pytest

from tangent_lib.editing import (
    ALPHAS,
    check_alphas,
    choose_addition_alpha,
    choose_negation_alpha,
    mean_and_spread,
    normalised,
)
from tangent_lib.runtime.errors import InputError

GRID = (0.0, 0.5, 1.0)


def test_the_grid_is_the_papers():
    assert ALPHAS[:3] == (0.0, 0.05, 0.1) and ALPHAS[-1] == 1.0 and len(ALPHAS) == 21
    assert all(alpha == round(alpha, 2) for alpha in ALPHAS)


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
    with pytest.raises(ValueError, match=r"no alpha in \[1.0\].*95%.*0.5"):
        choose_negation_alpha([1.0], [0.1], [0.4749], 0.5)


@pytest.mark.parametrize("images", [500, 1000])
def test_exactly_95_percent_counts_for_every_number_of_images(images):
    for right in range(20, images + 1, 20):
        assert choose_negation_alpha([0.0, 1.0], [0.5, 0.1], [1.0, right // 20 * 19 / images], right / images) == 1.0


def test_alphas_become_a_tuple_of_floats():
    assert check_alphas([0.0, 0.5, 1.0]) == GRID and isinstance(check_alphas([0.0]), tuple)


@pytest.mark.parametrize("alpha", [-0.05, 1.0001, float("nan"), float("inf")])
def test_alphas_outside_0_to_1_are_refused(alpha):
    with pytest.raises(InputError, match=rf"alpha {alpha} .*\[0, 1\]"):
        check_alphas([0.5, alpha])


def test_no_alphas_are_refused():
    with pytest.raises(InputError, match="at least one"):
        check_alphas([])


def test_mean_and_sample_standard_deviation():
    assert mean_and_spread([1.0, 2.0, 3.0, 6.0]) == (3.0, pytest.approx((14 / 3) ** 0.5, abs=1e-15))
    assert mean_and_spread([0.7]) == (0.7, None)
