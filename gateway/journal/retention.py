"""What retention may empty or remove: the statements.

Guarantee: no function commits. The bytes of a message or mail are emptied only when nothing is undelivered,
unanswered, awaited or unreported of it, and its end is older than the clock; an emptied payload says so
(`payload_emptied`), so that it never counts as damaged. The rows of ADT go (what they said is facts); the register of
versions (documents, their deliveries' states) and the facts are never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from gateway.journal.sql import run


@dataclass(frozen=True, slots=True)
class Emptiable:
    """Something whose bytes may go: its row, its payloads, their bytes."""

    id: int
    payloads: tuple[int, ...]
    size: int


def unreported(session: Session, *, reporting: bool) -> tuple[frozenset[int], frozenset[int]]:
    """Messages and mails of errors that nobody has been told of, or whose report did not get through. `reporting`:
    there is an error mailbox (else what is not told waits for nobody)."""
    rows = run(session, "retention_unreported", reporting=int(reporting)).all()
    return (
        frozenset(r.message_id for r in rows if r.message_id is not None),
        frozenset(r.mail_id for r in rows if r.mail_id is not None),
    )


def messages(session: Session, after: int, before: float, limit: int) -> list[Emptiable]:
    """Messages whose bytes may be emptied, by id after `after`."""
    rows = run(session, "retention_messages", after=after, before=before, limit=limit)
    return [Emptiable(r.id, (r.payload_id,), r.size) for r in rows]


def mails(session: Session, after: int, before: float, limit: int) -> list[Emptiable]:
    """Received mails whose bytes (and those of the messages made of them) may be emptied, by id after `after`."""
    found = []
    for r in run(session, "retention_mails", after=after, before=before, limit=limit).all():
        rows = run(session, "retention_payloads_of_mail", mail_id=r.id).all()
        found.append(Emptiable(r.id, tuple(p.id for p in rows), sum(p.size for p in rows)))
    return found


def empty(session: Session, payload_ids: Sequence[int], now: float) -> None:
    """The bytes go; the rows, their size and SHA-256 stay."""
    for payload_id in payload_ids:
        run(session, "empty_payload", payload_id=payload_id, content=b"")
        run(session, "delete_parts", payload_id=payload_id)
        run(session, "payload_is_emptied", payload_id=payload_id, now=now)


def traces(session: Session, after: int, before: float, limit: int) -> list[int]:
    """Finished deliveries, older than the clock, by id after `after`."""
    return list(run(session, "retention_deliveries", after=after, before=before, limit=limit).scalars())


def trim(session: Session, delivery_ids: Sequence[int]) -> int:
    """Of each: its plan, its words and its attempts go (not those of unknown outcome: the version rules need them). How
    many rows went. Its state stays: what a destination has is told by it."""
    removed = 0
    for delivery_id in delivery_ids:
        removed += run(session, "delete_attempts", delivery_id=delivery_id).rowcount
        run(session, "trim_delivery", delivery_id=delivery_id, plan=b"")
    return removed


def adt(session: Session, after: int, before: float, limit: int) -> list[int]:
    """ADT that were answered before the clock, by id after `after`; not those of which there is an incident."""
    return list(run(session, "retention_adt", after=after, before=before, limit=limit).scalars())


def forget(session: Session, message_ids: Sequence[int], now: float) -> int:
    """The rows of these ADT go, and their bytes where they are left; how many. The same ADT sent again is read again,
    and its facts are known: their ids are its content."""
    gone = [run(session, "delete_message", message_id=message_id).scalar() for message_id in message_ids]
    payload_ids = [payload_id for payload_id in gone if payload_id is not None]
    empty(session, payload_ids, now)
    return len(payload_ids)


def emptied(session: Session, payload_id: int) -> bool:
    """Retention emptied it."""
    return run(session, "is_emptied", payload_id=payload_id).first() is not None
