"""The journal's door: durable, grouped, isolated, one process (architecture §8)."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, col, select

from connectors.port import Report
from gateway.errors import ConfigurationFault, JournalLate, JournalUnavailable
from gateway.exchange.delivery import DeliveryState
from gateway.hl7.transmission import Action
from gateway.journal import claims, mails, payloads, queue
from gateway.journal.models import SCHEMA_VERSION, Fact
from gateway.journal.queue import NewDelivery
from gateway.journal.records import add_fact
from gateway.journal.sql import QUERIES, run
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
        run(session, "insert_delivery_key", key="k", delivery_id=12345)  # no such delivery

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
    "resume_suspended",
    "lengthen_lifetimes",
    "received_mail_at",
    "received_mails_before",
    "received_documents_by_uid",
    "received_documents_by_set",
    "mail_ended",
    "deliveries_of_mail",
    "mails_to_file",
    "delivery_by_key",
    "receipts_of_delivery",
    "awaited_due",
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
                assert (
                    any(step.startswith("SEARCH dd") for step in plan[:1]) or name == "deliveries_of_mail"
                ), (name, plan)
            if name == "mail_ended":
                assert any("delivery_of_mail" in step for step in plan), plan
    db.close()


async def test_a_write_that_is_late_is_withdrawn_and_does_not_happen_afterwards(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    other = sqlite3.connect(tmp_path / "j.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        patient = asyncio.create_task(journal.write(lambda s: add_fact(s, "patient", 0)))
        with pytest.raises(JournalLate):
            await journal.write(lambda s: add_fact(s, "late", 0), 0.1)
        other.execute("ROLLBACK")
        await patient
        assert await journal.read(kinds) == ["patient"]
        async with asyncio.timeout(60):
            while journal.stalled_for:  # the writer says so a moment after it gave the result
                await asyncio.sleep(0.01)
    finally:
        other.close()
        await journal.close()


async def test_one_withdrawn_while_its_group_is_applied_is_taken_out_of_it(tmp_path: Path) -> None:
    """Applied, not yet committed: the group is applied again without it, the others once."""
    journal = await Journal.open(tmp_path / "j.sqlite")
    go, inside = threading.Event(), threading.Event()

    def slow(session: Session) -> None:
        add_fact(session, "withdrawn", 0)
        inside.set()
        go.wait(10)

    first = threading.Event()
    try:
        before = asyncio.create_task(journal.write(lambda s: first.wait(10)))
        await asyncio.sleep(0)
        late = asyncio.create_task(journal.write(slow, 0.5))
        other = asyncio.create_task(journal.write(lambda s: add_fact(s, "other", 0)))
        await asyncio.sleep(0)
        first.set()  # both are in the next group
        await before
        await asyncio.to_thread(inside.wait, 10)
        with pytest.raises(JournalLate):
            await late
        go.set()
        await other
        assert await journal.read(kinds) == ["other"]
    finally:
        go.set()
        await journal.close()


async def test_a_commit_that_has_begun_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its outcome must be known: the disk may have it already."""
    journal = await Journal.open(tmp_path / "j.sqlite")
    go, inside = threading.Event(), threading.Event()
    real = Session.commit

    def commit(self: Session) -> None:
        inside.set()
        go.wait(10)
        real(self)

    monkeypatch.setattr(Session, "commit", commit)
    try:
        writing = asyncio.create_task(journal.write(lambda s: add_fact(s, "a", 0), 0.05))
        await asyncio.to_thread(inside.wait, 10)
        await asyncio.wait((writing,), timeout=0.2)
        assert not writing.done()
        go.set()
        await writing
        assert await journal.read(kinds) == ["a"]
    finally:
        go.set()
        await journal.close()


