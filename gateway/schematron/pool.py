"""The schematron layer of a gateway: its worker processes, seen from the event loop.

Purpose: hand documents to workers, replace a worker that died, hangs, holds too much memory or has served long
enough, and say in time when no answer can be had.

Guarantee: `check` never raises and ends within `timeout` seconds: a document that could not be judged is
reported so (`unavailable`), never as passed. A worn worker is replaced by one that is already warm. A document
that made workers die or hang twice is not given to a third.

Fails: `ConfigurationFault` from `start` when the first worker cannot start.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections import OrderedDict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from gateway.cda.package.folder import Package
from gateway.cda.package.reports import (
    Assertion,
    DocumentReport,
    Family,
    FamilyReport,
    SchematronInput,
    applicable,
    unavailable,
)
from gateway.childprocess import environment, memory_mb
from gateway.errors import ConfigurationFault
from gateway.schematron.engine import available

log = logging.getLogger("gateway.schematron")

START_WITHIN = 60.0
"""Seconds for a worker to compile its schematrons (about 2 s on a quiet machine)."""
LOOK_EVERY = 0.25
"""Seconds between two looks at the memory of a worker that is working."""
BACKOFF = (0.2, 1.0, 5.0, 30.0)
STRIKES = 2
REMEMBERED = 256
_LINE = 4_000_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may take. Times in seconds."""

    workers: int = 1
    timeout: float = 5.0
    documents: int = 1000
    memory_mb: int = 1500
    max_bytes: int = 8_000_000


class WorkerLost(Exception):
    """The worker died, hung or was ended; `args[0]`: why, in French."""


