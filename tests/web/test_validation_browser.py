"""The validation page in a real browser: Chromium without a window, driven as a user would (skipped where absent)."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.exchange.harness import cda, running
from tests.validation.test_report import MESSAGES

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and not os.environ.get("REQUIRE_BROWSER"),
        reason="chromium and chromedriver are not installed",
    ),
    # selenium leaves the sockets of its own dialogue with the driver to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
WEB: dict[str, Any] = {"web": {"enabled": True, "port": 0}}
WIDTHS = (360, 768, 1920)


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--lang=fr",
    ):
        options.add_argument(argument)
    options.binary_location = CHROMIUM or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def width(browser: webdriver.Chrome, pixels: int) -> None:
    metrics = {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def complaints(browser: webdriver.Chrome) -> list[str]:
    """What the console says (refused by the policy, not found…), the browser's own icon left out."""
    return [m["message"] for m in browser.get_log("browser") if "favicon" not in m["message"]]


def upload(browser: webdriver.Chrome, path: Path) -> None:
    """Choose the file, send the form, wait for its report: a click does not wait for the page that it asks for."""
    browser.find_element(By.ID, "file").send_keys(str(path))
    sent = browser.find_element(By.CSS_SELECTOR, "button[type=submit]")
    sent.click()
    WebDriverWait(browser, 30).until(staleness_of(sent))


async def test_a_file_is_uploaded_and_its_errors_stand_beside_their_place(
    tmp_path: Path, browser: webdriver.Chrome
) -> None:
    message = tmp_path / "message.er7"
    message.write_bytes(MESSAGES["several"].replace(b"\r", b"\n"))

    def user(base: str) -> None:
        browser.get(f"{base}/")
        link = browser.find_element(By.LINK_TEXT, "Valider un message ou un document")
        link.click()
        WebDriverWait(browser, 30).until(staleness_of(link))
        upload(browser, message)
        assert browser.title.startswith("REFUSÉ")
        links = browser.find_elements(By.CSS_SELECTOR, ".summary a")
        assert len(links) >= 3
        links[0].click()
        target = browser.find_element(By.CSS_SELECTOR, ":target")
        assert target.is_displayed()
        line = target.find_element(By.XPATH, "ancestor::li[contains(@class,'line')]")
        assert line.find_element(By.CSS_SELECTOR, ".text").text.startswith("MSH")
        for pixels in WIDTHS:
            width(browser, pixels)
            wide = browser.execute_script("return document.documentElement.scrollWidth")
            assert wide <= pixels, f"the page scrolls sideways at {pixels} px"
        text = line.find_element(By.CSS_SELECTOR, ".text").rect
        beside = target.rect
        assert beside["x"] >= text["x"] + text["width"], (
            "on a wide screen the error stands beside the segment"
        )
        assert complaints(browser) == []

    async with running(tmp_path, **WEB) as r:
        await asyncio.to_thread(user, f"http://127.0.0.1:{r.gateway.web_port}")


async def test_a_text_is_pasted_by_keyboard_alone_in_the_dark(
    tmp_path: Path, browser: webdriver.Chrome
) -> None:
    def user(base: str) -> None:
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
        browser.get(f"{base}/valider")
        order = []
        for _ in range(10):
            ActionChains(browser).send_keys(Keys.TAB).perform()
            focused = browser.switch_to.active_element
            order.append(focused.get_attribute("id") or focused.tag_name)
            if order[-1] == "text":
                # as a paste: typing three kilobytes key by key proves nothing more
                browser.execute_script("arguments[0].value = arguments[1]", focused, cda().decode())
        assert order == [
            "a",
            "a",
            "a",
            "file",
            "text",
            "action",
            "destinations",
            "processing",
            "conformance",
            "button",
        ]
        Select(browser.find_element(By.ID, "processing")).select_by_value("P")
        sent = browser.find_element(By.CSS_SELECTOR, "button[type=submit]")
        sent.send_keys(Keys.ENTER)
        WebDriverWait(browser, 30).until(staleness_of(sent))
        assert browser.title.startswith("REFUSÉ")
        assert "CDA-I01-DOMAIN" in browser.find_element(By.CSS_SELECTOR, ".summary").text
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == "rgb(18, 24, 33)"
        chosen = Select(browser.find_element(By.ID, "processing")).first_selected_option
        assert chosen.get_attribute("value") == "P"
        assert complaints(browser) == []

    async with running(tmp_path, **WEB) as r:
        await asyncio.to_thread(user, f"http://127.0.0.1:{r.gateway.web_port}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_texts_are_readable(tmp_path: Path, browser: webdriver.Chrome, scheme: str) -> None:
    """WCAG 2.2 AA: contrast of at least 4.5 for every text of the result."""
    message = tmp_path / "message.er7"
    message.write_bytes(MESSAGES["several"])

    def user(base: str) -> None:
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.get(f"{base}/valider")
        upload(browser, message)
        pale = browser.execute_script(CONTRASTS)
        assert pale == []
        unlabelled = browser.execute_script(
            "return [...document.querySelectorAll('input,select,textarea')].filter(e => !e.labels.length).length"
        )
        assert unlabelled == 0

    async with running(tmp_path, **WEB) as r:
        await asyncio.to_thread(user, f"http://127.0.0.1:{r.gateway.web_port}")


CONTRASTS = """
const numbers = c => c.match(/[\\d.]+/g).map(Number);
const light = c => {
  const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
  return .2126 * r + .7152 * g + .0722 * b;
};
const ground = e => {
  for (; e; e = e.parentElement) {
    const c = numbers(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3);
  }
  return [255, 255, 255];
};
const pale = [];
const walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || e.closest('select')) continue;
  const [a, b] = [light(numbers(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
  if ((a + .05) / (b + .05) < 4.5) pale.push(e.className + ': ' + walker.currentNode.data.trim().slice(0, 40));
}
return pale;
"""
