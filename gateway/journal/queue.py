"""Deliveries in the journal: enqueue, claim, settle, recover. The database is the queue.

Guarantee: a delivery is claimed (`sending`, committed) before anything is sent; it is settled only by the process that
claimed it; deliveries of one order key to one destination and recipient run one after the other, in the order of their
acceptance; a refused or expired one does not block its correction. The statements are in `queries.sql`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlmodel import Session

from connectors.port import Outcome, Predecessor
from gateway.exchange.delivery import FINAL, DeliveryState, move
from gateway.hl7.transmission import Action
from gateway.journal.sql import insert, lock, run

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
