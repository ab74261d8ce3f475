"""PID and PV1: who the patient is, and the visit.

Purpose: read `Patient`, visit and file numbers, with the findings of their fields. Pure.
Guarantee: identifiers come out as sent (blanks around them apart); no value of theirs enters a finding.
Source: volet Transmission v2.1, PID and PV1 (spec/hl7-transmission.md §1); INS key: spec/mssante.md §1.4.
"""

from __future__ import annotations

import re

from gateway.hl7.message import Message, Segment
from gateway.hl7.transmission import INS_DEMO, INS_TEST, Patient, PatientId
from gateway.rules import Findings

SEXES = frozenset({"F", "M", "O", "U", "A", "N"})
CLASSES = frozenset({"E", "I", "O", "R", "N"})
_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_DATE = re.compile(r"\d{8}([\d.]*([+-]\d{4})?)?")
_INS = re.compile(r"[1-478]\d{4}(2[ABab]|\d{2})\d{8}")


MAX_REPETITIONS = 50
"""Of PID-3 and PID-5: beyond, the message is refused and the rest is not read."""


def is_oid(text: str) -> bool:
    """True when `text` has the form of an OID."""
    return _OID.fullmatch(text) is not None


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


def read_patient(message: Message, findings: Findings) -> tuple[Patient, PatientId | None]:
    """The patient and PID-18 of the first PID; an empty patient when there is no PID (SEG-MISSING says
    so).
    """
    pid = message.first("PID")
    if pid is None:
        return Patient(()), None
    for field in (3, 5, 7, 8):
        if not pid.has(field):
            findings.add("PID-REQUIRED", pid.place(field), field=field)
        if pid.repetitions(field) > MAX_REPETITIONS:
            findings.add("PID-REPETITIONS", pid.place(field), field=field)
    identifiers = _identifiers(pid, findings)
    patient = _traits(pid, identifiers, findings)
    _check_ins(patient, pid, message.processing_id, findings)
    return patient, read_cx(pid, 18)


def read_visit(message: Message, findings: Findings) -> tuple[str, PatientId | None]:
    """PV1-2 and PV1-19; ("", None) when there is no PV1 (optional in ORU)."""
    pv1 = message.first("PV1")
    if pv1 is None:
        return "", None
    patient_class = pv1.value(2)
    if not patient_class:
        findings.add("PV1-REQUIRED", pv1.place(2), field=2)
    elif patient_class not in CLASSES:
        findings.add("PV12-VALUE", pv1.place(2))
    visit = read_cx(pv1, 19)
    if visit is None and patient_class in CLASSES - {"N"}:
        findings.add("PV1-REQUIRED", pv1.place(19), field=19)
    return patient_class, visit


def _repetitions(pid: Segment, field: int) -> range:
    return range(1, min(pid.repetitions(field), MAX_REPETITIONS) + 1)


def _identifiers(pid: Segment, findings: Findings) -> tuple[PatientId, ...]:
    found = []
    for rep in _repetitions(pid, 3):
        identifier = read_cx(pid, 3, rep)
        if identifier is not None:
            found.append(identifier)
        if pid.has(3) and (identifier is None or not (identifier.authority or identifier.authority_name)):
            findings.add("PID3-INCOMPLETE", pid.place(3, rep))
    return tuple(found)


def _traits(pid: Segment, identifiers: tuple[PatientId, ...], findings: Findings) -> Patient:
    by_type: dict[str, int] = {}
    for rep in _repetitions(pid, 5):
        if by_type.setdefault(pid.value(5, rep, 7), rep) != rep and pid.value(5, rep):
            findings.add("FIELD-REPETITION-IGNORED", pid.place(5, rep), field="PID-5")
    birth = by_type.get("L")
    if birth is None:
        birth = 1
        if pid.has(5):
            findings.add("PID5-BIRTH-NAME", pid.place(5))
    elif not pid.value(5, birth):
        findings.add("PID5-BIRTH-NAME", pid.place(5, birth, 1))
    used = by_type.get("D")
    birth_date, sex = pid.value(7), pid.value(8)
    if birth_date and not _DATE.fullmatch(birth_date):
        findings.add("PID7-FORM", pid.place(7))
    if sex and sex not in SEXES:
        findings.add("PID8-VALUE", pid.place(8))
    return Patient(
        identifiers=identifiers,
        birth_family=pid.value(5, birth, 1),
        birth_given=pid.value(5, birth, 2),
        used_family=pid.value(5, used, 1) if used else "",
        birth_date=birth_date,
        sex=sex,
        identity_status=pid.value(32),
    )


def _check_ins(patient: Patient, pid: Segment, processing_id: str, findings: Findings) -> None:
    for rep in _repetitions(pid, 3):
        identifier = read_cx(pid, 3, rep)
        if identifier is None or not identifier.is_ins:
            continue
        if not ins_key_ok(identifier.value):
            findings.add("PID3-INS-FORM", pid.place(3, rep, 1))
        if identifier.authority in {INS_TEST, INS_DEMO} and processing_id == "P":
            findings.add("PID3-TEST-INS", pid.place(3, rep, 4))
    if len({i.value.upper() for i in patient.identifiers if i.is_ins}) > 1:
        findings.add("PID3-SEVERAL-INS", pid.place(3))
