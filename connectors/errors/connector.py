"""The connector `errors`: error mails to the persons in charge, as durable deliveries.

Purpose: `create(context) -> ErrorsConnector` for the entry point `errors`; `connectors.mailbox_port.WithIncidents`.
Guarantee: a report is the same mail at every attempt (same Message-ID and ENVID; its bytes change only when the server
cannot take it: too large, no 8BITMIME). An original that cannot be read does not keep the error from being told.
Nothing that it does becomes an incident.
Fails: `ConfigurationFault` from `create` and `start`, with everything that is wrong; outcomes otherwise.
Source: spec/mssante.md §2.6; docs/decisions/0029.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from connectors.errors import composing, rebuilding, wording
from connectors.errors.plan import ReportPlan, Told, from_json, plan_reports
from connectors.errors.rebuilding import File, Making
from connectors.errors.settings import ErrorsSettings, load
from connectors.mailbox_port import IncidentReport
from connectors.mss.inbound.answers import IntegrationError
from connectors.mss.inbound.reports import Reporter, build_error_mail
from connectors.port import (
    Accepted,
    ConnectorContext,
    DeliveryJob,
    Original,
    Outcome,
    OutcomeClass,
    PlannedDelivery,
    Preparation,
    Report,
    Verdict,
)
from connectors.smtp.pool import Envelope, SmtpPool, transparent
from gateway.errors import ConfigurationFault, EnvironmentFault, GatewayBug
from gateway.hl7.transmission import Transmission
from gateway.rules import RuleBook

log = logging.getLogger("connectors.errors")

BLIND_SENDS = 3
"""Sends of one mail whose outcome stayed unknown, before it counts as failed."""
MESSAGE, MAIL, RECEIPT, HEAD = (
    "message_original.hl7",
    "message_original.eml",
    "accuse_recu.eml",
    "message_original_entetes.txt",
)
_TOO_LARGE = frozenset({"523", "552"})


def create(context: ConnectorContext) -> ErrorsConnector:
    """The connector for the `[connectors.errors]` table of `context`. Raises `ConfigurationFault`."""
    return ErrorsConnector(load(context.settings, context.base_dir), context.software_version)


@dataclass(slots=True)
class _Contents:
    """What a mail carries: files in the order in which they are kept, names of those left out."""

    files: list[File] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    subject: str = field(default="", repr=False)
    received: bytes | None = field(default=None, repr=False)
    """The one received mail that this report is about."""


class ErrorsConnector:
    """A destination of the port: mails to the error mailboxes."""

    name = "errors"
    rule_tables: tuple[Path, ...] = ()

    def __init__(self, settings: ErrorsSettings, software_version: str) -> None:
        self.settings = settings
        self._version = software_version
        self._book: RuleBook | None = None
        self._pool: SmtpPool | None = None
        self._dpi: Mapping[str, str] = {}

    def use(self, book: RuleBook) -> None:
        """Receive the rule book: originals are read with it."""
        self._book = book

    def wants(self, transmission: Transmission) -> bool:
        """Nothing that a DPI sends is for this destination."""
        return False

    async def start(self) -> None:
        """Read certificate and secret. Raises `ConfigurationFault` with all problems."""
        pool = SmtpPool(self.settings, "connectors.errors")
        try:
            await pool.start()
        except ConfigurationFault as e:
            await pool.close()
            raise ConfigurationFault(f"connectors.errors: {e}") from None
        self._pool = pool

    async def stop(self) -> None:
        """End the idle sessions."""
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def certificates(self) -> Mapping[str, datetime]:
        """`connectors.port.WithCertificates`."""
        return {} if self._pool is None else self._pool.certificates()

    def error_mailboxes(self) -> Sequence[str]:
        """`WithIncidents`."""
        return self.settings.every_address

    def mailboxes_of(self, route: str, flow: str) -> Sequence[str]:
        """`WithIncidents`."""
        return self.settings.row(route, flow, self._dpi.get(route, "")).to

    def serve(self, dpi: Mapping[str, str]) -> None:
        """`connectors.mailbox_port.WithIncidents`."""
        self._dpi = dpi

    def plan_reports(self, incidents: Sequence[IncidentReport], now: datetime) -> Sequence[PlannedDelivery]:
        """`WithIncidents`: one mail for each mailbox concerned."""
        return plan_reports(incidents, self.settings, now, self._dpi)

    async def prepare(self, preparation: Preparation) -> Verdict:
        """Never asked: this destination wants nothing."""
        return Accepted(())

    async def deliver(self, job: DeliveryJob) -> Outcome:
        """Build the mail and give it to the server, in one SMTP transaction.

        A mail that the server finds too large goes again at once without its files, one that it cannot take in 8 bits
        with its original encoded: an error that is told poorly is better than one that is not.
        """
        pool, book = self._pool, self._book
        if pool is None or book is None:
            raise GatewayBug("the errors connector is not started")
        plan = from_json(job.plan)
        if plan.recipient != job.recipient:
            raise GatewayBug("the plan is for another mailbox than the delivery")
        settings = self.settings
        envelope = Envelope(settings.from_address, plan.recipient, plan.envid, "FAILURE")
        async with pool.slot():
            contents = await self._contents(plan, job.originals, book)
            message = await asyncio.to_thread(self._write, plan, contents, pool.announced_size or 0, book)
            result = await pool.send(envelope, transparent(message))
            if result.details.get("missing") == "8BITMIME":
                message = await asyncio.to_thread(
                    self._compose, plan, contents, pool.announced_size or 0, open_originals=False
                )
                result = await pool.send(envelope, transparent(message))
            if result.outcome is OutcomeClass.PERMANENT and result.code in _TOO_LARGE and contents.files:
                contents.missing = [*(f.name for f in contents.files), *contents.missing]
                contents.files = []
                message = await asyncio.to_thread(self._compose, plan, contents, 0)
                result = await pool.send(envelope, transparent(message))
            return result

    async def reconcile(self, job: DeliveryJob) -> Outcome:
        """TRANSIENT: SMTP cannot be asked; the same mail goes again, at most `BLIND_SENDS` times."""
        if job.uncertain_attempts >= BLIND_SENDS:
            label = f"Issue inconnue après {job.uncertain_attempts} envois"
            return Outcome(OutcomeClass.PERMANENT, "442", label)
        return Outcome(OutcomeClass.TRANSIENT, "442", "Issue inconnue : même courriel envoyé de nouveau")

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        """The DPI is told nothing of these."""
        return None

    # --- contents -------------------------------------------------------------------------------------------

    async def _contents(self, plan: ReportPlan, originals: Sequence[Original], book: RuleBook) -> _Contents:
        """The files of all the errors told, within `plan.max_bytes` or little more; what is beyond is not read."""
        found = _Contents()
        told = {t.id: t for t in plan.told}
        room = plan.max_bytes
        alone = plan.count == 1
        for number, original in enumerate(originals, 1):
            about = told.get(original.incident)
            if about is None:
                continue
            # of several errors only what fits; the size of what is made of an original is near its own
            if not alone and composing.encoded(original.content.size) > room:
                found.missing.append(_named(about))
                continue
            raw = await original.content.read()
            making = self._making(plan, number)
            try:
                files, subject = await asyncio.to_thread(_files, about, original, raw, book, making, plan)
            except Exception as e:
                if isinstance(e, EnvironmentFault):
                    raise
                # our own bug in what is made of an original must not keep the error from being told
                log.error("incident %d: its original cannot be taken apart: %s", about.id, type(e).__name__)
                files, subject = [File(_original_name(about, original), "application/octet-stream", raw)], ""
            if alone:
                found.subject = found.subject or subject
                if about.flow == "inbound" and original.complete:
                    found.received = raw
            else:
                files = [replace(f, name=f"{about.id}_{f.name}") for f in files]
            room -= sum(composing.encoded(len(f.content)) for f in files)
            found.files += files
        return found

    def _making(self, plan: ReportPlan, number: int) -> Making:
        settings = self.settings
        return Making(
            f"{plan.envid} {number}",
            plan.created,
            settings.source_oid,
            settings.from_name,
            settings.product,
            self._version,
        )

    def _write(self, plan: ReportPlan, contents: _Contents, announced: int, book: RuleBook) -> bytes:
        """The mail. One received mail goes as the profile's own « courriel standard » when that fits."""
        limit = min(plan.max_bytes, announced) if announced else plan.max_bytes
        if contents.received is not None:
            mail, _ = rebuilding.of_mail(contents.received, book)
            (about,) = plan.told
            if not plan.patient_in_subject:
                reference = wording.subject(plan, "").partition("] ")[2]
                mail = replace(mail, subject=reference)
            made = build_error_mail(
                mail,
                Reporter(self.settings.from_address, self.settings.from_name),
                IntegrationError(about.code, about.label, about.reasons),
                to=plan.recipient,
                message_id=plan.message_id,
                now=plan.created,
                reattach=plan.reattach,
                max_bytes=limit,
                mdn=plan.mdn,
            )
            if len(made.content) <= limit:
                return made.content
        return self._compose(plan, contents, announced)

    def _compose(
        self, plan: ReportPlan, contents: _Contents, announced: int, *, open_originals: bool = True
    ) -> bytes:
        limit = min(plan.max_bytes, announced) if announced else plan.max_bytes
        return composing.compose(
            plan,
            (self.settings.from_name, self.settings.from_address),
            contents.subject,
            contents.files,
            contents.missing,
            limit=limit,
            open_originals=open_originals,
        )


