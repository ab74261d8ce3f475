"""Incidents: the errors that a person must hear of, noted in the commit that establishes them.

Purpose: every flow that ends badly leaves a row; the reporter (another module) makes mails of them.
Guarantee: no incident of a report itself (no loop); the same failure is noted once, in the commit that ends it.
Patient data: `words` may name a recipient's address; it goes to the error mailbox alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlmodel import Session

from connectors.port import Outcome
from gateway.errors import Finding
from gateway.exchange.delivery import DeliveryState
from gateway.journal import records, reports
from gateway.journal.claims import Claimed
from gateway.journal.queue import ERRORS
from gateway.journal.sql import insert

INCIDENTS = "incidents"
"""Word of `wake` for new incidents and for the end of a report."""
__all__ = ["ERRORS", "INCIDENTS", "note", "of_delivery", "of_refusal"]
MAX_REASONS = 50
"""Errors of a refused message that its report repeats: the ACK has them all."""
_FAILED = frozenset({DeliveryState.REFUSED, DeliveryState.EXPIRED})


def note(
    session: Session,
    *,
    flow: str,
    family: str,
    code: str,
    route: str,
    now: float,
    message_id: int | None = None,
    mail_id: int | None = None,
    delivery_id: int | None = None,
    **words: Any,
) -> int:
    """Append an incident; its row id. `family`: what may be told together (`destination code`)."""
    return insert(
        session,
        "insert_incident",
        now=now,
        flow=flow,
        family=family,
        code=code,
        route=route,
        message_id=message_id,
        mail_id=mail_id,
        delivery_id=delivery_id,
        words=json.dumps(words, ensure_ascii=False, default=str),
    )


def of_refusal(
    session: Session,
    message_id: int,
    control_id: str,
    route: str,
    findings: Iterable[Finding],
    now: float,
) -> None:
    """Note that a message was answered AE, with the sentences of its ACK. `route`: `application|facility`."""
    rejecting = [f for f in findings if f.rejects]
    first = rejecting[0]
    code = first.err5 or first.err3
    reasons = [
        f"{f.text} ({f.rule}{', ' + f.place.erl() if f.place else ''})" for f in rejecting[:MAX_REASONS]
    ]
    if len(rejecting) > MAX_REASONS:
        reasons.append(f"et {len(rejecting) - MAX_REASONS} autres erreurs")
    note(
        session,
        flow="refused",
        family=f"refused {code}",
        code=code,
        route=route,
        now=now,
        message_id=message_id,
        control_id=control_id,
        label=first.text,
        reasons=reasons,
    )


def of_delivery(
    session: Session, claimed: Claimed, outcome: Outcome, state: DeliveryState, now: float
) -> bool:
    """Note that a delivery for a DPI's message ended without success. True when it did, and when a report ended: that
    is never an incident, its errors are told again later."""
    if claimed.destination == ERRORS:
        if state in _FAILED:
            reports.failed(session, claimed.id, now)
        else:
            reports.arrived(session, claimed.id, now)
        return True
    if state not in _FAILED or claimed.message_id is None:
        return False  # the fate of a received mail is concluded as a whole (mailroom)
    control_id, routing = records.routing_of(session, claimed.message_id)
    sender = routing.get("sender", {})
    note(
        session,
        flow="outbound",
        family=f"{claimed.destination} {outcome.code}",
        code=outcome.code,
        route=f"{sender.get('application', '')}|{sender.get('facility', '')}",
        now=now,
        message_id=claimed.message_id,
        delivery_id=claimed.id,
        destination=claimed.destination,
        recipient=claimed.recipient,
        control_id=control_id,
        action=claimed.action.value,
        uids=[d.uid for d in claimed.documents],
        state=state.value,
        label=outcome.label,
    )
    return True
