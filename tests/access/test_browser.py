"""Log-in in a real browser: the link's script, the keyboard, every width, and a browser without scripts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.access.people import ADMIN, PASSWORD, gateway
from tests.browser import Visit, chromium, served, too_wide, visit
from tests.web.test_validation_browser import WIDTHS, width

pytestmark = [pytest.mark.slow, pytest.mark.sqlite]


@contextmanager
def invited(directory: Path, **options: Any) -> Iterator[tuple[Visit, str, str]]:
    """The first person of a gateway: a browser, the gateway's address, the one-time link."""
    with chromium() as browser, served(lambda: gateway(directory)) as r:
        link = r.do(r.value.gateway.first_access())
        assert link is not None
        with visit(browser, **options) as one:
            yield one, r.value.gateway.base_url(), link


def send(page: Page, **fields: str) -> None:
    """Fill a form in and send it by the keyboard. Who calls waits for what the next page shows."""
    for name, value in fields.items():
        page.locator(f"#{name}").fill(value)
    page.locator(f"#{list(fields)[-1] if fields else 'code'}").press("Enter")


def title(page: Page) -> Locator:
    return page.get_by_role("heading", level=1)


def test_from_the_link_to_the_accounts_and_back_in(tmp_path: Path) -> None:
    with invited(tmp_path) as (one, base, link):
        page, secret = one.page, link.partition("#")[2]
        page.goto(f"{base}/erreurs")
        expect(title(page)).to_have_text("Connexion")
        page.goto(link)
        expect(page.locator("#code")).to_have_value(secret)
        # out of the address bar
        expect(page).not_to_have_url(re.compile(re.escape(secret)))
        send(page)
        expect(page.locator("main")).to_contain_text("premier administrateur", use_inner_text=True)
        send(page, login=ADMIN, name="Dominique Essai", password=PASSWORD, again=PASSWORD)
        expect(title(page)).to_have_text("Comptes")
        expect(page).to_have_url(f"{base}/comptes")
        for path in ("/comptes", "/jetons", "/trace", "/compte", "/erreurs"):
            page.goto(base + path)
            for pixels in WIDTHS:
                width(page, pixels)
                assert too_wide(page) == 0, f"{path} scrolls sideways at {pixels} px"
        page.locator(".session button").click()
        expect(title(page)).to_have_text("Connexion")
        expect(page.locator("main")).to_contain_text("Vous êtes déconnecté")
        page.goto(f"{base}/tolerances?days=7")
        send(page, login=ADMIN, password="not the one")
        expect(page.get_by_role("alert")).to_contain_text("incorrect", use_inner_text=True)
        send(page, login=ADMIN, password=PASSWORD)
        expect(page).to_have_url(f"{base}/tolerances?days=7")
        # what a failed log-in is answered (401) is told by the console too
        assert [c for c in one.complaints if "401" not in c] == []


def test_without_scripts_the_link_is_pasted(tmp_path: Path) -> None:
    with invited(tmp_path, java_script_enabled=False) as (one, _, link):
        page = one.page
        page.goto(link)
        expect(page.locator("#code")).to_have_value("")
        send(page, code=link)
        send(page, login=ADMIN, password=PASSWORD, again=PASSWORD)
        expect(title(page)).to_have_text("Comptes")
