"""Retention of rows: ADT, and the audit trail. On both databases."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from gateway.accounts.trace import Actor, Trace
from gateway.exchange.retention import DAY, Swept
from gateway.journal import maintenance
from gateway.journal.sql import QUERIES
from gateway.settings import RetentionSettings
from tests.exchange import harness
from tests.exchange.harness import Running, running, submit
from tests.exchange.test_indicator_facts import told
from tests.hl7.test_adt import adt
from tests.operations.test_retention import BOTH, CONTENT, old, sizes, sweep

BROKEN = {"PID": "PID|1", "PV1": "PV1|1|I"}


def messages(directory: Path) -> list[str]:
    with harness.raw(directory) as db:
        return [c for (c,) in db.execute("SELECT control_id FROM message ORDER BY id").fetchall()]


# --- ADT --------------------------------------------------------------------------------------------------------------


async def test_rows_of_adt_go_after_the_traces_clock_and_their_facts_stay(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        assert (await r.send(adt("A01", "77"))).code == "AA"
        assert (await r.send(adt("A03", "78"))).code == "AA"
        assert (await r.send(adt("A01", "79", **BROKEN))).code == "AE"
        assert (await r.send(submit("M2", 2, recipients=()))).code == "AA"
        await r.settled("M2")
        facts = await told(r)
        old(tmp_path, 60)
        assert (await sweep(r, BOTH)).adt == 0, "only the contents' clock has passed"
        assert messages(tmp_path) == ["M1", "77", "78", "79", "M2"]
        old(tmp_path, 60)
        assert (await sweep(r, CONTENT)).adt == 0, "there is no clock of traces"
        dry = await sweep(r, BOTH, dry_run=True)
        assert dry.adt == 3 and len(messages(tmp_path)) == 5
        assert (await sweep(r, BOTH)).adt == 3
        assert messages(tmp_path) == ["M1", "M2"]
        assert await told(r) == facts
        assert await sweep(r, BOTH) == Swept()


async def test_an_adt_that_comes_again_after_its_row_went_tells_nothing_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        first = await r.send_raw(adt("A01", "77"))
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        facts = await told(r)
        old(tmp_path, 60)
        await sweep(r, BOTH)
        assert await r.send_raw(adt("A01", "77")) == first, "while the row is there: the same bytes"
        old(tmp_path, 60)
        assert (await sweep(r, BOTH)).adt == 1
        again = await r.send(adt("A01", "77"))
        assert (again.code, again.acknowledged) == ("AA", "77")
        assert await told(r) == facts
        # another content under that MSH-10 is another message, as ever
        assert (await r.send(adt("A03", "77"))).code == "AA"
        assert len(await told(r)) > len(facts)


async def test_what_is_not_finished_or_pointed_to_stays(tmp_path: Path) -> None:
    """An ADT without its answer, one of which a person hears, the newest row, and every document."""
    async with running(tmp_path, errors={"refused_messages": True}) as r:
        for number in ("1", "2", "3"):
            assert (await r.send(adt("A01", number))).code == "AA"
        assert (await r.send(adt("A01", "4", **BROKEN))).code == "AE"
        assert (await r.send(adt("A01", "5"))).code == "AA"
        old(tmp_path)
        with harness.raw(tmp_path) as db:
            db.execute("UPDATE message SET state = 'received', ack = NULL, ack_code = NULL WHERE id = 2")
            assert db.execute("SELECT count(*) FROM incident WHERE message_id = 4").fetchone()[0] == 1
        assert (await sweep(r, BOTH)).adt == 2
        assert messages(tmp_path) == ["2", "4", "5"]
        with harness.raw(tmp_path) as db:
            db.execute("UPDATE message SET state = 'answered', ack = 'x', ack_code = 'AA' WHERE id = 2")
        newest = messages(tmp_path)[-1]
        assert (await sweep(r, BOTH)).adt == 1 and messages(tmp_path) == ["4", newest]
        # its number is not given again: what outlives it would point to another message
        assert (await r.send(adt("A02", "6"))).code == "AA"
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT max(id) FROM message").fetchone()[0] == 6


@pytest.mark.sqlite
async def test_the_bytes_of_what_went_are_gone_and_nothing_is_damaged(tmp_path: Path) -> None:
    import asyncio

    async with running(tmp_path) as r:
        for number in ("1", "2"):
            assert (await r.send(adt("A01", number))).code == "AA"
        old(tmp_path)
        await sweep(r, BOTH)
        assert sizes(tmp_path) == [0, 0]
        made = r.gateway.settings.journal
    found = await asyncio.to_thread(maintenance.verify, maintenance.Place(tmp_path / "journal.sqlite", made))
    assert found.damaged == []


@pytest.mark.sqlite
async def test_to_remove_a_message_reads_no_table_whole(tmp_path: Path) -> None:
    """Each removal looks for what points to it: without an index that is a read of everything, by the one writer."""
    async with running(tmp_path) as r:
        assert (await r.send(adt("A01", "1"))).code == "AA"
    with harness.raw(tmp_path) as db:
        db.execute("PRAGMA foreign_keys = ON")
        plan = db.execute("EXPLAIN QUERY PLAN " + QUERIES["delete_message"], {"message_id": 1}).fetchall()
    steps = [row[-1] for row in plan]
    assert any("report_to" in step for step in steps), steps
    assert not [step for step in steps if step.startswith("SCAN")], steps


# --- the audit trail --------------------------------------------------------------------------------------------------


async def trail(r: Running, ages: list[float]) -> Trace:
    """One row of each age, in days."""
    now = time.time()
    for number, age in enumerate(ages):
        at = now - age * DAY
        await Trace(r.gateway.journal, partial(float, at)).add(Actor(f"n{number}"), "login")
    return Trace(r.gateway.journal, time.time)


async def actors(one: Trace) -> list[str]:
    return [row["actor"] for row in (await one.rows(limit=2000))[::-1]]


async def test_the_trail_has_a_clock_of_its_own_and_says_what_went(tmp_path: Path) -> None:
    assert RetentionSettings().audit_days == 1095
    async with running(tmp_path) as r:
        one = await trail(r, [2000, 1100, 1090, 3, 1])
        assert (await sweep(r, {}, dry_run=True)).audit == 2
        assert len(await actors(one)) == 5
        assert await sweep(r, {}) == Swept(audit=2)
        rows = (await one.rows())[::-1]
        assert [row["actor"] for row in rows] == ["n2", "n3", "n4", ""]
        day = time.strftime("%Y-%m-%d", time.gmtime((time.time() - 1095 * DAY) // DAY * DAY))
        told = (rows[-1]["action"], rows[-1]["subject"], rows[-1]["via"], rows[-1]["details"])
        assert told == ("trace-trimmed", "", "", {"number": 2, "before": day})
        assert await sweep(r, {}) == Swept(), "no run makes rows for the next one to remove"
        assert await sweep(r, {"audit_days": 0}) == Swept(), "for ever"
        assert await sweep(r, {"audit_days": 30}) == Swept(audit=1)


async def test_a_long_trail_goes_in_commits_of_a_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.exchange.retention.AUDIT_GROUP", 4)
    async with running(tmp_path) as r:
        one = await trail(r, [2000.0] * 10 + [1.0])
        assert await sweep(r, {}) == Swept(audit=10)
        told = [row["details"].get("number") for row in (await one.rows())[::-1]]
        assert told == [None, 4, 4, 2]


async def test_the_newest_row_of_the_trail_stays(tmp_path: Path) -> None:
    """Its number would be given again."""
    async with running(tmp_path) as r:
        one = await trail(r, [2000, 2000])
        assert (await sweep(r, {})).audit == 1
        assert await actors(one) == ["n1", ""]
        rows = await one.rows()
        assert [row["id"] for row in rows] == [3, 2]


async def test_a_gateway_without_other_clocks_trims_the_trail(tmp_path: Path) -> None:
    async with running(tmp_path, retention={"every": 0.1}) as r:
        one = await trail(r, [2000, 1])
        await r.until(lambda: r.gateway.telemetry.registry.get_sample_value(
            "segur_retention_total", {"kind": "audit"}) == 1)  # fmt: skip
        assert await actors(one) == ["n1", ""]


def test_the_clock_of_the_trail_is_no_other() -> None:
    assert RetentionSettings(audit_days=10).content_days is None
    with pytest.raises(ValidationError):
        RetentionSettings(audit_days=-1)
