"""MSH and EVN of a transmission, and what concerns the whole message: charset and line ends.

Purpose: say whether the message is one of the profile's (codes 200 to 203) and its header complete. Pure.
Source: volet Transmission v2.1, MSH and EVN (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from gateway.errors import Place, Severity
from gateway.hl7.message import Message
from gateway.hl7.profile.fields import TYPES, Profile, listed
from gateway.rules import Findings, RuleBook

_USUAL = b"^~\\&"
"""Component, repetition, escape, sub-component."""


def check_header(message: Message, profile: Profile, findings: Findings) -> bool:
    """Findings of MSH, EVN and of the bytes; True when type and event are of the profile."""
    _check_bytes(message, findings)
    check_separators(message, profile, findings)
    profile.check("MSH", message.msh, message, findings)
    _check_version(message, profile, findings)
    _check_charset(message, profile, findings)
    evn = message.first("EVN")
    if evn is not None:
        profile.check("EVN", evn, message, findings)
    return message.type in TYPES and message.event in profile.codes("MSH-9.2", message.type)


def check_separators(message: Message, profile: Profile, findings: Findings) -> None:
    """MSH-1 and MSH-2 are those of the profile."""
    for number in (1, 2):
        allowed = profile.codes(f"MSH-{number}")
        if message.msh.value(number) not in allowed:
            place = message.msh.place(number)
            findings.add("MSH2-SEPARATORS", place, field=f"MSH-{number}", expected=listed(allowed))


def misread(message: Message, book: RuleBook) -> bool:
    """True when the message is refused for separators that change how it is read: one of the usual four has another
    character in MSH-2. (One that is left out, or a fifth, changes nothing.)
    """
    declared = message.separators.declared[: len(_USUAL)]
    return not _USUAL.startswith(declared) and book.severity("MSH2-SEPARATORS") is Severity.REJECT


def _check_bytes(message: Message, findings: Findings) -> None:
    if message.line_ends - {"CR"}:
        findings.add("MSG-LINE-ENDS", Place("MSH"))
    if message.mistaken_charset:
        findings.add("MSG-MOJIBAKE", message.msh.place(18))
    for place in message.undecodable():
        findings.add("MSG-CHARSET-BYTES", place)
    for place in message.controls():
        findings.add("MSG-CONTROL", place)


def _check_version(message: Message, profile: Profile, findings: Findings) -> None:
    """MSH-12: another version of the profile than the one of this type is a rule of its own. Without a known type
    any of them will do: MSH-9 has been reported.
    """
    version = message.version
    if not version:
        return
    every = [v for t in TYPES for v in profile.codes("MSH-12", t)]
    expected = profile.codes("MSH-12", message.type) if message.type in TYPES else every
    if version not in expected:
        rule = "MSH12-OTHER-VERSION" if version in every else "MSH12-VERSION"
        findings.add(rule, message.msh.place(12), field="MSH-12", expected=listed(expected))


def _check_charset(message: Message, profile: Profile, findings: Findings) -> None:
    """MSH-18: what cannot be read is an invariant, what can but is not of the profile is not."""
    allowed = profile.codes("MSH-18")
    if not message.charset_known:
        findings.add("MSH18-UNREADABLE", message.msh.place(18))
    elif message.charset and message.charset not in allowed:
        findings.add("MSH18-VALUE", message.msh.place(18), field="MSH-18", expected=listed(allowed))
