"""MSH and EVN of a transmission, and what concerns the whole message: charset and line ends.

Purpose: say whether the message is one of the profile's (codes 200 to 203) and its header complete. Pure.
Source: volet Transmission v2.1, MSH and EVN (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from gateway.errors import Place
from gateway.hl7.message import Message
from gateway.rules import Findings

EVENTS = {"MDM": frozenset({"T02", "T10", "T04"}), "ORU": frozenset({"R01"})}
_STRUCTURES = {"MDM": "MDM_T02", "ORU": "ORU_R01"}
_VERSIONS = {"MDM": "2.6", "ORU": "2.5"}
_REQUIRED = (3, 4, 5, 6, 7, 9, 10, 11, 12)
_CHARSETS = frozenset({"UNICODE UTF-8", "8859/15"})
_PROFILE = ("2.1", "CISIS_CDA_HL7_V2")


def check_header(message: Message, findings: Findings) -> bool:
    """Findings of MSH, EVN and of the bytes; True when type and event are of the profile."""
    _check_bytes(message, findings)
    msh = message.msh
    if message.separators.field != b"|" or message.separators.declared != b"^~\\&":
        findings.add("MSH2-SEPARATORS", msh.place(2))
    for field in _REQUIRED:
        if not msh.has(field):
            findings.add("MSH-REQUIRED", msh.place(field), field=field)
    known = _check_type(message, findings) if msh.has(9) else False
    if msh.has(11) and message.processing_id not in {"P", "T", "D"}:
        findings.add("MSH11-PROCESSING", msh.place(11))
    if msh.has(12) and message.version not in _VERSIONS.values():
        findings.add("MSH12-VERSION", msh.place(12))
    elif msh.has(12) and message.version != _VERSIONS.get(message.type, message.version):
        findings.add("MSH12-OTHER-VERSION", msh.place(12))
    _check_profile(message, findings)
    evn = message.first("EVN")
    if evn is not None and message.type == "MDM" and not evn.has(2):
        findings.add("EVN2-ABSENT", evn.place(2))
    return known


def _check_bytes(message: Message, findings: Findings) -> None:
    if message.line_ends - {"CR"}:
        findings.add("MSG-LINE-ENDS", Place("MSH"))
    for place in message.undecodable():
        findings.add("MSG-CHARSET-BYTES", place)


def _check_type(message: Message, findings: Findings) -> bool:
    """MSH-9; True when type and event are of the profile."""
    msh = message.msh
    events = EVENTS.get(message.type)
    if events is None:
        findings.add("MSH9-TYPE", msh.place(9, 1, 1))
        return False
    if not message.structure:
        findings.add("MSH9-STRUCTURE-ABSENT", msh.place(9, 1, 3))
    elif message.structure != _STRUCTURES[message.type]:
        findings.add("MSH9-STRUCTURE", msh.place(9, 1, 3))
    if message.event not in events:
        findings.add("MSH9-EVENT", msh.place(9, 1, 2))
        return False
    return True


def _check_profile(message: Message, findings: Findings) -> None:
    """MSH-17, MSH-18, MSH-21."""
    msh = message.msh
    if not msh.has(17):
        findings.add("MSH17-ABSENT", msh.place(17))
    elif msh.value(17) != "FRA":
        findings.add("MSH17-VALUE", msh.place(17))
    if not msh.has(18):
        findings.add("MSH18-ABSENT", msh.place(18))
    elif not message.charset_known:
        findings.add("MSH18-UNREADABLE", msh.place(18))
    elif message.charset not in _CHARSETS:
        findings.add("MSH18-VALUE", msh.place(18))
    if not msh.has(21):
        findings.add("MSH21-ABSENT", msh.place(21))
        return
    sent = (msh.text(21), msh.text(21, comp=2))
    if (sent[0].strip(), sent[1].strip()) != _PROFILE:
        findings.add("MSH21-VALUE", msh.place(21))
    elif sent != _PROFILE:
        findings.add("MSH21-BLANK", msh.place(21))
