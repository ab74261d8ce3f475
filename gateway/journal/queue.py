"""Deliveries in the journal: enqueue, settle, recover (claim: `claims.py`). The database is the queue.

Guarantee: a delivery is settled only by the process that claimed it; deliveries of one order key to one destination and
recipient run one after the other, in the order of their acceptance; a refused or expired one does not block its
correction. The statements are in `queries.sql`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlmodel import Session

from connectors.port import Outcome
from gateway.exchange.delivery import FINAL, DeliveryState, move
from gateway.hl7.transmission import Action
from gateway.journal.sql import insert, lock, run

if TYPE_CHECKING:
    from gateway.journal.claims import Claimed

ERRORS = "errors"
"""The destination that brings errors to a person."""
BY_HAND = "operator"
"""`claimed_by` of a delivery that a person keeps back."""


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A final transaction to enqueue. `documents` are (row id, uid, set key) in order, the row None for a document
    that came by mail; `lifetime` in seconds. `keys`: what a receipt names it by; `payload_id`: bytes beside the plan.
    """

    message_id: int | None
    destination: str
    recipient: str = field(repr=False)
    action: Action
    documents: tuple[tuple[int | None, str, str], ...]
    plan: bytes = field(repr=False)
    now: float
    lifetime: float
    keys: tuple[str, ...] = ()
    mail_id: int | None = None
    payload_id: int | None = None


def lock_sets(session: Session, set_keys: Iterable[str]) -> None:
    """Nobody else accepts, enqueues or ends a delivery of these sets before the transaction ends: held or ready,
    released or not, told or not are decided on what is so.
    """
    lock(session, *(f"set {key}" for key in set_keys))


def enqueue(session: Session, new: NewDelivery) -> int:
    """Insert a delivery: `held` behind an unfinished one of the same order, else `ready`. Its row id."""
    sets = {set_key for _row, _uid, set_key in new.documents}
    lock_sets(session, sets)
    ahead = any(_open(session, new.destination, new.recipient, set_key) for set_key in sets)
    delivery_id = insert(
        session,
        "insert_delivery",
        message_id=new.message_id,
        mail_id=new.mail_id,
        payload_id=new.payload_id,
        destination=new.destination,
        recipient=new.recipient,
        action=new.action.value,
        state=(DeliveryState.HELD if ahead else DeliveryState.READY).value,
        now=new.now,
        expires_at=new.now + new.lifetime,
        plan=new.plan,
    )
    for position, (document_id, uid, set_key) in enumerate(new.documents):
        run(
            session,
            "insert_delivery_document",
            delivery_id=delivery_id,
            position=position,
            document_id=document_id,
            uid=uid,
            set_key=set_key,
        )
    for key in new.keys:
        run(session, "insert_delivery_key", key=key, delivery_id=delivery_id)
    return delivery_id


