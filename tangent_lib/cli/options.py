"""Options that several commands have: the parameters of the notebooks, given as ``-p NAME VALUE``, and paths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from tangent_lib.modes import PARAMETERS
from tangent_lib.runtime.disk import ROOT, given_path
from tangent_lib.runtime.errors import InputError, unknown
from tangent_lib.runtime.words import words

Given = Annotated[
    list[tuple[str, str]],
    Parameter(
        name="-p",
        help="NAME VALUE: a parameter of the notebooks, such as -p seeds 0,1; may be given several times",
        allow_leading_hyphen=True,  # as in -p xi_alphas -1,0,1
        show_default=False,
    ),
]


def _placed(kind: type, tokens: Sequence[Token]) -> Path:
    return given_path(tokens[0].keyword, tokens[0].value)


Place = Annotated[Path, Parameter(converter=_placed)]  # relative ones start at the repository, as those of -p do
DATA_ROOT = ROOT / "data"


def chosen_tasks(given: str, tasks: Sequence[str]) -> tuple[str, ...]:
    """The tasks of ``--task``, one or several of those that the parameter ``tasks`` names.

    Example:
        >>> chosen_tasks("Signs, Digits", ("Digits", "Scenes", "Signs"))
        ('Signs', 'Digits')
    """
    if not words(given):
        raise InputError("--task names no task: give one, or several separated by commas")
    for name in dict.fromkeys(words(given)):
        if name not in tasks:
            raise unknown("task", name, tasks, "--task chooses among the tasks of -p tasks, where both are given.")
    return tuple(dict.fromkeys(words(given)))


def given_parameters(pairs: Sequence[Sequence[str]]) -> dict[str, str]:
    """Parameters given as ``-p NAME VALUE`` on a command line.

    Example:
        >>> given_parameters([["model", "ViT-B-16"], ["seeds", "0,1"]])
        {'model': 'ViT-B-16', 'seeds': '0,1'}
    """
    for name, _ in pairs:
        if name not in PARAMETERS:
            raise unknown("parameter", name, PARAMETERS)
        if [other for other, _ in pairs].count(name) > 1:
            raise InputError(f"parameter '{name}' is given twice: give each once")
    return {name: value for name, value in pairs}
