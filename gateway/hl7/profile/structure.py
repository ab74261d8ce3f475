"""Segments of a transmission: which are there, in which order, how many times (codes 100 and 198).

Purpose: compare the message's segments with the profile's MDM and ORU structures. Pure.
Guarantee: every deviation is reported, a missing segment only once (its absence does not make its neighbours
misplaced). Segments outside the structure (Z and unknown ones) are ignored with a warning; a message in several pieces
(ADD, DSC, MSH-14) is refused: what stands in the others, a recipient or the end of a field, would be lost.
Source: volet Transmission v2.1, structures (spec/hl7-transmission.md §1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from gateway.errors import Place
from gateway.hl7.message import Message
from gateway.rules import Findings

END = "end"


@dataclass(frozen=True, slots=True)
class Structure:
    """What may follow what, which segments are required, and which stand only once."""

    after: Mapping[str, tuple[str, ...]]
    """Segment → segments that may follow it. `NTE` after an order and after an observation are two states."""
    required: tuple[str, ...]
    once: frozenset[str]


_OBSERVATION = {
    "OBX": ("PRT", "NTE/OBX", "OBX", END),
    "PRT": ("PRT", "NTE/OBX", "OBX", END),
    "NTE/OBX": ("NTE/OBX", "OBX", END),
}

MDM = Structure(
    after={
        "MSH": ("SFT", "UAC", "EVN"),
        "SFT": ("SFT", "UAC", "EVN"),
        "UAC": ("EVN",),
        "EVN": ("PID",),
        "PID": ("PV1",),
        "PV1": ("ORC",),
        "ORC": ("TQ1", "OBR"),
        "TQ1": ("TQ1", "TQ2", "OBR"),
        "TQ2": ("TQ1", "TQ2", "OBR"),
        "OBR": ("NTE/OBR", "TXA"),
        "NTE/OBR": ("NTE/OBR", "TXA"),
        "TXA": ("OBX",),
        **_OBSERVATION,
    },
    required=("EVN", "PID", "PV1", "ORC", "OBR", "TXA", "OBX"),
    # COMMON_ORDER stands exactly once here, so its ORC and OBR too.
    once=frozenset({"MSH", "UAC", "EVN", "PID", "PV1", "ORC", "OBR", "TXA"}),
)

_ORU_AGAIN = {name: (*following[:-1], "ORC", END) for name, following in _OBSERVATION.items()}

ORU = Structure(
    after={
        "MSH": ("SFT", "UAC", "PID"),
        "SFT": ("SFT", "UAC", "PID"),
        "UAC": ("PID",),
        "PID": ("PV1", "ORC"),
        "PV1": ("ORC",),
        "ORC": ("OBR",),
        "OBR": ("NTE/OBR", "TQ1", "OBX"),
        "NTE/OBR": ("NTE/OBR", "TQ1", "OBX"),
        "TQ1": ("TQ1", "OBX"),
        **_ORU_AGAIN,
    },
    required=("PID", "ORC", "OBR", "OBX"),
    once=frozenset({"MSH", "UAC", "PID", "PV1"}),
)

_BEFORE_ORDERS = frozenset({"MSH", "SFT", "UAC", "EVN", "PID", "PV1"})
STRUCTURES = {"MDM": MDM, "ORU": ORU}


def check_structure(message: Message, findings: Findings) -> None:
    """Findings SEG-* and MSG-STRAY-LINE of a message whose type is MDM or ORU."""
    structure = STRUCTURES[message.type]
    present = {s.name for s in message.segments}
    missing = tuple(name for name in structure.required if name not in present)
    for name in missing:
        findings.add("SEG-MISSING", Place(name), segment=name)
    allowed = _skipping(message.type, missing)
    if message.msh.has(14):
        findings.add("SEG-CONTINUED", message.msh.place(14))
    state, before = "MSH", Place("MSH")
    for segment in message.segments[1:]:
        if not segment.name:
            # The bytes of such a line may be anything: the place is that of the segment before it.
            findings.add("MSG-STRAY-LINE", before)
            continue
        if segment.name in structure.once and segment.occurrence > 1:
            findings.add("SEG-REPEATED", segment.place(), segment=segment.name)
            continue
        following = segment.name
        if following == "NTE":
            following = "NTE/OBX" if state in _OBSERVATION else "NTE/OBR"
        before = segment.place()
        if segment.name == "ADD" or (segment.name == "DSC" and segment.has(1)):
            findings.add("SEG-CONTINUED", before)
            continue
        if following not in structure.after:
            findings.add("SEG-IGNORED", before)
            continue
        if following not in allowed[state]:
            if segment.name == "NTE":
                # a note on the patient or the visit is good HL7, and nothing that is sent; it moves nothing
                rule = "SEG-IGNORED" if state in _BEFORE_ORDERS else "SEG-ORDER"
                findings.add(rule, before, segment=segment.name)
                continue
            findings.add("SEG-ORDER", before, segment=segment.name)
        state = following


@lru_cache(maxsize=64)
def _skipping(message_type: str, missing: tuple[str, ...]) -> Mapping[str, frozenset[str]]:
    """What may follow what when the `missing` segments are passed over."""
    structure = STRUCTURES[message_type]
    allowed: dict[str, frozenset[str]] = {}
    for name, following in structure.after.items():
        reach: set[str] = set()
        todo = list(following)
        while todo:
            candidate = todo.pop()
            if candidate not in reach:
                reach.add(candidate)
                if candidate in missing:
                    todo.extend(structure.after[candidate])
        allowed[name] = frozenset(reach)
    return allowed