def _open(session: Session, destination: str, recipient: str, set_key: str, before: int = 2**62) -> bool:
    """Is there an unfinished delivery of this set there, older than delivery `before`?"""
    found = run(
        session,
        "open_delivery_of_set",
        destination=destination,
        recipient=recipient,
        set_key=set_key,
        before=before,
    )
    return found.first() is not None


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier delivery of a document to the same destination and recipient, for the same action."""

    id: int
    state: DeliveryState
    plan: bytes = field(repr=False)
    outcome: str
    code: str
    label: str
    details: Mapping[str, Any] = field(default_factory=dict)
    """Of its last attempt."""


def earlier_deliveries(
    session: Session, destination: str, recipient: str, action: Action, uid: str
) -> Sequence[Earlier]:
    """Deliveries that already carried (or carry) this document there. Submit and replace count as one."""
    rows = run(
        session,
        "earlier_deliveries",
        uid=uid,
        destination=destination,
        recipient=recipient,
        deletion=int(action is Action.DELETE),
    )
    return [
        Earlier(
            r.id,
            DeliveryState(r.state),
            r.plan,
            r.outcome or "",
            r.code,
            r.label,
            json.loads(r.details or "{}"),
        )
        for r in rows
    ]


def report_to(session: Session, delivery_id: int, message_id: int) -> None:
    """The sender of `message_id` wants to be told how this delivery ends."""
    run(session, "insert_report_to", delivery_id=delivery_id, message_id=message_id)


def lock_told(session: Session, delivery_ids: Iterable[int]) -> None:
    """What is known of these deliveries, and who is told of it, changes in no other transaction: who asks now learns
    of each receipt once."""
    lock(session, *(f"delivery {i}" for i in delivery_ids))


def told(session: Session, delivery_id: int) -> Sequence[int]:
    """Messages whose sender wants to be told of this delivery; no other is added before the transaction ends."""
    lock_told(session, (delivery_id,))
    return run(session, "told_of_delivery", delivery_id=delivery_id).scalars().all()


def next_due(session: Session, destination: str) -> float | None:
    """When the next unclaimed delivery of a destination is due."""
    due: float | None = run(session, "next_due_delivery", destination=destination).scalar()
    return due


def settle(
    session: Session,
    claimed: Claimed,
    after: DeliveryState,
    outcome: Outcome,
    now: float,
    due_at: float | None = None,
) -> bool:
    """End an attempt: the delivery's new state, and the next one of its order made ready when this one is
    final.

    False (and nothing done) when the delivery is not in this process's hands any more.
    """
    final = after in FINAL
    if final:
        lock_sets(session, run(session, "set_keys_of_delivery", delivery_id=claimed.id).scalars())
    row = run(session, "claimed_delivery", delivery_id=claimed.id, token=claimed.token).first()
    if row is None:
        return False
    move(DeliveryState(row.state), after)
    run(
        session,
        "settle_delivery",
        delivery_id=claimed.id,
        state=after.value,
        outcome=outcome.outcome.value,
        code=outcome.code,
        label=outcome.label,
        due_at=due_at,
        now=now,
        finished_at=now if final else None,
    )
    if final:
        release_order(session, claimed.id, claimed.destination, claimed.recipient, now)
    return True


def release_order(session: Session, delivery_id: int, destination: str, recipient: str, now: float) -> None:
    """Held deliveries that share a set with a finished one become ready, unless another one is before them."""
    for set_key in run(session, "set_keys_of_delivery", delivery_id=delivery_id).scalars().all():
        held = (
            run(
                session,
                "held_deliveries_of_set",
                destination=destination,
                recipient=recipient,
                set_key=set_key,
            )
            .scalars()
            .all()
        )
        for held_id in held:
            own = run(session, "set_keys_of_delivery", delivery_id=held_id).scalars().all()
            if not any(_open(session, destination, recipient, key, held_id) for key in own):
                move(DeliveryState.HELD, DeliveryState.READY)
                run(session, "make_ready", delivery_id=held_id, now=now)


def add_attempt(
    session: Session,
    delivery_id: int,
    number: int,
    kind: str,
    started_at: float,
    ended_at: float,
    outcome: Outcome,
) -> None:
    """Append an attempt. `kind`: `deliver`, `reconcile` or `recovery`."""
    run(
        session,
        "insert_attempt",
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


def recover(session: Session, now: float, token: str | None = None) -> dict[str, int]:
    """What a stop left in hand: of the process `token`, or of all (None: nobody else is at work). How many of each.

    `sending` becomes `uncertain` (it may have happened outside); claims are freed; without `token`, `suspended` is
    tried again.
    """
    in_hand = run(session, "deliveries_in_hand", token=token).all()
    for row in in_hand:
        run(
            session,
            "insert_attempt",
            delivery_id=row.id,
            number=row.attempts,
            kind="recovery",
            started_at=now,
            ended_at=now,
            outcome="uncertain",
            code="",
            label="arrêt de la passerelle pendant la transaction",
            details="{}",
        )
    move(DeliveryState.SENDING, DeliveryState.UNCERTAIN)
    run(session, "sending_becomes_uncertain", now=now, token=token)
    run(session, "free_claims", token=token)
    if token is not None:
        return {"uncertain": len(in_hand)}
    move(DeliveryState.SUSPENDED, DeliveryState.READY)
    suspended = run(session, "suspended_becomes_ready", now=now).rowcount
    return {"uncertain": len(in_hand), "suspended": suspended, "waiting": count_open(session)}


def resume_suspended(session: Session, destination: str, now: float, open_for: float) -> int:
    """The circuit closed: suspended deliveries are ready again, and nobody's lifetime was used up by it."""
    run(session, "lengthen_lifetimes", destination=destination, seconds=open_for)
    move(DeliveryState.SUSPENDED, DeliveryState.READY)
    return run(session, "resume_suspended", destination=destination, now=now).rowcount


def open_destinations(session: Session) -> Sequence[str]:
    """Destinations that have unfinished deliveries."""
    return run(session, "open_destinations").scalars().all()


def count_open(session: Session) -> int:
    """Unfinished deliveries."""
    number: int = run(session, "count_open_deliveries").scalar_one()
    return number


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """One destination's queue: open deliveries by state, age of the oldest in seconds."""

    destination: str
    state: str
    count: int
    oldest_age: float


def queue_depths(session: Session, now: float) -> list[QueueDepth]:
    """Depth and oldest age by destination and state."""
    return [
        QueueDepth(r.destination, r.state, r.depth, max(0.0, now - r.oldest))
        for r in run(session, "queue_depths")
    ]
