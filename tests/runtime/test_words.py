"""Lists and numbers as people write them."""

from __future__ import annotations

import pytest

from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.words import number, numbers, words


@pytest.mark.parametrize(
    "value, expected",
    [
        ("a,b", ("a", "b")),
        (" a , b ", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("['a','b',]", ("a", "b")),
        (3, ("3",)),
        ("", ()),
        ("[]", ()),
        ([1, "b"], ("1", "b")),
        (("a b",), ("a b",)),
        ("a b,c", ("a b", "c")),
    ],
)
def test_lists_in_all_forms(value, expected):
    assert words(value) == expected


@pytest.mark.parametrize("value, expected", [("auto", None), (7, 7), (" 7 ", 7), ("1", 1)])
def test_whole_numbers(value, expected):
    assert number("steps", value) == expected


def test_numbers_with_a_fraction_lie_above_their_limit():
    assert number("learning_rate", "1e-4", float, 0) == 1e-4 and number("learning_rate", "auto", float, 0) is None
    for value in (0, "-1", "nan", "inf"):
        with pytest.raises(InputError, match=f"learning_rate {value} is out of range: it must be above 0"):
            number("learning_rate", value, float, 0)


@pytest.mark.parametrize("value", ["2.5", "1e3", "abc", "", None])
def test_what_is_no_whole_number_is_refused_with_the_limit(value):
    with pytest.raises(InputError, match=f"steps '{value}' is not a whole number: give one from 3 up, or auto"):
        number("steps", value, int, 3)


def test_a_number_below_the_limit_is_refused():
    with pytest.raises(InputError, match="seeds -1 is out of range: it must be at least 0"):
        number("seeds", -1, int, 0)


@pytest.mark.parametrize("value", ["-1,0,0.5", " -1 , 0, .5", "[-1, 0, 0.5]", [-1, 0, 0.5], ("-1", "0", "0.5")])
def test_lists_of_numbers_in_all_forms(value):
    assert numbers("xi_alphas", value) == (-1.0, 0.0, 0.5)


def test_lists_of_numbers_may_be_automatic_or_empty_and_nothing_else():
    assert numbers("alphas", "auto") is None and numbers("alphas", "") == () and numbers("alphas", 0.5) == (0.5,)
    with pytest.raises(InputError, match=r"alphas '0,half': give numbers, such as 0,0.5,1, or auto"):
        numbers("alphas", "0,half")
