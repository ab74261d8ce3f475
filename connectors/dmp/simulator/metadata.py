"""Step 6 of §8.2: are the XDS metadata of a request complete, and of the French value sets.

Purpose: cardinalities and formats of a DocumentEntry and a SubmissionSet, and in strict mode the value sets of the DMP.
Pure.
Guarantee: all that is wrong is told at once, each naming the attribute; the signature of a lot has its own, shorter
list of what it must carry.
Fails: `Refusal` with the code given by the caller (repository or registry).
Source: spec/dmp.md §3.1 to §3.6, §3.9; IHE ITI TF-3 4.2.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from connectors.dmp.simulator.answers import Refusal
from connectors.dmp.simulator.rim import Coded, Described, Lot
from connectors.xds import ebrim
from connectors.xds.model import XdsCode
from connectors.xds.oid import is_oid
from connectors.xds.tables import Tables

_TIME = re.compile(r"[0-9]{4}([0-9]{2}){0,5}\Z")
_SIZE = re.compile(r"[0-9]{1,18}\Z")
_HASH = re.compile(r"[0-9a-fA-F]{40}\Z")
MAX_TITLE: Final = 128
_SINGLE: Final = {
    ebrim.DOC_CLASS: "classCode",
    ebrim.DOC_TYPE: "typeCode",
    ebrim.DOC_FORMAT: "formatCode",
    ebrim.DOC_FACILITY: "healthcareFacilityTypeCode",
    ebrim.DOC_PRACTICE: "practiceSettingCode",
}
_SLOTS: Final = ("creationTime", "languageCode", "legalAuthenticator", "serviceStartTime", "sourcePatientId")
_SIGNATURE_SLOTS: Final = ("creationTime", "languageCode")
_TIMES: Final = ("creationTime", "serviceStartTime", "serviceStopTime")
_MANY: Final = ("sourcePatientInfo", ebrim.REFERENCE_ID_LIST)


def check_lot(lot: Lot, code: str, tables: Tables, *, strict: bool) -> None:
    """The SubmissionSet. Raises `Refusal`."""
    problems = []
    for name, value in (("uniqueId", lot.unique_id), ("sourceId", lot.source_id)):
        if not is_oid(value):
            problems.append(f"XDSSubmissionSet.{name} n'est pas un OID")
    if not _TIME.match(lot.submission_time):
        problems.append("XDSSubmissionSet.submissionTime")
    if len(lot.content_type) != 1:
        problems.append("XDSSubmissionSet.contentTypeCode : une valeur attendue")
    elif strict and not _known(lot.content_type[0], tables.content_by_class.values()):
        problems.append("XDSSubmissionSet.contentTypeCode hors JDV_J59")
    if strict and not lot.structures:
        problems.append("XDSSubmissionSet.authorInstitution")
    _refuse(problems, code)


def check_entries(entries: Sequence[Described], code: str, tables: Tables, *, strict: bool) -> None:
    """The DocumentEntries. Raises `Refusal`."""
    problems: list[str] = []
    for one in entries:
        found = [*_cardinalities(one), *_formats(one)]
        if strict and not one.signature:
            found += _value_sets(one, tables)
        problems += [f"{one.object_id} XDSDocumentEntry.{p}" for p in found]
    _refuse(problems, code)


def _refuse(problems: Sequence[str], code: str) -> None:
    if problems:
        raise Refusal(code, "sim: " + " ; ".join(problems))


def _cardinalities(one: Described) -> Iterator[str]:
    for name in _SIGNATURE_SLOTS if one.signature else _SLOTS:
        if not one.slot(name):
            yield name
    for name, values in one.slots.items():
        if name not in _MANY and len(values) > 1:
            yield f"{name} : une seule valeur attendue"
    for scheme, name in _SINGLE.items():
        if len(one.coded.get(scheme, ())) != 1:
            yield f"{name} : une valeur attendue"
    if not one.coded.get(ebrim.DOC_AUTHOR):
        yield "author"
    if not 1 <= len(one.coded.get(ebrim.DOC_CONFIDENTIALITY, ())) <= 4:
        yield "confidentialityCode : une à quatre valeurs attendues"
    for name, value in (("mimeType", one.mime_type), ("title", one.title)):
        if not value:
            yield name


def _formats(one: Described) -> Iterator[str]:
    if one.object_type != ebrim.STABLE_DOCUMENT:
        yield "objectType"
    if one.status not in ("", ebrim.APPROVED):
        yield "availabilityStatus"
    for name in _TIMES:
        if one.slot(name) and not _TIME.match(one.slot(name)):
            yield f"{name} : date UTC AAAAMMJJhhmmss attendue"
    if one.slot("hash") and not _HASH.match(one.slot("hash")):
        yield "hash"
    if one.slot("size") and not _SIZE.match(one.slot("size")):
        yield "size"
    for scheme, name in (*_SINGLE.items(), (ebrim.DOC_CONFIDENTIALITY, "confidentialityCode")):
        if any(not c.code or not c.scheme for c in one.coded.get(scheme, ())):
            yield f"{name} : code ou codingScheme absent"


def _known(code: Coded, values: Iterable[XdsCode]) -> bool:
    return any((v.code, v.scheme) == (code.code, code.scheme) for v in values)


def _value_sets(one: Described, tables: Tables) -> Iterator[str]:
    sets: Mapping[str, tuple[str, Iterable[XdsCode]]] = {
        ebrim.DOC_CLASS: ("classCode hors JDV_J57", tables.class_by_type.values()),
        ebrim.DOC_FACILITY: ("healthcareFacilityTypeCode hors JDV_J61", tables.facility.values()),
        ebrim.DOC_CONFIDENTIALITY: ("confidentialityCode hors JDV_J58", tables.confidentiality.values()),
        ebrim.DOC_PRACTICE: (
            "practiceSettingCode hors JDV_J62",
            [v for k, v in tables.practice.items() if k in tables.practice_dmp],
        ),
    }
    for scheme, (words, values) in sets.items():
        if any(not _known(c, values) for c in one.coded.get(scheme, ())):
            yield words
    if any(c not in tables.types_dmp for c in one.codes(ebrim.DOC_TYPE)):
        yield "typeCode hors JDV_J66"
    if len(one.title) > MAX_TITLE:
        yield f"title : {MAX_TITLE} caractères au plus"
    if "^" not in one.slot("legalAuthenticator"):
        yield "legalAuthenticator : XCN attendu"
