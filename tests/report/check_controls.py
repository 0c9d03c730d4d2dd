"""Move every control of a page in a browser and compare what is on the screen with the data that the page carries."""

import base64
import io
import json
import re
from pathlib import Path

import pandas as pd
from browser import Browser
from selenium.webdriver import Keys

NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:e[+-]?\d+)?", re.IGNORECASE)
BEFORE = re.compile(r"^[✓(~≈<>\s]*")  # may stand before the number that a cell begins with
MISSING = {"", "-", "–", "—", "nan", "none", "not recorded"}


def check_page(browser: Browser, page: Path) -> list[dict]:
    """Open a page and check all of its controls by mouse and keyboard.

    Returns:
        an entry a control: ``control`` (its id, or the file's name of a download), ``kind`` and ``readings``, what was
        read off the screen, to be compared with result files. Empty for a page without controls.

    Raises:
        AssertionError: where a number on the screen is not the one in the data, an order is wrong, the page asks for
            an address other than a file, or something fails in the page.
    """
    browser.note()
    problems, asked, found = len(browser.problems), len(browser.requests), []
    browser.open(page)
    for kind, check in CHECKS.items():
        for name in browser.values(f".{kind}", "id"):
            found.append({"control": name, "kind": kind, "readings": check(browser, f"[id='{name}']")})
    links = ".tangent-download a"
    for name, address in zip(browser.values(links, "download"), browser.values(links, "href"), strict=True):
        found.append({"control": name, "kind": "tangent-download", "readings": [check_download(name, address)]})
    ids = browser.values("[id]", "id")
    ours = [entry["control"] for entry in found if entry["kind"] != "tangent-download"]
    twice = {name for name in ours if ids.count(name) > 1}
    assert not twice, f"{page}: ids used twice: {twice}"
    browser.note()
    assert len(browser.problems) == problems, f"{page}: {browser.problems[problems:]}"
    elsewhere = [url for url in browser.requests[asked:] if not url.startswith(("file:", "data:"))]
    assert not elsewhere, f"{page} asks for {elsewhere}"
    return found


def number(text: str) -> float:
    """The first number in a text, with either minus sign."""
    return float(NUMBER.search(text.replace("−", "-")).group().replace(",", ""))


def data_of(browser: Browser, control: str) -> dict:
    """The data that a control carries."""
    found = browser.texts(f'{control} > script[type="application/json"]')
    assert len(found) == 1, f"{control} carries no data: was the page built before the control? make report"
    return json.loads(found[0])


