"""The ACK (volet Transmission v2.1, §ACK): built byte by byte, and read back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from gateway.errors import Finding, GatewayBug, MessageUnreadable, Place, Severity
from gateway.hl7.acknowledgement import AckError, build, build_for_head, read
from gateway.hl7.framing import HEAD_SIZE
from gateway.hl7.message import Message
from gateway.hl7.second_opinion import lint
from tests.hl7 import messages as m
from tests.official import official

NOW = datetime(2026, 1, 10, 9, 30, 1, tzinfo=timezone(timedelta(hours=1)))
ACTION = Finding(
    "ACTION-DISAGREES", Severity.REJECT, "207", "906", "Désaccord | entre ^ champs.", Place("OBX", 1, 11)
)
REQUIRED = Finding("MSH-REQUIRED", Severity.REJECT, "101", None, "MSH-17 absent.", Place("MSH", 1, 17))
WARNING = Finding("MSG-LINE-ENDS", Severity.WARN, "199", None, "Fins de ligne.", Place("MSH"))
NOWHERE = Finding("EXC-DEADLINE", Severity.REJECT, "207", "906", "Délai dépassé.")


def ack(raw: bytes, code: str, *findings: Finding, extended: bool = True) -> list[str]:
    built = build(Message.parse(raw), code, findings, "ACK1", NOW, extended)
    assert built.endswith(b"\r")
    return built.decode().removesuffix("\r").split("\r")


def test_aa_of_an_mdm() -> None:
    assert ack(m.MDM, "AA") == [
        "MSH|^~\\&|PFI-ESSAI|HOPITAL-ESSAI|SIL-ESSAI|HOPITAL-ESSAI|20260110093001+0100||ACK^T02^ACK|ACK1|T|2.6"
        "|||||FRA|UNICODE UTF-8",
        "MSA|AA|MSG00001",
    ]


@pytest.mark.parametrize(
    ("raw", "event", "version"),
    [(m.MDM, "T02", "2.6"), (m.REPLACEMENT, "T10", "2.6"), (m.DELETION, "T04", "2.6"), (m.ORU, "R01", "2.5")],
)
def test_event_and_version_are_those_of_the_message(raw: bytes, event: str, version: str) -> None:
    header = ack(raw, "AA")[0].split("|")
    assert (header[8], header[11]) == (f"ACK^{event}^ACK", version)


def test_one_err_per_rejecting_finding_and_no_warning() -> None:
    assert ack(m.MDM, "AE", WARNING, REQUIRED, ACTION)[2:] == [
        "ERR||MSH^1^17|101^Required field missing^messageErrorCondition|E|||MSH-REQUIRED|MSH-17 absent.",
        "ERR||OBX^1^11|207^Application error^messageErrorCondition|E"
        "|906^Autre erreur applicative^applicationErrorCondition||ACTION-DISAGREES"
        "|Désaccord \\F\\ entre \\S\\ champs.",
    ]


def test_an_aa_never_has_an_err() -> None:
    assert len(ack(m.MDM, "AA", WARNING, REQUIRED)) == 2


def test_ar_has_its_circumstance() -> None:
    assert ack(m.MDM, "AR", NOWHERE)[1:] == [
        "MSA|AR|MSG00001",
        "ERR|||207^Application error^messageErrorCondition|E"
        "|906^Autre erreur applicative^applicationErrorCondition||EXC-DEADLINE|Délai dépassé.",
    ]


def test_err_5_7_and_8_can_be_left_out() -> None:
    assert ack(m.MDM, "AE", ACTION, extended=False)[2:] == [
        "ERR||OBX^1^11|207^Application error^messageErrorCondition|E"
    ]


def test_charset_of_the_message_is_kept() -> None:
    raw = m.MDM.replace(b"UNICODE UTF-8", b"8859/15").decode().encode("iso8859-15")
    built = build(Message.parse(raw), "AE", [ACTION], "ACK1", NOW)
    assert b"|8859/15\r" in built
    assert "Désaccord" in built.decode("iso8859-15")
    assert read(built).errors[0].text == "Désaccord | entre ^ champs."


@pytest.mark.parametrize(("charset", "text"), [("ASCII", "Desaccord"), ("KLINGON", "Désaccord")])
def test_a_charset_that_lacks_our_words_or_is_unknown(charset: str, text: str) -> None:
    raw = b"MSH|^~\\&|A|B|C|D|1||MDM^T02|ID|P|2.6||||||" + charset.encode() + b"\r"
    built = build(Message.parse(raw), "AE", [ACTION], "ACK1", NOW)
    assert text.encode() in built
    assert read(built).errors[0].text.startswith(text)


def test_what_is_echoed_is_echoed_byte_for_byte() -> None:
    r"""MSH-3 to 6 may have components and escapes, MSH-10 anything; separators are those of the message."""
    raw = rb"MSH$*~\&$APP*1.2.3*ISO$F\S\C$R*x$G$1$$MDM*T02$ID \F\ 7$P*T$2.6*FRA" + b"\r"
    lines = build(Message.parse(raw), "AE", [ACTION], "ACK1", NOW).decode().split("\r")
    assert lines[0].startswith(r"MSH$*~\&$R*x$G$APP*1.2.3*ISO$F\S\C$2026")
    assert r"$ACK*T02*ACK$ACK1$P*T$2.6*FRA$" in lines[0]
    assert lines[1] == r"MSA$AE$ID \F\ 7"
    assert lines[2].startswith("ERR$$OBX*1*11$207*Application error*messageErrorCondition$E$906*")


def test_a_text_longer_than_err_8_is_cut() -> None:
    long = Finding("X", Severity.REJECT, "199", None, "é" * 300)
    assert len(ack(m.MDM, "AE", long)[2].split("|")[8]) == 250


def test_a_poor_header_still_gets_its_ack() -> None:
    assert build(Message.parse(b"MSH|^~\\&|A"), "AE", [REQUIRED], "1", NOW).decode().split("\r")[:2] == [
        "MSH|^~\\&|||A||20260110093001+0100||ACK|1|P|2.6|||||FRA|UNICODE UTF-8",
        "MSA|AE|",
    ]


def test_an_unknown_code_is_our_bug() -> None:
    with pytest.raises(GatewayBug):
        ack(m.MDM, "CA")


def test_the_standard_agrees_with_what_we_build() -> None:
    for raw in (m.MDM, m.ORU):
        for code, findings in (("AA", ()), ("AE", (ACTION, REQUIRED)), ("AR", (NOWHERE,))):
            built = build(Message.parse(raw), code, findings, "ACK1", datetime.now(UTC))
            assert lint(Message.parse(built)) == []


# --- a head only ----------------------------------------------------------------------------------------------


def test_head_of_a_too_long_message_is_addressed() -> None:
    head = m.put(m.MDM, "OBX^1^5^1^5", "QUJD" * 2000)[:HEAD_SIZE]
    answer = read(build_for_head(head, "AE", [REQUIRED], "ACK1", NOW))
    assert (answer.code, answer.acknowledged, answer.event) == ("AE", "MSG00001", "T02")


@pytest.mark.parametrize("cut", range(8, 90))
def test_a_cut_header_never_gives_half_a_control_id(cut: int) -> None:
    line = b"MSH|^~\\&|APP|FAC|RAPP|RFAC|20260101||MDM^T02^MDM_T02|CONTROLID|P|2.6|||||FRA|UNICODE UTF-8"
    answer = read(build_for_head(line[:cut], "AE", [], "ACK1", NOW))
    assert answer.acknowledged in {"", "CONTROLID"}
    assert (answer.acknowledged == "CONTROLID") == (cut > line.index(b"CONTROLID|") + len("CONTROLID"))


@pytest.mark.parametrize("head", [b"", b"PID|1", b"MSH", b"MSH|", b"GET / HTTP/1.1\r\n"])
def test_nobody_to_answer(head: bytes) -> None:
    with pytest.raises(MessageUnreadable):
        build_for_head(head, "AE", [], "ACK1", NOW)


# --- reading --------------------------------------------------------------------------------------------------


def test_what_we_build_reads_back() -> None:
    answer = read(build(Message.parse(m.MDM), "AE", [ACTION, REQUIRED], "ACK1", NOW))
    assert (answer.code, answer.acknowledged, answer.control_id, answer.event) == (
        "AE",
        "MSG00001",
        "ACK1",
        "T02",
    )
    assert not answer.accepted
    assert answer.errors == (
        AckError(
            "OBX^1^11",
            "207",
            "Application error",
            "E",
            "906",
            "Autre erreur applicative",
            "ACTION-DISAGREES",
            "Désaccord | entre ^ champs.",
        ),
        AckError("MSH^1^17", "101", "Required field missing", "E", "", "", "MSH-REQUIRED", "MSH-17 absent."),
    )


def test_reading_tolerates_line_feeds_and_blanks() -> None:
    """ERR-4 is ` E` in the official text of the other volet; files end lines with LF."""
    raw = b"MSH|^~\\&|A|B|C|D|1||ACK^T02^ACK|9|P|2.6\nMSA| aa |015 |ok\nERR||PID^1^3|207 ^x| E|902^y^z\n"
    answer = read(raw)
    assert (answer.code, answer.acknowledged, answer.text) == ("AA", "015", "ok")
    assert answer.accepted
    assert (answer.errors[0].err3, answer.errors[0].severity, answer.errors[0].err5) == ("207", "E", "902")


@pytest.mark.parametrize(
    "raw", [b"", b"MSH|^~\\&|A\r", b"MSH|^~\\&|A\rMSA|XX|1\r", b"MSH|^~\\&|A\rMSA||1\r", b"hello"]
)
def test_what_is_no_acknowledgement(raw: bytes) -> None:
    with pytest.raises(MessageUnreadable):
        read(raw)


@pytest.mark.official
@pytest.mark.parametrize(
    ("path", "event"),
    [
        ("hl7/transmission-v2.1/mdm/ack_RPLC.er7", "T10"),
        ("hl7/transmission-v2.1/oru/ack_INIT.er7", "R01"),
        ("hl7/lps-v1.1/ack.er7", "T02"),
    ],
)
def test_official_acks_are_read(path: str, event: str) -> None:
    answer = read(official(path).read_bytes())
    assert (answer.code, answer.acknowledged, answer.control_id, answer.event) == ("AA", "015", "016", event)


@pytest.mark.official
def test_our_ack_of_the_official_replacement_is_the_official_ack() -> None:
    """Segment by segment, the date and trailing empty fields apart."""
    message = official("hl7/transmission-v2.1/mdm/message_MDM_CR_Radio_RPLC_N1.er7").read_bytes()
    expected = (
        official("hl7/transmission-v2.1/mdm/ack_RPLC.er7").read_text(encoding="utf-8").strip().split("\n")
    )
    ours = build(Message.parse(message), "AA", [], "016", NOW).decode().strip("\r").split("\r")
    for own, official_segment in zip(ours, expected, strict=True):
        own_fields, their_fields = own.split("|"), official_segment.split("|")
        if own.startswith("MSH"):
            own_fields[6] = their_fields[6]
        assert own_fields == their_fields
