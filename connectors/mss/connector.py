"""The MSSanté connector: one mail per recipient, prepared before the ACK, sent after it.

Purpose: `create(context) -> Connector` for the entry point `mss`.
Guarantee: `prepare` touches nothing outside; `deliver` sends the same bytes, Message-ID and ENVID at every
attempt. The only window for a second mail is between the operator's answer to the final dot and the journal's
commit (or that answer lost on the way): SMTP has no question to ask afterwards, so `reconcile` says "send
again" and the second mail is the same mail (docstring of `reconcile`).
Fails: `ConfigurationFault` from `create` and `start`, with everything that is wrong; nothing else by refusal.
Source: spec/mssante.md §1; docs of the port: connectors/port.py.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from connectors.mailbox_port import Conclusion, Folder, Keeper, KeptMail, Ledger, Treated
from connectors.mss import mail, narrative, preparing
from connectors.mss.addresses import domain_of
from connectors.mss.answer import AnswerPlan, any_plan
from connectors.mss.box import Box
from connectors.mss.directory.client import Directory
from connectors.mss.directory.client import create as create_directory
from connectors.mss.directory.enriching import enrich
from connectors.mss.inbound.mdm import Parties
from connectors.mss.pdf_copy import NoPdf
from connectors.mss.plan import MailPlan, PdfCopy, to_json
from connectors.mss.preparing import Limits, smallest
from connectors.mss.receiving import Receiving
from connectors.mss.rendering import Renderer
from connectors.mss.settings import MssSettings, load
from connectors.mss.white_list import WhiteList
from connectors.port import (
    Accepted,
    ConnectorContext,
    DeliveryJob,
    Outcome,
    OutcomeClass,
    PlannedDelivery,
    Predecessor,
    Preparation,
    Refused,
    Report,
    Unavailable,
    Verdict,
)
from connectors.smtp.pool import Envelope, SmtpPool, transparent
from gateway.errors import ConfigurationFault, Finding, GatewayBug
from gateway.hl7.tables import SMTP_ERRORS, table
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Findings, RuleBook

log = logging.getLogger("connectors.mss")

_INLINE = 500_000
"""Documents up to this many bytes in all are prepared in the event loop (2 ms); above, in a thread."""
_INLINE_PAGES = 30_000
"""The same when a narrative is turned into a page too (1 ms for a report of 60 kB, 10 for a mere table)."""


def create(context: ConnectorContext) -> MssConnector:
    """The connector for the `[connectors.mss]` table of `context`. Raises `ConfigurationFault`."""
    return MssConnector(load(context.settings, context.base_dir), context.software_version)


BLIND_SENDS = 3
"""Sends of one mail whose outcome stayed unknown, before it is given up (a mailbox must not be flooded)."""


class MssConnector:
    """A destination of the port (`connectors.port.Connector`): mails to MSSanté addresses."""

    name = "mss"
    rule_tables = (
        Path(__file__).parent / "rules.toml",
        Path(__file__).parent / "inbound" / "rules.toml",
    )

    def __init__(self, settings: MssSettings, software_version: str) -> None:
        self.settings = settings
        self._version = software_version
        self._book: RuleBook | None = None
        self._pool: SmtpPool | None = None
        self._white_list = WhiteList(settings)
        self._receiving: Receiving | None = None
        self._boxes = {box.name: Box(box) for box in settings.mailboxes}
        self._renderer = Renderer(settings.render_timeout, settings.render_memory_mb)
        self._directory: Directory | None = None

    def use(self, book: RuleBook) -> None:
        """Receive the complete rule book."""
        self._book = book
        self._receiving = Receiving(
            {box.name: box for box in self.settings.mailboxes},
            book,
            told_at_acceptance=self.settings.told_at_acceptance,
            sender_name=self.settings.from_name,
            product=self.settings.software.name,
            enrich=self._enrich,
            may_write=self._may_write,
        )

    def _may_write(self, address: str) -> bool:
        domains = self._white_list.domains
        return domains is None or domain_of(address) in domains

    def wants(self, transmission: Transmission) -> bool:
        """DESTMSSANTEPS or DESTMSSANTEPAT is Y."""
        return transmission.flags.dest_mssante_ps or transmission.flags.dest_mssante_pat

    async def start(self) -> None:
        """Read certificates, secret and white list. Raises `ConfigurationFault` with all problems."""
        problems: list[str] = []
        pool = SmtpPool(self.settings, "connectors.mss")
        try:
            await pool.start()
        except ConfigurationFault as e:
            problems.append(str(e))
        try:
            await self._white_list.start()
        except ConfigurationFault as e:
            problems.append(str(e))
        try:
            self._directory = create_directory(self.settings.directory)
        except ConfigurationFault as e:
            problems.append(str(e))
        if problems:
            await pool.close()
            await self._white_list.stop()
            await self._close_directory()
            raise ConfigurationFault("connectors.mss: " + "; ".join(problems))
        self._pool = pool
        if self.settings.render_pdf == "auto":
            self._renderer.start()

    async def stop(self) -> None:
        """End the idle sessions, stop watching the files."""
        await self._white_list.stop()
        await self._renderer.stop()
        await self._close_directory()
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    async def _close_directory(self) -> None:
        if self._directory is not None:
            await self._directory.close()
            self._directory = None

    async def _enrich(self, parties: Parties) -> Parties:
        return await enrich(parties, self._directory)

    def certificates(self) -> Mapping[str, datetime]:
        """`connectors.port.WithCertificates`."""
        return {} if self._pool is None else self._pool.certificates()

    def ages(self) -> Mapping[str, datetime]:
        """`connectors.port.WithAges`: the white list."""
        confirmed = self._white_list.confirmed
        return {} if confirmed is None else {"white_list": confirmed}

    async def prepare(self, preparation: Preparation) -> Verdict:
        """The pre-transaction: one `PlannedDelivery` per recipient mailbox, or every reason against."""
        if self._book is None:
            raise GatewayBug("the mss connector has no rule book")
        if self._pool is not None and not self._pool.valid_at(preparation.now):
            return Unavailable("Le certificat de la messagerie MSSanté de l'établissement n'est pas valide.")
        announced = self._pool.announced_size if self._pool is not None else None
        copyless = any(
            d.header.body.kind == "structured" and not d.header.body.has_pdf_copy
            for d in preparation.documents
        )
        renders = copyless and await self._renderer.ready()
        limits = Limits(self._white_list.domains, announced, renders)
        arguments = (preparation, self.settings, self._book, limits, self._version)
        if sum(len(d.content) for d in preparation.documents) > (_INLINE_PAGES if renders else _INLINE):
            plans, findings = await asyncio.to_thread(_prepare, *arguments)
        else:
            plans, findings = _prepare(*arguments)
        if findings.rejects:
            return Refused(tuple(findings))
        uids = tuple(d.uid for d in preparation.documents)
        return Accepted(
            tuple(PlannedDelivery(plan.recipient, uids, to_json(plan), (plan.envid,)) for plan in plans),
            tuple(findings),
        )

    async def deliver(self, job: DeliveryJob) -> Outcome:
        """Build the mail of the plan and give it to the operator, in one SMTP transaction.

        A deletion for a recipient who never got the document is done without a mail: it would bring the
        document to somebody who does not have it.
        """
        if self._pool is None:
            raise GatewayBug("the mss connector is not started")
        plan = any_plan(job.plan)
        if isinstance(plan, AnswerPlan):
            return await self._answer(plan, job)
        if plan.recipient != job.recipient:
            raise GatewayBug("the plan is for another recipient than the delivery")
        # what may have reached the mailbox without us knowing counts as there: nothing is kept from a recipient
        first = job.predecessor is Predecessor.NOT_DELIVERED and not job.predecessor_uids
        if first and plan.action is Action.DELETE:
            label = "Document jamais transmis à ce destinataire : rien à supprimer"
            return Outcome(OutcomeClass.SUCCESS, "250", label, {"sent": False})
        async with self._pool.slot():
            contents = []
            for planned, stored in zip(plan.documents, job.documents, strict=True):
                if planned.uid != stored.uid or planned.sha256 != stored.sha256:
                    raise GatewayBug("the journal gives other documents than the plan's")
                contents.append(await stored.read())
            rendered = await self._render(plan, contents)
            message = await asyncio.to_thread(_build, plan, contents, rendered, first)
            limit = smallest(plan.size_limit, self._pool.announced_size)
            if rendered and limit is not None and len(message) > limit:
                rendered = {}
                message = await asyncio.to_thread(_build, plan, contents, rendered, first)
            contents.clear()
            notify = "SUCCESS,FAILURE,DELAY" if plan.ask_reception else "FAILURE"
            envelope = Envelope(plan.sender, plan.recipient, plan.envid, notify)
            sent = await self._pool.send(envelope, message)
        if any(d.pdf is PdfCopy.RENDERED and d.sha256 not in rendered for d in plan.documents):
            sent = replace(sent, details={**sent.details, "pdf_copy": "not rendered"})
        return self._awaiting(sent) if plan.ask_reception else sent

    async def _render(self, plan: MailPlan, contents: Sequence[bytes]) -> dict[str, bytes]:
        """The copies that the plan wants rendered, by SHA-256 of their document; one that fails is left out."""
        made = {}
        for planned, content in zip(plan.documents, contents, strict=True):
            if planned.pdf is not PdfCopy.RENDERED:
                continue
            try:
                html = await asyncio.to_thread(narrative.page, content)
            except narrative.NotRenderable as e:
                # prepare accepted it, perhaps before an upgrade: a document is not kept back for its copy
                log.warning("a PDF copy was not rendered: %s", e)
                continue
            pdf = await self._renderer.render(planned.sha256, html)
            if pdf is not None:
                made[planned.sha256] = pdf
        return made

    def _awaiting(self, sent: Outcome) -> Outcome:
        """A success that the recipient's server will report on."""
        reported = sent.outcome is OutcomeClass.SUCCESS and sent.details.get("dsn") is True
        if not reported or self.settings.told_at_acceptance:
            return sent
        return replace(sent, awaits=self.settings.report_timeout)

    async def _answer(self, plan: AnswerPlan, job: DeliveryJob) -> Outcome:
        """Send the MDN about a received mail, from the null address: nobody answers it."""
        if job.content is None or self._pool is None or self._receiving is None:
            raise GatewayBug("an MDN without its mail")
        async with self._pool.slot():
            raw = await job.content.read()
            made = await asyncio.to_thread(self._receiving.mdn, plan, raw)
            body: Literal["8BITMIME", "7BIT"] = "8BITMIME" if made.eight_bit else "7BIT"
            envelope = Envelope(made.return_path, made.recipient, plan.envid, "NEVER", body)
            return await self._pool.send(envelope, await asyncio.to_thread(transparent, made.content))

    async def reconcile(self, job: DeliveryJob) -> Outcome:
        """SMTP cannot be asked what became of a mail; its delivery report, when one was asked for, tells.

        The window: the operator took the final dot and its answer did not reach us. A report that came since says
        SUCCESS; it is waited for `uncertain_wait` seconds. Then the mail is sent again with the same bytes,
        Message-ID, ENVID and uniqueId, which the receiving software knows as a duplicate; at most `BLIND_SENDS` times
        in all, then the DPI is told that the outcome is unknown.
        """
        plan = any_plan(job.plan)
        if job.arrived:
            return Outcome(OutcomeClass.SUCCESS, "250", "Accusé de remise reçu", {"dsn": True})
        reported = isinstance(plan, MailPlan) and plan.ask_reception and bool(self._boxes)
        # negative: the clock was set back since; nobody waits until it is there again
        if reported and abs(job.uncertain_for) < self.settings.uncertain_wait:
            return Outcome(OutcomeClass.UNCERTAIN, "442", "Issue inconnue : accusé de remise attendu")
        if job.uncertain_attempts >= BLIND_SENDS:
            label = f"Issue inconnue après {job.uncertain_attempts} envois : remise à vérifier avec le destinataire"
            return Outcome(OutcomeClass.PERMANENT, "442", label)
        return Outcome(OutcomeClass.TRANSIENT, "442", "Issue inconnue : même courriel envoyé de nouveau")

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        """ZAM^Z02 for a finished mail; the heart knows who asked for it. None for a success when the report of the
        recipient's server is waited for (`zam_on`), and for an MDN.

        Who asks afterwards about a mail that asked for no report gets what is known: the operator took it and nothing
        came back. The code of a refusal is one of SMTPERRORCODE: what has none there (cancelled by hand) is 554.
        """
        made = any_plan(plan)
        if isinstance(made, AnswerPlan):
            return None
        success = outcome.outcome is OutcomeClass.SUCCESS
        # what was not sent (nothing to delete) will have no report
        sent = outcome.details.get("sent", True)
        if success and sent and made.ask_reception and not self.settings.told_at_acceptance:
            told = outcome.details.get("dsn") is False and self.settings.without_dsn == "tell"
            if not told:
                return None
        return Report(
            event="Z02",
            accepted=success,
            recipient=job_recipient,
            recipient_id=made.recipient_id,
            code=outcome.code if success or outcome.code in table(SMTP_ERRORS) else "554",
            label=outcome.label,
        )

    # --- mailboxes ------------------------------------------------------------------------------------------

    def mailboxes(self) -> Sequence[str]:
        """`connectors.mailbox_port.WithMailboxes`."""
        return [*self._boxes]

    def own_addresses(self) -> Sequence[str]:
        """`connectors.mailbox_port.WithOwnAddresses`: what is read, and where receipts come back."""
        return [self.settings.from_address, *(box.address for box in self.settings.mailboxes)]

    def dpi_route(self, mailbox: str) -> str:
        """`connectors.mailbox_port.WithDpiRoutes`."""
        return next((b.dpi.key for b in self.settings.mailboxes if b.name == mailbox and b.dpi), "")

    def advice(self) -> Sequence[str]:
        """`connectors.mailbox_port.WithAdvice`: files that are read at each session only."""
        found = []
        if self.settings.secret_file is not None and not self.settings.secret_file.is_file():
            found.append("secret_file is not there")
        for number, box in enumerate(self.settings.mailboxes):
            files = ("secret_file", "ca_bundle", "client_cert", "client_key", "client_key_password_file")
            for name in files:
                path: Path | None = getattr(box, name)
                if path is not None and not path.is_file():
                    found.append(f"mailboxes.{number} ({box.name}): {name} is not there: it will not be read")
        return found

    async def watch(self, mailbox: str, keeper: Keeper) -> None:
        """As the port says."""
        await self._boxes[mailbox].watch(keeper)

    async def file(self, mailbox: str, place: str, folder: Folder) -> bool:
        """As the port says."""
        return await self._boxes[mailbox].file(place, folder)

    async def treat(self, mail: KeptMail, ledger: Ledger) -> Treated:
        """As the port says."""
        return await self._way_back().treat(mail, ledger)

    async def conclude(
        self, mail: KeptMail, outcomes: Sequence[Outcome], findings: Sequence[Finding], now: datetime
    ) -> Conclusion:
        """As the port says."""
        return await self._way_back().conclude(mail, outcomes, findings, now)

    def _way_back(self) -> Receiving:
        if self._receiving is None:
            raise GatewayBug("the mss connector is not started")
        return self._receiving


def _prepare(
    preparation: Preparation,
    settings: MssSettings,
    book: RuleBook,
    limits: Limits,
    version: str,
) -> tuple[list[MailPlan], Findings]:
    return preparing.prepare(preparation, settings, book, limits, version=version)


def _build(plan: MailPlan, contents: list[bytes], rendered: Mapping[str, bytes], first: bool) -> bytes:
    """The mail in its wire form. Runs in a thread."""
    body = plan.first_body if first else plan.body
    try:
        attached = preparing.attachments(plan, contents, first=first, rendered=rendered)
        return transparent(mail.build(plan, body, attached))
    except NoPdf as e:
        raise GatewayBug(f"a PDF copy that prepare accepted cannot be read: {e}") from None
