"""The facts of the indicators as a process reads them that does nothing else: number, instant, JSON.

Purpose: what the indicators' worker folds, from the journal's file or its database, beside gateways at work. Apart from
`gateway.journal.facts`, so that the worker imports neither SQLModel nor the settings: it starts in a fraction of a
second.

Guarantee: one state of the journal, in batches; nothing is written. `Seen` says exactly which facts a reading had:
PostgreSQL gives numbers before they are committed, so a number below the newest may come later (`holes`). Reading
`Seen` again gives the same facts, for facts are never changed nor deleted.

Fails: `EnvironmentFault` when there is no journal, or its database does not answer.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.errors import EnvironmentFault

BATCH = 2_000
MAX_HOLES = 2_000
"""The newest ones are kept: older numbers were given back by transactions that failed, and never come."""
Hole = tuple[int, int]
"""First and last number that were not there."""
_ALL = 2**31 - 1
_AFTER = (
    "SELECT id, at, body FROM indicator_fact"
    " WHERE id > ? AND id <= ? AND (? IS NULL OR known_at <= ?) ORDER BY id LIMIT ?"
)

_OF_POSTGRES = """
SELECT id, at, body FROM (
  SELECT id, at, known_at, body FROM indicator_fact WHERE id > %(last)s AND id <= %(newest)s
  UNION ALL
  SELECT found.* FROM unnest(%(first)s::int[], %(end)s::int[]) AS hole (first, last)
   CROSS JOIN LATERAL (SELECT id, at, known_at, body FROM indicator_fact
                        WHERE id BETWEEN hole.first AND hole.last AND id <= %(newest)s) AS found
) AS facts
 WHERE %(as_of)s::float8 IS NULL OR known_at <= %(as_of)s
 ORDER BY id"""


@dataclass(frozen=True, slots=True)
class Seen:
    """Which facts a reading had: those up to `last`, but for `holes`."""

    last: int = 0
    holes: tuple[Hole, ...] = ()

    def has(self, number: int) -> bool:
        """True when the fact of that number was read."""
        return number <= self.last and not any(first <= number <= last for first, last in self.holes)

    def as_json(self) -> dict[str, Any]:
        """For the journal, and for the wire."""
        return {"last": self.last, "holes": [list(hole) for hole in self.holes]}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Seen:
        """Back again."""
        return cls(told["last"], tuple((first, last) for first, last in told["holes"]))


@dataclass(frozen=True, slots=True)
class Source:
    """Where the facts are: the journal's file, or its database."""

    path: Path | None = None
    url: str | None = None
    password_file: Path | None = None


class Reader:
    """One reading. After it, `seen` says what was read."""

    def __init__(self, source: Source, after: Seen | None = None, until: Seen | None = None) -> None:
        """`after`: only what that reading did not have. `until`: only what that one had."""
        self._source = source
        self._after = after or Seen()
        self._until = until
        self.seen = until or self._after

    def rows(self, as_of: float | None = None) -> Iterator[tuple[float, str]]:
        """(instant, JSON) of each fact, in the order of arrival; `as_of`: of those known then."""
        wanted = _rows_of(self._source, self._after, self._until.last if self._until else _ALL, as_of)
        if self._until is not None:
            until = self._until
            for number, at, body in wanted:
                if not until.holes or until.has(number):
                    yield at, body
            return
        known, holes = self._after, list(self._after.holes)
        last = known.last
        found: list[int] = []
        for number, at, body in wanted:
            if number <= known.last:
                found.append(number)  # a hole that was filled
            else:
                if number != last + 1:
                    holes.append((last + 1, number - 1))
                last = number
            yield at, body
        if as_of is None:
            for number in found:
                holes = _without(holes, number)
            self.seen = Seen(last, tuple(holes[-MAX_HOLES:]))


def _without(holes: list[Hole], number: int) -> list[Hole]:
    kept: list[Hole] = []
    for first, last in holes:
        if first <= number <= last:
            kept += [h for h in ((first, number - 1), (number + 1, last)) if h[0] <= h[1]]
        else:
            kept.append((first, last))
    return kept


def _rows_of(
    source: Source, after: Seen, newest: int, as_of: float | None
) -> Iterator[tuple[int, float, str]]:
    return (
        _of_postgres(source, after, newest, as_of)
        if source.url is not None
        else _of_sqlite(source, after, newest, as_of)
    )


def _of_sqlite(
    source: Source, after: Seen, newest: int, as_of: float | None
) -> Iterator[tuple[int, float, str]]:
    # one writer: numbers come in the order of commits, no hole is ever filled
    path = source.path
    if path is None or not path.is_file():
        raise EnvironmentFault("the journal: there is no such file")
    try:
        # not mode=ro: the WAL's index may have to be made
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=30)) as db:
            db.execute("PRAGMA query_only = ON")
            last = after.last
            newest = min(newest, db.execute("SELECT coalesce(max(id), 0) FROM indicator_fact").fetchone()[0])
            while True:
                # a read for each batch: a long one would keep the WAL from being copied back
                rows = db.execute(_AFTER, (last, newest, as_of, as_of, BATCH)).fetchall()
                yield from rows
                if len(rows) < BATCH:
                    return
                last = rows[-1][0]
    except sqlite3.Error as e:
        raise EnvironmentFault(f"the journal: {type(e).__name__}") from e


def _of_postgres(
    source: Source, after: Seen, newest: int, as_of: float | None
) -> Iterator[tuple[int, float, str]]:
    import psycopg

    secret: dict[str, Any] = {}
    try:
        if source.password_file is not None:
            secret["password"] = source.password_file.read_text(encoding="utf-8").strip()
        with psycopg.connect(
            source.url or "", application_name="segur-gateway indicators", connect_timeout=5, **secret
        ) as connection:
            # one state of the database: a fact that is committed meanwhile is for the next reading
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.cursor("facts", binary=True) as cursor:
                cursor.itersize = BATCH
                cursor.execute(
                    _OF_POSTGRES,
                    {
                        "newest": newest,
                        "last": after.last,
                        "first": [hole[0] for hole in after.holes],
                        "end": [hole[1] for hole in after.holes],
                        "as_of": as_of,
                    },
                )
                yield from cursor
    except psycopg.Error as e:
        raise EnvironmentFault(f"the database: {type(e).__name__} {e.sqlstate or ''}".strip()) from e
    except OSError as e:
        raise EnvironmentFault(f"the database: {e.strerror}") from e
