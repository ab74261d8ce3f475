"""The plan of one mail: everything `deliver` needs besides the documents' bytes.

Purpose: what identifies the mail outside (Message-ID, ENVID, Date, boundary, XDS identifiers) is decided
once, before the ACK, so that a repetition is the same bytes. Pure data, JSON with `to_json`/`from_json`.
Fails: `GatewayBug` when bytes of the journal are not a plan of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydantic import TypeAdapter, ValidationError

from connectors.xds.model import DocumentEntry, SubmissionSet
from gateway.errors import GatewayBug
from gateway.hl7.transmission import Action


class PdfCopy(StrEnum):
    """Where the PDF copy of a document comes from (spec/mssante.md §1.8)."""

    NONE = "none"
    BODY = "body"
    """N1: nonXMLBody."""
    SECTION = "section"
    """N3: section "Copie du document"."""
    RENDERED = "rendered"
    """N3 without it: laid out at delivery, from the narrative."""


class Leg(StrEnum):
    """Which body and rules apply to a recipient."""

    PROFESSIONAL = "ps"
    PATIENT = "patient"


@dataclass(frozen=True, slots=True)
class PlannedDocument:
    """One document of the archive: its name there, its metadata, its PDF copy."""

    uid: str
    sha256: str
    archive_name: str
    """`DOC0001.XML`…"""
    entry: DocumentEntry
    pdf: PdfCopy
    pdf_name: str


@dataclass(frozen=True, slots=True)
class Emitter:
    """README.TXT and INDEX.HTM: who sends and with what."""

    name: str
    organisation: str
    organisation_id: str
    address: str
    phone: str
    software: str
    version: str
    editor: str


@dataclass(frozen=True, slots=True)
class MailPlan:
    """One mail to one recipient.

    `body` is the text for the action asked; `first_body` the one when the replaced version was never
    delivered to this recipient, so that the mail goes as a first submission. `created` is aware, UTC, whole
    seconds.
    """

    recipient: str
    recipient_id: str
    """PRT-5.1, for the ZAM."""
    leg: Leg
    action: Action
    sender: str
    sender_name: str
    reply_to: tuple[str, ...]
    subject: str
    body: str
    first_body: str
    message_id: str
    """With its angle brackets."""
    envid: str
    boundary: str
    created: datetime
    ask_reception: bool
    ask_reading: bool
    final: bool
    """X-MSS-MES: FIN."""
    codes: tuple[str, ...]
    """X-MSS-CODECDA."""
    ins_complete: bool
    product_reference: str
    documents: tuple[PlannedDocument, ...]
    submission: SubmissionSet
    emitter: Emitter
    size_limit: int | None = None
    """Bytes of the whole mail; a copy that we render is left out when the mail would be larger."""


_ADAPTER = TypeAdapter(MailPlan)


def to_json(plan: MailPlan) -> bytes:
    """UTF-8 JSON of `plan`."""
    return _ADAPTER.dump_json(plan)


def from_json(data: bytes) -> MailPlan:
    """The plan of `to_json`'s bytes; raises `GatewayBug` (without the content) when they are not one."""
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as e:
        raise GatewayBug(f"not a plan of the mss connector: {e.error_count()} errors") from None
