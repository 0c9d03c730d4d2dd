"""The controls carry their data, need nothing from elsewhere and refuse what they cannot show."""

import base64
import io
import json
import re
from dataclasses import asdict, replace

import nbformat
import numpy as np
import pandas as pd
import papermill
import pytest

from tangent_lib.report.controls import alpha_slider, download_link, sortable, xi_explorer
from tangent_lib.report.plots_xi import Grid
from tangent_lib.runtime.errors import InputError

ACCURACIES = {"linear": {"Signs": [0.4, 0.8125]}, "non-linear": {"Signs": [0.4, 0.7]}}
GRID = Grid([-1.0, 0.0, 1.0], [[1.2, 0.5, 1.0], [0.5, 0.0, 0.33333], [1.1, 0.25, 0.6]])
GRIDS = {
    "linear": {"Signs-Digits": GRID},
    "non-linear": {"Signs-Digits": GRID, "A-B": replace(GRID, xi=[[1.5] * 3] * 3)},
}
TABLE = pd.DataFrame(
    [["60.7 ± 0.4", None], ["1 < 2", 85.4]],
    pd.Index(["linear", "post-hoc"], name="mode"),
    pd.MultiIndex.from_tuples([("ours", "Abs."), ("ours", "Norm.")]),
)


def embedded(page):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', page.data).group(1))


def saved(page):
    name, kind, content = re.search(
        r'download="([^"]+)" href="data:([^;]+);charset=utf-8;base64,([^"]+)"', page.data
    ).groups()
    return name, kind, base64.b64decode(content).decode()


def every_control():
    return [
        alpha_slider([0.0, 1.0], ACCURACIES, "a"),
        xi_explorer(GRIDS),
        sortable(TABLE, "c"),
        download_link([1.0], "d"),
    ]


def test_the_data_of_the_slider_are_the_accuracies_in_percent():
    data = embedded(alpha_slider([0.0, 1.0], ACCURACIES, "validation accuracy"))
    assert data["modes"]["linear"]["Signs"] == [40.0, 81.2] and data["alphas"] == [0.0, 1.0]
    assert data["colours"]["linear"] != data["colours"]["non-linear"]


def test_the_data_of_the_explorer_are_the_grids_on_one_scale():
    data = embedded(xi_explorer(GRIDS, (0, 1)))
    assert data["grids"]["linear"]["Signs-Digits"]["xi"] == [[1.2, 0.5, 1.0], [0.5, 0.0, 0.333], [1.1, 0.25, 0.6]]
    assert data["top"] == 1.5 and data["box"] == [0, 1]
    lightness = [sum(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in data["colours"]]
    assert lightness[0] > 1.5 * lightness[-1]


def test_numpy_arrays_are_taken_and_what_is_not_finite_is_null():
    xi = np.array([[0.0, np.nan], [np.inf, 0.5]])
    data = embedded(xi_explorer({"linear": {"A-B": Grid(np.array([0.0, 1.0]).tolist(), xi.tolist())}}))
    assert data["grids"]["linear"]["A-B"]["xi"] == [[0.0, None], [None, 0.5]] and data["top"] == 0.5


def test_two_controls_on_a_page_do_not_meet():
    pages = [control for _ in "ab" for control in every_control()]
    names = [name for page in pages for name in re.findall(r'\bid="([^"]+)"', page.data)]
    assert len(names) == len(set(names)) == 6


def test_nothing_is_fetched():
    for page in every_control():
        assert not re.search(r'https?://(?!www\.w3\.org/2000/svg")|\bsrc=|@import|\burl\(', page.data)


def test_a_name_can_neither_end_the_script_nor_add_an_element():
    evil = "</script><b>"
    grid = Grid([0.0], [[0.0]])
    pages = [
        alpha_slider([0.0], {evil: {evil: [0.5]}}, evil),
        xi_explorer({evil: {evil: grid}}, title=evil, quantity=evil),
    ]
    for page in (*pages, sortable(pd.DataFrame({evil: [evil]}, [evil]), evil)):
        assert "<b>" not in page.data
        assert page.data.count("<script") == page.data.count("</script>")
    assert embedded(pages[0])["title"] == evil


def test_a_page_stays_light():
    alphas = np.linspace(-3, 3, 20).tolist()
    grid = Grid(alphas, np.random.default_rng(0).random((20, 20)).tolist())
    page = xi_explorer({mode: {pair: grid for pair in "abc"} for mode in ("non-linear", "post-hoc", "linear")}, save_as="xi")
    assert len(page.data) < 150_000


def test_the_table_keeps_levels_text_and_order():
    page = sortable(TABLE, "a & b").data
    assert '<th colspan="2" scope="colgroup">ours</th>' in page and "<caption>a &amp; b</caption>" in page
    assert "<tr><th>mode</th><th>Abs.</th><th>Norm.</th></tr>" in page
    assert "<tr><th>linear</th><td>60.7 ± 0.4</td><td>–</td></tr>" in page
    assert "<td>1 &lt; 2</td><td>85.4</td>" in page and page.index(">linear<") < page.index(">post-hoc<")


def test_equal_labels_share_a_cell_only_below_the_same_label():
    columns = pd.MultiIndex.from_tuples([("a", "x", 1), ("a", "x", 2), ("b", "x", 3)])
    page = sortable(pd.DataFrame([[1, 2, 3]], columns=columns)).data
    assert page.count('colspan="2" scope="colgroup">x<') == 1 and page.count('colspan="1" scope="colgroup">x<') == 1


def test_several_levels_of_rows_each_have_a_column():
    index = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)], names=["task", "seed"])
    page = sortable(pd.DataFrame({"acc": [0.5, 0.25]}, index)).data
    assert "<tr><th>task</th><th>seed</th><th>acc</th></tr>" in page and "<tr><th>a</th><th>2</th><td>0.25</td></tr>" in page


