"""From the original of an error to what a person integrates by hand: IHE_XDM.ZIP, PDF copies, CDA alone. Pure.

Purpose: the original is in the journal whole; what was derived from it is made again from its bytes, so that a message
refused before anything was planned gives the same attachments as a delivery that failed.
Guarantee: an archive is made only when every document of the message is in it with its metadata; else each document
that can be decoded is given alone, byte for byte. Same bytes and `Making`, same files. Never raises for what is in the
bytes. Takes time in proportion to them: call it in a thread.
Source: spec/mssante.md §1.5 (archive), §1.8 (PDF copy), §2.6 (what an error mail carries).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime

from connectors.mss import pdf_copy, wording, xdm
from connectors.mss.inbound.envelope import InboundMail
from connectors.mss.inbound.reading import receive
from connectors.mss.mail import ARCHIVE_NAME
from connectors.mss.plan import Emitter, PlannedDocument
from connectors.xds.mapping import UNLISTED_FORMAT, document_entry, submission_set
from connectors.xds.model import SubmissionSet
from connectors.xds.oid import oid_of
from gateway.cda.check import check_documents
from gateway.cda.document import Document
from gateway.errors import BadInput
from gateway.hl7.base64text import BadBase64, decode
from gateway.hl7.message import Message
from gateway.hl7.profile import read_transmission
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import RuleBook

ZIP, PDF, XML = "application/zip", "application/pdf", "text/xml"
_OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class File:
    """A file to attach. `rfc822`: a mail, to be enclosed as it is."""

    name: str = field(repr=False)
    mime_type: str
    content: bytes = field(repr=False)
    rfc822: bool = False


@dataclass(frozen=True, slots=True)
class Making:
    """What an archive needs besides the message. `token` makes its identifiers: the same at every attempt."""

    token: str
    created: datetime
    source_oid: str
    name: str
    software: str
    version: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What came out of an original. `subject`: what the profile's subject would be; it names the patient."""

    files: tuple[File, ...] = ()
    subject: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Archive:
    """`connectors.mss.xdm.ArchivePlan`."""

    action: Action
    created: datetime
    documents: tuple[PlannedDocument, ...]
    submission: SubmissionSet
    emitter: Emitter


def of_message(raw: bytes, book: RuleBook, making: Making) -> Rebuilt:
    """The attachments for an HL7 message, the archive first."""
    try:
        transmission = read_transmission(Message.parse(raw), book).transmission
    except BadInput:
        return Rebuilt()
    if transmission is None:
        return Rebuilt()
    documents = check_documents(transmission, raw, book).documents
    label = transmission.document_type.label or transmission.document_type.code
    patient = documents[0].header.patient if documents else None
    subject = wording.subject(label, patient, transmission.patient)
    archive = _archive(transmission, documents, making)
    files = (
        [File(ARCHIVE_NAME, ZIP, archive)] if archive is not None else _alone(transmission, documents, raw)
    )
    return Rebuilt((*files, *_copies(transmission, documents)), subject)


def of_mail(raw: bytes, book: RuleBook) -> tuple[InboundMail, Rebuilt]:
    """A received mail, and its attachments as they came."""
    mail = receive(raw, book).mail
    files = [File(ARCHIVE_NAME, ZIP, mail.archive)] if mail.archive is not None else []
    for attached in mail.attachments:
        content = attached.part.content()
        if content is not None:
            files.append(File(attached.name or "piece_jointe", attached.mime_type, content))
    return mail, Rebuilt(tuple(files), mail.subject)


def _archive(transmission: Transmission, documents: tuple[Document, ...], making: Making) -> bytes | None:
    """IHE_XDM.ZIP with all the documents; None when one of them, or its metadata, is missing."""
    if not documents or len(documents) != len(transmission.parts):
        return None
    planned = []
    for number, document in enumerate(documents, 1):
        entry = document_entry(
            document, transmission, fallbacks={"formatCode": UNLISTED_FORMAT}, optional=("patientId",)
        ).entry
        if entry is not None and not entry.patient_id:
            entry = replace(entry, patient_id=entry.source_patient_id)
        if entry is None or not entry.patient_id:
            return None
        place = pdf_copy.where(document.header.body)
        name = xdm.document_name(number)
        planned.append(PlannedDocument(document.uid, document.sha256, name, entry, place, ""))
    first = planned[0].entry
    lot, _missing = submission_set(
        transmission if transmission.patient_class else replace(transmission, patient_class="N"),
        unique_id=oid_of(uuid.uuid5(uuid.NAMESPACE_OID, making.token)),
        source_id=making.source_oid,
        now=making.created,
        title=wording.one_line(transmission.document_type.label or first.title),
        patient_id=first.patient_id,
        author=first.authors[0] if first.authors else None,
    )
    if lot is None:
        return None
    plan = _Archive(transmission.action, making.created, tuple(planned), lot, _emitter(transmission, making))
    try:
        return xdm.build(plan, [document.content for document in documents])
    except ValueError:
        # a text of the message is none that XML can carry (MSG-CONTROL): no metadata can say it
        return None


def _emitter(transmission: Transmission, making: Making) -> Emitter:
    sender = transmission.sender
    person = sender.person if sender else None
    organisation = sender.organisation if sender else None
    return Emitter(
        name=f"{person.family} {person.given}".strip() if person else making.name,
        organisation=organisation.name if organisation else "",
        organisation_id=organisation.number if organisation else "",
        address="",
        phone="",
        software=making.software,
        version=making.version,
        editor=making.software,
    )


def _alone(transmission: Transmission, documents: tuple[Document, ...], raw: bytes) -> list[File]:
    """Each document by itself: a CDA that was read, else whatever its base64 holds."""
    read = {document.part: document.content for document in documents}
    files = []
    for index, part in enumerate(transmission.parts):
        content = read.get(index)
        if content is None:
            try:
                content = decode(memoryview(raw)[part.offset : part.offset + part.length]).content
            except BadBase64:
                continue
        if content:
            kind = XML if content.lstrip()[:1] == b"<" or index in read else _OCTETS
            files.append(File(f"document_{index + 1}.{'xml' if kind == XML else 'bin'}", kind, content))
    return files


def _copies(transmission: Transmission, documents: tuple[Document, ...]) -> list[File]:
    """The PDF copies that can be read."""
    account = transmission.account_number.value if transmission.account_number else ""
    files: list[File] = []
    for number, document in enumerate(documents, 1):
        try:
            content = pdf_copy.extract(document.content, pdf_copy.where(document.header.body))
        except pdf_copy.NoPdf:
            continue
        if content is not None:
            name = wording.pdf_name(document, account)
            if any(f.name == name for f in files):
                name = f"{name.removesuffix('.pdf')}_{number}.pdf"
            files.append(File(name, PDF, content))
    return files
