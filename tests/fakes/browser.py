"""A headless Chromium, and a report open in it. Debian has both: `apt-get install chromium chromium-driver`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

HEIGHT = 900
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")

HACK = "document.documentElement.dataset.hacked = 'yes'"
HOSTILE = (
    f"</script><script>{HACK}</script>",
    f'<img src=x onerror="{HACK}">',
    f'<svg onload="{HACK}"><a href="javascript:{HACK}">',
    "\x1b[31mred\x07 \u202egnp.exe\u200b",
    "x" * 100_000,
    "word " * 2000,
    "<!--<script>",
    "&lt;b&gt; &amp;",
    "שלום עולם",
    "${HACK} `'\"",
)


def start() -> Chrome:
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    assert chromium, "needs Chromium: apt-get install chromium"
    assert chromedriver, "needs its driver: apt-get install chromium-driver"
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return Chrome(options=options, service=Service(chromedriver))


class Page:
    """A report in a browser window of a given width."""

    def __init__(self, driver: Chrome, file: Path, width: int, dark: bool) -> None:
        self.driver = driver
        self.url = file.as_uri()
        screen = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.logs()  # of the page before
        driver.get(self.url)
        self.wait(lambda: self.run("return document.body.dataset.ready") == "true")

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Any, seconds: float = 30) -> None:
        WebDriverWait(self.driver, seconds, 0.05).until(lambda _: condition())

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def click(self, element: Any) -> None:
        """As a user does: scrolled into view, and on top of whatever is there."""
        self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element)
        element.click()

    def draw_all(self) -> list[Any]:
        """Scroll past every panel: each is drawn when it comes near."""
        panels = self.all(".panel")
        for panel in panels:
            self.run("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", panel)
            self.wait(lambda panel=panel: panel.get_attribute("data-drawn") == "done")
        return panels

    def logs(self) -> tuple[list[str], list[str]]:
        """What the console says, and the addresses that were asked for, since the last time."""
        said = [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return said, [url for url in asked if not url.startswith("data:")]
