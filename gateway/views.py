"""What may be shown of the journal: states, codes, times; never patient data.

Purpose: the one place that turns rows into what the API, the page and the demo show.
Source of the rule: identifiers of documents and messages are shown, contents, names and addresses are not; a
recipient's address is shown by its domain only.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import case, literal
from sqlmodel import Session, col, func, select

from gateway import mail_views
from gateway.journal.models import Attempt, Delivery, DeliveryDocument, Document, Message
from gateway.journal.queue import BY_HAND
from gateway.journal.sql import holds, run


def instant(at: float | None) -> str | None:
    """ISO 8601, UTC, seconds."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


_INS = re.compile(r"[1-478]\d{4}(?:\d{2}|2[ABab])\d{6}(?:\d{2})?")


def words(label: str) -> str:
    """A destination's own words, without an INS that it may quote."""
    return _INS.sub("…", label)


def masked(destination: str, recipient: str) -> str:
    """A recipient as it may be shown: the domain of a mailbox (a patient's address holds the INS)."""
    if destination in ("mss", "errors") and "@" in recipient:
        return "…@" + recipient.rsplit("@", 1)[1]
    return recipient


_EVENT = case(
    # only of what goes to the DPI: the plan of a mail is large. Separators in a text are escaped
    (col(Delivery.destination) != "dpi", None),
    *(
        (holds(col(Delivery.plan), literal(f"|ZAM^{event}^".encode())), event)
        for event in ("Z01", "Z02", "Z03")
    ),
    else_=None,
)
"""The event of a ZAM: Z01 what the DMP answered, Z02 what a recipient's server did, Z03 what a reader did; else null.
"""


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
    wanted: list[Any] = [c for c in Delivery.__table__.c if c.name != "plan"]  # type: ignore[attr-defined] # a table
    wanted.append(_EVENT.label("event"))
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
    receipts = mail_views.receipts_of(session, delivery_ids)
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
            "deliveries": [
                _delivery(r, attempts[r.id], uids[r.id], receipts[r.id]) for r in deliveries[m.id or 0]
            ],
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


def _delivery(
    row: Any, attempts: Iterable[Attempt], uids: list[str], receipts: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "id": row.id,
        "destination": row.destination,
        "recipient": masked(row.destination, row.recipient),
        # what is told is a message of its own, not the submission of a document
        "action": "zam" if row.event else row.action,
        "event": row.event,
        "state": row.state,
        "on_hold": row.claimed_by == BY_HAND,
        "attempts": row.attempts,
        "due_at": None if row.finished_at else instant(row.due_at),
        "expires_at": None if row.finished_at else instant(row.expires_at),
        "outcome": row.outcome,
        "code": row.code,
        "label": words(row.label),
        "created_at": instant(row.created_at),
        "finished_at": instant(row.finished_at),
        "documents": uids,
        "receipts": receipts,
        "history": _history(attempts),
    }


def _history(attempts: Iterable[Any]) -> list[dict[str, Any]]:
    """The tries of a delivery."""
    return [
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
    ]


def waiting(row: Any) -> dict[str, Any]:
    """A delivery as the API shows it (rows of `gateway.journal.by_hand`)."""
    return {
        "id": row.id,
        "message": row.control_id,
        "destination": row.destination,
        "recipient": masked(row.destination, row.recipient),
        "action": row.action,
        "state": row.state,
        "on_hold": row.claimed_by == BY_HAND,
        "attempts": row.attempts,
        "due_at": None if row.finished_at else instant(row.due_at),
        "expires_at": None if row.finished_at else instant(row.expires_at),
        "outcome": row.outcome,
        "code": row.code,
        "label": words(row.label),
        "created_at": instant(row.created_at),
        "finished_at": instant(row.finished_at),
    }


def waiting_in_full(
    row: Any, attempts: Iterable[Any], uids: Sequence[str], ahead: Sequence[int]
) -> dict[str, Any]:
    """The same with its documents, its attempts and the deliveries that it waits for."""
    return waiting(row) | {
        "documents": [*uids],
        "waits_for": [*ahead],
        "history": _history(attempts),
    }


