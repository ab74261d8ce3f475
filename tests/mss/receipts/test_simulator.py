"""Our own mail, answered by the operator and reader simulators, read and matched: two hands that share no code.

Source: spec/mssante.md §2.6, §3.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from connectors.mss import mail
from connectors.mss.receipts.matching import Fact, Known, Matched, Sent, match
from connectors.mss.receipts.model import Inbound
from connectors.mss.receipts.reading import read
from connectors.mss.simulator.readers import Reader, answer
from connectors.mss.simulator.reports import Action, Returned, Status, delivery_report
from connectors.smtp.pool import xtext
from tests.mss.test_mail import PLAN, ZIP

NOW = datetime(2026, 11, 20, 10, 46, 43, tzinfo=UTC)
ASKED = replace(PLAN, ask_reading=True, ask_reception=True)
RAW = mail.build(
    ASKED, ASKED.body, [ZIP, mail.Attachment("application/pdf", "20260101_CR été.pdf", b"%PDF-1.4")]
)
KNOWN = Known([Sent.of(5, ASKED)])


def told(raw: bytes) -> Matched:
    (found,) = match(read(raw), KNOWN)
    assert isinstance(found, Matched), found
    assert found.sent.delivery == 5
    return found


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("envid", [ASKED.envid, ""], ids=["ours", "none"])
@pytest.mark.parametrize(
    ("action", "status", "reply", "fact", "code"),
    [
        ("delivered", "2.0.0", "250 2.0.0 Saved", Fact.RECEIVED, ""),
        ("relayed", "2.0.0", "250 2.0.0 Ok: queued", Fact.RECEIVED, ""),
        ("expanded", "2.0.0", "250 2.0.0 Ok", Fact.RECEIVED, ""),
        ("delayed", "4.4.1", "451 4.4.1 later", Fact.DELAYED, "451"),
        ("failed", "5.2.2", "552 5.2.2 mailbox full", Fact.NOT_RECEIVED, "552"),
        ("failed", "5.1.1", "550 5.1.1 no such mailbox", Fact.NOT_RECEIVED, "550"),
    ],
)
def test_delivery_reports(
    full: bool, envid: str, action: Action, status: str, reply: str, fact: Fact, code: str
) -> None:
    returned = Returned(
        ASKED.sender, ASKED.recipient, RAW, xtext(envid), f"rfc822;{xtext(ASKED.recipient)}", full, NOW
    )
    found = told(delivery_report(returned, Status(action, status, reply), 1, NOW))
    assert (found.fact, found.code) == (fact, code)
    assert (found.report is None) == (fact is Fact.DELAYED)


@pytest.mark.parametrize("third", ["none", "headers", "message"])
@pytest.mark.parametrize("message_id", ["exact", "spaces", "absent"])
@pytest.mark.parametrize("form", ["A", "B", "C"])
@pytest.mark.parametrize(
    ("kind", "code", "fact", "told_code"),
    [
        ("displayed", "902", Fact.READ, ""),
        ("processed", "902", Fact.READ, ""),
        ("dispatched", "902", Fact.READ, ""),
        ("deleted", "902", Fact.NO_NEWS, ""),
        ("error", "902", Fact.NOT_INTEGRATED, "902"),
        ("error", "906", Fact.NOT_INTEGRATED, "906"),
        ("error", "101", Fact.NOT_INTEGRATED, "906"),
        ("error_mail", "904", Fact.NOT_INTEGRATED, "904"),
    ],
)
def test_readers(
    third: Any, message_id: Any, form: Any, kind: Any, code: str, fact: Fact, told_code: str
) -> None:
    reader = Reader(kind, code=code, form=form, third=third, message_id=message_id)
    made = answer(reader, ASKED.sender, ASKED.recipient, RAW, 1, NOW)
    assert made is not None
    found = told(made.raw)
    assert (found.fact, found.code) == (fact, told_code)
    if found.report is not None:
        assert (found.report.event, found.report.recipient) == ("Z03", ASKED.recipient)


def test_a_reader_after_a_forward() -> None:
    reader = Reader("processed", final_recipient="lecteur@clinique-test.mssante.fr")
    made = answer(reader, ASKED.sender, ASKED.recipient, RAW, 1, NOW)
    assert made is not None
    found = told(made.raw)
    assert found.report is not None
    assert (found.report.recipient, found.report.recipient_id) == ("lecteur@clinique-test.mssante.fr", "")


def test_our_own_mail_is_a_document() -> None:
    found = read(RAW)
    assert isinstance(found, Inbound)
    assert (found.archives, found.enclosed, found.answerable) == (1, 0, True)
