"""The facts of the indicators, written in the commits of the exchanges.

Purpose: one object that intake, deliveries, receipts and received mails tell what happened; it makes the facts
(`gateway.exchange.published`) and writes them in the session that it is given.

Guarantee: a fact is committed with what it speaks of, or not at all. No fault in a fact harms an exchange: what would
not be a fact, or contradicts one, is logged, counted and left out. An establishment that nothing names counts under
`UNKNOWN`, once logged for each sender, and stays among the warnings of `/readyz`.

Fails: `ConfigurationFault` from `open` (secret, catalogue). The journal's own faults are the commit's.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from sqlmodel import Session

from gateway.cda.document import Document
from gateway.errors import ConfigurationFault
from gateway.exchange import opaque, published
from gateway.exchange.delivery import DeliveryState
from gateway.exchange.published import CHANNELS, Delivered, Names, Outcome
from gateway.exchange.telemetry import Telemetry
from gateway.hl7.adt_event import AdtEvent
from gateway.hl7.transmission import Action, Transmission
from gateway.journal import facts
from gateway.journal.facts import NewFact, Source
from gateway.journal.sql import run
from gateway.journal.store import Journal
from gateway.settings import Settings
from indicators import from_adt
from indicators.facts import UNKNOWN_FINESS, Fact, check
from indicators.in_use import CatalogueInUse

log = logging.getLogger("gateway.facts")

SECRET_BYTES = 32
END = "end"
"""The word of a delivery's end."""
MAX_SENDERS = 100
"""Senders without an establishment that are remembered: names that a sender chooses must not fill the memory."""
Facts = tuple[NewFact, ...]


