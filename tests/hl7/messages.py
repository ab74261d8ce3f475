"""Synthetic messages of this room's tests, and the knife to change them one place at a time."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from fixtures.build import AUTHOR, DR_MARTIN, PATIENT, mdm, oru, patient_recipient
from gateway.errors import Severity
from gateway.hl7.message import Message
from gateway.hl7.profile import Reading, read_transmission
from gateway.hl7.transmission import Flags
from gateway.rules import Preset, RuleBook, read_rules

__all__ = ["AUTHOR", "DR_MARTIN", "PATIENT"]

RULES = read_rules(Path(__file__).parents[2] / "gateway" / "hl7" / "profile" / "rules.toml")
CDA = b"<ClinicalDocument/>"
TYPE = "11502-2^CR d'examens biologiques^LN"
ROOT = "1.2.250.1.999.1.1"

MDM = mdm("T02", CDA, type_code=TYPE, document_id=f"{ROOT}.1")
"""First transmission to the DMP and two professionals: OBX 1 document, 2 to 11 metadata, 12 CORPSMAIL_PS."""
REPLACEMENT = mdm("T10", CDA, type_code=TYPE, document_id=f"{ROOT}.2", replaced_id=f"{ROOT}.1")
DELETION = mdm("T04", CDA, type_code=TYPE, document_id=f"{ROOT}.2")
TO_PATIENT = mdm(
    "T02",
    CDA,
    type_code=TYPE,
    document_id=f"{ROOT}.3",
    recipients=(DR_MARTIN, patient_recipient()),
    body_patient="Bonjour,\nvotre compte rendu est joint.",
    patient_may_not_answer=True,
    reply_to="secretariat@test-hopital.mssante.fr",
)
"""To a professional (PRT 2) and the patient (PRT 3), PRT 4 REPLY; CORPSMAIL_PS and CORPSMAIL_PATIENT."""
ORU = oru("submit", [CDA], type_code=TYPE)
PAIR = oru("submit", [CDA, b"<ClinicalDocument></ClinicalDocument>"], type_code=TYPE)


def lines(raw: bytes) -> list[str]:
    """The segments of a message in UTF-8."""
    return raw.decode().removesuffix("\r").split("\r")


def joined(segments: list[str]) -> bytes:
    """Segments ended by CR."""
    return "".join(s + "\r" for s in segments).encode()


def _index(segments: list[str], name: str, occurrence: int = 1) -> int:
    return [i for i, s in enumerate(segments) if s.startswith(name + "|") or s == name][occurrence - 1]


def put(raw: bytes, where: str, value: str) -> bytes:
    """`raw` with `value` at `where`: `segment^occurrence^field[^repetition[^component]]`, as in ERR-2."""
    name, *rest = where.split("^")
    occurrence, field, *deeper = map(int, rest)
    segments = lines(raw)
    i = _index(segments, name, occurrence)
    fields = segments[i].split("|")
    # MSH-1 is the separator itself.
    field -= name == "MSH"
    fields += [""] * (field + 1 - len(fields))
    if deeper:
        repetitions = fields[field].split("~")
        rep = deeper[0] - 1
        repetitions += [""] * (rep + 1 - len(repetitions))
        if len(deeper) > 1:
            components = repetitions[rep].split("^")
            components += [""] * (deeper[1] - len(components))
            components[deeper[1] - 1] = value
            repetitions[rep] = "^".join(components)
        else:
            repetitions[rep] = value
        value = "~".join(repetitions)
    fields[field] = value
    segments[i] = "|".join(fields)
    return joined(segments)


def drop(raw: bytes, name: str, occurrence: int = 1) -> bytes:
    """`raw` without a segment."""
    segments = lines(raw)
    del segments[_index(segments, name, occurrence)]
    return joined(segments)


def add(raw: bytes, after: str, line: str, occurrence: int = 1) -> bytes:
    """`raw` with the segment `line` after another one."""
    segments = lines(raw)
    segments.insert(_index(segments, after, occurrence) + 1, line)
    return joined(segments)


def copy(raw: bytes, name: str, occurrence: int = 1) -> str:
    """One segment as text."""
    segments = lines(raw)
    return segments[_index(segments, name, occurrence)]


def flag(raw: bytes, code: str, value: str) -> bytes:
    """`raw` with a metadata OBX at `value`."""
    segments = lines(raw)
    i = next(i for i, s in enumerate(segments) if s.startswith("OBX|") and f"|{code}^" in s)
    fields = segments[i].split("|")
    fields[5] = f"{value}^^expandedYes-NoIndicator"
    segments[i] = "|".join(fields)
    return joined(segments)


def read(raw: bytes, preset: Preset = "production") -> Reading:
    """The profile's reading with this room's rules alone."""
    return read_transmission(Message.parse(raw), RuleBook(RULES, preset))


def found(reading: Reading) -> set[tuple[str, str]]:
    """(rule, place) of every finding."""
    return {(f.rule, f.place.erl() if f.place else "") for f in reading.findings}


def rejecting(reading: Reading) -> set[str]:
    """Rules of the findings that reject."""
    return {f.rule for f in reading.findings if f.severity is Severity.REJECT}


def fields_of(flags: Flags) -> dict[str, object]:
    """The flags as a dict."""
    return {f.name: getattr(flags, f.name) for f in dataclasses.fields(flags)}
