"""The journal on a real PostgreSQL server: the same door (docs/decisions/0027)."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlmodel import Session, col, select

from gateway.errors import ConfigurationFault, JournalLate, JournalUnavailable
from gateway.journal import claims, payloads, records
from gateway.journal.maintenance import Place, upgrade
from gateway.journal.models import SCHEMA_VERSION, Fact
from gateway.journal.postgres import _WRITE_MARK
from gateway.journal.records import add_fact
from gateway.journal.sql import POSTGRES, QUERIES, lock, run
from gateway.journal.store import Journal
from gateway.settings import JournalSettings
from tests.journal.test_store import HOT
from tests.postgres import Database


def settings(database: Database, **kwargs: object) -> JournalSettings:
    return JournalSettings(**(database.table | kwargs))


async def opened(database: Database, **kwargs: object) -> Journal:
    return await Journal.open(Path(), settings(database, **kwargs))


@pytest.fixture
async def journal(database: Database) -> AsyncIterator[Journal]:
    one = await opened(database)
    yield one
    await one.close()


def kinds(session: Session) -> list[str]:
    return list(session.exec(select(Fact.kind).order_by(col(Fact.id))).all())


async def test_every_statement_is_postgresql_too(journal: Journal, database: Database) -> None:
    """Prepared by the server: names, types and syntax."""
    with database.connect() as c:
        for name in QUERIES:
            names = re.findall(r"%\((\w+)\)s", POSTGRES[name])
            with c.transaction(force_rollback=True):
                try:
                    c.execute(POSTGRES[name], dict.fromkeys(names))
                except (psycopg.errors.IntegrityError, psycopg.errors.InvalidTextRepresentation):
                    pass
                except psycopg.Error as e:
                    raise AssertionError(f"{name}: {e}") from e


async def test_an_operation_that_fails_leaves_nothing_and_disturbs_nobody(journal: Journal) -> None:
    def failing(session: Session) -> None:
        add_fact(session, "lost", 0)
        raise ValueError("no")

    def violating(session: Session) -> None:
        add_fact(session, "lost", 0)
        run(session, "insert_delivery_key", key="k", delivery_id=12345)  # no such delivery

    results = await asyncio.gather(
        journal.write(lambda s: add_fact(s, "a", 0)),
        journal.write(failing),
        journal.write(lambda s: add_fact(s, "a", 0)),
        journal.write(violating),
        return_exceptions=True,
    )
    assert [type(r) for r in results] == [type(None), ValueError, type(None), IntegrityError]
    assert await journal.read(kinds) == ["a", "a"]


async def test_a_refusal_of_the_database_never_quotes_the_row(journal: Journal) -> None:
    with pytest.raises(IntegrityError) as caught:
        await journal.write(lambda s: run(s, "insert_delivery_key", key="DURAND", delivery_id=12345))
    assert "DURAND" not in str(caught.value) and "12345" not in str(caught.value)
    assert "delivery_key_delivery_id_fkey" in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__context__ is None


async def test_a_text_with_a_nul_is_kept_without_it(journal: Journal) -> None:
    await journal.write(lambda s: add_fact(s, "a\0b", 0))
    assert await journal.read(kinds) == ["a�b"]


async def test_the_server_restarts_and_the_next_operations_do_not_notice(
    journal: Journal, database: Database
) -> None:
    await asyncio.gather(*(journal.write(lambda s: add_fact(s, "a", 0)) for _ in range(8)))
    await asyncio.gather(*(journal.read(kinds) for _ in range(4)))
    await asyncio.to_thread(database.server.restart)
    await asyncio.gather(*(journal.write(lambda s: add_fact(s, "a", 0)) for _ in range(8)))
    assert len(await journal.read(kinds)) == 16


async def test_a_server_that_is_away_is_said_at_once_and_writes_go_on_when_it_is_back(
    journal: Journal, database: Database
) -> None:
    await journal.write(lambda s: add_fact(s, "a", 0))
    await asyncio.to_thread(database.server.stop)
    try:
        with pytest.raises(JournalUnavailable):
            await journal.write(lambda s: add_fact(s, "b", 0), 5)
        with pytest.raises(JournalUnavailable):
            await journal.read(kinds)
    finally:
        await asyncio.to_thread(database.server.start)
    await journal.write(lambda s: add_fact(s, "c", 0))
    assert await journal.read(kinds) == ["a", "c"]


@pytest.mark.parametrize("committed", [True, False])
async def test_a_connection_lost_in_the_commit_its_outcome_is_asked(
    journal: Journal, database: Database, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """AR may not be said of what may be accepted, nor the same be done twice."""
    real, calls = Session.commit, iter(range(10))

    def commit(self: Session) -> None:
        first = next(calls) == 0
        if first and not committed:
            database.server.stop()
            database.server.start()
        real(self)
        if first:
            raise self_cut(self)

    def self_cut(session: Session) -> Exception:
        return OperationalError("COMMIT", None, psycopg.OperationalError("cut"), connection_invalidated=True)

    monkeypatch.setattr(Session, "commit", commit)
    await journal.write(lambda s: add_fact(s, "a", 0))
    assert await journal.read(kinds) == ["a"]
    assert next(calls) == (1 if committed else 2)


@pytest.mark.parametrize("first", [True, False], ids=["the first of its thread", "a later one"])
async def test_a_server_process_that_is_still_at_a_commit_is_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    """The connection is lost while the server is at the commit: done again, what was claimed would be in nobody's
    hands."""
    real, lost = Session.commit, threading.Event()
    journal = await opened(database, writers=1)

    def commit(self: Session) -> None:
        if lost.is_set():
            real(self)
            return
        lost.set()
        self.rollback()
        # the server process, as the lost connection left it
        mark = journal._thread.mark  # type: ignore[attr-defined]
        left = database.server.connect(database.name)
        left.execute("INSERT INTO fact (kind, at, data) VALUES ('a', 0, '{}')")
        left.execute(_WRITE_MARK, journal._mark(mark) | {"now": 0.0})  # type: ignore[attr-defined]

        def late() -> None:
            time.sleep(1)
            left.commit()
            left.close()

        threading.Thread(target=late).start()
        raise OperationalError("COMMIT", None, psycopg.OperationalError("cut"), connection_invalidated=True)

    if not first:
        await journal.write(lambda s: None)
    monkeypatch.setattr(Session, "commit", commit)
    await journal.write(lambda s: add_fact(s, "a", 0))
    assert await journal.read(kinds) == ["a"]
    await journal.close()


async def test_a_deadlock_is_run_again(journal: Journal) -> None:
    both = threading.Barrier(2)
    runs: list[str] = []

    def taking(first: str, second: str) -> None:
        def operation(session: Session) -> None:
            runs.append(first)
            lock(session, first)
            if len(runs) <= 2:
                both.wait(10)
            lock(session, second)
            add_fact(session, first, 0)

        return operation  # type: ignore[return-value]

    await asyncio.gather(journal.write(taking("x", "y")), journal.write(taking("y", "x")))  # type: ignore[arg-type]
    assert sorted(await journal.read(kinds)) == ["x", "y"]
    assert len(runs) == 3


async def test_names_exclude_each_other_across_nodes(journal: Journal, database: Database) -> None:
    other = await opened(database)
    inside = threading.Event()
    go = threading.Event()

    def hold(session: Session) -> None:
        lock(session, "set 1")
        inside.set()
        go.wait(10)
        add_fact(session, "first", 0)

    def seen(session: Session) -> list[str]:
        lock(session, "set 1")
        return kinds(session)

    try:
        holding = asyncio.create_task(journal.write(hold))
        await asyncio.to_thread(inside.wait, 10)
        waiting = asyncio.create_task(other.write(seen))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        go.set()
        await holding
        assert await waiting == ["first"], "what the holder committed is seen after the lock"
    finally:
        go.set()
        await other.close()


async def test_a_write_that_is_late_is_withdrawn(journal: Journal, database: Database) -> None:
    with database.connect() as c:
        c.execute("BEGIN")
        c.execute("LOCK TABLE fact")
        patient = asyncio.create_task(journal.write(lambda s: add_fact(s, "patient", 0)))
        with pytest.raises(JournalLate):
            await journal.write(lambda s: add_fact(s, "late", 0), 0.2)
        assert journal.stalled_for > 0
        c.execute("ROLLBACK")
    await patient
    assert await journal.read(kinds) == ["patient"]
    deadline = time.monotonic() + 10
    while journal.stalled_for and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert await journal.read(kinds) == ["patient"], "the late one did not happen afterwards"


async def test_closed_means_unavailable(database: Database) -> None:
    journal = await opened(database)
    await journal.close()
    await journal.close()
    with pytest.raises(JournalUnavailable):
        await journal.write(lambda s: None)
    with pytest.raises(JournalUnavailable):
        await journal.read(lambda s: None)


async def test_several_nodes_may_make_the_schema_at_once(database: Database) -> None:
    journals = await asyncio.gather(*(opened(database) for _ in range(4)))
    assert len({j.node for j in journals}) == 4
    for journal in journals:
        await journal.close()


async def test_what_is_wrong_with_the_database_is_said(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="authentication failed"):
        (tmp_path / "wrong").write_text("wrong")
        await opened(database, password_file=tmp_path / "wrong")
    with pytest.raises(ConfigurationFault, match="does not exist"):
        await opened(database, url=str(database.table["url"]) + "x")
    with database.connect() as c:
        c.execute("CREATE TABLE message (id int)")
    with pytest.raises(ConfigurationFault, match="not a journal"):
        await opened(database)


@pytest.mark.parametrize(("version", "words"), [(1, "db upgrade"), (99, "this gateway needs")])
async def test_a_journal_of_another_version_is_refused(database: Database, version: int, words: str) -> None:
    await (await opened(database)).close()
    with database.connect() as c:
        c.execute("UPDATE schema_version SET version = %s", (version,))
    with pytest.raises(ConfigurationFault, match=words):
        await opened(database)


async def test_a_big_payload_in_parts_reads_the_same(journal: Journal) -> None:
    content = bytes(range(256)) * 8192
    whole = await journal.write(lambda s: payloads.add(s, "x", content))
    parts = await journal.write(lambda s: payloads.begin(s, "x", len(content)))
    for n in range(2):
        piece = memoryview(content)[n * payloads.PART : (n + 1) * payloads.PART]
        await journal.write(lambda s, n=n, piece=piece: payloads.add_part(s, parts, n, piece))
    assert await journal.read(lambda s: payloads.whole(s, whole)) == content
    assert await journal.read(lambda s: payloads.whole(s, parts)) == content
    assert await journal.read(payloads.pending) == [parts]


async def test_no_statement_grows_with_the_backlog(journal: Journal, database: Database) -> None:
    """Plans of a writing session on a database without statistics: an index each, sets and documents first."""

    def plans(session: Session) -> dict[str, str]:
        found = {}
        for name in HOT:
            names = dict.fromkeys(re.findall(r"%\((\w+)\)s", POSTGRES[name]), 1)
            statement = re.sub(r"%\(\w+\)s", "NULL", POSTGRES[name])
            rows = session.connection().exec_driver_sql(f"EXPLAIN {statement}").scalars()
            found[name] = "\n".join(rows)
            del names
        return found

    with database.connect() as c:
        c.execute("SELECT 1")
    for name, plan in (await journal.write(plans)).items():
        assert "Seq Scan" not in plan, (name, plan)


_SCHEMA = (
    "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"
    " WHERE table_schema = 'public'",
    "SELECT tablename, regexp_replace(indexdef, '\\s+', ' ', 'g') FROM pg_indexes WHERE schemaname = 'public'",
    "SELECT conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "SELECT attrelid::regclass::text, attname, attstorage::text FROM pg_attribute"
    " WHERE attrelid = ANY (ARRAY['payload'::regclass, 'payload_part'::regclass]) AND attname = 'content'",
)


_ROWS = """
INSERT INTO payload (id, sha256, size, content) VALUES (1, 'x', 4, 'QUJD');
INSERT INTO message (id, correlation, payload_id, sha256, size, dedup_key, control_id, sender, message_type, peer,
                     state, ack_code, ack, findings, routing, received_at, answered_at)
