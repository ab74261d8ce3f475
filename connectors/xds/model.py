"""XDS metadata as data: DocumentEntry and SubmissionSet, before they become ebRIM.

Purpose: one mapping for the DMP and for MSSanté. Pure data, JSON-able with `pydantic.TypeAdapter` (they
travel in a delivery's plan). Source: mapping tables of the volet Transmission and of spec/dmp.md §3,
spec/mssante.md §1.6.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class XdsCode:
    """A coded attribute: code, codingScheme (OID), display label."""

    code: str
    scheme: str
    label: str


@dataclass(frozen=True, slots=True)
class XdsAuthor:
    """One author classification. Values are ready-made XCN/XON strings."""

    institution: tuple[str, ...] = ()
    person: str = ""
    role: tuple[str, ...] = ()
    specialty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DocumentEntry:
    """One document. Times are UTC `YYYYMMDDhhmmss` (or shorter, at the precision of the source)."""

    unique_id: str
    mime_type: str
    creation_time: str
    title: str
    language: str
    class_code: XdsCode
    type_code: XdsCode
    format_code: XdsCode
    facility: XdsCode
    practice: XdsCode
    confidentiality: tuple[XdsCode, ...]
    patient_id: str
    """CX `matricule^^^&OID&ISO^NH`."""
    source_patient_id: str
    source_patient_info: tuple[str, ...]
    authors: tuple[XdsAuthor, ...]
    legal_authenticator: str
    service_start: str = ""
    service_stop: str = ""
    event_codes: tuple[XdsCode, ...] = ()
    reference_ids: tuple[str, ...] = ()
    size: int = 0
    sha1: str = ""
    """Lower-case hex; of exactly the bytes sent."""


@dataclass(frozen=True, slots=True)
class SubmissionSet:
    """The lot. `unique_id` is an OID; for the DMP a new one for each attempt."""

    unique_id: str
    source_id: str
    submission_time: str
    title: str
    content_type: XdsCode
    patient_id: str
    author: XdsAuthor
    comments: str = ""


@dataclass(frozen=True, slots=True)
class MappingResult:
    """Either an entry, or the findings that prevent it; warnings may come with an entry."""

    entry: DocumentEntry | None
    problems: tuple[str, ...] = field(default_factory=tuple)
    """Names of the missing or unmappable attributes (XDS names: `formatCode`,
    `healthcareFacilityTypeCode`…).
    """
