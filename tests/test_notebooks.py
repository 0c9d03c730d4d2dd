"""What every notebook must have, whatever it computes; what it computes is checked by running it under nbval."""

import re

import nbformat
import pytest

from tangent_lib.parameters import NAMES
from tangent_lib.runtime.disk import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return nbformat.read(request.param, as_version=4)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 4


def test_the_parameters_cell_documents_every_parameter(notebook):
    (cell,) = tagged(notebook, "parameters")
    lines = cell.source.splitlines()
    assert [re.match(r"\w+", line).group() for line in lines] == list(NAMES)
    assert all(re.fullmatch(r'\w+: str = "[^"]*"  # .+', line) for line in lines)


def test_all_notebooks_have_the_same_parameters():
    assert len({tagged(nbformat.read(path, as_version=4), "parameters")[0].source for path in NOTEBOOKS}) == 1


def test_checked_cells_have_outputs_and_only_they(notebook):
    checked = tagged(notebook, "nbval-check-output")
    assert checked and all(cell.outputs and "keep_output" in cell.metadata.tags for cell in checked)
    assert not any(cell.get("outputs") for cell in notebook.cells if cell not in checked)


def test_no_check_was_committed_failing(notebook):
    text = "".join(output.get("text", "") for cell in tagged(notebook, "nbval-check-output") for output in cell.outputs)
    assert "True" in text and "False" not in text


def test_figures_have_captions_names_and_alternative_text(notebook):
    for cell in notebook.cells:
        if "figure = plots." in cell.source:
            meta = cell.metadata["mystnb"]
            assert meta["figure"]["caption"] and meta["figure"]["name"].startswith("fig-") and meta["image"]["alt"]


def test_cells_are_short_and_define_no_classes(notebook):
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(len(source.splitlines()) for source in sources) <= 150
    assert max(len(source.splitlines()) for source in sources) <= 20
    assert not any(re.search(r"^class |pip install", source, re.MULTILINE) for source in sources)
