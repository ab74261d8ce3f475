"""What the options change in a message before it is checked: "what would be said if it asked for this?".

Purpose: `--action`, `--destinations` and `--processing` replace what an ER7 message says, in the bytes, so that every
rule sees the same message. Pure.

Guarantee: only values that are there are replaced (a missing field stays missing and is reported as such); segments,
fields and their numbers stay the same, so that places are those of the file. Each change is told in a note.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.hl7.message import Message, Segment
from gateway.hl7.profile.metadata import canonical_code
from gateway.hl7.transmission import Action

DESTINATIONS = ("dmp", "mss")
_EVENTS = {Action.SUBMIT: b"T02", Action.REPLACE: b"T10", Action.DELETE: b"T04"}
_ORDERS = {Action.SUBMIT: b"NW", Action.REPLACE: b"RO", Action.DELETE: b"CA"}
_STATUSES = {Action.SUBMIT: b"F", Action.REPLACE: b"C", Action.DELETE: b"D"}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asks for; None: what the message says (for a bare CDA: `submit`, and no rule on destinations or
    on MSH-11 is judged)."""

    action: Action | None = None
    destinations: frozenset[str] | None = None
    """Of `DESTINATIONS`."""
    processing: str | None = None
    """P, T or D."""


@dataclass(frozen=True, slots=True)
class _Edit:
    offset: int
    length: int
    value: bytes
    option: str


def apply(message: Message, options: Options) -> tuple[bytes, tuple[str, ...]]:
    """The message's bytes with the options in force, and French notes on what was replaced."""
    raw = message.raw
    wanted = (e for e in _edits(message, options) if e.length)
    edits = sorted(
        (e for e in wanted if raw[e.offset : e.offset + e.length].strip() != e.value), key=lambda e: e.offset
    )
    if not edits:
        return raw, ()
    pieces, position = [], 0
    for edit in edits:
        pieces += [raw[position : edit.offset], edit.value]
        position = edit.offset + edit.length
    pieces.append(raw[position:])
    changed = dict.fromkeys(e.option for e in edits)
    return b"".join(pieces), tuple(f"{option} remplace ce que dit le message." for option in changed)


def _edits(message: Message, options: Options) -> Iterator[_Edit]:
    if options.processing is not None:
        yield _edit(message.msh, 11, 1, options.processing.encode(), "L’environnement demandé (MSH-11)")
    if options.action is not None:
        yield from _action(message, options.action)
    if options.destinations is not None:
        yield from _destinations(message, options.destinations)


def _action(message: Message, action: Action) -> Iterator[_Edit]:
    option = "L’action demandée (MSH-9, ORC-1, OBX-11)"
    if message.type == "MDM":
        yield _edit(message.msh, 9, 2, _EVENTS[action], option)
    for segment in message.segments:
        if segment.name == "ORC":
            yield _edit(segment, 1, 1, _ORDERS[action], option)
        elif segment.name == "OBX" and segment.value(2).upper() == "ED" and not canonical_code(segment):
            yield _edit(segment, 11, 1, _STATUSES[action], option)


def _destinations(message: Message, destinations: frozenset[str]) -> Iterator[_Edit]:
    option = "La liste des destinations demandées (DESTDMP, DESTMSSANTEPS, DESTMSSANTEPAT)"
    found = {canonical_code(s): s for s in message.segments if s.name == "OBX"}
    mailed = [c for c in ("DESTMSSANTEPS", "DESTMSSANTEPAT") if c in found]
    keep = any(found[c].value(5) == "Y" for c in mailed)
    for code in ("DESTDMP", *mailed):
        if code not in found:
            continue
        if code == "DESTDMP":
            asked = "dmp" in destinations
        elif "mss" in destinations:
            # MSSanté, but to whom? What the message says; the professionals when it says nobody
            asked = found[code].value(5) == "Y" if keep else code == "DESTMSSANTEPS"
        else:
            asked = False
        yield _edit(found[code], 5, 1, b"Y" if asked else b"N", option)


def _edit(segment: Segment, field: int, component: int, value: bytes, option: str) -> _Edit:
    return _Edit(*segment.locate(field, component), value, option)
