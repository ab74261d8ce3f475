"""The stored queries of ITI-18 that the ANS names, as data: identifier and ready-made parameters.

Purpose: TD3.1a and TD3.1b. Pure; `connectors.xds.ebrim.stored_query` makes the XML.
Guarantee: string literals are quoted and their quotes doubled; exactly one of entryUUID and uniqueId is given;
a list that a query cannot do without is never empty.
Fails: `ValueError` for a list of another length than the query takes.
Source: IHE ITI TF-2 3.18.4.1.2.3, spec/dmp.md §5; batches of 20: PDSM.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from connectors.xds.ebrim import APPROVED, GET_DOCUMENTS, REPLACES, literals
from connectors.xds.model import XdsCode

FIND_DOCUMENTS: Final = "urn:uuid:14d4debf-8f97-4251-9a74-a90016b0af0d"
FIND_SUBMISSION_SETS: Final = "urn:uuid:f26abbcb-ac74-4422-8a30-edb644bbc1a9"
GET_ASSOCIATIONS: Final = "urn:uuid:a7ae438b-4bc2-4642-93e9-be891f7bb155"
GET_DOCUMENTS_AND_ASSOCIATIONS: Final = "urn:uuid:bab9529a-4a10-40b3-a01f-f68a615d247a"
GET_SUBMISSION_SETS: Final = "urn:uuid:51224314-5390-4169-9b91-b1980040715a"
GET_SUBMISSION_SET_AND_CONTENTS: Final = "urn:uuid:e8e3cb2c-e39c-46b9-99e4-c12f57260b83"
GET_RELATED_DOCUMENTS: Final = "urn:uuid:d90e5407-b356-4d91-a89f-873917b4b0e6"

BATCH: Final = 20
"""Documents that one query may name."""

_UNIQUE_ID = "$XDSDocumentEntryUniqueId"
_ENTRY_UUID = "$XDSDocumentEntryEntryUUID"


@dataclass(frozen=True, slots=True)
class StoredQuery:
    """One query: its identifier, (name, literal) in order, and whether objects (LeafClass) are wanted."""

    id: str
    parameters: tuple[tuple[str, str], ...]
    leaf: bool = True

    @property
    def return_type(self) -> str:
        """`ResponseOption/@returnType`."""
        return "LeafClass" if self.leaf else "ObjectRef"


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """What FindDocuments looks for. Empty: not filtered. Times are UTC `YYYYMMDDhhmmss`, bounds included."""

    statuses: tuple[str, ...] = (APPROVED,)
    types: tuple[XdsCode, ...] = ()
    classes: tuple[XdsCode, ...] = ()
    practices: tuple[XdsCode, ...] = ()
    facilities: tuple[XdsCode, ...] = ()
    formats: tuple[XdsCode, ...] = ()
    events: tuple[XdsCode, ...] = ()
    confidentialities: tuple[XdsCode, ...] = ()
    author_persons: tuple[str, ...] = ()
    """SQL LIKE patterns on XCN, e.g. `%810100000016%`."""
    created: tuple[str, str] = ("", "")
    service_start: tuple[str, str] = ("", "")
    service_stop: tuple[str, str] = ("", "")


@dataclass(frozen=True, slots=True)
class SetFilter:
    """What FindSubmissionSets looks for."""

    statuses: tuple[str, ...] = (APPROVED,)
    submitted: tuple[str, str] = ("", "")
    source_ids: tuple[str, ...] = ()
    author_person: str = ""
    content_types: tuple[XdsCode, ...] = ()


def _text(value: str) -> str:
    """One string literal, without the parentheses of a list."""
    return literals(value)[1:-1]


def _codes(values: Sequence[XdsCode]) -> str:
    return literals(*(f"{v.code}^^{v.scheme}" for v in values)) if values else ""


def _texts(values: Sequence[str]) -> str:
    return literals(*values) if values else ""


def _kept(*parameters: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(p for p in parameters if p[1])


def _named(unique_ids: Sequence[str], entry_uuids: Sequence[str], most: int) -> tuple[str, str]:
    """The one parameter that names documents."""
    if bool(unique_ids) is bool(entry_uuids):
        raise ValueError("either uniqueId or entryUUID")
    given = unique_ids or entry_uuids
    if len(given) > most:
        raise ValueError(f"at most {most} identifiers")
    return _UNIQUE_ID if unique_ids else _ENTRY_UUID, literals(*given)


def find_documents(patient_id: str, wanted: DocumentFilter) -> StoredQuery:
    """FindDocuments for one patient (`matricule^^^&OID&ISO^NH`)."""
    d = "$XDSDocumentEntry"
    return StoredQuery(
        FIND_DOCUMENTS,
        _kept(
            (f"{d}PatientId", _text(patient_id)),
            (f"{d}ClassCode", _codes(wanted.classes)),
            (f"{d}TypeCode", _codes(wanted.types)),
            (f"{d}PracticeSettingCode", _codes(wanted.practices)),
            (f"{d}CreationTimeFrom", wanted.created[0]),
            (f"{d}CreationTimeTo", wanted.created[1]),
            (f"{d}ServiceStartTimeFrom", wanted.service_start[0]),
            (f"{d}ServiceStartTimeTo", wanted.service_start[1]),
            (f"{d}ServiceStopTimeFrom", wanted.service_stop[0]),
            (f"{d}ServiceStopTimeTo", wanted.service_stop[1]),
            (f"{d}HealthcareFacilityTypeCode", _codes(wanted.facilities)),
            (f"{d}EventCodeList", _codes(wanted.events)),
            (f"{d}ConfidentialityCode", _codes(wanted.confidentialities)),
            (f"{d}AuthorPerson", _texts(wanted.author_persons)),
            (f"{d}FormatCode", _codes(wanted.formats)),
            (f"{d}Status", _texts(wanted.statuses)),
        ),
    )


def find_submission_sets(patient_id: str, wanted: SetFilter) -> StoredQuery:
    """FindSubmissionSets for one patient."""
    s = "$XDSSubmissionSet"
    return StoredQuery(
        FIND_SUBMISSION_SETS,
        _kept(
            (f"{s}PatientId", _text(patient_id)),
            (f"{s}SourceId", _texts(wanted.source_ids)),
            (f"{s}SubmissionTimeFrom", wanted.submitted[0]),
            (f"{s}SubmissionTimeTo", wanted.submitted[1]),
            (f"{s}AuthorPerson", _text(wanted.author_person) if wanted.author_person else ""),
            (f"{s}ContentType", _codes(wanted.content_types)),
            (f"{s}Status", _texts(wanted.statuses)),
        ),
    )


def get_documents(
    unique_ids: Sequence[str] = (), entry_uuids: Sequence[str] = (), *, leaf: bool = True
) -> StoredQuery:
    """GetDocuments; `leaf` False is TD3.1b (RG_3130)."""
    return StoredQuery(GET_DOCUMENTS, (_named(unique_ids, entry_uuids, BATCH),), leaf)


def get_documents_and_associations(
    unique_ids: Sequence[str] = (), entry_uuids: Sequence[str] = ()
) -> StoredQuery:
    """GetDocumentsAndAssociations."""
    return StoredQuery(GET_DOCUMENTS_AND_ASSOCIATIONS, (_named(unique_ids, entry_uuids, BATCH),))


def get_related_documents(
    unique_id: str = "", entry_uuid: str = "", kinds: Sequence[str] = (REPLACES,)
) -> StoredQuery:
    """GetRelatedDocuments: what replaces a document and what it replaces (the DMP knows RPLC only)."""
    named = _named((unique_id,) if unique_id else (), (entry_uuid,) if entry_uuid else (), 1)
    # a single value of this query is not a list
    return StoredQuery(
        GET_RELATED_DOCUMENTS,
        ((named[0], _text(unique_id or entry_uuid)), ("$AssociationTypes", literals(*kinds))),
    )


def get_associations(entry_uuids: Sequence[str]) -> StoredQuery:
    """GetAssociations of documents or submission sets."""
    return StoredQuery(GET_ASSOCIATIONS, (("$uuid", _some(entry_uuids)),))


def get_submission_sets(entry_uuids: Sequence[str]) -> StoredQuery:
    """GetSubmissionSets that brought these documents."""
    return StoredQuery(GET_SUBMISSION_SETS, (("$uuid", _some(entry_uuids)),))


def get_submission_set_and_contents(unique_id: str = "", entry_uuid: str = "") -> StoredQuery:
    """GetSubmissionSetAndContents of one set."""
    if bool(unique_id) is bool(entry_uuid):
        raise ValueError("either uniqueId or entryUUID")
    name = "$XDSSubmissionSetUniqueId" if unique_id else "$XDSSubmissionSetEntryUUID"
    return StoredQuery(GET_SUBMISSION_SET_AND_CONTENTS, ((name, _text(unique_id or entry_uuid)),))


def _some(values: Sequence[str]) -> str:
    if not 1 <= len(values) <= BATCH:
        raise ValueError(f"1 to {BATCH} identifiers")
    return literals(*values)