def _files(
    about: Told, original: Original, raw: bytes, book: RuleBook, making: Making, plan: ReportPlan
) -> tuple[list[File], str]:
    """The files of one original, the most useful first, and the subject that the profile gives it. In a thread."""
    if original.kind == "message":
        whole = File(MESSAGE, "application/octet-stream", raw)
        if about.destination == "dpi":
            return [whole], ""  # the document is not concerned: nobody must integrate it again
        made = rebuilding.of_message(raw, book, making)
        # a group is for finding what failed: the message itself only when nothing else came of it
        if plan.count > 1 and made.files and plan.reattach:
            return list(made.files), made.subject
        return [*(made.files if plan.reattach else ()), whole], made.subject
    if not original.complete:
        return [File(HEAD, "text/plain", raw)], ""
    whole = File(_original_name(about, original), "message/rfc822", raw, rfc822=True)
    if about.flow != "inbound":
        return [whole], ""  # the receipt that told the failure: what it encloses is our own mail
    _, received = rebuilding.of_mail(raw, book)
    if plan.count > 1:
        return [whole], received.subject
    return [*(received.files if plan.reattach else ()), whole], received.subject


def _original_name(about: Told, original: Original) -> str:
    if original.kind == "message":
        return MESSAGE
    return MAIL if about.flow == "inbound" else RECEIPT


def _named(about: Told) -> str:
    reference = f"message {about.control_id}" if about.control_id else about.mailbox
    return f"incident n° {about.id} : {reference}"
