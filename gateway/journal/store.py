"""The journal's door, whatever database stands behind it.

Purpose: operations are plain functions of a synchronous SQLModel session; `write` runs one in a transaction and returns
once it is on stable storage, `read` runs one beside. `gateway.journal.sqlite` is one file for one process,
`gateway.journal.postgres` one database for several gateway processes.

Guarantee: an operation that raises leaves nothing behind and does not disturb others. It may be run more than once
(withdrawn neighbour, deadlock, connection lost before its commit): it has no effect but through its session.

Fails: `JournalUnavailable` when the commit fails: then the operation did not happen. `JournalLate` when a write that
has only so much time is still waiting: it is withdrawn and will not happen. `ConfigurationFault` at opening.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar

from sqlmodel import Session

from gateway.errors import ConfigurationFault, JournalLate, JournalUnavailable
from gateway.settings import JournalSettings

T = TypeVar("T")
log = logging.getLogger("gateway.journal")

READERS = 4
MAX_WAITING = 2_000
"""Writes that wait for a writer: more are refused at once (a connection and a delivery have one each)."""


class State(Enum):
    """How far a write is."""

    WAITING = auto()
    COMMITTING = auto()
    """Its commit was given to the disk: it can no longer be withdrawn."""
    WITHDRAWN = auto()


@dataclass(slots=True, eq=False)
class Job:
    """One write, and who waits for it."""

    operation: Callable[[Session], Any] | None
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    state: State = State.WAITING


Done = tuple[Job, Any, BaseException | None]
"""A job, its result, its error."""


class Journal(ABC):
    """One open journal. Create with `await Journal.open(...)`; close with `await journal.close()`."""

    node: str
    """Token of this process: what it has in hand bears it (messages, payloads being written, deliveries)."""
    shared: bool
    """Other gateway processes may work on this journal at the same time."""

    def __init__(self, settings: JournalSettings) -> None:
        self.settings = settings
        self._closed = False
        self._states = threading.Lock()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="journal-read")

    @classmethod
    async def open(cls, path: Path, settings: JournalSettings | None = None) -> Journal:
        """Open (or create) the journal: the file `path`, or the database that `settings.url` names."""
        settings = settings or JournalSettings()
        if settings.url is not None:
            try:
                from gateway.journal.postgres import PostgresJournal
            except ImportError as e:
                raise ConfigurationFault(
                    "journal.url needs the extra postgres: pip install 'segur-gateway[postgres]'"
                ) from e

            return await asyncio.to_thread(PostgresJournal, settings)
        from gateway.journal.sqlite import SqliteJournal

        return await asyncio.to_thread(SqliteJournal, path, settings)

    async def write(
        self, operation: Callable[[Session], T], within: float | None = None, *, leave: bool = False
    ) -> T:
        """Run `operation(session)` in a writer thread; return its result once committed and on stable storage.

        Raises what the operation raises, or `JournalUnavailable`. `within`: seconds after which it is withdrawn if its
        commit has not begun (`JournalLate`: it did not happen and will not). A commit that has begun is waited for,
        for its outcome must be known; with `leave` it is left to itself (`JournalLate`: it may happen).
        """
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        if self._waiting() >= MAX_WAITING:
            raise JournalLate("too many writes wait")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = Job(operation, future, loop)
        self._submit(job)
        if within is not None and within < math.inf:
            done, _waiting = await asyncio.wait((future,), timeout=max(0.0, within))
            if not done and (self._withdraw(job) or leave):
                job.operation = None  # not run again either
                future.add_done_callback(lambda f: f.cancelled() or f.exception())
                raise JournalLate("no commit in time")
        # shielded: a caller that is cancelled must not make the commit's result fail
        return await asyncio.shield(future)

    async def read(self, operation: Callable[[Session], T], within: float | None = None) -> T:
        """Run a read-only `operation(session)` beside the writers; sees everything committed before the
        call, and one state of it. `JournalLate` after `within` seconds.
        """
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self._read, operation)
        if within is None or within == math.inf:
            return await reading
        try:
            async with asyncio.timeout(max(0.0, within)):
                return await reading
        except TimeoutError:
            raise JournalLate("no answer in time") from None

    @property
    @abstractmethod
    def stalled_for(self) -> float:
        """Seconds since a writer began the commit that it is at; 0 when all wait for work."""

    async def aside(self, operation: Callable[[Session], T]) -> T:
        """As `write`, but before everything that waits; of effects that may be lost with the power (signs of life)."""
        return await self.write(operation)

    def renew(self) -> None:
        """Become another node: the old one was buried. Only of a shared journal."""
        raise NotImplementedError

    async def copy_back(self) -> None:
        """After megabytes of one message: what may be done beside the writers, so that no commit finds it to do."""
        return

    @abstractmethod
    async def close(self) -> None:
        """Finish the writes under way, release everything."""

    # --- for the databases ----------------------------------------------------------------------------------

    @abstractmethod
    def _submit(self, job: Job) -> None:
        """Give the job to a writer thread, which gives its `Done` to `give_back`."""

    @abstractmethod
    def _waiting(self) -> int:
        """How many jobs wait for a writer."""

    @abstractmethod
    def _read(self, operation: Callable[[Session], T]) -> T:
        """Run a read in the thread that calls."""

    def _withdraw(self, job: Job) -> bool:
        """Make sure that a job will not happen; False when it is too late for that."""
        with self._states:
            if job.state is not State.WAITING:
                return False
            job.state = State.WITHDRAWN
            job.operation = None  # it may hold a document
            return True

    def _committing(self, jobs: Iterable[Job]) -> bool:
        """Pass the point of no withdrawal; False when one of them was withdrawn before it."""
        with self._states:
            if any(job.state is State.WITHDRAWN for job in jobs):
                return False
            for job in jobs:
                job.state = State.COMMITTING
            return True


def give_back(done: Iterable[Done]) -> None:
    """Give results, from any thread, to those who wait."""
    loops: dict[asyncio.AbstractEventLoop, list[Done]] = {}
    for item in done:
        loops.setdefault(item[0].loop, []).append(item)
    for loop, items in loops.items():
        try:
            loop.call_soon_threadsafe(_settle, items)
        except RuntimeError:  # the loop is closed: nobody waits any more, the commit stands
            log.warning("journal: %d results have no reader", len(items))


def _settle(items: list[Done]) -> None:
    for job, result, error in items:
        if job.future.cancelled() or job.state is State.WITHDRAWN:
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)
