"""The official samples of the volet Transmission v2.1: let through with named warnings in `interop`, judged in
`production` (spec/hl7-transmission.md §5, spec/mssante.md §1.1)."""

from __future__ import annotations

import pytest

from gateway.hl7.base64text import decode
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action
from tests.hl7 import messages as m
from tests.official import official

INIT = "mdm/message_MDM_CR_Radio_INIT_N1_Base64.er7"
RPLC = "mdm/message_MDM_CR_Radio_RPLC_N1.er7"
PLACEHOLDER = "mdm/message_MDM_CR_Radio_INIT_N1.er7"
ORU = "oru/message_ORU_CR_Bio_INIT_N3_SEGUR.hl7"

COMMON = {"MSG-LINE-ENDS", "PID3-TEST-INS", "PRT-BLANKS"}
WARNINGS = {
    INIT: COMMON | {"TXA-ID-ORGANISATION", "ROUTE-TABLE"},
    RPLC: COMMON | {"TXA-ID-ORGANISATION", "ROUTE-TABLE", "OPTIONAL-AUTHORITY"},
    PLACEHOLDER: COMMON | {"ROUTE-TABLE", "OPTIONAL-AUTHORITY"},
    ORU: COMMON | {"BODY-BASE64", "PATIENT-ADDRESS-INS", "OPTIONAL-AUTHORITY"},
}
REJECTS = {
    INIT: {"PID3-TEST-INS", "ROUTE-TABLE"},
    RPLC: {"PID3-TEST-INS", "ROUTE-TABLE"},
    PLACEHOLDER: {"PID3-TEST-INS", "ROUTE-TABLE"},
    ORU: {"PID3-TEST-INS", "BODY-BASE64", "PATIENT-ADDRESS-INS"},
}
pytestmark = pytest.mark.official


def raw_of(name: str) -> bytes:
    return official("hl7", "transmission-v2.1", *name.split("/")).read_bytes()


@pytest.mark.parametrize("name", WARNINGS)
def test_interop_lets_it_through_with_named_warnings(name: str) -> None:
    reading = m.read(raw_of(name), "interop")
    assert not reading.findings.rejects
    assert {f.rule for f in reading.findings} == WARNINGS[name]
    assert reading.transmission is not None


@pytest.mark.parametrize("name", REJECTS)
def test_production_judges_it(name: str) -> None:
    assert m.rejecting(m.read(raw_of(name))) == REJECTS[name]


@pytest.mark.parametrize(
    ("name", "action", "start"),
    [
        (INIT, Action.SUBMIT, b"<ClinicalDocument"),
        (RPLC, Action.REPLACE, b"<ClinicalDocument"),
        (ORU, Action.SUBMIT, b"<?xml"),
    ],
)
def test_the_document_is_where_the_transmission_says(name: str, action: Action, start: bytes) -> None:
    raw = raw_of(name)
    reading = m.read(raw, "interop")
    assert reading.transmission is not None
    assert reading.transmission.action is action
    (part,) = reading.transmission.parts
    message = Message.parse(raw)
    content = decode(memoryview(message.raw)[part.offset : part.offset + part.length]).content
    assert content.startswith(start)
    assert content.rstrip().endswith(b"</ClinicalDocument>")


def test_recipients_of_the_oru_sample() -> None:
    t = m.read(raw_of(ORU), "interop").transmission
    assert t is not None
    assert [len(t.recipients_ps), len(t.recipients_patient), len(t.reply_to)] == [1, 1, 1]
    assert t.body_ps is not None
    assert t.body_ps.text.startswith("Cher confrère, ")
