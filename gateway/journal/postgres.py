"""The journal in one PostgreSQL database, for several gateway processes at once.

Purpose: the same operations as on SQLite, in synchronous sessions of a small pool of threads. The server groups commits
by itself. What one writer excludes by construction is excluded by locks: `sql.lock` and the row locks of `queries.sql`
(docs/decisions/0027).

Guarantee: when `write` returns, its effects are on the server's stable storage (`synchronous_commit` is never off for
us). An operation that met a deadlock, or lost its connection before its commit, is run again. Each transaction leaves a
mark in a row of its thread; when the connection is lost in the commit itself, the mark tells what became of it before
anything is said of it (a transaction id would not do: a server that crashed may give the same one again).

Fails: `JournalUnavailable` when the operation did not happen (server away, disk full); `ConfigurationFault` at opening
(no database, wrong password, other schema version). No text of ours quotes a value of a row.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg import pq
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session

from gateway.errors import ConfigurationFault, JournalUnavailable
from gateway.journal.postgres_schema import prepare_schema
from gateway.journal.store import READERS, Done, Job, Journal, State, give_back
from gateway.settings import JournalSettings

T = TypeVar("T")
log = logging.getLogger("gateway.journal")

TRIES = 6
"""Runs of one operation: deadlocks, connections that were cut."""
FATE_PAUSE = 0.2
"""Seconds between two questions of what became of a commit, while the server is away."""
_SESSION = {
    # a node that hangs in the middle of a transaction gives its locks back
    "idle_in_transaction_session_timeout": "10s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
    "jit": "off",
}
_WRITING = {
    # the plans that CROSS JOIN and the indexes are written for, whatever the statistics say of a new database
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "join_collapse_limit": "1",
}
_CONNECT: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "application_name": "segur-gateway",
}
_OUR_OWN = (psycopg.DataError, psycopg.IntegrityError, psycopg.ProgrammingError, psycopg.NotSupportedError)
"""What concerns one operation (data, constraint, statement); anything else is the server's state."""
_AGAIN = ("40001", "40P01")


_WRITE_MARK = """
INSERT INTO writer (process, thread, done, at) VALUES (%(process)s, %(thread)s, %(done)s, %(now)s)
ON CONFLICT (process, thread) DO UPDATE SET done = excluded.done, at = excluded.at"""
_READ_MARK = """
INSERT INTO writer (process, thread, done, at) VALUES (%(process)s, %(thread)s, 0, %(now)s)
ON CONFLICT (process, thread) DO UPDATE SET at = excluded.at RETURNING done"""
"""A write, for it waits for a server process that is still at the commit: of a thread's first transaction a read,
FOR UPDATE too, would see no row yet."""


@dataclass(slots=True)
class _Mark:
    """Which transaction of which thread of this process."""

    thread: int
    done: int = 0


