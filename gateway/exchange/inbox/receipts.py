"""Receipts: what a DSN, an MDN or an error mail establishes of a delivery, committed with the ZAM that tells it.

Purpose: a receipt is a fact beside the delivery's state: a failure that comes late re-qualifies the success in the
facts, it never rewrites the delivery.

Guarantee: one commit per mail; whoever asked is told once for each event, reader and answer; after a Y an N is told (a
late failure), after an N a Y is kept and not told (the recipient has it: nobody must send again because of us, and the
person who was told of the failure decides).
Source: spec/mssante.md §3; architecture §5 (what happened outside, what the DPI was told: two axes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from sqlmodel import Session

from connectors.mailbox_port import ReceiptFact, Receipts
from connectors.port import Connector, Outcome, OutcomeClass, Report
from gateway.exchange import incidents
from gateway.exchange.delivery import DeliveryState
from gateway.exchange.incidents import INCIDENTS
from gateway.exchange.publisher import Publisher
from gateway.exchange.tell import DPI, tell_all
from gateway.journal import mails, records
from gateway.journal.mails import KnownDelivery, KnownReceipt
from gateway.settings import Settings

DELAYED = "delayed"
"""`Receipt.fact` of a report that nothing is decided yet."""
SILENT = "silence"
"""Word of the fact that says that no news came after a delay."""
SILENCE = "Aucun accusé de remise n'est revenu : la remise est à vérifier avec le destinataire."


def record(
    session: Session,
    mail: mails.Mail,
    receipts: Receipts,
    settings: Settings,
    now: float,
    publisher: Publisher,
) -> set[str]:
    """Write the facts of a mail; the words to wake."""
    wake: set[str] = set()
    if not mails.treated(session, mail.id, receipts.kind, receipts.unmatched, (), now):
        return wake  # done before
    for fact in receipts.facts:
        delivery = mails.delivery(session, fact.delivery)
        before = mails.receipts_of(session, delivery.id)
        told = _news(fact.report, before)
        if fact.event == "Z02" and fact.report is not None:
            mails.came(session, delivery.id)
        receipt_id = mails.add_receipt(
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
        _publish(session, publisher, delivery, fact, f"receipt-{receipt_id}", before, now)
        if (
            told
            and fact.report is not None
            and tell_all(session, delivery.id, fact.report, settings, datetime.fromtimestamp(now, UTC))
        ):
            wake.add(DPI)
        if fact.failed and told:
            label = fact.report.label if fact.report else ""
            _note(session, delivery, mail.id, fact.event, fact.code, label, now)
            wake.add(INCIDENTS)
    return wake


def overdue(
    session: Session,
    delivery_id: int,
    connectors: Mapping[str, Connector],
    settings: Settings,
    now: float,
    publisher: Publisher,
) -> set[str]:
    """A receipt that never came: a person is told; the DPI too (N) when the last news was a delay."""
    if not mails.came(session, delivery_id):
        return set()
    delivery = mails.delivery(session, delivery_id)
    found = mails.receipts_of(session, delivery_id)
    if any(r.event == "Z03" or r.report is not None for r in found):
        # opened or integrated: it arrived, whatever became of its report; or the report came in the same instant as the
        # delivery's end
        return set()
    news = [r for r in found if r.event == "Z02"]
    code = news[-1].code if news and news[-1].fact == DELAYED else ""
    wake = {INCIDENTS}
    connector = connectors.get(delivery.destination)
    if code and connector is not None:
        failure = Outcome(OutcomeClass.PERMANENT, code, SILENCE)
        report = connector.report(delivery.recipient, delivery.plan, failure)
        records.add_fact(
            session,
            "receipt",
            now,
            message_id=delivery.message_id,
            delivery_id=delivery_id,
            event="Z02",
            fact="no-news",
            code=code,
            failed=True,
            destination=delivery.destination,
        )
        # after a delay, silence is what the DPI is told: it failed
        publisher.came_back(
            session,
            delivery.id,
            delivery.destination,
            delivery.recipient,
            SILENT,
            "failure",
            code,
            now,
        )
        if report is not None and tell_all(
            session, delivery_id, report, settings, datetime.fromtimestamp(now, UTC)
        ):
            wake.add(DPI)
    _note(session, delivery, None, "Z02", code, SILENCE, now)
    return wake


def _publish(
    session: Session,
    publisher: Publisher,
    delivery: KnownDelivery,
    fact: ReceiptFact,
    word: str,
    before: Sequence[KnownReceipt],
    now: float,
) -> None:
    """To the indicators: what did not arrive takes its success back; what arrived after all is one again. What the
    reader does with it (Z03) changes nothing of the sending (docs/decisions/0034)."""
    if fact.event != "Z02" or (fact.fact == DELAYED and not fact.failed):
        return
    if not fact.failed:
        lost = any(r.event == "Z02" and r.report is not None and not r.report.accepted for r in before)
        stands = delivery.state == DeliveryState.SUCCEEDED and not lost
        if stands and not publisher.told(session, delivery.id, SILENT):
            return
    publisher.came_back(
        session,
        delivery.id,
        delivery.destination,
        delivery.recipient,
        word,
        "failure" if fact.failed else "success",
        fact.code,
        now,
    )


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


def _note(
    session: Session,
    delivery: KnownDelivery,
    mail_id: int | None,
    event: str,
    code: str,
    label: str,
    now: float,
) -> None:
    """A recipient did not get the document, could not integrate it, or nothing is heard of it."""
    if delivery.destination == incidents.ERRORS or delivery.message_id is None:
        return
    control_id, routing = records.routing_of(session, delivery.message_id)
    sender = routing.get("sender", {})
    incidents.note(
        session,
        flow="receipt",
        family=f"{delivery.destination} {event} {code}",
        code=code,
        route=f"{sender.get('application', '')}|{sender.get('facility', '')}",
        now=now,
        message_id=delivery.message_id,
        mail_id=mail_id,
        delivery_id=delivery.id,
        destination=delivery.destination,
        recipient=delivery.recipient,
        control_id=control_id,
        event=event,
        label=label,
    )
