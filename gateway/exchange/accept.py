"""The second commit of the ACK path: documents registered, ACK kept, deliveries enqueued, all or nothing.

Purpose: everything that follows from AA stands in one transaction. The version rules are asked again inside
it: two messages racing with the same document cannot both be accepted.

Guarantee: `accept` either writes everything and returns no rejecting finding, or writes nothing.
Runs in the journal's writer thread: pure work and statements only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlmodel import Session

from connectors.port import Connector, PlannedDelivery
from gateway.cda.check import document_place
from gateway.cda.document import Document
from gateway.cda.versions import VersionDecision, check_pair_versions, check_versions, patient_key
from gateway.errors import Finding, Place, rejected
from gateway.exchange.delivery import FINAL, DeliveryState
from gateway.exchange.publisher import Facts, Publisher
from gateway.exchange.tell import DPI, Sender, tell_known
from gateway.hl7.transmission import Transmission
from gateway.journal import queue, records
from gateway.journal.queue import Earlier, NewDelivery
from gateway.journal.sql import lock
from gateway.rules import Findings, RuleBook
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Acceptance:
    """All that is to be committed for one accepted message."""

    transmission: Transmission
    charset: str
    documents: tuple[Document, ...]
    deliveries: Mapping[str, Sequence[PlannedDelivery]]
    book: RuleBook
    settings: Settings
    connectors: Mapping[str, Connector]
    now: datetime
    publisher: Publisher
    about: Mapping[int, str] = field(default_factory=dict, repr=False)
    """Part → `Document.about`."""
    facts: Facts = field(default=(), repr=False)
    """Facts of the indicators to write with it."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What came of it: `findings` reject when nothing was written; `destinations` have work now."""

    findings: Sequence[Finding]
    destinations: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Work:
    """What remains to be done for this message."""

    new: list[tuple[str, PlannedDelivery]] = field(default_factory=list)
    under_way: list[Earlier] = field(default_factory=list)
    done: list[tuple[str, PlannedDelivery, Earlier]] = field(default_factory=list)


def check_register(
    session: Session,
    transmission: Transmission,
    documents: Sequence[Document],
    book: RuleBook,
    settings: Settings,
) -> list[Finding]:
    """The version rules of every document against the register (read-only)."""
    decisions = _decisions(session, transmission, documents, book, settings)
    found = [f for d in decisions for f in d.findings]
    return found + _pair(session, transmission, documents, decisions, book)


def _pair(
    session: Session,
    transmission: Transmission,
    documents: Sequence[Document],
    decisions: Sequence[VersionDecision],
    book: RuleBook,
) -> list[Finding]:
    """What came together is replaced or deleted together."""
    places = [document_place(transmission.parts[d.part]) for d in documents if d.uid]
    return check_pair_versions(transmission.action, decisions, records.SqlRegister(session), book, places)


def _decisions(
    session: Session,
    transmission: Transmission,
    documents: Sequence[Document],
    book: RuleBook,
    settings: Settings,
) -> list[VersionDecision]:
    register = records.SqlRegister(session)
    return [
        check_versions(
            transmission.action,
            document,
            register,
            book,
            document_place(transmission.parts[document.part]),
            settings.versions.unknown_predecessor,
        )
        for document in documents
        if document.uid  # a document without id was refused already (CDA-H08)
    ]


def _decisions_alone(session: Session, acceptance: Acceptance) -> list[VersionDecision]:
    """The decisions, with everything that they and the deliveries depend on locked: each document, what it replaces,
    its set."""
    headers = [(d.uid, d.header) for d in acceptance.documents]
    names = {f"document {uid}" for uid, _header in headers}
    names |= {f"document {h.replaced_id}" for _uid, h in headers if h.replaced_id}
    names |= {f"set {h.set_id}" for _uid, h in headers if h.set_id}
    more = names
    while True:
        locked = lock(session, *more)
        decisions = _decisions(
            session, acceptance.transmission, acceptance.documents, acceptance.book, acceptance.settings
        )
        # a set that the register alone knows: what it has is read again once it is ours
        more = {f"set {d.set_key}" for d in decisions} - names
        if not locked or not more:
            return decisions
        names |= more


