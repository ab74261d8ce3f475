"""Deliveries in the journal: enqueue, claim, finish, recover. The database is the queue.

Guarantee: a delivery is claimed (`sending`, committed) before anything is sent; it is finished only by the
process that claimed it; deliveries of one order key to one destination and recipient run one after the
other, in the order of their acceptance; a refused or expired one does not block its correction.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, insert, text, update
from sqlmodel import Session, col, select

from connectors.port import Outcome, Predecessor
from gateway.exchange.delivery import FINAL, DeliveryState, move
from gateway.hl7.transmission import Action
from gateway.journal.models import Attempt, Delivery, DeliveryDocument, Document, ReportTo

_FINAL = [s.value for s in FINAL]


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A final transaction to enqueue. `documents` are (row id, uid) pairs in order."""

    message_id: int
    destination: str
    recipient: str
    action: Action
    order_key: str
    documents: tuple[tuple[int, str], ...]
    plan: bytes
    now: float
    lifetime: float


def enqueue(session: Session, new: NewDelivery) -> int:
    """Insert a delivery: `held` behind an unfinished one of the same order, else `ready`. Its row id."""
    ahead = session.exec(
        select(Delivery.id)
        .where(
            Delivery.destination == new.destination,
            Delivery.recipient == new.recipient,
            Delivery.order_key == new.order_key,
            col(Delivery.state).not_in(_FINAL),
        )
        .limit(1)
    ).first()
    state = DeliveryState.READY if ahead is None else DeliveryState.HELD
    key: int = session.execute(
        insert(Delivery).values(
            message_id=new.message_id,
            destination=new.destination,
            recipient=new.recipient,
            action=new.action.value,
            order_key=new.order_key,
            state=state.value,
            attempts=0,
            due_at=new.now,
            expires_at=new.now + new.lifetime,
            plan=new.plan,
            code="",
            label="",
            created_at=new.now,
        )
    ).inserted_primary_key[0]  # type: ignore[attr-defined] # CursorResult
    if new.documents:
        session.execute(
            insert(DeliveryDocument),
            [
                {"delivery_id": key, "position": n, "document_id": d, "uid": uid}
                for n, (d, uid) in enumerate(new.documents)
            ],
        )
    return key


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier delivery of a document to the same destination and recipient, for the same action."""

    id: int
    state: DeliveryState
    plan: bytes
    outcome: str
    code: str
    label: str


def earlier_deliveries(
    session: Session, destination: str, recipient: str, action: Action, uid: str
) -> Sequence[Earlier]:
    """Deliveries that already carried (or carry) this document there. Submit and replace count as one."""
    actions = ["delete"] if action is Action.DELETE else ["submit", "replace"]
    rows = session.exec(
        select(Delivery)
        .join(DeliveryDocument, col(DeliveryDocument.delivery_id) == col(Delivery.id))
        .where(
            DeliveryDocument.uid == uid,
            Delivery.destination == destination,
            Delivery.recipient == recipient,
            col(Delivery.action).in_(actions),
        )
        .order_by(col(Delivery.id))
    ).all()
    return [
        Earlier(d.id or 0, DeliveryState(d.state), d.plan, d.outcome or "", d.code, d.label) for d in rows
    ]


def report_to(session: Session, delivery_id: int, message_id: int) -> None:
    """The sender of `message_id` wants to be told how this delivery ends."""
    session.execute(insert(ReportTo).values(delivery_id=delivery_id, message_id=message_id))


def told(session: Session, delivery_id: int) -> Sequence[int]:
    """Messages whose sender wants to be told of this delivery."""
    return session.exec(select(ReportTo.message_id).where(ReportTo.delivery_id == delivery_id)).all()


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery in hand: what a runner needs to make a `DeliveryJob`."""

    id: int
    message_id: int
    destination: str
    recipient: str
    action: Action
    plan: bytes
    attempt: int
    uncertain: bool
    expires_at: float
    documents: tuple[tuple[int, str, str, int], ...]
    """(row id, uid, sha256, size) in order."""
    predecessor: Predecessor
    predecessor_uid: str


_CLAIM = text(
    """
    UPDATE delivery SET claimed_by = :token,
           state = CASE state WHEN 'uncertain' THEN state ELSE 'sending' END,
           attempts = attempts + 1
     WHERE id IN (
           SELECT id FROM delivery
            WHERE destination = :destination AND state IN ('ready', 'uncertain', 'suspended') AND claimed_by
            IS NULL
              AND due_at <= :now
            ORDER BY due_at, id LIMIT :limit)
    RETURNING id, message_id, destination, recipient, action, plan, attempts, state, expires_at, order_key
    """
)


