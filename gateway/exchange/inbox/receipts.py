"""Receipts: what a DSN, an MDN or an error mail establishes of a delivery, committed with the ZAM that tells it.

Purpose: a receipt is a fact beside the delivery's state: a failure that comes late re-qualifies the success in the
facts, it never rewrites the delivery.

Guarantee: one commit per mail; whoever asked is told once for each event, reader and answer; after a Y an N is told (a
late failure), after an N a Y is kept and not told (the recipient has it: nobody must send again because of us, and the
person who was told of the failure decides).
Source: spec/mssante.md §3; architecture §5 (what happened outside, what the DPI was told: two axes).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlmodel import Session

from connectors.mailbox_port import ReceiptFact, Receipts
from connectors.port import Report
from gateway.exchange import incidents
from gateway.exchange.incidents import INCIDENTS
from gateway.exchange.tell import DPI, tell_all
from gateway.journal import mails, records
from gateway.journal.mails import KnownDelivery, KnownReceipt
from gateway.settings import Settings


def record(
    session: Session, mail: mails.Mail, receipts: Receipts, settings: Settings, now: float
) -> set[str]:
    """Write the facts of a mail; the words to wake."""
    wake: set[str] = set()
    for fact in receipts.facts:
        delivery = mails.delivery(session, fact.delivery)
        told = _news(fact.report, mails.receipts_of(session, delivery.id))
        mails.add_receipt(
            session,
            mail.id,
            delivery.id,
            fact.event,
            fact.fact,
            fact.code,
            fact.report,
            now,
            told=told,
        )
        records.add_fact(
            session,
            "receipt",
            now,
            message_id=delivery.message_id,
            delivery_id=delivery.id,
            event=fact.event,
            fact=fact.fact,
            code=fact.code,
            failed=fact.failed,
            destination=delivery.destination,
        )
        if (
            told
            and fact.report is not None
            and tell_all(session, delivery.id, fact.report, settings, datetime.fromtimestamp(now, UTC))
        ):
            wake.add(DPI)
        if fact.failed and told:
            _incident(session, mail, delivery, fact, now)
            wake.add(INCIDENTS)
    mails.treated(session, mail.id, receipts.kind, receipts.unmatched, (), now)
    return wake


def _news(report: Report | None, before: Sequence[KnownReceipt]) -> bool:
    """True when this is to be told: the first of its event and reader, or an N after a Y."""
    if report is None:
        return False
    earlier = [
        r.report
        for r in before
        if r.told
        and r.report is not None
        and (r.report.event, r.report.recipient.lower()) == (report.event, report.recipient.lower())
    ]
    return not earlier or (not report.accepted and all(r.accepted for r in earlier))


def _incident(
    session: Session, mail: mails.Mail, delivery: KnownDelivery, fact: ReceiptFact, now: float
) -> None:
    """A recipient did not get the document, or could not integrate it."""
    if delivery.destination == incidents.ERRORS or delivery.message_id is None:
        return
    control_id, routing = records.routing_of(session, delivery.message_id)
    sender = routing.get("sender", {})
    incidents.note(
        session,
        flow="receipt",
        family=f"{delivery.destination} {fact.event} {fact.code}",
        code=fact.code,
        route=f"{sender.get('application', '')}|{sender.get('facility', '')}",
        now=now,
        message_id=delivery.message_id,
        mail_id=mail.id,
        delivery_id=delivery.id,
        destination=delivery.destination,
        recipient=delivery.recipient,
        control_id=control_id,
        event=fact.event,
        label=fact.report.label if fact.report else "",
    )
