"""The metadata OBX (`MetaDMPMSS`): masking flags, destinations, acknowledgements asked for, mail bodies.

Purpose: read them into `Flags` and mail bodies, with the findings of their presence, order and values. Pure.
Guarantee: a flag is Y only when the message says Y, and a value that is neither Y nor N, a repeated or a
missing flag rejects the message: no masking is ever lost by a spelling.
Source: volet Transmission v2.1, OBX MetaDMPMSS and CORPSMAIL (spec/hl7-transmission.md §1, spec/mssante.md
§1.1).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.errors import Place
from gateway.hl7 import base64text
from gateway.hl7.message import Message, Segment
from gateway.hl7.transmission import Flags, MailBody
from gateway.rules import Findings

if TYPE_CHECKING:
    from gateway.hl7.profile.observations import Group

METADATA_SYSTEM = "MetaDMPMSS"
FLAGS = {
    "MASQUE_PS": "masque_ps",
    "INVISIBLE_PATIENT": "invisible_patient",
    "INVISIBLE_REP_LEGAUX": "invisible_rep_legaux",
    "CONNEXION_SECRETE": "connexion_secrete",
    "MODIF_CONF_CODE": "modif_conf_code",
    "DESTDMP": "dest_dmp",
    "DESTMSSANTEPS": "dest_mssante_ps",
    "DESTMSSANTEPAT": "dest_mssante_pat",
    "ACK_RECEPTION": "ack_reception",
    "ACK_LECTURE_MSS": "ack_lecture_mss",
}
"""The required metadata in the order of the profile, and their name in `Flags`."""
BODIES = ("CORPSMAIL_PS", "CORPSMAIL_PATIENT")
_ORDER = {code: rank for rank, code in enumerate((*FLAGS, *BODIES))}
_ALIASES = {"ACK_LECTURE": "ACK_LECTURE_MSS"}
_VALUE_SYSTEMS = frozenset({"expandedYes-NoIndicator", "HL70136", "HL70532"})
_VALUE_TYPES = {"MDM": "CWE", "ORU": "CE"}


def canonical_code(obx: Segment) -> str:
    """The metadata's name in the profile, aliases and stray blanks resolved; "" when the OBX is none of
    them.
    """
    code = obx.value(3)
    # Names are short: a document's code is left alone at once.
    code = code if code in _ORDER else code.replace(" ", "")
    code = _ALIASES.get(code, code)
    return code if code in _ORDER else ""


def read_flags(
    message: Message, metadata: Sequence[Group], last_document: Segment | None, findings: Findings
) -> Flags:
    """The flags; a missing one reads as N (and is a finding)."""
    values: dict[str, bool] = {}
    seen: set[str] = set()
    highest = -1
    for group in metadata:
        obx, code = group.obx, group.code
        if code in seen:
            findings.add("META-REPEATED", obx.place(3), code=code)
            # The safest reading of a contradiction, should the message go on for other findings: masked.
            if code in FLAGS and obx.value(5) == "Y":
                values[FLAGS[code]] = True
            continue
        seen.add(code)
        misplaced = last_document is not None and obx.index < last_document.index
        if _ORDER[code] < highest or misplaced:
            findings.add("META-ORDER", obx.place(), code=code)
        highest = max(highest, _ORDER[code])
        _check_form(obx, code, message.type, findings)
        if code in FLAGS:
            values[FLAGS[code]] = _read_value(obx, code, findings)
    # Without any OBX the missing segment has been reported already.
    if message.first("OBX") is not None:
        for code in FLAGS:
            if code not in seen:
                findings.add("META-MISSING", Place("OBX"), code=code)
    return Flags(**values)


def read_body(message: Message, metadata: Sequence[Group], code: str, findings: Findings) -> MailBody | None:
    """CORPSMAIL_PS or CORPSMAIL_PATIENT as text; None when absent or unreadable."""
    obx = next((g.obx for g in metadata if g.code == code), None)
    if obx is None or not obx.has(5):
        return None
    place = obx.place(5, 1, 5)
    if obx.value(5, comp=2).upper() != "TEXT" or obx.value(5, comp=4).upper() != "BASE64":
        findings.add("BODY-FORM", obx.place(5), code=code)
    elif obx.locate(5, 6)[1] or obx.repetitions(5) > 1:
        # an ED has five components, and there is one body: the rest would be lost
        findings.add("BODY-FORM", obx.place(5), code=code)
    offset, length = obx.locate(5, 5)
    content, whole = _decode_body(message.raw[offset : offset + length], code, place, findings)
    if content is None:
        return None
    try:
        # A body cut in the middle of a character keeps what is before it.
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(content, final=whole)
    except UnicodeDecodeError:
        if message.encoding == "utf-8":
            findings.add("BODY-CHARSET", place, code=code)
            return None
        text = content.decode(message.encoding, "replace")
    return MailBody(text, obx.place())


def may_not_answer(metadata: Sequence[Group]) -> bool:
    """True when an NTE with NTE-4 `FIN` follows DESTMSSANTEPAT."""
    notes = (n for g in metadata if g.code == "DESTMSSANTEPAT" for n in g.notes)
    return any(n.value(4).upper() == "FIN" for n in notes)


def _check_form(obx: Segment, code: str, message_type: str, findings: Findings) -> None:
    """OBX-2, OBX-3.1 spelling, OBX-3.3, OBX-11."""
    expected = "ED" if code in BODIES else _VALUE_TYPES[message_type]
    if obx.value(2).upper() != expected:
        findings.add("META-TYPE", obx.place(2), code=code, expected=expected)
    if obx.value(3) != code:
        findings.add("META-ALIAS", obx.place(3, 1, 1), code=code)
    if obx.value(3, comp=3) != METADATA_SYSTEM:
        findings.add("META-SYSTEM", obx.place(3, 1, 3), code=code)
    if obx.value(11) != "F":
        findings.add("META-STATUS", obx.place(11), code=code)


def _read_value(obx: Segment, code: str, findings: Findings) -> bool:
    value = obx.value(5)
    if value not in {"Y", "N"} or obx.repetitions(5) > 1:
        findings.add("META-VALUE", obx.place(5, 1, 1), code=code)
    elif obx.value(5, comp=3) not in _VALUE_SYSTEMS:
        findings.add("META-SYSTEM", obx.place(5, 1, 3), code=code)
    return value == "Y"


def _decode_body(data: bytes, code: str, place: Place, findings: Findings) -> tuple[bytes | None, bool]:
    """(content, whole): content None when nothing can be read, whole False when its end is lost."""
    try:
        decoded = base64text.decode(data)
    except base64text.BadBase64 as e:
        findings.add("BODY-BASE64", place, code=code)
        if e.reason != "length":
            return None, False
        try:
            return base64text.decode(data.rstrip()[:-1]).content, False
        except base64text.BadBase64:
            return None, False
    if decoded.repaired:
        findings.add("BODY-PADDING", place, code=code)
    return decoded.content, True