class _BinaryCursor(psycopg.Cursor[Any]):
    """Results in binary: documents are not doubled to hexadecimal on their way."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.format = pq.Format.BINARY


class PostgresJournal(Journal):
    """One gateway process's place in the database. `settings.password_file`, if relative, is to the working folder."""

    shared = True

    def __init__(self, settings: JournalSettings) -> None:
        super().__init__(settings)
        self.node = self._process = uuid.uuid4().hex
        self._write_engine = make_engine(settings, settings.writers + 1, reading=False)
        self._read_engine = make_engine(settings, READERS, reading=True)
        self._writers = ThreadPoolExecutor(settings.writers, thread_name_prefix="journal-write")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="journal-aside")
        self._counts = threading.Lock()
        self._queued = 0
        self._begun: dict[Job, float] = {}
        self._thread = threading.local()
        self._numbers = itertools.count()
        try:
            prepare_schema(self._write_engine)
            self._connect_all()
        except ConfigurationFault:
            self._dispose()
            raise
        except DBAPIError as e:
            self._dispose()
            raise ConfigurationFault(f"journal.url: {_first_line(e.orig)}") from None

    @property
    def stalled_for(self) -> float:
        """Seconds since the longest operation under way began."""
        with self._counts:
            oldest = min(self._begun.values(), default=None)
        return 0.0 if oldest is None else time.monotonic() - oldest

    async def aside(self, operation: Callable[[Session], T]) -> T:
        """A write in a thread of its own, whose commit does not wait for the disk."""
        if self._closed:
            raise JournalUnavailable("the journal is closed")
        loop = asyncio.get_running_loop()

        def light(session: Session) -> T:
            session.connection().exec_driver_sql("SET LOCAL synchronous_commit = off")
            return operation(session)

        job = Job(light, loop.create_future(), loop)
        with self._counts:
            self._queued += 1
        self._aside.submit(self._perform, job)
        result: T = await asyncio.shield(job.future)
        return result

    def renew(self) -> None:
        """A new token for all that is begun from now on."""
        self.node = uuid.uuid4().hex

    async def close(self) -> None:
        """Finish the writes under way, close the connections."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._dispose)

    # --- inside ---------------------------------------------------------------------------------------------

    def _connect_all(self) -> None:
        """The first messages do not wait for connections."""
        for engine, size in ((self._write_engine, self.settings.writers + 1), (self._read_engine, READERS)):
            with contextlib.ExitStack() as opened:
                for _ in range(size):
                    opened.enter_context(engine.connect())

    def _submit(self, job: Job) -> None:
        with self._counts:
            self._queued += 1
        self._writers.submit(self._perform, job)

    def _waiting(self) -> int:
        return self._queued

    def _read(self, operation: Callable[[Session], T]) -> T:
        for left in reversed(range(TRIES)):
            try:
                with self._session(self._read_engine) as session:
                    return operation(session)
            except DBAPIError as e:
                if not (left and _may_run_again(e)):
                    raise _told(e) from None
        raise AssertionError("unreachable")

    def _session(self, engine: Engine) -> Session:
        return Session(engine, autoflush=False, expire_on_commit=False, info={"node": self.node})

    def _perform(self, job: Job) -> None:
        """In a writer thread: one operation to its end."""
        with self._counts:
            self._queued -= 1
            self._begun[job] = time.monotonic()
        try:
            done = self._outcome(job)
        except Exception as e:
            # whatever it is, nobody may be left waiting
            log.error("journal write failed: %s", type(e).__name__)
            done = (job, None, JournalUnavailable(f"the journal could not commit ({type(e).__name__})"))
        finally:
            with self._counts:
                del self._begun[job]
        give_back((done,))

    def _outcome(self, job: Job) -> Done:
        for left in reversed(range(TRIES)):
            operation = job.operation
            if operation is None:
                return job, None, None  # withdrawn
            try:
                with self._session(self._write_engine) as session:
                    try:
                        result = operation(session)
                    except DBAPIError:
                        raise
                    except BaseException as e:
                        return job, None, e
                    if not self._commit(session, job):
                        return job, None, None
                    return job, result, None
            except DBAPIError as e:
                if not (left and _may_run_again(e)):
                    error = _told(e)
                    if isinstance(error, JournalUnavailable):
                        log.error("journal write failed: %s", error)
                    return job, None, error
            self._waits_again(job)
            time.sleep(random.uniform(0, 0.02))  # noqa: S311 - not a secret
        raise AssertionError("unreachable")

    def _waits_again(self, job: Job) -> None:
        with self._states:
            if job.state is State.COMMITTING:
                job.state = State.WAITING

    def _commit(self, session: Session, job: Job) -> bool:
        """Commit; False when it was withdrawn. Raises `DBAPIError` when it certainly did not happen."""
        session.flush()
        mark = self._next_mark()
        session.connection().exec_driver_sql(_WRITE_MARK, self._mark(mark) | {"now": time.time()})
        if not self._committing((job,)):
            return False
        try:
            session.commit()
        except DBAPIError as e:
            if not _gone(e):
                raise
            session.close()
            if not self._happened(mark):
                raise
        return True

    def _next_mark(self) -> _Mark:
        """The mark of the calling thread, for its next transaction."""
        mark: _Mark | None = getattr(self._thread, "mark", None)
        if mark is None:
            mark = self._thread.mark = _Mark(next(self._numbers))
        mark.done += 1
        return mark

    def _mark(self, mark: _Mark) -> dict[str, Any]:
        return {"process": self._process, "thread": mark.thread, "done": mark.done}

    def _happened(self, mark: _Mark) -> bool:
        """What became of a transaction whose commit lost its connection; waits for a server that is away."""
        log.warning("journal: connection lost in a commit, asking what became of it")
        while True:
            try:
                with self._write_engine.begin() as connection:
                    asked = self._mark(mark) | {"now": time.time()}
                    found = connection.exec_driver_sql(_READ_MARK, asked).scalar()
                return bool(found == mark.done)
            except DBAPIError:
                pass
            if self._closed:
                raise JournalUnavailable("closed before the outcome of a commit was known")
            time.sleep(FATE_PAUSE)

    def _dispose(self) -> None:
        self._writers.shutdown()
        self._aside.shutdown()
        self._readers.shutdown()
        self._write_engine.dispose()
        self._read_engine.dispose()


def make_engine(settings: JournalSettings, size: int, *, reading: bool) -> Engine:
    """At most `size` connections; `reading`: read-only, one state of the database for each transaction."""
    password = password_of(settings)
    options = _SESSION if reading else _SESSION | _WRITING

    def connect() -> psycopg.Connection[Any]:
        connection = psycopg.connect(settings.url or "", cursor_factory=_BinaryCursor, **_CONNECT, **password)
        pairs = ", ".join(f"set_config('{k}', '{v}', false)" for k, v in options.items())
        # `local` and stronger levels are the administrator's choice
        connection.execute(
            f"SELECT {pairs}, CASE WHEN current_setting('synchronous_commit') = 'off'"
            " THEN set_config('synchronous_commit', 'on', false) END"
        )
        connection.commit()
        if reading:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
        return connection

    # hide_parameters: the texts of SQLAlchemy's exceptions and logs would carry what was being written
    engine = create_engine(
        "postgresql+psycopg://",
        creator=connect,
        pool_size=size,
        max_overflow=size,  # whoever asks what became of a commit has the lost connection still
        hide_parameters=True,
        use_native_hstore=False,
    )
    event.listen(engine, "before_cursor_execute", _without_nul, retval=True)
    return engine


def _without_nul(
    _connection: Any, _cursor: Any, statement: str, parameters: Any, *_more: Any
) -> tuple[str, Any]:
    """PostgreSQL has no NUL in a text; a destination's own words may, and what stands in an address."""
    for row in parameters if isinstance(parameters, list) else (parameters,):
        if isinstance(row, dict):
            for key, value in row.items():
                if type(value) is str and "\0" in value:
                    row[key] = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return statement, parameters


