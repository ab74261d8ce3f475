"""What the API takes and gives, as JSON.

Purpose: the checked shape of every request, and the JSON of what the DMP answered.
Guarantee: an unknown key is refused; a patient is named in the body only; an error names fields, never their values;
times given back are ISO 8601 in UTC (EX_3.1-1070: XDS times are UTC).
Fails: pydantic's `ValidationError`.
Source: spec/dmp.md §2.2, §3.2, §5; docs/dmp-api.md is its description.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from connectors.xds import ebrim
from connectors.xds.model import XdsAuthor, XdsCode
from connectors.xds.queries import DocumentFilter, SetFilter
from connectors.xds.registry import (
    Found,
    RegisteredAssociation,
    RegisteredDocument,
    RegisteredSet,
)

Oid = Annotated[str, Field(pattern=r"^[0-2](\.(0|[1-9][0-9]*))+$", max_length=64)]
Uuid = Annotated[str, Field(pattern=r"^urn:uuid:[0-9a-fA-F-]{36}$")]
Time = Annotated[str, Field(pattern=r"^([0-9]{4}([0-9]{2}){0,5})?$")]
_PLAIN = r"^[^\x00-\x1f\x7f\ufffe\uffff]*$"
"""What XML can carry, on one line."""
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=_PLAIN)]
Pattern = Annotated[str, Field(max_length=200, pattern=_PLAIN)]
Status = Literal["Approved", "Deprecated", "Archived", "Deleted"]
STATUSES = {
    "Approved": ebrim.APPROVED,
    "Deprecated": ebrim.DEPRECATED,
    "Archived": ebrim.ARCHIVED,
    "Deleted": ebrim.DELETED,
}
MAX_DOCUMENTS = 200


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RoleIn(_In):
    """One value of JDV_J65."""

    code: str = Field(max_length=40)
    system: Oid


class User(_In):
    """The professional in whose name the DMP is asked (AIR)."""

    id: str = Field(pattern=r"^[0-9A-Za-z/]{3,40}$")
    """PS_IdNat (8 and the RPPS), or an internal identifier `3<FINESS>/<id>`."""
    family: Name
    given: Name
    roles: list[RoleIn] = Field(min_length=1, max_length=2)
    structure: str = Field(pattern=r"^[0-9A-Z]{5,20}$")
    """Struct_IdNat: the establishment, or one of its sites."""
    structure_name: Pattern = ""
    authenticated_at: AwareDatetime
    authentication: str = Field(pattern=r"^urn:oasis:names:tc:SAML:2\.0:ac:classes:[A-Za-z0-9]{1,60}$")
    """AuthnContextClassRef of the strong authentication."""
    purpose: str = Field("normal", max_length=40)


class PatientIn(_In):
    """The INS."""

    ins: str = Field(min_length=1, max_length=30)
    oid: Oid


class StayIn(_In):
    """The stay for which the DMP is asked, as ADT and MDM name it (PV1-19, else PID-18)."""

    value: Name
    authority: Name | None = None
    """CX-4: OID or FINESS, else its name."""


class Asked(_In):
    """Common to every call. `stay` and `trigger` are for the indicators alone; they do not go to the DMP."""

    user: User
    patient: PatientIn
    stay: StayIn | None = None
    trigger: Literal["user", "prefetch"] | None = None


class CodeIn(_In):
    """A code to look for."""

    code: Name
    system: Name


class Range(_In):
    """Bounds in UTC, `YYYY[MM[DD[hh[mm[ss]]]]]`, empty: open."""

    after: Time = ""
    before: Time = ""


class DocumentsAsked(Asked):
    """FindDocuments."""

    statuses: list[Status] = Field(["Approved"], min_length=1)
    types: list[CodeIn] = []
    classes: list[CodeIn] = []
    practices: list[CodeIn] = []
    facilities: list[CodeIn] = []
    formats: list[CodeIn] = []
    events: list[CodeIn] = []
    confidentialities: list[CodeIn] = []
    authors: list[Pattern] = Field([], max_length=20)
    created: Range = Range()
    service_start: Range = Range()
    service_stop: Range = Range()

    def filter(self) -> DocumentFilter:
        """As the query takes it."""
        return DocumentFilter(
            statuses=tuple(STATUSES[s] for s in self.statuses),
            types=_codes(self.types),
            classes=_codes(self.classes),
            practices=_codes(self.practices),
            facilities=_codes(self.facilities),
            formats=_codes(self.formats),
            events=_codes(self.events),
            confidentialities=_codes(self.confidentialities),
            author_persons=tuple(self.authors),
            created=(self.created.after, self.created.before),
            service_start=(self.service_start.after, self.service_start.before),
            service_stop=(self.service_stop.after, self.service_stop.before),
        )


class SetsAsked(Asked):
    """FindSubmissionSets."""

    statuses: list[Status] = Field(["Approved"], min_length=1)
    submitted: Range = Range()
    sources: list[Oid] = []
    author: Pattern = ""
    content_types: list[CodeIn] = []

    def filter(self) -> SetFilter:
        """As the query takes it."""
        return SetFilter(
            statuses=tuple(STATUSES[s] for s in self.statuses),
            submitted=(self.submitted.after, self.submitted.before),
            source_ids=tuple(self.sources),
            author_person=self.author,
            content_types=_codes(self.content_types),
        )


class NamedAsked(Asked):
    """GetDocuments, GetDocumentsAndAssociations: uniqueIds, or entryUUIDs."""

    unique_ids: list[Oid] = Field([], max_length=MAX_DOCUMENTS)
    entry_uuids: list[Uuid] = Field([], max_length=MAX_DOCUMENTS)

    @model_validator(mode="after")
    def _one_way(self) -> NamedAsked:
        if bool(self.unique_ids) is bool(self.entry_uuids):
            raise ValueError("either unique_ids or entry_uuids")
        return self


class UuidsAsked(Asked):
    """GetAssociations, GetSubmissionSets."""

    entry_uuids: list[Uuid] = Field(min_length=1, max_length=MAX_DOCUMENTS)


class OneAsked(Asked):
    """GetRelatedDocuments, GetSubmissionSetAndContents: one uniqueId, or one entryUUID."""

    unique_id: Oid | None = None
    entry_uuid: Uuid | None = None

    @model_validator(mode="after")
    def _one_way(self) -> OneAsked:
        if bool(self.unique_id) is bool(self.entry_uuid):
            raise ValueError("either unique_id or entry_uuid")
        return self


class DocumentAsked(Asked):
    """Newest version, retrieval."""

    unique_id: Oid


Audience = Literal["professionals", "patient", "representatives"]


class VisibilityAsked(DocumentAsked):
    """TD3.3a, TD3.3b."""

    hide_from: list[Audience] = []
    show_to: list[Audience] = []

    @model_validator(mode="after")
    def _something(self) -> VisibilityAsked:
        if not self.hide_from and not self.show_to:
            raise ValueError("hide_from or show_to")
        if set(self.hide_from) & set(self.show_to):
            raise ValueError("hide_from and show_to name the same audience")
        return self


class ArchiveAsked(DocumentAsked):
    """TD3.3d."""

    archived: bool


def _codes(values: list[CodeIn]) -> tuple[XdsCode, ...]:
    return tuple(XdsCode(v.code, v.system, "") for v in values)


# --- what goes back -----------------------------------------------------------------------------------------------


def time_out(value: str) -> str:
    """An XDS time as ISO 8601, at its precision; as it is when it is no time."""
    for length, shape, out in (
        (14, "%Y%m%d%H%M%S", "%Y-%m-%dT%H:%M:%SZ"),
        (12, "%Y%m%d%H%M", "%Y-%m-%dT%H:%MZ"),
        (8, "%Y%m%d", "%Y-%m-%d"),
        (6, "%Y%m", "%Y-%m"),
    ):
        if len(value) == length:
            try:
                return datetime.strptime(value, shape).replace(tzinfo=UTC).strftime(out)
            except ValueError:
                return value
    return value


def code_out(code: XdsCode | None) -> dict[str, str] | None:
    """A code."""
    return None if code is None else {"code": code.code, "system": code.scheme, "label": code.label}


def author_out(author: XdsAuthor) -> dict[str, Any]:
    """An author: XDS strings beside their parts."""
    person = author.person.split("^")
    return {
        "person": {
            "id": person[0],
            "family": person[1] if len(person) > 1 else "",
            "given": person[2] if len(person) > 2 else "",
            "xcn": author.person,
        }
        if author.person
        else None,
        "institutions": [_institution(i) for i in author.institution],
        "roles": list(author.role),
        "specialties": list(author.specialty),
    }


def _institution(value: str) -> dict[str, str]:
    parts = value.split("^")
    return {"name": parts[0], "id": parts[9] if len(parts) > 9 else "", "xon": value}


def status_out(urn: str) -> str:
    """The last word of a status URN."""
    return urn.rpartition(":")[2]


def document_out(document: RegisteredDocument) -> dict[str, Any]:
    """A DocumentEntry."""
    return {
        "unique_id": document.unique_id,
        "entry_uuid": document.entry_uuid,
        "logical_id": document.logical_id,
        "version": document.version,
        "status": status_out(document.status),
        "repository": document.repository,
        "mime_type": document.mime_type,
        "sha1": document.sha1,
        "size": document.size,
        "title": document.title,
        "language": document.language,
        "created": time_out(document.creation_time),
        "service_start": time_out(document.service_start),
        "service_stop": time_out(document.service_stop),
        "class": code_out(document.class_code),
        "type": code_out(document.type_code),
        "format": code_out(document.format_code),
        "facility": code_out(document.facility),
        "practice": code_out(document.practice),
        "confidentiality": [code_out(c) for c in document.confidentiality],
        "events": [code_out(c) for c in document.event_codes],
        "authors": [author_out(a) for a in document.authors],
        "legal_authenticator": document.legal_authenticator,
        "patient_id": document.patient_id,
        "references": list(document.reference_ids),
        "signature": document.is_signature,
    }


def set_out(one: RegisteredSet) -> dict[str, Any]:
    """A SubmissionSet."""
    return {
        "unique_id": one.unique_id,
        "entry_uuid": one.entry_uuid,
        "source": one.source_id,
        "status": status_out(one.status),
        "title": one.title,
        "submitted": time_out(one.submission_time),
        "content_type": code_out(one.content_type),
        "author": author_out(one.author) if one.author else None,
        "patient_id": one.patient_id,
    }


def association_out(one: RegisteredAssociation) -> dict[str, str]:
    """An association; `kind` is the last word of its URN."""
    return {"kind": one.kind.rpartition(":")[2], "source": one.source, "target": one.target}


def found_out(found: Found) -> dict[str, Any]:
    """All objects of an answer."""
    return {
        "documents": [document_out(d) for d in found.documents],
        "sets": [set_out(s) for s in found.sets],
        "associations": [association_out(a) for a in found.associations],
    }
