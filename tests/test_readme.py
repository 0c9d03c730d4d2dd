"""What the README shows runs: its ten lines, without a store and without open_clip, and every command it names."""

from __future__ import annotations

import re
import subprocess
import sys

from tangent_lib import __all__ as names
from tangent_lib.modes import PARAMETERS
from tangent_lib.runtime.disk import ROOT

README = (ROOT / "README.md").read_text()
(SESSION,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_run_without_a_store_and_without_open_clip(tmp_path):
    blocked = "import sys; sys.modules['open_clip'] = None\n"
    command = [sys.executable, "-W", "ignore", "-c", blocked + SESSION]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Addition(alpha=") and "XiGrid(alphas=(0.0, 0.5, 1.0)" in done.stdout
    assert not list(tmp_path.iterdir())


def test_they_are_ten_statements_and_use_public_names_alone():
    statements = [line for line in SESSION.splitlines() if line and not line.startswith((" ", "import"))]
    assert len(statements) <= 10 and set(re.findall(r"\btl\.(\w+)", SESSION)) <= set(names)


def test_the_number_of_public_names_is_the_one_said():
    assert f"has all {len(names)} names" in README


def test_parameters_and_targets_that_the_readme_names_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE)) <= targets
    assert set(re.findall(r"-p ([a-z_]+) ", README)) <= set(PARAMETERS)


def test_the_librarys_page_shows_every_public_name_first():
    page = (ROOT / "book" / "api.md").read_text().split("## Where each equation stands")[0]
    assert re.findall(r"^\| `tl\.(\w+)`", page, re.MULTILINE) == list(names)
