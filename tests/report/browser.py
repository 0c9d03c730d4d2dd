"""Drive headless Chromium over the DevTools protocol, with the network off. Needs nothing but the browser.

From the root of the repository::

    python -m tests.report.browser PAGE.html ...                              # move every control and compare with its data
    python -m tests.report.browser --screenshots DIR [--dark] PAGE.html ...   # pictures of whole pages, in pieces of 4,000 px
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--proxy-server=127.0.0.1:9",  # no address is reached
    "--host-resolver-rules=MAP * ~NOTFOUND",  # and no name is found
]
# the browser reads commands from its file 3 and writes answers to its file 4
LAUNCH = "import os, sys; a, b, *run = sys.argv[1:]; os.dup2(int(a), 3); os.dup2(int(b), 4); os.execv(run[0], run)"
PATIENCE = 120  # seconds for an answer of the browser, on a busy machine
KEYS = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36, "End": 35, "Enter": 13, "Tab": 9}


def find_browser() -> str | None:
    """The path of Chromium or Chrome: ``$CHROME``, or what is on the path; None where there is none."""
    names = [os.environ.get("CHROME"), "chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


def _pipe() -> tuple[int, int]:
    """A pipe whose two files have numbers from 10 on, so that the launcher can use 3 and 4."""
    low = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in low)
    for end in low:
        os.close(end)
    return high


class Browser:
    """A headless browser with one page. What goes wrong in the page is gathered in ``problems``."""

    def __init__(self, width: int = 1100, height: int = 900, dark: bool = False):
        binary = find_browser()
        if binary is None:
            raise RuntimeError("no Chromium was found: install it, or set CHROME to its path")
        self.problems: list[str] = []  # exceptions and errors on the console
        self.requests: list[str] = []  # addresses that the page asked for
        self.loaded, self.session, self.count, self.rest = False, None, 0, b""
        self.profile = tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True)
        (its_read, self.write), (self.read, its_write) = _pipe(), _pipe()
        root = ["--no-sandbox"] if os.geteuid() == 0 else []
        command = [binary, *FLAGS, *root, f"--user-data-dir={self.profile.name}", f"--window-size={width},{height}"]
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", LAUNCH, str(its_read), str(its_write), *command, "about:blank"],
            pass_fds=(its_read, its_write),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(its_read)
        os.close(its_write)
        try:
            self._attach(width, height, dark)
        except BaseException:
            self.close()
            raise

    def _attach(self, width: int, height: int, dark: bool) -> None:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
        self.send("Network.emulateNetworkConditions", **offline)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.send("Emulation.setDeviceMetricsOverride", **size)

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser and what it started."""
        try:
            self.session = None
            self.send("Browser.close", timeout=5)
            self.process.wait(5)
        except (OSError, RuntimeError, subprocess.TimeoutExpired):
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for end in (self.read, self.write):
            os.close(end)
        self.profile.cleanup()

    def send(self, method: str, timeout: float = PATIENCE, **parameters: object) -> dict:
        """Send a command and wait for its answer."""
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            answer = self._receive(end, method)
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return answer["result"]

    def _receive(self, end: float, what: str) -> dict:
        while b"\0" not in self.rest:
            if not select.select([self.read], [], [], max(0.0, end - time.monotonic()))[0]:
                raise RuntimeError(f"{what}: the browser gave no answer in time")
            part = os.read(self.read, 1 << 20)
            if not part:
                raise RuntimeError(f"{what}: the browser ended")
            self.rest += part
        raw, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(raw)
        self._note(message.get("method"), message.get("params", {}))
        return message

    def _note(self, event: str | None, values: dict) -> None:
        if event == "Page.loadEventFired":
            self.loaded = True
        elif event == "Runtime.exceptionThrown":
            details = values["exceptionDetails"]
            self.problems.append(details.get("exception", {}).get("description", details["text"]))
        elif event == "Runtime.consoleAPICalled" and values["type"] in ("error", "assert"):
            self.problems.append(" ".join(str(part.get("value", part.get("description"))) for part in values["args"]))
        elif event == "Log.entryAdded" and values["entry"]["level"] == "error":
            self.problems.append(f"{values['entry']['text']} {values['entry'].get('url', '')}")
        elif event == "Network.requestWillBeSent":
            self.requests.append(values["request"]["url"])

    def open(self, page: Path) -> None:
        """Open a file and wait until it is loaded and its formulas are set."""
        self.loaded = False
        answer = self.send("Page.navigate", url=Path(page).resolve(strict=True).as_uri())
        if answer.get("errorText"):
            raise RuntimeError(f"{page}: {answer['errorText']}")
        end = time.monotonic() + PATIENCE
        while not self.loaded:
            self._receive(end, f"opening {page}")
        self.evaluate("window.MathJax?.startup?.promise?.then(() => 0)")

    def evaluate(self, expression: str) -> object:
        """The value of a JavaScript expression in the page."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def texts(self, selector: str) -> list[str]:
        """The text of every element that a selector finds."""
        return self.evaluate(f"[...document.querySelectorAll({json.dumps(selector)})].map((e) => e.textContent)")

    def place(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window, after scrolling to it."""
        return tuple(
            self.evaluate(
                f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
                "e.scrollIntoView({block: 'center', inline: 'center', behavior: 'instant'});"
                "const r = e.getBoundingClientRect(); return [r.left, r.top, r.width, r.height]; })()"
            )
        )

    def mouse(self, kind: str, x: float, y: float, held: bool = False) -> None:
        """A mouse event: mouseMoved (with the left button held, or not), mousePressed or mouseReleased."""
        button = {"button": "left", "buttons": 1, "clickCount": 1} if held or kind != "mouseMoved" else {}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

    def click(self, selector: str) -> None:
        """Click in the middle of an element."""
        left, top, width, height = self.place(selector)
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, left + width / 2, top + height / 2)

    def tap(self, x: float, y: float) -> None:
        """Touch the screen at a point."""
        self.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def key(self, name: str, times: int = 1) -> None:
        """Press a key in the element that has the focus."""
        values = {"key": name, "code": name, "windowsVirtualKeyCode": KEYS[name]}
        for _ in range(times):
            text = {"text": "\r"} if name == "Enter" else {}
            self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **values, **text)
            self.send("Input.dispatchKeyEvent", type="keyUp", **values)

    def focus(self, selector: str) -> None:
        """Give an element the focus."""
        self.place(selector)
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a select by the arrow keys."""
        self.focus(selector)
        now = f"(() => {{ const e = document.querySelector({json.dumps(selector)}); return [e.selectedIndex, "
        at, names = self.evaluate(now + "[...e.options].map((o) => o.value)]; })()")
        steps = names.index(value) - at
        self.key("ArrowDown" if steps > 0 else "ArrowUp", abs(steps))

    def screenshots(self, stem: Path, piece: int = 4000) -> list[Path]:
        """The whole page as pictures of at most `piece` pixels in height: stem-1.png, stem-2.png, ..."""
        size, paths = self.send("Page.getLayoutMetrics")["cssContentSize"], []
        for i in range(max(1, -int(-size["height"] // piece))):
            height = min(piece, size["height"] - i * piece)
            clip = {"x": 0, "y": i * piece, "width": size["width"], "height": height, "scale": 1}
            shot = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
            paths.append(stem.with_name(f"{stem.name}-{i + 1}.png"))
            paths[-1].write_bytes(base64.b64decode(shot["data"]))
        return paths


def main() -> None:
    """Take screenshots, or check the controls of pages."""
    parser = argparse.ArgumentParser(prog="python -m tests.report.browser", description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path, help="HTML files")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="take pictures of the pages into this folder")
    parser.add_argument("--dark", action="store_true", help="as for a reader whose system is dark")
    parser.add_argument("--width", type=int, default=1100, help="of the window, in pixels")
    arguments = parser.parse_args()
    if arguments.screenshots:
        arguments.screenshots.mkdir(parents=True, exist_ok=True)
    from tests.report.check_controls import check_page

    with Browser(arguments.width, dark=arguments.dark) as browser:
        for page in arguments.pages:
            if arguments.screenshots:
                browser.open(page)
                time.sleep(0.8)  # the theme slides its parts into place
                stem = f"{page.stem}-{'dark' if arguments.dark else 'light'}"
                for path in browser.screenshots(arguments.screenshots / stem):
                    print(path)
            else:
                found = check_page(browser, page)
                print(f"{page}: {len(found)} controls, {sum(len(entry['readings']) for entry in found)} readings agree")
    if browser.problems:
        sys.exit("problems in the pages:\n" + "\n".join(browser.problems))


if __name__ == "__main__":
    main()
