"""Nothing of a message is dropped in silence: a second value where one is read is refused, or at least told."""

from __future__ import annotations

import pytest

from tests.hl7 import messages as m
from tests.hl7.messages import MDM, REPLACEMENT, TO_PATIENT, copy, put

REFUSED = [
    "MSH^9", "MSH^10", "MSH^11", "MSH^12", "PID^7", "PID^8", "PV1^2", "ORC^1", "OBR^4", "TXA^1", "TXA^2",
    "TXA^3", "TXA^12", "TXA^13", "TXA^17", "OBX^2", "OBX^3", "OBX^11", "PRT^4", "PRT^5", "PRT^8",
]  # fmt: skip
IGNORED = [
    "MSH^3",
    "MSH^6",
    "MSH^7",
    "MSH^17",
    "MSH^18",
    "MSH^21",
    "EVN^2",
    "PID^18",
    "PID^32",
    "PV1^19",
    "PRT^2",
]
HERE, OTHER = "^^X.400^dr.martin@test-hopital.mssante.fr", "^^X.400^dr.autre@test-hopital.mssante.fr"


def repeated(where: str) -> bytes:
    """REPLACEMENT with the field's value given twice."""
    name, field = where.split("^")
    fields = copy(REPLACEMENT, name).split("|")
    value = fields[int(field) - (name == "MSH")]
    assert value, where
    return put(REPLACEMENT, f"{name}^1^{field}", f"{value}~{value}")


@pytest.mark.parametrize("where", REFUSED)
def test_a_second_value_that_would_be_dropped_rejects(where: str) -> None:
    name, field = where.split("^")
    place = f"{name}^1^{field}^2"
    assert ("FIELD-REPEATED", place) in m.found(m.read(repeated(where)))
    assert "FIELD-REPEATED" in m.rejecting(m.read(repeated(where)))
    assert "FIELD-REPEATED" not in m.rejecting(m.read(repeated(where), "interop"))


@pytest.mark.parametrize("where", IGNORED)
def test_a_second_value_without_weight_is_told(where: str) -> None:
    name, field = where.split("^")
    assert m.found(m.read(repeated(where))) == {("FIELD-REPETITION-IGNORED", f"{name}^1^{field}^2")}


def test_two_birth_names() -> None:
    raw = put(MDM, "PID^1^5", "AUTRE^CAMILLE^^^^^L~" + copy(MDM, "PID").split("|")[5])
    assert ("FIELD-REPETITION-IGNORED", "PID^1^5^2") in m.found(m.read(raw))


@pytest.mark.parametrize("preset", ["production", "interop"])
def test_two_addresses_in_one_prt_reject_whatever_the_preset(preset: m.Preset) -> None:
    """One of two recipients would never get the document."""
    reading = m.read(put(MDM, "PRT^2^15", f"{HERE}~{OTHER}"), preset)
    assert ("RCT-SEVERAL-ADDRESSES", "PRT^2^15^2") in m.found(reading)
    assert m.rejecting(reading) == {"RCT-SEVERAL-ADDRESSES"}


def test_two_reply_addresses_in_one_prt() -> None:
    assert "RCT-SEVERAL-ADDRESSES" in m.rejecting(m.read(put(TO_PATIENT, "PRT^4^15", f"{HERE}~{OTHER}")))


@pytest.mark.parametrize("other", ["^PRN^PH^^^^0102030405", "^NET^Internet^martin@example.org"])
@pytest.mark.parametrize("first", [True, False])
def test_a_telephone_or_a_mail_beside_the_mssante_address_is_left_out(other: str, first: bool) -> None:
    value = f"{HERE}~{other}" if first else f"{other}~{HERE}"
    reading = m.read(put(MDM, "PRT^2^15", value))
    assert m.found(reading) == {("FIELD-REPETITION-IGNORED", "PRT^2^15^2")}
    assert reading.transmission is not None
    assert reading.transmission.recipients[0].address == "dr.martin@test-hopital.mssante.fr"


def test_a_component_after_the_document_rejects() -> None:
    raw = put(MDM, "OBX^1^5", copy(MDM, "OBX").split("|")[5] + "^QUJD")
    assert m.found(m.read(raw)) == {("OBX5-FORM", "OBX^1^5^1^6")}


@pytest.mark.parametrize(
    ("more", "place"), [("^QUJD", "OBX^12^5^1^6"), ("~^TEXT^^Base64^QUJD", "OBX^12^5^2")]
)
def test_what_follows_a_mail_body_rejects(more: str, place: str) -> None:
    raw = put(MDM, "OBX^12^5", copy(MDM, "OBX", 12).split("|")[5] + more)
    assert m.found(m.read(raw)) == {("BODY-FORM", place)}


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("ORC^1^1^1^1", "NW&CA"),
        ("OBX^1^11^1^1", "F&D"),
        ("OBX^2^5^1^1", "N&Y"),
        ("PV1^1^2^1^1", "I&N"),
        ("PID^1^7^1^1", "19841203&19841204"),
        ("PID^1^8^1^1", "M&F"),
        ("MSH^1^9^1^2", "T02&T04"),
        ("TXA^1^12^1^1", f"{m.ROOT}.1&1.2.3"),
        ("PRT^1^4^1^1", "SB&RCT"),
    ],
)
def test_a_second_value_in_a_sub_component_rejects(where: str, value: str) -> None:
    reading = m.read(put(MDM, where, value))
    assert ("FIELD-SUBCOMPONENT", where) in m.found(reading)
    assert m.rejecting(reading) == {"FIELD-SUBCOMPONENT"}
    assert not m.rejecting(m.read(put(MDM, where, value), "interop"))


@pytest.mark.parametrize(
    ("where", "value"),
    [("ORC^1^1", "NW^CA"), ("OBX^1^11", "F^D"), ("OBX^1^2", "ED^ST"), ("PV1^1^2", "I^N"), ("PID^1^8", "F^M")],
)
def test_a_second_component_in_a_plain_field_rejects(where: str, value: str) -> None:
    reading = m.read(put(MDM, where, value))
    assert ("FIELD-COMPONENT", f"{where}^1^2") in m.found(reading)
    assert m.rejecting(reading) == {"FIELD-COMPONENT"}
    assert not m.rejecting(m.read(put(MDM, where, value), "interop"))


def test_an_ampersand_in_a_label_is_no_second_value() -> None:
    assert not m.found(m.read(put(MDM, "OBR^1^4^1^2", "Chimie & hormones")))


def test_two_addresses_in_sub_components_reject() -> None:
    raw = put(MDM, "PRT^2^15^1^4", "dr.martin@test-hopital.mssante.fr&dr.autre@test-hopital.mssante.fr")
    assert m.found(m.read(raw)) == {("RCT-SEVERAL-ADDRESSES", "PRT^2^15^1^4")}
