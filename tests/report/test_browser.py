"""The controls driven in headless Chromium, from a file, with the network off."""

import json

import pandas as pd
import pytest
from browser import CHROMEDRIVER, CHROMIUM, Browser
from check_controls import cell_place, check_download, check_page, data_of, number, read_explorer, read_slider, rows_of
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.support.wait import WebDriverWait

from tangent_lib.report.controls import alpha_slider, download_link, sortable, xi_explorer
from tangent_lib.report.plots_xi import Grid
from tangent_lib.runtime.disk import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and CHROMEDRIVER),
        reason="no chromium or no chromedriver on the path: controls are not driven",
    ),
]
ALPHAS = [round(0.05 * i, 2) for i in range(21)]
MODES = {"non-linear": 1.0, "post-hoc": 0.7, "linear": 0.9}
TASKS = ("Textures", "Signs <A & B>")
PLANE = [round(-3 + 6 * i / 19, 6) for i in range(20)]
PAIRS = {"Textures-Scenes": 0.05, "Digits-Signs": 0.02}
INDEX, CONTROLS = ROOT / "_build" / "html" / "index.html", ROOT / "tangent_lib" / "report" / "controls.py"
CURRENT = INDEX.is_file() and INDEX.stat().st_mtime > CONTROLS.stat().st_mtime
BUILT = sorted((INDEX.parent / "book").rglob("*.html")) if CURRENT else []


def accuracies(share):
    return {
        task: [0.4 + share * (0.3 + 0.1 * k) * alpha * (1 - alpha / 2) for alpha in ALPHAS] for k, task in enumerate(TASKS)
    }


def grid(size):
    return Grid(PLANE, [[min(2, size * (a * a + 0.5 * b * b + 0.2 * a)) for b in PLANE] for a in PLANE])


def table():
    columns = pd.MultiIndex.from_tuples([("ours", "Abs."), ("ours", "Norm."), ("paper", "Abs.")])
    rows = [["60.7 ± 0.4", "9.5", "–"], ["–", "85.4", "71.4"], ["101.2 ± 3", "−1.0", "57.1"], ["7", "+2.0", "–"]]
    return pd.DataFrame(rows, ["linear", "Pre-trained", "mode 10", "mode 9"], columns)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SE_OFFLINE", "true")  # selenium fetches neither a browser nor a driver
        patch.setenv("no_proxy", "localhost")  # where the driver listens
        with Browser(tmp_path_factory.mktemp("profile")) as browser:
            yield browser


@pytest.fixture
def page(browser, tmp_path):
    """A page of several outputs, opened; in the end nothing may have gone wrong in it."""

    def opened(*outputs):
        path = tmp_path / "page.html"
        path.write_text("<!doctype html><meta charset=utf-8>" + "".join(output.data for output in outputs))
        browser.open(path)
        return path

    browser.forget()
    yield opened
    browser.note()
    assert not browser.problems
    assert browser.requests and all(url.startswith(("file:", "data:")) for url in browser.requests)


@pytest.fixture
def slider(page):
    page(alpha_slider(ALPHAS, {mode: accuracies(share) for mode, share in MODES.items()}, "validation accuracy"))
    return ".tangent-slider"


@pytest.fixture
def explorer(page):
    page(xi_explorer({mode: {pair: grid(a * b) for pair, b in PAIRS.items()} for mode, a in MODES.items()}, title="xi"))
    return ".tangent-xi"


def percent(mode, at):
    values = {task: 100 * values[at] for task, values in accuracies(MODES[mode]).items()}
    return values | {"average": sum(values.values()) / len(values)}


def test_the_slider_follows_the_mouse(browser, slider):
    bar = browser.find(f"{slider} input")
    drag = ActionChains(browser, duration=0).click_and_hold(bar)
    for share in (0.1, 0.15, 0.22):
        drag.move_by_offset(share * bar.size["width"], 0)
    drag.release().perform()
    shown = read_slider(browser, slider)
    assert shown["alpha"] == pytest.approx(1.0) and shown["shown"] == pytest.approx(percent("non-linear", 20), abs=0.051)


