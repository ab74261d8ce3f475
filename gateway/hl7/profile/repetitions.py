"""Repetitions where the profile has one value: what would be read of them is only the first.

Purpose: nothing of a message is dropped in silence. The reader takes the first repetition of a field that the profile
gives once; another one may hold a second order, another type of document or another sender. Pure.
Guarantee: each field that the reader uses and that has more than one repetition gets one finding, at the second one.
PID-3, PID-5 (read whole), PRT-15 (`parties`) and OBX-5 (`observations`, `metadata`) are judged where they are read.
Source: volet Transmission v2.1, cardinalities 1..1 and 0..1 (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from gateway.hl7.message import Message
from gateway.rules import Findings

_REFUSED = {
    "MSH": (9, 10, 11, 12),
    "PID": (7, 8),
    "PV1": (2,),
    "ORC": (1,),
    "OBR": (4,),
    "TXA": (1, 2, 3, 12, 13, 17),
    "OBX": (2, 3, 11),
    "PRT": (4, 5, 8),
}
"""Segment → fields whose second value changes what is sent, of whom, or by whom."""
_IGNORED = {
    "MSH": (3, 4, 5, 6, 7, 17, 18, 21),
    "EVN": (2,),
    "PID": (18, 32),
    "PV1": (19,),
    "PRT": (2, 10),
}
"""Segment → fields whose second value is only left out."""
_NAMES = _REFUSED.keys() | _IGNORED.keys()


def check_repetitions(message: Message, findings: Findings) -> None:
    """Findings FIELD-REPEATED and FIELD-REPETITION-IGNORED of `message`."""
    separator, raw = message.separators.repetition, message.raw
    for segment in message.segments:
        if segment.name not in _NAMES or raw.find(separator, segment.start, segment.end) < 0:
            continue
        for rule, fields in (("FIELD-REPEATED", _REFUSED), ("FIELD-REPETITION-IGNORED", _IGNORED)):
            for field in fields.get(segment.name, ()):
                if segment.repetitions(field) > 1:
                    findings.add(rule, segment.place(field, 2), field=f"{segment.name}-{field}")
