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
from gateway.hl7.profile.metadata import METADATA_SYSTEM, canonical_code
from gateway.hl7.profile.orders import STATUS_ACTIONS, read_code
from gateway.hl7.transmission import DocumentPart
from gateway.rules import Findings

_FORM = ("TEXT", "XML", "BASE64")


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


def sort_observations(message: Message, findings: Findings) -> Observations:
    """Sort the OBX, PRT and NTE of `message`; findings of what is of no known kind or misplaced."""
    sorted_ = Observations()
    group: Group | None = None
    order_code = ""
    for segment in message.segments:
        if segment.name == "OBR":
            order_code = segment.value(4)
            group = None
        elif segment.name == "OBX":
            group = _group(segment, order_code, sorted_, findings)
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


def read_parts(observations: Observations, findings: Findings) -> tuple[DocumentPart, ...]:
    """The documents, each with the findings of its OBX."""
    return tuple(_read_part(group.obx, findings) for group in observations.documents)


def _group(obx: Segment, order_code: str, sorted_: Observations, findings: Findings) -> Group | None:
    group = Group(obx, canonical_code(obx))
    if group.code:
        sorted_.metadata.append(group)
    elif obx.value(3, comp=3).lower() == METADATA_SYSTEM.lower():
        findings.add("META-UNKNOWN", obx.place(3, 1, 1))
        group.code = "?"
    elif obx.value(2).upper() == "ED" or (order_code and obx.value(3) == order_code):
        sorted_.documents.append(group)
    else:
        findings.add("OBX-UNKNOWN", obx.place(3))
        group.code = "?"
    return group


def _read_part(obx: Segment, findings: Findings) -> DocumentPart:
    if obx.value(2).upper() != "ED":
        findings.add("OBX2-DOCUMENT", obx.place(2))
    # OBX-5.1 to 5.4 are a few bytes; 5.5 is only located.
    for component, expected in enumerate(_FORM, 2):
        if obx.value(5, comp=component).upper() != expected:
            findings.add("OBX5-FORM", obx.place(5, 1, component))
    if obx.locate(5, 6)[1]:
        # an ED has five components: what follows the data would be lost
        findings.add("OBX5-FORM", obx.place(5, 1, 6))
    offset, length = obx.locate(5, 5)
    if length == 0:
        findings.add("OBX5-EMPTY", obx.place(5, 1, 5))
    if obx.repetitions(5) > 1:
        findings.add("OBX5-REPEATED", obx.place(5))
    status = obx.value(11)
    if status not in STATUS_ACTIONS:
        findings.add("OBX11-DOCUMENT", obx.place(11))
    return DocumentPart(obx.place(), read_code(obx, 3), status, offset, length)
