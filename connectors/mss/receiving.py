"""What the MSSanté connector makes of a received mail: receipts, documents for a DPI, an answer.

Purpose: `treat` and `conclude` of the mailbox port over the two pure rooms (`receipts`, `inbound`).
Guarantee: nothing is sent here; the receipts' room is asked first, so that a report never becomes a document; whatever
is in a mail gives a result. Reading runs in threads: about 5 ms for an ordinary mail, seconds for 100 MB.
Fails: never for what is in a mail.
Source: spec/mssante.md §2.2, §2.6, §3; docs/decisions/0018 and 0019.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from connectors.mailbox_port import (
    Conclusion,
    DpiMessage,
    Incoming,
    IncomingDocument,
    KeptMail,
    Ledger,
    MailError,
    NotTreated,
    ReceiptFact,
    Receipts,
    SentDelivery,
    Treated,
)
from connectors.mss.addresses import domain_of, same_mailbox_key
from connectors.mss.answer import AnswerPlan, answer_to_json, any_plan
from connectors.mss.boxes import ApplicativeMailbox
from connectors.mss.inbound import mdm, reading, reports
from connectors.mss.inbound.answers import OTHER, IntegrationError, error_of_findings, error_of_outcome
from connectors.mss.inbound.envelope import InboundMail, read_inbound
from connectors.mss.inbound.limits import InboundLimits
from connectors.mss.inbound.mdm import Parties
from connectors.mss.receipts import reading as receipts
from connectors.mss.receipts.matching import Fact, Known, Matched, Sent, keys_of, match
from connectors.mss.receipts.model import (
    SENTENCES,
    Action,
    Automatic,
    Dsn,
    ErrorMail,
    Inbound,
    Mdn,
    Quarantined,
    Reason,
)
from connectors.port import Outcome, OutcomeClass, PlannedDelivery
from gateway.errors import Finding, rejected
from gateway.hl7.message import CHARSETS
from gateway.hl7.tables import APPLICATION_ERRORS, label
from gateway.rules import Findings, RuleBook

log = logging.getLogger("connectors.mss")

Enrich = Callable[[Parties], Awaitable[Parties]]
"""What a directory adds to the parties of a mail."""

_DOCUMENT_PERHAPS = frozenset(
    {Reason.TOO_LARGE, Reason.TOO_COMPLEX, Reason.BROKEN_MIME, Reason.BOUNCE_WITH_DOCUMENT}
)
"""Reasons of quarantine behind which a document may stand: somebody is told by mail."""
_OF_OURS_PERHAPS = _DOCUMENT_PERHAPS | {
    Reason.BOUNCE_UNREADABLE,
    Reason.REPORT_UNREADABLE,
    Reason.CONTRADICTION,
}
"""Reasons behind which a mail of ours may stand that did not arrive: then somebody is told by mail too."""
_TOKEN = re.compile(rb"(?i)<([0-9a-f]{32})@")
_TOKENS = 50
_RECEPTION = frozenset({Fact.RECEIVED, Fact.NOT_RECEIVED, Fact.DELAYED})
"""Facts of Z02; the others are of Z03."""
_ASKED = re.compile(rb"(?im)^Disposition-Notification-To[ \t]*:")
_FAILED = frozenset({Fact.NOT_RECEIVED, Fact.NOT_INTEGRATED})


class Receiving:
    """The way back of one connector. `boxes` by name; `told_at_acceptance`: Z02 Y was told when the mail was taken."""

    def __init__(
        self,
        boxes: Mapping[str, ApplicativeMailbox],
        book: RuleBook,
        *,
        told_at_acceptance: bool,
        sender_name: str = "",
        product: str = "",
        limits: InboundLimits | None = None,
        enrich: Enrich | None = None,
        may_write: Callable[[str], bool] = lambda address: True,
    ) -> None:
        self._boxes = boxes
        self._book = book
        self._told_at_acceptance = told_at_acceptance
        self._sender_name = sender_name
        self._product = product
        self._limits = limits or InboundLimits()
        self._enrich = enrich
        self._may_write = may_write

    # --- treating -------------------------------------------------------------------------------------------

    async def treat(self, mail: KeptMail, ledger: Ledger) -> Treated:
        """As the port says."""
        raw = await mail.read()
        read = await asyncio.to_thread(receipts.read, raw)
        if isinstance(read, Inbound):
            return await self._incoming(self._boxes.get(mail.mailbox), raw)
        if isinstance(read, Automatic):
            return NotTreated("automatic")
        if isinstance(read, Quarantined):
            ours = read.reason in _OF_OURS_PERHAPS and await self._names_ours(raw, ledger)
            told = ours or read.reason in _DOCUMENT_PERHAPS
            return NotTreated("quarantine", read.reason.value, SENTENCES[read.reason], told)
        return await self._receipts(read, self._boxes.get(mail.mailbox), ledger)

    async def _names_ours(self, raw: bytes, ledger: Ledger) -> bool:
        """A report or a bounce that cannot be read gives one of our mails back. (That it may be an error mail, of which
        nobody must be told by mail again, the ledger keeps in mind.)"""
        tokens = await asyncio.to_thread(_tokens, raw)
        return bool(tokens) and bool(await ledger.sent(tokens))

    async def _receipts(
        self, read: Dsn | Mdn | ErrorMail, box: ApplicativeMailbox | None, ledger: Ledger
    ) -> Receipts:
        keys = keys_of(read)
        # ENVID and the left part of Message-ID are the same token of ours
        tokens = {*keys.envids, *(m.partition("@")[0] for m in keys.message_ids)}
        found = await ledger.sent([token.lower() for token in sorted(tokens)])
        known = Known(_sent(one) for one in found)
        facts: dict[int, ReceiptFact] = {}
        unmatched = ""
        for one in match(read, known, deleted_is_error=box is not None and box.deleted_is_error):
            if isinstance(one, Quarantined):
                unmatched = unmatched or one.reason.value
            else:
                facts[one.sent.delivery] = self._fact(one)
        sentence = SENTENCES[Reason(unmatched)] if unmatched else ""
        bounced = isinstance(read, Dsn) and any(r.action is Action.FAILED for r in read.recipients)
        return Receipts(read.kind.value, tuple(facts.values()), unmatched, sentence, bounced)

    def _fact(self, one: Matched) -> ReceiptFact:
        silent = one.fact is Fact.RECEIVED and self._told_at_acceptance
        return ReceiptFact(
            delivery=one.sent.delivery,
            event="Z02" if one.fact in _RECEPTION else "Z03",
            fact=one.fact.value,
            failed=one.fact in _FAILED,
            code=one.code,
            report=None if silent else one.report,
        )

    async def _incoming(self, box: ApplicativeMailbox | None, raw: bytes) -> Incoming:
        """`box` None: the settings do not name the mailbox any more that the mail came to."""
        received = await asyncio.to_thread(reading.receive, raw, self._book, self._limits)
        findings = received.findings
        dpi = box.dpi if box is not None else None
        if dpi is None:
            findings.add("MSS-NO-ROUTE")
        parties = mdm.parties_of(received.mail)
        if box is not None and dpi is not None and not rejected(findings):
            own = same_mailbox_key(box.address)
            parties = replace(
                parties,
                recipients=tuple(
                    box.party() if same_mailbox_key(r.address) == own else r for r in parties.recipients
                ),
            )
            if self._enrich is not None:
                parties = await self._enrich(parties)
        route = dpi.header() if dpi is not None else None

        def build(number: int, control_id: str, now: datetime, previous: frozenset[str] | None) -> DpiMessage:
            assert route is not None  # MSS-NO-ROUTE rejects
            content = mdm.build(
                received.documents[number],
                received.mail,
                route,
                control_id=control_id,
                now=now,
                parties=parties,
                previous=previous,
            )
            return DpiMessage(content, _codec_of(content))

        return Incoming(
            documents=tuple(
                IncomingDocument(d.action, d.document, d.place, d.confidentiality) for d in received.documents
            ),
            findings=tuple(findings),
            route=dpi.key if dpi is not None else "",
            build=build,
            message_id=mdm.mail_id(received.mail),
        )

    # --- concluding -----------------------------------------------------------------------------------------

    async def conclude(
        self, mail: KeptMail, outcomes: Sequence[Outcome], findings: Sequence[Finding], now: datetime
    ) -> Conclusion:
        """As the port says."""
        box = self._boxes.get(mail.mailbox)
        error = _error(outcomes, findings)
        told = None if error is None else MailError(error.code, error.label, error.reasons)
        if box is None or not box.mdn:
            return Conclusion(told)
        raw = await mail.read()
        to = await asyncio.to_thread(self._mdn_address, raw)
        if to is None or same_mailbox_key(to) in {same_mailbox_key(b.address) for b in self._boxes.values()}:
            return Conclusion(told)
        if not self._may_write(to):
            # an MDN gives the whole mail back, and the address is the sender's word
            log.warning("mail %d: no MDN, it is asked for outside the white list", mail.id)
            return Conclusion(told)
        token = uuid.uuid4().hex
        plan = AnswerPlan(
            mdn_to=to,
            sender=box.address,
            message_id=f"<{token}@{domain_of(box.address)}>",
            envid=token,
            created=now.replace(microsecond=0),
            error=error,
            displayed=box.mdn_success == "displayed",
            form=box.mdn_form,
        )
        return Conclusion(told, (PlannedDelivery(to, (), answer_to_json(plan), (token,)),))

    def _mdn_address(self, raw: bytes) -> str | None:
        """Whom an MDN may go to: asked for, and by a mail that no machine answered with."""
        if _ASKED.search(raw, 0, self._limits.header_bytes) is None:
            return None  # the mail is not read again for nothing
        read = receipts.read(raw)
        if isinstance(read, Inbound) and not read.answerable:
            return None
        return reports.mdn_address(self._mail(raw))

    def mdn(self, plan: AnswerPlan, raw: bytes) -> reports.OutgoingMail:
        """The MDN of `plan` about the mail `raw`. Call it in a thread."""
        host = domain_of(plan.sender)
        reporter = reports.Reporter(plan.sender, self._sender_name, host, self._product)
        return reports.build_mdn(
            self._mail(raw),
            reporter,
            to=plan.mdn_to,
            message_id=plan.message_id,
            now=plan.created,
            error=plan.error,
            displayed=plan.displayed and plan.error is None,
            form=plan.form,
        )

    def _mail(self, raw: bytes) -> InboundMail:
        return read_inbound(raw, self._limits, Findings(self._book))


def _tokens(raw: bytes) -> list[str]:
    """What may be the left part of Message-IDs of ours, anywhere in a mail."""
    found: dict[str, None] = {}
    for one in _TOKEN.finditer(raw):
        found[one[1].decode("ascii").lower()] = None
        if len(found) == _TOKENS:
            break
    return [*found]


def _sent(one: SentDelivery) -> Sent:
    """What a receipt may give back of a delivery. Who asked to be told is the heart's business."""
    plan = any_plan(one.plan)
    if isinstance(plan, AnswerPlan):
        return Sent(one.id, plan.message_id, plan.envid, plan.mdn_to, ask_reception=False, ask_reading=False)
    return replace(Sent.of(one.id, plan), ask_reception=True, ask_reading=True)


def _error(outcomes: Sequence[Outcome], findings: Sequence[Finding]) -> IntegrationError | None:
    """Why the mail was not integrated; None when it was, all of it."""
    if rejected(findings):
        return error_of_findings(findings)
    failed = [error_of_outcome(o) for o in outcomes if o.outcome is not OutcomeClass.SUCCESS]
    if failed:
        # a precise code says more than "other"
        first = next((e for e in failed if e.code != OTHER), failed[0])
        reasons = dict.fromkeys(reason for e in failed for reason in e.reasons)
        if len(failed) < len(outcomes):
            reasons[f"{len(outcomes) - len(failed)} document(s) sur {len(outcomes)} intégré(s)."] = None
        return replace(first, reasons=tuple(reasons))
    if outcomes:
        return None
    return IntegrationError(
        OTHER, label(APPLICATION_ERRORS, OTHER), ("Aucun document lisible dans le courriel.",)
    )


def _codec_of(content: bytes) -> str:
    """The codec that MSH-18 names."""
    fields = content[: content.index(b"\r")].split(b"|")
    return CHARSETS[fields[17].decode("ascii")]
