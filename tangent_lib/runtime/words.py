"""What people write: lists and numbers as words, the values of alpha, and commands as a shell takes them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from math import inf, isfinite

from tangent_lib.runtime.errors import InputError

LARGEST = 2**64 - 1  # the largest seed that torch takes


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


def command_line(*parts: object) -> str:
    """A command, or options of one, to be printed: what a shell would not take as it is stands in quotes.

    Example:
        >>> command_line("tangent", "data", "list", "--data-root", "/my data & co")
        "tangent data list --data-root '/my data & co'"
    """
    return shlex.join(map(str, parts))


def number(
    name: str, value: object, kind: type = int, low: float | int = 1, others: Sequence[str] = ("auto",)
) -> float | int | None:
    """A number given as one or as a word; None for ``auto``, where that is among ``others``.

    Args:
        kind: ``int``, from ``low`` to ``LARGEST``, or ``float``, above ``low`` and finite.
        others: words that may stand in its place, for the refusal.

    Raises:
        InputError: for anything else, or a number out of range.

    Example:
        >>> number("steps", "-1")
        Traceback (most recent call last):
        tangent_lib.runtime.errors.InputError: steps -1 is out of range: give a whole number from 1 up, or auto
    """
    if value == "auto" and "auto" in others:
        return None
    what, limits = ("whole", f"from {low} up") if kind is int else ("finite", f"above {low}")
    try:
        found = kind(str(value))
    except ValueError:
        raise InputError(f"{name} '{value}' is not a {what} number: give one {', or '.join([limits, *others])}") from None
    if kind is int and found > LARGEST:
        limits = f"from {low} to {LARGEST}"
    if not (low <= found <= LARGEST if kind is int else low < found < inf):
        raise InputError(f"{name} {value} is out of range: give a {what} number {', or '.join([limits, *others])}")
    return found


def seed_numbers(value: object) -> tuple[int, ...]:
    """One seed, or several different ones.

    Raises:
        InputError: for anything else.

    Example:
        >>> seed_numbers("0, 1")
        (0, 1)
    """
    seeds = tuple(number("seeds", seed, int, 0, ()) for seed in words(value))
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(f"seeds '{value}': give one seed or several different ones, from 0 up")
    return seeds


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


def check_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """The alphas of a sweep as a tuple.

    Raises:
        InputError: if there are none, one is not in [0, 1], or they do not ascend.

    Example:
        >>> check_alphas([0.0, 0.5, 1.0])
        (0.0, 0.5, 1.0)
    """
    if not len(alphas):
        raise InputError("no alpha given: a sweep needs at least one in [0, 1]", "alphas")
    for alpha in alphas:
        if not 0 <= alpha <= 1:
            raise InputError(f"alpha {alpha} is out of range: the sweep takes values in [0, 1], as the paper's", "alphas")
    if list(alphas) != sorted(set(alphas)):
        raise InputError(f"alphas {', '.join(map(str, alphas))}: give each once, ascending", "alphas")
    return tuple(float(alpha) for alpha in alphas)


def check_axis(alphas: Sequence[float], name: str = "alphas") -> tuple[float, ...]:
    """The alphas of a grid's axis as a tuple; ``name`` is what an error calls them.

    Raises:
        InputError: if there are none, or they are not finite and ascending.
    """
    found = tuple(float(alpha) for alpha in alphas)
    if not found or list(found) != sorted(set(found)) or not all(map(isfinite, found)):
        given = ",".join(f"{alpha:g}" for alpha in found)
        raise InputError(f"{name} '{given}': give finite numbers, each once, ascending, such as -1,0,1")
    return found
