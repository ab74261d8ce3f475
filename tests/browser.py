"""Chromium driven by Playwright, for tests of pages, and axe-core on them.

Playwright drives the distribution's Chromium (`apt-get install chromium`), never a browser of its own. Where there is
none the tests are skipped; where REQUIRE_BROWSER is set (CI) they fail. Tests are plain functions: the gateway runs in
a thread with a loop of its own (`served`).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

T = TypeVar("T")
R = TypeVar("R")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ABSENT = "Chromium is not installed (Debian: apt-get install chromium)"
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PATIENCE = 60_000
"""Milliseconds: the machine may be busy with other tests."""
expect.set_options(timeout=PATIENCE)


@contextmanager
def chromium() -> Iterator[Browser]:
    """One browser."""
    if CHROMIUM is None:
        if os.environ.get("REQUIRE_BROWSER"):
            pytest.fail(f"{ABSENT}, and REQUIRE_BROWSER is set")
        pytest.skip(ABSENT)
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=PATIENCE)
        try:
            yield one
        finally:
            one.close()


@dataclass
class Visit:
    """One page of one person, and what the browser complained of (the policy, what is not found, faults of scripts)."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@contextmanager
def visit(browser: Browser, **options: Any) -> Iterator[Visit]:
    """A context of its own: cookies, sizes, scheme are those of `options`."""
    context: BrowserContext = browser.new_context(**({"locale": "fr-FR"} | options))
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    one = Visit(page)
    page.on("console", lambda m: one.complaints.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: one.complaints.append(str(e)))
    try:
        yield one
    finally:
        context.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds: rule, what it is about, where."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']} at {n['target']}" for v in found for n in v["nodes"]]


def too_wide(page: Page) -> int:
    """Pixels by which the page scrolls sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


class Served(Generic[T]):
    """What runs in the thread, and how to run something there."""

    def __init__(self, value: T, loop: asyncio.AbstractEventLoop) -> None:
        self.value = value
        self._loop = loop

    def do(self, work: Coroutine[Any, Any, R]) -> R:
        """Run it in the loop of the thread and wait."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@contextmanager
def served(opened: Callable[[], AbstractAsyncContextManager[T]]) -> Iterator[Served[T]]:
    """`opened` in a thread with a loop of its own, from here to the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    stop: asyncio.Event | None = None
    started: list[T] = []
    ready = threading.Event()

    async def whole() -> None:
        nonlocal stop
        stop = asyncio.Event()
        try:
            async with opened() as value:
                started.append(value)
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    running = asyncio.run_coroutine_threadsafe(whole(), loop)
    try:
        ready.wait(60)
        if not started:
            running.result(60)
        yield Served(started[0], loop)
    finally:
        if stop is not None:
            loop.call_soon_threadsafe(stop.set)
        running.result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()
