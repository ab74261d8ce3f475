"""Deliveries and received mails by hand: hold, release, retry now, cancel; treat again, seen.

Purpose: what a person may do to what waits, each with who and why in a fact of the same commit.

Guarantee: nothing that a process has in hand is touched. What may have happened outside is cancelled only by a person
who says so (`even_if_sent`). A cancelled delivery releases what waits behind it, tells the DPI (ZAM N) if it asked, and
is no incident. A mail that gave a receipt or a delivery is not treated again.
Fails: `Refused` with a code and a French sentence; `JournalUnavailable`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, Literal

from sqlmodel import Session

from connectors.port import Connector, Outcome, OutcomeClass
from gateway.errors import BadInput
from gateway.exchange.circuit import Circuit
from gateway.exchange.delivery import FINAL, DeliveryState
from gateway.exchange.identifiers import Clock
from gateway.exchange.publisher import Publisher
from gateway.exchange.run import MAILROOM
from gateway.exchange.telemetry import Telemetry
from gateway.exchange.tell import DPI, tell_all
from gateway.hl7.transmission import Action
from gateway.journal import by_hand, mails, records
from gateway.journal.by_hand import Handled
from gateway.journal.store import Journal
from gateway.settings import Settings

log = logging.getLogger("gateway.by_hand")

Deed = Literal["hold", "release", "retry", "cancel"]
DEEDS: Final[tuple[Deed, ...]] = ("hold", "release", "retry", "cancel")
CANCELLED = "Annulé par l'exploitant"
CANCELLED_UNSURE = "Annulé par l'exploitant ; une tentative a pu aboutir, à vérifier auprès du destinataire"
CANCELLED_CODE = "ANNULATION"
MAX_REASON = 200
"""Characters of a reason."""
GROUP = 50
"""Deliveries of one commit."""
_NUMBER = re.compile(r"\d(?:[ .-]?\d){12,}")


class Refused(BadInput):
    """What was asked cannot be done. `str()` is a French sentence without patient data."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks for it, and why."""

    by: str
    reason: str
    even_if_sent: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """One delivery after the deed. `state` as in the journal."""

    id: int
    destination: str
    state: str
    on_hold: bool


@dataclass(frozen=True, slots=True)
class Several:
    """What became of several: done, and refused with the reason of each."""

    done: tuple[Done, ...]
    refused: tuple[tuple[int, str, str], ...]


def checked_reason(reason: str) -> str:
    """A reason that may be kept for ever; `Refused` for none, a long one, or one that names a person."""
    reason = " ".join(reason.split())
    if not reason or len(reason) > MAX_REASON:
        raise Refused("REASON", f"Un motif est obligatoire ({MAX_REASON} caractères au plus).")
    if _NUMBER.search(reason) or "@" in reason:
        raise Refused("REASON", "Le motif ne doit contenir ni INS ni adresse : il est gardé dans la trace.")
    return reason


