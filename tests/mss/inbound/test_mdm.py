"""The MDM for the DPI, field by field, and its ACK. Source: spec/mssante.md §2.3, §2.4; official samples LPS v1.1."""

from __future__ import annotations

import base64
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from connectors.mss.inbound import answers, mdm
from connectors.mss.inbound.envelope import read_inbound
from connectors.mss.inbound.limits import InboundLimits
from connectors.mss.inbound.mdm import Mailbox, Parties, Route
from connectors.mss.inbound.reading import InboundDocument, Received
from connectors.port import OutcomeClass
from connectors.xds.registry import RegisteredDocument
from fixtures import build
from gateway.cda.header import read_header
from gateway.cda.reader import read
from gateway.errors import GatewayBug, Place
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action, Organisation, Person
from gateway.rules import Findings
from tests.mss import samples as outbound
from tests.mss.inbound import samples
from tests.mss.inbound.samples import N1, N1_V2, N3
from tests.official import official

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
ROUTE = Route("PFI-ESSAI", "HOPITAL-ESSAI", "DPI-ESSAI", "HOPITAL-ESSAI")


def made(received: Received, route: Route = ROUTE, **more: object) -> Message:
    (document,) = received.documents
    raw = mdm.build(document, received.mail, route, control_id="LPS0001", now=NOW, **more)  # type: ignore[arg-type]
    return Message.parse(raw)


def lines(message: Message) -> list[str]:
    return [s.raw.decode(message.encoding) for s in message.segments]


@pytest.mark.parametrize(
    ("action", "content", "event", "order", "status", "replaced"),
    [
        (Action.SUBMIT, N1, "T02", "NW", "F", ""),
        (Action.REPLACE, N1_V2, "T10", "RO", "C", f"{build.DOCUMENT_ROOT}.1.1"),
        (Action.DELETE, N1_V2, "T04", "CA", "D", ""),
    ],
)
def test_each_action_has_its_message(
    action: Action, content: bytes, event: str, order: str, status: str, replaced: str
) -> None:
    """§2.3: MSH-9, ORC-1, OBX-11, TXA-12, TXA-13."""
    message = made(samples.receive(samples.mail(action, content)))
    assert (message.event, message.structure) == (event, "MDM_T02")
    order_segment, txa, obx = message.first("ORC"), message.first("TXA"), message.first("OBX")
    assert order_segment is not None and txa is not None and obx is not None
    assert order_segment.value(1) == order and obx.value(11) == status
    assert txa.value(13) == replaced
    assert base64.b64decode(obx.piece(5, comp=5)) == content


def test_the_whole_message() -> None:
    """§2.3: only the segments and fields of the tables are filled, in their order."""
    raw = samples.mail(reply_to=(build.SECRETARIAT,))
    received = samples.receive(raw)
    patient = build.PATIENT
    body = base64.b64encode(received.mail.body.encode()).decode()
    assert lines(made(received)) == [
        "MSH|^~\\&|PFI-ESSAI|HOPITAL-ESSAI|DPI-ESSAI|HOPITAL-ESSAI|20260110093000+0000||MDM^T02^MDM_T02|LPS0001|P|2.6"
        "|||||FRA|UNICODE UTF-8|||1.1^CISIS_CDA_HL7_LPS",
        "EVN||20260110093000+0000",
        f"PID|||{patient.ins}^^^ASIP-SANTE-INS-NIR&{patient.ins_oid}&ISO^INS~{patient.ipp}^^^&{patient.ipp_oid}&ISO^PI"
        f"||TEST-DURAND^CAMILLE^CAMILLE ANDREA^^^^L~TEST-DURAND^^^^^^D||19841203|M|||^^^^^^BDL^^75123".replace(
            "TEST-DURAND^^^^^^D", _used(received)
        ),
        "PV1||N",
        "ORC|NW",
        "OBR||||11502-2^CR d'examens biologiques^LN",
        f"TXA|1|11502-2|TEXT|||||||||{build.DOCUMENT_ROOT}.1.1|||||AU",
        "OBX|1|ED|11502-2^CR d'examens biologiques^LN||^text^XML^Base64^"
        + base64.b64encode(N1).decode()
        + "||||||F",
        "PRT||UC||SB^Send by^participation|||||||||||^^X.400^passerelle@test-hopital.mssante.fr",
        f"PRT||UC||RCT^Result Copies To^participation|||||||||||^^X.400^{build.DR_MARTIN.address}",
        f"PRT||UC||REPLY^Reply To^participation|||||||||||^^X.400^{build.SECRETARIAT}",
        f"OBX|2|ED|{received.mail.message_id}^XDM/1.0/DDM+CR d'examens biologiques TEST-DURAND CAMILLE 03/12/1984"
        f"||^text^^Base64^{body}||||||F",
        "OBX|3|CWE|MASQUE_PS^Masqué aux professionnels de Santé^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F",
        "OBX|4|CWE|INVISIBLE_PATIENT^Document Non Visible par le patient^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F",
        "OBX|5|CWE|INVISIBLE_REP_LEGAUX^Non visible par les représentants Légaux du patient^MetaDMPMSS"
        "||N^^expandedYes-NoIndicator||||||F",
        "OBX|6|CWE|MODIF_CONF_CODE^Modification Confidentiality Code^MetaDMPMSS||N^^expandedYes-NoIndicator||||||F",
    ]


