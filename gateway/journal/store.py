"""The journal's door: every write goes through one thread, in group commits; readers stand beside it.

Purpose: durable and fast on one file. Operations are plain functions of a synchronous SQLModel session;
those that wait together share one fsync'd commit, each in its own savepoint.

Guarantee: when `write` returns, its effects are on stable storage (WAL, synchronous=FULL). An operation that
raises leaves nothing behind and does not disturb the others of its commit. One process per journal (an
exclusive lock on `<journal>.lock`).

Fails: `JournalUnavailable` when the commit itself fails (disk full, file locked, journal closed): then none
of the operations of that commit happened. `JournalLate` when a write that has only so much time is still waiting
(for the file, for the disk, behind others): it is withdrawn and will not happen.
`ConfigurationFault` at opening (lock held, other schema version).
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool
from sqlmodel import Session, SQLModel, create_engine

from gateway.errors import ConfigurationFault, JournalLate, JournalUnavailable
from gateway.journal.migrations import migrate
from gateway.journal.models import SCHEMA_VERSION, UPGRADABLE
from gateway.settings import JournalSettings

T = TypeVar("T")
log = logging.getLogger("gateway.journal")

MAX_GROUP = 64
"""Operations in one commit at most: bounds how long the first one waits for the last."""
READERS = 4


MAX_WAITING = 2_000
"""Writes that wait for the writer: more are refused at once (a connection and a delivery have one each)."""


class _State(Enum):
    WAITING = auto()
    COMMITTING = auto()
    """Its commit was given to the disk: it can no longer be withdrawn."""
    WITHDRAWN = auto()


@dataclass(slots=True)
class _Job:
    operation: Callable[[Session], Any] | None
    future: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    state: _State = _State.WAITING


class Journal:
    """One open journal. Create with `await Journal.open(...)`; close with `await journal.close()`."""

    def __init__(self, path: Path, settings: JournalSettings) -> None:
        self.path = path
        self._settings = settings
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._states = threading.Lock()
        self._busy_since: float | None = None
        self._lock_fd = _exclusive_lock(path)
        self._write_engine = self._engine(StaticPool)
        self._read_engine = self._engine(QueuePool, pool_size=READERS, max_overflow=0)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="journal-read")
        self._prepare_schema()
        self._thread = threading.Thread(target=self._run, name="journal-write", daemon=True)
        self._thread.start()

    @classmethod
    async def open(cls, path: Path, settings: JournalSettings | None = None) -> Journal:
        """Open (or create) the journal at `path`."""
        settings = settings or JournalSettings()
        return await asyncio.to_thread(cls, path, settings)

    async def write(
        self, operation: Callable[[Session], T], within: float | None = None, *, leave: bool = False
    ) -> T:
        """Run `operation(session)` in the writer thread; return its result once committed and fsync'd.

        Raises what the operation raises, or `JournalUnavailable`. `within`: seconds after which it is withdrawn if its
        commit has not begun (`JournalLate`: it did not happen and will not). A commit that has begun is waited for,
        for its outcome must be known; with `leave` it is left to itself (`JournalLate`: it may happen).
        """
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        if self._queue.qsize() >= MAX_WAITING:
            raise JournalLate("too many writes wait")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        job = _Job(operation, future, loop)
        self._queue.put(job)
        if within is not None and within < math.inf:
            done, _waiting = await asyncio.wait((future,), timeout=max(0.0, within))
            if not done and (self._withdraw(job) or leave):
                future.add_done_callback(lambda f: f.cancelled() or f.exception())
                raise JournalLate("no commit in time")
        # shielded: a caller that is cancelled must not make the commit's result fail
        return await asyncio.shield(future)

    @property
    def stalled_for(self) -> float:
        """Seconds since the writer began the commit that it is at; 0 when it waits for work."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    async def read(self, operation: Callable[[Session], T], within: float | None = None) -> T:
        """Run a read-only `operation(session)` beside the writer; sees everything committed before the
        call. `JournalLate` after `within` seconds.
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

    async def copy_back(self) -> None:
        """Copy the WAL into the file beside the writer, as far as readers allow: after megabytes of one message, so
        that no commit finds them all to copy (100 ms for 16 MB). A fault is the next commit's to tell.
        """
        if not self._closed:
            await asyncio.get_running_loop().run_in_executor(self._readers, self._copy_back)

    async def close(self) -> None:
        """Finish the writes under way, checkpoint, release the lock."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.to_thread(self._dispose)

    # --- inside ---------------------------------------------------------------------------------------------

    def _engine(self, pool: type[Any], **kwargs: Any) -> Engine:
        # hide_parameters: the texts of SQLAlchemy's exceptions and logs would carry what was being written
        engine = create_engine(
            f"sqlite:///{self.path}",
            poolclass=pool,
            connect_args={"check_same_thread": False},
            hide_parameters=True,
            **kwargs,
        )

        @event.listens_for(engine, "connect")
        def _pragmas(connection: sqlite3.Connection, _record: object) -> None:
            # transactions are ours: the driver must not open or close any by itself (savepoints would break)
            connection.isolation_level = None
            for pragma in (
                "page_size = 16384",
                "journal_mode = WAL",
                f"synchronous = {self._settings.synchronous}",
                f"busy_timeout = {self._settings.busy_timeout_ms}",
                "foreign_keys = ON",
                "temp_store = MEMORY",
            ):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if pool is StaticPool else "BEGIN")

        return engine

    def _prepare_schema(self) -> None:
        try:
            with self._write_engine.connect() as c:
                version = c.exec_driver_sql("PRAGMA user_version").scalar_one()
                empty = c.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0
                c.rollback()
            if version not in (0, SCHEMA_VERSION, *UPGRADABLE) or (version == 0 and not empty):
                raise ConfigurationFault(
                    f"{self.path.name}: schema version {version}, this gateway needs {SCHEMA_VERSION}"
                )
            if version in UPGRADABLE:
                migrate(self.path, version)
            with self._write_engine.begin() as c:
                SQLModel.metadata.create_all(c)
                c.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION:d}")
        except (DBAPIError, ConfigurationFault) as e:
            self._dispose()
            if isinstance(e, ConfigurationFault):
                raise
            raise ConfigurationFault(f"{self.path.name}: {e.orig}") from e

    def _read(self, operation: Callable[[Session], T]) -> T:
        with Session(self._read_engine, autoflush=False) as session:
            return operation(session)

    def _copy_back(self) -> None:
        try:
            with self._read_engine.connect() as connection:
                driver = connection.connection.driver_connection
                assert driver is not None
                # not in a transaction of ours: it would keep the WAL from being copied
                driver.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except (DBAPIError, sqlite3.Error) as e:
            log.warning("journal: nothing copied back: %s", type(e).__name__)

    def _run(self) -> None:
        """The writer thread: take all that waits, one transaction, one commit."""
        stop = False
        while not stop:
            job = self._queue.get()
            group: list[_Job] = []
            while True:
                if job is None:
                    stop = True
                else:
                    group.append(job)
                if len(group) >= MAX_GROUP:
                    break
                try:
                    job = self._queue.get_nowait()
                except queue.Empty:
                    break
            if group:
                self._busy_since = time.monotonic()
                self._settle_all(self._commit(group))
                self._busy_since = None

    def _withdraw(self, job: _Job) -> bool:
        """Make sure that a job will not happen; False when it is too late for that."""
        with self._states:
            if job.state is not _State.WAITING:
                return False
            job.state = _State.WITHDRAWN
            job.operation = None  # it may hold a document
            return True

    def _commit(self, group: list[_Job]) -> list[tuple[_Job, Any, BaseException | None]]:
        """One commit of what was not withdrawn; what each job came to."""
        while True:
            done: list[tuple[_Job, Any, BaseException | None]] = []
            try:
                with Session(self._write_engine, autoflush=False, expire_on_commit=False) as session:
                    session.execute(text("SELECT 1"))  # opens the transaction (BEGIN IMMEDIATE)
                    for job in group:
                        operation = job.operation
                        if operation is not None:
                            done.append((job, *_apply(session, operation)))
                    if not self._committing([job for job, _result, _error in done]):
                        continue  # one was withdrawn after it was applied: all again, without it
                    session.commit()
                    return done
            except Exception as e:
                # whatever it is, nobody may be left waiting and the thread must go on
                log.error("journal commit failed: %s", type(e).__name__)
                fault = JournalUnavailable(f"the journal could not commit ({type(e).__name__})")
                return [(job, None, fault) for job in group]

    def _committing(self, jobs: list[_Job]) -> bool:
        """Pass the point of no withdrawal; False when one of them was withdrawn before it."""
        with self._states:
            if any(job.state is _State.WITHDRAWN for job in jobs):
                return False
            for job in jobs:
                job.state = _State.COMMITTING
            return True

    def _settle_all(self, done: list[tuple[_Job, Any, BaseException | None]]) -> None:
        """Give the results back to those who wait."""
        loops: dict[asyncio.AbstractEventLoop, list[tuple[_Job, Any, BaseException | None]]] = {}
        for item in done:
            loops.setdefault(item[0].loop, []).append(item)
        for loop, items in loops.items():
            try:
                loop.call_soon_threadsafe(_settle, items)
            except RuntimeError:  # the loop is closed: nobody waits any more, the commit stands
                log.warning("journal: %d results have no reader", len(items))

    def _dispose(self) -> None:
        self._readers.shutdown()
        self._write_engine.dispose()
        self._read_engine.dispose()
        os.close(self._lock_fd)


def _apply(session: Session, operation: Callable[[Session], Any]) -> tuple[Any, BaseException | None]:
    """One operation in its savepoint. A database error of the whole connection is raised to the group."""
    savepoint = session.begin_nested()
    try:
        result = operation(session)
        savepoint.commit()
    except DBAPIError as e:
        # a constraint concerns this operation alone; anything else (disk full, I/O error) concerns them all
        if not isinstance(e.orig, sqlite3.IntegrityError):
            raise
        savepoint.rollback()
        return None, e
    except BaseException as e:
        savepoint.rollback()
        return None, e
    return result, None


def _settle(items: list[tuple[_Job, Any, BaseException | None]]) -> None:
    for job, result, error in items:
        if job.future.cancelled() or job.state is _State.WITHDRAWN:
            continue
        if error is None:
            job.future.set_result(result)
        else:
            job.future.set_exception(error)


def _exclusive_lock(path: Path) -> int:
    """A lock that dies with the process; the file descriptor to close."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # patients' documents: the file (and the WAL that SQLite makes after it) is its owner's alone
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        fd = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as e:
        raise ConfigurationFault(f"journal folder of {path.name}: {e.strerror}") from e
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        raise ConfigurationFault(f"{path.name} is in use by another gateway process") from e
    return fd
