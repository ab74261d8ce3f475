"""ZAM^Z01, Z02, Z03 (volet Transmission v2.1; spec/hl7-transmission.md §3)."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from gateway.hl7.message import Message
from gateway.hl7.second_opinion import lint
from gateway.hl7.tables import APPLICATION_ERRORS, MESSAGE_ERRORS, SMTP_ERRORS, label, table
from gateway.hl7.zam import Envelope, ZamError, build_z01, build_z02, build_z03
from tests.hl7 import messages as m
from tests.official import official

_CODES_0357 = "0 100 101 102 103 198 199 200 201 202 203 207"
_CODES_SMTP = (
    "101 111 251 252 420 421 422 431 432 441 442 450 451 452 500 501 502 503 504 510 512 513 523 530 541 "
    "550 551 552 553 554"
)
NOW = datetime(2021, 6, 6, 9, 33, tzinfo=UTC)
OCCURRED = datetime(2021, 10, 5, 15, 29, 8, tzinfo=UTC)
ENVELOPE = Envelope("PFI-X", "Organisation-X", "SIL-Y", "labo")
ADDRESS = "adam.hoda@test-ci-sis.mssante.fr"

OFFICIAL = {
    "zam_z01_reception_dmp.er7": build_z01(
        ENVELOPE,
        control_id="017",
        answered="015",
        now=NOW,
        occurred=OCCURRED,
        error=ZamError("DMPClosed", "DMP fermé"),
        error_table="DMPERRORCODE",
    ),
    "zam_z02_reception_mss.er7": build_z02(
        ENVELOPE,
        control_id="018",
        answered="015",
        now=NOW,
        occurred=OCCURRED,
        address=ADDRESS,
        recipient_id="801234567897",
    ),
    "zam_z03_lecture_mss.er7": build_z03(
        ENVELOPE,
        control_id="019",
        answered="015",
        now=NOW,
        occurred=OCCURRED,
        address=ADDRESS,
        recipient_id="801234567897",
    ),
}


def trimmed(segment: str) -> list[str]:
    fields = segment.rstrip("|").split("|")
    if fields[0] == "MSH":
        # The official samples have no seconds and no offset.
        fields[6] = ""
    elif fields[0] == "EVN":
        fields[2] = ""
    return fields


@pytest.mark.official
@pytest.mark.parametrize("name", OFFICIAL)
def test_same_segments_as_the_official_samples(name: str) -> None:
    """Dates apart, and the label of 207: the sample says "internal", the profile's table does not."""
    theirs = official("hl7", "zam", name).read_text(encoding="utf-8").strip().split("\n")
    ours = OFFICIAL[name].decode().strip("\r").split("\r")
    assert [trimmed(s) for s in ours] == [
        trimmed(s.replace("Application internal error", "Application error")) for s in theirs
    ]


def test_z01_accepted_has_no_err() -> None:
    built = build_z01(ENVELOPE, control_id="1", answered="015", now=NOW, occurred=OCCURRED)
    assert (
        built
        == (
            "MSH|^~\\&|PFI-X|Organisation-X|SIL-Y|labo|20210606093300+0000||ZAM^Z01^ZAM_Z01|1|P|2.6"
            "|||||FRA|UNICODE UTF-8|||2.1^CISIS_CDA_HL7_V2\r"
            "EVN||20211005152908+0000\r"
            "OBX|1|CWE|ACK_RECEPTION_DMP^Accusé de réception DMP^AckMetierZAM|015|Y^^expandedYes-NoIndicator||||||F\r"
        ).encode()
    )


def test_z01_refused_names_the_table_of_the_profile() -> None:
    built = build_z01(
        ENVELOPE,
        control_id="1",
        answered="015",
        now=NOW,
        occurred=OCCURRED,
        error=ZamError("DMPAccessDenied", "Accès | refusé"),
    )
    read = Message.parse(built)
    assert read.segments[2].text(5) == "N"
    err = read.segments[3]
    assert err.field(3) == b"207^Application error^messageErrorCondition"
    assert [err.text(5, comp=c) for c in (1, 2, 3)] == ["DMPAccessDenied", "Accès | refusé", "DMP_ERROR_CODE"]
    assert err.text(4) == "E"


def test_z02_refused_takes_our_label_when_the_server_gave_none() -> None:
    def err5(error: ZamError) -> tuple[str, ...]:
        built = build_z02(
            ENVELOPE, control_id="1", answered="015", now=NOW, occurred=OCCURRED, address=ADDRESS, error=error
        )
        err = Message.parse(built).segments[-1]
        return tuple(err.text(5, comp=c) for c in (1, 2, 3))

    assert err5(ZamError("550")) == ("550", "Boîte inexistante ou inaccessible", "SMTPERRORCODE")
    assert err5(ZamError("550", "No such user")) == ("550", "No such user", "SMTPERRORCODE")
    assert err5(ZamError("599")) == ("599", "", "SMTPERRORCODE")


def test_z02_recipient_id_is_optional_and_texts_are_escaped() -> None:
    built = build_z02(
        ENVELOPE, control_id="1", answered="0^15", now=NOW, occurred=OCCURRED, address="a&b@test.mssante.fr"
    )
    first, second = Message.parse(built).all("OBX")
    assert first.text(4) == "0^15"
    assert second.text(4) == ""
    assert second.text(5, comp=4) == "a&b@test.mssante.fr"
    assert second.text(5, comp=3) == "X.400"


def test_z03_refused_uses_table_0533() -> None:
    built = build_z03(
        ENVELOPE,
        control_id="1",
        answered="015",
        now=NOW,
        occurred=OCCURRED,
        address=ADDRESS,
        error=ZamError("902"),
    )
    err = Message.parse(built).segments[-1]
    assert [err.text(5, comp=c) for c in (1, 2, 3)] == [
        "902",
        "Identifiant patient inconnu",
        "applicationErrorCondition",
    ]


def test_envelope_answers_the_sender() -> None:
    t = m.read(m.MDM).transmission
    assert t is not None
    assert Envelope.answering(t) == Envelope("PFI-ESSAI", "HOPITAL-ESSAI", "SIL-ESSAI", "HOPITAL-ESSAI", "T")


def test_charset_of_the_receiver() -> None:
    latin = Envelope("A", "B", "C", "D", charset="8859/15")
    built = build_z01(latin, control_id="1", answered="2", now=NOW, occurred=OCCURRED)
    assert "Accusé" in built.decode("iso8859-15")
    assert Message.parse(built).segments[2].text(3, comp=2) == "Accusé de réception DMP"


def test_the_standard_agrees_with_what_we_build() -> None:
    for built in OFFICIAL.values():
        assert lint(Message.parse(built)) == []


def test_tables_hold_every_code_of_the_profile() -> None:
    """spec/hl7-transmission.md §2 and §3."""
    assert set(table(SMTP_ERRORS)) == {*_CODES_SMTP.split()}
    assert set(table(MESSAGE_ERRORS)) == {*_CODES_0357.split()}
    assert set(table(APPLICATION_ERRORS)) == {str(c) for c in range(900, 907)}
    assert all(
        text for name in (SMTP_ERRORS, MESSAGE_ERRORS, APPLICATION_ERRORS) for text in table(name).values()
    )
    assert label(SMTP_ERRORS, "999") == ""
    assert {r.err3 for r in m.RULES} <= set(table(MESSAGE_ERRORS))
    assert {r.err5 for r in m.RULES if r.err5} <= set(table(APPLICATION_ERRORS))
