"""Delivery reports read. Source: RFC 3464, spec/mssante.md §3.1."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from connectors.mss.receipts import codes
from connectors.mss.receipts.codes import TABLE, reply_of, smtp_code, status_of
from connectors.mss.receipts.model import Action, Dsn, DsnRecipient, Quarantined, Reason
from connectors.mss.receipts.reading import read
from gateway.cda.valuesets import read_table
from gateway.hl7.tables import SMTP_ERRORS, table
from tests.mss.receipts import mails
from tests.mss.receipts.mails import READER, TOKEN, dsn, recipient_block
from tests.official import official


def dsn_of(raw: bytes) -> Dsn:
    found = read(raw)
    assert isinstance(found, Dsn), found
    return found


@pytest.mark.official
@pytest.mark.parametrize(
    ("file", "number", "action", "code"),
    [
        ("dsn_1.eml", 2, Action.FAILED, "550"),
        ("dsn_2.eml", 1, Action.RELAYED, ""),
        ("dsn_3.eml", 0, Action.RELAYED, ""),
        ("dsn_4.eml", 3, Action.FAILED, "552"),
    ],
)
def test_real_postfix_reports(file: str, number: int, action: Action, code: str) -> None:
    found = dsn_of(official("mail", file).read_bytes())
    assert found.envid == f"MSH10-015+{number}"
    assert found.message_id == f"test{number}@local.mssante.fr"
    assert [(r.action, r.code) for r in found.recipients] == [(action, code)]
    assert found.recipients[0].original == found.recipients[0].final != ""


def test_every_field_of_a_report() -> None:
    block = recipient_block(
        Diagnostic_Code=f"smtp; 552 5.2.2 <{READER}>:\r\n    mailbox full",
        Final_Recipient="RFC822; <autre@clinique-test.mssante.fr>",
        Status="5.2.2 (full)",
    )
    assert dsn_of(dsn(block)) == Dsn(
        (
            DsnRecipient(
                Action.FAILED,
                "5.2.2",
                "552",
                "552",
                READER,
                "autre@clinique-test.mssante.fr",
                "mx.clinique-test.mssante.fr",
            ),
        ),
        TOKEN,
        f"{TOKEN}@hopital-test.mssante.fr",
    )


def test_several_recipients_and_actions() -> None:
    blocks = [
        recipient_block(a, s) for a, s in (("failed", "5.1.1"), ("Delayed", "4.4.1"), ("EXPANDED", "2.0.0"))
    ]
    found = dsn_of(dsn(*blocks, recipient_block("delivered", "2.1.5"), recipient_block("relayed", "")))
    assert [(r.action, r.code) for r in found.recipients] == [
        (Action.FAILED, "550"),
        (Action.DELAYED, "441"),
        (Action.EXPANDED, ""),
        (Action.DELIVERED, ""),
        (Action.RELAYED, ""),
    ]


SLOPPY = {
    "no report-type": {"content_type": "multipart/report"},
    "multipart/mixed": {"content_type": "multipart/mixed"},
    "RFC 6533": {"status_type": "message/global-delivery-status"},
    "capitals": {"content_type": 'Multipart/Report; Report-Type="Delivery-Status"'},
}


@pytest.mark.parametrize("how", SLOPPY.values(), ids=SLOPPY.keys())
def test_sloppy_reports_read_the_same(how: dict[str, str]) -> None:
    two = (recipient_block(), recipient_block("delayed", "4.4.1"))
    assert dsn_of(dsn(*two, **how)) == dsn_of(dsn(*two))


@pytest.mark.parametrize("kind", ["message/delivery-status", "message/global-delivery-status"])
@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_encoded_report_is_decoded(encoding: str, kind: str) -> None:
    """RFC 6522 forbids it, relays do it."""
    text = mails.fields({"Original-Envelope-Id": TOKEN}) + "\r\n" + mails.fields(recipient_block())
    body = base64.encodebytes(text.encode()).decode() if encoding == "base64" else text.replace("@", "=40")
    status = mails.part(kind, body, f"Content-Transfer-Encoding: {encoding}\r\n")
    found = dsn_of(mails.multipart("multipart/report; report-type=delivery-status", [status]))
    assert found.envid == TOKEN
    assert found.recipients[0].original == READER


def test_blank_line_before_the_fields() -> None:
    status = mails.part("message/delivery-status", "\r\n" + mails.fields(recipient_block()))
    assert dsn_of(mails.multipart("multipart/report", [status])).recipients[0].final == READER


def test_whole_mail_given_back() -> None:
    parts = [
        mails.part("message/delivery-status", mails.fields(recipient_block())),
        mails.part("message/rfc822", mails.original()),
    ]
    assert dsn_of(mails.multipart("multipart/report", parts)).message_id == f"{TOKEN}@hopital-test.mssante.fr"


QUARANTINED = {
    "unknown action": (dsn(recipient_block("lost")), Reason.REPORT_UNREADABLE),
    "no action": (dsn(recipient_block("")), Reason.REPORT_UNREADABLE),
    "no recipient": (dsn({"X-Other": "y"}), Reason.REPORT_UNREADABLE),
    "failed with a status of success": (dsn(recipient_block("failed", "2.0.0")), Reason.CONTRADICTION),
    "delivered with a status of failure": (dsn(recipient_block("delivered", "5.1.1")), Reason.CONTRADICTION),
    "two actions in a block": (
        dsn({**recipient_block("failed"), "action": "delivered"}),
        Reason.CONTRADICTION,
    ),
    "two envelope ids": (dsn({**recipient_block(), "Original-Envelope-Id": "other"}), Reason.CONTRADICTION),
    "two returned Message-IDs": (
        mails.multipart(
            "multipart/report",
            [
                mails.part("message/delivery-status", mails.fields(recipient_block())),
                mails.part("text/rfc822-headers", mails.original(mails.MESSAGE_ID, archive=False)),
                mails.part("message/rfc822", mails.original(mails.OTHER_ID)),
            ],
        ),
        Reason.CONTRADICTION,
    ),
}


@pytest.mark.parametrize(("raw", "reason"), QUARANTINED.values(), ids=QUARANTINED.keys())
def test_unreadable_or_contradictory(raw: bytes, reason: Reason) -> None:
    assert read(raw) == Quarantined(reason)


@pytest.mark.parametrize(
    ("reply", "status", "code"),
    [
        ("550", "5.1.1", "550"),
        ("552", "5.1.1", "552"),  # the reply counts before the status
        ("555", "5.2.2", "552"),  # a reply that the table does not have
        ("555", "", "554"),
        ("472", "", "451"),
        ("", "", "554"),
        ("250", "", "554"),  # a failure is never told with a code of success
        ("251", "5.1.6", "554"),
        ("", "5.1.1", "550"),
        ("", "5.1.10", "550"),
        ("", "5.1.2", "512"),
        ("", "5.1.3", "553"),
        ("", "5.2.1", "550"),
        ("", "5.2.2", "552"),
        ("", "5.2.3", "523"),
        ("", "5.3.4", "523"),
        ("", "5.4.4", "512"),
        ("", "5.4.1", "441"),
        ("", "4.4.1", "441"),
        ("", "4.4.2", "442"),
        ("", "4.4.7", "441"),
        ("", "4.2.2", "422"),
        ("", "4.3.1", "431"),
        ("", "5.5.0", "500"),
        ("", "5.5.1", "503"),
        ("", "5.5.2", "500"),
        ("", "5.5.4", "501"),
        ("", "5.5.5", "502"),
        ("", "5.7.0", "530"),
        ("", "5.7.8", "530"),
        ("", "5.7.1", "541"),
        ("", "5.9.9", "554"),
        ("", "4.9.9", "451"),
        ("", "2.0.0", "554"),
    ],
)
def test_smtp_error_code(reply: str, status: str, code: str) -> None:
    """§3.1: reply of the Diagnostic-Code first, then the enhanced status."""
    assert smtp_code(reply, status) == code


def test_the_table_is_dated_and_holds_codes_of_the_volet() -> None:
    found = read_table(TABLE, ("status", "code"), Path(codes.__file__).parent)
    assert found.date
    assert {row["code"] for row in found.rows} <= set(table(SMTP_ERRORS))
    assert len({row["status"] for row in found.rows}) == len(found.rows)


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("smtp; 550 5.1.1 unknown", "550"),
        ("SMTP;550-5.1.1 unknown", "550"),
        ("smtp; 5.1.1 unknown", ""),
        ("smtp; 5501", ""),
        ("X-Postfix; 550 unknown", ""),
        ("", ""),
    ],
)
def test_diagnostic_code(text: str, reply: str) -> None:
    assert reply_of(text) == reply


@pytest.mark.parametrize(
    ("text", "status"),
    [("5.1.1", "5.1.1"), (" 5.1.10 (x)", "5.1.10"), ("3.1.1", ""), ("5.1", ""), ("5.1.1234", ""), ("", "")],
)
def test_status(text: str, status: str) -> None:
    assert status_of(text) == status