class Publisher:
    """One per process. `names` None: the indicators are off, and nothing is written."""

    def __init__(self, names: Names | None, telemetry: Telemetry) -> None:
        self.names = names
        self._telemetry = telemetry
        self._unknown: dict[str, None] = {}
        self._counted: set[str] = set()
        self._tests: dict[str, str] = {}
        """Sender whose messages do not count → their MSH-11."""
        self._undated: dict[str, None] = {}
        """Senders of ADT whose MSH-7 is no instant."""

    @property
    def on(self) -> bool:
        """Facts are written, ADT is read."""
        return self.names is not None

    def trouble(self) -> dict[str, str]:
        """What a person must act on, as `/readyz` warns of it: name → French sentence."""
        found = {}
        if self._unknown:
            shown = ", ".join(list(self._unknown)[:5])
            found["indicators_establishment"] = (
                "Établissement inconnu pour les indicateurs : compléter [indicators] facilities"
                f" pour {shown}."
            )
        # who sends tests beside what counts does what it should
        if tests := {s: i for s, i in self._tests.items() if s not in self._counted}:
            shown = ", ".join(f"{sender} (MSH-11 {i})" for sender, i in list(tests.items())[:5])
            found["indicators_processing"] = (
                f"Messages qui ne comptent pas dans les indicateurs ([indicators] processing_ids) : {shown}."
            )
        if self._undated:
            shown = ", ".join(list(self._undated)[:5])
            found["indicators_undated"] = (
                "Messages ADT dont la date (MSH-7) tient lieu d'absence, acquittés sans compter dans les indicateurs :"
                f" {shown}."
            )
        return found

    # --- what is kept at the acceptance -------------------------------------------------------------------------

    def of_acceptance(
        self, transmission: Transmission, documents: Iterable[Document], now: datetime
    ) -> tuple[dict[int, str], Facts]:
        """(part → `Document.about`, facts to write with the ACK). Nothing for messages that do not count."""
        names = self.names
        sender = f"{transmission.sending_application}|{transmission.sending_facility}"
        if names is None or not self._counts(names, transmission.processing_id, sender):
            return {}, ()
        try:
            finess = self._known(published.establishment_of(transmission, names), sender)
            about = {d.part: published.about(transmission, d, finess, names, now) for d in documents}
            stay = published.stay_of(transmission, finess, names, now)
            return about, () if stay is None else (facts.row(stay, "exchange"),)
        except Exception as e:
            self._failed(e)
            return {}, ()

    def of_adt(self, event: AdtEvent, now: datetime) -> Facts:
        """The facts of an ADT message that was read without rejection."""
        names = self.names
        sender = f"{event.sending_application}|{event.sending_facility}"
        if names is None or not self._counts(names, event.processing_id, sender):
            return ()
        finess = from_adt.establishment_of(event, names.facilities)
        if from_adt.instant(event.sent_at, names.zone_of(finess)) is None:
            self._no_instant(sender)
            return ()
        found = from_adt.facts_of(event, finess, names.zone_of(finess), names.key, now)
        if not all(fact["fact"] == "identity" and not fact.get("account") for fact in found):
            # (two keys are one patient in whatever establishment: a merge that names none lacks nothing)
            self._known(finess, sender)
        told = (opaque.without_ins(check(cast(dict[str, Any], fact)), names.secret) for fact in found)
        return tuple(facts.row(fact, "adt") for fact in told)

    def write(self, session: Session, rows: Facts) -> None:
        """Write what `of_acceptance` or `of_adt` gave."""
        if rows:
            self._write(session, rows)

    # --- outcomes -------------------------------------------------------------------------------------------------

    def ended(
        self,
        session: Session,
        delivery_id: int,
        destination: str,
        recipient: str,
        action: Action,
        state: DeliveryState,
        code: str,
        now: float,
    ) -> None:
        """A delivery of a message came to its end."""
        done = state is DeliveryState.SUCCEEDED
        if action is Action.DELETE:
            # a deletion that failed leaves what was sent as it was
            if done:
                self._deliveries(session, delivery_id, END, destination, recipient, "deleted", code, now)
            return
        outcome: Outcome = "success" if done else "failure"
        self._deliveries(session, delivery_id, END, destination, recipient, outcome, code, now)

    def came_back(
        self,
        session: Session,
        delivery_id: int,
        destination: str,
        recipient: str,
        word: str,
        outcome: Outcome,
        code: str,
        now: float,
    ) -> None:
        """News of a delivery after its end: it did not arrive after all, or it did. `word` names the news."""
        self._deliveries(session, delivery_id, word, destination, recipient, outcome, code, now)

    def told(self, session: Session, delivery_id: int, word: str) -> bool:
        """That word of a delivery was written."""
        first = run(session, "documents_for_facts", delivery_id=delivery_id).first()
        return first is not None and (
            run(
                session,
                "indicator_fact_exists",
                fact_id=published.delivery_fact_id(first.correlation, delivery_id, first.position, word),
            ).first()
            is not None
        )

    def _deliveries(
        self,
        session: Session,
        delivery_id: int,
        word: str,
        destination: str,
        recipient: str,
        outcome: Outcome,
        code: str,
        now: float,
    ) -> None:
        names = self.names
        if names is None or destination not in CHANNELS:
            return
        documents = [
            Delivered(
                r.correlation,
                r.control_id,
                r.position,
                r.uid,
                r.set_key,
                r.version,
                r.type_code,
                json.loads(r.about),
            )
            for r in run(session, "documents_for_facts", delivery_id=delivery_id)
        ]
        self._tell(
            session,
            "exchange",
            lambda: published.delivery(
                delivery_id, word, documents, destination, recipient, outcome, code, now, names
            ),
        )
        if word == END and destination == "mss" and outcome != "deleted":
            self._tell(
                session,
                "exchange",
                lambda: published.correspondent(delivery_id, word, documents, recipient, now, names),
            )

    # --- received mails ---------------------------------------------------------------------------------------------

    def about_mail(self, route: str, message_id: str, sha256: str, type_system: str) -> str:
        """`ReceivedDocument.about`: what the facts of a received document will say of it."""
        if self.names is None:
            return "{}"
        finess = self._known(self.names.facility(route.partition("|")[2]), route)
        return json.dumps(
            {"finess": finess, "message_id": message_id, "mail": sha256, "type_system": type_system}
        )

    def received(
        self, session: Session, about: str, uid: str, type_code: str, now: float, ok: bool | None = None
    ) -> None:
        """A document of a mail is on its way to the DPI (`ok` None), or the DPI has answered."""
        told = json.loads(about)
        if self.names is None or not told:
            return
        words = (told["finess"], told["message_id"], told["mail"], uid, type_code, told["type_system"])
        self._tell(
            session,
            "mail",
            lambda: [
                published.reception(*words, now) if ok is None else published.integration(*words, ok, now)
            ],
        )

    def integrated(self, session: Session, mail_id: int, delivery_id: int, ok: bool, now: float) -> None:
        """The DPI has answered for the document of a mail that a delivery gave it."""
        if self.names is None:
            return
        for r in run(session, "received_for_facts", mail_id=mail_id, delivery_id=delivery_id):
            if r.action != Action.DELETE.value:
                self.received(session, r.about, r.uid, r.type_code, now, ok)

    # --- DMP consultations --------------------------------------------------------------------------------------------

    def consulted(self, entry: Mapping[str, Any], now: float) -> Facts:
        """The fact of a call of the DMP connector's own API, if it is one."""
        names = self.names
        if names is None:
            return ()
        try:
            fact = published.consultation(entry, f"dmp-{uuid.uuid4().hex}", names, now)
            if fact is None:
                return ()
            self._known(fact["finess"], f"DMP {entry.get('client', '')}")
            return (facts.row(fact, "dmp"),)
        except Exception as e:
            self._failed(e)
            return ()

    # --- inside -------------------------------------------------------------------------------------------------------

    def _tell(self, session: Session, source: Source, make: Callable[[], list[Fact]]) -> None:
        try:
            rows = tuple(facts.row(fact, source) for fact in make())
        except Exception as e:
            self._failed(e)
            return
        self._write(session, rows)

    def _write(self, session: Session, rows: Facts) -> None:
        added = facts.add(session, rows)
        count = self._telemetry.indicator_facts
        for number, row in enumerate(rows):
            # the id of an ADT's fact is its content: what differs is MSH-10 alone, and the message is a repetition
            conflict = number in added.conflicts and row.source != "adt"
            count.labels(row.source, "conflict" if conflict else "written").inc()
            if conflict:
                log.error("fact %s not written: told before with another content", row.fact_id)

    def _failed(self, fault: Exception) -> None:
        self._telemetry.indicator_facts.labels("exchange", "invalid").inc()
        log.error("fact not made: %s", type(fault).__name__)

    def _counts(self, names: Names, processing_id: str, sender: str) -> bool:
        """True when messages of that MSH-11 count. That they do not is said once for each sender."""
        if names.counts(processing_id):
            if len(self._counted) < MAX_SENDERS:
                self._counted.add(sender)
            return True
        if sender not in self._tests and len(self._tests) < MAX_SENDERS:
            self._tests[sender] = processing_id
            log.warning(
                "indicators: messages of %s do not count, their MSH-11 is not in [indicators] processing_ids",
                sender.encode("unicode_escape").decode(),
            )
        return False

    def _no_instant(self, sender: str) -> None:
        """An ADT says when it was said by MSH-7 alone: without it nothing of it can be placed. Once for each sender."""
        self._telemetry.indicator_facts.labels("adt", "undated").inc()
        if sender not in self._undated and len(self._undated) < MAX_SENDERS:
            self._undated[sender] = None
            log.warning(
                "indicators: ADT of %s make no fact, their MSH-7 stands for no date",
                sender.encode("unicode_escape").decode(),
            )

    def _known(self, finess: str, sender: str) -> str:
        if finess == UNKNOWN_FINESS and sender not in self._unknown and len(self._unknown) < MAX_SENDERS:
            self._unknown[sender] = None
            log.warning(
                "indicators: the messages of %s name no establishment and [indicators] facilities has none for it",
                sender.encode("unicode_escape").decode(),
            )
        return finess


