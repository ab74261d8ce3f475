"""Documents of a received mail: registered and on their way to the DPI in one commit.

Guarantee: all documents of a mail are enqueued or none; the version rules are asked again inside the commit; a message
for the DPI is stored before its delivery exists, and is the same bytes at every attempt. A document that the DPI has
already is not sent to it twice; the register is each DPI's own, for one gateway serves several.
Source: spec/mssante.md §2.2 (algorithm), §2.5 (versions); docs/decisions/0019 (a mail is one thing).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from sqlmodel import Session

from connectors.mailbox_port import DpiMessage, Incoming, IncomingDocument
from gateway.cda.received import Again, ReceivedDecision, check_received
from gateway.cda.versions import patient_key
from gateway.errors import Finding, rejected
from gateway.exchange.identifiers import control_id
from gateway.exchange.publisher import Publisher
from gateway.exchange.reception import WHOLE, store_parts
from gateway.exchange.tell import DPI
from gateway.hl7.transmission import Action
from gateway.journal import mails, payloads, queue, records
from gateway.journal.mails import Mail, NewReceivedDocument
from gateway.journal.queue import NewDelivery
from gateway.journal.store import Journal
from gateway.rules import RuleBook
from gateway.settings import Settings


@dataclass(frozen=True, slots=True)
class Decided:
    """The version rules' answer for a whole mail. `new`: numbers of the documents to send."""

    decisions: tuple[ReceivedDecision, ...]
    findings: tuple[Finding, ...]
    new: tuple[int, ...]

    @property
    def waits(self) -> bool:
        """The DPI has not answered yet about a document that another mail brought."""
        return any(d.again is Again.UNDER_WAY for d in self.decisions)


def decide(session: Session, incoming: Incoming, book: RuleBook) -> Decided:
    """Version rules of every document. Read-only."""
    decisions = tuple(_decision(session, d, incoming.route, book) for d in incoming.documents)
    findings = (*incoming.findings, *(f for d in decisions for f in d.findings))
    return Decided(decisions, findings, tuple(n for n, d in enumerate(decisions) if d.again is Again.NO))


def _decision(session: Session, document: IncomingDocument, route: str, book: RuleBook) -> ReceivedDecision:
    return check_received(
        document.action,
        document.document,
        lambda uid: mails.documents_by(session, "uid", uid, route),
        lambda key: mails.documents_by(session, "set", key, route),
        book,
        document.place,
    )


@dataclass(slots=True)
class _Message:
    """A message for the DPI, and where its bytes are once they are stored (big ones are stored before)."""

    number: int
    control_id: str
    message: DpiMessage = field(repr=False)
    sha256: str
    payload_id: int | None = None

    def store(self, session: Session) -> int:
        """Row of its bytes, in the commit of its delivery."""
        if self.payload_id is not None:
            return payloads.held(session, self.payload_id)
        return payloads.add(session, self.sha256, self.message.content)


async def forward(
    journal: Journal,
    mail: Mail,
    incoming: Incoming,
    decided: Decided,
    book: RuleBook,
    settings: Settings,
    now: float,
    publisher: Publisher,
) -> bool:
    """Enqueue the new documents of `decided`; False when the register changed meanwhile (decide again)."""
    async with AsyncExitStack() as stack:
        messages, holds = [], []
        for number in decided.new:
            made = await _make(incoming, number, decided.decisions[number].previous, now)
            if len(made.message.content) > WHOLE:
                made.payload_id, held = await stack.enter_async_context(
                    store_parts(journal, made.sha256, made.message.content)
                )
                holds.append(held)
            messages.append(made)
        done = await journal.write(
            partial(
                _forward,
                mail=mail,
                incoming=incoming,
                decided=decided,
                messages=messages,
                book=book,
                settings=settings,
                now=now,
                publisher=publisher,
            )
        )
        if done:
            for held in holds:
                held()
        return done


async def _make(incoming: Incoming, number: int, previous: frozenset[str] | None, now: float) -> _Message:
    own_id = control_id()

    def build() -> _Message:
        message = incoming.build(number, own_id, datetime.fromtimestamp(now, UTC), previous)
        return _Message(number, own_id, message, hashlib.sha256(message.content).hexdigest())

    return await asyncio.to_thread(build)


def _forward(
    session: Session,
    mail: Mail,
    incoming: Incoming,
    decided: Decided,
    messages: Sequence[_Message],
    book: RuleBook,
    settings: Settings,
    now: float,
    publisher: Publisher,
) -> bool:
    """The commit. Runs in the journal's writer thread."""
    again = decide(session, incoming, book)
    if again.new != decided.new or rejected(again.findings) != rejected(decided.findings):
        return False
    if not mails.forwarded(session, mail.id, decided.findings):
        return True  # done before
    for made in messages:
        document, decision = incoming.documents[made.number], decided.decisions[made.number]
        header = document.document.header
        type_code = header.code.code if header.code else ""
        about = publisher.about_mail(
            incoming.route, incoming.message_id, mail.sha256, header.code.system if header.code else ""
        )
        delivery_id = queue.enqueue(
            session,
            NewDelivery(
                message_id=None,
                mail_id=mail.id,
                payload_id=made.store(session),
                destination=DPI,
                recipient=incoming.route,
                action=document.action,
                documents=((None, document.document.uid, decision.set_key),),
                plan=json.dumps(
                    {"control_id": made.control_id, "charset": made.message.codec, "integration": True}
                ).encode(),
                now=now,
                lifetime=settings.engine.retry.lifetime,
            ),
        )
        mails.add_document(
            session,
            NewReceivedDocument(
                mail_id=mail.id,
                position=made.number,
                uid=document.document.uid,
                set_key=decision.set_key,
                version=header.version,
                replaces_uid=str(header.replaced_id) if header.replaced_id else None,
                action=document.action,
                type_code=type_code,
                patient=patient_key(document.document),
                confidentiality=document.confidentiality,
                sha256=document.document.sha256,
                size=len(document.document.content),
                delivery_id=delivery_id,
                about=about,
            ),
            now,
        )
        if document.action is not Action.DELETE:
            publisher.received(session, about, document.document.uid, type_code, now)
        records.add_fact(
            session,
            "document_received",
            now,
            delivery_id=delivery_id,
            uid=document.document.uid,
            set_key=decision.set_key,
            version=header.version,
            action=document.action.value,
            type_code=type_code,
            mailbox=mail.mailbox,
        )
    return True
