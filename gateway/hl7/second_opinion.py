"""A second opinion on a message, from hl7apy's tables of HL7 2.5 and 2.6: for tests and tools, never on
the ACK path.

Purpose: where our profile only looks at the fields it rules, hl7apy's reference tables know every field of
every segment: required ones, repetitions, data types. `lint` walks our own reading (segments in = segments
out) with those tables. PRT, which 2.5 and 2.6 do not know, is read with the table of 2.8.2.

Guarantee: remarks name places and data types, never values. They are advice: the volet's rules are those of
`gateway.hl7.profile`. Costs milliseconds per message (docs/decisions/0002-hl7apy.md).

Fails: never for a readable message; segments that hl7apy does not know are left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from hl7apy import load_reference
from hl7apy.exceptions import HL7apyException
from hl7apy.factories import datatype_factory

from gateway.errors import Place
from gateway.hl7.message import Message, Segment

PRT_VERSION = "2.8.2"
"""PRT is pre-adopted by the volet; hl7apy knows it from 2.7 on, with its 22 fields in 2.8.2."""
_VERSIONS = frozenset({"2.5", "2.6"})
_CHECKED = frozenset({"DT", "TM", "DTM", "NM", "SI"})
"""Data types whose form says something; the others are free text or need their table."""
_STRICT = 1


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing that the standard's tables would have otherwise."""

    place: Place
    text: str


def lint(message: Message) -> list[Remark]:
    """All remarks, in the order of the message. A version other than 2.5 and 2.6 is read as 2.6."""
    version = message.version if message.version in _VERSIONS else "2.6"
    remarks: list[Remark] = []
    for segment in message.segments:
        fields = _fields(segment.name, PRT_VERSION if segment.name == "PRT" else version)
        if fields is not None:
            remarks.extend(_lint_segment(segment, fields, version))
    return remarks


@cache
def _fields(name: str, version: str) -> tuple[Any, ...] | None:
    """hl7apy's fields of a segment: (name, reference, (min, max), kind)…; None when it does not know it."""
    if not name:
        return None
    try:
        return tuple(load_reference(name, "Segment", version)[1])
    except HL7apyException:
        return None


def _lint_segment(segment: Segment, fields: tuple[Any, ...], version: str) -> Iterator[Remark]:
    for number in range(len(fields) + 1, segment.field_count + 1):
        if segment.has(number):
            yield Remark(segment.place(number), "field unknown to the standard")
    for number, (_name, reference, (least, most), _kind) in enumerate(fields, 1):
        if not segment.has(number):
            if least:
                yield Remark(segment.place(number), "required field missing")
            continue
        if segment.name == "MSH" and number <= 2:
            continue
        repetitions = segment.repetitions(number)
        if most == 1 and repetitions > 1:
            yield Remark(segment.place(number), "field may not be repeated")
        for rep in range(1, repetitions + 1):
            yield from _lint_field(segment, number, rep, reference, version)


def _lint_field(segment: Segment, number: int, rep: int, reference: Any, version: str) -> Iterator[Remark]:
    kind, content, datatype = reference[0], reference[1], reference[2]
    if kind == "leaf":
        if not _well_formed(datatype, segment.value(number, rep), version):
            yield Remark(segment.place(number, rep), f"not of data type {datatype}")
    elif kind == "sequence":
        # OBX-5 is neither: its type is in OBX-2, and hl7apy never looks into it.
        for component, (_name, part, _cardinality, _kind) in enumerate(content, 1):
            if part[0] == "leaf" and not _well_formed(
                part[2], segment.value(number, rep, component), version
            ):
                yield Remark(segment.place(number, rep, component), f"not of data type {part[2]}")


def _well_formed(datatype: str, value: str, version: str) -> bool:
    if datatype not in _CHECKED or not value:
        return True
    try:
        datatype_factory(datatype, value, version, _STRICT)
    except (HL7apyException, ValueError):
        return False
    return True
