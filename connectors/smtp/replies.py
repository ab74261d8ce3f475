"""SMTP replies and faults as outcomes. Pure.

Purpose: one place that says what an SMTP code, a broken connection or a certificate fault means for a
delivery.
Guarantee: the code of every outcome is in the table SMTPERRORCODE of the volet (ZAM^Z02, ERR-5); the server's
own code and enhanced status go to `details`, its text nowhere (it may quote the recipient or the subject).
Source: spec/hl7-transmission.md §3 (table), spec/mssante.md §1.9, RFC 5321 §4.2, RFC 3463.
"""

from __future__ import annotations

import re
import ssl
from enum import StrEnum

from connectors.port import Outcome, OutcomeClass
from gateway.hl7.tables import SMTP_ERRORS, label, table

ACCEPTED = "250"
_ACCEPTED_LABEL = "Message accepté par l'opérateur"
_ENHANCED = re.compile(r"([245])\.(\d{1,3})\.(\d{1,3})\b")
_AUTHENTICATION = frozenset({530, 534, 535, 538})
_SIZE_REPLIES = frozenset({523, 552})


class Phase(StrEnum):
    """Where in the dialogue a reply came."""

    CONNECT = "connect"
    """Greeting, EHLO, STARTTLS, AUTH."""
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    """The reply to the final dot, or one that came before it."""


def label_of(code: str) -> str:
    """The French words for a code of the table, and for acceptance."""
    return _ACCEPTED_LABEL if code == ACCEPTED else label(SMTP_ERRORS, code)


def outcome(kind: OutcomeClass, code: str, **details: object) -> Outcome:
    """An outcome with our label for `code` (a code of the table)."""
    return Outcome(kind, code, label_of(code), details)


def table_code(reply: int) -> str:
    """The code of the table for a server's `reply`: itself when listed, else the nearest general one."""
    text = str(reply)
    if text == ACCEPTED or text in table(SMTP_ERRORS):
        return text
    if reply in _AUTHENTICATION:
        return "530"
    return {2: ACCEPTED, 5: "554"}.get(reply // 100, "451")


def of_reply(phase: Phase, reply: int, text: str = "") -> Outcome:
    """The outcome of a server's reply at `phase`. `text` is only searched for an enhanced status code."""
    found = _ENHANCED.match(text)
    enhanced = found[0] if found else ""
    details: dict[str, object] = {"phase": phase.value, "reply": reply}
    if enhanced:
        details["enhanced"] = enhanced
    code = table_code(reply)
    return Outcome(_class(phase, reply, enhanced), code, label_of(code), details)


def _class(phase: Phase, reply: int, enhanced: str) -> OutcomeClass:
    if 200 <= reply < 300 and phase is Phase.BODY:
        return OutcomeClass.SUCCESS
    if 400 <= reply < 500:
        # 432 is the mechanism's own word for "the account must be changed by a person" (RFC 4954 §6)
        return OutcomeClass.CONFIGURATION if reply == 432 else OutcomeClass.TRANSIENT
    if reply in _AUTHENTICATION:
        return OutcomeClass.CONFIGURATION
    if 500 <= reply < 600:
        if phase is Phase.CONNECT:
            return OutcomeClass.CONFIGURATION
        if phase is Phase.MAIL and reply not in _SIZE_REPLIES and not enhanced.endswith(".3.4"):
            # before any recipient is named, only the sender or the session can be wrong: every mail would
            # fail
            return OutcomeClass.CONFIGURATION
        return OutcomeClass.PERMANENT
    # 1yz, 3yz or an unreadable reply where they make no sense: the session is broken, nothing was accepted
    return OutcomeClass.TRANSIENT if phase is not Phase.BODY else OutcomeClass.UNCERTAIN


def of_tls_fault(fault: BaseException) -> Outcome | None:
    """CONFIGURATION when a certificate is at fault (theirs or ours), TRANSIENT for another TLS fault, None
    when `fault` has nothing to do with TLS. The whole chain of causes is read: libraries wrap them."""
    seen: BaseException | None = fault
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            reason = (seen.reason or "").upper()
            about_trust = isinstance(seen, ssl.SSLCertVerificationError) or any(
                word in reason for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
            )
            kind = OutcomeClass.CONFIGURATION if about_trust else OutcomeClass.TRANSIENT
            return outcome(kind, "101", phase=Phase.CONNECT.value, tls=reason or type(seen).__name__)
        seen = seen.__cause__ or seen.__context__
    return None