def try_to_connect(settings: JournalSettings) -> str | None:
    """What keeps us from connecting, in a sentence; None: nothing."""
    try:
        with psycopg.connect(settings.url or "", **_CONNECT, **password_of(settings)):
            return None
    except psycopg.Error as e:
        return f"journal.url: {_first_line(e)}"
    except ConfigurationFault as e:
        return str(e)


def password_of(settings: JournalSettings) -> dict[str, Any]:
    """`{"password": …}` of the password file, or nothing."""
    if settings.password_file is None:
        return {}
    try:
        return {"password": settings.password_file.read_text(encoding="utf-8").strip()}
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationFault(
            f"journal.password_file: {settings.password_file.name} cannot be read"
        ) from e


def _state(error: DBAPIError) -> str:
    return getattr(error.orig, "sqlstate", None) or ""


def _gone(error: DBAPIError) -> bool:
    """The connection is: cut, or ended by the server (restart, fail-over, a limit of time)."""
    return (
        error.connection_invalidated
        or _state(error)[:2] in ("", "08")
        or _state(error)
        in (
            "57P01",
            "57P02",
            "57P05",
            "25P03",
        )
    )


def _may_run_again(error: DBAPIError) -> bool:
    """It did not happen, and another run may."""
    if _state(error) in _AGAIN:
        return True
    # a pool of dead connections after a restart of the server; a server that is away is told at once
    return _gone(error) and error.connection_invalidated


def _told(error: DBAPIError) -> Exception:
    """What the caller gets: the server's own words may quote the row (DETAIL: Failing row contains …)."""
    state = _state(error)
    name = type(error.orig).__name__
    if isinstance(error.orig, _OUR_OWN):
        words = f"{state} {error.orig.diag.constraint_name or ''}".strip()
        return type(error)(error.statement, None, type(error.orig)(words))
    return JournalUnavailable(f"the database could not commit ({name} {state})".replace(" )", ")"))


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
