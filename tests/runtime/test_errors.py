"""The error for a name that is not allowed, and the ways out that layers above add to one."""

from __future__ import annotations

import pytest

from tangent_lib.runtime.errors import InputError, NotFinite, in_full, unknown, ways_out

WAYS = {"points": "give fewer with -p points", "learning_rate": "lower it with -p learning_rate"}


def test_value_and_all_allowed_names_are_in_the_message():
    text = str(unknown("task", "Sings", ["Signs", "Digits"], "Others: -p tasks."))
    assert text == "unknown task 'Sings': did you mean 'Signs'? Allowed: Signs, Digits. Others: -p tasks."


def test_a_refusal_is_one_line_that_prints():
    error = InputError("the file 'a\x1b[31m\udce9' is\n  damaged\n")
    error.add_note("rename\u202e it")
    assert in_full(error) == r"the file 'a\x1b[31m\udce9' is damaged: rename\u202e it"
    assert str(InputError("two  spaces of 日本")) == "two  spaces of 日本"


def test_nothing_is_suggested_where_nothing_is_near():
    assert str(unknown("device", "tpu", ["cuda", "mps"])) == "unknown device 'tpu': Allowed: cuda, mps."


def test_values_of_other_types_are_named_too():
    assert str(unknown("task", None, ["Signs"])) == "unknown task 'None': Allowed: Signs."


def test_an_input_error_is_a_value_error():
    assert isinstance(unknown("task", "x", ["y"]), InputError) and issubclass(InputError, ValueError)


# -- ways out ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("error", [InputError("300 points, there are 200.", "points"), NotFinite("the loss is nan")])
def test_an_error_over_a_setting_gets_its_way_out_once(error):
    with pytest.raises(type(error)) as caught, ways_out(WAYS), ways_out(WAYS), ways_out({"points": "others"}):
        raise error
    assert caught.value is error and WAYS[error.setting] in error.__notes__
    assert error.__notes__.count(WAYS[error.setting]) == 1


def test_an_error_over_nothing_that_is_known_stays_as_it_is():
    for error in (InputError("no tasks given"), InputError("unknown", "colour"), ValueError("points"), KeyError("points")):
        with pytest.raises(type(error)) as caught, ways_out(WAYS):
            raise error
        assert caught.value is error and not getattr(error, "__notes__", ())


def test_a_message_in_full_has_its_ways_out_behind_it():
    error = InputError("300 points asked for, there are 200.", "points")
    assert in_full(error) == "300 points asked for, there are 200."
    with pytest.raises(InputError, match=r"there are 200\.\ngive fewer"), ways_out(WAYS):
        raise error
    assert in_full(error) == "300 points asked for, there are 200: give fewer with -p points"
    error.add_note("or take another task")
    assert in_full(error).endswith("-p points; or take another task")


def test_not_finite_is_a_floating_point_error():
    assert issubclass(NotFinite, FloatingPointError) and NotFinite("the loss is nan").setting == "learning_rate"


def test_what_would_break_the_line_or_steer_a_terminal_is_spelt_out():
    error = InputError("folder 'a\nb\x1b[31m' ünd \udc80")
    error.add_note("rename\tit")
    assert in_full(error) == r"folder 'a b\x1b[31m' ünd \udc80: rename\tit" and str(error).isprintable()
    assert error._render_traceback_() == [f"InputError: {in_full(error)}"]
    assert NotFinite("NaN")._render_traceback_() == ["NotFinite: NaN"]
