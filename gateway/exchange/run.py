"""Run one claimed delivery: one attempt, its outcome, what follows from it.

Purpose: the connector says what happened; this module decides what it means (retry, reconcile, end, circuit)
and writes it in one commit with the ZAM that tell it and the facts that count it.

Guarantee: `sending` is committed (by the claim) before the connector is called; the outcome, the release of
the next delivery of the order, the ZAM and the facts are one commit. An uncertain delivery is never sent
again before its connector has looked (`reconcile`).

Fails: does not raise for anything that a connector or the journal does. An exception of a connector is our own
bug: after the transaction may have begun the delivery becomes uncertain, it is not lost and not repeated blindly.
When the journal is unavailable the row stays `sending`: the outcome is written as soon as the journal is back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import Session

from connectors.port import Connector, DeliveryJob, Original, Outcome, OutcomeClass
from gateway.errors import ContentGone, JournalUnavailable
from gateway.exchange import incidents
from gateway.exchange.budget import MemoryBudget
from gateway.exchange.circuit import Circuit
from gateway.exchange.delivery import FINAL, DeliveryState
from gateway.exchange.identifiers import Clock
from gateway.exchange.incidents import INCIDENTS
from gateway.exchange.retry import delay_after
from gateway.exchange.steps import reached
from gateway.exchange.telemetry import Telemetry
from gateway.exchange.tell import tell_all
from gateway.journal import mails, payloads, queue, records
from gateway.journal.claims import Claimed
from gateway.journal.store import Journal
from gateway.settings import Settings

log = logging.getLogger("gateway.delivery")

MIN_ATTEMPTS = 5
MAILROOM = "mailroom"
"""Word of `wake` for received mails whose documents have all had their answer."""
JOURNAL_RETRY = 1.0
"""Seconds between tries to write an outcome while the journal is unavailable."""


@dataclass(frozen=True, slots=True)
class Next:
    """What an outcome means for the delivery."""

    state: DeliveryState
    delay: float | None = None


def after_attempt(claimed: Claimed, outcome: OutcomeClass, now: float, delay: float) -> Next:
    """The delivery's next state. Pure; the table of architecture §5.

    `delay` is the backoff of this attempt number, in seconds. A delivery that waited for others (a closed
    circuit, a long queue) has its `MIN_ATTEMPTS` before it expires.
    """
    late = now + delay > claimed.expires_at and claimed.attempt >= MIN_ATTEMPTS
    # the first look after an unknown outcome, and the first send after it, do not wait; later rounds do
    soon = 0.0 if claimed.attempt <= 2 else delay
    match outcome:
        case OutcomeClass.SUCCESS:
            return Next(DeliveryState.SUCCEEDED)
        case OutcomeClass.PERMANENT:
            return Next(DeliveryState.REFUSED)
        case OutcomeClass.UNCERTAIN if claimed.uncertain and late:
            return Next(DeliveryState.EXPIRED)  # a whole lifetime without an answer
        case OutcomeClass.UNCERTAIN:
            return Next(DeliveryState.UNCERTAIN, delay if claimed.uncertain else soon)
        case OutcomeClass.CONFIGURATION if claimed.uncertain:
            return Next(DeliveryState.UNCERTAIN, delay)
        case OutcomeClass.CONFIGURATION:
            return Next(DeliveryState.SUSPENDED, 0.0)  # the circuit decides when it is tried again
        case OutcomeClass.TRANSIENT if claimed.uncertain and not late:
            return Next(DeliveryState.READY, soon)  # reconciled: it did not happen, it may be sent
        case OutcomeClass.TRANSIENT if late:
            return Next(DeliveryState.EXPIRED)
        case OutcomeClass.TRANSIENT:
            return Next(DeliveryState.READY, delay)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A document of the journal (`connectors.port.StoredDocument`)."""

    journal: Journal
    row: int
    uid: str
    sha256: str
    size: int

    async def read(self) -> bytes:
        """The exact bytes, checked against `sha256`."""
        return await self.journal.read(lambda s: records.document_bytes(s, self.row))


@dataclass(frozen=True, slots=True)
class _Content:
    """Bytes of the journal (`connectors.port.StoredContent`)."""

    journal: Journal
    row: int
    size: int

    async def read(self) -> bytes:
        """The exact bytes."""
        return await self.journal.read(lambda s: payloads.whole(s, self.row))


