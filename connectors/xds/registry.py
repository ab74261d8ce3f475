"""What a registry answers (LeafClass), as data: documents, submission sets, associations.

Purpose: read `rim:RegistryObjectList` of an ITI-18 response. Pure.
Guarantee: attributes are found by scheme, never by position or by `registryObject` (official samples get that
wrong); what is absent is empty; nothing is guessed. The ExtrinsicObject itself is kept for a metadata update,
which must send all of it back (TD3.3a).
Fails: never.
Source: spec/dmp.md §3.1, §5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lxml import etree

from connectors.xds import ebrim
from connectors.xds.model import XdsAuthor, XdsCode

_RIM = f"{{{ebrim.RIM}}}"


@dataclass(frozen=True, slots=True)
class RegisteredDocument:
    """One DocumentEntry of a registry. Times are UTC, as stored."""

    entry_uuid: str
    """Changes at each version and at each metadata update: used at once, never kept (spec §0.10)."""
    logical_id: str
    """`lid`: constant."""
    version: str
    status: str
    """The whole status URN."""
    unique_id: str
    repository: str
    mime_type: str
    sha1: str
    size: int
    title: str
    language: str
    creation_time: str
    service_start: str
    service_stop: str
    class_code: XdsCode | None
    type_code: XdsCode | None
    format_code: XdsCode | None
    facility: XdsCode | None
    practice: XdsCode | None
    confidentiality: tuple[XdsCode, ...]
    event_codes: tuple[XdsCode, ...]
    authors: tuple[XdsAuthor, ...]
    legal_authenticator: str
    patient_id: str = field(repr=False)
    source_patient_id: str = field(repr=False)
    source_patient_info: tuple[str, ...] = field(repr=False)
    reference_ids: tuple[str, ...] = ()
    element: etree._Element | None = field(default=None, repr=False, compare=False)

    @property
    def identifiers(self) -> frozenset[str]:
        """What an association may call it."""
        return frozenset(i for i in (self.entry_uuid, self.logical_id) if i)

    @property
    def is_signature(self) -> bool:
        """True for the XAdES document of a lot."""
        return self.type_code is not None and self.type_code.code == "E1762"


@dataclass(frozen=True, slots=True)
class RegisteredSet:
    """One submission set."""

    entry_uuid: str
    unique_id: str
    source_id: str
    status: str
    title: str
    submission_time: str
    content_type: XdsCode | None
    author: XdsAuthor | None
    patient_id: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RegisteredAssociation:
    """One association: `kind` is the whole URN."""

    id: str
    kind: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Found:
    """All that an answer holds. `references` are the ObjectRef."""

    documents: tuple[RegisteredDocument, ...] = ()
    sets: tuple[RegisteredSet, ...] = ()
    associations: tuple[RegisteredAssociation, ...] = ()
    references: tuple[str, ...] = ()


def read_objects(response: etree._Element) -> Found:
    """The objects of `query:AdhocQueryResponse`, in the order of the answer."""
    listed = response.find(f"{_RIM}RegistryObjectList")
    if listed is None:
        return Found()
    return Found(
        documents=tuple(_document(e) for e in listed.findall(f"{_RIM}ExtrinsicObject")),
        sets=tuple(_set(e) for e in listed.findall(f"{_RIM}RegistryPackage")),
        associations=tuple(
            RegisteredAssociation(
                e.get("id") or "",
                e.get("associationType") or "",
                e.get("sourceObject") or "",
                e.get("targetObject") or "",
            )
            for e in listed.findall(f"{_RIM}Association")
        ),
        references=tuple(e.get("id") or "" for e in listed.findall(f"{_RIM}ObjectRef")),
    )


def _slots(element: etree._Element) -> dict[str, tuple[str, ...]]:
    return {
        s.get("name") or "": tuple((v.text or "").strip() for v in s.iterfind(f"{_RIM}ValueList/{_RIM}Value"))
        for s in element.findall(f"{_RIM}Slot")
    }


def _first(values: Sequence[str] | None) -> str:
    return values[0] if values else ""


def _name(element: etree._Element) -> str:
    found = element.find(f"{_RIM}Name/{_RIM}LocalizedString")
    return (found.get("value") or "") if found is not None else ""


def _external(element: etree._Element, scheme: str) -> str:
    for found in element.findall(f"{_RIM}ExternalIdentifier"):
        if found.get("identificationScheme") == scheme:
            return found.get("value") or ""
    return ""


def _classified(element: etree._Element, scheme: str) -> list[etree._Element]:
    return [e for e in element.findall(f"{_RIM}Classification") if e.get("classificationScheme") == scheme]


def _codes(element: etree._Element, scheme: str) -> tuple[XdsCode, ...]:
    return tuple(
        XdsCode(e.get("nodeRepresentation") or "", _first(_slots(e).get("codingScheme")), _name(e))
        for e in _classified(element, scheme)
    )


def _code(element: etree._Element, scheme: str) -> XdsCode | None:
    return next(iter(_codes(element, scheme)), None)


def _authors(element: etree._Element, scheme: str) -> tuple[XdsAuthor, ...]:
    made = []
    for found in _classified(element, scheme):
        values = _slots(found)
        made.append(
            XdsAuthor(
                institution=values.get("authorInstitution", ()),
                person=_first(values.get("authorPerson")),
                role=values.get("authorRole", ()),
                specialty=values.get("authorSpecialty", ()),
            )
        )
    return tuple(made)


def _document(element: etree._Element) -> RegisteredDocument:
    values = _slots(element)
    info = element.find(f"{_RIM}VersionInfo")
    size = _first(values.get("size"))
    return RegisteredDocument(
        entry_uuid=element.get("id") or "",
        logical_id=element.get("lid") or "",
        version=(info.get("versionName") or "") if info is not None else "",
        status=element.get("status") or "",
        unique_id=_external(element, ebrim.DOC_UNIQUE_ID),
        repository=_first(values.get("repositoryUniqueId")),
        mime_type=element.get("mimeType") or "",
        sha1=_first(values.get("hash")).lower(),
        size=int(size) if size.isascii() and size.isdigit() else 0,
        title=_name(element),
        language=_first(values.get("languageCode")),
        creation_time=_first(values.get("creationTime")),
        service_start=_first(values.get("serviceStartTime")),
        service_stop=_first(values.get("serviceStopTime")),
        class_code=_code(element, ebrim.DOC_CLASS),
        type_code=_code(element, ebrim.DOC_TYPE),
        format_code=_code(element, ebrim.DOC_FORMAT),
        facility=_code(element, ebrim.DOC_FACILITY),
        practice=_code(element, ebrim.DOC_PRACTICE),
        confidentiality=_codes(element, ebrim.DOC_CONFIDENTIALITY),
        event_codes=_codes(element, ebrim.DOC_EVENT),
        authors=_authors(element, ebrim.DOC_AUTHOR),
        legal_authenticator=_first(values.get("legalAuthenticator")),
        patient_id=_external(element, ebrim.DOC_PATIENT_ID),
        source_patient_id=_first(values.get("sourcePatientId")),
        source_patient_info=values.get("sourcePatientInfo", ()),
        reference_ids=values.get(ebrim.REFERENCE_ID_LIST, ()),
        element=element,
    )


def _set(element: etree._Element) -> RegisteredSet:
    return RegisteredSet(
        entry_uuid=element.get("id") or "",
        unique_id=_external(element, ebrim.SET_UNIQUE_ID),
        source_id=_external(element, ebrim.SET_SOURCE_ID),
        status=element.get("status") or "",
        title=_name(element),
        submission_time=_first(_slots(element).get("submissionTime")),
        content_type=_code(element, ebrim.SET_CONTENT_TYPE),
        author=next(iter(_authors(element, ebrim.SET_AUTHOR)), None),
        patient_id=_external(element, ebrim.SET_PATIENT_ID),
    )
