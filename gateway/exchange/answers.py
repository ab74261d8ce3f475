"""Answers: the ACK of a message, of a frame that is not one, and what a log may say of them.

Purpose: one place where findings become an ACK. Pure but for the clock and the numbers of ACKs.
Guarantee: an ACK holds all that rejects, up to `MAX_ERRORS`, and says how many more there are; what comes from MSH is
shown as text on one line, whatever it holds.
Fails: `to_head` gives None where there is nobody to answer.
Source: spec/hl7-transmission.md (ACK, ERR).
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Finding, MessageUnreadable, Place
from gateway.exchange.identifiers import Clock, control_id
from gateway.hl7 import acknowledgement
from gateway.hl7.message import Message
from gateway.rules import Findings, RuleBook

MAX_ERRORS = 200
"""ERR segments of an ACK: nobody reads more, and an ACK of thousands would be longer than what readers take."""
LOGGED_RULES = 20


class Answers:
    """Makes the ACKs of a gateway."""

    def __init__(self, book: RuleBook, clock: Clock, extended_err: bool) -> None:
        self._book = book
        self._clock = clock
        self._extended_err = extended_err

    def of(self, message: Message, code: str, findings: Sequence[Finding]) -> bytes:
        """The ACK of a message."""
        told = self._told(findings)
        return acknowledgement.build(message, code, told, control_id(), self._clock.utc(), self._extended_err)

    def unstored(self, message: Message, rule: str, correlation: str) -> bytes:
        """An AR that the journal does not know: nothing was accepted."""
        findings = Findings(self._book)
        words = {"correlation": correlation} if rule == "EXC-INTERNAL" else {}
        findings.add(rule, None, **words)
        return self.of(message, "AR", findings)

    def to_head(self, head: bytes, code: str, rule: str, **words: object) -> bytes | None:
        """The ACK of a message of which only the beginning is known. None when its MSH is unreadable."""
        findings = Findings(self._book)
        findings.add(rule, Place("MSH") if rule == "EXC-UNREADABLE" else None, **words)
        try:
            return acknowledgement.build_for_head(
                head, code, findings, control_id(), self._clock.utc(), self._extended_err
            )
        except MessageUnreadable:
            return None

    def _told(self, findings: Sequence[Finding]) -> Sequence[Finding]:
        """The findings, or the first `MAX_ERRORS` that reject and how many more there are."""
        errors = [f for f in findings if f.rejects]
        if len(errors) <= MAX_ERRORS:
            return findings
        more = Findings(self._book)
        more.add("EXC-MORE-ERRORS", None, count=len(errors) - MAX_ERRORS)
        return [*errors[:MAX_ERRORS], *more]


def sender_of(message: Message) -> str:
    """Who sends, as a key: `application|facility`."""
    return shown(f"{message.sending_application}|{message.sending_facility}")


def rules_of(ack: bytes) -> str:
    """Rule ids (ERR-7) of an ACK, each once, for the log."""
    try:
        rules = dict.fromkeys(e.diagnostic or e.err3 for e in acknowledgement.read(ack).errors)
    except MessageUnreadable:
        return "?"  # stored before `MAX_ERRORS` was: it is sent again as it is
    return ",".join([*list(rules)[:LOGGED_RULES], *("…",) * (len(rules) > LOGGED_RULES)]) or "-"


def shown(text: str) -> str:
    """A text of MSH as the journal and the logs keep it: what is not text in the message's charset, or is a control
    character (it could write lines of its own in a log), stays visible as an escape.
    """
    text = text.encode("utf-8", "backslashreplace").decode()
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