def _used(received: Received) -> str:
    patient = received.documents[0].document.header.patient
    assert patient is not None
    return f"{patient.used_family}^{patient.used_given}^^^^^D"


def test_what_a_directory_knows() -> None:
    """§2.3: PRT-5 of a professional, PRT-8 of a service, PRT-10 of an application."""
    parties = Parties(
        Mailbox(
            "a@b.fr", Person("801234567897", "HODA", "Adam", build.RPPS_ROOT, "RPPS"), application="LOGICIEL"
        ),
        (Mailbox("c@d.fr", organisation=Organisation("Service d'urologie", "120456789", "UF", "3435")),),
    )
    message = made(samples.receive(samples.mail()), parties=parties)
    assert [s.raw.decode() for s in message.all("PRT")] == [
        "PRT||UC||SB^Send by^participation|801234567897^HODA^Adam^^^^^^ASIP-SANTE-PS&1.2.250.1.71.4.2.1&ISO^^^^RPPS"
        "|||||LOGICIEL|||||^^X.400^a@b.fr",
        "PRT||UC||RCT^Result Copies To^participation||||Service d'urologie^^^^^120456789^UF^^^3435"
        "|||||||^^X.400^c@d.fr",
    ]


def test_flags_and_modified_confidentiality() -> None:
    """§2.3: Y when the code is among those of the metadata or of the CDA; MODIF_CONF_CODE against the last version."""
    flags = outbound.flags(invisible_patient=True, invisible_rep_legaux=True)
    received = samples.receive(samples.mail(Action.REPLACE, N1_V2, flags=flags))

    def values(previous: frozenset[str] | None) -> list[str]:
        return [o.value(5) for o in made(received, previous=previous).all("OBX")[2:]]

    assert values(None) == ["N", "Y", "Y", "N"]
    assert values(frozenset({"N"})) == ["N", "Y", "Y", "Y"]
    assert values(received.documents[0].confidentiality) == ["N", "Y", "Y", "N"]


def test_separators_in_texts_are_escaped() -> None:
    """§2.3: subject and Message-ID may hold anything."""
    raw = b"Subject: XDM/1.0/DDM+a|b^c~d&e\\f\r\nMessage-ID: <a&b|c@d>\r\n" + samples.mail(
        drop="Subject"
    ).replace(b"Message-ID:", b"X-Old-ID:", 1)
    message = made(samples.receive(raw))
    mail = message.all("OBX")[1]
    assert mail.value(3) == "<a&b|c@d>" and mail.value(3, comp=2) == "XDM/1.0/DDM+a|b^c~d&e\\f"
    assert len(message.segments) == 15


