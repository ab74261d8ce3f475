"""ebRIM 3.0: XDS metadata as XML, for the DMP (ITI-41, ITI-57, ITI-18) and for METADATA.XML of an XDM
archive.

Purpose: one set of pure builders; `Layout` says what differs (symbolic identifiers for a registry that
assigns its own, `urn:uuid` identifiers and an Approved status in an archive).
Guarantee: the element order and the required attributes of rim.xsd, lcm.xsd and query.xsd
(`classifiedObject`, `registryObject`, `id` always present); same input, same bytes (no random identifier is
made here).
Fails: never for a valid model (a text that XML cannot carry raises `ValueError` from lxml).
Source: spec/dmp.md §3.1, §3.7, §3.8, §5; spec/mssante.md §1.6.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from connectors.xds.model import DocumentEntry, SubmissionSet, XdsAuthor, XdsCode

RIM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rim:3.0"
LCM: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:lcm:3.0"
QUERY: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:query:3.0"
RS: Final = "urn:oasis:names:tc:ebxml-regrep:xsd:rs:3.0"
IHE: Final = "urn:ihe:iti:xds-b:2007"
XOP: Final = "http://www.w3.org/2004/08/xop/include"

APPROVED: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:Approved"
DEPRECATED: Final = "urn:oasis:names:tc:ebxml-regrep:StatusType:Deprecated"
DELETED: Final = "urn:asip:ci-sis:2010:StatusType:Deleted"
ARCHIVED: Final = "urn:asip:ci-sis:2010:StatusType:Archived"

HAS_MEMBER: Final = "urn:oasis:names:tc:ebxml-regrep:AssociationType:HasMember"
REPLACES: Final = "urn:ihe:iti:2007:AssociationType:RPLC"
SIGNS: Final = "urn:ihe:iti:2007:AssociationType:signs"
UPDATE_STATUS: Final = "urn:ihe:iti:2010:AssociationType:UpdateAvailabilityStatus"
GET_DOCUMENTS: Final = "urn:uuid:5c4f972b-d56b-40ac-a5fc-c8ca9b40b9d4"

STABLE_DOCUMENT: Final = "urn:uuid:7edca82f-054d-47f2-a032-9b2a5b5186c1"
SUBMISSION_SET_NODE: Final = "urn:uuid:a54d6aa5-d40d-43f9-88c5-b4633d873bdd"
SET_AUTHOR: Final = "urn:uuid:a7058bb9-b4e4-4307-ba5b-e3f0ab85e12d"
SET_CONTENT_TYPE: Final = "urn:uuid:aa543740-bdda-424e-8c96-df4873be8500"
SET_PATIENT_ID: Final = "urn:uuid:6b5aea1a-874d-4603-a4bc-96a0a7b38446"
SET_SOURCE_ID: Final = "urn:uuid:554ac39e-e3fe-47fe-b233-965d2a147832"
SET_UNIQUE_ID: Final = "urn:uuid:96fdda7c-d067-4183-912e-bf5ee74998a8"
DOC_AUTHOR: Final = "urn:uuid:93606bcf-9494-43ec-9b4e-a7748d1a838d"
DOC_CLASS: Final = "urn:uuid:41a5887f-8865-4c09-adf7-e362475b143a"
DOC_CONFIDENTIALITY: Final = "urn:uuid:f4f85eac-e6cb-4883-b524-f2705394840f"
DOC_EVENT: Final = "urn:uuid:2c6b8cb7-8b2a-4051-b291-b1ae6a575ef4"
DOC_FORMAT: Final = "urn:uuid:a09d5840-386c-46f2-b5ad-9c3699a4309d"
DOC_FACILITY: Final = "urn:uuid:f33fb8ac-18af-42cc-ae0e-ed0b0bdb91e1"
DOC_PRACTICE: Final = "urn:uuid:cccf5598-8b07-4b77-a05e-ae952c785ead"
DOC_TYPE: Final = "urn:uuid:f0306f51-975f-434e-a61c-c59651d33983"
DOC_PATIENT_ID: Final = "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427"
DOC_UNIQUE_ID: Final = "urn:uuid:2e82c1f6-a085-4c72-9da3-8640a32e42ab"

REFERENCE_ID_LIST: Final = "urn:ihe:iti:xds:2013:referenceIdList"
ACTION_SLOT: Final = "urn:action:extraMetadataSlot"

_OBJECT = "urn:oasis:names:tc:ebxml-regrep:ObjectType:RegistryObject:"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_XDM_NAMESPACE = uuid.UUID("5bf2b1f6-0a5a-5e0d-9a3e-6f5b6c1f0c11")
"""Any constant: identifiers of an archive are UUIDv5 of the lot's uniqueId, so that a rebuild is the same
bytes.
"""


@dataclass(slots=True)
class Layout:
    """How objects are named and what they carry. A fresh one for each request (it counts)."""

    status: str | None = None
    seed: str | None = None
    """Given: every identifier is a `urn:uuid` derived from it; None: symbolic identifiers (`Document01`)."""
    count: int = 0

    def object_id(self, symbolic: str) -> str:
        """Identifier of a package, document or signature."""
        if self.seed is None:
            return symbolic
        return uuid.uuid5(_XDM_NAMESPACE, f"{self.seed}/{symbolic}").urn

    def part_id(self) -> str:
        """Identifier of a classification, external identifier or association."""
        self.count += 1
        return self.object_id(f"id_{self.count:03d}")


@dataclass(frozen=True, slots=True)
class Member:
    """One document of a lot: its entry, what it replaces (entryUUID), and for an archive its file and
    action.
    """

    entry: DocumentEntry
    replaces: str | None = None
    uri: str | None = None
    action: Literal["C", "D"] | None = None
    """Archive only: C replacement, D deletion, None first submission."""


# --- small parts --------------------------------------------------------------------------------------------


def _slot(parent: etree._Element, name: str, values: Iterable[str]) -> None:
    kept = [v for v in values if v]
    if not kept:
        return
    listed = etree.SubElement(etree.SubElement(parent, f"{{{RIM}}}Slot", name=name), f"{{{RIM}}}ValueList")
    for value in kept:
        etree.SubElement(listed, f"{{{RIM}}}Value").text = value


def _localized(parent: etree._Element, tag: str, value: str) -> None:
    string = etree.SubElement(
        etree.SubElement(parent, f"{{{RIM}}}{tag}"),
        f"{{{RIM}}}LocalizedString",
        charset="UTF8",
        value=value,
    )
    string.set(_LANG, "FR")


def _classification(parent: etree._Element, layout: Layout, scheme: str, node: str) -> etree._Element:
    return etree.SubElement(
        parent,
        f"{{{RIM}}}Classification",
        id=layout.part_id(),
        objectType=_OBJECT + "Classification",
        classificationScheme=scheme,
        classifiedObject=parent.get("id", ""),
        nodeRepresentation=node,
    )


def add_code(parent: etree._Element, layout: Layout, scheme: str, code: XdsCode) -> None:
    """One coded attribute as a Classification."""
    made = _classification(parent, layout, scheme, code.code)
    _slot(made, "codingScheme", (code.scheme,))
    _localized(made, "Name", code.label or code.code)


def _author(parent: etree._Element, layout: Layout, scheme: str, author: XdsAuthor) -> None:
    made = _classification(parent, layout, scheme, "")
    _slot(made, "authorInstitution", author.institution)
    _slot(made, "authorPerson", (author.person,))
    _slot(made, "authorRole", author.role)
    _slot(made, "authorSpecialty", author.specialty)


def _external(parent: etree._Element, layout: Layout, scheme: str, value: str, name: str) -> None:
    made = etree.SubElement(
        parent,
        f"{{{RIM}}}ExternalIdentifier",
        id=layout.part_id(),
        objectType=_OBJECT + "ExternalIdentifier",
        registryObject=parent.get("id", ""),
        identificationScheme=scheme,
        value=value,
    )
    _localized(made, "Name", name)


def add_association(
    parent: etree._Element, layout: Layout, kind: str, source: str, target: str, **slots: str
) -> None:
    """One association; `slots` have one value each."""
    made = etree.SubElement(
        parent,
        f"{{{RIM}}}Association",
        id=layout.part_id(),
        objectType=_OBJECT + "Association",
        associationType=kind,
        sourceObject=source,
        targetObject=target,
    )
    for name, value in slots.items():
        _slot(made, name, (value,))


# --- registry objects ---------------------------------------------------------------------------------------


def add_package(parent: etree._Element, layout: Layout, lot: SubmissionSet) -> str:
    """The RegistryPackage of the lot; its identifier."""
    made = etree.SubElement(parent, f"{{{RIM}}}RegistryPackage", id=layout.object_id("SubmissionSet01"))
    if layout.status:
        made.set("status", layout.status)
    _slot(made, "submissionTime", (lot.submission_time,))
    _localized(made, "Name", lot.title)
    if lot.comments:
        _localized(made, "Description", lot.comments)
    etree.SubElement(
        made,
        f"{{{RIM}}}Classification",
        id=layout.part_id(),
        objectType=_OBJECT + "Classification",
        classificationNode=SUBMISSION_SET_NODE,
        classifiedObject=made.get("id", ""),
    )
    _author(made, layout, SET_AUTHOR, lot.author)
    add_code(made, layout, SET_CONTENT_TYPE, lot.content_type)
    _external(made, layout, SET_PATIENT_ID, lot.patient_id, "XDSSubmissionSet.patientId")
    _external(made, layout, SET_SOURCE_ID, lot.source_id, "XDSSubmissionSet.sourceId")
    _external(made, layout, SET_UNIQUE_ID, lot.unique_id, "XDSSubmissionSet.uniqueId")
    return made.get("id", "")


def _extrinsic(parent: etree._Element, layout: Layout, symbolic: str, member: Member) -> str:
    """The ExtrinsicObject of one document; its identifier."""
    entry = member.entry
    made = etree.SubElement(
        parent,
        f"{{{RIM}}}ExtrinsicObject",
        id=layout.object_id(symbolic),
        mimeType=entry.mime_type,
        objectType=STABLE_DOCUMENT,
    )
    if layout.status:
        made.set("status", layout.status)
    _slot(made, ACTION_SLOT, (member.action or "",))
    _slot(made, "hash", (entry.sha1,))
    _slot(made, "size", (str(entry.size) if entry.size else "",))
    _slot(made, "URI", (member.uri or "",))
    _slot(made, "creationTime", (entry.creation_time,))
    _slot(made, "languageCode", (entry.language,))
    _slot(made, "legalAuthenticator", (entry.legal_authenticator,))
    _slot(made, "serviceStartTime", (entry.service_start,))
    _slot(made, "serviceStopTime", (entry.service_stop,))
    _slot(made, "sourcePatientId", (entry.source_patient_id,))
    _slot(made, "sourcePatientInfo", entry.source_patient_info)
    _slot(made, REFERENCE_ID_LIST, entry.reference_ids)
    _localized(made, "Name", entry.title)
    for code in entry.event_codes:
        add_code(made, layout, DOC_EVENT, code)
    for author in entry.authors:
        _author(made, layout, DOC_AUTHOR, author)
    add_code(made, layout, DOC_CLASS, entry.class_code)
    for code in entry.confidentiality:
        add_code(made, layout, DOC_CONFIDENTIALITY, code)
    add_code(made, layout, DOC_FORMAT, entry.format_code)
    add_code(made, layout, DOC_FACILITY, entry.facility)
    add_code(made, layout, DOC_PRACTICE, entry.practice)
    add_code(made, layout, DOC_TYPE, entry.type_code)
    _external(made, layout, DOC_PATIENT_ID, entry.patient_id, "XDSDocumentEntry.patientId")
    _external(made, layout, DOC_UNIQUE_ID, entry.unique_id, "XDSDocumentEntry.uniqueId")
    return made.get("id", "")


def new_request() -> tuple[etree._Element, etree._Element]:
    """An empty `lcm:SubmitObjectsRequest` and its RegistryObjectList."""
    root = etree.Element(f"{{{LCM}}}SubmitObjectsRequest", nsmap={"lcm": LCM, "rim": RIM})
    return root, etree.SubElement(root, f"{{{RIM}}}RegistryObjectList")


# --- requests -----------------------------------------------------------------------------------------------


def submit_objects(
    lot: SubmissionSet,
    members: Sequence[Member],
    *,
    signature: DocumentEntry | None = None,
    layout: Layout | None = None,
) -> etree._Element:
    """`lcm:SubmitObjectsRequest` of a lot: package, documents, HasMember, RPLC, and for the DMP the
    signature.

    `members` are named Document01, Document02… in their order, the signature Signature01 (associations
    HasMember and `signs` to the lot). A member with `replaces` gets an RPLC association to that entryUUID.
    """
    layout = layout or Layout()
    root, listed = new_request()
    package = add_package(listed, layout, lot)
    names = [_extrinsic(listed, layout, f"Document{n:02d}", m) for n, m in enumerate(members, 1)]
    if signature is not None:
        signed = _extrinsic(listed, layout, "Signature01", Member(signature))
    for name in names:
        add_association(listed, layout, HAS_MEMBER, package, name, SubmissionSetStatus="Original")
    if signature is not None:
        add_association(listed, layout, HAS_MEMBER, package, signed, SubmissionSetStatus="Original")
        add_association(listed, layout, SIGNS, signed, package, SubmissionSetStatus="Original")
    for name, member in zip(names, members, strict=True):
        if member.replaces:
            add_association(listed, layout, REPLACES, name, member.replaces)
    return root


def xdm_metadata(lot: SubmissionSet, members: Sequence[Member]) -> bytes:
    """METADATA.XML of an XDM archive: UTF-8 with declaration, `urn:uuid` identifiers, status Approved.

    The same lot and members give the same bytes. Replacement and deletion are told by `Member.action` alone;
    there is no RPLC association in an archive (spec/mssante.md §1.6).
    """
    layout = Layout(status=APPROVED, seed=lot.unique_id)
    root = submit_objects(lot, members, layout=layout)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def provide_and_register(request: etree._Element, parts: Sequence[tuple[str, str]]) -> etree._Element:
    """ITI-41: the request and one `xop:Include` for each (object id, Content-ID) of `parts`."""
    root = etree.Element(f"{{{IHE}}}ProvideAndRegisterDocumentSetRequest", nsmap={"ihe": IHE})
    root.append(request)
    for name, content_id in parts:
        document = etree.SubElement(root, f"{{{IHE}}}Document", id=name)
        etree.SubElement(document, f"{{{XOP}}}Include", nsmap={"xop": XOP}, href=f"cid:{content_id}")
    return root


def status_update(
    lot: SubmissionSet, entry_uuid: str, *, original: str = APPROVED, new: str = DELETED
) -> etree._Element:
    """ITI-57: change the availability status of one stored document (TD3.3c: deletion, TD3.3d: archive)."""
    layout = Layout()
    root, listed = new_request()
    package = add_package(listed, layout, lot)
    add_association(
        listed, layout, UPDATE_STATUS, package, entry_uuid, OriginalStatus=original, NewStatus=new
    )
    return root


def retrieve(repository: str, unique_ids: Sequence[str]) -> etree._Element:
    """ITI-43 (TD3.2): documents of one repository."""
    root = etree.Element(f"{{{IHE}}}RetrieveDocumentSetRequest", nsmap={"ihe": IHE})
    for unique_id in unique_ids:
        one = etree.SubElement(root, f"{{{IHE}}}DocumentRequest")
        etree.SubElement(one, f"{{{IHE}}}RepositoryUniqueId").text = repository
        etree.SubElement(one, f"{{{IHE}}}DocumentUniqueId").text = unique_id
    return root


def stored_query(
    query_id: str, parameters: Sequence[tuple[str, str]], *, return_type: str = "ObjectRef"
) -> etree._Element:
    """ITI-18 `AdhocQueryRequest`. `parameters`: name and ready-made literal (see `literals`)."""
    root = etree.Element(f"{{{QUERY}}}AdhocQueryRequest", nsmap={"query": QUERY, "rim": RIM})
    etree.SubElement(root, f"{{{QUERY}}}ResponseOption", returnComposedObjects="true", returnType=return_type)
    query = etree.SubElement(root, f"{{{RIM}}}AdhocQuery", id=query_id)
    for name, literal in parameters:
        _slot(query, name, _values(literal))
    return root


_STRING = re.compile(r"'(?:[^']|'')*'")
_LONG_NAME = 256
"""Characters of a `rim:Value` (LongName of rim.xsd)."""


def _values(literal: str) -> list[str]:
    """A literal, in several Values when it is a list too long for one (ITI-18: their union is the list)."""
    if len(literal) <= _LONG_NAME or not literal.startswith("("):
        return [literal]
    made: list[str] = []
    for one in _STRING.findall(literal):
        if made and len(made[-1]) + len(one) + 3 <= _LONG_NAME:
            made[-1] += f",{one}"
        else:
            made.append(one)
    return [f"({v})" for v in made]


def literals(*values: str) -> str:
    """A list of string literals of a stored query: `('a','b')`, quotes doubled."""
    return "(" + ",".join("'" + v.replace("'", "''") + "'" for v in values) + ")"
