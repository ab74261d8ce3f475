"""From a mail to its archive: kinds, names, forwards, bounds. Source: spec/mssante.md §2.1, §2.2, §2.6, §3.3."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from connectors.mss.inbound.envelope import MailKind, message_id_of
from connectors.mss.inbound.limits import InboundLimits
from connectors.mss.receipts.model import Kind
from connectors.mss.receipts.reading import classify
from gateway.hl7.transmission import Action
from tests.mss.inbound import samples
from tests.mss.inbound.samples import MAILBOX, N1, N3, mail, receive, rules_of, wrapped

PLAIN = b"From: a@test-hopital.mssante.fr\r\nSubject: %s\r\nMessage-ID: <x@y>\r\n%s\r\n\r\n%s"


def simple(subject: str, extra: str = "Content-Type: text/plain", body: bytes = b"Bonjour") -> bytes:
    return PLAIN % (subject.encode(), extra.encode(), body)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (simple("Bonjour"), MailKind.OTHER),
        (simple("x", "Content-Type: multipart/report; report-type=delivery-status"), MailKind.DSN),
        (simple("x", "Content-Type: multipart/report; report-type=disposition-notification"), MailKind.MDN),
        (simple("x", "Content-Type: multipart/report; report-type=feedback"), MailKind.OTHER),
        (simple("=?utf-8?q?=5BKO_Int=C3=A9gration_syst=C3=A8me_!=5D=5B902=5D_X?="), MailKind.INTEGRATION_ERROR),
        (simple("[Erreur d'intégration !][902] XDM/1.0/DDM+CR"), MailKind.INTEGRATION_ERROR),
        (simple("Fwd: [KO Intégration système !][906] x"), MailKind.INTEGRATION_ERROR),
    ],
)  # fmt: skip
def test_kinds(raw: bytes, kind: MailKind) -> None:
    """§2.2: reports, integration errors and other mails give no document and no finding."""
    received = receive(raw)
    assert received.mail.kind is kind
    assert received.documents == () and rules_of(received) == []


def test_an_archive_that_comes_back_is_not_integrated_again() -> None:
    """§2.6, §3.3: an error mail and an MDN bring the archive back; it must not be read a second time."""
    raw = mail(drop="Subject")
    back = b"Subject: =?utf-8?q?=5BKO_Int=C3=A9gration_syst=C3=A8me_!=5D=5B906=5D_x?=\r\n" + raw
    assert receive(back).documents == ()
    report = wrapped(mail()).replace(
        b"multipart/mixed;", b"multipart/report; report-type=delivery-status;", 1
    )
    assert receive(report).documents == ()
    # an error mail forwarded as an attachment neither
    assert receive(wrapped(back)).documents == ()


def _enclosed(*headers: str, subject: str = "Tr: document") -> bytes:
    return "".join(h + "\r\n" for h in headers).encode() + wrapped(mail(), subject=subject)


MAILS = {
    "plain": mail(),
    "by a machine": mail(extra="Auto-Submitted: auto-generated\nReturn-Path: <a@b.fr>\n"),
    "forwarded": _enclosed(),
    "answered": _enclosed(subject="Re: document"),
    "answered by a machine": _enclosed("Auto-Submitted: auto-replied"),
    "null return path": _enclosed("Return-Path: <>"),
    "null return path, own archive": mail(extra="Return-Path: <>\n"),
    "mail system": _enclosed().replace(b"From: secretariat@", b"From: MAILER-DAEMON@", 1),
    "report in a mixed": _enclosed().replace(
        b"Content-Type: text/plain", b"Content-Type: message/delivery-status", 1
    ),
    "report": _enclosed().replace(b"multipart/mixed;", b"multipart/report; report-type=delivery-status;", 1),
    "error mail": b"Subject: [KO Integration systeme !][906] x\r\n" + mail(drop="Subject"),
    "nothing": simple("Bonjour"),
    "announced": simple("XDM/1.0/DDM+CR"),
}


@pytest.mark.parametrize("case", MAILS)
def test_both_rooms_agree_on_what_is_a_document(case: str) -> None:
    """§2.2: what `receipts` does not call a document is not integrated here either, whoever asks."""
    received = receive(MAILS[case])
    assert (received.mail.kind is MailKind.XDM) == (classify(MAILS[case]) is Kind.INBOUND)
    assert not received.documents or received.mail.kind is MailKind.XDM


@pytest.mark.parametrize("name", ["IHE_XDM.ZIP", "ihe_xdm.zip", "Ihe_Xdm.Zip"])
def test_the_name_of_the_archive_is_compared_without_case(name: str) -> None:
    received = receive(mail(archive_name=name, drop="Subject"))
    assert received.accepted and rules_of(received) == []


@pytest.mark.parametrize("prefix", ["", "Tr: ", "TR : ", "Fwd: ", "Fw: Tr: ", "[Fwd: "])
def test_by_its_subject_when_the_archive_has_another_name(prefix: str) -> None:
    """§2.1: the subject XDM/1.0/DDM, forwarded or not, names the mail of the profile."""
    raw = f"Subject: {prefix}XDM/1.0/DDM+CR NOM Prenom\r\n".encode() + mail(
        archive_name="export.zip", drop="Subject"
    )
    received = receive(raw)
    assert received.accepted and rules_of(received) == ["IN-ARCHIVE-NAME"]


def test_announced_but_not_there() -> None:
    received = receive(simple("XDM/1.0/DDM+CR NOM Prenom"))
    assert received.mail.kind is MailKind.XDM
    assert rules_of(received) == ["IN-NO-ARCHIVE"] and not received.accepted


def test_two_archives_are_refused() -> None:
    raw = mail(pdfs=(samples.archive(Action.SUBMIT, N3),)).replace(b"copie_1.pdf", b"IHE_XDM.ZIP")
    assert rules_of(receive(raw)) == ["IN-ARCHIVE-TWICE"]


def test_a_damaged_base64_is_refused_and_a_missing_padding_repaired() -> None:
    content = samples.archive()
    text = base64.b64encode(content + b"\0" * ((1 - len(content)) % 3))
    assert text.endswith(b"==")
    head = (
        'Content-Type: application/zip; name="IHE_XDM.ZIP"\r\nContent-Transfer-Encoding: base64\r\n'
        "To: service@test-hopital.mssante.fr"
    )
    bad = receive(simple("XDM/1.0/DDM+CR", head, text[:500] + b"!!" + text[500:]))
    assert rules_of(bad) == ["IN-ARCHIVE-ENCODING"]
    unknown = receive(simple("XDM/1.0/DDM+CR", head.replace("base64", "x-uuencode"), text))
    assert rules_of(unknown) == ["IN-ARCHIVE-ENCODING"]
    repaired = rules_of(receive(simple("XDM/1.0/DDM+CR", head, text.rstrip(b"="))))
    assert "IN-ARCHIVE-PADDING" in repaired and "IN-ARCHIVE-ENCODING" not in repaired


@pytest.mark.parametrize("encoding", ["7bit", "base64"])
def test_a_mail_forwarded_as_an_attachment_is_looked_into(encoding: str) -> None:
    """§2.1: the sender and the recipients are those of the first mail; the MDN is about the one received."""
    inner = mail()
    raw = wrapped(base64.encodebytes(inner) if encoding == "base64" else inner, encoding=encoding)
    received = receive(raw)
    assert received.accepted
    assert received.mail.message_id == "<forward@test>"
    assert received.mail.origin.sender == "passerelle@test-hopital.mssante.fr"
    assert received.mail.origin.recipients and MAILBOX not in received.mail.origin.recipients
    assert received.mail.codes == ("11502-2",)


def test_a_plain_forward_hides_the_first_recipient() -> None:
    """§2.3, note 2: omitted rather than invented."""
    raw = b"Subject: Tr: XDM/1.0/DDM+CR\r\n" + mail(drop="Subject")
    received = receive(raw)
    assert received.accepted and received.mail.origin.recipients == ()


def test_without_sender_or_message_id() -> None:
    """§2.3: PRT-15.4 of the sender is required; OBX-3.1 of the mail has a replacement."""
    assert rules_of(receive(mail(drop="From"))) == ["IN-NO-SENDER"]
    received = receive(mail(drop="Message-ID"))
    assert rules_of(received) == ["IN-NO-MESSAGE-ID"] and received.accepted


def test_bounds() -> None:
    small = replace(InboundLimits(), mail_bytes=1000)
    assert rules_of(receive(mail(), limits=small)) == ["IN-MAIL-SIZE"]
    deep = mail()
    for _ in range(12):
        deep = (
            wrapped(deep).replace(b'"outer"', b'"o%d"' % len(deep)).replace(b"--outer", b"--o%d" % len(deep))
        )
    assert rules_of(receive(deep)) == ["IN-MAIL-STRUCTURE"]
    parts = simple("x", 'Content-Type: multipart/mixed; boundary="b"', b"\r\n--b\r\n\r\n." * 1000)
    assert rules_of(receive(parts)) == ["IN-MAIL-STRUCTURE"]
    header = simple("x", "X-Long: " + "a" * 400_000)
    assert rules_of(receive(header)) == ["IN-MAIL-STRUCTURE"]
    parameters = simple("x", "Content-Type: text/plain" + '; a="' * 3000)
    assert rules_of(receive(parameters)) == ["IN-MAIL-STRUCTURE"]
    comments = b"To: " + b"(" * 7000 + b"\r\n" + mail(drop="To")
    assert receive(comments).accepted


def test_a_mail_beyond_the_bounds_can_still_be_reported() -> None:
    """Its headers are read: the error mail needs its subject, its sender and its bytes."""
    raw = mail()
    received = receive(raw, limits=replace(InboundLimits(), mail_bytes=1000))
    assert received.mail.kind is MailKind.XDM and received.mail.raw == raw and not received.accepted
    assert received.mail.subject.startswith("XDM/1.0/DDM+CR") and received.mail.origin.sender
    report = simple(
        "x", 'Content-Type: multipart/report; report-type=delivery-status; boundary="b"', b"\n--b\n\n." * 999
    )
    assert receive(report).mail.kind is MailKind.DSN


def test_a_boundary_stands_at_the_start_of_a_line() -> None:
    """RFC 2046 §5.1.1: the same characters inside a line, or with more behind them, are content."""
    body = b"\n--b\n\nUn texte --b\nsuite\n--bis\nfin\n--b  \nContent-Disposition: attachment\n\nx\n--b--\nepilogue"
    received = receive(simple("x", 'Content-Type: multipart/mixed; boundary="b"', body))
    assert received.mail.body == "Un texte --b\nsuite\n--bis\nfin"
    assert [a.part.content() for a in received.mail.attachments] == [b"x"]


def test_headers_cannot_carry_others() -> None:
    """An identifier that is not one token never reaches a header of ours; a subject is one line."""
    raw = b"Message-ID: <a b>\x0b<c@d>\r\nSubject: =?utf-8?q?XDM/1.0/DDM+x=0D=0ABcc:_y?=\r\n" + mail(
        drop="Subject"
    ).replace(b"Message-ID:", b"X-Old-ID:", 1)
    received = receive(raw).mail
    assert message_id_of(received) == "<c@d>"
    assert received.subject == "XDM/1.0/DDM+x Bcc: y"


@pytest.mark.parametrize("charset", ["iso-8859-15", "windows-1252", "punycode", "rot13", "x", "utf-8"])
def test_any_charset_gives_text(charset: str) -> None:
    head = f"Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: quoted-printable"
    received = receive(simple("Bonjour", head, b"Compte=20rendu =E9"))
    assert received.mail.body.startswith("Compte rendu ")


def test_what_was_read_is_the_same_every_time() -> None:
    raw = mail(Action.SUBMIT, N1)
    one, two = receive(raw), receive(raw)
    assert (one.mail, one.documents[0].document) == (two.mail, two.documents[0].document)