def test_the_charset_is_that_of_the_route() -> None:
    """§2.3: MSH-18; base64 of the mail's text in the same charset; the CDA's bytes never change."""
    message = made(samples.receive(samples.mail()), replace(ROUTE, charset="8859/15"))
    assert message.charset == "8859/15"
    assert "Masqué".encode("iso8859-15") in message.raw and "Masqué".encode() not in message.raw
    body = base64.b64decode(message.all("OBX")[1].piece(5, comp=5))
    assert body.decode("iso8859-15").startswith("Cher confrère")
    assert base64.b64decode(message.all("OBX")[0].piece(5, comp=5)) == N1


def test_an_identity_is_never_written_with_other_letters() -> None:
    """A name that 8859/15 cannot write: the message is UTF-8 and says so; a subject alone may be folded."""
    patient = replace(build.PATIENT, birth_family="ȘTEFĂNESCU", used_family="ȘTEFĂNESCU")
    content = build.cda_n1(patient=patient, payload=samples.PDF)
    latin = replace(ROUTE, charset="8859/15")
    message = made(samples.receive(samples.mail(Action.SUBMIT, content)), latin)
    pid = message.first("PID")
    assert message.charset == "UNICODE UTF-8" and pid is not None and pid.value(5) == "ȘTEFĂNESCU"
    raw = "Subject: XDM/1.0/DDM+CR Ștefan\r\n".encode() + samples.mail(drop="Subject")
    message = made(samples.receive(raw), latin)
    assert message.charset == "8859/15"
    assert message.all("OBX")[1].value(3, comp=2) == "XDM/1.0/DDM+CR Stefan"


def test_identifiers_with_extension() -> None:
    """§2.3: TXA-12 `ext^^root^ISO`, TXA-13 the same form."""
    content = build.cda_n1(
        uid="1.2.250.1.999.7^AB-2", version=2, replaces="1.2.250.1.999.7^AB-1", payload=samples.PDF
    )
    txa = made(samples.receive(samples.mail(Action.REPLACE, content))).first("TXA")
    assert txa is not None
    assert (txa.field(12), txa.field(13)) == (b"AB-2^^1.2.250.1.999.7^ISO", b"AB-1^^1.2.250.1.999.7^ISO")


def test_two_documents_are_two_messages() -> None:
    """§2.1: one MDM is one document."""
    received = samples.receive(samples.mail(Action.SUBMIT, N1, N3))
    found = [
        Message.parse(mdm.build(d, received.mail, ROUTE, control_id=f"L{n}", now=NOW))
        .all("OBX")[0]
        .piece(5, comp=5)
        for n, d in enumerate(received.documents)
    ]
    assert [base64.b64decode(f) for f in found] == [N1, N3]


def test_a_masked_document_is_our_bug() -> None:
    """§2.1: MASQUE_PS: the stop does not hang on the caller alone."""
    received = samples.receive(samples.mail())
    (document,) = received.documents
    masked = replace(
        document, entry=replace(document.entry, confidentiality=(_code("MASQUE_PS"),), element=None)
    )
    with pytest.raises(GatewayBug) as e:
        mdm.build(masked, received.mail, ROUTE, control_id="1", now=NOW)
    assert build.PATIENT.ins not in str(e.value)


def _code(code: str) -> object:
    from connectors.xds.model import XdsCode

    return XdsCode(code, "1.2.250.1.213.1.1.4.13", code)


