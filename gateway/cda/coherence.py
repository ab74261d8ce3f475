"""Message and document must speak of the same patient, the same type and the same identifiers (M01, V03).

Purpose: the last wall before a document goes to the wrong person. Source: volet Transmission v2.1 (PID-3
identical to recordTarget, OBR-4 = code, TXA-12 = id, TXA-13 = replaced id), table 0533 (903–905),
spec/cda.md §4.

Guarantee: pure; compares, never corrects. Names are compared without accents, case and punctuation; dates at
their common precision. No value is ever quoted in a finding.

Fails: never; everything is a finding. Findings on the document stand at its OBX-5, those on a message field
at that field.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from gateway.cda.document import CdaHeader, Document
from gateway.errors import Place
from gateway.hl7.transmission import INS_OIDS, Action, InstanceId, Patient, Transmission
from gateway.rules import Findings

PID_IDS = Place("PID", 1, 3)
PID_NAME = Place("PID", 1, 5)
PID_BIRTH = Place("PID", 1, 7)
PID_SEX = Place("PID", 1, 8)
TYPE = Place("OBR", 1, 4)
TXA_ID = Place("TXA", 1, 12)
TXA_PARENT = Place("TXA", 1, 13)

_SEXES = {"UN": "U", "UNK": "U", "O": "U", "A": "U", "N": "U", "I": "U"}
"""HL7 0001 and CDA AdministrativeGender: what is neither M nor F is one value."""
_TOLD = frozenset({"M", "F", "O", "U", "A", "N"})
"""PID-8 (table 0001)."""
_FOUND = _TOLD | _SEXES.keys()
"""administrativeGenderCode, and what is written in its place."""


def check_coherence(transmission: Transmission, header: CdaHeader, findings: Findings, place: Place) -> None:
    """Compare one document's header with the message that carried it; `place` is its OBX-5."""
    if header.patient is not None:
        if transmission.patient.identifiers:  # else SEG-MISSING or PID-REQUIRED has spoken
            _identities(transmission.patient, header, findings, place)
        _traits(transmission.patient, header, findings)
    told, found = transmission.document_type.code, header.code.code if header.code else ""
    if told and found and told != found:
        findings.add("CDA-M01-TYPE", TYPE)
    if transmission.document_id is not None and header.id is not None:
        same = same_id(transmission.document_id, header.id)
        if same is None:
            findings.add("CDA-M01-ID", TXA_ID)
        elif not same:
            findings.add("CDA-M01-ID-FORM", TXA_ID)
    if transmission.action is Action.REPLACE:
        _replacement(transmission, header, findings, place)


def check_pair(documents: Sequence[Document], findings: Findings, places: Sequence[Place]) -> None:
    """An ORU with two documents: one patient, two ids, two sets, one N1 and one N3. Placed at the second
    one.
    """
    if len(documents) < 2:
        return
    first, second, place = documents[0].header, documents[1].header, places[1]
    if first.patient is not None and second.patient is not None:
        ins = first.patient.ins, second.patient.ins
        if ins != (None, None):
            same = ins[0] == ins[1]
        else:
            same = bool(set(first.patient.ids) & set(second.patient.ids))
        if not same:
            findings.add("CDA-PAIR-PATIENT", place)
    if first.id is not None and first.id == second.id:
        findings.add("CDA-PAIR-ID", place)
    if first.set_id is not None and first.set_id == second.set_id:
        findings.add("CDA-PAIR-SET", place)
    if {first.body.kind, second.body.kind} != {"nonXML", "structured"}:
        findings.add("CDA-PAIR-LEVELS", place)


def same_id(told: InstanceId, found: InstanceId) -> bool | None:
    """True: the same in the same form. False: the same in another form. None: another identifier.

    `told` comes from TXA-12/13, `found` from the CDA. Forms seen: `root.extension` as one OID; an
    organisation where the extension should be, while the CDA has none (official samples).
    """
    if told == found:
        return True
    if found.extension is None:
        return False if told.root.lower() == found.root.lower() else None
    return False if told.root == f"{found.root}.{found.extension}" and told.extension is None else None


