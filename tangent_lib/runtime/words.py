"""What people write: lists and numbers as words."""

from __future__ import annotations

from tangent_lib.runtime.errors import InputError


def words(value: object) -> tuple[str, ...]:
    """A list given as a list, a single value, or comma-separated words with or without brackets and quotes.

    Example:
        >>> words("Signs, Digits"), words('["Signs","Digits"]'), words(3), words(["a"])
        (('Signs', 'Digits'), ('Signs', 'Digits'), ('3',), ('a',))
    """
    if isinstance(value, (list, tuple)):
        return tuple(str(item) for item in value)
    text = str(value).strip().removeprefix("[").removesuffix("]")
    return tuple(word.strip(" '\"") for word in text.split(",") if word.strip(" '\""))


def number(name: str, value: object, kind: type = int, low: float | int = 1) -> float | int | None:
    """A number given as one or as a word; None for ``auto``.

    Raises:
        InputError: for anything else, or a number out of range.
    """
    if value == "auto":
        return None
    try:
        found = kind(str(value))
    except ValueError:
        whole = "whole " if kind is int else ""
        raise InputError(f"{name} '{value}' is not a {whole}number: give one from {low} up, or auto") from None
    if found < low or (kind is float and not 0 < found < float("inf")):
        raise InputError(f"{name} {value} is out of range: it must be {'above' if kind is float else 'at least'} {low}")
    return found


def numbers(name: str, value: object) -> tuple[float, ...] | None:
    """Numbers given as a list or as words; None for ``auto``.

    Raises:
        InputError: for anything else.

    Example:
        >>> numbers("alphas", "0, 0.5")
        (0.0, 0.5)
    """
    if value == "auto":
        return None
    try:
        return tuple(float(word) for word in words(value))
    except ValueError:
        raise InputError(f"{name} '{value}': give numbers, such as 0,0.5,1, or auto") from None
