"""What was found, kept across restarts: a small SQLite file of its own. I/O, blocking: called from a thread.

Guarantee: readable by its owner alone; never more than the given number of answers; an answer older than the longest
age is erased. It holds what the directory publishes of professionals and structures, nothing of a patient.
Fails: never. A file that cannot be used is made anew, else the answers stay in memory; one warning tells.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

log = logging.getLogger("connectors.mss.directory")

_TABLE = """CREATE TABLE IF NOT EXISTS answer (
    question TEXT PRIMARY KEY, asked REAL NOT NULL, entries TEXT NOT NULL
) WITHOUT ROWID"""
_INDEX = "CREATE INDEX IF NOT EXISTS answer_asked ON answer (asked)"


class Cache:
    """One per directory; may be used from any thread."""

    def __init__(
        self, path: Path | None, entries: int, longest: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._entries = entries
        self._longest = longest
        self._clock = clock
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._warned = False

    def get(self, question: str) -> tuple[dict[str, Any], float] | None:
        """(what `put` kept, its age in seconds)."""
        with self._lock:
            try:
                row = (
                    self._open()
                    .execute("SELECT asked, entries FROM answer WHERE question = ?", (question,))
                    .fetchone()
                )
                if row is None:
                    return None
                asked, text = row
                # a clock that was set back makes no answer young for ever
                age = abs(self._clock() - float(asked))
                value = json.loads(text)
            except sqlite3.Error as e:
                self._broken(e)
                return None
            except (ValueError, TypeError):
                return None
        return (value, age) if age <= self._longest and isinstance(value, dict) else None

    def put(self, question: str, value: dict[str, Any]) -> None:
        """Keep an answer, instead of a former one."""
        now = self._clock()
        with self._lock:
            try:
                with self._open() as database:
                    database.execute(
                        "INSERT OR REPLACE INTO answer VALUES (?, ?, ?)",
                        (question, now, json.dumps(value, ensure_ascii=False)),
                    )
                    database.execute("DELETE FROM answer WHERE asked < ?", (now - self._longest,))
                    (count,) = database.execute("SELECT count(*) FROM answer").fetchone()
                    if count > self._entries:
                        database.execute(
                            "DELETE FROM answer WHERE question IN (SELECT question FROM answer ORDER BY asked LIMIT ?)",
                            (count - self._entries,),
                        )
            except sqlite3.Error as e:
                self._broken(e)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._close()

    # --- the file (the lock is held) ---------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """The database; raises `sqlite3.Error` for a file that cannot be used now."""
        if self._database is None and self._path is not None:
            try:
                self._database = _connected(self._path)
            except sqlite3.OperationalError:
                # locked, or the disk is full: another time
                raise
            except (sqlite3.Error, OSError) as e:
                self._database = self._anew(self._path, e)
        if self._database is None:
            self._database = _prepared(sqlite3.connect(":memory:", check_same_thread=False))
        return self._database

    def _anew(self, path: Path, error: Exception) -> sqlite3.Connection | None:
        """A new file in place of one that cannot be opened as a database; None, and memory, when it cannot be."""
        try:
            if isinstance(error, OSError):
                raise error
            _erase(path)
            made = _connected(path)
        except (sqlite3.Error, OSError) as e:
            log.warning("directory cache: cannot be used (%s), kept in memory", type(e).__name__)
            self._path = None
            return None
        log.warning("directory cache: was no database, made anew")
        return made

    def _broken(self, error: sqlite3.Error) -> None:
        """Begin anew at the next call; a file is erased only when it is no database any more (not when it is locked,
        or the disk full)."""
        self._close()
        if not self._warned:
            log.warning("directory cache: a read or a write failed (%s)", type(error).__name__)
        self._warned = True
        if self._path is not None and not isinstance(error, sqlite3.OperationalError):
            with contextlib.suppress(OSError):
                _erase(self._path)

    def _close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()


def _connected(path: Path) -> sqlite3.Connection:
    """Raises `sqlite3.Error`, `OSError`."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # made before SQLite does, so that it is never readable by others; a file left open to others is closed to them
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    path.chmod(0o600)
    database = sqlite3.connect(path, timeout=0.2, check_same_thread=False)
    try:
        return _prepared(database)
    except sqlite3.Error:
        database.close()
        raise


def _prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    # losing the last answers in a power cut is no loss
    database.execute("PRAGMA synchronous = OFF")
    database.execute(_TABLE)
    database.execute(_INDEX)
    return database


def _erase(path: Path) -> None:
    for name in (path, path.with_name(path.name + "-journal")):
        name.unlink(missing_ok=True)
