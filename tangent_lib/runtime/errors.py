"""The one kind of error that a reader's input causes: it names the value and the allowed ones, and, as a note, the way out.

What is raised below knows facts alone, and which setting they come from. The layer that knows how settings are given, on a
command line or to a notebook, adds the way out: ``ways_out``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class InputError(ValueError):
    """A parameter, a file or a folder given by the reader cannot be used. What is said is one line that prints.

    Attributes:
        setting: the name of what was given, where it has one that the layers above know.
    """

    def __init__(self, message: str = "", setting: str = ""):
        super().__init__(printable(message))
        self.setting = setting

    def _render_traceback_(self) -> list[str]:
        """What IPython shows: one line, since it is the reader's input that is at fault, not a line of code."""
        return [f"{type(self).__name__}: {in_full(self)}"]


def printable(text: object) -> str:
    """Text in one line, for a terminal: breaks of lines as spaces, and what else does not print as its code.

    Example:
        >>> print(printable("red \\x1b[31m \\n and back"))
        red \\x1b[31m and back
    """
    line = re.sub(r"\s*[\n\r\u2028\u2029]\s*", " ", str(text).strip("\r\n"))
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


class NotFinite(FloatingPointError):
    """Training left the finite numbers."""

    setting = "learning_rate"
    _render_traceback_ = InputError._render_traceback_


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


def first_line(error: BaseException) -> str:
    """The first line of an error's message, not too long, without what a terminal would obey.

    Example:
        >>> first_line(ValueError("\\x1b[1mno weights\\nat all"))
        ' [1mno weights'
    """
    line = str(error).strip().split("\n")[0][:200] or type(error).__name__
    return "".join(letter if letter.isprintable() else " " for letter in line)


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic finds wrong, with its place.

    Example:
        >>> from pydantic import TypeAdapter, ValidationError
        >>> try:
        ...     TypeAdapter(dict[str, list[int]]).validate_python({"seeds": [0, "one"]})
        ... except ValidationError as error:
        ...     print(first_fault(error))
        seeds.1: Input should be a valid integer, unable to parse string as an integer
    """
    first = error.errors(include_url=False)[0]
    return ": ".join([".".join(map(str, first["loc"])), first["msg"]]).removeprefix(": ")


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Inside, a package that is missing is named with the extra that brings it.

    Example:
        >>> with needs_extra("data", "reading parquet files"):
        ...     import no_such_package
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: reading parquet files needs the package no_such_package: pip install ...
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(f"{what} needs the package {error.name}: pip install 'tangent_lib[{extra}]'") from error


@contextmanager
def ways_out(by_setting: Mapping[str, str]) -> Iterator[None]:
    """Inside, an error over one of these settings gets the way out as a note; once, however many layers it passes.

    Example:
        >>> try:
        ...     with ways_out({"points": "give fewer with -p points"}):
        ...         raise InputError("300 points asked for, there are 200", setting="points")
        ... except InputError as error:
        ...     print(in_full(error))
        300 points asked for, there are 200: give fewer with -p points
    """
    try:
        yield
    except (InputError, NotFinite) as error:
        note = by_setting.get(error.setting)
        if note and note not in getattr(error, "__notes__", ()):
            error.add_note(note)
        raise


def in_full(error: BaseException) -> str:
    """An error's message with its ways out, for a person, in one line.

    Example:
        >>> error = InputError("no tasks given")
        >>> error.add_note("name some with -p tasks")
        >>> in_full(error)
        'no tasks given: name some with -p tasks'
    """
    notes = getattr(error, "__notes__", ())
    return printable(": ".join([str(error).removesuffix("."), "; ".join(notes)]) if notes else error)
