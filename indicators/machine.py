"""The worker process seen from the event loop: started when it is needed, ended when it is not.

Purpose: hand requests to `indicators.worker`, one after the other, and end it when it hangs or has nothing to do.
Guarantee: `ask` ends within the seconds that a request may take (and those of the requests before it); a worker that
died or hung is replaced for the next request. Nothing of it is there while nobody asks.
Fails: `MachineLost` when the worker died or took too long, `Busy` when too many wait; `EnvironmentFault` or `BadInput`
with what the worker said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys

import msgspec

from gateway.childprocess import environment
from gateway.errors import BadInput, EnvironmentFault
from indicators.worker import Answer, Request

log = logging.getLogger("gateway.indicators")

SECONDS = 600.0
"""One request at most: ten million facts take a few minutes."""
KEEP = 60.0
"""Seconds without a request after which the process goes, and its memory with it."""
MAX_WAITING = 8
_LINE = 32_000_000


class MachineLost(EnvironmentFault):
    """The process died, or took too long. What it did is to be done again."""


class Busy(EnvironmentFault):
    """Too many requests wait for it."""


class Machine:
    """One per gateway."""

    def __init__(self, seconds: float = SECONDS, keep: float = KEEP) -> None:
        self._seconds = seconds
        self._keep = keep
        self._process: asyncio.subprocess.Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False
        self._end: asyncio.TimerHandle | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return None if self._process is None else self._process.pid

    async def ask(self, request: Request) -> tuple[Answer, list[bytes]]:
        """What the worker answers: and the bytes of each part, or of the list."""
        if self._waiting >= MAX_WAITING:
            raise Busy("trop de calculs d'indicateurs attendent")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._ask(request)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """End the process, whatever it does."""
        self._closed = True
        await self._kill()
        await asyncio.gather(*self._ending, return_exceptions=True)

    # --- inside ---------------------------------------------------------------------------------------------

    async def _ask(self, request: Request) -> tuple[Answer, list[bytes]]:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        request.seconds = self._seconds
        try:
            async with asyncio.timeout(self._seconds):
                answer, content = await self._exchange(request)
        except TimeoutError:
            log.error("indicators: the computation took more than %g s: ended", self._seconds)
            await self._kill()
            raise MachineLost("délai de calcul dépassé") from None
        except (OSError, asyncio.IncompleteReadError, msgspec.MsgspecError, ValueError) as e:
            log.error("indicators: the computing process is lost (%s)", type(e).__name__)
            await self._kill()
            raise MachineLost("le processus de calcul s'est arrêté") from None
        except BaseException:
            # whoever waited is gone in the middle of an answer: the rest of it would be taken for the next one's
            await self._kill()
            raise
        self._end = asyncio.get_running_loop().call_later(self._keep, self._idle)
        if answer.fault:
            raise (BadInput if answer.wrong else EnvironmentFault)(answer.fault)
        return answer, content

    async def _exchange(self, request: Request) -> tuple[Answer, list[bytes]]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await self._start()
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(request) + b"\n")
        await process.stdin.drain()
        answer = msgspec.json.decode(await process.stdout.readline(), type=Answer)
        sizes = [part.size for part in answer.parts]
        if answer.listed is not None:
            sizes.append(answer.listed)
        return answer, [await process.stdout.readexactly(size) for size in sizes]

    async def _start(self) -> asyncio.subprocess.Process:
        if self._closed:
            raise MachineLost("arrêt de la passerelle")
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "indicators.worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(),
            limit=_LINE,
            start_new_session=True,
        )

    def _idle(self) -> None:
        self._end = None
        if not self._turn.locked():
            task = asyncio.ensure_future(self._kill())
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _kill(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()