async def test_too_many_waiting_writes_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite")
    monkeypatch.setattr("gateway.journal.store.MAX_WAITING", 2)
    other = sqlite3.connect(tmp_path / "j.sqlite", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(journal.write(lambda s: None))
        while not journal.stalled_for:
            await asyncio.sleep(0.01)
        waiting = [asyncio.create_task(journal.write(lambda s: None)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(JournalLate):
            await journal.write(lambda s: None)
        other.execute("ROLLBACK")
        await asyncio.gather(first, *waiting)
    finally:
        other.close()
        await journal.close()


OLD = {
    1: ("DROP TABLE payload_part;", "DROP TABLE payload_pending;", "PRAGMA user_version = 1;"),
    2: (),
}


@pytest.mark.parametrize("version", sorted(OLD))
async def test_a_journal_of_an_older_schema_is_brought_up_to_date_with_all_that_is_in_it(
    tmp_path: Path, version: int
) -> None:
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        db.executescript((Path(__file__).parent / "schema_2.sql").read_text(encoding="utf-8"))
        for statement in OLD[version]:
            db.execute(statement)
        db.executescript(
            """
            INSERT INTO payload VALUES (1, 'x', 3, x'414243');
            INSERT INTO message VALUES
                (1, 'c', 1, 'x', 3, 'k', 'ID', 'A|B', 'MDM^T02', '', 'answered', 'AA', x'41', '[]', '{}', 1, 2);
            INSERT INTO document VALUES
                (1, 1, 0, '1.2', '1.2', 1, NULL, 'submit', 't', '[]', '', 'x', 3, 1, 0, 3, 2);
            INSERT INTO delivery VALUES
                (7, 1, 'dmp', '', 'submit', 'ready', NULL, 2, 3, 4, x'7b7d', NULL, '', '', 2, NULL);
            INSERT INTO delivery_document VALUES (7, 0, 1, '1.2', '1.2');
            INSERT INTO attempt VALUES (1, 7, 1, 'deliver', 1, 2, 'transient', '', '', '{}');
            INSERT INTO report_to VALUES (7, 1);
            """
        )
    db.close()
    journal = await Journal.open(tmp_path / "j.sqlite")
    try:
        assert await journal.read(payloads.pending) == []
        claim = await journal.write(lambda s: claims.claim(s, "dmp", 4, 10.0, "me"))
        assert [(c.id, c.message_id, c.control_id, c.attempt) for c in claim.deliveries] == [(7, 1, "ID", 3)]
        assert [d.uid for d in claim.deliveries[0].documents] == ["1.2"]
        assert await journal.read(lambda s: queue.told(s, 7)) == [1]
        assert await journal.read(lambda s: mails.due(s, 1e12, 9)) == []
    finally:
        await journal.close()
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        made = {name: _squeezed(sql) for name, sql in db.execute(_SCHEMA)}
    db.close()
    await (await Journal.open(tmp_path / "new.sqlite")).close()
    with sqlite3.connect(tmp_path / "new.sqlite") as db:
        assert made == {name: _squeezed(sql) for name, sql in db.execute(_SCHEMA)}
    db.close()


_SCHEMA = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"


def _squeezed(sql: str) -> str:
    """A definition without its blanks and quotes."""
    return re.sub(r"[\s\"]+", "", sql)


def test_what_names_a_patient_is_in_no_repr() -> None:
    """An address may be an INS, a plan holds a mail's subject: a repr goes to a log with the first traceback."""
    ins = "279035121518989@patient.mssante.fr"
    action, new = Action.SUBMIT, frozenset[str]()
    shown = [
        NewDelivery(None, "mss", ins, action, (), ins.encode(), 0, 1),
        queue.Earlier(1, DeliveryState.READY, ins.encode(), "", "", ""),
        mails.KnownDelivery(1, "mss", ins, ins.encode(), "ready", None),
        mails.KnownReceived(1, "1.2", "1.3", 1, "0", ins, action, new, "ready"),
        mails.KnownReceipt(1, "Z02", "received", "", True, Report("Z02", True, ins)),
    ]
    assert not [one for one in shown if "27903" in repr(one)]
