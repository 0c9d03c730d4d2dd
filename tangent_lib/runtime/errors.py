"""The one kind of error that a reader's input causes: it names the value, the allowed ones and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(ValueError):
    """A parameter, a file or a folder given by the reader cannot be used."""


def unknown(what: str, value: object, allowed: Iterable[str], way_out: str = "") -> InputError:
    """The error for a name that is not among the allowed ones, with the nearest one suggested.

    Example:
        >>> print(unknown("task", "Sings", ["Signs", "Digits"]))
        unknown task 'Sings': did you mean 'Signs'? Allowed: Signs, Digits.
    """
    allowed = [str(name) for name in allowed]
    near = get_close_matches(str(value), allowed, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {what} '{value}': {hint}Allowed: {', '.join(allowed)}. {way_out}".strip())
