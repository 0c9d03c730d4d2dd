"""What every notebook must have, whatever it computes; what it computes is checked by running it under nbval."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from tangent_lib.modes import PARAMETERS, PARAMETERS_CELL
from tangent_lib.runtime.disk import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def tagged(notebook, tag):
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return nbformat.read(path, as_version=4)


def test_the_notebooks_are_numbered_from_1():
    assert [int(path.stem[:2]) for path in NOTEBOOKS] == list(range(1, 13))


def test_every_notebook_has_the_parameters_cell(notebook):
    (cell,) = tagged(notebook, "parameters")
    assert cell.source == PARAMETERS_CELL.rstrip("\n")


def test_the_setup_cell_is_folded_and_follows_the_parameters(notebook):
    first, second = [cell for cell in notebook.cells if cell.cell_type == "code"][:2]
    assert "parameters" in first.metadata.tags and "hide-input" in second.metadata.tags
    first_lines = "from tangent_lib.parameters import read_parameters\n\nparameters = read_parameters(globals())"
    assert second.source.startswith(first_lines) and second.source.count("read_parameters(") == 1


def test_no_page_gives_the_name_of_a_parameter_to_something_else(notebook):
    for source in code(notebook)[1:]:
        assert not assigned(source) & set(PARAMETERS), source


def assigned(source: str) -> set[str]:
    """The names that a cell leaves behind; those of comprehensions and functions are their own."""
    found: set[str] = set()

    class Names(ast.NodeVisitor):
        def visit_Name(self, node):
            if isinstance(node.ctx, ast.Store):
                found.add(node.id)

        def visit_Lambda(self, node):
            pass

        visit_FunctionDef = visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_Lambda

    Names().visit(ast.parse(source))
    return found


def test_kernels_are_of_the_seed_that_the_page_names(notebook):
    calls = re.findall(r"\.(?:local_energy|kernel_on_supports)\(([^)]*)", "".join(code(notebook)))
    assert all(call.startswith("*pair, first, ") for call in calls)


def test_checked_cells_have_outputs_and_only_they(notebook):
    checked = tagged(notebook, "nbval-check-output")
    assert checked and all(cell.outputs and "keep_output" in cell.metadata.tags for cell in checked)
    assert not any(cell.get("outputs") for cell in notebook.cells if cell not in checked)
    assert not [each for cell in checked for each in cell.outputs if each.get("name") == "stderr"]


def test_no_check_was_committed_failing(notebook):
    text = "".join(output.get("text", "") for cell in tagged(notebook, "nbval-check-output") for output in cell.outputs)
    assert "True" in text and "False" not in text


def drawn(notebook):
    """The cells that draw a figure: each leaves it under this name."""
    return [cell for cell in notebook.cells if cell.cell_type == "code" and re.search(r"^figure = ", cell.source, re.M)]


def test_figures_have_captions_names_and_alternative_text(notebook):
    for cell in drawn(notebook):
        meta = cell.metadata["mystnb"]
        assert meta["figure"]["caption"] and meta["figure"]["name"].startswith("fig-") and meta["image"]["alt"]


def test_every_figure_is_seen_by_the_check_above(notebook):
    functions = {"heatmaps", "xi_by_distance", "against", "bars_per_task", "scatter_modes", "curves", "matrix", "residuals"}
    functions |= {"error_curves", "cosine_matrices", "energy_lines", "leading_shares", "ring_fits", "growth_figure"}
    functions |= {"paradigms", "tangent_space", "weight_disentanglement", "image_rows"}
    draws = re.compile(rf"\b({'|'.join(functions)})\(")
    drawing = [cell for cell in notebook.cells if cell.cell_type == "code" and draws.search(cell.source)]
    assert drawing == drawn(notebook)


def test_there_are_thirty_figures():
    assert sum(len(drawn(nbformat.read(path, as_version=4))) for path in NOTEBOOKS) >= 30


def test_displayed_equations_that_are_computed_lead_to_their_code(notebook):
    """Each labelled equation is followed by a link to the library, by printed source, or by code that computes it."""
    cells = notebook.cells
    for place, cell in enumerate(cells):
        if cell.cell_type != "markdown":
            continue
        for found in re.finditer(r"\$\$\s*\((eq-[\w-]+)\)", cell.source):
            near = cell.source[found.end() :] + "".join(each.source for each in cells[place + 1 : place + 4])
            assert re.search(r"tangent_lib\.|show_source\(|lambda ", near), found[1]


def test_cells_are_short_and_define_no_classes(notebook):
    sources = code(notebook)
    counts = [sum(bool(line.strip()) for line in source.splitlines()) for source in sources]
    assert sum(counts) <= 150 and max(counts) <= 20
    assert not any(re.search(r"^class |pip install", source, re.MULTILINE) for source in sources)


# -- in a live kernel --------------------------------------------------------------------------------------------------
@pytest.mark.slow
def test_the_setup_cell_can_be_run_again_and_after_a_change(path, notebook, tmp_path):
    """Run twice, and once more after a change, it is right each time; a misspelt name of papermill's is refused."""
    parameters, setup = code(notebook)[:2]
    short = parameters.replace('tasks: str = "auto"', 'tasks: str = "Signs,Digits"')
    short = re.sub(r'(steps|batch_size|points): str = "auto"', r'\1: str = "2"', short)
    short = short.replace('alphas: str = "auto"', 'alphas: str = "0,1"', 1)
    short = short.replace('store: str = "auto"', f'store: str = "{tmp_path}"')
    told = "print((run.parameters if 'run' in globals() else parameters).tasks)"
    cells = [short, setup, told, setup, told, 'tasks = "Digits,Scenes"', setup, told]
    live = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    live.cells += [nbformat.v4.new_code_cell('# Parameters\ntaks = "Signs"\n'), nbformat.v4.new_code_cell(setup)]
    where = {"metadata": {"path": str(path.parent)}}
    with pytest.raises(CellExecutionError, match="unknown parameter 'taks': did you mean 'tasks'"):
        NotebookClient(live, timeout=280, kernel_name="python3", resources=where).execute()
    printed = ["".join(output.get("text", "") for output in live.cells[i].outputs) for i in (2, 4, 7)]
    assert [line.strip() for line in printed] == ["('Signs', 'Digits')"] * 2 + ["('Digits', 'Scenes')"]


@pytest.mark.slow
@pytest.mark.parametrize("source, passes", [("print('True')", True), ("print('False')", False)])
def test_a_warning_of_the_machine_is_no_difference_of_a_checked_cell(tmp_path, source, passes):
    """A warning, a line before, between and after what is printed; which still counts."""
    warn = "import sys, warnings; warnings.warn('old driver'); print('a line', file=sys.stderr)"
    lines = [warn, "print('first', flush=True)", "print('between', file=sys.stderr, flush=True)", source, warn]
    tags = {"tags": ["nbval-check-output"]}
    cell = nbformat.v4.new_code_cell("\n".join(lines), metadata=tags, execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="first\nTrue\n")]
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "page.ipynb")
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env", "page.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode == 0) == passes, done.stdout
