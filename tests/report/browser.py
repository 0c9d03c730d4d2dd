"""Headless Chromium, driven by selenium, with the network off."""

import json
import os
import shutil
from pathlib import Path

from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

CHROMIUM, CHROMEDRIVER = shutil.which(os.environ.get("CHROME", "chromium")), shutil.which("chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--window-size=1100,1000",
    "--proxy-server=127.0.0.1:9",  # no address is reached
    "--host-resolver-rules=MAP * ~NOTFOUND",  # and no name is found
]
PATIENCE = 100_000  # milliseconds for a page or a script, on a busy machine


class Browser(webdriver.Chrome):
    """A headless browser with an empty profile."""

    def __init__(self, profile: Path):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        options.timeouts = {"pageLoad": PATIENCE, "script": PATIENCE}
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        super().__init__(options, Service(CHROMEDRIVER))
        self.problems: list[str] = []  # exceptions and errors on the console
        self.requests: list[str] = []  # addresses that a page asked for
        self.set_network_conditions(offline=True, latency=0, throughput=0)
        self.get("about:blank")
        self.forget()

    def forget(self) -> None:
        """Forget problems and requests up to now."""
        self.note()
        self.problems, self.requests = [], []

    def note(self) -> None:
        """Add what went wrong, and what was asked for, since the last call."""
        self.problems += [entry["message"] for entry in self.get_log("browser") if entry["level"] == "SEVERE"]
        events = [json.loads(entry["message"])["message"] for entry in self.get_log("performance")]
        sent = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
        self.requests += [event["request"]["url"] for event in sent]

    def open(self, page: Path) -> None:
        """Open a file and wait until it is loaded and its formulas are set."""
        self.get(Path(page).resolve(strict=True).as_uri())
        self.execute_script("return window.MathJax?.startup?.promise?.then(() => 0)")

    def values(self, selector: str, name: str) -> list:
        """A property of every element that a selector finds."""
        every = "return [...document.querySelectorAll(arguments[0])].map((e) => e[arguments[1]])"
        return self.execute_script(every, selector, name)

    def texts(self, selector: str) -> list[str]:
        """The text of every element that a selector finds."""
        return self.values(selector, "textContent")

    def find(self, selector: str) -> WebElement:
        """An element, after scrolling to it."""
        element = self.find_element(By.CSS_SELECTOR, selector)
        scroll = "arguments[0].scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'})"
        self.execute_script(scroll, element)
        return element

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window, after scrolling to it."""
        place = "const r = arguments[0].getBoundingClientRect(); return [r.left, r.top, r.width, r.height]"
        return tuple(self.execute_script(place, self.find(selector)))

    def move(self, x: float, y: float) -> None:
        """Move the mouse to a point of the window."""
        actions = ActionBuilder(self, duration=0)
        actions.pointer_action.move_to_location(x, y)
        actions.perform()

    def tap(self, x: float, y: float) -> None:
        """Touch a point of the window."""
        actions = ActionBuilder(self, PointerInput("touch", "finger"), duration=0)
        actions.pointer_action.move_to_location(x, y).pointer_down().pointer_up()
        actions.perform()

    def press(self, selector: str, keys: str) -> None:
        """Give an element the focus and press keys."""
        self.execute_script("arguments[0].focus()", self.find(selector))
        ActionChains(self, duration=0).send_keys(keys).perform()

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select by the arrow keys."""
        steps = self.values(f"{selector} option", "value").index(value) - self.values(selector, "selectedIndex")[0]
        self.press(selector, (Keys.ARROW_DOWN if steps > 0 else Keys.ARROW_UP) * abs(steps))
