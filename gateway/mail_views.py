"""What may be shown of received mails and of receipts: kinds, codes, times; never an address, a subject or a patient.

Purpose: the one place that turns rows of the way back into what the API and the pages show.
Guarantee: read-only; bounded by `limit`; identifiers of documents, codes and our own sentences only. A mail's bytes are
never read.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, and_, col, or_, select

from gateway.journal.models import Attempt, Delivery, Receipt, ReceivedDocument, ReceivedMail

SET_ASIDE = or_(
    col(ReceivedMail.kind).in_(("quarantine", "too-large")),
    and_(col(ReceivedMail.kind).in_(("dsn", "mdn", "error-mail")), col(ReceivedMail.reason) != ""),
)
"""Mails that a person must look at: nothing was concluded from them."""


def _instant(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def last_mails(
    session: Session, limit: int, *, mailbox: str = "", set_aside: bool | None = None, before: int = 0
) -> list[dict[str, Any]]:
    """The last received mails, newest first. `before`: those with a lower number. `set_aside` None: all."""
    wanted = select(ReceivedMail).order_by(col(ReceivedMail.id).desc()).limit(limit)
    if mailbox:
        wanted = wanted.where(ReceivedMail.mailbox == mailbox)
    if before:
        wanted = wanted.where(col(ReceivedMail.id) < before)
    if set_aside is not None:
        wanted = wanted.where(SET_ASIDE if set_aside else ~SET_ASIDE)
    mails = session.exec(wanted).all()
    ids = [m.id for m in mails]
    documents: dict[int, list[ReceivedDocument]] = defaultdict(list)
    for document in session.exec(
        select(ReceivedDocument)
        .where(col(ReceivedDocument.mail_id).in_(ids))
        .order_by(col(ReceivedDocument.id))
    ):
        documents[document.mail_id].append(document)
    # the plan is large and holds patient data: only these columns are read
    deliveries: dict[int, Any] = {}
    answers: dict[int, Any] = {}
    columns = (Delivery.id, Delivery.mail_id, Delivery.destination, Delivery.state, Delivery.code)
    for row in session.execute(select(*columns).where(col(Delivery.mail_id).in_(ids))).all():  # type: ignore[call-overload] # five columns
        deliveries[row.id] = row
        if row.destination not in ("dpi", "errors"):
            answers[row.mail_id] = row
    errors = _dpi_errors(session, [d.delivery_id for rows in documents.values() for d in rows])
    return [
        {
            "id": m.id,
            "mailbox": m.mailbox,
            "received_at": _instant(m.received_at),
            "treated_at": _instant(m.treated_at),
            "size": m.size,
            "state": m.state,
            "kind": m.kind,
            "reason": m.reason,
            "findings": [
                {"rule": f["rule"], "severity": f["severity"], "text": f["text"]}
                for f in json.loads(m.findings)
            ],
            "documents": [
                {
                    "uid": d.uid,
                    "action": d.action,
                    "version": d.version,
                    "type_code": d.type_code,
                    "state": deliveries[d.delivery_id].state,
                    "answer": deliveries[d.delivery_id].code,
                    "errors": errors.get(d.delivery_id, []),
                }
                for d in documents[m.id or 0]
            ],
            "mdn": answers[m.id or 0].state if (m.id or 0) in answers else None,
        }
        for m in mails
    ]


def _dpi_errors(session: Session, deliveries: Sequence[int]) -> dict[int, list[str]]:
    """The codes of the DPI's last answer (`207/902`) to each delivery."""
    rows = session.exec(
        select(Attempt.delivery_id, Attempt.details)
        .where(col(Attempt.delivery_id).in_(deliveries))
        .order_by(col(Attempt.id))
    )
    return {delivery: json.loads(details).get("errors", []) for delivery, details in rows}


def receipts_of(session: Session, deliveries: Iterable[int]) -> dict[int, list[dict[str, Any]]]:
    """What came back about deliveries, oldest first, by delivery."""
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for r in session.exec(
        select(Receipt).where(col(Receipt.delivery_id).in_([*deliveries])).order_by(col(Receipt.id))
    ):
        found[r.delivery_id].append(
            {
                "event": r.event,
                "fact": r.fact,
                "accepted": None if r.accepted is None else bool(r.accepted),
                "code": r.code,
                "told": bool(r.told),
                "at": _instant(r.at),
            }
        )
    return found
