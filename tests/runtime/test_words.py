"""Lists and numbers as people write them."""

from __future__ import annotations

import pytest
import torch

from tangent_lib.runtime.errors import InputError
from tangent_lib.runtime.words import LARGEST, check_alphas, number, numbers, seed_numbers, words


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
        with pytest.raises(InputError, match=f"learning_rate {value} is out of range: give a finite number above 0, or auto"):
            number("learning_rate", value, float, 0)


@pytest.mark.parametrize("value", ["2.5", "1e3", "abc", "", None])
def test_what_is_no_whole_number_is_refused_with_the_limit(value):
    with pytest.raises(InputError, match=f"steps '{value}' is not a whole number: give one from 3 up, or auto"):
        number("steps", value, int, 3)


def test_a_number_below_the_limit_is_refused():
    with pytest.raises(InputError, match=r"seeds -1 is out of range: give a whole number from 0 up$"):
        number("seeds", -1, int, 0, others=())


def test_the_largest_number_is_the_largest_seed_of_torch():
    torch.Generator().manual_seed(LARGEST)
    assert number("seeds", LARGEST, int, 0) == LARGEST
    with pytest.raises(InputError, match=f"steps {LARGEST + 1} is out of range: give a whole number from 1 to {LARGEST}, or"):
        number("steps", str(LARGEST + 1))
    with pytest.raises((RuntimeError, ValueError), match="Overflow"):
        torch.Generator().manual_seed(LARGEST + 1)


def test_auto_is_offered_only_where_it_is_taken():
    assert number("steps", "auto", others=("auto", "epochs")) is None
    with pytest.raises(InputError, match="steps 'x' is not a whole number: give one from 1 up, or auto, or epochs"):
        number("steps", "x", others=("auto", "epochs"))
    for value in ("auto", "x", 1.5):
        with pytest.raises(InputError, match=f"seeds '{value}' is not a whole number: give one from 0 up$"):
            seed_numbers(value)


@pytest.mark.parametrize("value, seeds", [(0, (0,)), ("3", (3,)), ("2,0", (2, 0)), ([0, "1"], (0, 1)), ("00,1", (0, 1))])
def test_seeds_in_all_forms(value, seeds):
    assert seed_numbers(value) == seeds


@pytest.mark.parametrize("value", ["", "[]", [], "1,1", "1,01", "0,-0"])
def test_no_seed_or_one_twice_is_refused(value):
    with pytest.raises(InputError, match="give one seed or several different ones, from 0 up"):
        seed_numbers(value)


@pytest.mark.parametrize("value", ["-1,0,0.5", " -1 , 0, .5", "[-1, 0, 0.5]", [-1, 0, 0.5], ("-1", "0", "0.5")])
def test_lists_of_numbers_in_all_forms(value):
    assert numbers("xi_alphas", value) == (-1.0, 0.0, 0.5)


def test_lists_of_numbers_may_be_automatic_or_empty_and_nothing_else():
    assert numbers("alphas", "auto") is None and numbers("alphas", "") == () and numbers("alphas", 0.5) == (0.5,)
    with pytest.raises(InputError, match=r"alphas '0,half': give numbers, such as 0,0.5,1, or auto"):
        numbers("alphas", "0,half")


def test_alphas_become_a_tuple_of_floats():
    assert check_alphas([0.0, 0.5, 1.0]) == (0.0, 0.5, 1.0) and isinstance(check_alphas([0.0]), tuple)


@pytest.mark.parametrize("alpha", [-0.05, 1.0001, float("nan"), float("inf")])
def test_alphas_outside_0_to_1_are_refused(alpha):
    with pytest.raises(InputError, match=rf"alpha {alpha} .*\[0, 1\]"):
        check_alphas([0.5, alpha])


def test_no_alphas_are_refused():
    with pytest.raises(InputError, match="at least one"):
        check_alphas([])


@pytest.mark.parametrize("alphas", [[0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 1.0, 0.5]])
def test_alphas_that_do_not_ascend_are_refused(alphas):
    with pytest.raises(InputError, match=f"alphas {', '.join(map(str, alphas))}: give each once, ascending") as error:
        check_alphas(alphas)
    assert error.value.setting == "alphas"
