"""Which delivery a receipt speaks of, and what the DPI is told. Source: spec/mssante.md §3.1 to §3.4."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.mss.receipts.matching import Fact, Keys, Known, Matched, Sent, keys_of, match
from connectors.mss.receipts.model import Quarantined, Reason
from connectors.mss.receipts.reading import read
from connectors.port import Report
from connectors.smtp.pool import xtext
from gateway.hl7.tables import APPLICATION_ERRORS, SMTP_ERRORS, label
from tests.mss.receipts import mails
from tests.mss.receipts.mails import (
    MESSAGE_ID,
    OTHER,
    OTHER_ID,
    OTHER_TOKEN,
    READER,
    SENT,
    TOKEN,
    dsn,
    error_mail,
    mdn,
    recipient_block,
)
from tests.mss.test_mail import PLAN

KNOWN = Known([SENT, OTHER])
UNKNOWN = (Quarantined(Reason.UNKNOWN_DELIVERY),)
CONTRADICTION = (Quarantined(Reason.CONTRADICTION),)
OTHER_RECIPIENT = (Quarantined(Reason.OTHER_RECIPIENT),)
STRANGE = "<strange@ailleurs-test.mssante.fr>"


def told(raw: bytes, known: Known = KNOWN, *, deleted: bool = False) -> tuple[Matched | Quarantined, ...]:
    return match(read(raw), known, deleted_is_error=deleted)


def z02(code: str = "") -> Report:
    return Report("Z02", not code, READER, SENT.recipient_id, code, label(SMTP_ERRORS, code))


def z03(code: str = "", reader: str = READER, person: str = SENT.recipient_id) -> Report:
    return Report("Z03", not code, reader, person, code, label(APPLICATION_ERRORS, code))


# --- DSN → Z02 -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["delivered", "relayed", "expanded"])
def test_success_is_y(action: str) -> None:
    assert told(dsn(recipient_block(action, "2.0.0"))) == (Matched(SENT, Fact.RECEIVED, "", z02()),)


def test_failure_is_n_with_its_code() -> None:
    found = told(dsn(recipient_block("failed", "5.2.2")))
    assert found == (Matched(SENT, Fact.NOT_RECEIVED, "552", z02("552")),)
    assert z02("552").label


def test_a_delay_is_told_to_nobody_yet() -> None:
    assert told(dsn(recipient_block("delayed", "4.4.1"))) == (Matched(SENT, Fact.DELAYED, "441"),)


def test_z02_only_when_asked_for() -> None:
    quiet = replace(SENT, ask_reception=False)
    found = told(dsn(recipient_block("failed", "5.1.1")), Known([quiet]))
    assert found == (Matched(quiet, Fact.NOT_RECEIVED, "550"),)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (dsn(message_id=""), SENT),
        (dsn(envid=""), SENT),
        (dsn(envid=TOKEN.upper()), SENT),
        (dsn(envid="made-by-a-relay"), SENT),
        (dsn(message_id=STRANGE), SENT),
        (dsn(envid="", message_id=""), UNKNOWN),
        (dsn(envid="nothing", message_id=STRANGE), UNKNOWN),
        (dsn(envid=TOKEN, message_id=OTHER_ID), CONTRADICTION),
        (dsn(envid=OTHER_TOKEN, message_id=MESSAGE_ID), CONTRADICTION),
        (dsn(envid=OTHER_TOKEN, message_id=OTHER_ID), OTHER_RECIPIENT),
    ],
)
def test_keys_of_a_dsn(raw: bytes, expected: object) -> None:
    """ENVID, then recipient, then returned Message-ID; what is known must agree."""
    found = told(raw)
    assert found[0].sent is SENT if isinstance(found[0], Matched) else found == expected
    assert isinstance(found[0], Matched) == (expected is SENT)


@pytest.mark.parametrize(
    ("original", "final", "matched"),
    [
        (f"rfc822;{READER.upper()}", "rfc822; alias@clinique-test.mssante.fr", True),
        ("", f"rfc822; {READER}", True),
        ("", "rfc822; alias@clinique-test.mssante.fr", False),
        ("rfc822;alias@clinique-test.mssante.fr", f"rfc822; {READER}", False),
        ("", "", False),
        ("x400;/c=fr", "unknown; x", False),
    ],
)
def test_a_dsn_must_name_its_recipient(original: str, final: str, matched: bool) -> None:
    found = told(dsn(recipient_block(Original_Recipient=original, Final_Recipient=final)))
    assert isinstance(found[0], Matched) if matched else found == OTHER_RECIPIENT


def test_blocks_of_one_recipient() -> None:
    """An alias gives several: a final one counts more than a delay, success and failure together are neither."""
    good, bad = recipient_block("relayed", "2.0.0"), recipient_block("failed", "5.1.1")
    late = recipient_block("delayed", "4.4.1")
    assert told(dsn(late, good, good)) == (Matched(SENT, Fact.RECEIVED, "", z02()),)
    assert told(dsn(late, bad)) == (Matched(SENT, Fact.NOT_RECEIVED, "550", z02("550")),)
    assert told(dsn(good, bad)) == CONTRADICTION


def test_another_recipient_in_the_report_goes_to_quarantine_alone() -> None:
    stranger = recipient_block(Original_Recipient="", Final_Recipient="rfc822;x@ailleurs-test.mssante.fr")
    found = told(dsn(recipient_block("relayed", "2.0.0"), stranger))
    assert found == (Matched(SENT, Fact.RECEIVED, "", z02()), *OTHER_RECIPIENT)


def test_recipients_of_one_mail_are_told_one_by_one() -> None:
    second = replace(OTHER, message_id=MESSAGE_ID, envid=TOKEN)
    blocks = (
        recipient_block("relayed", "2.0.0"),
        recipient_block(Original_Recipient=f"rfc822;{OTHER.recipient}"),
    )
    found = told(dsn(*blocks), Known([SENT, second]))
    facts = [(one.sent.delivery, one.fact) for one in found if isinstance(one, Matched)]
    assert facts == [(7, Fact.RECEIVED), (8, Fact.NOT_RECEIVED)]


# --- MDN and error mails → Z03 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", "ABC")
def test_mdn(form: str) -> None:
    assert told(mdn(form)) == (Matched(SENT, Fact.READ, "", z03()),)
    assert told(mdn(form, "902")) == (Matched(SENT, Fact.NOT_INTEGRATED, "902", z03("902")),)


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        (mdn(Original_Message_ID=MESSAGE_ID.replace(">", " >")), SENT),
        (mdn(Original_Message_ID=""), SENT),
        (mdn(Original_Message_ID="", head_In_Reply_To=STRANGE, head_References=STRANGE), SENT),
        (mdn(Original_Message_ID=STRANGE), UNKNOWN),
        (mdn(Original_Message_ID=OTHER_ID), CONTRADICTION),
        (mdn(head_In_Reply_To=OTHER_ID), CONTRADICTION),
    ],
)
def test_keys_of_an_mdn(raw: bytes, found: object) -> None:
    first = told(raw)
    assert first[0].sent is SENT if isinstance(first[0], Matched) else first == found
    assert isinstance(first[0], Matched) == (found is SENT)


def test_mdn_known_by_in_reply_to_alone() -> None:
    text = mdn(Original_Message_ID="").decode()
    raw = text.replace(f"\r\nMessage-ID: {MESSAGE_ID}", "").encode()
    assert told(raw) == (Matched(SENT, Fact.READ, "", z03()),)


def test_never_by_the_subject() -> None:
    raw = error_mail(message_id="")
    assert told(raw) == UNKNOWN
    raw = mdn(Original_Message_ID="", head_In_Reply_To="", head_References="").decode()
    assert told(raw.replace(f"\r\nMessage-ID: {MESSAGE_ID}", "").encode()) == UNKNOWN


def test_the_reader_is_the_final_recipient() -> None:
    """After a forward another person reads: her address, without the id of the first one."""
    reader = "lecteur@clinique-test.mssante.fr"
    found = told(mdn(Final_Recipient=f"rfc822; {reader}"))
    assert found == (Matched(SENT, Fact.READ, "", z03(reader=reader, person="")),)


def test_deleted_unread() -> None:
    raw = mdn(disposition="manual-action/MDN-sent-manually; deleted")
    assert told(raw) == (Matched(SENT, Fact.NO_NEWS),)
    assert told(raw, deleted=True) == (Matched(SENT, Fact.NOT_INTEGRATED, "906", z03("906")),)


def test_denied_is_told_to_nobody() -> None:
    raw = mdn(disposition="manual-action/MDN-sent-manually; denied")
    assert told(raw, deleted=True) == (Matched(SENT, Fact.NO_NEWS),)


def test_z03_only_when_asked_for() -> None:
    quiet = replace(SENT, ask_reading=False)
    assert told(mdn(), Known([quiet])) == (Matched(quiet, Fact.READ),)
    assert told(error_mail(), Known([quiet])) == (Matched(quiet, Fact.NOT_INTEGRATED, "902"),)


def test_mdn_of_a_mail_to_several_recipients() -> None:
    known = Known([SENT, replace(OTHER, message_id=MESSAGE_ID)])
    assert told(mdn(), known)[0] == Matched(SENT, Fact.READ, "", z03())
    strange = mdn(Original_Recipient="", Final_Recipient="rfc822; x@ailleurs-test.mssante.fr")
    assert told(strange, known) == OTHER_RECIPIENT


def test_error_mail() -> None:
    assert told(error_mail()) == (Matched(SENT, Fact.NOT_INTEGRATED, "902", z03("902")),)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (error_mail(message_id=STRANGE, In_Reply_To=MESSAGE_ID), UNKNOWN),
        (error_mail(message_id="", In_Reply_To=MESSAGE_ID), SENT),
        (error_mail(message_id="", References=f"{STRANGE} {MESSAGE_ID}"), SENT),
        (error_mail(message_id="", References=f"{OTHER_ID} {MESSAGE_ID}"), CONTRADICTION),
    ],
)
def test_keys_of_an_error_mail(raw: bytes, expected: object) -> None:
    found = told(raw)
    assert found[0].sent is SENT if isinstance(found[0], Matched) else found == expected
    assert isinstance(found[0], Matched) == (expected is SENT)


# --- the rest --------------------------------------------------------------------------------------------------------


def test_documents_and_automatic_mail_establish_nothing() -> None:
    assert told(mails.document()) == ()
    assert told(mails.note(Precedence="list")) == ()
    assert told(mails.note()) == (Quarantined(Reason.NOT_A_DOCUMENT),)


def test_keys_to_fetch() -> None:
    ours = MESSAGE_ID.strip("<>")
    assert keys_of(read(dsn())) == Keys((TOKEN,), (ours,))
    assert keys_of(read(mdn())) == Keys((), (ours,))
    assert keys_of(read(error_mail(message_id="", References=MESSAGE_ID))) == Keys((), (ours,))
    assert keys_of(read(mails.document())) == Keys()


def test_what_our_own_sending_makes_is_found_again() -> None:
    """The identifiers of a real plan, given back as Postfix gives them (xtext decoded)."""
    assert xtext(PLAN.envid) == PLAN.envid
    mine = Sent.of(9, PLAN)
    block = recipient_block(
        "relayed",
        "2.0.0",
        Original_Recipient=f"rfc822;{PLAN.recipient}",
        Final_Recipient=f"rfc822;{PLAN.recipient}",
    )
    for raw in (
        dsn(block, envid=PLAN.envid, message_id=""),
        dsn(block, envid="", message_id=PLAN.message_id),
    ):
        (found,) = told(raw, Known([mine]))
        assert isinstance(found, Matched)
        assert (found.sent.delivery, found.sent.recipient) == (9, PLAN.recipient)
