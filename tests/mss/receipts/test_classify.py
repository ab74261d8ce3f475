"""What kind of mail it is. Source: spec/mssante.md §2.1, §2.2, §2.6 (loop guard), RFC 3834."""

from __future__ import annotations

import pytest

from connectors.mss.receipts.model import SENTENCES, Automatic, Inbound, Kind, Quarantined, Reason
from connectors.mss.receipts.reading import classify, read
from tests.mss.receipts import mails
from tests.mss.receipts.mails import part

STATUS = part("message/delivery-status", mails.fields(mails.recipient_block()))
NOTIFICATION = part(
    "message/disposition-notification",
    mails.fields(
        {"Disposition": "manual-action/MDN-sent-manually; displayed", "Final-Recipient": "rfc822;a@b.fr"}
    ),
)
VACATION = mails.note(
    "Je suis absent.\r\n",
    Subject=f"Absence : {mails.SUBJECT}",
    Auto_Submitted="auto-replied",
    Return_Path="<>",
)
FORWARDED = part("message/rfc822", mails.original())

KINDS = {
    "DSN": (mails.dsn(), Kind.DSN),
    "DSN without report-type": (mails.dsn(content_type="multipart/report"), Kind.DSN),
    "DSN in multipart/mixed": (mails.dsn(content_type="multipart/mixed"), Kind.DSN),
    "DSN of RFC 6533": (mails.dsn(status_type="message/global-delivery-status"), Kind.DSN),
    "DSN with a subject of error": (mails.dsn(Subject="[KO Intégration système !][902] x"), Kind.DSN),
    "MDN form A with archive": (mails.mdn("A", "902"), Kind.MDN),
    "MDN form B": (mails.mdn("B", "902"), Kind.MDN),
    "MDN form C": (mails.mdn("C", "902"), Kind.MDN),
    "MDN of success with the subject of a document": (mails.mdn(), Kind.MDN),
    "error mail that re-attaches the archive": (mails.error_mail(), Kind.ERROR_MAIL),
    "error mail of 1.1.2": (mails.error_mail("[Erreur d'intégration !][902] x"), Kind.ERROR_MAIL),
    "document": (mails.document(), Kind.INBOUND),
    "document, name in small letters": (
        mails.document(subject="x", parts=[mails.xdm_part("ihe_xdm.zip")]),
        Kind.INBOUND,
    ),
    "document by its subject alone": (mails.document(parts=[part("text/plain", "x")]), Kind.INBOUND),
    "document forwarded by a secretary": (mails.document(subject=f"Tr: Fwd: {mails.SUBJECT}"), Kind.INBOUND),
    "document enclosed in a forward": (mails.document(subject="Fwd", parts=[FORWARDED]), Kind.INBOUND),
    "absence message": (VACATION, Kind.AUTOMATIC),
    "absence message with the document's subject": (
        mails.note(Subject=mails.SUBJECT, Auto_Submitted="auto-replied"),
        Kind.AUTOMATIC,
    ),
    "mailing list": (mails.note(List_Id="<l.exemple.mssante.fr>"), Kind.AUTOMATIC),
    "bulk": (mails.note(Precedence="bulk"), Kind.AUTOMATIC),
}


@pytest.mark.parametrize(("raw", "kind"), KINDS.values(), ids=KINDS.keys())
def test_kind(raw: bytes, kind: Kind) -> None:
    assert classify(raw) is kind
    assert read(raw).kind is kind


def wrapped(raw: bytes, headers: str = "") -> bytes:
    """The mail as a filter of a relay makes it: its content in a multipart/mixed, beside a notice."""
    head, _, body = raw.decode().partition("\r\n\r\n")
    kept, _, content_type = head.partition("Content-Type: ")
    inner = f"--=_w\r\nContent-Type: {content_type}\r\n\r\n{body}\r\n"
    notice = "--=_w\r\nContent-Type: text/plain\r\n\r\nVérifié.\r\n--=_w--\r\n"
    kept = kept.replace("Auto-Submitted: auto-replied\r\n", "").replace("Return-Path: <>\r\n", "")
    return f"{kept}Content-Type: multipart/mixed; boundary==_w\r\n\r\n{inner}{notice}".encode()


REPORTS = [mails.dsn(), *(mails.mdn(form, code) for form in "ABC" for code in ("", "902"))]


@pytest.mark.parametrize("raw", REPORTS)
def test_a_report_wrapped_by_a_relay_reads_the_same(raw: bytes) -> None:
    assert read(wrapped(raw)) == read(raw)


@pytest.mark.parametrize("raw", REPORTS)
def test_a_report_that_we_cannot_read_is_no_new_document(raw: bytes) -> None:
    """It may give our own document back, with its archive."""
    two = mails.document(
        parts=[
            "Content-Type:" + one.decode().partition("Content-Type:")[2].replace("=_b1", f"=_b{n}")
            for n, one in enumerate((raw, mails.mdn()), 5)
        ]
    )
    assert read(two) == Quarantined(Reason.REPORT_UNREADABLE)