def test_the_slider_follows_the_keys_in_every_mode(browser, slider):
    for mode in ("linear", "post-hoc", "non-linear"):
        browser.choose(f"{slider} select", mode)
        browser.press(f"{slider} input", Keys.HOME)
        assert read_slider(browser, slider)["shown"] == pytest.approx(percent(mode, 0), abs=0.051)
        browser.press(f"{slider} input", 7 * Keys.ARROW_RIGHT)
        shown = read_slider(browser, slider)
        assert shown["alpha"] == 0.35 and shown["shown"] == pytest.approx(percent(mode, 7), abs=0.051)


def test_the_map_is_read_off_under_the_pointer(browser, explorer):
    for mode, a in MODES.items():
        browser.choose(f"{explorer} .mode", mode)
        for pair, b in PAIRS.items():
            browser.choose(f"{explorer} .pair", pair)
            for i, j in ((0, 0), (19, 0), (3, 15), (10, 11)):
                browser.move(*cell_place(browser, explorer, PLANE, i, j))
                expected = {"alpha_1": PLANE[i], "alpha_2": PLANE[j], "xi": grid(a * b).xi[i][j]}
                assert read_explorer(browser, explorer) == pytest.approx(expected, abs=0.0051)
                assert read_explorer(browser, explorer)["xi"] == pytest.approx(expected["xi"], abs=0.00051)


def test_the_colour_under_the_pointer_is_that_of_the_value(browser, explorer):
    data = data_of(browser, explorer)
    for i, j in ((0, 0), (19, 2), (9, 10)):
        x, y = cell_place(browser, explorer, PLANE, i, j)
        fill = browser.execute_script("return document.elementFromPoint(...arguments).getAttribute('fill')", x, y)
        share = data["grids"]["non-linear"]["Textures-Scenes"]["xi"][i][j] / data["top"]
        assert abs(data["colours"].index(fill) - share * 64) <= 0.51


def test_the_search_box_is_drawn_from_0_to_1(browser, explorer):
    left, top, width, height = browser.place(f"{explorer} .plane")
    box = browser.place(f"{explorer} .box")
    unit, zero = width / (6 + 6 / 19), (3 + 3 / 19) / (6 + 6 / 19)
    expected = (left + zero * width, top + (1 - zero) * height - unit, unit, unit)
    assert box == pytest.approx(expected, abs=0.5)


def test_the_map_follows_the_arrow_keys_and_the_finger(browser, explorer):
    browser.move(*cell_place(browser, explorer, PLANE, 5, 5))
    browser.press(f"{explorer} svg", 3 * Keys.ARROW_RIGHT + 30 * Keys.ARROW_UP + 2 * Keys.ARROW_DOWN)
    assert read_explorer(browser, explorer)["alpha_1"] == pytest.approx(PLANE[8], abs=0.0051)
    assert read_explorer(browser, explorer)["alpha_2"] == pytest.approx(PLANE[17], abs=0.0051)
    browser.tap(*cell_place(browser, explorer, PLANE, 2, 4))
    assert read_explorer(browser, explorer)["alpha_2"] == pytest.approx(PLANE[4], abs=0.0051)


def test_the_other_modes_are_shown_for_the_same_point(browser, explorer):
    browser.choose(f"{explorer} .mode", "linear")
    browser.move(*cell_place(browser, explorer, PLANE, 1, 18))
    values = {mode: grid(a * 0.05).xi[1][18] for mode, a in MODES.items()}
    shown = [number(text) for text in browser.texts(f"{explorer} .others")[0].split(":")[1].replace("-", "").split("·")]
    assert shown == pytest.approx(list(values.values()), abs=0.00051)


def test_a_value_that_is_no_number_is_said_to_be_none(browser, page):
    page(xi_explorer({"linear": {"A-B": Grid([0.0, 1.0], [[0.0, 0.2], [0.3, float("nan")]])}}))
    browser.move(*cell_place(browser, ".tangent-xi", [0.0, 1.0], 1, 1))
    assert "not a number" in browser.texts(".tangent-xi .reading")[0]


def test_a_pair_that_one_mode_lacks_is_not_offered(browser, page):
    page(xi_explorer({"linear": {"A-B": grid(0.1), "C-D": grid(0.2)}, "post-hoc": {"C-D": grid(0.3)}}))
    browser.choose(".mode", "post-hoc")
    assert browser.texts(".pair option") == ["C-D"]
    browser.choose(".mode", "linear")
    assert browser.texts(".pair option") == ["A-B", "C-D"] and browser.values(".pair", "value") == ["C-D"]


