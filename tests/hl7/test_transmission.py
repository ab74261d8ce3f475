"""What the profile reads out of good messages: `Transmission`, value by value (volet Transmission v2.1)."""

from __future__ import annotations

import pytest

from gateway.errors import Place
from gateway.hl7.base64text import decode
from gateway.hl7.message import Message
from gateway.hl7.transmission import INS_TEST, Action, Code, Flags, InstanceId, Party, Transmission
from tests.hl7 import messages as m


def transmission(raw: bytes) -> Transmission:
    reading = m.read(raw)
    assert not reading.findings.rejects
    assert reading.transmission is not None
    return reading.transmission


def test_header_patient_and_visit() -> None:
    t = transmission(m.TO_PATIENT)
    assert (t.control_id, t.message_type, t.event, t.version, t.processing_id) == (
        "MSG00001",
        "MDM",
        "T02",
        "2.6",
        "T",
    )
    assert (t.sending_application, t.receiving_application) == ("SIL-ESSAI", "PFI-ESSAI")
    assert (t.sending_facility, t.receiving_facility) == ("HOPITAL-ESSAI", "HOPITAL-ESSAI")
    p = t.patient
    assert p.ins is not None
    assert (p.ins.value, p.ins.authority, p.ins.type) == (m.PATIENT.ins, INS_TEST, "INS")
    assert [(i.value, i.type) for i in p.identifiers] == [(m.PATIENT.ins, "INS"), (m.PATIENT.ipp, "PI")]
    assert (p.birth_family, p.birth_given, p.birth_date, p.sex, p.identity_status) == (
        "TEST-DURAND",
        "CAMILLE",
        "19841203",
        "M",
        "VALI",
    )
    assert t.patient_class == "I"
    assert t.visit_number is not None
    assert (t.visit_number.value, t.visit_number.type) == ("260100042", "VN")
    assert t.account_number is not None
    assert (t.account_number.value, t.account_number.type) == ("26010007", "AN")


@pytest.mark.parametrize(
    ("raw", "action", "replaced"),
    [
        (m.MDM, Action.SUBMIT, None),
        (m.REPLACEMENT, Action.REPLACE, InstanceId(f"{m.ROOT}.1")),
        (m.DELETION, Action.DELETE, None),
    ],
)
def test_action_of_an_mdm(raw: bytes, action: Action, replaced: InstanceId | None) -> None:
    t = transmission(raw)
    assert t.action is action
    assert t.replaced_id == replaced
    assert t.document_id == InstanceId(f"{m.ROOT}.1" if action is Action.SUBMIT else f"{m.ROOT}.2")
    assert t.document_type == Code("11502-2", "CR d'examens biologiques", "LN")


@pytest.mark.parametrize(
    ("status", "order", "action"), [("F", "NW", "submit"), ("C", "RO", "replace"), ("D", "CA", "delete")]
)
def test_action_of_an_oru_is_told_by_obx_11(status: str, order: str, action: str) -> None:
    t = transmission(m.put(m.put(m.ORU, "OBX^1^11", status), "ORC^1^1", order))
    assert t.action == action
    assert t.document_id is None


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("1.2.3", InstanceId("1.2.3")),
        ("42^^1.2.3^ISO", InstanceId("1.2.3", "42")),
        ("42^^1.2.3", InstanceId("1.2.3", "42")),
        ("1.2.3^Organisation", InstanceId("1.2.3")),
        ("1B2C3D4E-0000-4000-8000-00000000abcd", InstanceId("1B2C3D4E-0000-4000-8000-00000000abcd")),
    ],
)
def test_forms_of_txa_12(sent: str, expected: InstanceId) -> None:
    assert transmission(m.put(m.MDM, "TXA^1^12", sent)).document_id == expected


def test_parts_locate_the_base64_in_the_message() -> None:
    message = Message.parse(m.PAIR)
    t = transmission(m.PAIR)
    contents = [decode(message.raw[p.offset : p.offset + p.length]).content for p in t.parts]
    assert contents == [m.CDA, b"<ClinicalDocument></ClinicalDocument>"]
    assert [(p.place.erl(), p.status, p.type.code) for p in t.parts] == [
        ("OBX^1", "F", "11502-2"),
        ("OBX^2", "F", "11502-2"),
    ]


def test_parties() -> None:
    t = transmission(m.TO_PATIENT)
    assert t.sender is not None
    assert t.sender.person is not None
    assert (t.sender.person.id, t.sender.person.authority, t.sender.person.id_type) == (
        m.AUTHOR.id,
        "1.2.250.1.71.4.2.1",
        "IDNPS",
    )
    assert t.sender.organisation is not None
    assert (t.sender.organisation.authority, t.sender.organisation.id_type) == ("1.2.250.1.71.4.2.2", "IDNST")
    assert t.sender.organisation.number
    assert [r.address for r in t.recipients_ps] == [m.DR_MARTIN.address]
    assert [r.address for r in t.recipients_patient] == [f"{m.PATIENT.ins}@patient.mssante.fr"]
    assert t.recipients[1].person is not None
    assert (t.recipients[1].person.id_type, t.recipients[1].person.authority) == ("INS", INS_TEST)
    assert t.reply_to == ("secretariat@test-hopital.mssante.fr",)


