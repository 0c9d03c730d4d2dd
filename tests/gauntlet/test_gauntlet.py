"""The quick half of the gauntlet, and that it can fail: a wrong value, another refusal, a traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from cases import REFUSED, RIGHT, WRONG, Case, outcome
from run_gauntlet import all_cases

from tangent_lib.runtime.errors import InputError

QUICK = [case for case in all_cases() if not case.slow]


@pytest.mark.parametrize("case", QUICK, ids=[f"{case.kind}: {case.name}" for case in QUICK])
def test_what_people_bring_is_taken_rightly_or_refused(case, tmp_path):
    found = outcome(case, tmp_path)
    assert found.verdict == (REFUSED if case.refused else RIGHT), found.said


def test_no_case_stands_there_twice():
    names = [(case.kind, case.name) for case in all_cases()]
    assert len(names) == len(set(names))


def refuse(said):
    def run(folder: Path):
        raise InputError(said)

    return run


@pytest.mark.parametrize(
    ("run", "right", "refused", "verdict"),
    [
        (lambda folder: 3, 3, "", RIGHT),
        (lambda folder: 4, 3, "", WRONG),
        (lambda folder: 3, 3, "three", WRONG),
        (refuse("no three here"), None, "three", REFUSED),
        (refuse("no four here"), None, "three", WRONG),
        (refuse("no three\nhere"), None, "^no three here$", REFUSED),  # an InputError makes it one line
        (refuse("no \x1b[31mthree here"), None, r"^no \\x1b\[31mthree here$", REFUSED),
        (refuse("no three here"), 3, "", WRONG),
        (lambda folder: 1 / 0, None, "three", WRONG),
    ],
)
def test_the_judge_of_the_gauntlet(run, right, refused, verdict, tmp_path):
    assert outcome(Case("kind", "name", run, right, refused), tmp_path).verdict == verdict
