"""The page of received mails in a real browser: nothing refused by the policy, readable on a narrow screen."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from fixtures import build
from tests.circle.hospitals import hospital_b, until_rows
from tests.circle.mails import cda, give, mail
from tests.mss.inbound.test_archive import HOSTILE
from tests.web.test_validation_browser import CHROMIUM, DRIVER, WIDTHS, browser, complaints, width

__all__ = ["browser"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER) and not os.environ.get("REQUIRE_BROWSER"),
        reason="chromium and chromedriver are not installed",
    ),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


async def test_the_page_is_readable_at_every_width(tmp_path: Path, browser: webdriver.Chrome) -> None:
    async with hospital_b(tmp_path) as (b, operator):
        b.dpi.plan("AA", "AE:902")
        n3 = build.cda_n3(
            uid="1.2.250.1.71.4.2.2.990000010.56.9.1", set_id="1.2.250.1.71.4.2.2.990000010.56.9"
        )
        await give(operator, await mail(cda(1), n3))
        await give(operator, await mail(archive_bytes=HOSTILE["IN-ZIP-RATIO"]))
        await give(operator, b"From: x@y.fr\r\nSubject: Bonjour\r\nMessage-ID: <b@a.fr>\r\n\r\nBonjour\r\n")
        await until_rows(b, "SELECT count(*) FROM received_mail WHERE state = 'treated'", [(3,)])

        def look() -> None:
            browser.get(f"http://127.0.0.1:{b.gateway.web_port}/boites")
            for pixels in WIDTHS:
                width(browser, pixels)
                wide = browser.execute_script("return document.documentElement.scrollWidth")
                assert wide <= pixels, f"{wide} pixels wide on a screen of {pixels}"
                browser.save_screenshot(str(tmp_path / f"boites-{pixels}.png"))
            assert complaints(browser) == []
            assert browser.find_element(By.TAG_NAME, "h1").text == "Boîtes aux lettres"
            said = browser.find_element(By.TAG_NAME, "main").text
            assert "intégré en partie — 902" in said and "non intégré — 906" in said
            assert "Mis de côté" in said and "refusé par le DPI (AE 207/902)" in said
            summary = browser.find_element(By.TAG_NAME, "summary")
            summary.click()  # what was found opens without a script
            assert summary.find_element(By.XPATH, "..").get_attribute("open")

        await asyncio.to_thread(look)