async def open_publisher(
    journal: Journal,
    settings: Settings,
    base_dir: Path,
    telemetry: Telemetry,
    catalogue: CatalogueInUse | None,
) -> Publisher:
    """The publisher of a gateway; without a catalogue it writes nothing. Raises `ConfigurationFault`."""
    wanted = settings.indicators
    if catalogue is None:
        return Publisher(None, telemetry)
    ids = wanted.processing_ids
    if ids is None and settings.conformance == "production":
        ids = ("P",)
    names = Names(
        secret=await open_secret(journal, settings, base_dir),
        facilities=wanted.facilities,
        zone_of=catalogue.zone_of,
        processing_ids=None if ids is None else frozenset(ids),
        historical_days=wanted.historical_days,
    )
    return Publisher(names, telemetry)


def secret_of_file(settings: Settings, base_dir: Path) -> bytes | None:
    """The secret of `secret_file`, None without one. Raises `ConfigurationFault`."""
    path = settings.indicators.secret_file
    if path is None:
        return None
    try:
        found = (base_dir / path).read_bytes()
    except OSError as e:
        raise ConfigurationFault(f"indicators.secret_file: {path.name}: {e.strerror}") from e
    if len(found) < SECRET_BYTES:
        raise ConfigurationFault(f"indicators.secret_file: at least {SECRET_BYTES} bytes")
    return found


async def open_secret(journal: Journal, settings: Settings, base_dir: Path) -> bytes:
    """The secret behind patients' keys: of a file, else made once and kept in the journal. Raises
    `ConfigurationFault`."""
    in_file = await asyncio.to_thread(secret_of_file, settings, base_dir)
    mine = in_file or secrets.token_bytes(SECRET_BYTES)
    fingerprint = hashlib.sha256(mine).hexdigest()
    kept, known = await journal.write(
        lambda s: facts.keep_secret(s, b"" if in_file is not None else mine, fingerprint)
    )
    if in_file is None:
        if not kept:
            raise ConfigurationFault(
                "indicators.secret_file: the facts of this journal were written with a secret in a file; name it"
            )
        return kept
    if known != fingerprint:
        raise ConfigurationFault(
            "indicators.secret_file: the facts of this journal were written with another secret;"
            " the same patients would have other keys"
        )
    return mine
