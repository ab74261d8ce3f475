"""What a person does to deliveries and received mails: the statements, by name.

Guarantee: no function commits. A delivery that a process has in hand is never touched; a cancelled one releases what
waits behind it. Everything read here is locked until the transaction ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlmodel import Session

from gateway.exchange.delivery import DeliveryState, move
from gateway.journal import queue
from gateway.journal.queue import BY_HAND
from gateway.journal.sql import lock, run


@dataclass(frozen=True, slots=True)
class Handled:
    """A delivery as a person finds it."""

    id: int
    message_id: int | None
    mail_id: int | None
    control_id: str
    destination: str
    recipient: str
    action: str
    state: DeliveryState
    plan: bytes
    uids: tuple[str, ...]
    on_hold: bool
    in_hand: bool
    """A process is sending it, or asking what became of it."""
    may_have_happened: bool
    """An attempt ended without an answer."""


def delivery(session: Session, delivery_id: int, *, ending: bool = False) -> Handled | None:
    """The delivery, None when there is none. `ending`: it is to be ended, so its sets are locked first."""
    if ending:
        queue.lock_sets(session, run(session, "set_keys_of_delivery", delivery_id=delivery_id).scalars())
    row = run(session, "delivery_by_hand", delivery_id=delivery_id).first()
    if row is None:
        return None
    return Handled(
        id=row.id,
        message_id=row.message_id,
        mail_id=row.mail_id,
        control_id=row.control_id or "",
        destination=row.destination,
        recipient=row.recipient,
        action=row.action,
        state=DeliveryState(row.state),
        plan=row.plan,
        uids=tuple(run(session, "uids_of_delivery", delivery_id=delivery_id).scalars()),
        on_hold=row.claimed_by == BY_HAND,
        in_hand=row.claimed_by not in (None, BY_HAND),
        may_have_happened=bool(row.may_have_happened) or row.state == DeliveryState.UNCERTAIN,
    )


def hold(session: Session, delivery_id: int, now: float) -> bool:
    """Nobody claims it any more; False when a process has it in hand."""
    return bool(run(session, "hold_delivery", delivery_id=delivery_id, now=now).rowcount)


def release(session: Session, delivery_id: int, now: float) -> None:
    """It goes on where it was, due now; the time that it was kept back is given back to its lifetime."""
    run(session, "release_delivery", delivery_id=delivery_id, now=now)


def retry(session: Session, delivery_id: int, now: float) -> None:
    """It is due now."""
    run(session, "retry_delivery", delivery_id=delivery_id, now=now)


def cancel(session: Session, handled: Handled, label: str, now: float) -> None:
    """End it; what waits behind it goes on."""
    move(handled.state, DeliveryState.CANCELLED)
    run(session, "cancel_delivery", delivery_id=handled.id, label=label, now=now)
    queue.release_order(session, handled.id, handled.destination, handled.recipient, now)


def open_to(session: Session, destination: str) -> Sequence[int]:
    """Unfinished deliveries to a destination, oldest first."""
    return run(session, "open_deliveries_to", destination=destination).scalars().all()


def open_of(session: Session, control_id: str) -> dict[str, list[int]]:
    """Unfinished deliveries of the messages with this MSH-10, by sender (`application|facility`), oldest first."""
    found: dict[str, list[int]] = {}
    for row in run(session, "open_deliveries_of", control_id=control_id):
        found.setdefault(row.sender, []).append(row.id)
    return found


def open_rows(session: Session, destination: str | None, after: int, limit: int) -> Sequence[Any]:
    """Unfinished deliveries for a page or a command, oldest first (no plan)."""
    return run(session, "deliveries_for_people", destination=destination, after=after, limit=limit).all()


def one_row(
    session: Session, delivery_id: int
) -> tuple[Any, Sequence[Any], Sequence[str], Sequence[int]] | None:
    """One delivery, its attempts, its documents, the deliveries that it waits for; None when there is none."""
    row = run(session, "delivery_for_people", delivery_id=delivery_id).first()
    if row is None:
        return None
    return (
        row,
        run(session, "attempts_of_delivery", delivery_id=delivery_id).all(),
        run(session, "uids_of_delivery", delivery_id=delivery_id).scalars().all(),
        run(session, "ahead_of_delivery", delivery_id=delivery_id).scalars().all(),
    )


@dataclass(frozen=True, slots=True)
class HandledMail:
    """A received mail as a person finds it."""

    id: int
    mailbox: str
    state: str
    kind: str
    reason: str
    seen: bool
    complete: bool
    """Its bytes are kept (not too large to be fetched, not emptied since)."""
    used: bool
    """A receipt or a delivery came of it: treating it again would tell twice."""


def mail(session: Session, mail_id: int) -> HandledMail | None:
    """The mail, None when there is none."""
    lock(session, f"mail {mail_id}")
    row = run(session, "mail_by_hand", mail_id=mail_id).first()
    if row is None:
        return None
    return HandledMail(
        id=row.id,
        mailbox=row.mailbox,
        state=row.state,
        kind=row.kind,
        reason=row.reason,
        seen=row.seen_at is not None,
        complete=bool(row.sha256) and (not row.kept or bool(row.there) or bool(row.parts)),
        used=bool(row.receipts) or bool(row.deliveries),
    )


def retry_mail(session: Session, mail_id: int, now: float) -> bool:
    """It is treated again; False when it is not at its end."""
    return bool(run(session, "retry_mail", mail_id=mail_id, now=now).rowcount)


def mail_seen(session: Session, mail_id: int, now: float) -> bool:
    """A person has seen it; False when it is not at its end."""
    return bool(run(session, "mail_seen", mail_id=mail_id, now=now).rowcount)


def mail_rows(session: Session, limit: int) -> Sequence[Any]:
    """Mails that wait for a person, the last first."""
    return run(session, "mails_for_people", limit=limit).all()
