"""ORC, OBR and TXA: the action, the type and the identifiers that the message gives to its documents.

Purpose: read them, and check that they agree with one another and with the documents' OBX. Pure.
Guarantee: any disagreement between event, ORC-1 and OBX-11 is an invariant rejection (a deletion must
never pass for a first transmission, nor the reverse).
Source: volet Transmission v2.1, ORC, OBR, TXA (spec/hl7-transmission.md §1, §5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.datatypes import is_oid
from gateway.hl7.profile.fields import Profile
from gateway.hl7.transmission import Action, Code, DocumentPart, InstanceId
from gateway.rules import Findings

_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(frozen=True, slots=True)
class Notification:
    """TXA-2, TXA-12 and TXA-13 (MDM)."""

    type_code: str = ""
    document_id: InstanceId | None = None
    replaced_id: InstanceId | None = None


def read_code(segment: Segment, field: int) -> Code:
    """CWE.1 to CWE.3 of a field."""
    return Code(segment.value(field), segment.value(field, comp=2), segment.value(field, comp=3))


def read_document_type(message: Message, profile: Profile, findings: Findings) -> Code:
    """OBR-4 of the first OBR, every OBR being checked."""
    obrs = message.all("OBR")
    for obr in obrs:
        profile.check("OBR", obr, message, findings)
    return read_code(obrs[0], 4) if obrs else Code("")


def read_notification(message: Message, profile: Profile, findings: Findings) -> Notification:
    """The TXA of an MDM; empty when there is none (SEG-MISSING says so)."""
    txa = message.first("TXA")
    if txa is None:
        return Notification()
    profile.check("TXA", txa, message, findings)
    replaced = None
    if message.event == "T02" and txa.has(13):
        findings.add("TXA13-UNEXPECTED", txa.place(13))
    else:
        replaced = _instance_id(txa, 13, findings)
    return Notification(txa.value(2), _instance_id(txa, 12, findings), replaced)


def read_action(
    message: Message, parts: Sequence[DocumentPart], profile: Profile, findings: Findings
) -> Action | None:
    """What is asked for (MDM: the event; ORU: OBX-11), checked against all that says it; None when nothing
    does.
    """
    orders: list[tuple[Segment, Action]] = []
    for orc in message.all("ORC"):
        profile.check("ORC", orc, message, findings)
        asked = profile.actions["orders"].get(orc.value(1))
        if asked is not None:
            orders.append((orc, asked))
    of_status = profile.actions["statuses"]
    statuses = [(p, of_status[p.status]) for p in parts if p.status in of_status]
    action = profile.actions["events"].get(message.event) if message.type == "MDM" else None
    if action is None and statuses:
        action = statuses[0][1]
    if action is None and orders:
        action = orders[0][1]
    for orc, asked in orders:
        if asked is not action:
            findings.add("ACTION-DISAGREES", orc.place(1))
    for part, asked in statuses:
        if asked is not action:
            obx = next(s for s in message.all("OBX") if s.occurrence == part.place.occurrence)
            findings.add("ACTION-DISAGREES", obx.place(11))
    return action


def check_types(message: Message, parts: Sequence[DocumentPart], txa2: str, findings: Findings) -> None:
    """OBR-4 = OBX-3 = TXA-2; in an ORU each document is compared with the OBR before it, and all have one
    type.
    """
    obrs = message.all("OBR")
    if not obrs or not (expected := obrs[0].value(4)):
        return
    for obr in obrs[1:]:
        if obr.value(4) and obr.value(4) != expected:
            findings.add("TYPE-DISAGREES", obr.place(4, 1, 1))
    obxs = {s.occurrence: s for s in message.all("OBX")}
    for part in parts:
        if part.type.code != expected:
            obx = obxs[part.place.occurrence]
            findings.add("TYPE-DISAGREES", obx.place(3, 1, 1) if obx.has(3) else obx.place(3))
    txa = message.first("TXA")
    if txa is not None and txa2 and txa2 != expected and message.type == "MDM":
        findings.add("TYPE-DISAGREES", txa.place(2))


def _instance_id(txa: Segment, field: int, findings: Findings) -> InstanceId | None:
    """TXA-12 or TXA-13: `root`, or `ext^^root^ISO`; None when absent or not of that form."""
    if not txa.has(field):
        return None
    first, second, third, fourth = (txa.value(field, comp=c) for c in (1, 2, 3, 4))
    label = f"TXA-{field}"
    if second:
        findings.add("TXA-ID-ORGANISATION", txa.place(field, 1, 2), field=label)
    root, extension = (third, first or None) if third else (first, None)
    wrong = 0
    if not (is_oid(root) or _UUID.fullmatch(root)):
        wrong = 3 if third else 1
    elif third and fourth and fourth != "ISO":
        wrong = 4
    if wrong:
        findings.add("TXA-ID-FORM", txa.place(field, 1, wrong), field=label)
        return None
    return InstanceId(root, extension)
