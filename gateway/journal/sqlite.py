"""The journal in one SQLite file: every write goes through one thread, in group commits; readers stand beside it.

Purpose: durable and fast on one file. Operations that wait together share one fsync'd commit, each in its own
savepoint.

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
import os
import queue
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool, StaticPool
from sqlmodel import Session, SQLModel, create_engine

import gateway.journal.access_models  # noqa: F401 - its tables
from gateway.errors import ConfigurationFault, JournalUnavailable
from gateway.journal.migrations import migrate
from gateway.journal.models import SCHEMA_VERSION
from gateway.journal.store import READERS, Done, Job, Journal, give_back
from gateway.settings import JournalSettings

T = TypeVar("T")
log = logging.getLogger("gateway.journal")

MAX_GROUP = 64
"""Operations in one commit at most: bounds how long the first one waits for the last."""


class SqliteJournal(Journal):
    """One open file."""

    shared = False

    def __init__(self, path: Path, settings: JournalSettings) -> None:
        super().__init__(settings)
        self.path = path
        self.node = uuid.uuid4().hex
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._busy_since: float | None = None
        self._info = {"node": self.node}
        self._lock_fd = _exclusive_lock(path)
        self._write_engine = self._engine(StaticPool)
        self._read_engine = self._engine(QueuePool, pool_size=READERS, max_overflow=0)
        self._prepare_schema()
        self._thread = threading.Thread(target=self._run, name="journal-write", daemon=True)
        self._thread.start()

    @property
    def stalled_for(self) -> float:
        """Seconds since the writer began the commit that it is at; 0 when it waits for work."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

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
        await asyncio.to_thread(self.shut)

    def shut(self) -> None:
        """As `close`, without an event loop."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()
        self._dispose()

    # --- inside ---------------------------------------------------------------------------------------------

    def _submit(self, job: Job) -> None:
        self._queue.put(job)

    def _waiting(self) -> int:
        return self._queue.qsize()

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
                f"synchronous = {self.settings.synchronous}",
                f"busy_timeout = {self.settings.busy_timeout_ms}",
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
            if version > SCHEMA_VERSION or (version == 0 and not empty):
                raise ConfigurationFault(
                    f"{self.path.name}: schema version {version}, this gateway needs {SCHEMA_VERSION}"
                )
            if 0 < version < SCHEMA_VERSION:
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
        with Session(self._read_engine, autoflush=False, info=self._info) as session:
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
            group: list[Job] = []
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
                give_back(self._commit(group))
                self._busy_since = None

    def _commit(self, group: list[Job]) -> list[Done]:
        """One commit of what was not withdrawn; what each job came to."""
        while True:
            done: list[Done] = []
            try:
                with Session(
                    self._write_engine, autoflush=False, expire_on_commit=False, info=self._info
                ) as session:
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