def test_a_big_document_is_held_once_more_as_text_only() -> None:
    """The base64 text is 4/3 of the document; nothing else of its size is made."""
    received = samples.receive(samples.mail())
    (document,) = received.documents
    size = 12_000_000
    big = replace(document, document=replace(document.document, content=bytes(size)))
    tracemalloc.start()
    raw = mdm.build(big, received.mail, ROUTE, control_id="1", now=NOW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(raw) > size * 4 / 3
    # the buffer grows by an eighth at a time
    assert peak < size * 4 / 3 * 1.3 + 4_000_000


# --- the official sample ------------------------------------------------------------------------------------


def _official() -> tuple[Message, InboundDocument]:
    raw = official("hl7", "lps-v1.1", "message_MDM__LPS_MSS_CR_Radio_INIT_N1_Base64.er7").read_bytes()
    message = Message.parse(raw)
    text = message.all("OBX")[0].piece(5, comp=5)
    content = base64.b64decode(text + b"=" * (-len(text) % 4))
    result = read(content, samples.BOOK, Place("DOC"))
    assert result.clinical_document is not None
    (ours,) = samples.receive(samples.mail()).documents
    header = read_header(result.clinical_document)
    document = replace(ours.document, header=header, content=content)
    entry: RegisteredDocument = replace(
        ours.entry, confidentiality=(_code("INVISIBLE_PATIENT"), _code("INVISIBLE_REPRESENTANTS_LEGAUX")), element=None
    )  # fmt: skip
    return message, replace(ours, document=document, entry=entry)


FIXED = (
    ("MSH", 1, (1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 17, 18, 21)),
    ("PID", 1, (5, 7, 8)),
    ("PV1", 1, (2,)),
    ("ORC", 1, (1,)),
    ("OBR", 1, (4,)),
    ("TXA", 1, (1, 2, 3, 17)),
    ("OBX", 1, (1, 2, 3, 11)),
    ("OBX", 2, (1, 2, 3, 5, 11)),
    ("OBX", 3, (1, 2, 3, 5, 11)),
    ("OBX", 4, (1, 2, 3, 5, 11)),
    ("OBX", 5, (1, 2, 3, 5, 11)),
    ("OBX", 6, (1, 2, 3, 5, 11)),
    ("PRT", 1, (2, 8, 10, 15)),
    ("PRT", 2, (2, 5, 8, 10, 15)),
    ("PRT", 3, (2, 5, 8, 10, 15)),
)
"""Segment, occurrence, fields that must be byte for byte those of the official T02. Left out, with their reasons (spec
§6): dates; the addresses and PID-18, PID-32, OBR-1, PV1-1, TXA-4, TXA-22, EVN-5 that its tables do not ask for;
TXA-12.2 that must be empty; PRT-4.2 (empty there, `Send by` in the tables)."""


@pytest.mark.official
def test_our_mdm_equals_the_official_one() -> None:
    """§2.3, §6: our T02 equals the official T02 field by field for what the profile fixes."""
    theirs, document = _official()
    subject = theirs.all("OBX")[1].value(3, comp=2)
    raw = f"From: x@y.fr\r\nMessage-ID: 1\r\nSubject: {subject}\r\n\r\nCorps du courriel".encode()
    mail = read_inbound(raw, InboundLimits(), Findings(samples.BOOK))
    person = Person("801234564895", "Eric", "Thomas", "1.2.250.1.71.4.2.1", "IDNPS")
    service = Organisation("Service d'urolgie", "120456789", "UF", "3435")
    parties = Parties(
        Mailbox("thomas.eric@medecin.mssante.fr", person),
        (Mailbox("dpi@hopitalA.mssante.fr", organisation=service),),
        ("adam.hoda@test-ci-sis.mssante.fr",),
    )
    route = Route("PFI-Y", "Organisation-Y", "RIS-Y", "Organisation-X")
    ours = Message.parse(mdm.build(document, mail, route, control_id="015", now=NOW, parties=parties))
    assert [s.name for s in ours.segments] == [s.name for s in theirs.segments]
    for name, occurrence, fields in FIXED:
        mine, its = ours.all(name)[occurrence - 1], theirs.all(name)[occurrence - 1]
        for number in fields:
            assert mine.field(number) == its.field(number).strip(), f"{name}({occurrence})-{number}"
    mine, its = ours.all("PRT")[0], theirs.all("PRT")[0]
    assert [mine.value(5, comp=c) for c in (1, 2, 3, 13)] == [its.value(5, comp=c) for c in (1, 2, 3, 13)]
    assert mine.value(5, comp=9, sub=2) == its.value(5, comp=9, sub=2)
    pid, official_pid = ours.all("PID")[0], theirs.all("PID")[0]
    # CX.7, the date of the identifier, is not in a CDA
    assert official_pid.field(3).startswith(pid.field(3)) and pid.value(3, comp=5) == "INS"
    assert pid.field(11) == official_pid.field(11).split(b"~")[-1]
    assert ours.all("TXA")[0].value(12) == theirs.all("TXA")[0].value(12)
    assert ours.all("OBX")[0].piece(5, comp=5).rstrip(b"=") == theirs.all("OBX")[0].piece(5, comp=5)


# --- the answer ---------------------------------------------------------------------------------------------


def ack(code: str, *errors: str, about: str = "LPS0001") -> bytes:
    head = "MSH|^~\\&|DPI|CHU|PFI|CHU|20260110||ACK^T02^ACK|77|P|2.6|||||FRA|UNICODE UTF-8"
    return "\r".join([head, f"MSA|{code}|{about}", *errors, ""]).encode()


def err(err3: str, err5: str = "", severity: str = "E") -> str:
    return f"ERR||PID^1^3|{err3}^x^messageErrorCondition|{severity}|{err5}"


@pytest.mark.parametrize(
    ("raw", "kind", "code"),
    [
        (ack("AA"), OutcomeClass.SUCCESS, "AA"),
        (ack("AE", err("207", "902^x^applicationErrorCode", " E")), OutcomeClass.PERMANENT, "902"),
        (ack("AE", err("207", "906"), err("207", "904")), OutcomeClass.PERMANENT, "904"),
        (ack("AE", err("207", "902", "W"), err("207", "905")), OutcomeClass.PERMANENT, "905"),
        (ack("AE", err("101")), OutcomeClass.PERMANENT, "906"),
        (ack("AE", err("101", "902")), OutcomeClass.PERMANENT, "906"),
        (ack("AE", err("207", "950")), OutcomeClass.PERMANENT, "906"),
        (ack("AE"), OutcomeClass.PERMANENT, "906"),
        (ack("AR", err("207", "906")), OutcomeClass.TRANSIENT, "AR"),
        (ack("AA", about="AUTRE"), OutcomeClass.TRANSIENT, "MSA-2"),
        (ack("AA", about=""), OutcomeClass.TRANSIENT, "MSA-2"),
        (ack("CA"), OutcomeClass.TRANSIENT, "MSA-1"),
        (ack("XX"), OutcomeClass.TRANSIENT, "ACK"),
        (b"", OutcomeClass.TRANSIENT, "ACK"),
        (b"\xff\xfe", OutcomeClass.TRANSIENT, "ACK"),
    ],
)  # fmt: skip
def test_the_answer_of_the_dpi(raw: bytes, kind: OutcomeClass, code: str) -> None:
    """§2.4, §3.2: AA, AE, AR; technical codes become 906; an answer to another message says nothing."""
    outcome = answers.judge(raw, "LPS0001")
    assert (outcome.outcome, outcome.code) == (kind, code)
    assert outcome.label


@pytest.mark.official
def test_the_official_ack() -> None:
    """§2.4: `ack.er7` answers the official message 015."""
    raw = official("hl7", "lps-v1.1", "ack.er7").read_bytes()
    assert answers.judge(raw, "015").outcome is OutcomeClass.SUCCESS
    assert answers.judge(raw, "016").outcome is OutcomeClass.TRANSIENT


def test_the_words_of_the_dpi_stay_out() -> None:
    """The texts of an ERR may quote a patient: codes only are kept."""
    raw = ack(
        "AE",
        err("207", "902^Patient DURAND inconnu") + "||DURAND|DURAND CAMILLE inconnue",
        err("DURAND JEAN"),
    )
    outcome = answers.judge(raw, "LPS0001")
    assert "DURAND" not in repr(outcome) and outcome.details == {"errors": ["207/902"]}
    error = answers.error_of_outcome(outcome)
    assert error.code == "902" and "Code d'erreur du DPI : 207/902" in error.reasons


def test_the_error_of_findings() -> None:
    """§2.2: the gateway's own refusals have a code of table 0533 too; a precise one is preferred to 906."""
    rejected = samples.receive(samples.mail(archive_bytes=samples.zipped({"A.TXT": b"x"})))
    error = answers.error_of_findings(rejected.findings)
    assert error.code == "906" and error.reasons == (
        "METADATA.XML est absent de l'archive. (IN-NO-METADATA)",
    )
    findings = Findings(samples.BOOK)
    findings.add("IN-HASH")
    findings.add("IN-REPLACED-ABSENT")
    assert answers.error_of_findings(findings).code == "900"
