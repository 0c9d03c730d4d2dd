"""What a case of the gauntlet is: a small input, made by code, that is either taken rightly or refused in one line.

A module ``cases_*.py`` in this folder has a list ``CASES``. ``make gauntlet`` runs them all, ``make test`` the quick ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError, in_full

RIGHT, REFUSED, WRONG = "right", "refused", "wrong"


@dataclass(frozen=True)
class Case:
    """One input that people bring.

    Attributes:
        kind: of the fault that it could cause, a few words; cases of one kind stand together in the table.
        name: what is brought, unique within its kind.
        run: makes the input in an empty folder and gives what the library makes of it.
        right: what that must be, where the input is taken.
        refused: a regular expression that the refusal must match, where it is not; ``InputError``, one line.
        slow: left out by ``make test``.
    """

    kind: str
    name: str
    run: Callable[[Path], object]
    right: object = None
    refused: str = ""
    slow: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a case: ``right``, ``refused`` or ``wrong``; what the refusal said, or why it is wrong."""

    case: Case
    verdict: str
    said: str = ""


def outcome(case: Case, folder: Path) -> Outcome:
    """Run a case in an empty folder and judge what comes of it."""
    try:
        found = case.run(folder)
    except InputError as error:
        said = in_full(error)
        plain = said.isprintable() and re.search(case.refused, said) if case.refused else None
        said = said.replace(str(folder), "FOLDER").replace(str(ROOT), "REPOSITORY")
        return Outcome(case, REFUSED, said) if plain else Outcome(case, WRONG, f"refused: {said!r}")
    except Exception as error:  # whatever it is, a reader sees a traceback
        return Outcome(case, WRONG, f"{type(error).__name__}: {error}")
    if case.refused or found != case.right:
        return Outcome(case, WRONG, f"gave {found!r}")
    return Outcome(case, RIGHT)