def test_authority_given_as_a_bare_oid() -> None:
    """PRT-5.9 of a patient in the official ORU sample is the OID itself."""
    t = transmission(m.put(m.TO_PATIENT, "PRT^3^5^1^9", INS_TEST))
    assert t.recipients[1].person is not None
    assert t.recipients[1].person.authority == INS_TEST


def test_an_application_is_a_party() -> None:
    raw = m.put(m.put(m.MDM, "PRT^1^5", ""), "PRT^1^10", "AUTOMATE-1")
    t = transmission(raw)
    assert t.sender is not None
    assert (t.sender.person, t.sender.device) == (None, "AUTOMATE-1")


def test_flags_and_bodies() -> None:
    t = transmission(m.TO_PATIENT)
    assert t.flags == Flags(dest_dmp=True, dest_mssante_ps=True, dest_mssante_pat=True, ack_reception=True)
    assert t.body_ps is not None
    assert t.body_ps.text.startswith("Cher confrère,\n")
    assert t.body_patient is not None
    assert t.body_patient.text == "Bonjour,\nvotre compte rendu est joint."
    assert t.patient_may_not_answer


@pytest.mark.parametrize("name", list(m.fields_of(Flags())))
def test_each_flag_stands_for_its_metadata(name: str) -> None:
    """A masking flag read from the wrong OBX would publish a hidden document."""
    code = {
        "dest_dmp": "DESTDMP",
        "dest_mssante_ps": "DESTMSSANTEPS",
        "dest_mssante_pat": "DESTMSSANTEPAT",
    }.get(name, name.upper())
    values = {}
    for value in ("N", "Y"):
        reading = m.read(m.flag(m.MDM, code, value))
        assert reading.transmission is not None
        values[value] = m.fields_of(reading.transmission.flags)
    assert (values["N"][name], values["Y"][name]) == (False, True)
    others = {k for k in values["N"] if k != name}
    assert {k: values["N"][k] for k in others} == {k: values["Y"][k] for k in others}


def test_fin_counts_only_after_destmssantepat() -> None:
    raw = m.drop(m.TO_PATIENT, "NTE")
    assert not transmission(raw).patient_may_not_answer
    assert not transmission(m.add(raw, "OBX", "NTE|1|||FIN", 8)).patient_may_not_answer
    assert transmission(m.add(raw, "OBX", "NTE|1|||FIN^x", 9)).patient_may_not_answer


def test_a_cut_body_keeps_what_can_be_read_in_interop() -> None:
    """Official ORU sample: base64 whose length leaves a remainder of 1."""
    reading = m.read(m.put(m.MDM, "OBX^12^5^1^5", "Qm9uam91ciBEw6l"[:13]), "interop")
    assert reading.transmission is not None
    assert reading.transmission.body_ps is not None
    assert reading.transmission.body_ps.text == "Bonjour D"


def test_body_in_the_charset_of_the_message() -> None:
    raw = m.put(m.MDM, "OBX^12^5^1^5", "Y2z0dHVyZQ==").replace(b"UNICODE UTF-8", b"8859/15")
    t = transmission(raw.decode().encode("iso8859-15"))
    assert t.body_ps is not None
    assert t.body_ps.text == "clôture"


def test_the_transmission_is_given_even_when_rejected() -> None:
    """So that the CDA checks can add their errors to the same ACK."""
    reading = m.read(m.put(m.MDM, "PID^1^8", "Q"))
    assert reading.findings.rejects
    assert reading.transmission is not None


@pytest.mark.parametrize("raw", [m.put(m.MDM, "MSH^1^9^1^1", "ADT"), m.put(m.MDM, "MSH^1^9^1^2", "T11")])
def test_without_a_known_event_there_is_no_transmission(raw: bytes) -> None:
    assert m.read(raw).transmission is None


@pytest.mark.parametrize(
    ("address", "patient"),
    [
        ("279035121518989@patient.mssante.fr", True),
        ("279035121518989@PATIENT.MSSANTE.FR", True),
        ("x@sub.patient.mssante.fr", True),
        ("x@notpatient.mssante.fr", False),
        ("patient.mssante.fr@test-hopital.mssante.fr", False),
    ],
)
def test_a_mailbox_of_the_patients_domain_or_below_is_the_patients(address: str, patient: bool) -> None:
    """Else an invisible document could go to the patient as if to a professional."""
    assert Party(Place("PRT"), address=address).is_patient is patient
