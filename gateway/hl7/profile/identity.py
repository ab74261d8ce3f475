"""PID and PV1: who the patient is, and the visit.

Purpose: read `Patient`, visit and file numbers, with the findings of their fields. Pure.
Guarantee: identifiers come out as sent (blanks around them apart); no value of theirs enters a finding.
Source: volet Transmission v2.1, PID and PV1 (spec/hl7-transmission.md §1); INS key: spec/mssante.md §1.4.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.datatypes import is_oid
from gateway.hl7.profile.fields import Profile
from gateway.hl7.transmission import INS_DEMO, INS_TEST, Patient, PatientId
from gateway.rules import Findings

_INS = re.compile(r"[1-478]\d{4}(2[ABab]|\d{2})\d{8}")


def ins_key_ok(value: str) -> bool:
    """True for 15 characters of a NIR or NIA whose key is right (97 minus the number modulo 97; 2A, 2B:
    19, 18).
    """
    if not _INS.fullmatch(value):
        return False
    number = value[:13].upper().replace("2A", "19").replace("2B", "18") if value[6] in "ABab" else value[:13]
    return 97 - int(number) % 97 == int(value[13:])


def authority(segment: Segment, field: int, rep: int, comp: int) -> tuple[str, str]:
    """(OID, name) of an assigning authority (HD): `name&oid&ISO`, or the OID alone as the whole component."""
    first = segment.value(field, rep, comp, 1)
    second = segment.value(field, rep, comp, 2)
    if not second and is_oid(first):
        return first, ""
    return second, first


def read_cx(segment: Segment, field: int, rep: int = 1) -> PatientId | None:
    """One CX repetition, or None when it has no value."""
    value = segment.value(field, rep, 1)
    if not value:
        return None
    oid, name = authority(segment, field, rep, 4)
    return PatientId(value, oid, segment.value(field, rep, 5), name)


def read_patient(message: Message, profile: Profile, findings: Findings) -> tuple[Patient, PatientId | None]:
    """The patient and PID-18 of the first PID; an empty patient when there is no PID (SEG-MISSING says
    so).
    """
    pid = message.first("PID")
    if pid is None:
        return Patient(()), None
    profile.check("PID", pid, message, findings)
    identifiers = {rep: read_cx(pid, 3, rep) for rep in _repetitions(pid, 3, profile)}
    known = {rep: i for rep, i in identifiers.items() if i is not None}
    patient = _traits(pid, tuple(known.values()), profile, findings)
    _check_ins(known, pid, message.processing_id, findings)
    return patient, read_cx(pid, 18)


def read_visit(message: Message, profile: Profile, findings: Findings) -> tuple[str, PatientId | None]:
    """PV1-2 and PV1-19; ("", None) when there is no PV1 (optional in ORU)."""
    pv1 = message.first("PV1")
    if pv1 is None:
        return "", None
    profile.check("PV1", pv1, message, findings)
    return pv1.value(2), read_cx(pv1, 19)


def _repetitions(pid: Segment, field: int, profile: Profile) -> range:
    return range(1, min(pid.repetitions(field), profile.rows[f"PID-{field}"].repeats) + 1)


def _traits(
    pid: Segment, identifiers: tuple[PatientId, ...], profile: Profile, findings: Findings
) -> Patient:
    by_type: dict[str, int] = {}
    names = _repetitions(pid, 5, profile)
    for rep in names:
        if by_type.setdefault(pid.value(5, rep, 7), rep) != rep and pid.value(5, rep):
            findings.add("FIELD-REPETITION-IGNORED", pid.place(5, rep), field="PID-5")
    birth = by_type.get("L")
    if birth is None:
        birth = 1
        if pid.has(5):
            # with one name alone it is its type that is wrong; with several, the field
            findings.add("PID5-BIRTH-NAME", pid.place(5, 1, 7) if len(names) == 1 else pid.place(5))
    elif not pid.value(5, birth):
        findings.add("PID5-BIRTH-NAME", pid.place(5, birth, 1))
    used = by_type.get("D")
    return Patient(
        identifiers=identifiers,
        birth_family=pid.value(5, birth, 1),
        birth_given=pid.value(5, birth, 2),
        used_family=pid.value(5, used, 1) if used else "",
        birth_date=pid.value(7),
        sex=pid.value(8),
        identity_status=pid.value(32),
    )


def _check_ins(
    identifiers: Mapping[int, PatientId], pid: Segment, processing_id: str, findings: Findings
) -> None:
    """INS among the identifiers, by repetition of PID-3."""
    first = ""
    for rep, identifier in identifiers.items():
        if not identifier.is_ins:
            continue
        if not ins_key_ok(identifier.value):
            findings.add("PID3-INS-FORM", pid.place(3, rep, 1))
        if identifier.authority in {INS_TEST, INS_DEMO} and processing_id == "P":
            findings.add("PID3-TEST-INS", pid.place(3, rep, 4))
        value = identifier.value.upper()
        if first and value != first:
            findings.add("PID3-SEVERAL-INS", pid.place(3, rep, 1))
        first = first or value
