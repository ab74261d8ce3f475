"""Structure of an MDM of the volet Transmission au LPS, as a DPI checks it. Pure.

Purpose: segments in their order, required fields, OBX 1 to 6, TXA-12/13 and PID-3 against the document.
Guarantee: all that is wrong is said, each with ERR-2 and a code of table 0357; nothing is integrated then.
Fails: never; `Checked.cda` is None when the document cannot be read.
Source: volet Transmission au LPS v1.1.2, tables of MDM^T02, T10 and T04 (spec/mssante.md §2.3).
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field

from connectors.dpi.simulator.documents import Cda, UnreadableCda, read_cda
from gateway.hl7.message import Message, Segment

PROFILE = ("1.1", "CISIS_CDA_HL7_LPS")
ORDERS = {"T02": ("NW", "F"), "T10": ("RO", "C"), "T04": ("CA", "D")}
"""ORC-1 and OBX-11 of each event: first transmission, replacement, deletion."""
FLAGS = ("MASQUE_PS", "INVISIBLE_PATIENT", "INVISIBLE_REP_LEGAUX", "MODIF_CONF_CODE")
"""OBX 3 to 6."""
_ORDER = re.compile(r"MSH (SFT )*(UAC )?EVN PID PV1 ORC (TQ1 (TQ2 )*)*OBR (NTE )*TXA (OBX (PRT )*(NTE )*)+")


@dataclass(frozen=True, slots=True)
class Error:
    """One ERR. `place` is ERR-2; `code` of table 0357, 207 with an application code of table 0533."""

    place: str
    code: str
    application: str = ""

    def __str__(self) -> str:
        return f"{self.code}/{self.application}" if self.application else self.code


@dataclass(slots=True)
class Checked:
    """What was read of a message."""

    errors: list[Error] = field(default_factory=list)
    cda: Cda | None = field(default=None, repr=False)
    content: bytes = field(default=b"", repr=False)


def check(message: Message) -> Checked:
    """Check one MDM. A profile, version or event that is not of this volet is the only error then."""
    found = Checked()
    wrong = found.errors
    if message.type != "MDM":
        wrong.append(Error("MSH^1^9", "200"))
    elif message.event not in ORDERS:
        wrong.append(Error("MSH^1^9^1^2", "201"))
    elif message.version != "2.6":
        wrong.append(Error("MSH^1^12", "203"))
    elif (message.msh.value(21), message.msh.value(21, comp=2)) != PROFILE:
        wrong.append(Error("MSH^1^21", "203"))
    if wrong:
        return found
    if not _ORDER.fullmatch("".join(f"{s.name} " for s in message.segments)):
        wrong.append(Error("", "100"))
        return found
    order, status = ORDERS[message.event]
    _header(message, order, wrong)
    observations = message.all("OBX")
    _observations(observations, status, wrong)
    _participations(message, wrong)
    _document(message, observations[0], found)
    return found


def _header(message: Message, order: str, wrong: list[Error]) -> None:
    msh = message.msh
    wrong += [Error(f"MSH^1^{n}", "101") for n in (3, 4, 5, 6, 7, 10, 17, 18) if not msh.has(n)]
    if message.processing_id not in ("P", "T", "D"):
        wrong.append(Error("MSH^1^11", "202"))
    required = {"EVN": (2,), "PID": (3, 5, 7, 8), "OBR": (4,), "TXA": (2, 12)}
    for name, fields in required.items():
        segment = _only(message, name)
        wrong += [Error(f"{name}^1^{n}", "101") for n in fields if not segment.has(n)]
    fixed = {("PV1", 2): "N", ("ORC", 1): order, ("TXA", 1): "1", ("TXA", 3): "TEXT", ("TXA", 17): "AU"}
    for (name, number), value in fixed.items():
        if _only(message, name).value(number) != value:
            wrong.append(Error(f"{name}^1^{number}", "103"))
    if message.event == "T10" and not _only(message, "TXA").has(13):
        wrong.append(Error("TXA^1^13", "101"))


def _only(message: Message, name: str) -> Segment:
    found = message.first(name)
    assert found is not None  # the order of the segments was checked
    return found


def _observations(observations: list[Segment], status: str, wrong: list[Error]) -> None:
    if len(observations) != 6:
        wrong.append(Error("OBX", "198"))
        return
    for number, obx in enumerate(observations, 1):
        if obx.value(1) != str(number):
            wrong.append(Error(f"OBX^{number}^1", "103"))
        if obx.value(2) != ("ED" if number <= 2 else "CWE"):
            wrong.append(Error(f"OBX^{number}^2", "102"))
        if obx.value(11) != (status if number == 1 else "F"):
            wrong.append(Error(f"OBX^{number}^11", "103"))
        if not obx.has(3):
            wrong.append(Error(f"OBX^{number}^3", "101"))
    for number, name in enumerate(FLAGS, 3):
        obx = observations[number - 1]
        if obx.value(3) != name or obx.value(3, comp=3) != "MetaDMPMSS":
            wrong.append(Error(f"OBX^{number}^3", "103"))
        if obx.value(5) not in ("Y", "N"):
            wrong.append(Error(f"OBX^{number}^5", "103"))
    if observations[2].value(5) == "Y":
        wrong.append(Error("OBX^3^5", "207", "906"))  # MASQUE_PS: it must not have been sent to a DPI


def _participations(message: Message, wrong: list[Error]) -> None:
    """PRT SB once, each with its address."""
    kinds: list[str] = []
    for number, prt in enumerate(message.all("PRT"), 1):
        kinds.append(prt.value(4))
        if prt.value(4) not in ("SB", "RCT", "REPLY"):
            wrong.append(Error(f"PRT^{number}^4", "103"))
        if prt.value(15, comp=3) != "X.400" or not prt.value(15, comp=4):
            wrong.append(Error(f"PRT^{number}^15", "101"))
    if kinds.count("SB") != 1:
        wrong.append(Error("PRT", "198"))


def _document(message: Message, obx: Segment, found: Checked) -> None:
    """OBX-5 of the first OBX; its identifiers against PID-3 and TXA."""
    offset, length = obx.locate(5, 5)
    try:
        text = message.raw[offset : offset + length].strip()
        found.content = base64.b64decode(
            text + b"=" * (-len(text) % 4), validate=True
        )  # samples lack the padding
        found.cda = read_cda(found.content)
    except (binascii.Error, UnreadableCda):
        found.errors.append(Error("OBX^1^5", "102"))
        return
    cda, pid, txa = found.cda, _only(message, "PID"), _only(message, "TXA")
    announced = frozenset(
        f"{pid.value(3, r, 4, 2)}^{pid.value(3, r)}" for r in range(1, pid.repetitions(3) + 1)
    )
    if announced != {i for i in cda.patient_ids if "^" in i}:
        found.errors.append(Error("PID^1^3", "199"))
    if txa.value(2) != cda.type_code or obx.value(3) != cda.type_code:
        found.errors.append(Error("TXA^1^2", "199"))
    if _identifier(txa, 12) != cda.uid:
        found.errors.append(Error("TXA^1^12", "199"))
    if message.event == "T10" and _identifier(txa, 13) != cda.replaces:
        found.errors.append(Error("TXA^1^13", "199"))


def _identifier(txa: Segment, number: int) -> str:
    """`extension^^root^ISO`, or the root alone."""
    first, root = txa.value(number), txa.value(number, comp=3)
    return f"{root}^{first}" if root else first