class DeliveryRunner:
    """One per process."""

    def __init__(
        self,
        journal: Journal,
        connectors: Mapping[str, Connector],
        settings: Settings,
        telemetry: Telemetry,
        wake: Callable[[Iterable[str]], None],
        clock: Clock | None = None,
        draw: Callable[[], float] = lambda: random.uniform(-1, 1),  # noqa: S311 - jitter, not a secret
        budget: MemoryBudget | None = None,
    ) -> None:
        self._journal = journal
        self._connectors = connectors
        self._settings = settings
        self._telemetry = telemetry
        self._wake = wake
        self._clock = clock or Clock()
        self._draw = draw
        self._budget = budget or MemoryBudget(1 << 62)
        probe = settings.engine.retry.circuit_probe
        self.circuits = {name: Circuit(probe) for name in connectors}

    def allowance(self, destination: str, free: int) -> int:
        """How many deliveries the engine may claim now (`gateway.engine.port.Allowance`)."""
        return self.circuits[destination].allowance(self._clock.now(), free)

    async def run(self, claimed: Claimed) -> None:
        """One attempt, from the claim to the committed outcome."""
        reached("sending", claimed.destination)
        async with self._budget.delivery(claimed.destination, claimed.size):
            started = self._clock.now()
            outcome = await self._attempt(claimed)
            reached("done", claimed.destination)
            ended = self._clock.now()
        self._telemetry.attempts.labels(claimed.destination, outcome.outcome.value).inc()
        self._telemetry.attempt_seconds.labels(claimed.destination).observe(ended - started)
        wake = await self._record(claimed, outcome, started, ended)
        reached("recorded", claimed.destination)
        self._wake(wake)

    async def _attempt(self, claimed: Claimed) -> Outcome:
        connector = self._connectors[claimed.destination]
        job = DeliveryJob(
            id=claimed.id,
            destination=claimed.destination,
            recipient=claimed.recipient,
            action=claimed.action,
            plan=claimed.plan,
            documents=tuple(
                _Stored(self._journal, d.row, d.uid, d.sha256, d.size) for d in claimed.documents
            ),
            attempt=claimed.attempt,
            predecessor=claimed.predecessor,
            now=self._clock.utc(),
            predecessor_uids=claimed.predecessor_uids,
            uncertain_attempts=claimed.uncertain_attempts,
            may_be_there=claimed.may_be_there,
            arrived=claimed.arrived,
            uncertain_for=self._clock.now() - (claimed.uncertain_since or self._clock.now()),
            content=(
                None
                if claimed.payload_id is None
                else _Content(self._journal, claimed.payload_id, claimed.payload_size)
            ),
            originals=tuple(
                Original(o.incident, o.kind, o.complete, _Content(self._journal, o.payload_id, o.size))
                for o in claimed.originals
            ),
        )
        try:
            if claimed.uncertain:
                return await connector.reconcile(job)
            return await connector.deliver(job)
        except JournalUnavailable as e:
            # the bytes could not be read: nothing was sent by this attempt (connectors read before they connect)
            again = OutcomeClass.UNCERTAIN if claimed.uncertain else OutcomeClass.TRANSIENT
            return Outcome(again, label=str(e))
        except ContentGone:
            return Outcome(
                OutcomeClass.PERMANENT,
                "CONSERVATION",
                "Le contenu n'est plus conservé : à transmettre de nouveau",
            )
        except Exception as e:
            log.error("delivery %d failed: %s", claimed.id, type(e).__name__, exc_info=e)
            return Outcome(OutcomeClass.UNCERTAIN, label=f"erreur interne ({type(e).__name__})")

    async def _record(self, claimed: Claimed, outcome: Outcome, started: float, ended: float) -> set[str]:
        """Write the outcome and all that follows; the destinations that have work now."""
        delay = delay_after(claimed.attempt, self._settings.engine.retry, self._draw())
        following = after_attempt(claimed, outcome.outcome, ended, delay)
        open_for = self._circuit(claimed, outcome, ended)

        def settle(session: Session) -> set[str]:
            if open_for is not None:
                queue.resume_suspended(session, claimed.destination, ended, open_for)
            due_at = None if following.delay is None else ended + following.delay
            if not queue.settle(session, claimed, following.state, outcome, ended, due_at):
                return set()
            kind = "reconcile" if claimed.uncertain else "deliver"
            queue.add_attempt(session, claimed.id, claimed.attempt, kind, started, ended, outcome)
            return {claimed.destination}

        def settle_and_tell(session: Session) -> set[str]:
            wake = settle(session)
            if wake and following.state in FINAL:
                self._facts(session, claimed, outcome, following.state, ended)
                if outcome.awaits and following.state is DeliveryState.SUCCEEDED:
                    mails.await_receipt(session, claimed.id, ended + outcome.awaits)
                if self._tell(session, claimed, outcome, ended):
                    wake.add("dpi")
                if claimed.mail_id is not None and mails.ended(session, claimed.mail_id, ended):
                    wake.add(MAILROOM)
                if incidents.of_delivery(session, claimed, outcome, following.state, ended):
                    wake.add(INCIDENTS)
            return wake

        def settle_alone(session: Session) -> set[str]:
            wake = settle(session)
            # the mail must not wait for ever for an end that has come
            if wake and following.state in FINAL and claimed.mail_id is not None:
                mails.ended(session, claimed.mail_id, ended)
                wake.add(MAILROOM)
            return wake

        operation = settle_and_tell
        while True:
            try:
                wake = await self._journal.write(operation)
                break
            except JournalUnavailable as e:
                log.error("outcome of delivery %d not written yet: %s", claimed.id, e)
                await asyncio.sleep(JOURNAL_RETRY)
            except Exception as e:
                if operation is settle_alone:
                    raise
                # a bug in what is told must not keep the delivery, and what is held behind it, in our hands
                log.critical(
                    "delivery %d ended but nobody was told: %s", claimed.id, type(e).__name__, exc_info=e
                )
                operation = settle_alone
        if following.state in FINAL:
            self._telemetry.deliveries.labels(claimed.destination, following.state.value).inc()
        again = "" if following.delay is None else f", again in {following.delay:.0f} s"
        log.log(
            logging.INFO if outcome.outcome is OutcomeClass.SUCCESS else logging.WARNING,
            "delivery %d to %s%s: attempt %d %s %s, now %s%s",
            claimed.id,
            claimed.destination,
            f" of message {claimed.control_id}" if claimed.control_id else "",
            claimed.attempt,
            outcome.outcome.value,
            outcome.code,
            following.state.value,
            again,
        )
        return wake

    def _circuit(self, claimed: Claimed, outcome: Outcome, now: float) -> float | None:
        """Open or close the destination's circuit; seconds it was open when this attempt closed it."""
        circuit = self.circuits[claimed.destination]
        if outcome.outcome is OutcomeClass.CONFIGURATION:
            if circuit.open(now, outcome.code):
                log.critical(
                    "destination %s stopped: configuration fault %s", claimed.destination, outcome.code
                )
            self._telemetry.circuit_open.labels(claimed.destination).set(1)
            return None
        if outcome.outcome not in (OutcomeClass.SUCCESS, OutcomeClass.PERMANENT):
            return None
        open_for = circuit.close(now)
        if open_for is not None:
            log.critical("destination %s works again after %.0f s", claimed.destination, open_for)
        self._telemetry.circuit_open.labels(claimed.destination).set(0)
        return open_for

    def _tell(self, session: Session, claimed: Claimed, outcome: Outcome, now: float) -> bool:
        """Enqueue one ZAM for each message whose sender asked; True when there is any."""
        connector = self._connectors[claimed.destination]
        report = connector.report(claimed.recipient, claimed.plan, outcome)
        if report is None:
            return False
        return tell_all(session, claimed.id, report, self._settings, datetime.fromtimestamp(now, UTC))

    def _facts(
        self, session: Session, claimed: Claimed, outcome: Outcome, state: DeliveryState, now: float
    ) -> None:
        records.add_fact(
            session,
            f"delivery_{state.value}",
            now,
            message_id=claimed.message_id,
            delivery_id=claimed.id,
            destination=claimed.destination,
            action=claimed.action.value,
            uids=[d.uid for d in claimed.documents],
            code=outcome.code,
        )