class ByHand:
    """One per process."""

    def __init__(
        self,
        journal: Journal,
        connectors: Mapping[str, Connector],
        settings: Settings,
        telemetry: Telemetry,
        wake: Callable[[Iterable[str]], None],
        circuits: Mapping[str, Circuit],
        clock: Clock | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self._journal = journal
        self._connectors = connectors
        self._settings = settings
        self._telemetry = telemetry
        self._wake = wake
        self._circuits = circuits
        self._clock = clock or Clock()
        self._publisher = publisher or Publisher(None, telemetry)

    # --- deliveries -----------------------------------------------------------------------------------------

    async def one(self, delivery_id: int, deed: Deed, asked: Asked) -> Done:
        """Do it to one delivery. Raises `Refused`."""
        found = await self._some([delivery_id], deed, asked)
        for _id, code, sentence in found.refused:
            raise Refused(code, sentence)
        return found.done[0]

    async def to(self, destination: str, deed: Deed, asked: Asked) -> Several:
        """Do it to all unfinished deliveries to a destination."""
        ids = await self._journal.read(lambda s: by_hand.open_to(s, destination))
        return await self._some(ids, deed, asked)

    async def of(self, control_id: str, sender: str | None, deed: Deed, asked: Asked) -> Several:
        """Do it to all unfinished deliveries of a message (not to what the DPI is told of it). `sender`:
        `application|facility`, needed when several sent this MSH-10."""
        found = await self._journal.read(lambda s: by_hand.open_of(s, control_id))
        if sender is None and len(found) > 1:
            raise Refused("AMBIGUOUS", "Plusieurs émetteurs ont envoyé ce MSH-10 : nommer l'émetteur.")
        if sender is None:
            sender = next(iter(found), "")
        return await self._some(found.get(sender, []), deed, asked)

    async def _some(self, ids: Iterable[int], deed: Deed, asked: Asked) -> Several:
        asked = Asked(asked.by, checked_reason(asked.reason), asked.even_if_sent)
        # what waits for another is cancelled first: it must not go in between
        waiting = sorted(ids, reverse=deed == "cancel")
        done: list[Done] = []
        refused: list[tuple[int, str, str]] = []
        for start in range(0, len(waiting), GROUP):
            group = waiting[start : start + GROUP]
            found, wake = await self._journal.write(partial(self._commit, ids=group, deed=deed, asked=asked))
            for delivery_id, one in found:
                if isinstance(one, Done):
                    done.append(one)
                    if deed == "cancel":
                        self._telemetry.deliveries.labels(one.destination, one.state).inc()
                    if deed == "retry" and one.state == DeliveryState.SUSPENDED:
                        self._circuits[one.destination].probe_soon()
                    log.warning("delivery %d to %s: %s by %s", delivery_id, one.destination, deed, asked.by)
                else:
                    refused.append((delivery_id, one.code, str(one)))
            self._wake(wake)
        return Several(tuple(done), tuple(refused))

    def _commit(
        self, session: Session, ids: list[int], deed: Deed, asked: Asked
    ) -> tuple[list[tuple[int, Done | Refused]], set[str]]:
        now = self._clock.now()
        found: list[tuple[int, Done | Refused]] = []
        wake: set[str] = set()
        for delivery_id in ids:
            handled = by_hand.delivery(session, delivery_id, ending=deed == "cancel")
            refusal = _refusal(handled, deed, asked)
            if handled is None or refusal is not None:
                found.append((delivery_id, refusal or Refused("UNKNOWN", "Envoi inconnu.")))
                continue
            wake |= self._do(session, handled, deed, asked, now)
            state = DeliveryState.CANCELLED if deed == "cancel" else handled.state
            on_hold = deed == "hold"
            found.append((delivery_id, Done(delivery_id, handled.destination, state.value, on_hold)))
        return found, wake

    def _do(self, session: Session, handled: Handled, deed: Deed, asked: Asked, now: float) -> set[str]:
        wake: set[str] = {handled.destination}
        records.add_fact(
            session,
            "delivery_cancelled" if deed == "cancel" else f"delivery_{deed}_by_hand",
            now,
            message_id=handled.message_id,
            delivery_id=handled.id,
            destination=handled.destination,
            action=handled.action,
            uids=[*handled.uids],
            code="",
            by=asked.by,
            reason=asked.reason,
            before=handled.state.value,
            may_have_happened=handled.may_have_happened,
        )
        match deed:
            case "hold":
                by_hand.hold(session, handled.id, now)
            case "release":
                by_hand.release(session, handled.id, now)
            case "retry":
                by_hand.retry(session, handled.id, now)
            case "cancel":
                wake |= self._cancel(session, handled, now)
        return wake

    def _cancel(self, session: Session, handled: Handled, now: float) -> set[str]:
        """The end, what is told of it, what follows it."""
        label = CANCELLED_UNSURE if handled.may_have_happened else CANCELLED
        by_hand.cancel(session, handled, label, now)
        self._publisher.ended(
            session,
            handled.id,
            handled.destination,
            handled.recipient,
            Action(handled.action),
            DeliveryState.CANCELLED,
            CANCELLED_CODE,
            now,
        )
        if handled.mail_id is not None:
            self._publisher.integrated(session, handled.mail_id, handled.id, False, now)
        wake: set[str] = set()
        connector = self._connectors.get(handled.destination)
        if connector is not None:
            failure = Outcome(OutcomeClass.PERMANENT, CANCELLED_CODE, label)
            report = connector.report(handled.recipient, handled.plan, failure)
            at = datetime.fromtimestamp(now, UTC)
            if report is not None and tell_all(session, handled.id, report, self._settings, at):
                wake.add(DPI)
        if handled.mail_id is not None and mails.ended(session, handled.mail_id, now):
            wake.add(MAILROOM)
        return wake

    # --- received mails -------------------------------------------------------------------------------------

    async def mail(self, mail_id: int, deed: Literal["retry", "seen"], asked: Asked) -> None:
        """Treat a mail again, or note that a person has seen it. Raises `Refused`."""
        asked = Asked(asked.by, checked_reason(asked.reason))

        def operation(session: Session) -> None:
            now = self._clock.now()
            found = by_hand.mail(session, mail_id)
            if found is None:
                raise Refused("UNKNOWN", "Courriel inconnu.")
            if found.state != "treated":
                raise Refused("STATE", "Ce courriel est encore en cours de traitement.")
            if deed == "retry":
                if not found.complete:
                    raise Refused("CONTENT", "Le contenu de ce courriel n'est plus (ou pas) conservé.")
                if found.used:
                    raise Refused(
                        "USED",
                        "Ce courriel a donné un accusé ou un document : c'est à l'émetteur de renvoyer.",
                    )
                by_hand.retry_mail(session, mail_id, now)
            else:
                by_hand.mail_seen(session, mail_id, now)
            records.add_fact(
                session,
                f"mail_{deed}_by_hand",
                now,
                mail=mail_id,
                mailbox=found.mailbox,
                by=asked.by,
                reason=asked.reason,
                mail_kind=found.kind,
                code=found.reason,
            )

        await self._journal.write(operation)
        log.warning("mail %d: %s by %s", mail_id, deed, asked.by)
        if deed == "retry":
            self._wake((MAILROOM,))


def _refusal(handled: Handled | None, deed: Deed, asked: Asked) -> Refused | None:
    """Why it cannot be done, None when it can."""
    if handled is None:
        return Refused("UNKNOWN", "Envoi inconnu.")
    if handled.state in FINAL:
        return Refused(
            "FINISHED", "Cet envoi est terminé : c'est au DPI de transmettre à nouveau le document."
        )
    if handled.in_hand or handled.state is DeliveryState.SENDING:
        return Refused("IN_HAND", "Une tentative est en cours : recommencer dans un instant.")
    match deed:
        case "hold" if handled.on_hold:
            return Refused("STATE", "Cet envoi est déjà retenu.")
        case "release" if not handled.on_hold:
            return Refused("STATE", "Cet envoi n'est pas retenu.")
        case "retry" if handled.on_hold:
            return Refused("STATE", "Cet envoi est retenu : il faut le libérer.")
        case "retry" if handled.state is DeliveryState.HELD:
            return Refused("STATE", "Cet envoi attend la fin d'un envoi antérieur du même document.")
        case "cancel" if handled.may_have_happened and not asked.even_if_sent:
            return Refused(
                "UNSURE",
                "Une tentative a pu aboutir : n'annuler qu'en le disant (even_if_sent, --even-if-sent).",
            )
    return None