def claim(session: Session, destination: str, limit: int, now: float, token: str) -> list[Claimed]:
    """Take up to `limit` due deliveries in hand: `ready → sending`, an uncertain one to reconcile, or a
    suspended one (while the circuit is open the caller's limit is the probe's)."""
    rows = session.execute(
        _CLAIM, {"token": token, "destination": destination, "now": now, "limit": limit}
    ).all()
    claimed = []
    for row in sorted(rows, key=lambda r: int(r.id)):
        documents = session.exec(
            select(Document.id, Document.uid, Document.sha256, Document.size)
            .join(DeliveryDocument, col(DeliveryDocument.document_id) == col(Document.id))
            .where(DeliveryDocument.delivery_id == row.id)
            .order_by(col(DeliveryDocument.position))
        ).all()
        action = Action(row.action)
        predecessor, uid = _predecessor(session, row, action)
        claimed.append(
            Claimed(
                id=row.id,
                message_id=row.message_id,
                destination=row.destination,
                recipient=row.recipient,
                action=action,
                plan=row.plan,
                attempt=row.attempts,
                uncertain=row.state == DeliveryState.UNCERTAIN,
                expires_at=row.expires_at,
                documents=tuple((d[0] or 0, d[1], d[2], d[3]) for d in documents),
                predecessor=predecessor,
                predecessor_uid=uid,
            )
        )
    return claimed


def _predecessor(session: Session, row: Any, action: Action) -> tuple[Predecessor, str]:
    """What the journal knows, at this destination, of the version to replace or delete.

    Walks back from the named version to the nearest one that was delivered there: V1 delivered, V2 failed, V3
    replaces V1. A deletion starts from the document itself.
    """
    if action is Action.SUBMIT:
        return Predecessor.NONE, ""
    first = session.exec(
        select(Document.uid, Document.replaces_uid)
        .join(DeliveryDocument, col(DeliveryDocument.document_id) == col(Document.id))
        .where(DeliveryDocument.delivery_id == row.id)
        .order_by(col(DeliveryDocument.position))
        .limit(1)
    ).first()
    if first is None:
        return Predecessor.NONE, ""
    named = first[0] if action is Action.DELETE else (first[1] or "")
    uid: str | None = named
    seen: set[str] = set()
    while uid and uid not in seen:
        seen.add(uid)
        if _delivered(session, row.destination, row.recipient, uid):
            return Predecessor.DELIVERED, uid
        known = session.exec(
            select(Document.replaces_uid, Document.action)
            .where(Document.uid == uid)
            .order_by(col(Document.id))
        ).all()
        brought = [k for k in known if k[1] != Action.DELETE.value]
        if not brought:
            # never brought here: a former gateway sent it, the destination knows
            return Predecessor.UNKNOWN, uid
        uid = brought[0][0]
    return Predecessor.NOT_DELIVERED, named


def _delivered(session: Session, destination: str, recipient: str, uid: str) -> bool:
    return (
        session.exec(
            select(Delivery.id)
            .join(DeliveryDocument, col(DeliveryDocument.delivery_id) == col(Delivery.id))
            .where(
                DeliveryDocument.uid == uid,
                Delivery.destination == destination,
                Delivery.recipient == recipient,
                Delivery.state == DeliveryState.SUCCEEDED.value,
                Delivery.action != Action.DELETE.value,
            )
            .limit(1)
        ).first()
        is not None
    )


def settle(
    session: Session,
    claimed: Claimed,
    token: str,
    after: DeliveryState,
    outcome: Outcome,
    now: float,
    due_at: float | None = None,
) -> bool:
    """End an attempt: the delivery's new state, and the next one of its order made ready when this one is
    final.

    False (and nothing done) when the delivery is not in this process's hands any more.
    """
    row = session.exec(
        select(Delivery.state, Delivery.order_key).where(
            Delivery.id == claimed.id, Delivery.claimed_by == token
        )
    ).first()
    if row is None:
        return False
    move(DeliveryState(row[0]), after)
    final = after in FINAL
    values: dict[str, Any] = {
        "state": after.value,
        "claimed_by": None,
        "outcome": outcome.outcome.value,
        "code": outcome.code,
        "label": outcome.label,
    }
    if due_at is not None:
        values["due_at"] = due_at
    if final:
        values["finished_at"] = now
    session.execute(update(Delivery).where(col(Delivery.id) == claimed.id).values(**values))
    if final:
        _release_next(session, claimed.destination, claimed.recipient, row[1], now)
    return True


