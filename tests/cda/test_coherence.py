"""Message against document (M01, V03, table 0533): one patient, one type, one set of identifiers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures.build import DOCUMENT_ROOT, PATIENT, Patient, cda_n1, cda_n3, ins_key, mdm, oru
from gateway.cda.coherence import plain, same_id
from gateway.errors import Finding, Place
from gateway.hl7.transmission import INS_NIA, INS_NIR, InstanceId
from gateway.rules import Preset
from tests.cda.support import BOOKS, OBX, passed, rejecting, rules, swap

OTHER_INS = "2841275123987" + ins_key("2841275123987")
V2 = cda_n1(uid=f"{DOCUMENT_ROOT}.1.2", version=2, replaces=f"{DOCUMENT_ROOT}.1.1")


def against(patient: Patient, preset: Preset = "production") -> list[Finding]:
    """A document of our patient, sent by a message about `patient`."""
    _, check = passed(mdm("T02", cda_n1(), patient=patient), preset)
    return check.findings


@pytest.mark.parametrize("preset", BOOKS)
def test_another_ins_is_904_whatever_the_preset(preset: Preset) -> None:
    (finding,) = against(replace(PATIENT, ins=OTHER_INS), preset)
    assert (finding.rule, finding.rejects, finding.err3, finding.err5) == ("CDA-M01-INS", True, "207", "904")
    assert finding.place == OBX


def test_another_ins_of_another_authority_is_904_in_interop_too() -> None:
    (finding,) = against(replace(PATIENT, ins=OTHER_INS, ins_oid=INS_NIA), "interop")
    assert (finding.rule, finding.rejects) == ("CDA-M01-INS", True)


def test_the_same_matricule_of_another_authority_is_told_apart() -> None:
    assert rejecting(passed(mdm("T02", cda_n1(), patient=replace(PATIENT, ins_oid=INS_NIR)))[1].findings) == [
        "CDA-M01-INS-OID"
    ]


@pytest.mark.parametrize(
    ("change", "rule", "place"),
    [
        ({"birth_date": "19841204"}, "CDA-M01-BIRTH", "PID^1^7"),
        ({"sex": "F"}, "CDA-M01-SEX", "PID^1^8"),
        ({"birth_family": "TEST-DUPONT"}, "CDA-M01-FAMILY", "PID^1^5"),
    ],
)
def test_differing_traits_are_904(change: dict[str, str], rule: str, place: str) -> None:
    told = replace(PATIENT, **change)
    (finding,) = against(told)
    assert (finding.rule, finding.rejects, finding.err5) == (rule, True, "904")
    assert finding.place is not None
    assert finding.place.erl() == place
    (tolerated,) = against(told, "interop")
    assert not tolerated.rejects


def test_a_differing_given_name_is_a_warning() -> None:
    assert rules(passed(mdm("T02", cda_n1(), patient=replace(PATIENT, birth_given="CAM")))[1].findings) == [
        "CDA-M01-GIVEN"
    ]


@pytest.mark.parametrize("change", [{"birth_given": ""}, {"birth_family": "-"}])
def test_a_name_that_compares_with_nothing_is_told(change: dict[str, str]) -> None:
    told = replace(PATIENT, **change)
    assert rules(passed(mdm("T02", cda_n1(), patient=told))[1].findings) == ["CDA-M01-NO-NAME"]


@pytest.mark.parametrize("family", ["test durand", "Tést-Dùrand", "TEST DURAND"])
def test_accents_case_and_hyphens_are_not_a_difference(family: str) -> None:
    assert against(replace(PATIENT, birth_family=family)) == []


def test_plain_names() -> None:
    assert plain("D’Œuvre-Éléonore") == plain("d'oeuvre eleonore")
    assert plain("") == ""


def test_a_partial_birth_date_is_compared_at_its_precision() -> None:
    document = swap(cda_n1(), '<birthTime value="19841203"/>', '<birthTime value="1984"/>')
    assert rejecting(passed(mdm("T02", document))[1].findings) == []
    document = swap(cda_n1(), '<birthTime value="19841203"/>', '<birthTime value="1985"/>')
    assert rejecting(passed(mdm("T02", document))[1].findings) == ["CDA-M01-BIRTH"]


def test_another_local_identifier_of_the_same_establishment_is_904() -> None:
    (finding,) = against(replace(PATIENT, ipp="8004568"))
    assert (finding.rule, finding.rejects, finding.err5) == ("CDA-M01-LOCAL-ID", True, "904")


def test_no_common_identifier_without_ins_is_902() -> None:
    """MSSanté alone, no INS in the document: the local identifiers are all that says who it is about."""
    document = cda_n1(with_ins=False, patient=replace(PATIENT, ipp_oid="1.2.3"))
    findings = passed(mdm("T02", document, flags={"DESTDMP": "N"}))[1].findings
    assert rejecting(findings) == ["CDA-M01-NO-COMMON-ID"]
    assert {f.rule: f.err5 for f in findings}["CDA-M01-NO-COMMON-ID"] == "902"


def test_an_ins_that_only_the_document_carries_is_904() -> None:
    """Whose document is it? The message does not say."""
    raw = mdm("T02", cda_n1(), flags={"DESTDMP": "N"})
    ins = f"{PATIENT.ins}^^^ASIP-SANTE-INS-NIR&{PATIENT.ins_oid}&ISO^INS~".encode()
    assert ins in raw
    assert "CDA-M01-INS-MESSAGE" in rejecting(passed(raw.replace(ins, b""))[1].findings)


def test_an_identifier_that_only_one_side_carries_is_a_warning() -> None:
    raw = mdm("T02", cda_n1())
    local = f"~{PATIENT.ipp}^^^HOPITAL-ESSAI&{PATIENT.ipp_oid}&ISO^PI".encode()
    assert local in raw
    findings = passed(raw.replace(local, b""))[1].findings
    assert rules(findings) == ["CDA-M01-IDS"]
    assert not findings.rejects


def test_all_disagreements_are_told_together() -> None:
    told = replace(PATIENT, ins=OTHER_INS, birth_date="20000101", sex="F", birth_family="X", ipp="1")
    assert rejecting(passed(mdm("T02", cda_n1(), patient=told))[1].findings) == [
        "CDA-M01-INS", "CDA-M01-LOCAL-ID", "CDA-M01-BIRTH", "CDA-M01-SEX", "CDA-M01-FAMILY",
    ]  # fmt: skip


def test_the_type_of_the_message_is_the_type_of_the_document() -> None:
    (finding,) = passed(mdm("T02", cda_n1(), type_code="18748-4^CR d'imagerie médicale^LN"))[1].findings
    assert (finding.rule, finding.rejects, finding.err5) == ("CDA-M01-TYPE", True, "906")
    assert finding.place == Place("OBR", 1, 4)


def test_txa_12_is_the_id_of_the_document() -> None:
    (finding,) = passed(mdm("T02", cda_n1(), document_id="1.2.3"))[1].findings
    assert (finding.rule, finding.rejects) == ("CDA-M01-ID", True)
    assert finding.place == Place("TXA", 1, 12)


def test_a_replacement_names_what_it_replaces() -> None:
    """V03: T10 needs relatedDocument RPLC, and TXA-13 is its id; in interop too."""
    for preset in BOOKS:
        raw = mdm("T10", cda_n1(version=2), replaced_id=f"{DOCUMENT_ROOT}.1.1")
        (finding,) = passed(raw, preset)[1].findings
        assert (finding.rule, finding.rejects, finding.err5) == ("CDA-V03-RPLC", True, "900")
    (finding,) = passed(mdm("T10", V2, replaced_id="1.2.3"))[1].findings
    assert (finding.rule, finding.rejects, finding.err5) == ("CDA-V03-PARENT", True, "900")
    assert finding.place == Place("TXA", 1, 13)
    assert passed(mdm("T10", V2))[1].findings == []


@pytest.mark.parametrize(
    ("told", "found", "same"),
    [
        (InstanceId("1.2.3"), InstanceId("1.2.3"), True),
        (InstanceId("1.2.3", "A"), InstanceId("1.2.3", "A"), True),
        (InstanceId("1.2.3", "Organisation-Y"), InstanceId("1.2.3"), False),
        (InstanceId("1.2.3.4"), InstanceId("1.2.3", "4"), False),
        (InstanceId("90e1c8ec"), InstanceId("90E1C8EC"), False),
        (InstanceId("1.2.3"), InstanceId("1.2.4"), None),
        (InstanceId("1.2.3"), InstanceId("1.2.3", "4"), None),
        (InstanceId("1.2.3", "B"), InstanceId("1.2.3", "A"), None),
    ],
)
def test_forms_of_an_identifier(told: InstanceId, found: InstanceId, same: bool | None) -> None:
    """Same, same in another form (official samples put an organisation in TXA-12.2), or another."""
    assert same_id(told, found) is same


# --- ORU with two documents (architecture §7a) --------------------------------------------------------------

PAIR = cda_n1(uid=f"{DOCUMENT_ROOT}.2.1", set_id=f"{DOCUMENT_ROOT}.2")


def test_n1_and_n3_of_one_patient_are_fine() -> None:
    _, check = passed(oru("submit", [PAIR, cda_n3()]))
    assert check.findings == []
    assert [d.part for d in check.documents] == [0, 1]
    assert [d.header.body.kind for d in check.documents] == ["nonXML", "structured"]


def test_two_patients_in_one_message_are_refused_whatever_the_preset() -> None:
    other = cda_n3(patient=replace(PATIENT, ins=OTHER_INS))
    for preset in BOOKS:
        findings = passed(oru("submit", [PAIR, other]), preset)[1].findings
        assert rejecting(findings) == ["CDA-M01-INS", "CDA-PAIR-PATIENT"]
        assert {f.place for f in findings if f.rejects} == {Place("OBX", 2, 5)}


def test_two_patients_without_ins_are_refused() -> None:
    """Without INS the local identifiers must meet."""
    first = cda_n1(with_ins=False, uid=f"{DOCUMENT_ROOT}.2.1", set_id=f"{DOCUMENT_ROOT}.2")
    second = cda_n3(with_ins=False, patient=replace(PATIENT, ipp_oid="1.2.3"))
    findings = passed(oru("submit", [first, second], flags={"DESTDMP": "N"}))[1].findings
    assert "CDA-PAIR-PATIENT" in rejecting(findings)


def test_the_two_documents_have_their_own_id_and_set() -> None:
    findings = passed(oru("submit", [PAIR, cda_n3(uid=f"{DOCUMENT_ROOT}.2.1", set_id=f"{DOCUMENT_ROOT}.2")]))[
        1
    ].findings
    assert rejecting(findings) == ["CDA-PAIR-ID", "CDA-PAIR-SET"]


def test_two_n1_are_a_warning() -> None:
    assert rules(passed(oru("submit", [PAIR, cda_n1()]))[1].findings) == ["CDA-PAIR-LEVELS"]


def test_each_document_of_two_is_compared_with_the_message() -> None:
    """ORU with two documents: a fault of the second one is told at its own OBX-5 or at the field of the message."""
    ins = "2841275123987" + ins_key("2841275123987")
    other = cda_n3(patient=Patient(ins=ins, birth_date="19850101"))
    findings = passed(oru("submit", [PAIR, other]))[1].findings
    told = {(f.rule, f.place.erl() if f.place else "") for f in findings}
    assert ("CDA-M01-INS", "OBX^2^5") in told
    assert ("CDA-M01-BIRTH", "PID^1^7") in told
    assert not any(place == "OBX^1^5" for _, place in told)


def test_the_same_id_in_another_form_is_told() -> None:
    """TXA-12 as `root.extension` in one OID."""
    document = cda_n1(uid="1.2.3^4")
    found = passed(mdm("T02", document, document_id="1.2.3.4", flags={"DESTDMP": "N"}))[1].findings
    assert [(f.rule, f.rejects, f.place) for f in found if f.rule.startswith("CDA-M01")] == [
        ("CDA-M01-ID-FORM", False, Place("TXA", 1, 12))
    ]