def accept(
    session: Session, message_id: int, ack: bytes, findings: Iterable[Finding], acceptance: Acceptance
) -> Accepted:
    """Register, enqueue, keep the ACK. See the module."""
    transmission, now = acceptance.transmission, acceptance.now.timestamp()
    records.begin_answer(session, message_id)
    decisions = _decisions_alone(session, acceptance)
    versions = [f for d in decisions for f in d.findings]
    versions += _pair(session, transmission, acceptance.documents, decisions, acceptance.book)
    if rejected(versions):
        return Accepted(versions)
    work = _remaining(session, acceptance)
    if not work.new and all(d.same_document for d in decisions):
        nothing = Findings(acceptance.book)
        nothing.add("EXC-ALREADY-TRANSMITTED", Place("OBX", transmission.parts[0].place.occurrence, 5))
        return Accepted(nothing)

    payload_id = records.payload_of(session, message_id)
    rows: dict[str, int] = {}
    set_keys: dict[str, str] = {}
    for document, decision in zip(acceptance.documents, decisions, strict=True):
        part = transmission.parts[document.part]
        rows[document.uid] = records.add_document(
            session,
            message_id,
            payload_id,
            records.NewDocument(
                part=document.part,
                uid=document.uid,
                set_key=decision.set_key,
                version=document.header.version,
                replaces_uid=decision.predecessor_uid,
                action=transmission.action,
                type_code=document.header.code.code if document.header.code else "",
                author_organisations=document.header.author_organisations,
                patient=patient_key(document),
                sha256=document.sha256,
                size=len(document.content),
                slice_offset=part.offset,
                slice_length=part.length,
                about=acceptance.about.get(document.part, "{}"),
            ),
            now,
        )
        set_keys[document.uid] = decision.set_key
    tell, tell_reading = transmission.flags.ack_reception, transmission.flags.ack_lecture_mss
    sender = Sender.of(transmission, acceptance.charset)
    destinations: set[str] = set()
    for destination, planned in work.new:
        delivery_id = queue.enqueue(
            session,
            NewDelivery(
                message_id=message_id,
                destination=destination,
                recipient=planned.recipient,
                action=transmission.action,
                documents=tuple((rows[uid], uid, set_keys[uid]) for uid in planned.document_uids),
                plan=planned.plan,
                now=now,
                lifetime=acceptance.settings.engine.retry.lifetime,
                keys=planned.keys,
            ),
        )
        destinations.add(destination)
        if tell or tell_reading:
            queue.report_to(session, delivery_id, message_id)
    routing: dict[str, Any] = {
        "sender": sender.as_json(),
        "ack_reception": tell,
        "ack_reading": tell_reading,
    }
    records.answer(session, message_id, "AA", ack, [*findings], routing, now)
    if tell or tell_reading:
        queue.lock_told(session, {e.id for e in (*work.under_way, *(e for _d, _p, e in work.done))})
        for earlier in work.under_way:
            queue.report_to(session, earlier.id, message_id)
        for destination, planned, earlier in work.done:
            # what comes back later is told too
            queue.report_to(session, earlier.id, message_id)
            connector = acceptance.connectors[destination]
            known = tell_known(
                session,
                message_id,
                connector,
                planned.recipient,
                earlier,
                acceptance.settings,
                acceptance.now,
            )
            if known:
                destinations.add(DPI)
    for document in acceptance.documents:
        records.add_fact(
            session,
            "document_accepted",
            now,
            message_id=message_id,
            uid=document.uid,
            set_key=set_keys[document.uid],
            version=document.header.version,
            action=transmission.action.value,
            type_code=document.header.code.code if document.header.code else "",
        )
    acceptance.publisher.write(session, acceptance.facts)
    return Accepted(versions, frozenset(destinations))


def _remaining(session: Session, acceptance: Acceptance) -> _Work:
    """Sort the planned deliveries: to run, under way, done already (same document, destination,
    recipient).
    """
    work = _Work()
    for destination, planned_list in acceptance.deliveries.items():
        for planned in planned_list:
            per_uid = [
                queue.earlier_deliveries(
                    session, destination, planned.recipient, acceptance.transmission.action, uid
                )
                for uid in planned.document_uids
            ]
            running = [_first(e, lambda s: s not in FINAL) for e in per_uid]
            done = [_first(e, lambda s: s is DeliveryState.SUCCEEDED) for e in per_uid]
            found = [d or r for d, r in zip(done, running, strict=True)]
            if not found or any(f is None for f in found):
                work.new.append((destination, planned))
            elif still := next((r for r, d in zip(running, done, strict=True) if d is None), None):
                work.under_way.append(still)
            elif done[0] is not None:
                work.done.append((destination, planned, done[0]))
    return work


def _first(earlier: Sequence[Earlier], wanted: Callable[[DeliveryState], bool]) -> Earlier | None:
    return next((e for e in earlier if wanted(e.state)), None)
