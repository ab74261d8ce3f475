"""What the connector makes of a mail of its mailbox, without a gateway around it (spec/mssante.md §2.2, §2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from connectors.mailbox_port import Incoming, NotTreated, Receipts, SentDelivery
from connectors.mss.addresses import domain_of
from connectors.mss.answer import AnswerPlan, any_plan
from connectors.mss.boxes import ApplicativeMailbox
from connectors.mss.receipts import reading as receipts
from connectors.mss.receipts.model import Mdn
from connectors.mss.receiving import Receiving
from connectors.port import Outcome, OutcomeClass
from gateway.rules import load_rulebook
from tests.mss import samples
from tests.mss.inbound.samples import MAILBOX, TABLE, mail
from tests.mss.receipts import mails

BOOK = load_rulebook([TABLE, Path(__file__).parents[2] / "connectors" / "mss" / "rules.toml"])
NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
SENDER = "pfi@autre-hopital.mssante.fr"
REFUSED = Outcome(OutcomeClass.PERMANENT, "AE", "refus", {"errors": ["207/902"]})
DONE = Outcome(OutcomeClass.SUCCESS, "AA", "ok")
# made once, outside any event loop (the samples run the connector); its sender asks for nothing
RAW = mail(drop="Disposition-Notification-To")


@dataclass(frozen=True, slots=True)
class Kept:
    raw: bytes
    id: int = 1
    mailbox: str = "bal"
    sha256: str = "x"
    size: int = 1

    async def read(self) -> bytes:
        return self.raw


class NoLedger:
    async def sent(self, keys: Sequence[str]) -> Sequence[SentDelivery]:
        return ()


def receiving(**box: Any) -> Receiving:
    settings = {
        "name": "bal",
        "address": MAILBOX,
        "host": "127.0.0.1",
        "tls": "none",
        "user": "x",
        "secret_file": "x",
        "dpi": {"application": "DPI", "facility": "H"},
    }
    made = ApplicativeMailbox.model_validate(settings | box)
    return Receiving({"bal": made}, BOOK, told_at_acceptance=False, sender_name="Urologie", product="essai")


def rules(incoming: object) -> list[str]:
    assert isinstance(incoming, Incoming)
    return [f.rule for f in incoming.findings if f.rejects]


async def test_a_mail_gives_its_documents_for_the_dpi_of_its_mailbox() -> None:
    found = await receiving().treat(Kept(RAW), NoLedger())
    assert isinstance(found, Incoming) and rules(found) == [] and found.route == "DPI|H"
    message = found.build(0, "ID1", NOW, None)
    assert message.codec == "utf-8" and message.content.startswith(b"MSH|^~\\&|PFI|H|DPI|H|")


async def test_the_unit_of_a_mailbox_is_named_as_recipient() -> None:
    """Note 3 of the volet: a table mailbox → organisation gives PRT-8."""
    unit = {"name": "Service d'urologie", "id_type": "UF", "number": "3435"}
    own = "dr.martin@test-hopital.mssante.fr"  # the recipient of the sample
    found = await receiving(unit=unit, address=own).treat(Kept(RAW), NoLedger())
    assert isinstance(found, Incoming)
    lines = found.build(0, "ID1", NOW, None).content.decode().split("\r")
    (recipient,) = (line for line in lines if line.startswith("PRT") and "|RCT^" in line)
    assert "|Service d'urologie^^^^^^UF^^^3435|" in recipient and recipient.endswith(f"^^X.400^{own}")


async def test_a_document_in_a_mailbox_without_a_dpi_is_an_error_for_a_person() -> None:
    found = await receiving(dpi=None).treat(Kept(RAW), NoLedger())
    assert rules(found) == ["MSS-NO-ROUTE"]


async def test_what_is_no_document_is_not_treated() -> None:
    found = await receiving().treat(Kept(b"From: a@b.fr\r\nSubject: bonjour\r\n\r\nbonjour\r\n"), NoLedger())
    assert isinstance(found, NotTreated) and (found.kind, found.failed) == ("quarantine", False)


async def test_an_mdn_answers_who_asks_and_says_the_dpis_code() -> None:
    """Success: processed; refusal 902: the code, read back by our own reader. §2.6."""
    way_back = receiving()
    raw = b"Return-Path: <%b>\r\nDisposition-Notification-To: %b\r\n" % (SENDER.encode(), SENDER.encode())
    raw += RAW
    for outcome, error in ((DONE, None), (REFUSED, "902")):
        conclusion = await way_back.conclude(Kept(raw), [outcome], (), NOW)
        assert (conclusion.error.code if conclusion.error else None) == error
        (answer,) = conclusion.answers
        plan = any_plan(answer.plan)
        assert isinstance(plan, AnswerPlan) and answer.recipient == SENDER and answer.keys == (plan.envid,)
        made = way_back.mdn(plan, raw)
        assert made.return_path == "" and made.content == way_back.mdn(plan, raw).content
        read = receipts.read(made.content)
        assert isinstance(read, Mdn) and read.error == error


async def test_nobody_is_answered_who_does_not_ask_or_must_not_be() -> None:
    way_back = receiving()
    header = b"Return-Path: <%b>\r\nDisposition-Notification-To: %b\r\n"
    own = MAILBOX.encode()
    for raw in (
        RAW,
        header % (b"autre@x.mssante.fr", SENDER.encode()) + RAW,  # not the Return-Path
        header % (SENDER.encode(), SENDER.encode()) + b"Auto-Submitted: auto-replied\r\n" + RAW,
        header % (own, own) + RAW,  # our own mailbox
    ):
        assert (await way_back.conclude(Kept(raw), [DONE], (), NOW)).answers == ()
    asked = header % (SENDER.encode(), SENDER.encode()) + RAW
    assert (await receiving(mdn=False).conclude(Kept(asked), [DONE], (), NOW)).answers == ()


async def test_an_mdn_never_leaves_the_space_of_trust() -> None:
    """It encloses the whole mail: with a white list, only its domains are answered."""
    raw = b"Return-Path: <%b>\r\nDisposition-Notification-To: %b\r\n" % (SENDER.encode(), SENDER.encode())
    for listed, answers in (({"autre-hopital.mssante.fr"}, 1), ({"test-hopital.mssante.fr"}, 0)):
        way_back = receiving()
        way_back._may_write = lambda address, domains=listed: domain_of(address) in domains  # type: ignore[misc]
        assert len((await way_back.conclude(Kept(raw + RAW), [DONE], (), NOW)).answers) == answers


async def test_one_document_of_two_refused_is_an_error_that_says_so() -> None:
    conclusion = await receiving().conclude(Kept(RAW), [DONE, REFUSED], (), NOW)
    assert conclusion.error is not None and conclusion.error.code == "902"
    assert "1 document(s) sur 2 intégré(s)." in conclusion.error.reasons


async def test_no_document_at_all_is_an_error() -> None:
    conclusion = await receiving().conclude(Kept(RAW), [], (), NOW)
    assert conclusion.error is not None and conclusion.error.code == "906"


async def test_a_mailbox_that_the_settings_do_not_name_any_more() -> None:
    """Its mails are not lost, nor a bug of ours: a document is an error for a person, who was integrated is so."""
    way_back = receiving()
    gone = Kept(RAW, mailbox="gone")
    assert rules(await way_back.treat(gone, NoLedger())) == ["MSS-NO-ROUTE"]
    conclusion = await way_back.conclude(gone, [DONE], (), NOW)
    assert conclusion.error is None and conclusion.answers == ()
    report = await way_back.treat(Kept(mails.mdn(), mailbox="gone"), NoLedger())
    assert isinstance(report, Receipts) and report.kind == "mdn"


async def test_only_a_failure_is_a_bounce() -> None:
    for action, bounced in (("failed", True), ("delayed", False), ("delivered", False)):
        status = {"failed": "5.1.1", "delayed": "4.4.1", "delivered": "2.0.0"}[action]
        found = await receiving().treat(Kept(mails.dsn(mails.recipient_block(action, status))), NoLedger())
        assert isinstance(found, Receipts) and found.bounced is bounced


async def test_what_is_told_of_a_mail_whose_report_is_waited_for() -> None:
    """Decision 31: Y comes with the report; who asks afterwards about a mail that asked for none gets what is known;
    a code of ours that SMTPERRORCODE lacks is 554."""
    box = {"name": "bal", "address": samples.SETTINGS["from_address"], "host": "127.0.0.1", "tls": "none"}
    box |= {"user": "x", "secret_file": "x"}
    connector = samples.connector({"mailboxes": [box]})
    done = Outcome(OutcomeClass.SUCCESS, "250", "ok", {"dsn": True})
    for asked, told in ((True, False), (False, True)):
        message = samples.transmission(flags=samples.flags(ack_reception=asked))
        (delivery,) = samples.accepted(await connector.prepare(samples.preparation(message))).deliveries[:1]
        report = connector.report(delivery.recipient, delivery.plan, done)
        assert (report is not None) is told and (report is None or report.accepted)
        cancelled = Outcome(OutcomeClass.PERMANENT, "ANNULATION", "annulé")
        refusal = connector.report(delivery.recipient, delivery.plan, cancelled)
        assert refusal is not None and (refusal.accepted, refusal.code) == (False, "554")
