"""The gallery leads to every figure and table that is asked for, and refuses to lead nowhere."""

import base64
import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tangent_lib.report import gallery
from tangent_lib.runtime.disk import ROOT
from tangent_lib.runtime.errors import InputError

DEMANDED = {
    "S1": [f"Figure {n}" for n in (2, 3, 5, 6, 7, 8, 9, 10, 11, 14, 15, 16)]
    + [f"Table {n}" for n in (1, 2, 3)]
    + [f"Proposition {n}" for n in (1, 2, 3)]
    + ["Appendix B"],
    "S2": [f"Figure {n}" for n in (3, 5, 6, 7, 8, 9, 10)] + [f"Table {n}" for n in (2, 4, 5)],
}
ILLUSTRATIONS = {"S1": ["Figure 1", "Figure 4"], "S2": ["Figure 1", "Figure 4"]}
SVG = '<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" width="9pt" viewBox="0 0 9 9"><path d="{}"/></svg>'
TABLE = "<style>td {{ }}</style><table><tr><th>mode</th></tr><tr><td>&amp; {}</td></tr></table>"


def items(paper, illustrations):
    return sorted(r.item for r in gallery.COUNTERPARTS if r.paper == paper and r.illustration == illustrations)


def output(label):
    """What a cell of that label may have shown."""
    if label.startswith("tab-"):
        data = {"text/html": TABLE.format(label), "text/plain": "a table"}
    elif label.startswith("sec-"):
        data = {"text/markdown": "```python\ndef linearize(f, theta_0):\n    return a < b\n```"}
    else:
        data = {"image/svg+xml": SVG.format("M 1.23456 2.0 L 3 4"), "text/plain": "a figure"}
    return [new_output("stream", text="some words"), new_output("display_data", data=data)]


@pytest.fixture
def executed(tmp_path):
    """A folder of notebooks that have every label, and a half-written one beside them."""
    for page in {row.page for row in gallery.COUNTERPARTS}:
        cells = []
        for label in sorted({row.label for row in gallery.COUNTERPARTS if row.page == page}):
            figure = (
                {}
                if label.startswith("sec-")
                else {"mystnb": {"figure": {"caption": f"**Of {label}** (c). Two. Three.", "name": label}}}
            )
            cells += [new_markdown_cell(f"({label})=\n## A heading")] if label.startswith("sec-") else []
            cells += [new_code_cell("figure = 1", metadata=figure, outputs=output(label))]
        nbformat.write(new_notebook(cells=cells), tmp_path / f"{page}.ipynb")
    (tmp_path / ".05_linear_ft.ipynb").write_text("half a note")
    return tmp_path


def change(executed, page, edit):
    notebook = nbformat.read(executed / f"{page}.ipynb", as_version=4)
    edit(notebook.cells)
    nbformat.write(notebook, executed / f"{page}.ipynb")


@pytest.mark.parametrize("paper", ["S1", "S2"])
def test_every_row_that_is_demanded_is_there_exactly_once(paper):
    assert items(paper, False) == sorted(DEMANDED[paper])
    assert items(paper, True) == ILLUSTRATIONS[paper]


def test_figures_and_tables_are_all_accounted_for():
    """Sixteen figures and five tables in the one paper, ten and five in the other: shown, or left out with a reason."""
    left_out = [(paper, item) for paper, item, _, reason in gallery.LEFT_OUT if reason]
    rows = [(row.paper, row.item) for row in gallery.COUNTERPARTS] + left_out
    count = lambda paper, kind: sum(of == paper and item.startswith(kind) for of, item in rows)
    assert len(rows) == len(set(rows))
    assert [count(paper, kind) for paper in ("S1", "S2") for kind in ("Figure", "Table")] == [16, 5, 10, 5]


def test_every_target_exists_in_the_notebooks():
    gallery.check_targets(gallery.find_targets(ROOT / "notebooks"))


