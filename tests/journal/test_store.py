"""The journal's door: durable, grouped, isolated, one process (architecture §8)."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from gateway.errors import ConfigurationFault, JournalUnavailable
from gateway.journal.models import Fact
from gateway.journal.records import add_fact
from gateway.journal.sql import QUERIES
from gateway.journal.store import Journal


def kinds(session: Session) -> list[str]:
    return list(session.exec(select(Fact.kind).order_by(col(Fact.id))).all())


async def test_pragmas_are_those_that_were_measured(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    try:
        for read in (journal.read, journal.write):
            found = await read(
                lambda s: [
                    s.execute(text(f"PRAGMA {p}")).scalar_one()
                    for p in ("journal_mode", "synchronous", "page_size", "foreign_keys", "busy_timeout")
                ]
            )
            assert found == ["wal", 2, 16384, 1, 30000]
    finally:
        await journal.close()


async def test_an_operation_that_fails_leaves_nothing_and_does_not_disturb_its_group(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")

    def failing(session: Session) -> None:
        add_fact(session, "lost", 0)
        raise ValueError("no")

    def violating(session: Session) -> None:
        add_fact(session, "lost", 0)
        add_fact(session, "lost", 0, message_id=12345)  # no such message

    try:
        results = await asyncio.gather(
            journal.write(lambda s: add_fact(s, "a", 0)),
            journal.write(failing),
            journal.write(lambda s: add_fact(s, "b", 0)),
            journal.write(violating),
            journal.write(lambda s: add_fact(s, "c", 0)),
            return_exceptions=True,
        )
        assert [type(r) for r in results] == [type(None), ValueError, type(None), IntegrityError, type(None)]
        assert await journal.read(kinds) == ["a", "b", "c"]
    finally:
        await journal.close()


async def test_a_full_disk_is_told_to_everyone_waiting_and_nothing_was_written(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")

    def limit(session: Session) -> None:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))

    def big(session: Session) -> None:
        add_fact(session, "big", 0, data="x" * 100_000)

    try:
        await journal.write(limit)
        results = await asyncio.gather(*(journal.write(big) for _ in range(3)), return_exceptions=True)
        assert [type(r) for r in results] == [JournalUnavailable] * 3
        assert await journal.read(kinds) == []
        await journal.write(lambda s: s.execute(text("PRAGMA max_page_count = 1000000")).scalar_one())
        await journal.write(big)
        assert await journal.read(kinds) == ["big"]
    finally:
        await journal.close()


async def test_what_write_returned_from_is_in_the_file_for_any_other_reader(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    try:
        await journal.write(lambda s: add_fact(s, "a", 0))
        with sqlite3.connect(tmp_path / "j.sqlite") as other:
            assert other.execute("SELECT kind FROM fact").fetchall() == [("a",)]
        other.close()
    finally:
        await journal.close()


async def test_one_process_at_a_time(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    with pytest.raises(ConfigurationFault, match="in use"):
        await Journal.open(tmp_path / "j.sqlite")
    await journal.close()
    await (await Journal.open(tmp_path / "j.sqlite")).close()


async def test_a_journal_of_another_version_is_refused(tmp_path: Path) -> None:
    await (await Journal.open(tmp_path / "j.sqlite")).close()
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ConfigurationFault, match="schema version 99"):
        await Journal.open(tmp_path / "j.sqlite")


async def test_closed_means_unavailable(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    await journal.close()
    await journal.close()
    with pytest.raises(JournalUnavailable):
        await journal.write(lambda s: None)
    with pytest.raises(JournalUnavailable):
        await journal.read(lambda s: None)


async def test_many_writers_all_land_in_order(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    try:
        await asyncio.gather(*(journal.write(lambda s, n=n: add_fact(s, str(n), 0)) for n in range(300)))
        assert await journal.read(kinds) == [str(n) for n in range(300)]
    finally:
        await journal.close()


HOT = (
    "message_by_dedup_key",
    "answer_message",
    "documents_by_uid",
    "uids_by_message",
    "documents_by_set",
    "document_slice",
    "open_delivery_of_set",
    "held_deliveries_of_set",
    "earlier_deliveries",
    "claim_deliveries",
    "next_due_delivery",
    "documents_of_delivery",
    "deliveries_there",
    "claimed_delivery",
    "settle_delivery",
    "told_of_delivery",
)


async def test_no_statement_of_the_ack_path_or_of_the_engine_grows_with_the_backlog(tmp_path: Path) -> None:
    """Their plans: an index each, and of a join the document or set first, never all open deliveries."""
    await (await Journal.open(tmp_path / "j.sqlite")).close()
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        for name in HOT:
            sql = QUERIES[name]
            parameters = dict.fromkeys(re.findall(r":(\w+)", sql), 1)
            plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)]
            assert not [step for step in plan if step.startswith("SCAN")], (name, plan)
            if "delivery_document dd" in sql:
                assert plan[0].startswith("SEARCH dd"), (name, plan)
    db.close()
