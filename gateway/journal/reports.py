"""Reports about errors in the journal: what waits to be told, what was told to whom, what did not get through.

Guarantee: no function commits. An error is told once to each mailbox, unless a report fails: what that one told is
given back, and never forgotten.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session

from gateway.journal.sql import node_of, run

DUTY = "reporter"


@dataclass(frozen=True, slots=True)
class Waiting:
    """An error without a report."""

    id: int
    at: float
    flow: str
    family: str
    code: str
    route: str
    told: frozenset[str] = field(default=frozenset(), repr=False)
    """Mailboxes that know it already."""


def on_duty(session: Session) -> bool:
    """True when this process is the one that reports, of those that share the journal."""
    return bool(run(session, "take_duty", name=DUTY, node=node_of(session)).rowcount)


def waiting(session: Session, limit: int) -> list[Waiting]:
    """Errors to tell, the oldest `limit` of each family, oldest first."""
    told: dict[int, set[str]] = {}
    for row in run(session, "told_of_waiting_incidents"):
        told.setdefault(row.incident_id, set()).add(row.mailbox)
    return [
        Waiting(r.id, r.at, r.flow, r.family, r.code, r.route, frozenset(told.get(r.id, ())))
        for r in run(session, "incidents_to_report", limit=limit)
    ]


def words(session: Session, incident_ids: Iterable[int]) -> dict[int, dict[str, Any]]:
    """What their report says, by error."""
    return {
        i: json.loads(run(session, "words_of_incident", incident_id=i).scalar_one()) for i in incident_ids
    }


@dataclass(frozen=True, slots=True)
class Recent:
    """A report of the last time."""

    mailbox: str
    family: str
    at: float


def recent(session: Session, since: float) -> list[Recent]:
    """Reports enqueued after `since`, oldest first."""
    return [Recent(r.mailbox, r.family, r.at) for r in run(session, "recent_error_reports", since=since)]


def reported(session: Session, incident_ids: Iterable[int], delivery_ids: Sequence[int]) -> bool:
    """Link errors to their last report. False when one of them has one already (nothing may be committed then)."""
    return all(
        run(session, "incident_reported", incident_id=i, delivery_id=delivery_ids[-1]).rowcount == 1
        for i in incident_ids
    )


def add(
    session: Session, delivery_id: int, mailbox: str, family: str, incident_ids: Iterable[int], now: float
) -> None:
    """Remember what an enqueued delivery tells, and to whom."""
    run(session, "insert_error_report", delivery_id=delivery_id, mailbox=mailbox, family=family, now=now)
    for incident_id in incident_ids:
        run(session, "insert_reported_incident", delivery_id=delivery_id, incident_id=incident_id)


def failed(session: Session, delivery_id: int, now: float) -> None:
    """A report ended without success."""
    run(session, "error_report_failed", delivery_id=delivery_id, now=now)


def arrived(session: Session, delivery_id: int, now: float) -> None:
    """A report ended well: earlier ones about the same errors are no trouble any more."""
    run(session, "resolve_error_reports", delivery_id=delivery_id, now=now)


def told_already(session: Session, incident_id: int, now: float) -> None:
    """Every mailbox that must hear of it knows an error: the report to another one is no trouble any more."""
    if run(session, "incident_told_already", incident_id=incident_id).rowcount:
        run(session, "resolve_error_reports_of", incident_id=incident_id, now=now)


def give_back(session: Session, before: float, now: float) -> int:
    """The errors of reports that failed up to `before` wait for another one. How many reports. One that failed after
    `now` did so before the clock was set back: nobody waits for that instant."""
    ids = run(session, "error_reports_to_repeat", before=before, now=now).scalars().all()
    for delivery_id in ids:
        run(session, "repeat_error_report", delivery_id=delivery_id, now=now)
        run(session, "incidents_given_back", delivery_id=delivery_id)
    return len(ids)


def next_repeat(session: Session) -> float | None:
    """When the report failed whose errors are the next to be given back."""
    at: float | None = run(session, "next_repeat").scalar()
    return at


def in_trouble(session: Session) -> int:
    """Reports that did not get through so far."""
    number: int = run(session, "error_reports_in_trouble").scalar_one()
    return number


def counted(session: Session, last: int) -> tuple[dict[str, int], int]:
    """New errors by flow since the one of that id, and the id of the last."""
    rows = run(session, "incidents_since", last=last).all()
    return {r.flow: r.number for r in rows}, max((r.last for r in rows), default=last)


def last(session: Session) -> int:
    """Id of the last error, 0 without any."""
    number: int = run(session, "last_incident").scalar_one()
    return number
