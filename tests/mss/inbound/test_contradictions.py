"""What mail, metadata and documents say against one another. Source: spec/mssante.md §1.2, §1.6, §2.2-2.5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fixtures import build
from gateway.hl7.transmission import Action
from tests.mss.inbound.samples import (
    N1,
    N1_V2,
    N3,
    PDF,
    archive,
    changed,
    mail,
    read,
    receive,
    rejecting,
    rules_of,
    with_document,
)

OTHER = replace(build.PATIENT, ins="2841275123987" + build.ins_key("2841275123987"), ipp="999")
RPLC = (
    '<rim:Association associationType="urn:ihe:iti:2007:AssociationType:RPLC" sourceObject="{0}" targetObject="x"/>'
    "</rim:RegistryObjectList>"
)


def _replacing(content: bytes) -> bytes:
    """An RPLC association from the document, as IHE has it and the profile has not."""
    (document,), _ = read(content)
    return changed(content, "</rim:RegistryObjectList>", RPLC.format(document.entry.entry_uuid))


def _masked(code: str) -> bytes:
    return changed(
        archive(), r'(f4f85eac-e6cb-4883-b524-f2705394840f"[^>]*nodeRepresentation=")N', rf"\g<1>{code}"
    )


REFUSED = {
    "IN-CDA-ID": with_document(archive(), N1.replace(b"<id root", b"<id nullFlavor='UNK' x", 1)),
    "IN-CDA-CODE": with_document(archive(), N1.replace(b"<code code=", b"<code nullFlavor='UNK' x=", 1)),
    "IN-UID-DIFFERS": with_document(archive(), build.cda_n1(uid="1.2.250.1.999.8", payload=PDF)),
    "IN-UID-TWICE": with_document(
        changed(archive(Action.SUBMIT, N1, N3), f"{build.DOCUMENT_ROOT}.3.1", f"{build.DOCUMENT_ROOT}.1.1"),
        build.cda_n3(uid=f"{build.DOCUMENT_ROOT}.1.1"),
        2,
    ),
    "IN-REPLACED-ABSENT": with_document(
        archive(Action.REPLACE, N1_V2), build.cda_n1(uid=f"{build.DOCUMENT_ROOT}.1.2", payload=PDF)
    ),
    "IN-REPLACED-SELF": with_document(
        archive(Action.REPLACE, N1_V2),
        build.cda_n1(uid=f"{build.DOCUMENT_ROOT}.1.2", replaces=f"{build.DOCUMENT_ROOT}.1.2", payload=PDF),
    ),
    "IN-RPLC-ASSOCIATION": _replacing(archive()),
    "IN-MASKED": _masked("MASQUE_PS"),
    "IN-PATIENT-DIFFERS": with_document(archive(), build.cda_n1(patient=OTHER, payload=PDF)),
    "IN-PATIENTS-SEVERAL": with_document(archive(Action.SUBMIT, N1, N3), build.cda_n3(patient=OTHER), 2),
    "IN-PATIENT-ABSENT": with_document(
        archive(), build.cda_n1(with_ins=False, patient=replace(build.PATIENT, ipp=""), payload=PDF)
    ),
}


@pytest.mark.parametrize("rule", REFUSED)
def test_a_contradiction_is_refused(rule: str) -> None:
    """Nothing of such a mail goes to the DPI."""
    assert rule in rejecting(REFUSED[rule])
    received = receive(mail(archive_bytes=REFUSED[rule]))
    assert not received.accepted


def test_masked_to_professionals_stops_the_mail() -> None:
    """§2.1: MASQUE_PS should be N, otherwise the MDM must not be sent."""
    documents, rules = read(REFUSED["IN-MASKED"])
    assert documents[0].masked and rules == ["IN-MASKED"]


def test_a_replacement_by_both_ways_is_one() -> None:
    """C and an RPLC association agree."""
    documents, rules = read(_replacing(archive(Action.REPLACE, N1_V2)))
    assert documents[0].action is Action.REPLACE and rules == []


TOLERATED = {
    "IN-TYPE-DIFFERS": changed(
        archive(), r'(f0306f51-975f-434e-a61c-c59651d33983"[^>]*nodeRepresentation=")[^"]*', r"\g<1>11490-0"
    ),
    "IN-PATIENT-UNNAMED": changed(archive(), "urn:uuid:58a6f841-87b3-4a3e-92fd-a8ffeff98427", "urn:uuid:autre"),
    "IN-NO-INS": archive(Action.SUBMIT, build.cda_n1(with_ins=False, payload=PDF)),
    "IN-PATIENT-TRAITS": with_document(
        archive(Action.SUBMIT, N1, N3), build.cda_n3(patient=replace(build.PATIENT, birth_given="AUTRE")), 2
    ),
    "IN-ACTIONS-DIFFER": changed(archive(Action.DELETE, N1, N3), "<rim:Value>D</rim:Value>", "<rim:Value/>"),
}  # fmt: skip


@pytest.mark.parametrize("rule", TOLERATED)
def test_a_contradiction_is_tolerated_and_named(rule: str) -> None:
    _, rules = read(TOLERATED[rule])
    assert rules == [rule]


def test_a_replacement_sent_as_a_first_submission() -> None:
    """§1.7: our own outbound side does it when the replaced version never reached this recipient."""
    documents, rules = read(archive(Action.SUBMIT, N1_V2))
    assert documents[0].action is Action.SUBMIT and rules == ["IN-RPLC-ON-SUBMIT"]


def test_the_headers_of_the_mail_against_the_documents() -> None:
    """§1.2: X-MSS-CODECDA, X-MSS-INS, PDF copies."""
    assert rules_of(receive(mail().replace(b"CODECDA: 11502-2", b"CODECDA: 34133-9"))) == [
        "IN-CODECDA-DIFFERS"
    ]
    without = build.cda_n1(with_ins=False, payload=PDF)
    raw = mail(Action.SUBMIT, without).replace(b"X-MSS-INS: N", b"X-MSS-INS: O")
    assert rules_of(receive(raw)) == ["IN-NO-INS", "IN-INS-HEADER"]
    assert rules_of(receive(mail(pdfs=()))) == ["IN-PDF-ABSENT"]
    assert rules_of(receive(mail(pdfs=(b"%PDF-1.4 autre",)))) == ["IN-PDF-DIFFERS"]
    broken = build.cda_n1(payload=b"pas un pdf")
    assert rules_of(receive(mail(archive_bytes=with_document(archive(), broken)))) == ["IN-PDF-UNREADABLE"]
