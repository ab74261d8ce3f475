"""hl7apy beside our reading: why it does not read (docs/decisions/0002-hl7apy.md), and what it is used for."""

from __future__ import annotations

import pytest
from hl7apy.exceptions import HL7apyException
from hl7apy.parser import parse_message

from gateway.errors import Place
from gateway.hl7.message import Message
from gateway.hl7.second_opinion import lint
from tests.hl7 import messages as m
from tests.official import official


def remarks(raw: bytes) -> list[tuple[str, str]]:
    return [(r.place.erl(), r.text) for r in lint(Message.parse(raw))]


def hl7apy_segments(element: object) -> list[str]:
    """Names of all segments of a message parsed by hl7apy, groups opened."""
    names: list[str] = []
    for child in element.children:  # type: ignore[attr-defined]  # hl7apy has no types
        names += [child.name] if child.classname == "Segment" else hl7apy_segments(child)
    return names


@pytest.mark.parametrize("raw", [m.MDM, m.ORU], ids=["MDM", "ORU"])
def test_hl7apy_drops_every_prt_and_our_reading_none(raw: bytes) -> None:
    """The reason of decision 0002: recipients are in PRT. When this fails, read the decision again."""
    text = raw.decode()
    theirs = hl7apy_segments(parse_message(text))
    assert "PRT" not in theirs
    assert "OBX" in theirs
    ours = [s.name for s in Message.parse(raw).segments]
    assert ours.count("PRT") == text.count("\rPRT|") == 3
    with pytest.raises(HL7apyException):
        parse_message(text, find_groups=False)


def test_the_standard_has_nothing_to_say_of_the_synthetic_messages() -> None:
    for raw in (m.MDM, m.REPLACEMENT, m.DELETION, m.TO_PATIENT, m.ORU, m.PAIR):
        assert remarks(raw) == []


@pytest.mark.parametrize(
    ("where", "value", "place", "text"),
    [
        ("OBX^2^1", "two", "OBX^2^1^1", "not of data type SI"),
        ("OBX^3^11", "", "OBX^3^11", "required field missing"),
        ("EVN^1^2", "10/01/2026", "EVN^1^2^1", "not of data type DTM"),
        ("PID^1^7", "1984-12-03", "PID^1^7^1", "not of data type DTM"),
        ("PID^1^60", "x", "PID^1^60", "field unknown to the standard"),
        ("PRT^2^40", "x", "PRT^2^40", "field unknown to the standard"),
        ("PRT^2^2", "", "PRT^2^2", "required field missing"),
        ("PV1^1^2", "I~E", "PV1^1^2", "field may not be repeated"),
        ("TXA^1^4", "hier", "TXA^1^4^1", "not of data type DTM"),
    ],
)
def test_remarks(where: str, value: str, place: str, text: str) -> None:
    assert remarks(m.put(m.MDM, where, value)) == [(place, text)]


def test_unknown_segments_are_left_alone() -> None:
    assert remarks(m.add(m.MDM, "PID", "ZZZ|a|b")) == []


def test_a_remark_holds_no_value() -> None:
    remark = lint(Message.parse(m.put(m.MDM, "PID^1^7", "SECRET")))[0]
    assert "SECRET" not in remark.text
    assert isinstance(remark.place, Place)


@pytest.mark.official
def test_official_sample_has_no_remark() -> None:
    raw = official("hl7/transmission-v2.1/mdm/message_MDM_CR_Radio_RPLC_N1.er7").read_bytes()
    assert remarks(raw) == []