def waiting_mail(row: Any) -> dict[str, Any]:
    """A received mail that waits for a person."""
    return {
        "id": row.id,
        "mailbox": row.mailbox,
        "kind": row.kind,
        "reason": row.reason,
        "size": row.size,
        "received_at": instant(row.received_at),
        "treated_at": instant(row.treated_at),
    }


def incidents(session: Session, limit: int) -> list[dict[str, Any]]:
    """The last errors that a person must hear of, newest first, and the state of the mail that tells each."""
    return [_incident(row) for row in run(session, "last_incidents", limit=limit)]


def _incident(row: Any) -> dict[str, Any]:
    told = json.loads(row.words)
    report = None
    if row.report_id is not None:
        report = {
            "id": row.report_id,
            "mailbox": masked("errors", row.recipient),
            # taken by the server, then sent back
            "state": "refused" if row.failed_at and row.state == "succeeded" else row.state,
            "attempts": row.attempts,
            "code": row.report_code,
            "label": words(row.report_label),
            "due_at": None if row.finished_at else instant(row.due_at),
            "finished_at": instant(row.finished_at),
        }
    return {
        "id": row.id,
        "at": instant(row.at),
        "flow": row.flow,
        "code": row.code,
        "label": words(str(told.get("label") or "")),
        "route": row.route if "@" not in row.route else masked("mss", row.route),
        "control_id": told.get("control_id") or None,
        "destination": told.get("destination") or None,
        "recipient": masked(str(told.get("destination") or ""), str(told.get("recipient") or "")),
        "documents": told.get("uids") or [],
        "report": report,
    }


MAX_MESSAGES = 200_000
"""Most messages that `tolerances` looks at: the last ones."""
MAX_SENDERS = 500


def tolerances(session: Session, since: float) -> dict[str, Any]:
    """By sender: what was tolerated in the messages accepted since then (seconds since the epoch).

    `complete` is False when there were more messages than are looked at; `since` says from when on. Beyond
    `MAX_SENDERS` senders the others are one, named `*`.
    """
    newest = session.exec(select(func.max(Message.id))).one() or 0
    wanted = _first_since(session, since, newest)
    first = max(wanted, newest - MAX_MESSAGES + 1)
    # Messages of one sender repeat the same findings: the database counts them, each kind is read once.
    rows = session.exec(
        select(Message.sender, Message.findings, func.count(), func.max(Message.answered_at))
        .where(col(Message.id) >= first, Message.ack_code == "AA", Message.findings != "[]")
        .group_by(Message.sender, Message.findings)
        .order_by(Message.sender, func.max(Message.answered_at).desc())
    )
    found: dict[str, dict[str, dict[str, Any]]] = {}
    messages: Counter[str] = Counter()
    for sender, findings, count, last in rows:
        warnings = [f for f in json.loads(findings) if f["severity"] == "warn"]
        if not warnings:
            continue
        name = sender if sender in found or len(found) < MAX_SENDERS else "*"
        messages[name] += count
        for f in warnings:
            row = found.setdefault(name, {}).setdefault(
                f["rule"], {"rule": f["rule"], "text": "", "err2": None, "count": 0, "last": 0.0}
            )
            row["count"] += count
            if last > row["last"]:
                row |= {"text": f["text"], "err2": f["err2"], "last": last}
    start = since
    if first > wanted:
        at = session.exec(select(Message.received_at).where(col(Message.id) >= first).limit(1)).first()
        start = max(since, at or since)
    return {
        "since": instant(start),
        "complete": first == wanted,
        "senders": [
            {
                "sender": name,
                "messages": messages[name],
                "tolerances": [
                    {k: v for k, v in row.items() if k != "last"} | {"last_seen": instant(row["last"])}
                    for row in sorted(rules.values(), key=lambda r: (-r["count"], r["rule"]))
                ],
            }
            for name, rules in found.items()
        ],
    }


def _first_since(session: Session, since: float, newest: int) -> int:
    """Identifier of the first message received since then. Identifiers grow with time, and have an index."""
    low, high = 1, newest + 1
    while low < high:
        middle = (low + high) // 2
        row = session.exec(
            select(Message.id, Message.received_at)
            .where(col(Message.id) >= middle)
            .order_by(col(Message.id))
            .limit(1)
        ).first()
        if row is None or row[1] >= since:
            high = middle
        else:
            low = (row[0] or middle) + 1
    return low
