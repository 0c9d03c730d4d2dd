"""The command line is tried on the small datasets and the fabricated checkpoints of other tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tangent_lib.cli import main

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS / "data"), str(TESTS / "checkpoints")]  # their helpers import each other by name

from tests.checkpoints.conftest import encoder, publish, starred  # noqa: E402, F401


@pytest.fixture
def run(capsys):
    """Run a command; returns the status and the lines of both outputs."""

    def runner(*arguments):
        status = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err.splitlines()

    return runner
