"""OBX: sorting them into documents and metadata, and reading the documents' places.

Purpose: one pass over the message gives each OBX with the PRT and NTE that follow it and the OBR before
it; each is a document, a metadata or unknown. Pure.
Guarantee: a document is never decoded nor copied here: a `DocumentPart` says where its base64 stands.
Source: volet Transmission v2.1, OBX of the document (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.errors import Place
from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.fields import Profile
from gateway.hl7.profile.metadata import canonical_code
from gateway.hl7.profile.orders import read_code
from gateway.hl7.transmission import DocumentPart
from gateway.rules import Findings


@dataclass(slots=True)
class Group:
    """An OBX with what follows it. `code` is the metadata's name, "" for a document."""

    obx: Segment
    code: str = ""
    parties: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)


@dataclass(slots=True)
class Observations:
    """The OBX of a message, sorted. `loose` are the PRT that follow no document."""

    documents: list[Group] = field(default_factory=list)
    metadata: list[Group] = field(default_factory=list)
    loose: list[Segment] = field(default_factory=list)


def sort_observations(message: Message, profile: Profile, findings: Findings) -> Observations:
    """Sort the OBX, PRT and NTE of `message`; findings of what is of no known kind or misplaced."""
    sorted_ = Observations()
    group: Group | None = None
    order_code = ""
    for segment in message.segments:
        if segment.name == "OBR":
            order_code = segment.value(4)
            group = None
        elif segment.name == "OBX":
            group = _group(segment, order_code, sorted_, profile, findings)
        elif segment.name == "NTE" and group is not None:
            group.notes.append(segment)
        elif segment.name == "PRT":
            if group is not None and not group.code:
                group.parties.append(segment)
            else:
                findings.add("PRT-PLACE", segment.place())
                sorted_.loose.append(segment)
    most = 1 if message.type == "MDM" else 2
    if message.first("OBX") is not None and not 1 <= len(sorted_.documents) <= most:
        extra = sorted_.documents[most:]
        findings.add("DOC-COUNT", extra[0].obx.place() if extra else Place("OBX"))
    return sorted_


def read_parts(
    message: Message, observations: Observations, profile: Profile, findings: Findings
) -> tuple[DocumentPart, ...]:
    """The documents, each with the findings of its OBX."""
    return tuple(_read_part(message, group.obx, profile, findings) for group in observations.documents)


def _group(
    obx: Segment, order_code: str, sorted_: Observations, profile: Profile, findings: Findings
) -> Group | None:
    group = Group(obx, canonical_code(obx, profile))
    if group.code:
        sorted_.metadata.append(group)
    elif obx.value(3, comp=3).lower() in {c.lower() for c in profile.codes("OBX-3.3 metadata")}:
        findings.add("META-UNKNOWN", obx.place(3, 1, 1))
        group.code = "?"
    elif obx.value(2).upper() == "ED" or (order_code and obx.value(3) == order_code):
        sorted_.documents.append(group)
    else:
        findings.add("OBX-UNKNOWN", obx.place(3, 1, 1) if obx.has(3) else obx.place(3))
        group.code = "?"
    return group


def _read_part(message: Message, obx: Segment, profile: Profile, findings: Findings) -> DocumentPart:
    # OBX-5.1 to 5.4 are a few bytes; 5.5 is only located.
    profile.check("OBX document", obx, message, findings)
    if obx.locate(5, 6)[1]:
        # an ED has five components: what follows the data would be lost
        findings.add("OBX5-FORM", obx.place(5, 1, 6), field="OBX-5.6", expected="vide")
    offset, length = obx.locate(5, 5)
    if length == 0 and obx.has(5):
        findings.add("OBX5-EMPTY", obx.place(5, 1, 5))
    return DocumentPart(obx.place(), read_code(obx, 3), obx.value(11), offset, length)
