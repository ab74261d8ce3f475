"""PDF copies of documents that hold none, seen from the event loop: one worker process, watched.

Purpose: `render` a page (connectors/mss/narrative.py) to PDF/A-1b, in time or not at all.
Guarantee: `render` never raises and ends within `timeout` seconds of its turn; a worker that hangs, dies or takes too
much memory is replaced; a page that failed is not tried again for the next recipient. The last pages are kept, so that
a document for several recipients is laid out once.
Fails: `None`, with one warning; a mail then goes without the copy, never a document without its mail.
Source: spec/mssante.md §1.8; docs/decisions/0022.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import logging
import sys
from collections import OrderedDict

from gateway.childprocess import environment

log = logging.getLogger("connectors.mss")

START_WITHIN = 30.0
READY_WITHIN = 3.0
"""Seconds that an ACK waits for the first start of the worker."""
KEPT_PAGES = 64
KEPT_BYTES = 20_000_000
PAGES_OF_A_WORKER = 200
"""Then it is replaced: what its libraries keep does not grow for ever."""


class Renderer:
    """`start`, then `ready` and `render`, then `stop`."""

    def __init__(self, timeout: float, memory_mb: int) -> None:
        self._timeout = timeout
        self._memory_mb = memory_mb
        self._process: asyncio.subprocess.Process | None = None
        self._served = 0
        self._turn = asyncio.Lock()
        self._kept: OrderedDict[str, bytes | None] = OrderedDict()
        self._installed = False
        self._usable: bool | None = None
        """None: not known yet. False: the worker itself said what is missing."""
        self._probe: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look whether the extra is there; whether it works is seen at the first document that needs it."""
        self._installed = importlib.util.find_spec("weasyprint") is not None
        if not self._installed:
            log.info("PDF copies are not rendered: the extra `pdf` is not installed")

    async def ready(self) -> bool:
        """Pages can be rendered here: the extra and its system libraries are there. The first time the worker is
        started (about a second); one that is not there within `READY_WITHIN` seconds counts as absent, until it is.
        Never fails, never waits for a page that is being laid out."""
        if not self._installed:
            return False
        if self._usable is None:
            if self._probe is None:
                self._probe = asyncio.create_task(self._try(), name="mss-pdf-worker")
            await asyncio.wait({self._probe}, timeout=READY_WITHIN)
        return self._usable is True

    async def _try(self) -> None:
        """Start the worker for the first time."""
        try:
            async with self._turn:
                problem = await self._open() if self._process is None else ""
            if problem:
                log.warning("PDF copies are not rendered: %s", problem)
            else:
                self._usable = True
        finally:
            self._probe = None

    async def stop(self) -> None:
        """End the worker: it keeps nothing."""
        self._installed = False
        probe = self._probe
        if probe is not None:
            probe.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probe
        await self._end()

    async def render(self, key: str, html: str) -> bytes | None:
        """The PDF of `html`, or None. `key` names the document (its SHA-256)."""
        async with self._turn:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if not self._installed or self._usable is False:
                return None
            made = await self._ask(html.encode("utf-8"))
            self._keep(key, made)
            return made

    def _keep(self, key: str, made: bytes | None) -> None:
        self._kept[key] = made
        while len(self._kept) > KEPT_PAGES or (
            len(self._kept) > 1 and sum(len(pdf or b"") for pdf in self._kept.values()) > KEPT_BYTES
        ):
            self._kept.popitem(last=False)

    async def _ask(self, html: bytes) -> bytes | None:
        if self._served >= PAGES_OF_A_WORKER:
            await self._end()
        self._served += 1
        problem = await self._open() if self._process is None else ""
        process = self._process
        if problem or process is None or process.stdin is None or process.stdout is None:
            log.warning("a PDF copy was not rendered: %s", problem)
            return None
        try:
            async with asyncio.timeout(self._timeout):
                header = json.dumps({"size": len(html), "seconds": self._timeout}).encode()
                process.stdin.write(header + b"\n" + html)
                await process.stdin.drain()
                answer = json.loads(await process.stdout.readline())
                if "size" in answer:
                    return await process.stdout.readexactly(answer["size"])
                problem = answer["fault"]
        except (TimeoutError, OSError, ValueError, KeyError, TypeError, asyncio.IncompleteReadError) as e:
            problem = "too long" if isinstance(e, TimeoutError) else "the worker died"
            await self._end()
        except BaseException:
            # cancelled in the middle of an answer: the wire is of no use any more
            await self._end()
            raise
        log.warning("a PDF copy was not rendered: %s", problem)
        return None

    async def _open(self) -> str:
        """Start a worker; what prevents it, or ""."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "connectors.mss.pdf_worker",
            str(self._memory_mb),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(),
            start_new_session=True,
        )
        self._process = process
        assert process.stdout is not None
        try:
            async with asyncio.timeout(START_WITHIN):
                first = json.loads(await process.stdout.readline() or b"{}")
        except (TimeoutError, ValueError):
            first = {}
        except BaseException:
            await self._end()
            raise
        if "ready" in first:
            return ""
        await self._end()
        if "fault" in first:
            # a missing library; a start that took too long may succeed the next time
            self._usable = False
        return str(first.get("fault", "the worker does not start"))

    async def _end(self) -> None:
        process, self._process = self._process, None
        self._served = 0
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
