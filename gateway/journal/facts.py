"""The facts of the indicators in the journal: written once, never changed; read as a stream.

Purpose: `add` writes facts in the transaction that it is part of (that of a delivery's end, of an ACK, of an import);
`iter_facts` gives them to whoever computes, in any process, by the journal's file or URL.

Guarantee: idempotent on `fact_id`: the same content again is a no-op, another content is a conflict, told and never
written. Nothing here commits, nothing is ever changed or deleted. `iter_facts` reads one state of the journal, up to
the newest fact when it began; what it holds is a batch, whatever the number of facts.

Fails: `ConfigurationFault` from `iter_facts` when there is no journal to read. Conflicts are values, not exceptions.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlmodel import Session, col

from gateway.errors import ConfigurationFault
from gateway.journal.fact_models import IndicatorFact
from gateway.journal.maintenance import Place, read_only
from gateway.journal.sql import QUERIES, insert_many, lock, run
from indicators.facts import Fact, told

Source = Literal["exchange", "adt", "mail", "dmp", "event", "import"]
"""Where a fact came from: deliveries, the ADT feed, received mails, DMP consultations through our own API, events of
the DPI, imports."""
BATCH = 5_000


@dataclass(frozen=True, slots=True)
class NewFact:
    """A row to write."""

    fact_id: str
    digest: str
    fact: str
    finess: str
    at: float
    known_at: float
    source: Source
    body: str = field(repr=False)
    former: str = ""
    """Digest of what was told, when something of it is hidden in what is kept: facts that were written before it was
    hidden have it."""

    def is_told(self, digest: str) -> bool:
        """A fact of its id with this digest is the same fact."""
        return digest in (self.digest, self.former)


@dataclass(slots=True)
class Added:
    """What became of some facts."""

    new: int = 0
    same: int = 0
    """Known already, with the same content."""
    conflicts: list[int] = field(default_factory=list)
    """Numbers (from 0) of those whose `fact_id` is known with another content: not written."""
    fresh: list[int] = field(default_factory=list)
    """Numbers of those that were written (`add_many`)."""


def row(fact: Fact, source: Source) -> NewFact:
    """A checked fact as it is kept. `known_at` is the fact's own, else its `at`."""
    at = fact["at"].timestamp()
    known_at = fact.get("known_at")
    said, body = told(fact)
    return NewFact(
        # PostgreSQL has no NUL in a text; the same everywhere, so that an id is found again
        fact_id=fact["fact_id"].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        digest=said,
        fact=fact["fact"],
        finess=fact["finess"],
        at=at,
        known_at=at if known_at is None else known_at.timestamp(),
        source=source,
        body=body,
    )


def add(session: Session, facts: Iterable[NewFact]) -> Added:
    """Write a few facts, one by one: for the commits of exchanges."""
    added = Added()
    # by id: two nodes with the same facts in two orders would wait for each other
    for number, new in sorted(enumerate(facts), key=lambda one: one[1].fact_id):
        if run(session, "insert_indicator_fact", **_parameters(new)).rowcount == 1:
            added.new += 1
        elif new.is_told(run(session, "digest_of_fact", fact_id=new.fact_id).scalar_one()):
            added.same += 1
        else:
            added.conflicts.append(number)
    return added


def known(session: Session, fact_ids: Sequence[str]) -> dict[str, str]:
    """Which of these ids are there: id → digest."""
    table = IndicatorFact
    rows = session.execute(
        select(col(table.fact_id), col(table.digest)).where(col(table.fact_id).in_(fact_ids))
    )
    return {r[0]: r[1] for r in rows}


def add_many(session: Session, facts: Sequence[NewFact], *, whole: bool = True) -> Added:
    """Write some hundreds of facts in a few statements: for imports and events. Facts of one id in the list itself are
    compared too. `whole`: with any conflict, nothing is written.
    """
    lock(session, "indicator facts of others")
    while True:
        added = _compared(facts, known(session, [new.fact_id for new in facts]))
        if whole and added.conflicts:
            added.fresh = []
        if not added.fresh:
            return added
        written = session.begin_nested()
        rows = [_parameters(facts[number]) for number in added.fresh]
        if insert_many(session, "insert_indicator_fact", rows) == len(rows):
            written.commit()
            added.new = len(rows)
            return added
        # an exchange of another node told one of them meanwhile; its commit was waited for: now it is known
        written.rollback()