def _release_next(session: Session, destination: str, recipient: str, order_key: str, now: float) -> None:
    """The oldest open delivery of this order, if held, becomes ready."""
    oldest = session.exec(
        select(Delivery.id, Delivery.state)
        .where(
            Delivery.destination == destination,
            Delivery.recipient == recipient,
            Delivery.order_key == order_key,
            col(Delivery.state).not_in(_FINAL),
        )
        .order_by(col(Delivery.id))
        .limit(1)
    ).first()
    if oldest is not None and oldest[1] == DeliveryState.HELD.value:
        session.execute(
            update(Delivery)
            .where(col(Delivery.id) == oldest[0])
            .values(state=move(DeliveryState.HELD, DeliveryState.READY).value, due_at=now)
        )


def add_attempt(
    session: Session,
    delivery_id: int,
    number: int,
    kind: str,
    started_at: float,
    ended_at: float,
    outcome: Outcome,
) -> None:
    """Append an attempt."""
    session.execute(
        insert(Attempt).values(
            delivery_id=delivery_id,
            number=number,
            kind=kind,
            started_at=started_at,
            ended_at=ended_at,
            outcome=outcome.outcome.value,
            code=outcome.code,
            label=outcome.label,
            details=json.dumps(dict(outcome.details), ensure_ascii=False, default=str),
        )
    )


def next_due(session: Session, destination: str) -> float | None:
    """When the next unclaimed delivery of a destination is due."""
    return session.exec(
        select(func.min(Delivery.due_at)).where(
            Delivery.destination == destination,
            col(Delivery.state).in_(["ready", "uncertain", "suspended"]),
            col(Delivery.claimed_by).is_(None),
        )
    ).one()


def recover(session: Session, now: float) -> dict[str, int]:
    """At start-up: what a stop left in hand. Returns how many of each.

    `sending` becomes `uncertain` (it may have happened outside); claims are freed; `suspended` is tried
    again.
    """
    in_hand = session.exec(
        select(Delivery.id, Delivery.attempts).where(Delivery.state == DeliveryState.SENDING.value)
    ).all()
    for delivery_id, attempts in in_hand:
        session.execute(
            insert(Attempt).values(
                delivery_id=delivery_id,
                number=attempts,
                kind="recovery",
                started_at=now,
                ended_at=now,
                outcome="uncertain",
                code="",
                label="arrêt de la passerelle pendant la transaction",
                details="{}",
            )
        )
    found = {"sending": len(in_hand)}
    for before, after in (
        (DeliveryState.SENDING, DeliveryState.UNCERTAIN),
        (DeliveryState.SUSPENDED, DeliveryState.READY),
    ):
        move(before, after)
        done = session.execute(
            update(Delivery)
            .where(col(Delivery.state) == before.value)
            .values(state=after.value, claimed_by=None, due_at=now)
        )
        found[before.value] = done.rowcount  # type: ignore[attr-defined] # CursorResult
    session.execute(update(Delivery).where(col(Delivery.claimed_by).is_not(None)).values(claimed_by=None))
    found["waiting"] = session.exec(
        select(func.count()).select_from(Delivery).where(col(Delivery.state).not_in(_FINAL))
    ).one()
    return found


def resume_suspended(session: Session, destination: str, now: float, open_for: float) -> int:
    """The circuit closed: suspended deliveries are ready again, and nobody's lifetime was used up by it."""
    session.execute(
        update(Delivery)
        .where(col(Delivery.destination) == destination, col(Delivery.state).not_in(_FINAL))
        .values(expires_at=col(Delivery.expires_at) + open_for)
    )
    done = session.execute(
        update(Delivery)
        .where(col(Delivery.destination) == destination, col(Delivery.state) == DeliveryState.SUSPENDED.value)
        .values(state=move(DeliveryState.SUSPENDED, DeliveryState.READY).value, due_at=now, claimed_by=None)
    )
    return int(done.rowcount)  # type: ignore[attr-defined] # CursorResult


def free_claims(session: Session, token: str) -> None:
    """An orderly stop: uncertain deliveries in hand that were not worked on are let go."""
    session.execute(
        update(Delivery)
        .where(col(Delivery.claimed_by) == token, col(Delivery.state) == DeliveryState.UNCERTAIN.value)
        .values(claimed_by=None)
    )


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """One destination's queue: open deliveries by state, age of the oldest in seconds."""

    destination: str
    state: str
    count: int
    oldest_age: float


def queue_depths(session: Session, now: float) -> list[QueueDepth]:
    """Depth and oldest age by destination and state."""
    rows = session.exec(
        select(Delivery.destination, Delivery.state, func.count(), func.min(Delivery.created_at))
        .where(col(Delivery.state).not_in(_FINAL))
        .group_by(Delivery.destination, Delivery.state)
    ).all()
    return [QueueDepth(r[0], r[1], r[2], max(0.0, now - r[3])) for r in rows]
