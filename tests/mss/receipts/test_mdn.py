"""Reading reports and error mails read. Source: spec/mssante.md §2.6 (forms A, B, C), §3.2, §3.3; RFC 8098."""

from __future__ import annotations

import base64

import pytest

from connectors.mss.receipts.errormail import subject_code
from connectors.mss.receipts.model import Disposition, ErrorMail, Mdn, Quarantined, Reason
from connectors.mss.receipts.reading import read
from tests.mss.receipts import mails
from tests.mss.receipts.mails import MESSAGE_ID, READER, SUBJECT, error_mail, mdn

OURS = MESSAGE_ID.strip("<>")
AUTOMATIC = "automatic-action/MDN-sent-automatically"
MANUAL = "manual-action/MDN-sent-manually"


def mdn_of(raw: bytes) -> Mdn:
    found = read(raw)
    assert isinstance(found, Mdn), found
    return found


def error_mail_of(raw: bytes) -> ErrorMail:
    found = read(raw)
    assert isinstance(found, ErrorMail), found
    return found


@pytest.mark.parametrize("code", ["900", "901", "902", "903", "904", "905", "906"])
def test_the_three_forms_give_the_same_result(code: str) -> None:
    """§2.6: A writes the error in the modifier, B also in `Error:`, C only there."""
    expected = Mdn(Disposition.PROCESSED, True, code, code, (OURS, OURS, OURS), READER, READER)
    assert [mdn_of(mdn(form, code)) for form in "ABC"] == [expected] * 3


@pytest.mark.parametrize("form", "ABC")
def test_success(form: str) -> None:
    found = mdn_of(mdn(form))
    assert (found.disposition, found.error, found.given) == (Disposition.PROCESSED, None, "")


@pytest.mark.parametrize(
    ("text", "disposition", "automatic", "error"),
    [
        (f"{MANUAL}; displayed", Disposition.DISPLAYED, False, None),
        ("manual-action/MDN-sent-automatically ;Displayed", Disposition.DISPLAYED, False, None),
        (f"{AUTOMATIC}; dispatched", Disposition.DISPATCHED, True, None),
        (f"{AUTOMATIC};processed", Disposition.PROCESSED, True, None),
        (f"{AUTOMATIC}; deleted", Disposition.DELETED, True, None),
        (f"{MANUAL}; denied", Disposition.DENIED, False, None),
        (f"{AUTOMATIC}; processed (par le DPI);", Disposition.PROCESSED, True, None),
        (f"{AUTOMATIC}; processed/error", Disposition.PROCESSED, True, "906"),
        (f"{AUTOMATIC}; processed/Warning, error", Disposition.PROCESSED, True, "906"),
        (f"{AUTOMATIC}; processed/warning", Disposition.PROCESSED, True, None),
        (f"{AUTOMATIC}; failed", Disposition.FAILED, True, "906"),
        (f"{AUTOMATIC}; deleted/error", Disposition.DELETED, True, "906"),
    ],
)
def test_dispositions(text: str, disposition: Disposition, automatic: bool, error: str | None) -> None:
    found = mdn_of(mdn(disposition=text))
    assert (found.disposition, found.automatic, found.error) == (disposition, automatic, error)


@pytest.mark.parametrize(
    ("field", "error", "given"),
    [
        ("902^Identifiant de patient inconnu^applicationErrorCondition| E^Error^errorSeverity", "902", "902"),
        ("902", "902", "902"),
        ("Error: 904^x", "904", "904"),
        ("207^Application error^messageErrorCondition|E|903^INS^applicationErrorCode", "903", "903"),
        # technical codes are not relayed (§3.2)
        ("101^Required field missing^messageErrorCondition", "906", "101"),
        ("910^Inconnu de la table", "906", "910"),
        ("Patient inconnu au 12345 rue", "906", ""),
    ],
)
def test_code_of_the_error_field(field: str, error: str, given: str) -> None:
    found = mdn_of(mdn(disposition=f"{AUTOMATIC}; processed/error", Error=field))
    assert (found.error, found.given) == (error, given)


def test_order_of_the_codes() -> None:
    """§3.2: `Error:` field, then modifier, then subject, then text."""
    subject = f"[KO Intégration système !][903] {SUBJECT}"
    modifier = f"{AUTOMATIC}; processed/Error: 904^x"
    assert mdn_of(mdn(disposition=modifier, Error="905^x", head_Subject=subject)).error == "905"
    assert mdn_of(mdn(disposition=modifier, head_Subject=subject)).error == "904"
    assert mdn_of(mdn(head_Subject=subject)).error == "903"
    text = mdn(disposition=f"{AUTOMATIC}; processed/error").replace(b"pas pu", b"pas pu (code 901)")
    assert mdn_of(text).error == "901"


def test_several_error_fields() -> None:
    fields = "101^x\r\nError: 902^x"
    assert mdn_of(mdn(disposition=f"{AUTOMATIC}; processed/error", Error=fields)).error == "902"


def test_a_failure_field_is_an_error() -> None:
    assert mdn_of(mdn(Failure="cannot")).error == "906"


def test_a_number_in_a_success_is_no_error() -> None:
    assert mdn_of(mdn().replace(b"pas pu", b"902")).error is None


def test_original_message_id_with_blanks() -> None:
    """The volet's own example has blanks inside the brackets."""
    for spaced in (MESSAGE_ID.replace(">", " >"), MESSAGE_ID.replace("@", "\r\n @ "), OURS):
        assert mdn_of(mdn(Original_Message_ID=spaced)).message_ids[0] == OURS


