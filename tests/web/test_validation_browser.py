"""The validation page in a real browser: Chromium without a window, driven as a user would (skipped where absent)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import Visit, chromium, served, too_wide, visit
from tests.exchange.harness import cda, running
from tests.validation.test_report import MESSAGES

pytestmark = pytest.mark.slow
WEB: dict[str, Any] = {"web": {"enabled": True, "port": 0}}
WIDTHS = (360, 768, 1920)
REFUSED = re.compile("^REFUSÉ")


@contextmanager
def user(directory: Path, **options: Any) -> Iterator[Visit]:
    """Somebody at the pages of a running gateway."""
    with chromium() as browser, served(lambda: running(directory, **WEB)) as r:
        base = f"http://127.0.0.1:{r.value.gateway.web_port}"
        with visit(browser, base_url=base, **options) as one:
            yield one


def width(page: Page, pixels: int) -> None:
    """The screen has that width, and the page knows it."""
    page.set_viewport_size({"width": pixels, "height": 900})
    assert page.evaluate("innerWidth") == pixels


def reported(page: Page) -> None:
    """Wait for the whole report: the form below it says that there is one above; its style sheets have come."""
    expect(page.get_by_role("heading", name="Valider autre chose")).to_be_visible()
    page.wait_for_load_state()


def upload(page: Page, path: Path) -> None:
    """Choose the file, send the form, wait for its report."""
    page.locator("#file").set_input_files(path)
    page.locator("button[type=submit]").click()
    reported(page)


def test_a_file_is_uploaded_and_its_errors_stand_beside_their_place(tmp_path: Path) -> None:
    message = tmp_path / "message.er7"
    message.write_bytes(MESSAGES["several"].replace(b"\r", b"\n"))
    with user(tmp_path) as one:
        page = one.page
        page.goto("/")
        page.get_by_role("link", name="Valider un message ou un document", exact=True).click()
        upload(page, message)
        expect(page).to_have_title(REFUSED)
        links = page.locator(".summary a")
        assert links.count() >= 3
        links.first.click()
        target = page.locator(":target")
        expect(target).to_be_visible()
        line = target.locator("xpath=ancestor::li[contains(@class,'line')]")
        segment = line.locator(".text")
        expect(segment).to_have_text(re.compile("^MSH"), use_inner_text=True)
        for pixels in WIDTHS:
            width(page, pixels)
            assert too_wide(page) == 0, f"the page scrolls sideways at {pixels} px"
        text, beside = segment.bounding_box(), target.bounding_box()
        assert text is not None and beside is not None
        assert beside["x"] >= text["x"] + text["width"], (
            "on a wide screen the error stands beside the segment"
        )
        assert one.complaints == []


def test_a_text_is_pasted_by_keyboard_alone_in_the_dark(tmp_path: Path) -> None:
    with user(tmp_path, color_scheme="dark") as one:
        page = one.page
        page.goto("/valider")
        order = []
        for _ in range(10):
            page.keyboard.press("Tab")
            order.append(page.evaluate("document.activeElement.id || document.activeElement.localName"))
            if order[-1] == "text":
                # as a paste: typing three kilobytes key by key proves nothing more
                page.keyboard.insert_text(cda().decode())
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
        page.locator("#processing").select_option("P")
        page.locator("button[type=submit]").press("Enter")
        reported(page)
        expect(page).to_have_title(REFUSED)
        expect(page.locator(".summary").first).to_contain_text("CDA-I01-DOMAIN", use_inner_text=True)
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 24, 33)"
        expect(page.locator("#processing")).to_have_value("P")
        assert one.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable(tmp_path: Path, scheme: str) -> None:
    """WCAG 2.2 AA: contrast of at least 4.5 for every text of the result."""
    message = tmp_path / "message.er7"
    message.write_bytes(MESSAGES["several"])
    with user(tmp_path, color_scheme=scheme) as one:
        page = one.page
        page.goto("/valider")
        upload(page, message)
        assert page.evaluate(CONTRASTS) == []
        unlabelled = page.evaluate(
            "[...document.querySelectorAll('input,select,textarea')].filter(e => !e.labels.length).length"
        )
        assert unlabelled == 0


CONTRASTS = """() => {
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
}"""
