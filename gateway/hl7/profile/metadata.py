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

from gateway.errors import Place, Severity
from gateway.hl7 import base64text
from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.fields import Profile, listed
from gateway.hl7.profile.fields import profile as own_profile
from gateway.hl7.transmission import Flags, MailBody
from gateway.rules import Findings

if TYPE_CHECKING:
    from gateway.hl7.profile.observations import Group, Observations
_YES = "Y"


def canonical_code(obx: Segment, table: Profile | None = None) -> str:
    """The metadata's name in the profile, aliases and stray blanks resolved; "" when the OBX is none of
    them.
    """
    table = table or own_profile()
    code = obx.value(3)
    if code in table.ranks:
        return code
    code = code.replace(" ", "")
    code = table.aliases.get(code, code)
    return code if code in table.ranks else ""


def read_flags(
    message: Message, observations: Observations, profile: Profile, findings: Findings
) -> tuple[Flags, frozenset[str]]:
    """The flags, and the codes of those that the message gives; a missing one reads as N (and is a finding)."""
    values: dict[str, bool] = {}
    seen: set[str] = set()
    given: set[str] = set()
    highest = -1
    yes, allowed = _YES, profile.codes("OBX-5.1 metadata")
    documents = observations.documents
    last_document = documents[-1].obx.index if documents else -1
    for group in observations.metadata:
        obx, code = group.obx, group.code
        flag = profile.metadata[code].flag
        if code in seen:
            findings.add("META-REPEATED", obx.place(3, 1, 1), code=code)
            # The safest reading of a contradiction, should the message go on for other findings: masked.
            if flag and obx.value(5) == yes:
                values[flag] = True
            continue
        seen.add(code)
        rank = profile.ranks[code]
        if rank < highest or obx.index < last_document:
            findings.add("META-ORDER", obx.place(), code=code)
        highest = max(highest, rank)
        profile.check("OBX metadata" if flag else "OBX body", obx, message, findings, code=code)
        if obx.value(3) != code:
            findings.add("META-ALIAS", obx.place(3, 1, 1), code=code)
        if flag:
            value = obx.value(5)
            values[flag] = value == yes
            if value in allowed:
                given.add(code)
    # Without any OBX the missing segment has been reported already.
    if message.first("OBX") is not None:
        _check_missing(observations, seen, profile, findings)
        if findings.book.severity("META-MISSING") is not Severity.REJECT:
            # settings let it pass: it is N, and the destinations are judged with it
            given |= profile.ranks.keys() - seen
    return Flags(**values), frozenset(given)


def _check_missing(observations: Observations, seen: set[str], profile: Profile, findings: Findings) -> None:
    """META-MISSING at the OBX where each one should stand: after the one that comes before it."""
    after = observations.documents[-1].obx.occurrence if observations.documents else 0
    places = {g.code: g.obx.occurrence for g in observations.metadata}
    for code, metadata in profile.metadata.items():
        if code in seen:
            after = places[code]
        elif metadata.usage == "R":
            findings.add("META-MISSING", Place("OBX", after + 1), code=code)


def read_body(
    message: Message, metadata: Sequence[Group], code: str, profile: Profile, findings: Findings
) -> MailBody | None:
    """CORPSMAIL_PS or CORPSMAIL_PATIENT as text; None when absent or unreadable."""
    obx = next((g.obx for g in metadata if g.code == code), None)
    if obx is None or not obx.has(5):
        return None
    place = obx.place(5, 1, 5)
    wrong = [(c, profile.codes(f"OBX-5.{c} body")) for c in (2, 4)]
    wrong = [(c, codes) for c, codes in wrong if obx.value(5, comp=c).upper() not in codes]
    for component, codes in wrong:
        words = {"field": f"OBX-5.{component}", "expected": listed(codes)}
        findings.add("BODY-FORM", obx.place(5, 1, component), code=code, **words)
    if not wrong and (obx.locate(5, 6)[1] or obx.repetitions(5) > 1):
        # an ED has five components, and there is one body: the rest would be lost
        rest = obx.place(5, 1, 6) if obx.locate(5, 6)[1] else obx.place(5, 2)
        findings.add("BODY-FORM", rest, code=code, field="Ce qui suit OBX-5.5", expected="vide")
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


def may_not_answer(message: Message, metadata: Sequence[Group], profile: Profile, findings: Findings) -> bool:
    """True when an NTE with NTE-4 `FIN` follows DESTMSSANTEPAT."""
    notes = [n for g in metadata if g.code == "DESTMSSANTEPAT" for n in g.notes]
    for note in notes:
        profile.check("NTE", note, message, findings)
    return any(n.value(4).upper() in profile.codes("NTE-4") for n in notes)


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