REASONS = {
    "person's note": (mails.note(), Reason.NOT_A_DOCUMENT),
    "person's answer to a document": (mails.note(Subject=f"Re: {mails.SUBJECT}"), Reason.NOT_A_DOCUMENT),
    "person's answer that encloses the document": (
        mails.document(subject=f"RE : {mails.SUBJECT}", parts=[part("text/plain", "Merci"), FORWARDED]),
        Reason.NOT_A_DOCUMENT,
    ),
    "Auto-Submitted: no is a person": (mails.note(Auto_Submitted="no"), Reason.NOT_A_DOCUMENT),
    "bounce in plain text": (
        mails.note("<a@b.fr>: 550 5.1.1\r\n", From="MAILER-DAEMON@x.mssante.fr", Return_Path="<>"),
        Reason.BOUNCE_UNREADABLE,
    ),
    "bounce in plain text, known by its subject": (
        mails.note(Subject="Message non distribué", Return_Path="<>"),
        Reason.BOUNCE_UNREADABLE,
    ),
    "bounce that gives the headers back without a report": (
        mails.multipart(
            "multipart/mixed",
            [part("text/rfc822-headers", mails.original(archive=False))],
            {"From": "filtre@relais-test.mssante.fr"},
        ),
        Reason.BOUNCE_UNREADABLE,
    ),
    "bounce that gives our document back": (
        mails.multipart(
            "multipart/mixed", [part("text/plain", "x"), part("message/rfc822", mails.original())]
        ),
        Reason.BOUNCE_WITH_DOCUMENT,
    ),
    "document from the mail system": (
        mails.document(From="MAILER-DAEMON@relais-test.mssante.fr"),
        Reason.BOUNCE_WITH_DOCUMENT,
    ),
    "document without a Return-Path to answer to": (
        mails.document(Return_Path="< >"),
        Reason.BOUNCE_WITH_DOCUMENT,
    ),
    "automatic answer that attaches the document": (
        mails.document(Auto_Submitted="auto-replied"),
        Reason.BOUNCE_WITH_DOCUMENT,
    ),
    "report without its machine part": (
        mails.multipart("multipart/report; report-type=delivery-status", [part("text/plain", "x")]),
        Reason.REPORT_UNREADABLE,
    ),
    "report of both kinds": (
        mails.multipart("multipart/report", [STATUS, NOTIFICATION]),
        Reason.CONTRADICTION,
    ),
    "report that says another type": (
        mails.multipart("multipart/report; report-type=delivery-status", [NOTIFICATION]),
        Reason.CONTRADICTION,
    ),
    "two machine parts": (mails.multipart("multipart/report", [STATUS, STATUS]), Reason.REPORT_UNREADABLE),
}


@pytest.mark.parametrize(("raw", "reason"), REASONS.values(), ids=REASONS.keys())
def test_quarantine(raw: bytes, reason: Reason) -> None:
    assert read(raw) == Quarantined(reason)


def test_a_forwarded_report_is_no_report() -> None:
    report = mails.dsn().decode().replace("=_b1", "=_b2")
    raw = mails.document(subject="Fwd", parts=[part("message/rfc822", report)])
    assert read(raw) == Quarantined(Reason.NOT_A_DOCUMENT)


@pytest.mark.parametrize(
    ("headers", "answerable"),
    [
        ({}, True),
        ({"Auto_Submitted": "no"}, True),
        ({"Auto_Submitted": "auto-generated"}, False),
        ({"Auto_Submitted": "Auto-Generated (rfc3834)"}, False),
        ({"Precedence": "list"}, False),
        ({"List_Id": "<l.exemple.mssante.fr>"}, False),
        ({"X_Auto_Response_Suppress": "All"}, False),
    ],
)
def test_automatic_mail_is_never_answered(headers: dict[str, str], answerable: bool) -> None:
    """Loop guard, §2.6: a document of a machine is taken, its sender gets no answer."""
    found = read(mails.document(**headers))
    assert found == Inbound(1, 0, answerable, "doc-1@cabinet-test.mssante.fr")


def test_only_a_document_can_be_answered() -> None:
    assert not hasattr(Automatic(), "answerable")
    assert isinstance(read(VACATION), Automatic)


def test_archives_are_counted_where_they_stand() -> None:
    raw = mails.document(parts=[mails.xdm_part(), FORWARDED])
    found = read(raw)
    assert isinstance(found, Inbound)
    assert (found.archives, found.enclosed) == (1, 1)


def test_every_reason_has_its_sentence() -> None:
    assert set(SENTENCES) == set(Reason)
