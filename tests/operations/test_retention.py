"""Retention: what goes after its clock, and everything that must not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from connectors.port import Outcome, OutcomeClass
from gateway.errors import ContentGone
from gateway.exchange.retention import DAY, Retention, Swept
from gateway.journal import records
from gateway.settings import RetentionSettings, Settings
from tests.exchange import harness
from tests.exchange.harness import ROOT, Running, replace, running, submit

CONTENT = {"content_days": 30}
BOTH = {"content_days": 30, "trace_days": 90}
TRANSIENT = Outcome(OutcomeClass.TRANSIENT, "503", "indisponible")
SLOW = {"retry": {"first": 3600, "longest": 3600, "jitter": 0}}


def old(directory: Path, days: float = 100) -> None:
    """Everything happened so many days ago."""
    shift = days * DAY
    with harness.raw(directory) as db:
        for table, columns in {
            "message": ("received_at", "answered_at"),
            "delivery": ("created_at", "finished_at"),
            "received_mail": ("received_at", "treated_at", "filed_at"),
        }.items():
            changes = ", ".join(f"{c} = {c} - {shift}" for c in columns)
            db.execute(f"UPDATE {table} SET {changes}")


def sizes(directory: Path) -> list[int]:
    with harness.raw(directory) as db:
        return [n for (n,) in db.execute("SELECT length(content) FROM payload ORDER BY id").fetchall()]


async def sweep(
    r: Running, settings: dict[str, Any], *, reporting: bool = True, dry_run: bool = False
) -> Swept:
    made = Retention(r.gateway.journal, RetentionSettings(**settings), r.gateway.telemetry, reporting)
    return await made.sweep(dry_run=dry_run)


async def test_contents_of_what_is_finished_go_and_nothing_else(tmp_path: Path) -> None:
    async with running(tmp_path, engine=SLOW) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        r.dmp.outcomes = [TRANSIENT]
        assert (await r.send(submit("M2", 2, recipients=()))).code == "AA"  # undelivered
        await r.until(lambda: len(r.dmp.jobs) == 2)
        await asyncio.sleep(0.1)
        before = sizes(tmp_path)
        assert await sweep(r, CONTENT) == Swept()  # nothing is old
        old(tmp_path)
        dry = await sweep(r, CONTENT, dry_run=True)
        assert (dry.messages, dry.bytes, dry.deliveries) == (1, before[0], 0) and sizes(tmp_path) == before
        assert (await sweep(r, CONTENT)).messages == 1
        assert sizes(tmp_path) == [0, before[1]]
        assert await sweep(r, CONTENT) == Swept()
        # the register still refuses the same document with other bytes, and knows what the DMP has
        assert (await r.send(replace("M3", 1, 2, replaces=1, recipients=()))).code == "AA"
        await r.settled("M3")
        assert r.dmp.jobs[-1].predecessor.value == "delivered"
        with pytest.raises(ContentGone):
            await r.gateway.journal.read(lambda s: records.document_bytes(s, 1))


async def test_an_unanswered_an_awaited_and_an_unreported_one_stay(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.mss.recipients = ("dr.x@test-hopital.mssante.fr",)
        for n in (1, 2, 3):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"
            await r.settled(f"M{n}")
        old(tmp_path)
        with harness.raw(tmp_path) as db:
            (one,) = db.execute(
                "SELECT id FROM delivery WHERE message_id = 1 AND destination = 'mss'"
            ).fetchone()
            db.execute("INSERT INTO awaited (delivery_id, due_at) VALUES (?, 1)", (one,))
            db.execute(
                "INSERT INTO incident (at, flow, family, code, route, message_id, words)"
                " VALUES (1, 'outbound', 'f', 'c', 'r', 2, '{}')"
            )
            db.execute("UPDATE message SET state = 'received', ack = NULL, ack_code = NULL WHERE id = 3")
        assert (await sweep(r, BOTH)).messages == 0
        # without an error mailbox nobody will ever be told
        assert (await sweep(r, BOTH, reporting=False)).messages == 1
        with harness.raw(tmp_path) as db:
            (kept,) = db.execute("SELECT length(plan) FROM delivery WHERE id = ?", (one,)).fetchone()
        assert kept > 0


async def test_traces_go_and_the_register_and_the_facts_stay(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [TRANSIENT]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        old(tmp_path)
        with harness.raw(tmp_path) as db:
            facts = db.execute("SELECT * FROM fact ORDER BY id").fetchall()
            documents = db.execute("SELECT * FROM document ORDER BY id").fetchall()
        swept = await sweep(r, BOTH)
        assert swept.deliveries == 2 and swept.rows >= 3
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM attempt").fetchone()[0] == 0
            assert db.execute("SELECT sum(length(plan)), max(length(label)) FROM delivery").fetchone() == (
                0,
                0,
            )
            assert db.execute("SELECT * FROM fact ORDER BY id").fetchall() == facts
            assert db.execute("SELECT * FROM document ORDER BY id").fetchall() == documents
        # asked for again: known as done
        again = await r.send(submit("M9", recipients=()))
        assert again.code == "AE"
        assert (await r.send(replace("M2", 1, 2, replaces=1, recipients=()))).code == "AA"
        await r.settled("M2")
        assert r.dmp.jobs[-1].predecessor.value == "delivered"
        assert r.dmp.jobs[-1].predecessor_uids == (f"{ROOT}.1.1",)


async def test_an_unknown_outcome_is_remembered_for_the_version_rules(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.UNCERTAIN)]
        r.dmp.reconciled = [Outcome(OutcomeClass.PERMANENT, "X", "refus")]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        old(tmp_path)
        await sweep(r, BOTH)
        assert (await r.send(submit("M2", recipients=()))).code == "AA"  # the same bytes again
        await r.settled("M2")
        assert r.dmp.jobs[-1].may_be_there


async def test_an_error_report_of_what_is_gone_has_no_original(tmp_path: Path) -> None:
    from gateway.journal.sql import run

    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        with harness.raw(tmp_path) as db:
            (one,) = db.execute("SELECT min(id) FROM delivery").fetchone()
            db.execute(
                "INSERT INTO incident (at, flow, family, code, route, message_id, words, report_id)"
                f" VALUES (1, 'receipt', 'f', 'c', 'r', 1, '{{}}', {one})"
            )
            db.execute(
                f"INSERT INTO error_report (delivery_id, mailbox, family, at) VALUES ({one}, 'm', 'f', 1)"
            )
            db.execute(f"INSERT INTO reported_incident (delivery_id, incident_id) VALUES ({one}, 1)")

        def payload(s: Any) -> Any:
            return run(s, "originals_of_report", delivery_id=one).one().message_payload

        assert await r.gateway.journal.read(payload) == 1
        old(tmp_path)
        assert (await sweep(r, CONTENT)).messages == 1
        assert await r.gateway.journal.read(payload) is None


@pytest.mark.sqlite
async def test_verify_does_not_call_it_damaged(tmp_path: Path) -> None:
    from gateway.journal.maintenance import Place, verify

    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        old(tmp_path)
        await sweep(r, CONTENT)
        made = r.gateway.settings.journal
    found = await asyncio.to_thread(verify, Place(tmp_path / "journal.sqlite", made))
    assert (found.payloads, found.documents, found.damaged) == (0, 0, [])


async def test_the_running_gateway_does_it_and_says_what_it_would_do(tmp_path: Path) -> None:
    import httpx

    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
    old(tmp_path)
    slow = CONTENT | {"every": 3600}
    async with (
        running(tmp_path, retention=slow, web={"enabled": True, "port": 0}) as r,
        httpx.AsyncClient() as client,
    ):
        found = await client.get(f"http://127.0.0.1:{r.gateway.web_port}/api/v1/retention")
        assert found.json()["messages"] == 1
    assert sizes(tmp_path)[0] > 0
    async with running(tmp_path, retention=CONTENT | {"every": 0.1}) as r:
        await r.until(lambda: sizes(tmp_path)[0] == 0)


def test_the_clocks_are_in_order() -> None:
    assert Settings().retention.content_days is None
    with pytest.raises(ValidationError):
        RetentionSettings(content_days=90, trace_days=30)
    with pytest.raises(ValidationError):
        RetentionSettings(trace_days=30)
