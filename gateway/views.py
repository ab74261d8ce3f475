"""What may be shown of the journal: states, codes, times; never patient data.

Purpose: the one place that turns rows into what the API, the page and the demo show.
Source of the rule: identifiers of documents and messages are shown, contents, names and addresses are not; a
recipient's address is shown by its domain only.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from gateway.journal.models import Attempt, Delivery, DeliveryDocument, Document, Message


def instant(at: float | None) -> str | None:
    """ISO 8601, UTC, seconds."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


_INS = re.compile(r"[1-478]\d{4}(?:\d{2}|2[ABab])\d{6}(?:\d{2})?")


def words(label: str) -> str:
    """A destination's own words, without an INS that it may quote."""
    return _INS.sub("…", label)


def masked(destination: str, recipient: str) -> str:
    """A recipient as it may be shown: the domain of a mailbox (a patient's address holds the INS)."""
    if destination == "mss" and "@" in recipient:
        return "…@" + recipient.rsplit("@", 1)[1]
    return recipient


def messages_by_control_id(session: Session, control_id: str) -> list[dict[str, Any]]:
    """Every message received with this MSH-10 (several senders may use the same), with all that became of
    it.
    """
    rows = session.exec(
        select(Message).where(Message.control_id == control_id).order_by(col(Message.id))
    ).all()
    return _describe(session, rows)


def last_messages(session: Session, limit: int) -> list[dict[str, Any]]:
    """The last messages, newest first."""
    rows = session.exec(select(Message).order_by(col(Message.id).desc()).limit(limit)).all()
    return _describe(session, rows)


def _describe(session: Session, messages: Sequence[Message]) -> list[dict[str, Any]]:
    ids = [m.id for m in messages]
    documents: dict[int, list[Document]] = defaultdict(list)
    for d in session.exec(
        select(Document).where(col(Document.message_id).in_(ids)).order_by(col(Document.id))
    ):
        documents[d.message_id].append(d)
    deliveries: dict[int, list[Any]] = defaultdict(list)
    # the plan holds patient data and is large: only the other columns are read
    wanted = [c for c in Delivery.__table__.c if c.name != "plan"]  # type: ignore[attr-defined] # a table
    for row in session.execute(
        select(*wanted).where(col(Delivery.message_id).in_(ids)).order_by(col(Delivery.id))
    ).all():
        deliveries[row.message_id].append(row)
    delivery_ids = [r.id for rows in deliveries.values() for r in rows]
    attempts: dict[int, list[Attempt]] = defaultdict(list)
    for a in session.exec(
        select(Attempt).where(col(Attempt.delivery_id).in_(delivery_ids)).order_by(col(Attempt.id))
    ):
        attempts[a.delivery_id].append(a)
    uids: dict[int, list[str]] = defaultdict(list)
    for link in session.exec(
        select(DeliveryDocument)
        .where(col(DeliveryDocument.delivery_id).in_(delivery_ids))
        .order_by(col(DeliveryDocument.position))
    ):
        uids[link.delivery_id].append(link.uid)
    return [
        {
            "control_id": m.control_id,
            "sender": m.sender,
            "type": m.message_type,
            "state": m.state,
            "ack": m.ack_code,
            "received_at": instant(m.received_at),
            "answered_at": instant(m.answered_at),
            "size": m.size,
            "sha256": m.sha256,
            "correlation": m.correlation,
            "findings": json.loads(m.findings),
            "documents": [_document(d) for d in documents[m.id or 0]],
            "deliveries": [_delivery(r, attempts[r.id], uids[r.id]) for r in deliveries[m.id or 0]],
        }
        for m in messages
    ]


def _document(d: Document) -> dict[str, Any]:
    return {
        "uid": d.uid,
        "set": d.set_key,
        "version": d.version,
        "replaces": d.replaces_uid,
        "action": d.action,
        "type_code": d.type_code,
        "sha256": d.sha256,
        "size": d.size,
    }


def _delivery(row: Any, attempts: Iterable[Attempt], uids: list[str]) -> dict[str, Any]:
    return {
        "id": row.id,
        "destination": row.destination,
        "recipient": masked(row.destination, row.recipient),
        "action": row.action,
        "state": row.state,
        "attempts": row.attempts,
        "due_at": None if row.finished_at else instant(row.due_at),
        "expires_at": None if row.finished_at else instant(row.expires_at),
        "outcome": row.outcome,
        "code": row.code,
        "label": words(row.label),
        "created_at": instant(row.created_at),
        "finished_at": instant(row.finished_at),
        "documents": uids,
        "history": [
            {
                "number": a.number,
                "kind": a.kind,
                "started_at": instant(a.started_at),
                "ended_at": instant(a.ended_at),
                "outcome": a.outcome,
                "code": a.code,
                "label": words(a.label),
            }
            for a in attempts
        ],
    }
