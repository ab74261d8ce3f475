"""Received mails, their documents and receipts in the journal: the statements of the way back, by name.

Guarantee: no function commits. A mail is kept once for its place in the mailbox; its state only goes forward.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from sqlmodel import Session

from connectors.port import Report
from gateway.errors import Finding, Severity
from gateway.exchange.delivery import FINAL, DeliveryState
from gateway.hl7.transmission import Action
from gateway.journal.records import finding_row
from gateway.journal.sql import insert, lock, run

FARTHEST = 600.0
"""Seconds: the mailroom puts nothing off for that long."""


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to keep."""

    connector: str
    mailbox: str
    place: str
    sha256: str
    size: int
    now: float


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail that has something to be done with."""

    id: int
    connector: str
    mailbox: str
    place: str
    payload_id: int
    sha256: str
    size: int
    state: str
    attempts: int


def known(session: Session, mailbox: str, places: Iterable[str]) -> set[str]:
    """Those of `places` that are kept."""
    return {
        place
        for place in places
        if run(session, "received_mail_at", mailbox=mailbox, place=place).first() is not None
    }


def keep(session: Session, new: NewMail, payload: Callable[[], int]) -> int | None:
    """Keep a mail; its row id, None when its place is known (then `payload`, which stores its bytes, is not called)."""
    if run(session, "received_mail_at", mailbox=new.mailbox, place=new.place).first() is not None:
        return None
    return insert(
        session,
        "insert_received_mail",
        connector=new.connector,
        mailbox=new.mailbox,
        place=new.place,
        payload_id=payload(),
        sha256=new.sha256,
        size=new.size,
        now=new.now,
    )


def due(session: Session, now: float, limit: int) -> list[Mail]:
    """Mails to treat or to conclude, the longest due first.

    One that is due later than any is put off was put off before the clock was set back: it is due now.
    """
    rows = run(session, "due_mails", now=now, farthest=now + FARTHEST, limit=limit).all()
    return [
        Mail(r.id, r.connector, r.mailbox, r.place, r.payload_id, r.sha256, r.size, r.state, r.attempts)
        for r in rows
    ]


def next_due(session: Session) -> float | None:
    """When the next mail is due."""
    at: float | None = run(session, "next_due_mail").scalar()
    return at


def postpone(session: Session, mail_id: int, due_at: float, *, tried: bool = True) -> None:
    """Try again later; `tried`: counted as a try."""
    run(session, "postpone_mail", mail_id=mail_id, due_at=due_at, tries=int(tried))


def forwarded(session: Session, mail_id: int, findings: Iterable[Finding]) -> bool:
    """Its documents are enqueued for the DPI; False when that was done before."""
    rows = json.dumps([finding_row(f) for f in findings], ensure_ascii=False)
    return bool(run(session, "mail_forwarded", mail_id=mail_id, findings=rows).rowcount)


def ended(session: Session, mail_id: int, now: float) -> bool:
    """After the end of one of its deliveries: True when it was the last one to a DPI."""
    lock(session, f"mail {mail_id}")  # else the last two would each see the other one open
    return bool(run(session, "mail_ended", mail_id=mail_id, now=now).rowcount)


def treated(
    session: Session, mail_id: int, kind: str, reason: str, findings: Iterable[Finding], now: float
) -> bool:
    """Nothing more is to be done with it but filing; False when that was so before."""
    rows = json.dumps([finding_row(f) for f in findings], ensure_ascii=False)
    done = run(session, "mail_treated", mail_id=mail_id, kind=kind, reason=reason, findings=rows, now=now)
    return bool(done.rowcount)


def findings_of(session: Session, mail_id: int) -> list[Finding]:
    """What was found wrong or odd in a mail, as kept."""
    rows = json.loads(run(session, "mail_findings", mail_id=mail_id).scalar_one())
    return [Finding(f["rule"], Severity(f["severity"]), f["err3"], f["err5"], f["text"], None) for f in rows]


def treated_before(session: Session, mail: Mail) -> bool:
    """True when a mail with the same bytes was kept before in this mailbox, so that this one is nothing new.

    Not when that one failed and this one lies in the same folder (same UIDVALIDITY): whoever put it back there, after
    the cause was repaired, wants it treated.
    """
    rows = run(
        session, "received_mails_before", sha256=mail.sha256, mailbox=mail.mailbox, mail_id=mail.id
    ).all()
    folder = mail.place.partition(":")[0]
    put_back = any(r.place.partition(":")[0] == folder for r in rows)
    failed = all(
        r.state == "treated" and (r.kind == "quarantine" or r.reason) for r in rows if r.kind != "duplicate"
    )
    return bool(rows) and not (put_back and failed)


@dataclass(frozen=True, slots=True)
class ToFile:
    """A treated mail whose mailbox does not know it yet."""

    id: int
    connector: str
    mailbox: str
    place: str
    kind: str
    reason: str


def to_file(session: Session, after: int, limit: int) -> list[ToFile]:
    """Treated mails to flag or move, oldest first, from the one after the row `after` on."""
    rows = run(session, "mails_to_file", after=after, limit=limit).all()
    return [ToFile(r.id, r.connector, r.mailbox, r.place, r.kind, r.reason) for r in rows]


def filed(session: Session, mail_id: int, now: float) -> None:
    """The mailbox knows it."""
    run(session, "mail_filed", mail_id=mail_id, now=now)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """One message to the DPI for a document of a mail, with its last outcome."""

    delivery_id: int
    uid: str
    state: str
    outcome: str
    code: str
    label: str
    details: dict[str, Any] = field(default_factory=dict)


def forwards_of(session: Session, mail_id: int) -> list[Forwarded]:
    """The messages of a mail to the DPI, in their order."""
    rows = run(session, "deliveries_of_mail", mail_id=mail_id).all()
    return [
        Forwarded(r.id, r.uid or "", r.state, r.outcome or "", r.code, r.label, json.loads(r.details or "{}"))
        for r in rows
    ]


# --- documents ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewReceivedDocument:
    """A document on its way to a DPI."""

    mail_id: int
    position: int
    uid: str
    set_key: str
    version: int | None
    replaces_uid: str | None
    action: Action
    type_code: str
    patient: str = field(repr=False)
    confidentiality: frozenset[str]
    sha256: str
    size: int
    delivery_id: int
    about: str = "{}"
    """JSON for the facts of the indicators (`ReceivedDocument.about`)."""


def add_document(session: Session, new: NewReceivedDocument, now: float) -> int:
    """Register it; its row id."""
    return insert(
        session,
        "insert_received_document",
        mail_id=new.mail_id,
        position=new.position,
        uid=new.uid,
        set_key=new.set_key,
        version=new.version,
        replaces_uid=new.replaces_uid,
        action=new.action.value,
        type_code=new.type_code,
        patient=new.patient,
        confidentiality=json.dumps(sorted(new.confidentiality)),
        sha256=new.sha256,
        size=new.size,
        delivery_id=new.delivery_id,
        now=now,
        about=new.about,
    )


@dataclass(frozen=True, slots=True)
class KnownReceived:
    """A document that came by mail before; `state` is that of its delivery to the DPI."""

    mail_id: int
    uid: str
    set_key: str
    version: int | None
    sha256: str
    patient: str = field(repr=False)
    action: Action
    confidentiality: frozenset[str]
    state: str

    @property
    def integrated(self) -> bool:
        """The DPI accepted it."""
        return self.state == DeliveryState.SUCCEEDED

    @property
    def under_way(self) -> bool:
        """The DPI has not answered yet."""
        return DeliveryState(self.state) not in FINAL


def documents_by(session: Session, what: Literal["uid", "set"], key: str, route: str) -> list[KnownReceived]:
    """Documents with this uid or of this set that were sent to the DPI of `route`, oldest first."""
    rows = run(session, f"received_documents_by_{what}", key=key, route=route).all()
    return [
        KnownReceived(
            r.mail_id,
            r.uid,
            r.set_key,
            r.version,
            r.sha256,
            r.patient,
            Action(r.action),
            frozenset(json.loads(r.confidentiality)),
            r.state,
        )
        for r in rows
    ]


# --- receipts -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KnownDelivery:
    """A delivery that a receipt may name."""

    id: int
    destination: str
    recipient: str = field(repr=False)
    plan: bytes = field(repr=False)
    state: str
    message_id: int | None


def deliveries_by_key(session: Session, keys: Sequence[str], destination: str) -> list[KnownDelivery]:
    """Deliveries of a destination that were enqueued with one of these keys."""
    found: dict[int, KnownDelivery] = {}
    for key in keys:
        for r in run(session, "delivery_by_key", key=key):
            if r.destination == destination and r.plan:  # without its plan (retention) it is for a person
                found[r.id] = KnownDelivery(r.id, r.destination, r.recipient, r.plan, r.state, r.message_id)
    return list(found.values())


def delivery(session: Session, delivery_id: int) -> KnownDelivery:
    """A delivery by its row."""
    r = run(session, "delivery_by_id", delivery_id=delivery_id).one()
    return KnownDelivery(r.id, r.destination, r.recipient, r.plan, r.state, r.message_id)


@dataclass(frozen=True, slots=True)
class KnownReceipt:
    """What came back about a delivery. `report` is what a ZAM says of it, None when it says nothing."""

    id: int
    event: str
    fact: str
    code: str
    told: bool
    report: Report | None = field(repr=False)


def receipts_of(session: Session, delivery_id: int) -> list[KnownReceipt]:
    """The receipts of a delivery, oldest first."""
    return [
        KnownReceipt(
            r.id,
            r.event,
            r.fact,
            r.code,
            bool(r.told),
            None
            if r.accepted is None
            else Report(r.event, bool(r.accepted), r.recipient, r.recipient_id, r.code, r.label),
        )
        for r in run(session, "receipts_of_delivery", delivery_id=delivery_id)
    ]


def add_receipt(
    session: Session,
    mail_id: int,
    delivery_id: int,
    event: str,
    fact: str,
    code: str,
    report: Report | None,
    now: float,
    *,
    told: bool,
) -> int:
    """Append a receipt; its row id."""
    return insert(
        session,
        "insert_receipt",
        mail_id=mail_id,
        delivery_id=delivery_id,
        event=event,
        fact=fact,
        accepted=None if report is None else report.accepted,
        recipient=report.recipient if report else "",
        recipient_id=report.recipient_id if report else "",
        code=code,
        label=report.label if report else "",
        told=told,
        now=now,
    )


# --- receipts that are waited for -----------------------------------------------------------------------------------


def await_receipt(session: Session, delivery_id: int, due_at: float) -> None:
    """A receipt is to come before `due_at`."""
    run(session, "insert_awaited", delivery_id=delivery_id, due_at=due_at)


def came(session: Session, delivery_id: int) -> bool:
    """It came, or is not waited for any more; False when it was not waited for."""
    return bool(run(session, "delete_awaited", delivery_id=delivery_id).rowcount)


def overdue(session: Session, now: float, limit: int) -> Sequence[int]:
    """Deliveries whose receipt has not come in time, longest first."""
    return run(session, "awaited_due", now=now, limit=limit).scalars().all()