def test_downloads_hold_all_digits():
    name, kind, content = saved(xi_explorer(GRIDS, save_as="fig-xi"))
    assert (name, kind) == ("fig-xi.json", "application/json") and json.loads(content) == {
        mode: {pair: asdict(grid) for pair, grid in pairs.items()} for mode, pairs in GRIDS.items()
    }
    name, _, content = saved(alpha_slider([0.0, 1.0], ACCURACIES, "t", save_as="fig-a"))
    assert json.loads(content)["accuracies"] == ACCURACIES
    data = {"τ": np.array([0.1, np.nan]), "n": np.int64(3), "ok": True, "pair": ("a", None)}
    assert json.loads(saved(download_link(data, "d"))[2]) == {"τ": [0.1, None], "n": 3, "ok": True, "pair": ["a", None]}


def test_a_table_is_saved_as_csv():
    name, kind, content = saved(sortable(TABLE, save_as="tab-addition"))
    assert (name, kind) == ("tab-addition.csv", "text/csv")
    table = pd.read_csv(io.StringIO(content), index_col=0)
    assert list(table.columns) == ["ours / Abs.", "ours / Norm."] and table.loc["linear", "ours / Abs."] == "60.7 ± 0.4"
    assert "data of this table (CSV, 1 kB)" in sortable(TABLE, save_as="t").data


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: alpha_slider([], {}, ""), "at least one alpha"),
        (
            lambda: alpha_slider([0.0, 1.0], {"linear": {"Signs": [0.4]}}, ""),
            "linear, Signs: 1 accuracies for 2 alphas",
        ),
        (lambda: xi_explorer({}), "at least one mode"),
        (lambda: xi_explorer({"linear": {"A-B": Grid([], [])}}), "0 alphas"),
        (
            lambda: xi_explorer({"linear": {"A-B": replace(GRID, xi=[[0.0] * 2] * 3)}}),
            r"linear, A-B: 3 rows of \[2\] values",
        ),
        (lambda: xi_explorer({"linear": {"A-B": replace(GRID, alphas=[1.0, 0.0, 2.0])}}), "do not rise"),
        (lambda: xi_explorer(GRIDS, (1, 0)), "search box"),
        (lambda: sortable(pd.DataFrame()), "at least one column"),
        (lambda: download_link([1.0], "../a"), "cannot be the name of a file"),
        (lambda: download_link({"model": object()}, "a"), "object cannot be offered"),
    ],
)
def test_bad_input_is_refused(build, message):
    with pytest.raises(InputError, match=message):
        build()


@pytest.mark.filterwarnings("ignore")
def test_papermill_leaves_a_cell_for_live_notebooks_out(tmp_path):
    notebook = nbformat.v4.new_notebook()
    live = {"tags": ["skip-execution", "nbval-skip"]}
    notebook.cells = [nbformat.v4.new_code_cell("1 / 0", metadata=live), nbformat.v4.new_code_cell("print('ran')")]
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    executed = papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    assert executed.cells[-2].outputs == [] and executed.cells[-1].outputs[0].text == "ran\n"
