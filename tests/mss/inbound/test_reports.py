"""The MDN and the error mail. Source: spec/mssante.md §2.6; RFC 8098, RFC 3834, RFC 2046 §5.2.1."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message

import pytest

from connectors.mss.inbound.answers import IntegrationError, error_of_findings
from connectors.mss.inbound.envelope import InboundMail, MailKind
from connectors.mss.inbound.reports import (
    MdnForm,
    OutgoingMail,
    Reporter,
    build_error_mail,
    build_mdn,
    mdn_address,
)
from connectors.mss.receipts.model import ErrorMail, Mdn
from connectors.mss.receipts.reading import read as read_receipt
from gateway.errors import GatewayBug
from tests.mss.inbound import samples
from tests.mss.inbound.samples import MAILBOX, PDF, mail, receive, wrapped

NOW = datetime(2026, 1, 10, 9, 30, tzinfo=UTC)
SENDER = "passerelle@test-hopital.mssante.fr"
ASKED = f"Return-Path: <{SENDER}>\nDisposition-Notification-To: Hôpital <{SENDER}>\n"
REPORTER = Reporter(MAILBOX, "Service de l'Été", "pfi.test-hopital.mssante.fr", "segur-gateway")
ERROR = IntegrationError("902", "Identifiant patient inconnu", ("Le DPI ne connaît pas ce patient.",))
ERROR_BOX = "erreurs@test-hopital.mssante.fr"
RAW = mail(extra=ASKED)


def asked(raw: bytes | None = None) -> InboundMail:
    return receive(RAW if raw is None else raw).mail


def mdn(about: InboundMail | None = None, **more: object) -> OutgoingMail:
    return build_mdn(
        about or asked(), REPORTER, to=SENDER, message_id="<mdn-1@pfi>", now=NOW, **more  # type: ignore[arg-type]
    )  # fmt: skip


def error_mail(about: InboundMail | None = None, **more: object) -> OutgoingMail:
    return build_error_mail(
        about or asked(), REPORTER, ERROR, to=ERROR_BOX, message_id="<err-1@pfi>", now=NOW, **more  # type: ignore[arg-type]
    )  # fmt: skip


def parts(made: OutgoingMail) -> list[Message]:
    parsed = message_from_bytes(made.content)
    assert parsed.is_multipart() and not parsed.defects
    return parsed.get_payload()  # type: ignore[return-value]


def words(made: OutgoingMail, name: str) -> str:
    return str(make_header(decode_header(message_from_bytes(made.content)[name])))


def notification(made: OutgoingMail) -> dict[str, str]:
    (block, *rest) = parts(made)[1].get_payload()
    assert not rest
    return {k: str(v) for k, v in block.items()}  # type: ignore[union-attr]


def test_a_positive_mdn() -> None:
    """§2.6: three parts, the fields, the headers; the subject is that of the mail; null return path."""
    about = asked()
    made = mdn(about)
    parsed = message_from_bytes(made.content)
    assert made.return_path == "" and made.recipient == SENDER
    assert parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "disposition-notification"
    assert words(made, "Subject") == about.subject
    assert words(made, "From") == f"Service de l'Été <{MAILBOX}>"
    assert parsed["To"] == SENDER and parsed["Message-ID"] == "<mdn-1@pfi>"
    assert parsed["In-Reply-To"] == parsed["References"] == about.message_id
    assert parsed["Auto-Submitted"] == "auto-replied"
    assert [p.get_content_type() for p in parts(made)] == [
        "text/plain",
        "message/disposition-notification",
        "message/rfc822",
    ]
    assert notification(made) == {
        "Reporting-UA": "pfi.test-hopital.mssante.fr; segur-gateway",
        "Original-Recipient": f"rfc822;{MAILBOX}",
        "Final-Recipient": f"rfc822;{MAILBOX}",
        "Original-Message-ID": about.message_id,
        "Disposition": "automatic-action/MDN-sent-automatically; processed",
    }
    assert notification(mdn(about, displayed=True))["Disposition"].endswith("; displayed")


@pytest.mark.parametrize(
    ("form", "disposition", "error", "count"),
    [
        (
            MdnForm.A,
            "processed/Error: 902^Identifiant patient inconnu^messageErrorCondition| E^Error^errorSeverity",
            None,
            5,
        ),
        (
            MdnForm.B,
            "processed/Error: 902^Identifiant patient inconnu^messageErrorCondition| E^Error^errorSeverity",
            "902^Identifiant patient inconnu^applicationErrorCondition| E^Error^errorSeverity",
            5,
        ),
        (
            MdnForm.C,
            "processed/error",
            "902^Identifiant patient inconnu^applicationErrorCondition| E^Error^errorSeverity",
            3,
        ),
    ],
)
def test_a_negative_mdn_in_the_three_forms(
    form: MdnForm, disposition: str, error: str | None, count: int
) -> None:
    """§2.6: A (1.1.2), B, C (1.1.3, default): Disposition, Error, attachments beside the original or not."""
    about = asked()
    made = mdn(about, error=ERROR, form=form)
    assert words(made, "Subject") == f"[KO Intégration système !][902] {about.subject}"
    fields = notification(made)
    assert fields["Disposition"] == f"automatic-action/MDN-sent-automatically; {disposition}"
    assert fields.get("Error") == error
    found = parts(made)
    assert len(found) == count
    text = found[0].get_payload(decode=True)
    assert isinstance(text, bytes) and "Identifiant patient inconnu (code 902)" in text.decode()
    if count == 5:
        assert [p.get_filename() for p in found[3:]] == ["IHE_XDM.ZIP", "copie_1.pdf"]
        assert found[4].get_payload(decode=True) == PDF


@pytest.mark.parametrize(
    "made", [mdn(), mdn(error=ERROR), error_mail()], ids=["mdn", "mdn-error", "error-mail"]
)
def test_the_original_is_inside_byte_for_byte_once(made: OutgoingMail) -> None:
    """§2.6: the raw original is spliced, never rebuilt."""
    raw = asked().raw
    assert made.content.count(raw) == 1
    assert made.eight_bit == (not raw.isascii())
    assert made.content.count(b"\n") == made.content.count(b"\r\n") == made.content.count(b"\r")
    assert max(len(line) for line in made.content.split(b"\r\n")) <= 998


def test_the_error_mail() -> None:
    """§2.6: subject, label and code, list of attachments, advice, the original, the attachments again."""
    about = asked()
    made = error_mail(about)
    parsed = message_from_bytes(made.content)
    assert words(made, "Subject") == f"[KO Intégration système !][902] {about.subject}"
    assert parsed["To"] == ERROR_BOX and parsed["Auto-Submitted"] == "auto-generated"
    assert made.return_path == MAILBOX
    text, original, archive, pdf = parts(made)
    said = text.get_payload(decode=True)
    assert isinstance(said, bytes)
    for expected in (
        "code 902",
        "Le DPI ne connaît pas ce patient.",
        "IHE_XDM.ZIP, copie_1.pdf",
        SENDER,
        "à la main",
    ):
        assert expected in said.decode()
    assert (
        original.get_content_type() == "message/rfc822" and original.get_filename() == "message_original.eml"
    )
    assert archive.get_filename() == "IHE_XDM.ZIP" and archive.get_payload(decode=True) == about.archive
    assert pdf.get_payload(decode=True) == PDF


def test_what_is_attached_again_is_a_setting_and_has_a_bound() -> None:
    whole = error_mail()
    assert len(parts(error_mail(reattach=False))) == 2
    assert len(parts(error_mail(max_bytes=len(whole.content)))) == 4
    assert len(parts(error_mail(max_bytes=len(whole.content) - 1))) == 2


def test_our_own_side_knows_its_reports() -> None:
    """§2.2, §3.2, §3.3: what we send is classified when it comes back, and never integrated."""
    for made, kind in (
        (mdn(), MailKind.MDN),
        (mdn(error=ERROR), MailKind.MDN),
        (error_mail(), MailKind.INTEGRATION_ERROR),
    ):
        received = receive(made.content)
        assert received.mail.kind is kind and received.documents == ()
        assert mdn_address(received.mail) is None


@pytest.mark.parametrize("form", MdnForm)
def test_our_mdn_is_read_by_our_own_outbound_side(form: MdnForm) -> None:
    """§2.6, §3.2: the three forms give the same error; the Message-ID names the mail."""
    about = asked()
    negative = read_receipt(mdn(about, error=ERROR, form=form).content)
    assert isinstance(negative, Mdn) and negative.error == "902"
    assert about.message_id.strip("<>") in {i.strip("<>") for i in negative.message_ids}
    positive = read_receipt(mdn(about, form=form).content)
    assert isinstance(positive, Mdn) and positive.error is None


def test_our_error_mail_is_read_by_our_own_outbound_side() -> None:
    """§3.3: code and Message-ID of the enclosed original."""
    read_back = read_receipt(error_mail().content)
    assert isinstance(read_back, ErrorMail) and read_back.error == "902"
    assert read_back.message_id == asked().message_id.strip("<>")


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        (ASKED, SENDER),
        (ASKED.replace("Return-Path: <p", "Return-Path: <P"), SENDER),
        (f"Return-Path: <{SENDER}>\n", None),
        (f"Disposition-Notification-To: {SENDER}\n", None),
        (f"Return-Path: <>\nDisposition-Notification-To: {SENDER}\n", None),
        (f"Return-Path: <autre@x.mssante.fr>\nDisposition-Notification-To: {SENDER}\n", None),
        (f"Return-Path: <{SENDER}>\nDisposition-Notification-To: {SENDER}, autre@x.mssante.fr\n", None),
        (ASKED + "Auto-Submitted: auto-generated\n", None),
        (ASKED + "Auto-Submitted: No\n", SENDER),
        ("Return-Path: <é@x>\nDisposition-Notification-To: é@x\n", None),
    ],
)  # fmt: skip
def test_who_gets_an_automatic_mdn(headers: str, address: str | None) -> None:
    """§2.6, RFC 8098 §2.1: asked for, by one address, that is the Return-Path, in a mail that is not automatic."""
    assert mdn_address(asked(mail(extra=headers))) == address


def test_an_original_that_cannot_travel_in_the_open() -> None:
    """Lines above 998 octets or NUL: a message/rfc822 may not be encoded, so another way is taken."""
    about = asked(mail(extra=ASKED + "X-Long: " + "a" * 2000 + "\n"))
    made = mdn(about)
    assert [p.get_content_type() for p in parts(made)][2] == "text/rfc822-headers"
    original = parts(error_mail(about))[1]
    assert original.get_content_type() == "application/octet-stream"
    assert (
        original.get_filename() == "message_original.eml" and original.get_payload(decode=True) == about.raw
    )


def test_bare_line_ends_become_those_of_mails() -> None:
    about = asked(mail(extra=ASKED).replace(b"\r\n", b"\n"))
    made = error_mail(about)
    assert made.content.count(b"\n") == made.content.count(b"\r\n")
    assert about.raw.replace(b"\n", b"\r\n") in made.content


def test_the_boundary_is_not_one_of_the_original() -> None:
    """A mail that holds our next boundary (an older report of ours, or a hostile one) closes no part of the report."""
    made = mdn()
    boundary = message_from_bytes(made.content).get_boundary()
    assert boundary
    about = asked(RAW + b"\r\n--" + boundary.encode() + b"--\r\n")
    again = mdn(about)
    assert message_from_bytes(again.content).get_boundary() != boundary
    assert len(parts(again)) == 3 and about.raw in again.content


def test_a_report_gets_no_mdn_even_if_it_asks() -> None:
    """§2.6: loop guard."""
    raw = RAW.replace(b"multipart/mixed;", b"multipart/report; report-type=delivery-status;", 1)
    about = asked(raw)
    assert about.notify == (SENDER,) and about.return_path == SENDER
    assert mdn_address(about) is None


def test_eight_bit_originals_are_declared() -> None:
    about = asked("X-Note: é\r\n".encode() + mail(extra=ASKED))
    made = mdn(about)
    assert made.eight_bit and parts(made)[2]["Content-Transfer-Encoding"] == "8bit"


def test_a_hostile_mail_adds_no_header_and_closes_no_part() -> None:
    """Subject, Message-ID, file names and Original-Recipient come from outside."""
    subject = base64.b64encode(b"XDM/1.0/DDM+x\r\nBcc: victime@x.fr\r\n\r\ncorps").decode()
    raw = (
        ASKED.encode().replace(b"\n", b"\r\n")
        + f"Subject: =?utf-8?b?{subject}?=\r\nOriginal-Recipient: rfc822;a@b.fr\x0b>x\r\n".encode()
        + mail(drop="Subject")
        .replace(b"copie_1.pdf", b'a\\"b;\tc.pdf')
        .replace(b"Message-ID: <", b"Message-ID: <\x01")
    )
    about = asked(raw)
    for made in (mdn(about, error=ERROR, form=MdnForm.A), error_mail(about)):
        parsed = message_from_bytes(made.content)
        assert parsed["Bcc"] is None and "Bcc: victime" in words(made, "Subject")
        assert parsed["In-Reply-To"] is None
        assert len(parts(made)) in (4, 5)


def test_a_forwarded_mail_is_reported_as_received() -> None:
    about = asked(wrapped(mail()))
    assert words(error_mail(about), "Subject") == "[KO Intégration système !][902] Tr: document"


def test_same_arguments_same_bytes() -> None:
    about = asked()
    assert mdn(about).content == mdn(about).content and error_mail(about).content == error_mail(about).content


def test_an_address_of_ours_that_is_none_is_our_bug() -> None:
    with pytest.raises(GatewayBug):
        build_mdn(asked(), Reporter("pas une adresse"), to=SENDER, message_id="<a@b>", now=NOW)


def test_nothing_of_the_patient_shows() -> None:
    for made in (mdn(error=ERROR), error_mail()):
        assert "DURAND" not in repr(made)


def test_from_a_refused_mail_to_its_error_mail() -> None:
    """The whole way: hostile archive, findings, error mail with the reasons in French."""
    received = receive(mail(archive_bytes=samples.zipped({"/etc/passwd": b"x"})))
    assert not received.accepted
    error = error_of_findings(received.findings)
    made = build_error_mail(received.mail, REPORTER, error, to=ERROR_BOX, message_id="<e@f>", now=NOW)
    said = parts(made)[0].get_payload(decode=True)
    assert (
        isinstance(said, bytes) and "nom de fichier interdit" in said.decode() and "code 906" in said.decode()
    )
