"""From a transmission to its documents: decode, read, check, compare; everything that is wrong in one go.

Purpose: the one entry to this room on the ACK path (architecture §3: "CDA checks"). Version rules need the
register and are asked apart (`gateway.cda.versions`).

Guarantee: pure and synchronous (CPU only: about 2 ms for an ordinary document; run it in a thread beyond 1
MB). The bytes of `Document.content` are exactly those of the base64. A document is returned only when it
could be read; a document that is returned may still have rejecting findings. The XML tree does not survive
the call.

Fails: never; a base64 or XML that cannot be read is a finding 102 at `OBX^n^5`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from lxml import etree

from gateway.cda.coherence import check_coherence, check_pair
from gateway.cda.document import Document
from gateway.cda.header import read_header
from gateway.cda.once import check_once
from gateway.cda.package.payload import schematron_input
from gateway.cda.package.reports import SchematronInput
from gateway.cda.package.xsd import XsdLayer
from gateway.cda.reader import CdaLimits, read
from gateway.cda.rules import check_header
from gateway.cda.valuesets import ValueSets
from gateway.errors import Place
from gateway.hl7.base64text import BadBase64, decode
from gateway.hl7.transmission import Action, DocumentPart, Transmission
from gateway.rules import Findings, RuleBook


@dataclass(frozen=True, slots=True)
class OfficialLayers:
    """What of the official package is used. A deletion is checked by none of it: it must stay deletable."""

    xsd: XsdLayer | None = None
    schematron: bool = False
    """Prepare the inputs of the schematron worker."""

    def check(self, checked: ContentCheck, findings: Findings, place: Place) -> list[SchematronInput]:
        """XSD findings of a document that was read, and what the worker is to check of it.

        It must be the last use of `checked.root`: its payloads are taken out.
        """
        if checked.document is None or checked.root is None:
            return []
        if self.xsd is not None:
            self.xsd.check(checked.root, findings, place)
        if not self.schematron:
            return []
        return [schematron_input(checked.root, place, checked.document.sha256)]


@dataclass(frozen=True, slots=True)
class CdaCheck:
    """The documents that could be read (in the order of the message) and all the findings."""

    documents: tuple[Document, ...]
    findings: Findings
    """Of our own rules and of the XSD (`CDA-XSD`)."""
    xsd_checked: int = 0
    """Documents that the XSD layer saw."""
    inputs: tuple[SchematronInput, ...] = ()
    """What the schematron worker is to check; empty unless it was asked for."""


@dataclass(frozen=True, slots=True)
class ContentCheck:
    """What one CDA gave. `document` and `root` are None together, when it could not be read."""

    document: Document | None
    findings: Findings
    root: etree._Element | None = None
    """The ClinicalDocument, for further layers that need the tree at once. Never keep it."""


def document_place(part: DocumentPart) -> Place:
    """OBX-5 of a document: where findings on its content stand."""
    return replace(part.place, field=5)


def check_documents(
    transmission: Transmission,
    raw: bytes,
    book: RuleBook,
    limits: CdaLimits | None = None,
    layers: OfficialLayers | None = None,
    sets: ValueSets | None = None,
) -> CdaCheck:
    """Read and check every document of `transmission`; `raw` is the message whose parts' offsets it holds."""
    findings = Findings(book)
    if layers is None or transmission.action is Action.DELETE:
        layers = OfficialLayers()
    inputs: list[SchematronInput] = []
    documents: list[Document] = []
    places: list[Place] = []
    for index, part in enumerate(transmission.parts):
        document = _check_one(transmission, index, raw, limits or CdaLimits(), layers, sets, findings, inputs)
        if document is not None:
            documents.append(document)
            places.append(document_place(part))
    if transmission.message_type == "ORU":
        check_pair(documents, findings, places)
    seen = len(documents) if layers.xsd is not None else 0
    return CdaCheck(tuple(documents), findings, seen, tuple(inputs))


def check_content(
    content: bytes,
    book: RuleBook,
    place: Place,
    *,
    action: Action = Action.SUBMIT,
    dmp: bool = False,
    processing: str | None = None,
    limits: CdaLimits | None = None,
    sets: ValueSets | None = None,
    part: int = 0,
) -> ContentCheck:
    """Read and check one CDA, without any message: `content` are its exact bytes.

    `dmp`: the DMP is a destination. `processing`: MSH-11 (P, T, D); None: rules on it are not judged. `sets`:
    the value sets in force; None: the shipped ones. `part`: the index that the document takes. All findings stand at
    `place`.
    """
    result = read(content, book, place, limits)
    root = result.clinical_document
    if root is None:
        return ContentCheck(None, result.findings)
    header = read_header(
        root, self_presenting=result.self_presenting, has_stylesheet_pi=result.has_stylesheet_pi
    )
    check_header(
        root, header, result.findings, place, action=action, dmp=dmp, processing=processing, sets=sets
    )
    if action is not Action.DELETE:
        check_once(root, result.findings, place)
    document = Document(header, content, hashlib.sha256(content).hexdigest(), part)
    return ContentCheck(document, result.findings, root)


def _check_one(
    transmission: Transmission,
    index: int,
    raw: bytes,
    limits: CdaLimits,
    layers: OfficialLayers,
    sets: ValueSets | None,
    findings: Findings,
    inputs: list[SchematronInput],
) -> Document | None:
    part = transmission.parts[index]
    place = document_place(part)
    if part.length == 0:
        return None  # OBX5-EMPTY has spoken
    if part.length // 4 * 3 > limits.max_bytes + 3:
        # refused before it is decoded: the size is known from the length of the text
        findings.add("CDA-SIZE", place, limit=limits.max_bytes // 1_000_000)
        return None
    try:
        decoded = decode(memoryview(raw)[part.offset : part.offset + part.length])
    except BadBase64:
        findings.add("CDA-B64", place)
        return None
    if decoded.repaired:
        findings.add("CDA-B64-PADDING", place)
    checked = check_content(
        decoded.content,
        findings.book,
        place,
        action=transmission.action,
        dmp=transmission.flags.dest_dmp,
        processing=transmission.processing_id,
        limits=limits,
        sets=sets,
        part=index,
    )
    findings.extend(checked.findings)
    if checked.document is not None:
        check_coherence(transmission, checked.document.header, findings, place)
        inputs.extend(layers.check(checked, findings, place))
    return checked.document