def _compared(facts: Sequence[NewFact], digests: dict[str, str]) -> Added:
    """What is new, the same or a conflict, of what is known and of the list itself."""
    added = Added()
    for number, new in enumerate(facts):
        told = digests.get(new.fact_id)
        if told is None:
            digests[new.fact_id] = new.digest
            added.fresh.append(number)
        elif new.is_told(told):
            added.same += 1
        else:
            added.conflicts.append(number)
    return added


def _parameters(new: NewFact) -> dict[str, object]:
    return {
        "fact_id": new.fact_id,
        "digest": new.digest,
        "fact": new.fact,
        "finess": new.finess,
        "at": new.at,
        "known_at": new.known_at,
        "source": new.source,
        "body": new.body,
    }


def newest(session: Session) -> int:
    """Number of the newest fact, 0 without any: unchanged as long as nothing new is known."""
    number: int = run(session, "newest_indicator_fact").scalar_one()
    return number


@dataclass(frozen=True, slots=True)
class Kind:
    """How many facts of one kind there are."""

    finess: str
    fact: str
    source: str
    number: int
    last: float
    """When the last one was known."""


def by_kind(session: Session) -> list[Kind]:
    """What there is, for people. Reads them all."""
    rows = run(session, "indicator_facts_by_kind")
    return [Kind(r.finess, r.fact, r.source, r.number, r.last) for r in rows]


# --- the secret of patients' keys -------------------------------------------------------------------------------------


def keep_secret(session: Session, secret: bytes, fingerprint: str) -> tuple[bytes, str]:
    """Keep the secret (or, when it is in a file, its fingerprint alone) unless there is one; (secret, fingerprint) that
    is kept, whoever kept it first.
    """
    run(session, "insert_indicator_secret", secret=secret, fingerprint=fingerprint)
    kept = run(session, "indicator_secret").one()
    return bytes(kept.secret), str(kept.fingerprint)


# --- reading as a stream ----------------------------------------------------------------------------------------------


def iter_facts(place: Place, as_of: datetime | None = None, *, newest: int | None = None) -> Iterator[str]:
    """The JSON of every fact (a line of docs/schemas/facts.schema.json), in the order of arrival; in any process,
    beside gateways at work. `as_of`: only those known then. `newest`: up to that number (`facts.newest`; None: all).

        for body in iter_facts(Place(base_dir / settings.journal.path, settings.journal.at(base_dir))):
            world.add(indicators.facts.read(body))
    """
    limit = math.inf if as_of is None else as_of.timestamp()
    if place.settings.url is not None:
        return _from_postgres(place, limit, newest)
    return _from_sqlite(place, limit, newest)


def _from_sqlite(place: Place, as_of: float, newest: int | None) -> Iterator[str]:
    if not place.path.is_file():
        raise ConfigurationFault(f"{place.path}: there is no journal")
    try:
        with closing(read_only(place.path)) as db:
            last = 0
            if newest is None:
                newest = db.execute(QUERIES["newest_indicator_fact"]).fetchone()[0]
            while True:
                # a read for each batch: one of minutes would keep the WAL from being copied back
                rows = db.execute(
                    QUERIES["indicator_facts_after"],
                    {"last": last, "newest": newest, "as_of": as_of, "limit": BATCH},
                ).fetchall()
                for _id, body in rows:
                    yield body
                if len(rows) < BATCH:
                    return
                last = rows[-1][0]
    except sqlite3.Error as e:
        raise ConfigurationFault(f"{place.path.name}: {e}") from e


def _from_postgres(place: Place, as_of: float, newest: int | None) -> Iterator[str]:
    import psycopg

    from gateway.journal.postgres import password_of

    try:
        with psycopg.connect(
            place.settings.url or "",
            application_name="segur-gateway facts",
            connect_timeout=5,
            **password_of(place.settings),
        ) as connection:
            # numbers are given before they are committed: one state of the database, not one number, is the limit
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.cursor("facts") as cursor:
                cursor.itersize = BATCH
                cursor.execute(
                    "SELECT body FROM indicator_fact WHERE known_at <= %s AND id <= %s ORDER BY id",
                    (as_of, 2**31 - 1 if newest is None else newest),
                )
                for (body,) in cursor:
                    yield body
    except psycopg.Error as e:
        raise ConfigurationFault(f"the database: {type(e).__name__} {e.sqlstate or ''}".strip()) from e
