"""One Chromium for all tests of a session, and what they read from its pages."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.luci.server import Server
from tests.network import wait_for

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--lang=en-GB",
)
WIDE, PHONE = (1200, 900), (390, 844)


class Browser:
    """The browser, and a router of its own that each test can change."""

    def __init__(self, driver: Chrome, folder: Path) -> None:
        self._driver = driver
        self._folder = folder
        """For screenshots."""
        self.server: Server | None = None

    @property
    def driver(self) -> Chrome:
        """Selenium's."""
        return self._driver

    def open(
        self, server: Server, page: str = "overview", size: tuple[int, int] = WIDE, *, still: bool = False
    ) -> None:
        """Show a page, and wait until it is there. `still`: the user wants reduced motion."""
        self.server = server
        driver = self._driver
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False},
        )
        motion = "reduce" if still else "no-preference"
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-reduced-motion", "value": motion}]}
        )
        driver.get("about:blank")
        driver.get(server.url(page))
        self.ready(f"the page {page}")
        self.check()

    def ready(self, what: str) -> None:
        """Wait until a page is there, with its style and its charts."""
        ready = (
            "return document.body && document.body.dataset.ready"
            " && Array.from(document.querySelectorAll('.ic-plot')).every(plot => plot.firstChild)"
            " && Array.from(document.querySelectorAll('link[rel=stylesheet]')).every(link => link.sheet)"
        )
        wait_for(lambda: self.script(ready), what, 60)
        # Charts are drawn again when the style changes their size.
        frames = (
            "const done = arguments[0]; let n = 3; (function next() { n-- ? requestAnimationFrame(next) : done(); })()"
        )
        self._driver.execute_async_script(frames)

    def poll(self) -> None:
        """Let the page ask the router now."""
        self._driver.execute_async_script(
            "const done = arguments[0]; window.pollNow().then(() => requestAnimationFrame(() => done()))"
        )
        self.check()

    def check(self) -> None:
        """Nothing went wrong in the page."""
        errors = self.script("return window.errors")
        assert errors == [], errors
        severe = self.console()
        assert severe == [], severe

    def console(self) -> list[str]:
        """The errors in the console since the last call."""
        entries = self._driver.get_log("browser")  # type: ignore[no-untyped-call] # selenium's
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def script(self, code: str, *arguments: object) -> Any:
        """What JavaScript returns."""
        return self._driver.execute_script(code, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        """The elements that fit."""
        return self._driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        """The only element that fits."""
        found = self.all(selector)
        assert len(found) == 1, f"{len(found)} elements are {selector}"
        return found[0]

    def text(self, selector: str) -> str:
        """What an element shows."""
        return self.one(selector).text

    def button(self, words: str, inside: str = "body") -> WebElement:
        """The button or link that says this."""
        (found,) = (each for each in self.all(f"{inside} button, {inside} a.btn") if each.text.strip() == words)
        return found

    def wait(self, code: str, what: str, seconds: float = 60) -> None:
        """Wait until JavaScript says true."""
        wait_for(lambda: self.script(f"return {code}"), what, seconds)

    def picture(self, name: str) -> Path:
        """A screenshot of the whole page."""
        height = self.script("return Math.ceil(document.documentElement.scrollHeight)")
        width = self.script("return window.innerWidth")
        self._driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        path = self._folder / f"{name}.png"
        assert self._driver.save_screenshot(str(path))
        return path


@contextmanager
def start_browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium; its profile is a new one."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        environment = os.environ | {"TZ": "Africa/Johannesburg", "NO_PROXY": "*", "no_proxy": "*"}
        service = ChromeService("/usr/bin/chromedriver", env=environment, log_output=subprocess.DEVNULL)
        driver = Chrome(options=options, service=service)
        try:
            driver.set_script_timeout(60)
            yield Browser(driver, folder)
        finally:
            driver.quit()
