"""Arithmetic on task vectors: closed forms, purity, and the refusal of operands that do not match."""

from __future__ import annotations

import math

import pytest
import torch

from tangent_lib.task_vectors import (
    MismatchError,
    add,
    apply,
    check_match,
    cosine,
    dot,
    negate,
    norm,
    scale,
    subtract,
    total,
)


def vector(*values: float, dtype=torch.float64) -> dict:
    return {"w": torch.tensor(values[:-1], dtype=dtype), "b": torch.tensor(values[-1:], dtype=dtype)}


@pytest.fixture
def dyadic(rng):
    """Three vectors of eighths, which float32 adds without rounding."""
    draw = lambda: torch.randint(-999, 999, (4, 3), generator=rng) / 8
    return [{"w": draw(), "b": draw()[0]} for _ in range(3)]


def equal(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_subtraction_undoes_addition_exactly(dyadic):
    tau, sigma, _ = dyadic
    assert equal(subtract(add(tau, sigma), sigma), tau)
    assert not equal(add(tau, sigma), tau)


def test_task_vector_of_edited_weights_is_alpha_tau(dyadic):
    theta_0, tau, _ = dyadic
    assert equal(subtract(apply(theta_0, tau, 0.5), theta_0), scale(tau, 0.5))


def test_apply_takes_the_whole_vector_by_default():
    assert equal(apply(vector(1, 2, 3), vector(10, 20, 30)), vector(11, 22, 33))
    assert equal(apply(vector(1, 2, 3), vector(10, 20, 30), 0.0), vector(1, 2, 3))


def test_negation_is_the_additive_inverse(dyadic):
    tau = dyadic[0]
    assert equal(negate(vector(1, -2, 3)), vector(-1, 2, -3))
    assert equal(add(tau, negate(tau)), scale(tau, 0.0))


def test_total_sums_all_vectors_in_any_order(dyadic):
    assert equal(total([vector(1, 2, 3), vector(10, 20, 30), vector(100, 200, 300)]), vector(111, 222, 333))
    assert equal(total(iter(dyadic)), total(dyadic[::-1]))


def test_total_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        total([])


def test_norm_and_dot_run_over_all_parameters():
    assert norm(vector(2, 3, 6)) == 7
    assert dot(vector(1, 2, 3), vector(4, 5, 6)) == 32


def test_dot_is_summed_in_float64():
    small = vector(1e8, 1, -1e8, dtype=torch.float32)
    assert dot(small, vector(1, 1, 1, dtype=torch.float32)) == 1


def test_cosine_of_parallel_opposite_and_orthogonal_vectors():
    tau = vector(2, 3, 6)
    assert cosine(tau, scale(tau, 5.0)) == pytest.approx(1, abs=1e-15)
    assert cosine(tau, negate(tau)) == pytest.approx(-1, abs=1e-15)
    assert cosine(tau, vector(3, -2, 0)) == 0
    assert cosine(vector(1, 0, 0), vector(1, 1, 0)) == pytest.approx(math.sqrt(0.5), abs=1e-15)


@pytest.mark.parametrize("order", [1, -1])
def test_cosine_with_a_zero_vector_is_refused(order):
    with pytest.raises(ValueError, match="zero task vector"):
        cosine(*[vector(0, 0, 0), vector(1, 0, 0)][::order])


RESULTS = {
    "add": lambda a, b: add(a, b),
    "subtract": lambda a, b: subtract(a, b),
    "scale": lambda a, b: scale(a, 1.0),
    "negate": lambda a, b: negate(a),
    "apply": lambda a, b: apply(a, b, 0.0),
    "total": lambda a, b: total([a, b]),
    "total of one": lambda a, b: total([a]),
}


@pytest.mark.parametrize("operation", RESULTS.values(), ids=RESULTS)
def test_results_are_new_tensors_and_operands_stay_as_they_were(operation, dyadic):
    left, right, _ = dyadic
    kept = [{name: value.clone() for name, value in each.items()} for each in (left, right)]
    for value in operation(left, right).values():
        value.fill_(77)
    assert equal(left, kept[0]) and equal(right, kept[1])


OPERATIONS = {
    "add": add,
    "subtract": subtract,
    "apply": apply,
    "dot": dot,
    "cosine": cosine,
    "check_match": check_match,
}
OTHERS = {
    "names": ({"w": torch.ones(2), "c": torch.ones(1)}, [r"\['b'\]", r"\['c'\]"]),
    "missing": ({"w": torch.ones(2)}, [r"\['b'\]", r"\[\]"]),
    "shapes": ({"w": torch.ones(2, 1), "b": torch.ones(1)}, [r"w: \(2,\)", r"\(2, 1\)"]),
    "dtypes": ({"w": torch.ones(2), "b": torch.ones(1).double()}, ["b: .*float32", "float64"]),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize("other, said", OTHERS.values(), ids=OTHERS)
def test_mismatch_is_refused_with_both_values(operation, other, said):
    ours = {"w": torch.ones(2), "b": torch.ones(1)}
    with pytest.raises(MismatchError, match=".*".join(said)):
        operation(ours, other)
    with pytest.raises(MismatchError):
        operation(other, ours)


def test_total_refuses_a_mismatch():
    with pytest.raises(MismatchError, match="only right has"):
        total([{"w": torch.ones(2)}, {"v": torch.ones(2)}])


def test_order_of_names_does_not_matter(dyadic):
    tau, sigma, _ = dyadic
    turned = dict(reversed(sigma.items()))
    assert equal(add(tau, sigma), add(tau, turned)) and dot(tau, sigma) == dot(tau, turned)
