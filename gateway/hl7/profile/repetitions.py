"""Repetitions where the profile has one value: what would be read of them is only the first.

Purpose: nothing of a message is dropped in silence. The reader takes the first repetition of a field that the profile
gives once (`single` in fields.toml); another one may hold a second order, another type of document or another sender.
Pure.
Guarantee: each field that the reader uses and that has more than one repetition gets one finding, at the second one.
PID-3, PID-5 (read whole), PRT-15 (`parties`) and OBX-5 (`observations`, `metadata`) are judged where they are read.
Source: volet Transmission v2.1, cardinalities 1..1 and 0..1 (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from gateway.hl7.message import Message
from gateway.hl7.profile.fields import Profile
from gateway.rules import Findings


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
