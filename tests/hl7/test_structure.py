"""Structures MDM and ORU of the volet Transmission v2.1: segment sequence (100) and cardinalities (198)."""

from __future__ import annotations

import pytest

from tests.hl7 import messages as m


def test_the_synthetic_messages_have_no_finding() -> None:
    for raw in (m.MDM, m.REPLACEMENT, m.DELETION, m.TO_PATIENT, m.ORU, m.PAIR):
        assert m.found(m.read(raw)) == set()


@pytest.mark.parametrize("name", ["EVN", "PID", "PV1", "ORC", "OBR", "TXA"])
def test_mdm_required_segment_missing_is_reported_once(name: str) -> None:
    reading = m.read(m.drop(m.MDM, name))
    structural = {(f.rule, f.place.erl()) for f in reading.findings if f.rule.startswith("SEG-") and f.place}
    assert structural == {("SEG-MISSING", f"{name}^1")}
    assert {f.err3 for f in reading.findings if f.rule == "SEG-MISSING"} == {"100"}


@pytest.mark.parametrize("name", ["PID", "ORC", "OBR"])
def test_oru_required_segment_missing_is_reported_once(name: str) -> None:
    reading = m.read(m.drop(m.ORU, name))
    assert {(f.rule, f.place.erl()) for f in reading.findings if f.rule.startswith("SEG-") and f.place} == {
        ("SEG-MISSING", f"{name}^1")
    }


def test_mdm_without_any_obx() -> None:
    raw = m.joined([s for s in m.lines(m.MDM) if not s.startswith(("OBX", "PRT"))])
    reading = m.read(raw)
    assert m.found(reading) == {("SEG-MISSING", "OBX^1")}
    assert reading.transmission is None


def test_oru_without_pv1_is_allowed() -> None:
    reading = m.read(m.drop(m.ORU, "PV1"))
    assert m.found(reading) == set()
    assert reading.transmission is not None
    assert reading.transmission.patient_class == ""


@pytest.mark.parametrize(
    ("moved", "after", "place"), [("TXA", "OBX", "TXA^1"), ("PV1", "ORC", "ORC^1"), ("EVN", "PID", "PID^1")]
)
def test_mdm_wrong_order(moved: str, after: str, place: str) -> None:
    """hl7apy calls the first of these valid."""
    raw = m.add(m.drop(m.MDM, moved), after, m.copy(m.MDM, moved))
    reading = m.read(raw)
    assert ("SEG-ORDER", place) in m.found(reading)
    assert m.rejecting(reading) == {"SEG-ORDER"}
    assert m.rejecting(m.read(raw, "interop")) == set()


@pytest.mark.parametrize("name", ["EVN", "PID", "PV1", "ORC", "OBR", "TXA"])
def test_mdm_repeated_segment(name: str) -> None:
    """COMMON_ORDER stands exactly once in an MDM."""
    reading = m.read(m.add(m.MDM, name, m.copy(m.MDM, name)))
    assert ("SEG-REPEATED", f"{name}^2") in m.found(reading)
    assert m.rejecting(reading) == {"SEG-REPEATED"}
    assert {f.err3 for f in reading.findings if f.rule == "SEG-REPEATED"} == {"198"}


def test_oru_may_repeat_its_order_group() -> None:
    document = m.copy(m.PAIR, "OBX", 2)
    raw = m.drop(m.PAIR, "OBX", 2)
    metadata_at = next(i for i, s in enumerate(m.lines(raw)) if "|MASQUE_PS^" in s)
    segments = m.lines(raw)
    segments[metadata_at:metadata_at] = [m.copy(raw, "ORC"), m.copy(raw, "OBR"), document]
    reading = m.read(m.joined(segments))
    assert m.found(reading) == set()
    assert reading.transmission is not None
    assert len(reading.transmission.parts) == 2


def test_optional_segments_of_both_structures_are_in_their_place() -> None:
    raw = m.add(m.MDM, "MSH", "SFT|Editeur|1.0|Produit|X")
    raw = m.add(raw, "ORC", "TQ1|1")
    raw = m.add(raw, "TQ1", "TQ2|1")
    raw = m.add(raw, "OBR", "NTE|1||note")
    raw = m.add(raw, "PRT", "NTE|1||note", 3)
    assert m.found(m.read(raw)) == set()
    raw = m.add(m.ORU, "OBR", "TQ1|1")
    raw = m.add(raw, "OBR", "NTE|1||note")
    assert m.found(m.read(raw)) == set()


def test_z_and_unknown_segments_are_ignored_with_a_warning() -> None:
    raw = m.add(m.add(m.MDM, "PID", "PD1|||x"), "PRT", "ZZZ|secret", 2)
    reading = m.read(raw)
    assert m.found(reading) == {("SEG-IGNORED", "PD1^1"), ("SEG-IGNORED", "ZZZ^1")}
    assert not reading.findings.rejects
    assert reading.transmission is not None
    assert len(reading.transmission.recipients) == 2


@pytest.mark.parametrize("after", ["PID", "PV1"])
def test_a_note_on_the_patient_or_the_visit_is_ignored(after: str) -> None:
    """HL7 2.5 has it in ORU_R01, the profile does not: it is told once and moves nothing."""
    for raw in (m.add(m.MDM, after, "NTE|1||note"), m.add(m.ORU, after, "NTE|1||note")):
        assert m.found(m.read(raw)) == {("SEG-IGNORED", "NTE^1")}


def test_a_note_elsewhere_is_told_once() -> None:
    assert m.found(m.read(m.add(m.MDM, "ORC", "NTE|1||note"))) == {("SEG-ORDER", "NTE^1")}


def test_a_stray_line_rejects_and_its_bytes_are_nowhere() -> None:
    reading = m.read(m.add(m.MDM, "PID", "DURAND^CAMILLE"))
    assert m.found(reading) == {("MSG-STRAY-LINE", "PID^1")}
    assert reading.findings.rejects
    assert all("DURAND" not in f.text for f in reading.findings)


def test_mdm_takes_one_document_only() -> None:
    raw = m.add(m.MDM, "TXA", m.copy(m.MDM, "OBX"))
    assert ("DOC-COUNT", "OBX^2") in m.found(m.read(raw))
    assert m.read(raw, "interop").findings.rejects


def test_oru_takes_two_documents_not_three() -> None:
    raw = m.add(m.PAIR, "OBX", m.copy(m.PAIR, "OBX"), 1)
    assert ("DOC-COUNT", "OBX^3") in m.found(m.read(raw))


def test_no_document_at_all() -> None:
    raw = m.joined([s for s in m.lines(m.MDM) if not s.startswith("PRT")])
    reading = m.read(m.drop(raw, "OBX", 1))
    assert ("DOC-COUNT", "OBX^1") in m.found(reading)
    assert reading.transmission is None


def test_line_feeds_are_a_warning_in_every_preset() -> None:
    reading = m.read(m.MDM.replace(b"\r", b"\n"))
    assert m.found(reading) == {("MSG-LINE-ENDS", "MSH^1")}
    assert not reading.findings.rejects