def test_an_address_of_another_type_is_none() -> None:
    assert mdn_of(mdn(Final_Recipient=f"x400; {READER}")).final == ""
    assert mdn_of(mdn(Final_Recipient=READER)).final == READER


def test_the_reader_may_be_another() -> None:
    found = mdn_of(mdn(Final_Recipient="rfc822; lecteur@clinique-test.mssante.fr"))
    assert (found.original, found.final) == (READER, "lecteur@clinique-test.mssante.fr")


def test_blank_lines_between_the_fields() -> None:
    raw = mdn("C", "902")
    assert mdn_of(raw.replace(b"\r\nDisposition:", b"\r\n\r\nDisposition:")) == mdn_of(raw)
    start = b"Content-Type: message/disposition-notification\r\n\r\n"
    assert mdn_of(raw.replace(start, start + b"\r\n")) == mdn_of(raw)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (mdn(disposition="read"), Reason.REPORT_UNREADABLE),
        (mdn(disposition=f"{AUTOMATIC}; swallowed"), Reason.REPORT_UNREADABLE),
        (mdn(Disposition=""), Reason.REPORT_UNREADABLE),
        (mdn(disposition=f"{MANUAL}; displayed\r\nDisposition: {MANUAL}; deleted"), Reason.CONTRADICTION),
        (mdn(Original_Message_ID=f"{MESSAGE_ID}\r\nOriginal-Message-ID: <x@y>"), Reason.CONTRADICTION),
    ],
)
def test_unreadable_or_contradictory(raw: bytes, reason: Reason) -> None:
    assert read(raw) == Quarantined(reason)


# --- error mails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("subject", "code"),
    [
        (f"[KO Intégration système !][902] {SUBJECT}", "902"),
        ("[KO Integration systeme!] [906]", "906"),
        ("[Erreur d'intégration !][902] x", "902"),
        ("[Erreur d’intégration !][902] x", "902"),
        ("[KO Intégration\u00a0système\u00a0!][905] x", "905"),
        ("[KO Inte\u0301gration syste\u0300me !][905] x", "905"),
        ("[KO Intégration système !] x", ""),
        ("[KO Int\ufffdgration syst\ufffdme !][902] x", "902"),
        ("[KO IntÃ©gration systÃ¨me !][902] x", "902"),
        ("[Erreur d?int?gration !][902] x", "902"),
        ("[KO] x [902]", None),
        (f"Re: [KO Intégration système !][902] {SUBJECT}", None),
        (SUBJECT, None),
        ("", None),
    ],
)
def test_subject_of_an_error(subject: str, code: str | None) -> None:
    assert subject_code(subject) == code


def test_error_mail() -> None:
    assert error_mail_of(error_mail()) == ErrorMail("902", "902", OURS, (), READER)


def test_error_mail_whose_code_is_in_the_body_or_an_attachment() -> None:
    bare = "[KO Intégration système !] x"
    assert error_mail_of(error_mail(bare, "Code erreur : 904 (le 12/03/906, réf. 901-2)\r\n")).error == "904"
    in_the_ack = mails.multipart(
        "multipart/mixed",
        [
            mails.part("text/plain", "Voir la pièce jointe\r\n"),
            mails.part("text/xml", "<code>903</code>"),
            mails.part("message/rfc822", mails.original()),
        ],
        {"Subject": "[KO Int=?utf-8?q?=C3=A9gration_syst=C3=A8me?= !]", "From": READER, "Return-Path": ""},
    )
    assert error_mail_of(in_the_ack).error == "903"


def test_the_code_of_an_error_mail_never_comes_from_the_enclosed_mail() -> None:
    raw = error_mail("[KO Intégration système !] x").replace(b"Bonjour, document", b"Bonjour, code 902")
    assert error_mail_of(raw).error == "906"
    headers = mails.part("text/rfc822-headers", f"Subject: code 902\r\nMessage-ID: {MESSAGE_ID}\r\n")
    head = {"Subject": "[KO Integration systeme !] x", "Return-Path": "", "Auto-Submitted": ""}
    assert error_mail_of(mails.multipart("multipart/mixed", [headers], head)).error == "906"


def test_technical_codes_are_not_relayed() -> None:
    found = error_mail_of(error_mail("[KO Intégration système !][101] x"))
    assert (found.error, found.given) == ("906", "101")


@pytest.mark.parametrize("charset", ["latin-1", "utf-8"])
def test_a_subject_that_says_no_charset(charset: str) -> None:
    head = {"Subject": "§", "From": READER, "Return-Path": "", "Auto-Submitted": ""}
    raw = mails.multipart("multipart/mixed", [mails.part("message/rfc822", mails.original())], head)
    subject = "[KO Intégration système !][905] x".encode(charset)
    assert error_mail_of(raw.replace("§".encode(), subject)).error == "905"


def test_an_encoded_original() -> None:
    """RFC 2046 forbids it, relays do it."""
    enclosed = mails.part(
        "message/rfc822",
        base64.encodebytes(mails.original().encode()).decode(),
        "Content-Transfer-Encoding: base64\r\n",
    )
    head = {"Subject": "[KO Integration systeme !][902] x", "Return-Path": "", "Auto-Submitted": ""}
    assert error_mail_of(mails.multipart("multipart/mixed", [enclosed], head)).message_id == OURS


def test_references_serve_without_the_original() -> None:
    found = error_mail_of(
        error_mail(message_id="", In_Reply_To=MESSAGE_ID, References=f"<a@b.fr> {MESSAGE_ID}")
    )
    assert (found.message_id, found.references) == ("", (OURS, "a@b.fr"))