def some(values: list) -> list[int]:
    """The first, the last and two positions between."""
    last = len(values) - 1
    return sorted({0, last // 3, (2 * last + 2) // 3, last})


def check_slider(browser: Browser, control: str) -> list[dict]:
    """Each mode of a slider over alpha at several alphas, by the keys."""
    data, readings = data_of(browser, control), []
    for mode, tasks in data["modes"].items():
        browser.choose(f"{control} select", mode)
        for i in some(data["alphas"]):
            browser.press(f"{control} input", Keys.HOME + i * Keys.ARROW_RIGHT)
            readings.append(read_slider(browser, control) | {"mode": mode})
            expected = {task: values[i] for task, values in tasks.items()}
            average = sum(expected.values()) / len(expected)
            expected["average"] = data["averages"][mode][i]
            assert abs(average - expected["average"]) <= 0.1, f"{mode}: the average of {expected} is {average}"
            compare_slider(readings[-1], data["alphas"][i], expected)
    return readings


def read_slider(browser: Browser, control: str) -> dict:
    """What a slider shows: alpha, and percent by task."""
    names, numbers = browser.texts(f"{control} .name"), browser.texts(f"{control} .number")
    alpha = number(browser.texts(f"{control} output")[0])
    return {"alpha": alpha, "shown": {name: number(text) for name, text in zip(names, numbers, strict=True)}}


def compare_slider(reading: dict, alpha: float, expected: dict[str, float]) -> None:
    assert abs(reading["alpha"] - alpha) <= 0.005 + 1e-9, f"{reading} instead of alpha = {alpha}"
    assert list(reading["shown"]) == list(expected), f"{reading} instead of {expected}"
    wrong = {name: value for name, value in expected.items() if abs(reading["shown"][name] - value) > 1e-9}
    assert not wrong, f"{reading} instead of {wrong}"


def check_explorer(browser: Browser, control: str) -> list[dict]:
    """Each mode and task pair of an explorer of xi, some cells under the pointer and one reached by the keys."""
    data, readings = data_of(browser, control), []
    for mode, pairs in data["grids"].items():
        browser.choose(f"{control} .mode", mode)
        for pair, grid in pairs.items():
            browser.choose(f"{control} .pair", pair)
            last = len(grid["alphas"]) - 1
            for i, j in [*zip(some(grid["alphas"]), reversed(some(grid["alphas"]))), (last // 2, last // 2)]:
                browser.move(*cell_place(browser, control, grid["alphas"], i, j))
                readings.append(read_explorer(browser, control) | {"mode": mode, "pair": pair})
                compare_explorer(readings[-1], grid, i, j)
            browser.press(f"{control} svg", Keys.ARROW_UP)
            readings.append(read_explorer(browser, control) | {"mode": mode, "pair": pair})
            compare_explorer(readings[-1], grid, last // 2, min(last // 2 + 1, last))
    return readings


def cell_place(browser: Browser, control: str, alphas: list[float], i: int, j: int) -> tuple[float, float]:
    """Where alpha_1 = alphas[i], alpha_2 = alphas[j] lies in the window: alpha_1 to the right, alpha_2 upward."""
    left, top, width, height = browser.place(f"{control} .plane")
    step = (alphas[-1] - alphas[0]) / (len(alphas) - 1) if len(alphas) > 1 else 1.0
    share = lambda alpha: (alpha - alphas[0] + step / 2) / (alphas[-1] - alphas[0] + step)
    return left + share(alphas[i]) * width, top + (1 - share(alphas[j])) * height


def read_explorer(browser: Browser, control: str) -> dict:
    """What an explorer shows in words: both alphas and xi (None where it is no number)."""
    text = browser.texts(f"{control} .reading")[0]
    alpha_1, alpha_2, xi = (part.split("=")[1] for part in re.split(r"[,:] ", text))
    return {"alpha_1": number(alpha_1), "alpha_2": number(alpha_2), "xi": number(xi) if NUMBER.search(xi) else None}


def compare_explorer(reading: dict, grid: dict, i: int, j: int) -> None:
    expected = {"alpha_1": grid["alphas"][i], "alpha_2": grid["alphas"][j], "xi": grid["xi"][i][j]}
    for name, width in (("alpha_1", 0.005), ("alpha_2", 0.005), ("xi", 0.0005)):
        value = expected[name]
        same = reading[name] is None if value is None else abs(reading[name] - value) <= width + 1e-9
        assert same, f"{reading} instead of {expected}"


def check_table(browser: Browser, control: str) -> list[dict]:
    """Each column of a table sorted up, down and back, by clicks on its header."""
    original, readings = rows_of(browser, control), []
    for column, name in enumerate(browser.texts(f"{control} thead tr:last-child th")):
        header = f"{control} thead tr:last-child th:nth-child({column + 1})"
        for order in ("ascending", "descending", "none"):
            browser.find(f"{header} button").click()
            states = browser.values(f"{control} [aria-sort]", "ariaSort")
            assert states[column] == order and set(states[:column] + states[column + 1 :]) <= {"none"}, f"{name}: {states}"
            shown = rows_of(browser, control)
            assert shown == ordered(original, column, order), f"{name}, {order}: {[row[column] for row in shown]}"
        readings.append({"column": name, "rows": len(original)})
    return readings


def rows_of(browser: Browser, control: str) -> list[list[str]]:
    """The texts of the cells as the table stands."""
    cells = "return [...document.querySelectorAll(arguments[0])].map((row) => [...row.cells].map((e) => e.textContent))"
    return browser.execute_script(cells, f"{control} tbody tr")


def ordered(rows: list[list[str]], column: int, order: str) -> list[list[str]]:
    """The rows sorted by a column: by number if every cell that is not missing begins with one, missing ones last.

    Example:
        >>> ordered([["9.5 ± 1"], ["–"], ["10.1"]], 0, "descending")
        [['10.1'], ['9.5 ± 1'], ['–']]
    """
    if order == "none":
        return rows
    text = lambda row: row[column].strip().replace("−", "-")
    missing = lambda row: text(row).lower() in MISSING
    there = [row for row in rows if not missing(row)]
    if all(NUMBER.match(BEFORE.sub("", text(row))) for row in there):
        key = lambda row: number(row[column])
    else:  # as a reader would: numbers within a text by their size, letters whatever their case
        key = lambda row: re.sub(r"\d+", lambda digits: digits.group().zfill(12), text(row).lower())
    return sorted(there, key=key, reverse=order == "descending") + [row for row in rows if missing(row)]


def check_download(name: str, address: str) -> dict:
    """The data behind a link, as a program would read them."""
    head, _, content = address.partition(",")
    raw = base64.b64decode(content)
    if name.endswith(".csv"):
        assert head == "data:text/csv;charset=utf-8;base64", f"{name}: {head}"
        table = pd.read_csv(io.BytesIO(raw))
        assert len(table.columns) > 1, f"{name} has no columns"
        return {"bytes": len(raw), "data": table}
    assert name.endswith(".json") and head == "data:application/json;charset=utf-8;base64", f"{name}: {head}"
    data = json.loads(raw)
    assert data, f"{name} is empty"
    return {"bytes": len(raw), "data": data}


CHECKS = {"tangent-slider": check_slider, "tangent-xi": check_explorer, "tangent-sortable": check_table}
