"""Repetitions and sub-components where the profile has one value: only the first would be read.

Purpose: nothing of a message is dropped in silence. The reader takes the first repetition of a field that the profile
gives once (`single` in fields.toml); another one may hold a second order, another type of document or another sender.
Pure.
Guarantee: each field that the reader uses and that has more than one repetition gets one finding, at the second one.
So does each code, date or identifier that has components (`_SINGLE`) or sub-components (`_PLAIN`): `NW&CA` is not NW.
PID-3, PID-5 (read whole), PRT-15 (`parties`) and OBX-5 (`observations`, `metadata`) are judged where they are read.
Source: volet Transmission v2.1, cardinalities 1..1 and 0..1 (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from gateway.hl7.message import Message
from gateway.hl7.profile.fields import Profile
from gateway.rules import Findings

MAX_READ = 50
"""Repetitions looked at; beyond, the number itself is refused (PID-REPETITIONS, FIELD-REPEATED)."""
_PLAIN: dict[str, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "MSH": ((9, (1, 2, 3)), (10, (1,)), (11, (1,)), (12, (1,))),
    "PID": ((3, (1,)), (7, (1,)), (8, (1,))),
    "PV1": ((2, (1,)),),
    "ORC": ((1, (1,)),),
    "OBR": ((4, (1, 3)),),
    "TXA": ((1, (1,)), (2, (1,)), (12, (1, 3)), (13, (1, 3))),
    "OBX": ((2, (1,)), (3, (1, 3)), (11, (1,))),
    "PRT": ((4, (1,)),),
}
"""Segment → (field, components) that have no sub-components (ST, ID, IS, DTM)."""
_SINGLE: dict[str, tuple[int, ...]] = {
    "PID": (8,),
    "PV1": (2,),
    "ORC": (1,),
    "TXA": (1, 3, 17),
    "OBX": (2, 11),
}
"""Segment → fields that have no components (ID, IS, SI): `NW^CA` is not NW."""


def check_repetitions(message: Message, profile: Profile, findings: Findings) -> None:
    """Findings FIELD-REPEATED and FIELD-REPETITION-IGNORED of `message`: rows with `single`."""
    separator, raw = message.separators.repetition, message.raw
    for segment in message.segments:
        fields = profile.singles.get(segment.name)
        if fields is None or raw.find(separator, segment.start, segment.end) < 0:
            continue
        for field, rule in fields:
            if segment.repetitions(field) > 1:
                findings.add(rule, segment.place(field, 2), field=f"{segment.name}-{field}")


def check_subcomponents(message: Message, findings: Findings) -> None:
    """Findings FIELD-COMPONENT, FIELD-SUBCOMPONENT: a second value hidden in a code, a date or an identifier (labels
    are left alone)."""
    marks, raw = message.separators, message.raw
    separator = marks.subcomponent
    for segment in message.segments:
        for field in _SINGLE.get(segment.name, ()):
            if segment.value(field, comp=2):
                place = segment.place(field, 1, 2)
                findings.add("FIELD-COMPONENT", place, field=f"{segment.name}-{field}")
        plain = _PLAIN.get(segment.name)
        if plain is None or raw.find(separator, segment.start, segment.end) < 0:
            continue
        for field, components in plain:
            content = segment.field(field)
            if separator not in content:
                continue
            for rep, repetition in enumerate(content.split(marks.repetition)[:MAX_READ], 1):
                pieces = repetition.split(marks.component)
                for component in components:
                    if separator in b"".join(pieces[component - 1 : component]).rstrip(separator):
                        place = segment.place(field, rep, component)
                        findings.add("FIELD-SUBCOMPONENT", place, field=f"{segment.name}-{field}.{component}")
        if segment.name == "OBX" and segment.value(5, comp=1, sub=2) and not segment.value(5, comp=5):
            findings.add("FIELD-SUBCOMPONENT", segment.place(5, 1, 1), field="OBX-5.1")