def plain(name: str) -> str:
    """A name without accents, case, apostrophes, hyphens and blanks."""
    decomposed = unicodedata.normalize("NFKD", name.replace("œ", "oe").replace("Œ", "OE").replace("æ", "ae"))
    return "".join(c for c in decomposed if c.isalnum()).casefold()


def _by_authority(pairs: Iterable[tuple[str, str]]) -> dict[str, set[str]]:
    out: dict[str, set[str]] = {}
    for authority, value in pairs:
        if authority and value:
            out.setdefault(authority, set()).add(value.strip().upper())
    return out


def _identities(patient: Patient, header: CdaHeader, findings: Findings, place: Place) -> None:
    assert header.patient is not None
    told = _by_authority((i.authority, i.value) for i in patient.identifiers)
    found = _by_authority((i.root, i.extension or "") for i in header.patient.ids)
    told_ins = {k: v for k, v in told.items() if k in INS_OIDS}
    found_ins = {k: v for k, v in found.items() if k in INS_OIDS}
    broken: list[str] = []
    if told_ins and found_ins:
        rule = _compare_ins(told_ins, found_ins)
        if rule:
            broken.append(rule)
    elif found_ins:
        findings.add("CDA-M01-INS-MESSAGE", PID_IDS)
    common = told.keys() & found.keys()
    if any(told[k].isdisjoint(found[k]) for k in common - INS_OIDS):
        broken.append("CDA-M01-LOCAL-ID")
    if not common and not (told_ins and found_ins):
        broken.append("CDA-M01-NO-COMMON-ID")
    if not broken and told != found:
        broken.append("CDA-M01-IDS")
    for rule in broken:
        findings.add(rule, place)


def _compare_ins(told: Mapping[str, set[str]], found: Mapping[str, set[str]]) -> str | None:
    """The rule broken by two sets of national identities (by OID), or None."""
    common = told.keys() & found.keys()
    if any(told[k] != found[k] for k in common):
        return "CDA-M01-INS"
    if common:
        return None
    told_values, found_values = set().union(*told.values()), set().union(*found.values())
    return "CDA-M01-INS-OID" if told_values == found_values else "CDA-M01-INS"


def _traits(patient: Patient, header: CdaHeader, findings: Findings) -> None:
    assert header.patient is not None
    told, found = patient.birth_date[:8], header.patient.birth_time[:8]
    precision = min(len(told), len(found))
    # what is no date, or no sex, has been reported (PID7-FORM, PID8-VALUE) and compares with nothing
    if precision and told.isdecimal() and told[:precision] != found[:precision]:
        findings.add("CDA-M01-BIRTH", PID_BIRTH)
    told, found = patient.sex.upper(), header.patient.gender.upper()
    if told in _TOLD and found in _FOUND and _SEXES.get(told, told) != _SEXES.get(found, found):
        findings.add("CDA-M01-SEX", PID_SEX)
    names = patient.birth_family, patient.birth_given
    if patient.birth_family and not all(map(plain, names)):
        findings.add("CDA-M01-NO-NAME", PID_NAME)
    told, found = plain(patient.birth_family), plain(header.patient.birth_family)
    if told and found and told != found:
        findings.add("CDA-M01-FAMILY", PID_NAME)
    told, found = plain(patient.birth_given), plain(header.patient.birth_given)
    if told and found and told != found:
        findings.add("CDA-M01-GIVEN", PID_NAME)


def _replacement(transmission: Transmission, header: CdaHeader, findings: Findings, place: Place) -> None:
    if header.replaced_id is None:
        findings.add("CDA-V03-RPLC", place)
    elif transmission.replaced_id is not None:
        same = same_id(transmission.replaced_id, header.replaced_id)
        if same is None:
            findings.add("CDA-V03-PARENT", TXA_PARENT)
        elif not same:
            findings.add("CDA-M01-ID-FORM", TXA_PARENT)