VALUES (1, 'c', 1, 'x', 4, 'k', 'ID', 'A|B', 'MDM^T02', '', 'answered', 'AA', 'A', '[]', '{}', 1, 2);
INSERT INTO document (id, message_id, part, uid, set_key, version, action, type_code, author_organisations, patient,
                      sha256, size, payload_id, slice_offset, slice_length, accepted_at)
VALUES (1, 1, 0, '1.2', '1.2', 1, 'submit', 't', '[]', '',
        'b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78', 3, 1, 0, 4, 2);
INSERT INTO delivery (id, message_id, destination, recipient, action, state, attempts, due_at, expires_at, plan, code,
                      label, created_at)
VALUES (7, 1, 'dmp', '', 'submit', 'ready', 2, 3, 4, '{}', '', '', 2);
INSERT INTO delivery_document VALUES (7, 0, 1, '1.2', '1.2');
INSERT INTO node VALUES ('me', 'me', 1, 1);"""
"""A document that is on its way."""


@pytest.mark.parametrize("version", [4])
async def test_a_journal_of_an_older_schema_is_brought_up_to_date(
    database: Database, journal_database: Database, version: int
) -> None:
    """From the first version that there was. A table or column added to the models alone fails here: it needs its
    file in migrations/postgres."""
    with database.connect() as c:
        c.execute((Path(__file__).parent / f"schema_{version}.postgres.sql").read_text(encoding="utf-8"))
        c.execute(_ROWS)
    assert upgrade(Place(Path(), settings(database))) == (version, SCHEMA_VERSION)
    one = await opened(database)
    claim = await one.write(lambda s: claims.claim(s, "dmp", 4, 10.0, "me"))
    assert [(c.id, c.control_id, [d.uid for d in c.documents]) for c in claim.deliveries] == [
        (7, "ID", ["1.2"])
    ]
    assert await one.read(lambda s: records.document_bytes(s, 1)) == b"ABC", "what was accepted is still sent"
    # it was accepted before there were facts: nothing is known of its stay, its end is no fact
    (row,) = await one.read(lambda s: run(s, "documents_for_facts", delivery_id=7).all())
    assert json.loads(row.about) == {}
    await one.close()
    await (await opened(journal_database)).close()
    found = []
    for where in (database, journal_database):
        with where.connect() as c:
            found.append([sorted(c.execute(query).fetchall()) for query in _SCHEMA])
    assert found[0] == found[1]
