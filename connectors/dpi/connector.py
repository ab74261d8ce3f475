"""The DPI connector: business acknowledgements (ZAM) and received documents (MDM), to the hospital's applications.

Purpose: `create(context) -> Connector` for the entry point `dpi`. It takes no part in the pre-transaction.
Guarantee: a message is delivered only when the DPI answered this very message (MSA-2 = MSH-10). A repetition
is the same bytes with the same MSH-10, so a ZAM received twice is one ZAM for the DPI: no outcome is
uncertain.
Fails: `ConfigurationFault` from `create` and `start`.
Source: spec/hl7-transmission.md §2 (ACK), §3 (ZAM); spec/mssante.md §3.4.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path

from connectors.dpi.plan import DpiPlan
from connectors.dpi.plan import read as read_plan
from connectors.dpi.settings import DpiSettings, Route, Tls, load
from connectors.port import (
    Accepted,
    ConnectorContext,
    DeliveryJob,
    Outcome,
    OutcomeClass,
    Preparation,
    Report,
    Verdict,
)
from gateway.errors import BadInput, ConfigurationFault
from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.hl7.transmission import Transmission
from gateway.mllp import ExchangeFault, Limits, exchange
from gateway.rules import RuleBook

_ANSWERS = {
    "AA": OutcomeClass.SUCCESS,
    "CA": OutcomeClass.SUCCESS,
    "AE": OutcomeClass.PERMANENT,
    "CE": OutcomeClass.PERMANENT,
    "AR": OutcomeClass.TRANSIENT,
    "CR": OutcomeClass.TRANSIENT,
}
"""MSA-1, table 0008: AE is useless to repeat, AR is a circumstance."""
_CODE = re.compile(r"[0-9A-Za-z_.-]{0,12}")
_ERRORS = 50
"""Errors of one ACK that are kept."""
_LABELS = {
    OutcomeClass.SUCCESS: "Message accepté par l'application",
    OutcomeClass.PERMANENT: "Message refusé par l'application",
    OutcomeClass.TRANSIENT: "Message momentanément refusé par l'application",
}


def create(context: ConnectorContext) -> DpiConnector:
    """The connector for the `[connectors.dpi]` table of `context`. Raises `ConfigurationFault`."""
    return DpiConnector(load(context.settings, context.base_dir))


class DpiConnector:
    """A destination of the port (`connectors.port.Connector`): messages to a DPI over MLLP."""

    name = "dpi"
    rule_tables: tuple[Path, ...] = ()

    def __init__(self, settings: DpiSettings) -> None:
        self.settings = settings
        timeouts = settings.timeouts
        self._limits = Limits(timeouts.connect, timeouts.send, timeouts.acknowledgement, settings.max_answer)
        self._contexts: dict[int, ssl.SSLContext] = {}

    def use(self, book: RuleBook) -> None:
        """It has no rules."""

    def wants(self, transmission: Transmission) -> bool:
        """Never: the heart plans its messages."""
        return False

    def reaches(self, route: str) -> bool:
        """`connectors.mailbox_port.WithRoutes`."""
        return self.settings.route(route) is not None

    async def start(self) -> None:
        """Read the certificates of the routes. Raises `ConfigurationFault` with all problems."""
        problems: list[str] = []
        for number, route in enumerate(self.settings.routes):
            if route.tls is None:
                continue
            try:
                self._contexts[number] = await asyncio.to_thread(_tls_context, route.tls)
            except (OSError, ssl.SSLError, ValueError) as e:
                problems.append(f"routes.{number}.tls: {type(e).__name__}")
        if problems:
            raise ConfigurationFault("connectors.dpi: " + "; ".join(problems))

    async def stop(self) -> None:
        """Nothing is kept open."""

    async def prepare(self, preparation: Preparation) -> Verdict:
        """Nothing to prepare."""
        return Accepted(())

    async def deliver(self, job: DeliveryJob) -> Outcome:
        """Send the planned message to the route of `job.recipient` (`<application>|<facility>`), read one
        ACK."""
        plan = read_plan(job.plan)
        message = plan.message() if job.content is None else await job.content.read()
        route = self.settings.route(job.recipient)
        if route is None:
            # not a fault of the destination as a whole: the ZAM of other applications go on, this one waits for
            # its route until the end of its lifetime
            return Outcome(OutcomeClass.TRANSIENT, "route", "Aucune adresse réglée pour cette application")
        try:
            answer = await exchange(
                route.host,
                route.port,
                message,
                tls=self._context_of(route),
                server_name=route.tls.server_name if route.tls else "",
                limits=self._limits,
            )
        except ExchangeFault as e:
            kind = OutcomeClass.CONFIGURATION if e.certificate else OutcomeClass.TRANSIENT
            words = "Délai dépassé" if e.timed_out else "Connexion refusée ou interrompue"
            return Outcome(kind, e.phase.value, f"{words} par l'application", {"timed_out": e.timed_out})
        except BadInput:
            return _unreadable()
        try:
            acknowledgement = read(answer)
        except BadInput:
            return _unreadable()
        return _judge(acknowledgement, plan)

    async def reconcile(self, job: DeliveryJob) -> Outcome:
        """TRANSIENT: the message is sent again, the same MSH-10 makes it one message for the DPI."""
        return Outcome(OutcomeClass.TRANSIENT, "answer", "Issue inconnue : même message envoyé de nouveau")

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        """None: there is no acknowledgement of an acknowledgement."""
        return None

    def _context_of(self, route: Route) -> ssl.SSLContext | None:
        return self._contexts.get(self.settings.routes.index(route)) if route.tls else None


def _judge(acknowledgement: Acknowledgement, plan: DpiPlan) -> Outcome:
    """The outcome of an ACK that was read."""
    if acknowledgement.acknowledged.strip() != plan.control_id:
        # an answer to another message (late, or of a DPI that mixes its connections) says nothing about this
        # one
        return Outcome(OutcomeClass.TRANSIENT, "MSA-2", "Réponse de l'application à un autre message")
    kind = _ANSWERS.get(acknowledgement.code)
    if kind is None:
        return _unreadable()
    if plan.integration and acknowledgement.code.startswith("C"):
        # the message was received, nothing is said of the document
        return Outcome(OutcomeClass.TRANSIENT, "MSA-1", "L'application n'a pas répondu sur l'intégration")
    # codes only: the texts of an ERR may quote a patient
    errors = [
        _code(error.err3) + (f"/{_code(error.err5)}" if error.err5 else "")
        for error in acknowledgement.errors
    ]
    errors = errors[:_ERRORS]
    return Outcome(kind, acknowledgement.code, _LABELS[kind], {"errors": errors} if errors else {})


def _code(text: str) -> str:
    """A code as tables have them; anything longer or with blanks is words, and they may name somebody."""
    return text if _CODE.fullmatch(text) else "?"


def _unreadable() -> Outcome:
    return Outcome(OutcomeClass.TRANSIENT, "ACK", "Réponse illisible de l'application")


def _tls_context(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(tls.ca_bundle) if tls.ca_bundle else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.client_cert is not None and tls.client_key is not None:
        # an encrypted key must fail here, not ask a terminal for its pass phrase
        context.load_cert_chain(tls.client_cert, tls.client_key, password=lambda: "")
    return context
