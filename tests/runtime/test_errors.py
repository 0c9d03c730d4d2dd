"""The error for a name that is not allowed."""

from __future__ import annotations

from tangent_lib.runtime.errors import InputError, unknown


def test_value_and_all_allowed_names_are_in_the_message():
    text = str(unknown("task", "Sings", ["Signs", "Digits"], "Others: -p tasks."))
    assert text == "unknown task 'Sings': did you mean 'Signs'? Allowed: Signs, Digits. Others: -p tasks."


def test_nothing_is_suggested_where_nothing_is_near():
    assert str(unknown("device", "tpu", ["cuda", "mps"])) == "unknown device 'tpu': Allowed: cuda, mps."


def test_values_of_other_types_are_named_too():
    assert str(unknown("task", None, ["Signs"])) == "unknown task 'None': Allowed: Signs."


def test_an_input_error_is_a_value_error():
    assert isinstance(unknown("task", "x", ["y"]), InputError) and issubclass(InputError, ValueError)
