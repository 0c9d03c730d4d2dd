"""The default run opens no network connection."""

import os
import subprocess
import sys

import nbformat
import pytest

from tangent_lib.runtime.disk import ROOT

pytestmark = pytest.mark.slow

GUARD = """
import sys

def refuse(event, arguments):
    if event == "socket.getaddrinfo" or event == "socket.connect":
        raise SystemExit(f"the default run opened a connection: {event} {arguments}")

sys.addaudithook(refuse)
"""


def run_guarded(code, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(GUARD + code)
    environment = {**os.environ, "TANGENT_STORE": str(tmp_path / "store"), "MPLBACKEND": "agg"}
    return subprocess.run([sys.executable, str(script)], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_guard_catches_a_connection(tmp_path):
    result = run_guarded("import urllib.request\nurllib.request.urlopen('http://example.org')", tmp_path)
    assert result.returncode != 0 and "opened a connection" in result.stderr


def test_a_notebook_with_fewer_steps_opens_none(tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "02_task_vectors.ipynb", as_version=4)
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "code" and "set_" not in cell.source]
    shorter = "\n".join(cells).replace('steps: str = "auto"', "steps = 2")
    shorter = shorter.replace('tasks: str = "auto"', 'tasks = "Digits,Signs"')
    result = run_guarded(shorter, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "store" / "finetuned").is_dir()
