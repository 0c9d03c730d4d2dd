"""Quantities read what they say from a summary, and say what is missing; numbers are written with their unit."""

import pytest

from tangent_lib.experiments.records import AdditionSummary, NegationSummary, Summary
from tangent_lib.report import quantities
from tangent_lib.report.quantities import MISSING, UNITS, NotRecorded, Quantity, measured, with_unit

SUMMARY = Summary(
    single={"a": 0.6, "b": 0.8},
    addition=AdditionSummary(0.3, 0.65, 0.9, {"a": 0.6, "b": 0.7}, (0.25, 0.75)),
    negation={"a": NegationSummary(0.1, 0.1, 0.5), "b": NegationSummary(0.2, 0.3, 0.7)},
    xi={"a-b": (0.0, 0.5), "a-c": (1.0, 0.5)},
    kl={"a-b": (0.0, 0.25)},
    cosine=0.05,
)
EXPECTED = {
    "SINGLE": 0.7, "ABSOLUTE": 0.65, "NORMALISED": 0.9, "ALPHA": 0.3, "CURVE": 0.5, "TARGET": 0.2, "CONTROL": 0.6,
    "XI": 0.5, "KL": 0.125, "COSINE": 0.05,
}  # fmt: skip
ALL = {name: each for name, each in vars(quantities).items() if isinstance(each, Quantity)}


def test_the_quantities_read_what_they_say():
    assert {name: quantity(SUMMARY) for name, quantity in ALL.items()} == pytest.approx(EXPECTED)


@pytest.mark.parametrize("quantity", ALL.values(), ids=list(ALL))
def test_what_was_not_computed_is_named(quantity):
    with pytest.raises(NotRecorded) as error:
        quantity(Summary())
    assert str(error.value) == quantity.name and quantity.unit in UNITS


def test_seeds_without_a_quantity_are_left_out():
    by_seed = {"linear": {"0": SUMMARY, "1": Summary(single={"a": 0.5})}}
    assert measured(by_seed, "linear", ALL["ABSOLUTE"]) == {"0": 0.65}
    assert measured(by_seed, "linear", ALL["SINGLE"]) == pytest.approx({"0": 0.7, "1": 0.5})
    assert measured(by_seed, "post-hoc", ALL["SINGLE"]) == {}


@pytest.mark.parametrize(
    ("values", "unit", "text"),
    [
        ([0.05], "points", "+5.0 points"),
        ([-0.05, 0.05], "points", "+0.0 ± 7.1 points"),
        ([-0.25], "ξ", "-0.250 ξ"),
        ([0.00123], "nats", "+0.0012 nats"),
        ([], "points", MISSING),
    ],
)
def test_differences_carry_their_sign_and_unit(values, unit, text):
    assert with_unit(values, unit) == text
