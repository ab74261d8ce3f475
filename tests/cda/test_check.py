"""From a message to its documents: exact bytes, everything found in one go, place of the findings."""

from __future__ import annotations

import base64
import hashlib

import pytest

from fixtures import make
from fixtures.build import DOCUMENT_ROOT, Patient, cda_n1, cda_n3, mdm, oru, pdf
from gateway.cda.check import check_content
from gateway.cda.reader import CdaLimits
from gateway.errors import Place
from gateway.hl7.transmission import INS_DEMO, INS_NIR, INS_TEST
from tests.cda.support import BOOK, BOOKS, OBX, passed, rejecting, rules
from tests.official import official


def test_the_document_is_the_bytes_that_were_sent() -> None:
    """Document: named by the SHA-256 of exactly what the base64 carries."""
    cda = cda_n1(payload=pdf(150_000))
    _, check = passed(mdm("T02", cda))
    (document,) = check.documents
    assert document.content == cda
    assert document.sha256 == hashlib.sha256(cda).hexdigest()
    assert document.uid == f"{DOCUMENT_ROOT}.1.1"
    assert check.findings == []


def test_what_is_not_a_cda_is_102_at_obx_5() -> None:
    """The official placeholder `Document medical au format CDA niveau 1` must be answered at OBX^1^5."""
    _, check = passed(make.messages()["mdm_t02_not_a_cda"])
    (finding,) = check.findings
    assert (finding.rule, finding.err3, finding.rejects) == ("CDA-NOT-XML", "102", True)
    assert finding.place is not None
    assert finding.place.erl() == "OBX^1^5"
    assert check.documents == ()


def with_payload(text: bytes) -> bytes:
    """A message whose OBX-5.5 is `text`."""
    cda = cda_n1()
    return mdm("T02", cda).replace(base64.b64encode(cda), text)


@pytest.mark.parametrize("text", [b"@@@@", b"abcde", base64.b64encode(cda_n1())[:-7]])
def test_unreadable_base64_is_102(text: bytes) -> None:
    _, check = passed(with_payload(text))
    (finding,) = check.findings
    assert (finding.rule, finding.err3, finding.place) == ("CDA-B64", "102", Place("OBX", 1, 5))
    assert check.documents == ()


def test_missing_padding_is_repaired_and_told() -> None:
    cda = cda_n1() + b"\n" * (3 - (len(cda_n1()) + 1) % 3)
    assert base64.b64encode(cda).endswith(b"=")
    raw = mdm("T02", cda).replace(base64.b64encode(cda), base64.b64encode(cda).rstrip(b"="))
    _, check = passed(raw)
    assert rules(check.findings) == ["CDA-B64-PADDING"]
    assert not check.findings.rejects
    assert check.documents[0].content == cda


def test_both_documents_of_an_oru_are_checked_and_placed() -> None:
    """Everything in one go: an unreadable first document does not hide the faults of the second."""
    first, second = cda_n1(uid=f"{DOCUMENT_ROOT}.2.1"), cda_n3(set_id=None)
    raw = oru("submit", [first, second]).replace(base64.b64encode(first), base64.b64encode(b"pas un CDA"))
    _, check = passed(raw)
    assert [(f.rule, f.place) for f in check.findings] == [
        ("CDA-NOT-XML", Place("OBX", 1, 5)),
        ("CDA-H14", Place("OBX", 2, 5)),
    ]
    assert [d.part for d in check.documents] == [1]


def test_header_and_coherence_faults_come_together() -> None:
    raw = mdm("T02", cda_n1(set_id=None, title=""), document_id="1.2.3")
    assert rejecting(passed(raw)[1].findings) == ["CDA-H10", "CDA-H14", "CDA-M01-ID"]


def test_the_size_limit_is_known_before_decoding() -> None:
    raw = mdm("T02", cda_n1(payload=pdf(20_000)))
    _, check = passed(raw, limits=CdaLimits(max_bytes=10_000))
    assert rejecting(check.findings) == ["CDA-SIZE"]
    assert check.documents == ()


def test_a_t04_carries_the_document_and_is_checked_for_identity() -> None:
    messages = make.messages()
    _, check = passed(messages["mdm_t04_n1"])
    assert check.findings == []
    assert check.documents[0].content == make.documents()["cr_bio_n1_v2"]


@pytest.mark.official
@pytest.mark.parametrize(
    "name",
    [
        "mdm/message_MDM_CR_Radio_INIT_N1_Base64.er7",
        "mdm/message_MDM_CR_Radio_RPLC_N1.er7",
        "oru/message_ORU_CR_Bio_INIT_N3_SEGUR.hl7",
    ],
)
def test_official_messages_pass_this_room_in_interop(name: str) -> None:
    raw = official("hl7", "transmission-v2.1", *name.split("/")).read_bytes()
    _, check = passed(raw, "interop")
    assert rejecting(check.findings) == []
    assert len(check.documents) == 1


@pytest.mark.official
def test_the_official_placeholder_is_refused_in_both_presets() -> None:
    raw = official("hl7", "transmission-v2.1", "mdm", "message_MDM_CR_Radio_INIT_N1.er7").read_bytes()
    assert rejecting(passed(raw, "interop")[1].findings) == ["CDA-NOT-XML"]
    assert rejecting(passed(raw, "production")[1].findings) == ["CDA-NOT-XML"]


def test_one_document_is_checked_without_any_message() -> None:
    """The seam of `segur-gateway validate` and of the further layers: document, findings, tree."""
    checked = check_content(cda_n1(), BOOK, OBX, dmp=True)
    assert checked.document is not None
    assert checked.document.content == cda_n1()
    assert checked.root is not None
    assert checked.root.tag == "{urn:hl7-org:v3}ClinicalDocument"
    assert checked.findings == []
    unreadable = check_content(b"pas un CDA", BOOK, OBX)
    assert (unreadable.document, unreadable.root) == (None, None)
    assert rejecting(unreadable.findings) == ["CDA-NOT-XML"]


@pytest.mark.parametrize("oid", [INS_TEST, INS_DEMO])
def test_a_test_identity_is_refused_in_production_only(oid: str) -> None:
    """Test and demonstration domains of the INS in the document when MSH-11 = P."""
    document = cda_n1(patient=Patient(ins_oid=oid))
    for processing, wanted in (("P", ["CDA-I01-DOMAIN"]), ("T", []), ("D", []), (None, [])):
        assert rejecting(check_content(document, BOOK, OBX, processing=processing).findings) == wanted
    (told,) = check_content(document, BOOKS["interop"], OBX, processing="P").findings
    assert (told.rule, told.rejects) == ("CDA-I01-DOMAIN", False)
    assert (
        rules(check_content(cda_n1(patient=Patient(ins_oid=INS_NIR)), BOOK, OBX, processing="P").findings)
        == []
    )