def test_the_page_has_every_link_and_every_picture(executed):
    text = gallery.write_gallery(executed).read_text()
    for row in gallery.COUNTERPARTS:
        assert f":link: {row.label}\n" in text and f"{{doc}}`{row.page}`" in text
        assert re.search(rf"\| {row.item} \| .*`{row.label}`", text)
    pictures, drawn = re.findall(r":img-top: (\S+)", text), [r for r in gallery.COUNTERPARTS if r.label[:4] == "fig-"]
    assert pictures == [f"thumbnails/{row.label}.svg" for row in drawn] and text.count(":img-alt:") == len(drawn)
    assert text.count(":link-alt:") == len(gallery.COUNTERPARTS)
    assert {f"thumbnails/{path.name}" for path in (executed / "thumbnails").iterdir()} == set(pictures)
    assert all(item in text and reason in text for _, item, _, reason in gallery.LEFT_OUT)


def test_illustrations_are_marked(executed):
    text = gallery.write_gallery(executed).read_text()
    assert text.count("an illustration without data") == text.count("illustration, drawn without data") == 4


def test_pictures_are_what_the_cells_show(executed):
    gallery.write_gallery(executed)
    assert (executed / "thumbnails" / "fig-linear.svg").read_text() == SVG.format("M 1.23456 2.0 L 3 4")


def test_a_table_and_a_text_have_a_card_with_words(executed):
    cards = {card.split("\n")[0]: card for card in gallery.write_gallery(executed).read_text().split(":::{grid-item-card} ")}
    assert ":img" not in cards["Table 3"] and "\n\n**Of tab-random-init** (c). Two\n:::" in cards["Table 3"]
    assert ":img" not in cards["Appendix B"] and "\n\nA heading\n:::" in cards["Appendix B"]
    assert "**Of" not in cards["Figure 5"]


def test_a_picture_that_is_gone_leaves_no_thumbnail(executed):
    (executed / "thumbnails").mkdir()
    (executed / "thumbnails" / "fig-old.svg").write_text("old")
    gallery.write_gallery(executed)
    assert not (executed / "thumbnails" / "fig-old.svg").exists()


def test_a_png_is_taken_as_it_is(executed):
    png = base64.b64encode(b"bytes of a picture").decode()
    outputs = [new_output("display_data", data={"image/png": png})]
    change(executed, "08_attention_only", lambda cells: cells[0].update(outputs=outputs))
    gallery.write_gallery(executed)
    (path,) = (executed / "thumbnails").glob("*.png")
    assert path.read_bytes() == b"bytes of a picture"


def test_the_page_stays_light(executed, monkeypatch):
    assert len({row.label for row in gallery.COUNTERPARTS}) * gallery.HEAVIEST < 6e6
    monkeypatch.setattr(gallery, "HEAVIEST", 100)
    gallery.write_gallery(executed)
    text = (executed / "gallery.md").read_text()
    assert not list((executed / "thumbnails").iterdir()) and ":img" not in text and "**Of fig-linear** (c). Two" in text


def test_a_missing_target_is_named(executed):
    change(executed, "07_random_init", lambda cells: cells[0].metadata.mystnb.figure.update(name="fig-other"))
    with pytest.raises(InputError, match=r"tangent-space paper, Figure 16: no 'fig-random-single' in 07_random_init"):
        gallery.write_gallery(executed)
    assert not (executed / "gallery.md").exists()


def test_a_missing_notebook_names_all_of_its_rows(executed):
    (executed / "06_ntk_localization.ipynb").unlink()
    with pytest.raises(InputError) as error:
        gallery.write_gallery(executed)
    assert str(error.value).count("06_ntk_localization") == 6


def test_a_target_on_another_page_is_missing(executed):
    (executed / "03_nonlinear_advantage.ipynb").rename(executed / "09_other.ipynb")
    with pytest.raises(InputError, match="no 'fig-advantage' in 03_nonlinear_advantage"):
        gallery.write_gallery(executed)


def test_a_label_that_stands_twice_is_refused(executed):
    nbformat.write(new_notebook(cells=[new_markdown_cell("(fig-cosines)=\n# Twice")]), executed / "02_task_vectors.ipynb")
    with pytest.raises(InputError, match="'fig-cosines' stands in 02_task_vectors and in 08_attention_only"):
        gallery.write_gallery(executed)


def test_a_cell_without_output_is_refused(executed):
    change(executed, "03_nonlinear_advantage", lambda cells: cells[0].update(outputs=[]))
    with pytest.raises(InputError, match="03_nonlinear_advantage, cell 1: no picture"):
        gallery.write_gallery(executed)
