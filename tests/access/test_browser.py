"""Log-in in a real browser: the link's script, the keyboard, every width, and a browser without scripts."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait

from tests.access.people import ADMIN, PASSWORD, gateway
from tests.web.test_validation_browser import WIDTHS, browser, complaints, width

__all__ = ["browser"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.sqlite,
    pytest.mark.skipif(
        not (shutil.which("chromium") or shutil.which("chromium-browser"))
        or not shutil.which("chromedriver"),
        reason="chromium and chromedriver are not installed",
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def send(browser: webdriver.Chrome, **fields: str) -> None:
    """Fill a form in and send it by the keyboard."""
    field = None
    for name, value in fields.items():
        field = browser.find_element(By.ID, name)
        field.clear()
        field.send_keys(value)
    field = field or browser.find_element(By.ID, "code")
    field.send_keys(Keys.ENTER)
    WebDriverWait(browser, 60).until(staleness_of(field))


def title(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.TAG_NAME, "h1").text


async def test_from_the_link_to_the_accounts_and_back_in(tmp_path: Path, browser: webdriver.Chrome) -> None:
    async with gateway(tmp_path) as r:
        link = await r.gateway.first_access()
        assert link is not None
        base, secret = r.gateway.base_url(), link.partition("#")[2]

        def person() -> None:
            browser.get(f"{base}/erreurs")
            assert title(browser) == "Connexion"
            browser.get(link)
            WebDriverWait(browser, 60).until(
                lambda b: b.find_element(By.ID, "code").get_attribute("value") == secret
            )
            assert secret not in browser.current_url, "out of the address bar"
            send(browser)
            assert "premier administrateur" in browser.find_element(By.TAG_NAME, "main").text
            send(browser, login=ADMIN, name="Dominique Essai", password=PASSWORD, again=PASSWORD)
            assert title(browser) == "Comptes" and browser.current_url == f"{base}/comptes"
            for path in ("/comptes", "/jetons", "/trace", "/compte", "/erreurs"):
                browser.get(base + path)
                for pixels in WIDTHS:
                    width(browser, pixels)
                    wide = browser.execute_script("return document.documentElement.scrollWidth")
                    assert wide <= pixels, f"{path}: {wide} pixels wide on a screen of {pixels}"
            leave = browser.find_element(By.CSS_SELECTOR, ".session button")
            leave.click()
            WebDriverWait(browser, 60).until(staleness_of(leave))
            assert title(browser) == "Connexion"
            assert "Vous êtes déconnecté" in browser.page_source
            browser.get(f"{base}/tolerances?days=7")
            send(browser, login=ADMIN, password="not the one")
            assert "incorrect" in browser.find_element(By.CSS_SELECTOR, "[role=alert]").text
            send(browser, login=ADMIN, password=PASSWORD)
            assert browser.current_url == f"{base}/tolerances?days=7"
            # what a failed log-in is answered (401) is told by the console too
            assert [c for c in complaints(browser) if "401" not in c] == []

        await asyncio.to_thread(person)


async def test_without_scripts_the_link_is_pasted(tmp_path: Path, browser: webdriver.Chrome) -> None:
    async with gateway(tmp_path) as r:
        link = await r.gateway.first_access()
        assert link is not None

        def person() -> None:
            browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
            browser.get(link)
            send(browser, code=link)
            send(browser, login=ADMIN, password=PASSWORD, again=PASSWORD)
            assert title(browser) == "Comptes"

        await asyncio.to_thread(person)
