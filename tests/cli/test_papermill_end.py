"""What papermill prints last where a page refuses its parameters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from papermill.exceptions import PapermillExecutionError

from tangent_lib.cli.papermill_end import end_in_one_line
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

PAGE = ROOT / "notebooks" / "03_nonlinear_advantage.ipynb"


def failed(ename, *traceback):
    error = PapermillExecutionError(2, 3, "source", ename, "value", list(traceback))
    end_in_one_line(type(error), error, None)


def test_a_refusal_ends_in_its_line(capsys):
    failed("InputError", *InputError("no tasks given")._render_traceback_())
    assert capsys.readouterr().err == "\nerror: no tasks given\n"


@pytest.mark.parametrize("shown", [["-----", "ValueError  Traceback", "ValueError: value"], [], ["something else"]])
def test_all_other_errors_are_shown_whole(capsys, shown):
    failed("ValueError", *shown)
    said = capsys.readouterr().err
    assert "PapermillExecutionError" in said and 'encountered at "In [3]"' in said and all(line in said for line in shown)


def test_errors_of_papermill_itself_are_shown_whole(capsys):
    end_in_one_line(KeyError, KeyError("x"), None)
    assert capsys.readouterr().err == "KeyError: 'x'\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, value, said",
    [
        ("tassk", "Digits", "unknown parameter 'tassk': did you mean 'tasks'? Allowed: model, pretrained, "),
        ("seeds", "auto", "seeds 'auto' is not a whole number: give one from 0 up"),
    ],
)
def test_through_papermill_a_refusal_is_the_last_line(tmp_path, name, value, said):
    """As installed: papermill finds its engines in the metadata of packages."""
    metadata = tmp_path / "registered-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: registered\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[papermill.engine]\ntangent = tangent_lib.cli.papermill_end:TangentEngine\n")
    command = [sys.executable, "-m", "papermill", PAGE, tmp_path / "out.ipynb", "-p", name, value, "--no-progress-bar"]
    path = f"{ROOT}:{tmp_path}"
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"error: {said}")
