"""Received mails by hand: treated again after a correction, marked as seen; never told twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from connectors.mailbox_port import NotTreated, ReceiptFact, Receipts
from connectors.port import Report
from gateway.exchange.by_hand import Asked, Refused
from gateway.exchange.retention import DAY, Retention
from gateway.journal import by_hand
from gateway.settings import RetentionSettings
from tests.exchange import harness
from tests.exchange.harness import Running, submit
from tests.exchange.test_mailroom import mailing, until_rows

ASKED = Asked("essai", "règle corrigée")
ASIDE = NotTreated("quarantine", "PARTIAL", "Courriel à regarder.", True)


async def waiting(r: Running) -> list[int]:
    return [row.id for row in await r.gateway.journal.read(lambda s: by_hand.mail_rows(s, 10))]


async def refused(r: Running, mail_id: int, deed: Any) -> str:
    with pytest.raises(Refused) as fault:
        await r.gateway.by_hand.mail(mail_id, deed, ASKED)
    return fault.value.code


async def test_a_mail_set_aside_is_treated_again_and_is_a_persons_no_more(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.says = lambda raw: ASIDE
        mss.mail(1, b"one")
        await until_rows(r, "SELECT state, kind FROM received_mail", [("treated", "quarantine")])
        assert await waiting(r) == [1]
        mss.says = lambda raw: NotTreated("automatic")
        await r.gateway.by_hand.mail(1, "retry", ASKED)
        await until_rows(r, "SELECT state, kind FROM received_mail", [("treated", "automatic")])
        assert await waiting(r) == [] and mss.treatments == [b"one", b"one"]
    with harness.raw(tmp_path) as db:
        (data,) = db.execute("SELECT data FROM fact WHERE kind = 'mail_retry_by_hand'").fetchone()
    assert json.loads(data) == {
        "by": "essai", "code": "PARTIAL", "mail_kind": "quarantine", "mail": 1, "mailbox": "bal",
        "reason": "règle corrigée",
    }  # fmt: skip


async def test_what_gave_a_receipt_is_not_treated_again(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        assert (await r.send(submit("M1"))).code == "AA"
        fact = ReceiptFact(0, "Z02", "received", False, "250", Report("Z02", True, "dr@x.mssante.fr"))
        mss.says = lambda raw: Receipts("dsn", (fact,))
        mss.mail(1, b"key-m1 delivered")
        await until_rows(r, "SELECT count(*) FROM receipt", [(1,)])
        assert await refused(r, 1, "retry") == "USED"
        assert await refused(r, 99, "retry") == "UNKNOWN" == await refused(r, 99, "seen")
        with pytest.raises(Refused, match="INS"):
            await r.gateway.by_hand.mail(1, "seen", Asked("essai", "dr@x.fr"))


async def test_retention_waits_until_a_person_has_seen_it(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.says = lambda raw: ASIDE
        mss.mail(1, b"one")
        await until_rows(r, "SELECT state FROM received_mail WHERE filed_at IS NOT NULL", [("treated",)])
        with harness.raw(tmp_path) as db:
            db.execute(f"UPDATE received_mail SET treated_at = treated_at - {100 * DAY}")
        clocks = RetentionSettings(content_days=30)
        retention = Retention(r.gateway.journal, clocks, r.gateway.telemetry, reporting=False)
        assert (await retention.sweep()).mails == 0
        await r.gateway.by_hand.mail(1, "seen", ASKED)
        assert await waiting(r) == []
        assert (await retention.sweep()).mails == 1
        assert await refused(r, 1, "retry") == "CONTENT"
        await asyncio.sleep(0)
