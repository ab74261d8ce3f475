"""The page of received mails in a real browser: nothing refused by the policy, readable on a narrow screen."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from fixtures import build
from tests.browser import chromium, served, too_wide, visit
from tests.circle.hospitals import hospital_b, until_rows
from tests.circle.mails import cda, give, mail
from tests.mss.inbound.test_archive import HOSTILE
from tests.web.test_validation_browser import WIDTHS, width

pytestmark = pytest.mark.slow


def test_the_page_is_readable_at_every_width(tmp_path: Path) -> None:
    with chromium() as browser, served(lambda: hospital_b(tmp_path)) as hospital:
        b, operator = hospital.value
        b.dpi.plan("AA", "AE:902")
        n3 = build.cda_n3(
            uid="1.2.250.1.71.4.2.2.990000010.56.9.1", set_id="1.2.250.1.71.4.2.2.990000010.56.9"
        )
        for raw in (
            hospital.do(mail(cda(1), n3)),
            hospital.do(mail(archive_bytes=HOSTILE["IN-ZIP-RATIO"])),
            b"From: x@y.fr\r\nSubject: Bonjour\r\nMessage-ID: <b@a.fr>\r\n\r\nBonjour\r\n",
        ):
            hospital.do(give(operator, raw))
        hospital.do(until_rows(b, "SELECT count(*) FROM received_mail WHERE state = 'treated'", [(3,)]))
        with visit(browser, base_url=f"http://127.0.0.1:{b.gateway.web_port}") as one:
            page = one.page
            page.goto("/boites")
            for pixels in WIDTHS:
                width(page, pixels)
                assert too_wide(page) == 0, f"the page scrolls sideways at {pixels} px"
                page.screenshot(path=tmp_path / f"boites-{pixels}.png")
            assert one.complaints == []
            expect(page.get_by_role("heading", level=1)).to_have_text("Boîtes aux lettres")
            said = page.locator("main").inner_text()
            assert "intégré en partie — 902" in said and "non intégré — 906" in said
            assert "Mis de côté" in said and "refusé par le DPI (AE 207/902)" in said
            summary = page.locator("summary").first
            summary.click()  # what was found opens without a script
            expect(summary.locator("xpath=..")).to_have_attribute("open", "")
