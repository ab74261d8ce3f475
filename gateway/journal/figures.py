"""The indicators' results in the journal: months as they were computed, published ones for ever.

Purpose: keep a computed month (provisional, revision 1, or the next one when it is another), read them back, and know
whether facts came since. Beside each month: what to look at, as it is now (docs/decisions/0039).

Guarantee: a published revision is never changed nor removed. A result of older facts never takes the place of one of
newer facts, whichever process computed it. The same figures make no revision. No function commits.
Fails: as the journal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select, text, tuple_
from sqlmodel import Session, col

from gateway.journal.fact_stream import Seen
from gateway.journal.figure_models import IndicatorCheck, IndicatorMonth, IndicatorQuality
from gateway.journal.sql import lock

PROVISIONAL = 0
LOOK = 5_000
"""New facts that are looked at one by one."""


@dataclass(frozen=True, slots=True)
class Computed:
    """The figures of one establishment and month, to be kept."""

    finess: str
    month: str
    computed_at: float
    cutoff: str
    rule_version: str
    catalogue_version: str
    facts: int
    seen: Seen
    digest: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """Figures that are kept."""

    finess: str
    month: str
    revision: int
    computed_at: float
    cutoff: str
    rule_version: str
    catalogue_version: str
    facts: int
    seen: Seen
    digest: str
    content: bytes
    changes: str


@dataclass(frozen=True, slots=True)
class Head:
    """The newest revision of a month, without its content."""

    finess: str
    month: str
    revision: int
    cutoff: str
    rule_version: str
    catalogue_version: str
    digest: str
    computed_at: float


@dataclass(frozen=True, slots=True)
class Check:
    """Which facts the last computation of a month had."""

    seen: Seen
    at: float


@dataclass(frozen=True, slots=True)
class Looked:
    """What to look at beside the figures of one establishment and month, as the last computation saw it."""

    finess: str
    month: str
    seen: Seen
    at: float
    content: str


# --- reading ----------------------------------------------------------------------------------------------------------


def finesses(session: Session) -> list[str]:
    """Establishments that have figures."""
    return list(
        session.execute(
            select(col(IndicatorMonth.finess)).distinct().order_by(col(IndicatorMonth.finess))
        ).scalars()
    )


def months(session: Session, finess: str) -> list[str]:
    """Months of an establishment that have figures, the last one first."""
    month = col(IndicatorMonth.month)
    found = select(month).where(col(IndicatorMonth.finess) == finess).distinct().order_by(month.desc())
    return list(session.execute(found).scalars())


def heads(session: Session, month: str | None = None) -> list[Head]:
    """The newest revision of each establishment and month (of one month)."""
    t = IndicatorMonth
    newest = select(col(t.finess), col(t.month), func.max(col(t.revision))).group_by(
        col(t.finess), col(t.month)
    )
    wanted = select(
        *(
            col(c)
            for c in (t.finess, t.month, t.revision, t.cutoff, t.rule_version, t.catalogue_version, t.digest)
        ),
        col(t.computed_at),
    ).where(tuple_(col(t.finess), col(t.month), col(t.revision)).in_(newest))
    if month is not None:
        wanted = wanted.where(col(t.month) == month)
    return [Head(*row) for row in session.execute(wanted.order_by(col(t.month), col(t.finess)))]


def stored(
    session: Session, month: str, finess: str | None = None, revision: int | None = None
) -> list[Stored]:
    """Figures of a month by establishment: the newest revision, or the one named where it exists."""
    t = IndicatorMonth
    wanted = select(t).where(col(t.month) == month)
    if finess is not None:
        wanted = wanted.where(col(t.finess) == finess)
    if revision is not None:
        wanted = wanted.where(col(t.revision) == revision)
    else:
        newest = (
            select(col(t.finess), func.max(col(t.revision)))
            .where(col(t.month) == month)
            .group_by(col(t.finess))
        )
        wanted = wanted.where(tuple_(col(t.finess), col(t.revision)).in_(newest))
    return [_stored(row) for row in session.execute(wanted.order_by(col(t.finess))).scalars()]


def revisions(session: Session, finess: str, month: str) -> list[Stored]:
    """All that was published, the newest first."""
    t = IndicatorMonth
    wanted = select(t).where(col(t.finess) == finess, col(t.month) == month, col(t.revision) > PROVISIONAL)
    return [_stored(row) for row in session.execute(wanted.order_by(col(t.revision).desc())).scalars()]


def mark(session: Session) -> tuple[int, float]:
    """Another one whenever figures were kept."""
    t = IndicatorMonth
    row = session.execute(select(func.max(col(t.id)), func.max(col(t.computed_at)))).one()
    return row[0] or 0, row[1] or 0.0


def newest_of_each(session: Session, count: int, limit: int) -> list[Stored]:
    """The newest revisions of the last `count` months that the first `limit` establishments have figures of."""
    newest: dict[str, list[str]] = {}
    for head in heads(session):
        newest.setdefault(head.finess, []).append(head.month)
    return [
        kept
        for finess in sorted(newest)[:limit]
        for month in sorted(newest[finess])[-count:]
        for kept in stored(session, month, finess)
    ]


def checks(session: Session) -> dict[str, Check]:
    """By month."""
    return {
        row.month: Check(Seen.of(json.loads(row.seen)), row.at)
        for row in session.execute(select(IndicatorCheck)).scalars()
    }


def check_of(session: Session, month: str) -> Check | None:
    """Of one month; None: it was never computed."""
    row = session.get(IndicatorCheck, month)
    return None if row is None else Check(Seen.of(json.loads(row.seen)), row.at)


def looked(session: Session, month: str) -> dict[str, Looked]:
    """What to look at beside the figures of a month, by establishment."""
    wanted = select(IndicatorQuality).where(col(IndicatorQuality.month) == month)
    return {
        row.finess: Looked(row.finess, row.month, Seen.of(json.loads(row.seen)), row.at, row.content)
        for row in session.execute(wanted).scalars()
    }


def sent_since(session: Session, seen: Seen) -> bool:
    """True when something was said of a delivery that this reading had not."""
    return next(iter(new_facts(session, seen, 1, "delivery")), None) is not None


def changed(session: Session, seen: Seen) -> bool:
    """True when there are facts that this reading had not."""
    return next(iter(new_facts(session, seen, 1)), None) is not None


def new_facts(
    session: Session, seen: Seen, limit: int = LOOK, kind: str | None = None
) -> Sequence[tuple[float, str]]:
    """(instant, JSON) of the first facts that a reading had not (of one kind: `delivery`…)."""
    rows: list[tuple[float, str]] = []
    common = {"limit": limit, "kind": kind}
    if seen.holes and session.connection().dialect.name != "sqlite":
        # SQLite has one writer: no number comes late
        late = text(
            "SELECT at, body FROM unnest(CAST(:first AS int[]), CAST(:last AS int[])) AS hole (first, last)"
            " JOIN indicator_fact ON id BETWEEN first AND last AND (CAST(:kind AS TEXT) IS NULL OR fact = :kind)"
            " LIMIT :limit"
        )
        holes = {"first": [h[0] for h in seen.holes], "last": [h[1] for h in seen.holes]}
        rows += [(r[0], r[1]) for r in session.execute(late, holes | common)]
    later = text(
        "SELECT at, body FROM indicator_fact WHERE id > :last AND (CAST(:kind AS TEXT) IS NULL OR fact = :kind)"
        " ORDER BY id LIMIT :limit"
    )
    rows += [(r[0], r[1]) for r in session.execute(later, {"last": seen.last, **common})]
    return rows


def oldest_new(session: Session, seen: Seen) -> float | None:
    """Instant of the oldest fact that came after a reading. Reads all that came."""
    found: float | None = session.execute(
        text("SELECT min(at) FROM indicator_fact WHERE id > :last"), {"last": seen.last}
    ).scalar_one()
    return found


# --- writing ----------------------------------------------------------------------------------------------------------


def keep(
    session: Session, computed: Computed, *, publish: bool, base: Stored | None, changes: str
) -> int | None:
    """Keep figures. The revision that they became; None: nothing was to be written, for they are those of the newest
    revision, or that one is of newer facts. `changes` are those since `base`; raises `Overtaken` when `base` is not the
    newest revision any more.
    """
    lock(session, f"figures {computed.finess} {computed.month}")
    latest = next(iter(stored(session, computed.month, computed.finess)), None)
    if (latest and (latest.revision, latest.digest)) != (base and (base.revision, base.digest)):
        raise Overtaken
    if latest is not None and latest.seen.last > computed.seen.last:
        return None
    published = latest is not None and latest.revision > PROVISIONAL
    if published and latest is not None:
        if latest.digest == computed.digest:
            return None
        revision = latest.revision + 1
    else:
        revision = 1 if publish else PROVISIONAL
        t = IndicatorMonth
        session.execute(
            delete(t).where(
                col(t.finess) == computed.finess,
                col(t.month) == computed.month,
                col(t.revision) == PROVISIONAL,
            )
        )
    session.add(
        IndicatorMonth(
            finess=computed.finess,
            month=computed.month,
            revision=revision,
            computed_at=computed.computed_at,
            cutoff=computed.cutoff,
            rule_version=computed.rule_version,
            catalogue_version=computed.catalogue_version,
            facts=computed.facts,
            seen=json.dumps(computed.seen.as_json()),
            last_fact=computed.seen.last,
            digest=computed.digest,
            content=computed.content,
            changes=changes if published else "[]",
        )
    )
    session.flush()
    return revision


class Overtaken(Exception):
    """Somebody else kept a revision meanwhile: look again."""


def checked(session: Session, months: Iterable[str], seen: Seen, at: float) -> None:
    """These months were computed with the facts of `seen`."""
    told = json.dumps(seen.as_json())
    for month in months:
        row = session.get(IndicatorCheck, month)
        if row is None:
            lock(session, f"check {month}")
            row = session.get(IndicatorCheck, month, populate_existing=True)
        if row is None:
            session.add(IndicatorCheck(month=month, seen=told, last_fact=seen.last, at=at))
        elif row.last_fact <= seen.last:
            row.seen, row.last_fact, row.at = told, seen.last, at
    session.flush()


def look(session: Session, found: Iterable[Looked]) -> None:
    """What to look at beside the figures of these months now. What was seen with newer facts stays."""
    for one in found:
        lock(session, f"figures {one.finess} {one.month}")
        row = session.get(IndicatorQuality, (one.finess, one.month), populate_existing=True)
        told = json.dumps(one.seen.as_json())
        if row is None:
            session.add(
                IndicatorQuality(
                    finess=one.finess,
                    month=one.month,
                    seen=told,
                    last_fact=one.seen.last,
                    at=one.at,
                    content=one.content,
                )
            )
        elif row.last_fact <= one.seen.last:
            row.seen, row.last_fact, row.at, row.content = told, one.seen.last, one.at, one.content
    session.flush()


def _stored(row: Any) -> Stored:
    return Stored(
        finess=row.finess,
        month=row.month,
        revision=row.revision,
        computed_at=row.computed_at,
        cutoff=row.cutoff,
        rule_version=row.rule_version,
        catalogue_version=row.catalogue_version,
        facts=row.facts,
        seen=Seen.of(json.loads(row.seen)),
        digest=row.digest,
        content=row.content,
        changes=row.changes,
    )