class Worker:
    """One worker process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.process = process
        self._input, self._output = process.stdin, process.stdout
        self.served = 0
        self.worn = False
        """It has served long enough, or holds too much."""
        self.renewing = False
        """Its replacement is on its way."""
        self.retired = False
        """Not to be given a document any more."""
        self.broken: list[str] = []
        """Schematrons of the package that could not be compiled."""

    @classmethod
    async def start(cls, package: Package, families: Sequence[Family]) -> Worker:
        """Start one and wait until it is ready. Raises `ConfigurationFault` with its reason."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "gateway.schematron.worker",
            str(package.root),
            package.digest,
            ",".join(families),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment(),
            limit=_LINE,
            start_new_session=True,
        )
        worker = cls(process)
        try:
            async with asyncio.timeout(START_WITHIN):
                first = json.loads(await worker._output.readline() or b"{}")
        except BaseException as e:
            await worker.end()
            if isinstance(e, TimeoutError | ValueError):
                raise ConfigurationFault("cda.schematron: the worker does not start") from None
            raise
        if "ready" not in first:
            await worker.end()
            raise ConfigurationFault(first.get("fault", "cda.schematron: the worker does not start"))
        worker.broken = first["ready"]
        return worker

    async def run(self, given: SchematronInput, limits: Limits) -> list[FamilyReport]:
        """What the worker says of `given`. Raises `WorkerLost`; the worker is then of no use any more."""
        header = {
            "size": len(given.xml),
            "level": given.level,
            "templates": given.templates,
            "seconds": limits.timeout,
        }
        asked = asyncio.ensure_future(self._ask(json.dumps(header).encode() + b"\n", given.xml))
        try:
            end = asyncio.get_running_loop().time() + limits.timeout
            while not asked.done():
                left = end - asyncio.get_running_loop().time()
                if left <= 0:
                    raise WorkerLost("délai dépassé")
                await asyncio.wait({asked}, timeout=min(left, LOOK_EVERY))
                if not asked.done() and memory_mb(self.process.pid) > limits.memory_mb:
                    raise WorkerLost("mémoire insuffisante pour ce document")
            try:
                answer = asked.result()
                self.served += 1
                self.worn = self.served >= limits.documents or answer["memory_mb"] > limits.memory_mb
                return [_family(f) for f in answer["families"]]
            except (OSError, ValueError, KeyError, TypeError):
                raise WorkerLost("contrôle interrompu") from None
        finally:
            asked.cancel()

    async def _ask(self, header: bytes, body: bytes) -> dict[str, Any]:
        self._input.write(header)
        self._input.write(body)
        await self._input.drain()
        answer: dict[str, Any] = json.loads(await self._output.readline())
        return answer

    async def end(self) -> None:
        """Kill it; a worker keeps nothing."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self._input.close()
        await self.process.wait()


class SchematronPool:
    """The workers of one gateway."""

    def __init__(self, package: Package, families: Sequence[Family], limits: Limits) -> None:
        self._package = package
        self.families = tuple(families)
        self._limits = limits
        self._idle: asyncio.Queue[Worker] = asyncio.Queue()
        self._all: set[Worker] = set()
        self._busy: set[Worker] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._strikes: OrderedDict[str, int] = OrderedDict()
        self._stopping = False
        self.replaced = 0
        """Workers that were replaced since the start."""

    async def start(self) -> None:
        """Returns when the first worker is ready; the others follow. Raises `ConfigurationFault`."""
        if not available():
            raise ConfigurationFault("cda.schematron: saxonche is not installed (extra schematron)")
        first = await Worker.start(self._package, self.families)
        for name in first.broken:
            log.warning("schematron of the package cannot be used: %s", name)
        self._add(first)
        for _ in range(self._limits.workers - 1):
            self._in_background(self._replace())

    async def stop(self) -> None:
        """End all workers at once: nothing of theirs is to be kept."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in list(self._all):
            await self._discard(worker)

    @property
    def state(self) -> str:
        """`on`, `degraded` (fewer workers than asked for) or `down`."""
        ready = sum(not w.retired and w.process.returncode is None for w in self._all)
        return "on" if ready >= self._limits.workers else "degraded" if ready else "down"

    async def check(self, inputs: Sequence[SchematronInput]) -> list[DocumentReport]:
        """One report per document, in order, within the time limit."""
        end = asyncio.get_running_loop().time() + self._limits.timeout
        return list(await asyncio.gather(*(self._one(given, end) for given in inputs)))

    async def _one(self, given: SchematronInput, end: float) -> DocumentReport:
        families = applicable(self.families, given.level)
        if not families:
            return DocumentReport(())
        if len(given.xml) > self._limits.max_bytes:
            return DocumentReport(
                tuple(FamilyReport(f, False, reason="document trop long") for f in families)
            )
        if self._strikes.get(given.key, 0) >= STRIKES:
            return unavailable(families, "ce document a déjà interrompu le contrôle")
        try:
            async with asyncio.timeout_at(end):
                worker = await self._take()
        except TimeoutError:
            return unavailable(families, "aucun processus de contrôle libre à temps")
        judging = self._in_background(self._judge(worker, given, families))
        # a worker that began late, because others were before, is not killed for it: it ends what it does
        await asyncio.wait({judging}, timeout=max(0.0, end - asyncio.get_running_loop().time()))
        if not judging.done():
            return unavailable(families, "délai dépassé")
        if judging.cancelled():
            return unavailable(families, "arrêt de la passerelle")
        return judging.result()

    async def _judge(
        self, worker: Worker, given: SchematronInput, families: Sequence[Family]
    ) -> DocumentReport:
        """One document by one worker, within the worker's own limits."""
        try:
            reports = await worker.run(given, self._limits)
        except WorkerLost as e:
            log.warning("schematron worker lost: replaced")
            self._strike(given.key)
            self._lose(worker)
            return unavailable(families, str(e))
        except BaseException:
            self._lose(worker)
            raise
        self._strikes.pop(given.key, None)
        self._give_back(worker)
        return DocumentReport(tuple(reports))

    # --- workers --------------------------------------------------------------------------------------------

    async def _take(self) -> Worker:
        while True:
            worker = await self._idle.get()
            if worker.retired or worker.process.returncode is not None:
                continue
            self._busy.add(worker)
            return worker

    def _give_back(self, worker: Worker) -> None:
        self._busy.discard(worker)
        if worker.retired:
            self._in_background(self._discard(worker))
            return
        if worker.process.returncode is not None:
            self._lose(worker)
            return
        if worker.worn and not worker.renewing:
            worker.renewing = True
            self._in_background(self._renew(worker))
        self._idle.put_nowait(worker)

    def _add(self, worker: Worker) -> None:
        self._all.add(worker)
        self._idle.put_nowait(worker)
        self._in_background(self._watch(worker))

    async def _watch(self, worker: Worker) -> None:
        """A worker that dies while it has nothing to do is replaced before a document needs it."""
        await worker.process.wait()
        if not worker.retired and worker not in self._busy:
            log.warning("schematron worker died: replaced")
            self._lose(worker)

    def _lose(self, worker: Worker) -> None:
        """Out at once, a new one on its way."""
        self._busy.discard(worker)
        worker.retired = True
        self._in_background(self._discard(worker))
        # a worn one has its replacement on the way already
        if not self._stopping and not worker.renewing:
            self._in_background(self._replace())

    async def _discard(self, worker: Worker) -> None:
        worker.retired = True
        await worker.end()
        self._all.discard(worker)

    async def _renew(self, worn: Worker) -> None:
        """The new one is warm before the worn one goes."""
        await self._replace()
        worn.retired = True
        if worn not in self._busy:
            await self._discard(worn)

    async def _replace(self) -> None:
        attempt = 0
        while True:
            try:
                worker = await Worker.start(self._package, self.families)
            except (ConfigurationFault, OSError) as e:
                log.error("schematron worker cannot start: %s", e)
                await asyncio.sleep(BACKOFF[min(attempt, len(BACKOFF) - 1)])
                attempt += 1
                continue
            self.replaced += 1
            self._add(worker)
            return

    def _in_background(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _strike(self, key: str) -> None:
        self._strikes[key] = self._strikes.pop(key, 0) + 1
        while len(self._strikes) > REMEMBERED:
            self._strikes.popitem(last=False)


def _family(row: dict[str, Any]) -> FamilyReport:
    assertions = tuple(Assertion(**a) for a in row.pop("assertions"))
    return FamilyReport(**{**row, "family": Family(row["family"]), "assertions": assertions})
