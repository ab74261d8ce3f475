"""Intake: from the bytes of one frame to the bytes of its one ACK.

Purpose: the way of architecture §3, in order: message committed → profile → CDA → version rules → gather →
one commit (documents, ACK, deliveries) → ACK.

Guarantee: `AA` is returned only after the commit that holds the documents, the ACK and the deliveries. The
same message (sender, MSH-10, same SHA-256) gets the same ACK bytes again and starts nothing. Exactly one
answer per message; one that a stop left without an answer gets AR at the next start: it may be sent again.
The answer comes within `ack.deadline` whatever stalls (a second more to store it); only a second commit that the disk
is at is waited for longer, because AR may not be said of what may be accepted (docs/decisions/0012).

Fails: never raises for bad input or a fault of the environment: AE or AR says it. `None` is returned only
for bytes without a readable MSH, to which no ACK can be addressed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlmodel import Session

from connectors.port import Connector, Preparation
from gateway.errors import (
    AnsweredAlready,
    Finding,
    JournalLate,
    JournalUnavailable,
    MessageUnreadable,
    Overload,
    Place,
    rejected,
)
from gateway.exchange import adt, incidents
from gateway.exchange.accept import Acceptance, accept, check_register
from gateway.exchange.answers import Answers, rules_of, sender_of, shown
from gateway.exchange.checking import Checked, Checker, in_thread_if_big
from gateway.exchange.gather import gather, wanted
from gateway.exchange.identifiers import Clock, correlation_id
from gateway.exchange.incidents import INCIDENTS
from gateway.exchange.overload import JOURNAL, MEMORY, Overloads
from gateway.exchange.pressure import Pressure
from gateway.exchange.publisher import Publisher
from gateway.exchange.reception import receive
from gateway.exchange.steps import reached
from gateway.exchange.telemetry import Telemetry
from gateway.exchange.turns import Turns
from gateway.hl7.framing import HEAD_SIZE
from gateway.hl7.message import Message
from gateway.journal import records
from gateway.journal.store import Journal
from gateway.rules import Findings, RuleBook, megabytes
from gateway.settings import Settings

log = logging.getLogger("gateway.exchange")

ANSWER_SECONDS = 1.0
"""What storing an answer may take even when the deadline has passed."""
Left = Callable[[], float]
"""Seconds until the ACK is due."""


class Intake:
    """One per process; `handle` runs concurrently for as many connections as the listener lets in."""

    def __init__(
        self,
        journal: Journal,
        connectors: Mapping[str, Connector],
        book: RuleBook,
        settings: Settings,
        telemetry: Telemetry,
        wake: Callable[[Iterable[str]], None],
        clock: Clock | None = None,
        pressure: Pressure | None = None,
        checker: Checker | None = None,
        overloads: Overloads | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self._journal = journal
        self._connectors = connectors
        self._book = book
        self._checker = checker or Checker(book)
        self._settings = settings
        self._telemetry = telemetry
        self._clock = clock or Clock()
        self._wake = wake
        self._pressure = pressure or Pressure()
        self._overloads = overloads or Overloads.without_limits(journal)
        self._publisher = publisher or Publisher(None, telemetry)
        self._answers = Answers(book, self._clock, settings.ack.extended_err)
        self._turns = Turns()
        self._tolerated: dict[str, str] = {}
        """Correlation id of a message just accepted → rules tolerated, until its line of the log is written."""

    async def handle(self, raw: bytes, peer: str) -> bytes | None:
        """The ACK (segments, without MLLP framing) of one frame's payload, or None when MSH is unreadable."""
        with self._pressure.message():
            return await self._handle(raw, peer)

    async def _handle(self, raw: bytes, peer: str) -> bytes | None:
        started = self._clock.now()
        due = time.monotonic() + self._settings.ack.deadline
        correlation = correlation_id()
        try:
            async with asyncio.timeout(self._settings.ack.deadline):
                message, sha256 = await in_thread_if_big(len(raw), _first_look, raw)
        except TimeoutError:
            # every thread is busy with another message: this one must not wait for it without an answer
            log.error("message not read in time: %d bytes (%s)", len(raw), correlation)
            return self._to_head(raw[:HEAD_SIZE], "AR", "EXC-DEADLINE", destination="lecture du message")
        except MessageUnreadable:
            self._telemetry.unreadable.inc()
            log.warning("frame without a readable MSH: %d bytes dropped (%s)", len(raw), correlation)
            # MSH is too long, or there are too many segments: there is somebody to answer all the same
            head = raw[:HEAD_SIZE].lstrip(b"\xef\xbb\xbf\r\n\t ")
            return self._to_head(head, "AE", "EXC-UNREADABLE") if head.startswith(b"MSH") else None
        key = f"{sender_of(message)}|{shown(message.control_id)}" if message.control_id else None
        if key is not None and adt.concerns(message, self._publisher):
            key = adt.key_of(key, sha256)
        code = "AR"
        try:
            async with self._turns.turn(key, due):
                code, ack = await self._handle_one(
                    raw, message, sha256, key, peer, correlation, lambda: due - time.monotonic()
                )
        except (JournalUnavailable, Overload) as e:
            log.error("message not accepted: %s (%s)", e, correlation)
            late = JOURNAL if isinstance(e, JournalLate) else "EXC-JOURNAL"
            rule = e.rule if isinstance(e, Overload) else late
            self._telemetry.overloads.labels(rule).inc()
            ack = self._answers.unstored(message, rule, correlation)
        except Exception as e:
            log.error("intake failed: %s (%s)", type(e).__name__, correlation, exc_info=e)
            ack = self._answers.unstored(message, "EXC-INTERNAL", correlation)
        seconds = self._clock.now() - started
        self._telemetry.acknowledged(message.type, message.event, code, seconds)
        log.log(
            logging.INFO if code == "AA" else logging.WARNING,
            "%s to message %s %s^%s of %s: %d bytes, %.0f ms, %s %s (%s)",
            code,
            shown(message.control_id) or "without MSH-10",
            shown(message.type),
            shown(message.event),
            sender_of(message),
            len(raw),
            1000 * seconds,
            "tolerated" if code == "AA" else "rules",
            self._tolerated.pop(correlation, "-") if code == "AA" else rules_of(ack),
            correlation,
        )
        return ack

    async def answer_unanswered(self, messages: Sequence[int] | None = None) -> int:
        """Messages that a stop left without an answer get AR: all (at start-up), or those given. Returns how many.

        Nobody was told AA, so nothing may be sent for them: their sender tries again, or a person already
        chose another way (docs/decisions/0008).
        """
        waiting = await self._journal.read(records.unanswered) if messages is None else messages
        for message_id in waiting:
            await self._release(message_id)
        return len(waiting)

    def too_long(self, head: bytes) -> bytes | None:
        """The AE of a frame that passed the size limit; `head` is its beginning. None when MSH is
        unreadable.
        """
        return self._to_head(
            head, "AE", "EXC-TOO-LONG", limit=megabytes(self._settings.listener.max_message_bytes)
        )

    def no_room(self, head: bytes) -> bytes | None:
        """The AR of a frame that the memory budget has no room for, as `too_long`."""
        self._telemetry.overloads.labels(MEMORY).inc()
        log.warning("frame given up: no room in memory for it")
        return self._to_head(head, "AR", MEMORY)

    def _to_head(self, head: bytes, code: str, rule: str, **words: object) -> bytes | None:
        ack = self._answers.to_head(head, code, rule, **words)
        if ack is not None:
            self._telemetry.acknowledged("", "", code, 0.0)
        return ack

    # --- one message ----------------------------------------------------------------------------------------

    async def _handle_one(
        self,
        raw: bytes,
        message: Message,
        sha256: str,
        key: str | None,
        peer: str,
        correlation: str,
        left: Left,
    ) -> tuple[str, bytes]:
        new = records.NewMessage(
            raw=raw,
            sha256=sha256,
            dedup_key=key,
            control_id=shown(message.control_id),
            sender=sender_of(message),
            message_type=shown(f"{message.type}^{message.event}"),
            peer=peer,
            correlation=correlation,
            now=self._clock.now(),
        )
        overload = await self._overloads.now()
        if overload:
            # what has its answer already gets it again; nothing new is begun
            known = (
                None
                if overload == JOURNAL
                else await self._journal.read(lambda s: records.known(s, new), left())
            )
            if known is None or known.ack is None:
                raise Overload(overload)
        async with self._overloads.budget.work(len(raw), left()):
            return await self._receive_and_answer(new, message, left)

    async def _receive_and_answer(
        self, new: records.NewMessage, message: Message, left: Left
    ) -> tuple[str, bytes]:
        received = await receive(self._journal, new, left)
        reached("received")
        if not received.new and not received.same_bytes and received.ack is None:
            # the row of a message that a fault left without an answer (its sender was told AR): it holds no MSH-10
            await self._release(received.message_id)
            received = await receive(self._journal, new, left)
        if received.new or (received.same_bytes and received.ack is None):
            # new, or left without an answer by a fault: the sender tries again, so do we
            return await self._answer(received.message_id, new.raw, message, new.correlation, left)
        if not received.same_bytes:
            return await self._refuse_same_control_id(new, message, left)
        self._telemetry.replayed.inc()
        log.info("stored answer replayed (%s)", new.correlation)
        return received.ack_code or "AR", received.ack or b""

    async def _release(self, message_id: int) -> None:
        """Store an AR for a message that was left without an answer: its MSH-10 is free again."""
        left = await self._journal.read(partial(records.unanswered_message, message_id=message_id))
        findings = Findings(self._book)
        findings.add("EXC-INTERRUPTED", None)
        ack = self._answers.of(Message.parse(left.head), "AR", findings)
        now = self._clock.now()
        try:
            await self._journal.write(lambda s: records.answer(s, message_id, "AR", ack, findings, {}, now))
        except AnsweredAlready:
            return  # by another node, in between
        log.warning("message left without an answer: AR stored (%s)", left.correlation)

    async def _answer(
        self, message_id: int, raw: bytes, message: Message, correlation: str, left: Left
    ) -> tuple[str, bytes]:
        """Work on a committed message until its one answer is committed too."""
        try:
            code, findings, ack = await self._decide_and_accept(message_id, raw, message, correlation, left)
        except AnsweredAlready as e:
            return self._answered_elsewhere(e, correlation)
        except JournalUnavailable:
            raise
        except Exception as e:
            log.error("message failed: %s (%s)", type(e).__name__, correlation, exc_info=e)
            bug = Findings(self._book)
            bug.add("EXC-INTERNAL", None, correlation=correlation)
            code, findings, ack = "AR", list(bug), None
        if ack is not None:
            return code, ack
        self._telemetry.refused(findings)
        refusal = self._answers.of(message, code, findings)
        now = self._clock.now()
        try:
            await self._journal.write(
                lambda s: self._refuse(s, message_id, message, code, refusal, findings, now), _to_store(left)
            )
        except AnsweredAlready as e:
            return self._answered_elsewhere(e, correlation)
        self._wake((INCIDENTS,))
        return code, refusal

    def _refuse(
        self,
        session: Session,
        message_id: int,
        message: Message,
        code: str,
        ack: bytes,
        findings: Sequence[Finding],
        now: float,
    ) -> None:
        """Keep a refusal and, where the settings want it, note that a person must hear of it, in one commit."""
        records.answer(session, message_id, code, ack, findings, {}, now)
        if code == "AE" and self._settings.errors.refused_messages:
            incidents.of_refusal(
                session, message_id, shown(message.control_id), sender_of(message), findings, now
            )

    def _answered_elsewhere(self, answered: AnsweredAlready, correlation: str) -> tuple[str, bytes]:
        """Another node worked on the same message: there is one answer, its own."""
        self._telemetry.replayed.inc()
        log.info("answered by another node, the same answer is given (%s)", correlation)
        return answered.code, answered.ack

    async def _decide_and_accept(
        self, message_id: int, raw: bytes, message: Message, correlation: str, left: Left
    ) -> tuple[str, list[Finding], bytes | None]:
        """(`AA`, warnings, the ACK that was committed), or (`AE`|`AR`, findings, None): nothing committed."""
        if adt.concerns(message, self._publisher):
            return await self._take_adt(message_id, raw, message, correlation, left)
        code, findings, acceptance = await self._decide(raw, message, correlation, left)
        if acceptance is None:
            return code, findings, None
        ack = self._answers.of(message, "AA", ())
        verdict = await self._journal.write(
            lambda s: accept(s, message_id, ack, findings, acceptance), left()
        )
        if rejected(verdict.findings):
            # another message with the same document was accepted in the meantime
            return "AE", list(verdict.findings), None
        self._accepted(message, findings, correlation)
        self._overloads.backlog.add(sum(map(len, acceptance.deliveries.values())))
        self._wake(verdict.destinations)
        return "AA", findings, ack

    def _accepted(self, message: Message, findings: Sequence[Finding], correlation: str) -> None:
        """It is committed: what was tolerated is counted."""
        self._telemetry.tolerated(sender_of(message), findings)
        if findings:
            self._tolerated[correlation] = ",".join(dict.fromkeys(f.rule for f in findings))
        reached("accepted")

    async def _take_adt(
        self, message_id: int, raw: bytes, message: Message, correlation: str, left: Left
    ) -> tuple[str, list[Finding], bytes | None]:
        """As `_decide_and_accept`, of an ADT."""
        checked = await self._checked(raw, message, left)
        if checked is None:
            return "AR", self._late(), None
        findings, event = checked.findings, checked.adt
        if event is None or rejected(findings):
            return "AE", findings, None
        now = self._clock.utc()
        rows = self._publisher.of_adt(event, now)
        ack = self._answers.of(message, "AA", ())
        await self._journal.write(
            lambda s: adt.keep(s, message_id, ack, findings, self._publisher, rows, now.timestamp()), left()
        )
        self._accepted(message, findings, correlation)
        return "AA", findings, ack

    async def _checked(self, raw: bytes, message: Message, left: Left) -> Checked | None:
        """What the checks say; None: not in time."""
        try:
            async with asyncio.timeout(max(0.0, left())):
                checked = await self._checker.check(raw, message)
        except TimeoutError:
            return None
        reached("checked")
        return checked

    def _late(self) -> list[Finding]:
        late = Findings(self._book)
        late.add("EXC-DEADLINE", None, destination="contrôles du document")
        return late

    async def _decide(
        self, raw: bytes, message: Message, correlation: str, left: Left
    ) -> tuple[str, list[Finding], Acceptance | None]:
        """All checks, then all verdicts: (`AE`|`AR`, findings, None) or (`AA`, warnings, what to commit)."""
        checked = await self._checked(raw, message, left)
        if checked is None:
            return "AR", self._late(), None
        findings = checked.findings
        transmission, cda = checked.transmission, checked.cda
        if transmission is None or cda is None:
            return "AE", findings, None
        asked, missing = wanted(self._connectors, transmission, self._book)
        findings.extend(missing)
        # version rules are told together with everything else that is wrong, so they are read even when the
        # message is refused already; `accept` reads them again inside its commit
        versions = await self._journal.read(
            lambda s: check_register(s, transmission, cda.documents, self._book, self._settings), left()
        )
        findings.extend(versions)
        if rejected(findings):
            return "AE", findings, None
        if checked.unavailable:
            return "AR", [*checked.unavailable, *findings], None
        gathered = await gather(
            asked,
            Preparation(transmission, cda.documents, self._clock.utc()),
            max(0.0, left()),
            self._book,
            correlation,
        )
        reached("prepared")
        findings.extend(gathered.findings)
        if gathered.code != "AA":
            return gathered.code, findings, None
        now = self._clock.utc()
        about, facts = self._publisher.of_acceptance(transmission, cda.documents, now)
        acceptance = Acceptance(
            transmission=transmission,
            charset="8859/15" if message.encoding == "iso8859-15" else "UNICODE UTF-8",
            documents=cda.documents,
            deliveries=gathered.deliveries,
            book=self._book,
            settings=self._settings,
            connectors=self._connectors,
            now=now,
            publisher=self._publisher,
            about=about,
            facts=facts,
        )
        return "AA", findings, acceptance

    async def _refuse_same_control_id(
        self, new: records.NewMessage, message: Message, left: Left
    ) -> tuple[str, bytes]:
        """The same MSH-10 with other content: AE, and the bytes are kept under no MSH-10 of their own."""
        findings = Findings(self._book)
        findings.add("EXC-SAME-CONTROL-ID", Place("MSH", 1, 10))
        ack = self._answers.of(message, "AE", findings)
        now = self._clock.now()
        kept = await receive(self._journal, replace(new, dedup_key=None), left)
        await self._journal.write(
            lambda s: self._refuse(s, kept.message_id, message, "AE", ack, findings, now), _to_store(left)
        )
        self._wake((INCIDENTS,))
        self._telemetry.refused(findings)
        return "AE", ack


def _to_store(left: Left) -> float:
    """Seconds that storing an answer may take."""
    return max(ANSWER_SECONDS, left())


def _first_look(raw: bytes) -> tuple[Message, str]:
    """The message's segments and its SHA-256."""
    return Message.parse(raw), hashlib.sha256(raw).hexdigest()
