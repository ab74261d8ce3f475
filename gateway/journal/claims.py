"""Deliveries taken in hand: what a claim reads, and what it knows of the versions before.

Guarantee: a delivery is claimed (`sending`, committed) before anything is sent; what it replaces is the nearest version
that its destination has, unknown outcomes included (docs/decisions/0005). The statements are in `queries.sql`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlmodel import Session

from connectors.port import Predecessor
from gateway.exchange.delivery import DeliveryState
from gateway.hl7.transmission import Action
from gateway.journal.queue import ERRORS, next_due
from gateway.journal.sql import run


@dataclass(frozen=True, slots=True)
class ClaimedDocument:
    """A document of a claimed delivery."""

    row: int
    uid: str
    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class ClaimedOriginal:
    """What an error of a claimed report is about."""

    incident: int
    kind: Literal["message", "mail"]
    complete: bool
    payload_id: int
    size: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in hand: what a runner needs to make a `DeliveryJob`. `attempt` counts from 1."""

    id: int
    message_id: int | None
    control_id: str
    """MSH-10 of the message that brought it; empty without one."""
    destination: str
    recipient: str = field(repr=False)
    action: Action
    plan: bytes = field(repr=False)
    attempt: int
    uncertain: bool
    expires_at: float
    documents: tuple[ClaimedDocument, ...]
    predecessor: Predecessor
    predecessor_uids: tuple[str, ...]
    uncertain_attempts: int
    may_be_there: bool
    mail_id: int | None = None
    payload_id: int | None = None
    payload_size: int = 0
    uncertain_since: float | None = None
    """When the last try whose outcome is unknown ended."""
    arrived: bool = False
    """A receipt says that it arrived, whatever became of the try."""
    originals: tuple[ClaimedOriginal, ...] = ()
    token: str = ""
    """Of the process that claimed it."""

    @property
    def size(self) -> int:
        """Bytes of all that it carries; of a report about many errors, what is read at once (one original and the
        mail made so far, which is bounded)."""
        largest = max((o.size for o in self.originals), default=0)
        return sum(d.size for d in self.documents) + self.payload_size + largest


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim gave; `next_due` is when the next unclaimed delivery is due, None without any."""

    deliveries: Sequence[Claimed]
    next_due: float | None
    brought_back: int = 0
    """Deliveries that a clock which went back had left due too late; they are due now."""


def claim(
    session: Session, destination: str, limit: int, now: float, token: str, farthest: float = math.inf
) -> Claim:
    """Take up to `limit` due deliveries in hand: `ready → sending`, an uncertain one to reconcile, or a
    suspended one (while the circuit is open the caller's limit is the probe's).

    `farthest`: seconds that a delivery may be put off at most. One that is due later still was put off before the
    clock was set back, and would wait as long as the clock was wrong: it is due now.
    """
    rows = run(session, "claim_deliveries", token=token, destination=destination, now=now, limit=limit).all()
    brought_back = 0
    if len(rows) < limit and farthest < math.inf:
        brought_back = run(
            session, "due_too_far", destination=destination, now=now, farthest=now + farthest
        ).rowcount
    claimed = []
    for row in sorted(rows, key=lambda r: int(r.id)):
        documents = run(session, "documents_of_delivery", delivery_id=row.id).all()
        action = Action(row.action)
        named = (
            []
            if action is Action.SUBMIT
            else [d.uid if action is Action.DELETE else d.replaces_uid for d in documents]
        )
        predecessor, predecessor_uids = _predecessors(session, destination, row.recipient, named)
        uncertain = row.state == DeliveryState.UNCERTAIN
        unknown = run(session, "uncertain_delivery", delivery_id=row.id).one() if uncertain else None
        claimed.append(
            Claimed(
                token=token,
                id=row.id,
                message_id=row.message_id,
                control_id=row.control_id or "",
                mail_id=row.mail_id,
                payload_id=row.payload_id,
                payload_size=row.payload_size or 0,
                uncertain_since=unknown.since if unknown else None,
                arrived=bool(unknown and unknown.arrived),
                originals=_originals(session, row.id) if destination == ERRORS else (),
                destination=row.destination,
                recipient=row.recipient,
                action=action,
                plan=row.plan,
                attempt=row.attempts,
                uncertain=uncertain,
                expires_at=row.expires_at,
                documents=tuple(ClaimedDocument(d.id, d.uid, d.sha256, d.size) for d in documents),
                predecessor=predecessor,
                predecessor_uids=predecessor_uids,
                uncertain_attempts=(
                    run(session, "count_uncertain_attempts", delivery_id=row.id).scalar_one()
                    if row.attempts > 1
                    else 0
                ),
                may_be_there=action is not Action.DELETE
                and any(
                    run(
                        session,
                        "may_be_there",
                        uid=d.uid,
                        sha256=d.sha256,
                        delivery_id=row.id,
                        destination=destination,
                        recipient=row.recipient,
                    ).scalar_one()
                    for d in documents
                ),
            )
        )
    return Claim(claimed, next_due(session, destination), brought_back)


def _originals(session: Session, delivery_id: int) -> tuple[ClaimedOriginal, ...]:
    """What the errors of a report are about, the message first."""
    found = []
    for r in run(session, "originals_of_report", delivery_id=delivery_id):
        if r.message_payload is not None:
            found.append(ClaimedOriginal(r.incident_id, "message", True, r.message_payload, r.message_size))
        if r.mail_payload is not None:
            found.append(
                ClaimedOriginal(r.incident_id, "mail", bool(r.complete), r.mail_payload, r.mail_size)
            )
    return tuple(found)


def _predecessors(
    session: Session, destination: str, recipient: str, named: Sequence[str | None]
) -> tuple[Predecessor, tuple[str, ...]]:
    """What the journal knows, at this destination, of the versions to replace or delete (one per document).

    A mail with two documents has one answer: that of the document of which most is there.
    """
    found = [_predecessor(session, destination, recipient, uid) for uid in named if uid]
    if not found:
        return Predecessor.NONE, ()
    rank = (Predecessor.DELIVERED, Predecessor.UNKNOWN, Predecessor.NOT_DELIVERED)
    return min(found, key=lambda f: (rank.index(f[0]), not f[1]))


def _predecessor(
    session: Session, destination: str, recipient: str, named: str
) -> tuple[Predecessor, tuple[str, ...]]:
    """Walk back from the named version to the nearest one that was certainly delivered there.

    On the way, versions whose delivery ended without an answer are kept: the destination may have them. V1
    delivered, V2 refused: V3 replaces V1. A deletion starts from the document itself.
    """
    candidates: list[str] = []
    uid: str | None = named
    seen: set[str] = set()
    while uid and uid not in seen:
        seen.add(uid)
        there = run(session, "deliveries_there", uid=uid, destination=destination, recipient=recipient).all()
        if any(d.succeeded for d in there):
            return Predecessor.DELIVERED, (*candidates, uid)
        if any(d.uncertain for d in there):
            candidates.append(uid)
        brought = run(session, "document_brought", uid=uid).first()
        if brought is None:
            # never brought here: a former gateway sent it, the destination knows
            return Predecessor.UNKNOWN, (*candidates, uid)
        uid = brought.replaces_uid
    return Predecessor.NOT_DELIVERED, tuple(candidates)
