"""From the bytes of a mail to its documents: every contradiction named, in one go. Pure and synchronous.

Purpose: the one entry to this room: mail, archive, METADATA.XML and CDA headers, compared with one another. Call it
in a thread: about 5 ms for an ordinary mail, more with its size.
Guarantee: the bytes of a document are those of the archive, and their SHA-1 and size those that METADATA.XML gives; one
mail is about one patient; a document masked to professionals (MASQUE_PS) always carries a rejecting finding. Documents
are given even when something rejects: whoever goes on must look at `Received.accepted`.
Fails: never for what is in the bytes; every refusal is a finding (rules `IN-…` here, `CDA-…` of the CDA reader).
Source: spec/mssante.md §2.1 to §2.5; volet Transmission au LPS v1.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from connectors.mss import pdf_copy
from connectors.mss.inbound.archive import Archive, File, Subset, open_archive
from connectors.mss.inbound.envelope import InboundMail, MailKind, read_inbound
from connectors.mss.inbound.limits import InboundLimits
from connectors.mss.inbound.metadata import Described, Metadata, read_metadata
from connectors.mss.plan import PdfCopy
from connectors.xds.registry import RegisteredDocument
from gateway.cda.document import CdaHeader, CdaPatient, Document
from gateway.cda.header import read_header
from gateway.cda.reader import CdaLimits, read
from gateway.errors import Place
from gateway.hl7.transmission import Action
from gateway.rules import Findings, RuleBook

MASKED = "MASQUE_PS"
INVISIBLE_PATIENT = "INVISIBLE_PATIENT"
INVISIBLE_GUARDIANS = frozenset({"INVISIBLE_REPRESENTANTS_LEGAUX", "INVISIBLE_REP_LEGAUX"})
"""The code of the metadata, and its short form of HL7 (twenty characters), which some put there too."""


@dataclass(frozen=True, slots=True)
class InboundDocument:
    """One CDA of the mail with what METADATA.XML says of it; what the version rules and the MDM need.

    `gateway.cda.versions.check_versions(d.action, d.document, register, book, d.place)` runs the version rules.
    """

    action: Action
    document: Document = field(repr=False)
    entry: RegisteredDocument = field(repr=False)
    place: Place
    """`DOC` and the number of the document in the mail, from 1."""

    @property
    def confidentiality(self) -> frozenset[str]:
        """Confidentiality codes of the metadata and of the CDA header."""
        own = self.document.header.confidentiality
        codes = {c.code for c in self.entry.confidentiality} | ({own.code} if own else set())
        return frozenset(c for c in codes if c)

    @property
    def masked(self) -> bool:
        """MASQUE_PS: no professional of a DPI may get it."""
        return MASKED in self.confidentiality

    @property
    def invisible_patient(self) -> bool:
        """INVISIBLE_PATIENT."""
        return INVISIBLE_PATIENT in self.confidentiality

    @property
    def invisible_guardians(self) -> bool:
        """INVISIBLE_REP_LEGAUX."""
        return not INVISIBLE_GUARDIANS.isdisjoint(self.confidentiality)


@dataclass(frozen=True, slots=True)
class Received:
    """What a mail gave."""

    mail: InboundMail
    documents: tuple[InboundDocument, ...]
    findings: Findings

    @property
    def accepted(self) -> bool:
        """True when every document may be given to the DPI."""
        return bool(self.documents) and not self.findings.rejects


def receive(
    raw: bytes, book: RuleBook, limits: InboundLimits | None = None, cda_limits: CdaLimits | None = None
) -> Received:
    """Read one mail of the mailbox (`raw`: exactly as fetched). `book` holds the core's rules and this room's.

    A mail that is not of this flow (`mail.kind` other than XDM) gives no document and no finding.
    """
    limits = limits or InboundLimits()
    findings = Findings(book)
    mail = read_inbound(raw, limits, findings)
    if mail.kind is not MailKind.XDM or mail.archive is None:
        return Received(mail, (), findings)
    documents = read_documents(mail.archive, book, findings, limits, cda_limits)
    _check_mail(mail, documents, findings)
    return Received(mail, documents, findings)


def read_documents(
    archive: bytes,
    book: RuleBook,
    findings: Findings,
    limits: InboundLimits | None = None,
    cda_limits: CdaLimits | None = None,
) -> tuple[InboundDocument, ...]:
    """The documents of an IHE_XDM.ZIP, in the order of its SUBSETs and of their metadata."""
    limits = limits or InboundLimits()
    opened = open_archive(archive, limits, findings)
    if opened is None:
        return ()
    documents: list[InboundDocument] = []
    count = 0
    for subset in opened.subsets:
        metadata = _metadata(opened, subset, limits, findings)
        if metadata is None:
            continue
        for described in metadata.documents:
            count += 1
            if count > limits.documents:
                findings.add("IN-DOCUMENTS", limit=limits.documents)
                return tuple(documents)
            place = Place("DOC", count)
            file = _file(opened, subset, described, place, findings)
            made = _document(file, described, place, book, findings, cda_limits) if file else None
            if made is not None:
                documents.append(made)
        _check_forgotten(subset, metadata, findings)
    _check_together(documents, findings)
    return tuple(documents)


def _metadata(archive: Archive, subset: Subset, limits: InboundLimits, findings: Findings) -> Metadata | None:
    if subset.metadata.file_size > limits.metadata_bytes:
        findings.add("IN-METADATA-SIZE", limit=limits.metadata_bytes // 1_000_000)
        return None
    file = archive.read(subset.metadata)
    if file is None:
        findings.add("IN-ZIP-ENTRY")
        return None
    return read_metadata(file.content, limits, findings)


def _file(
    archive: Archive, subset: Subset, described: Described, place: Place, findings: Findings
) -> File | None:
    """The bytes of one document, whose hash and size are those announced."""
    entry = subset.files.get(described.uri.removeprefix("./"))
    if entry is None:
        findings.add("IN-URI", place)
        return None
    file = archive.read(entry)
    if file is None:
        findings.add("IN-ZIP-ENTRY", place)
        return None
    announced = described.entry.sha1.strip().lower()
    if not announced:
        findings.add("IN-HASH-ABSENT", place)
    elif announced != file.sha1:
        findings.add("IN-HASH", place)
    if described.size is None:
        findings.add("IN-SIZE-ABSENT", place)
    elif described.size != len(file.content):
        findings.add("IN-SIZE", place)
    return file


def _document(
    file: File,
    described: Described,
    place: Place,
    book: RuleBook,
    findings: Findings,
    limits: CdaLimits | None,
) -> InboundDocument | None:
    result = read(file.content, book, place, limits)
    findings.extend(result.findings)
    root = result.clinical_document
    if root is None:
        return None
    header = read_header(
        root, self_presenting=result.self_presenting, has_stylesheet_pi=result.has_stylesheet_pi
    )
    document = Document(header, file.content, hashlib.sha256(file.content).hexdigest(), place.occurrence - 1)
    made = InboundDocument(described.action, document, described.entry, place)
    _check_header(made, findings)
    return made


def _check_header(made: InboundDocument, findings: Findings) -> None:
    """The CDA header against its metadata and its action."""
    header, entry, place = made.document.header, made.entry, made.place
    if header.id is None:
        findings.add("IN-CDA-ID", place)
    elif not entry.unique_id:
        findings.add("IN-UID-ABSENT", place)
    elif entry.unique_id.strip() != str(header.id):
        findings.add("IN-UID-DIFFERS", place)
    if header.code is None or not header.code.code:
        findings.add("IN-CDA-CODE", place)
    elif entry.type_code is not None and entry.type_code.code != header.code.code:
        findings.add("IN-TYPE-DIFFERS", place)
    replaced = header.replaced_id
    if made.action is Action.REPLACE and replaced is None:
        findings.add("IN-REPLACED-ABSENT", place)
    elif made.action is Action.REPLACE and replaced == header.id:
        findings.add("IN-REPLACED-SELF", place)
    elif made.action is Action.SUBMIT and replaced is not None:
        findings.add("IN-RPLC-ON-SUBMIT", place)
    if made.masked:
        findings.add("IN-MASKED", place)
    _check_patient(header, entry, place, findings)


def _check_patient(header: CdaHeader, entry: RegisteredDocument, place: Place, findings: Findings) -> None:
    patient = header.patient
    ids = _patient_keys(patient)
    if not ids:
        findings.add("IN-PATIENT-ABSENT", place)
        return
    if patient is not None and patient.ins is None:
        findings.add("IN-NO-INS", place)
    parts = entry.patient_id.split("^")
    authority = parts[3].split("&") if len(parts) > 3 else []
    if not parts[0] or len(authority) < 2:
        findings.add("IN-PATIENT-UNNAMED", place)
    elif (authority[1], parts[0]) not in ids:
        findings.add("IN-PATIENT-DIFFERS", place)


def _patient_keys(patient: CdaPatient | None) -> frozenset[tuple[str, str]]:
    """(OID, value) of every identifier."""
    return frozenset((i.root, i.extension) for i in (patient.ids if patient else ()) if i.extension)


def _check_forgotten(subset: Subset, metadata: Metadata, findings: Findings) -> None:
    """A document that no metadata names would be lost in silence."""
    named = {d.uri.removeprefix("./") for d in metadata.documents} | {*metadata.others, "METADATA.XML"}
    if any(name.endswith(".XML") and name not in named for name in subset.files):
        findings.add("IN-FILE-FORGOTTEN")


def _check_together(documents: Sequence[InboundDocument], findings: Findings) -> None:
    """What the documents of one mail must have in common, and must not."""
    uids = [d.document.uid for d in documents if d.document.uid]
    if len(set(uids)) != len(uids):
        findings.add("IN-UID-TWICE")
    patients = [d.document.header.patient for d in documents if _patient_keys(d.document.header.patient)]
    if not patients:
        return
    first = patients[0]
    for other in patients[1:]:
        if _patient_keys(first).isdisjoint(_patient_keys(other)) or _another(first, other):
            findings.add("IN-PATIENTS-SEVERAL")
            return
    if len({_traits(p) for p in patients}) > 1:
        findings.add("IN-PATIENT-TRAITS")


def _another(one: CdaPatient | None, two: CdaPatient | None) -> bool:
    """Two identities of one authority that differ, whatever else they share."""
    mine, theirs = dict(_patient_keys(one)), dict(_patient_keys(two))
    return any(root in theirs and theirs[root] != value for root, value in mine.items())


def _traits(patient: CdaPatient | None) -> tuple[str, ...]:
    if patient is None:
        return ()
    return (patient.birth_family.upper(), patient.birth_given.upper(), patient.birth_time, patient.gender)


def _check_mail(mail: InboundMail, documents: Sequence[InboundDocument], findings: Findings) -> None:
    """The mail's own headers and PDF copies against its documents."""
    codes = {d.document.header.code.code for d in documents if d.document.header.code}
    if mail.codes and codes - {*mail.codes}:
        findings.add("IN-CODECDA-DIFFERS")
    if mail.ins == "O" and any(
        d.document.header.patient is None or d.document.header.patient.ins is None for d in documents
    ):
        findings.add("IN-INS-HEADER")
    pdfs = [
        a for a in mail.attachments if a.mime_type == "application/pdf" or a.name.lower().endswith(".pdf")
    ]
    if documents and not pdfs:
        findings.add("IN-PDF-ABSENT")
        return
    bodies = [d for d in documents if pdf_copy.where(d.document.header.body) is PdfCopy.BODY]
    if not bodies:
        return
    digests = {hashlib.sha256(content).digest() for a in pdfs if (content := a.part.content()) is not None}
    for made in bodies:
        try:
            own = pdf_copy.extract(made.document.content, PdfCopy.BODY)
        except pdf_copy.NoPdf:
            findings.add("IN-PDF-UNREADABLE", made.place)
            continue
        if own is not None and hashlib.sha256(own).digest() not in digests:
            findings.add("IN-PDF-DIFFERS", made.place)