def test_a_table_is_sorted_by_number_with_dashes_last(browser, page):
    page(sortable(table(), "accuracy"))
    first = lambda: [row[0] for row in rows_of(browser, ".tangent-sortable")]
    orders = {
        2: (["mode 9", "linear", "mode 10", "Pre-trained"], ["mode 10", "linear", "mode 9", "Pre-trained"]),
        3: (["mode 10", "mode 9", "linear", "Pre-trained"], ["Pre-trained", "linear", "mode 9", "mode 10"]),
        4: (["mode 10", "Pre-trained", "linear", "mode 9"], ["Pre-trained", "mode 10", "linear", "mode 9"]),
        1: (["linear", "mode 9", "mode 10", "Pre-trained"], ["Pre-trained", "mode 10", "mode 9", "linear"]),
    }
    for column, (up, down) in orders.items():
        header = f"thead tr:last-child th:nth-child({column})"
        for expected, state in ((up, "ascending"), (down, "descending"), (list(table().index), "none")):
            browser.find(f"{header} button").click()
            assert first() == expected
            assert browser.values(header, "ariaSort") == [state]


def test_a_table_is_sorted_by_the_keyboard(browser, page):
    page(sortable(table()))
    browser.press("thead tr:last-child th:nth-child(4) button", 2 * Keys.ENTER)
    assert rows_of(browser, ".tangent-sortable")[0][0] == "Pre-trained"


def test_a_click_on_the_link_saves_the_data(browser, page, tmp_path):
    data = {"alphas": [0.0, 0.123456789], "name": "θ & <τ>"}
    page(download_link(data, "fig-xi"))
    where = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    browser.find("a[download]").click()
    WebDriverWait(browser, 10).until(lambda _: (tmp_path / "saved" / "fig-xi.json").exists())
    assert json.loads((tmp_path / "saved" / "fig-xi.json").read_text()) == data
    assert check_download("fig-xi.json", *browser.values("a", "href"))["data"] == data


def test_every_control_of_a_page_is_found_and_agrees(browser, page):
    slider = alpha_slider(ALPHAS, {"linear": accuracies(1.0)}, "accuracy", save_as="fig-slider")
    twice = [alpha_slider(ALPHAS, {"linear": accuracies(1.0)}, "accuracy"), slider]
    explorer = xi_explorer({"linear": {"A-B": grid(0.1), "C-D": grid(0.2)}, "post-hoc": {"C-D": grid(0.3)}}, save_as="fig-xi")
    found = check_page(browser, page(*twice, explorer, sortable(table(), save_as="tab-1"), download_link([1], "more")))
    kinds = [entry["kind"].removeprefix("tangent-") for entry in found]
    assert kinds == ["slider", "slider", "xi", "sortable"] + ["download"] * 4
    assert all(entry["readings"] for entry in found)


def test_the_check_of_a_page_sees_a_wrong_number(browser, page):
    path = page(alpha_slider(ALPHAS, {"linear": accuracies(1.0)}, "accuracy"))
    path.write_text(path.read_text().replace("values[at].toFixed(1)", "(values[at] + 0.2).toFixed(1)"))
    with pytest.raises(AssertionError, match="instead of"):
        check_page(browser, path)


def test_the_check_of_a_page_sees_an_error_and_a_request(browser, tmp_path):
    (tmp_path / "error.html").write_text("<script>throw new Error('broken')</script>")
    with pytest.raises(AssertionError, match="broken"):
        check_page(browser, tmp_path / "error.html")
    (tmp_path / "request.html").write_text("<script>fetch('http://192.0.2.1/data').catch(() => 0)</script>")
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"):
        check_page(browser, tmp_path / "request.html")


@pytest.mark.skipif(not BUILT, reason="the book is not built, or older than its controls: make report")
@pytest.mark.parametrize("path", BUILT or ["none"], ids=lambda path: getattr(path, "stem", path))
def test_every_control_of_the_built_book_agrees(browser, path):
    check_page(browser, path)
