"""Several gateways on one PostgreSQL journal, in one loop: order, take-over, duties (docs/decisions/0027)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from connectors.port import Outcome, OutcomeClass
from fixtures import build
from gateway.engine.nodes import Together
from gateway.errors import JournalUnavailable
from gateway.exchange.identifiers import Clock
from gateway.hl7.acknowledgement import read
from gateway.journal import claims, nodes, payloads, records
from gateway.journal.nodes import Left
from gateway.journal.records import NewMessage
from gateway.journal.sql import run
from gateway.journal.store import Journal
from gateway.settings import JournalSettings
from tests.exchange import harness
from tests.exchange.harness import ROOT, Running, Scripted, cda, raw, replace, running, submit
from tests.postgres import Database


@pytest.fixture(autouse=True)
def on_postgres(journal_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "JOURNAL", journal_database.table)


@asynccontextmanager
async def two(directory: Path, **tables: Any) -> AsyncIterator[tuple[Running, Running]]:
    """Two gateways of one journal that speak to the same counterparts."""
    connectors = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(running(directory, connectors, **tables)) for _ in range(2)]
        yield both[0], both[1]


def dead(gateway: Any) -> None:
    """Kill what gives signs of life and what works, as a kill of the process does, without a goodbye."""
    gateway.nodes._task.cancel()
    gateway.engine._stopping = True
    gateway.engine.wake(gateway.connectors)


async def test_the_same_message_to_two_nodes_at_once_has_one_answer(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        for n in range(10):
            acks = await asyncio.gather(*(node.send_raw(submit(f"M{n}", n)) for node in (a, b, a, b)))
            assert len(set(acks)) == 1, "one answer, the same bytes"
            assert read(acks[0]).code == "AA"
            await a.settled(f"M{n}")
        assert len(a.dmp.jobs) == 10, "published once each"


async def test_the_same_document_in_two_messages_to_two_nodes_is_accepted_once(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        for n in range(10):
            acks = await asyncio.gather(a.send(submit(f"A{n}", n)), b.send(submit(f"B{n}", n)))
            assert sorted(x.code for x in acks) == ["AA", "AE"]
        for n in range(10):
            for name in (f"A{n}", f"B{n}"):
                if (await a.state(name))["ack"] == "AA":
                    await a.settled(name)
        assert len(a.dmp.jobs) == 10


async def test_versions_keep_their_order_across_nodes(tmp_path: Path) -> None:
    """Each version by the other node, released by whoever ends the one before: none is left held."""
    async with two(tmp_path, engine={"retry": {"first": 0.02, "longest": 0.05, "jitter": 0}}) as (a, b):
        sets, versions = 6, 6
        a.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT, "503", "")] * 15
        for version in range(1, versions + 1):
            node = a if version % 2 else b
            for n in range(sets):
                message = (
                    submit(f"S{n}V1", n)
                    if version == 1
                    else replace(f"S{n}V{version}", n, version, version - 1)
                )
                assert (await node.send(message)).code == "AA"
        for n in range(sets):
            for version in range(1, versions + 1):
                await a.settled(f"S{n}V{version}", 30)
        for jobs in (a.dmp.jobs, a.mss.jobs):
            for n in range(sets):
                uids = [j.documents[0].uid for j in jobs if j.documents[0].uid.startswith(f"{ROOT}.{n}.")]
                assert list(dict.fromkeys(uids)) == [f"{ROOT}.{n}.{v}" for v in range(1, versions + 1)]
                assert uids == sorted(uids), "no version after a later one"


async def test_a_dead_node_is_taken_over_and_what_it_had_in_hand_is_looked_up_first(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        a.dmp.gate = asyncio.Event()  # never answers the first
        assert (await a.send(submit("M1", recipients=()))).code == "AA"
        await a.until(lambda: len(a.dmp.jobs) == 1)
        with raw(tmp_path) as db:
            holder = db.execute("SELECT claimed_by FROM delivery WHERE state = 'sending'").fetchone()[0]
        first, other = (a, b) if a.gateway.journal.node == holder else (b, a)
        dead(first.gateway)
        a.dmp.reconciled = [Outcome(OutcomeClass.SUCCESS)]
        begun = time.monotonic()
        deliveries = await other.settled("M1")
        assert time.monotonic() - begun < 8
        dmp = next(d for d in deliveries if d["destination"] == "dmp")
        assert dmp["state"] == "succeeded"
        assert [h["kind"] for h in dmp["history"]] == ["recovery", "reconcile"]
        # the dead one wakes: its outcome is refused, nobody is told twice
        a.dmp.gate.set()
        await asyncio.sleep(0.3)
        again = await other.state("M1")
        assert again["deliveries"] == deliveries
        assert len(a.dpi.jobs) == 1


async def test_a_start_frees_nothing_that_another_node_has_in_hand(tmp_path: Path) -> None:
    async with running(tmp_path) as a:
        a.dmp.gate = asyncio.Event()
        await a.send(submit("M1", recipients=()))
        await a.until(lambda: len(a.dmp.jobs) == 1)
        async with running(tmp_path) as b:
            await asyncio.sleep(2.5)  # longer than node_timeout
            assert [d["state"] for d in (await b.state("M1"))["deliveries"]] == ["sending"]
            assert not b.dmp.reconciliations
        a.dmp.gate.set()
        await a.settled("M1")
        assert len(a.dmp.jobs) == 1


async def test_a_message_that_a_dead_node_left_without_an_answer_gets_ar(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        now = time.time()

        def ghost(session: Any) -> None:
            session.info["node"] = "ghost"
            nodes.join(session, "ghost", now)
            new = records.NewMessage(submit("M9"), "0", "k", "M9", "S", "MDM^T02", "", "c", now)
            records.receive(session, new)
            session.info["node"] = r.gateway.journal.node

        await r.gateway.journal.write(ghost)
        async with asyncio.timeout(60):
            while (await r.state("M9"))["ack"] is None:
                await asyncio.sleep(0.05)
        assert (await r.state("M9"))["ack"] == "AR"


async def test_a_restart_of_the_database_is_nobody_s_death(tmp_path: Path, database: Database) -> None:
    """However long it is away: signs of life are counted only while it is there."""
    harness.JOURNAL.update(database.table)
    async with two(tmp_path) as (a, b):
        tokens = {a.gateway.journal.node, b.gateway.journal.node}
        await asyncio.sleep(1.0)
        await asyncio.to_thread(database.server.stop)
        await asyncio.sleep(2.0)  # longer than node_timeout
        await asyncio.to_thread(database.server.start)
        await asyncio.sleep(1.0)
        assert {a.gateway.journal.node, b.gateway.journal.node} == tokens
        with raw(tmp_path) as db:
            assert {t for (t,) in db.execute("SELECT token FROM node").fetchall()} == tokens
        assert (await a.send(submit("M1"))).code == "AA"
        await b.settled("M1")


async def test_a_node_that_was_buried_while_it_hung_lets_go_and_is_another_one(tmp_path: Path) -> None:
    async with two(tmp_path) as (a, b):
        a.dmp.gate = asyncio.Event()
        await a.send(submit("M1", recipients=()))
        await a.until(lambda: len(a.dmp.jobs) == 1)
        with raw(tmp_path) as db:
            holder = db.execute("SELECT claimed_by FROM delivery WHERE state = 'sending'").fetchone()[0]
            node = a if a.gateway.journal.node == holder else b
            # as another node does after a time without a sign
            beat = db.execute("SELECT beat FROM node WHERE token = ?", (holder,)).fetchone()[0]
            del beat
            db.execute("DELETE FROM node WHERE token = ?", (holder,))
        await a.until(lambda: node.gateway.journal.node != holder)
        await a.until(lambda: node.gateway.engine.in_hand() == 0)
        claim = await node.gateway.journal.write(lambda s: claims.claim(s, "dmp", 4, time.time(), holder))
        assert not claim.deliveries, "the old token takes nothing"


async def test_what_a_buried_node_claimed_is_found_by_the_next_start(tmp_path: Path) -> None:
    async with running(tmp_path, engine={"retry": {"first": 60}}) as a:
        a.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT)]
        await a.send(submit("M1", recipients=()))
        await a.until(lambda: len(a.dmp.jobs) == 1)
    with raw(tmp_path) as db:
        db.execute("UPDATE delivery SET state = 'sending', claimed_by = 'ghost' WHERE destination = 'dmp'")
    connectors = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    connectors["dmp"].reconciled = [Outcome(OutcomeClass.SUCCESS)]
    async with running(tmp_path, connectors) as b:
        await b.settled("M1")
        assert not b.dmp.jobs


async def test_a_node_that_ends_well_leaves_what_it_cut_to_the_others_at_once(tmp_path: Path) -> None:
    connectors = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    table = {"listener": {"port": 0, "drain_timeout": 0.2}}
    connectors["dmp"].gate = asyncio.Event()
    async with running(tmp_path, connectors, **table) as a:
        await a.send(submit("M1", recipients=()))
        await a.until(lambda: len(a.dmp.jobs) == 1)
    with raw(tmp_path) as db:
        assert db.execute("SELECT state, claimed_by FROM delivery").fetchall() == [("uncertain", None)]
        assert db.execute("SELECT count(*) FROM node").fetchone() == (0,)


async def test_a_duty_is_done_by_one_node_and_taken_by_another_when_it_dies() -> None:
    settings = JournalSettings(**harness.JOURNAL)
    doing: set[int] = set()
    most = 0

    async def left(_left: Left) -> None:
        return None

    async with AsyncExitStack() as stack:
        together = []
        for n in range(3):
            journal = await Journal.open(Path(), settings)
            stack.push_async_callback(journal.close)
            node = Together(journal, settings, Clock())
            await node.join()

            async def start(n: int = n) -> None:
                nonlocal most
                doing.add(n)
                most = max(most, len(doing))

            async def stop(n: int = n) -> None:
                doing.discard(n)

            await node.watch(left, lambda: None)
            await node.duty("mailboxes", start, stop)
            together.append(node)
        async with asyncio.timeout(60):
            while not doing:
                await asyncio.sleep(0.02)
        await asyncio.sleep(1)
        assert most == 1
        first = next(iter(doing))
        assert together[first]._task is not None
        together[first]._task.cancel()  # dies
        doing.discard(first)
        async with asyncio.timeout(60):
            while not doing:
                await asyncio.sleep(0.02)
        second = next(iter(doing))
        assert second != first
        await together[second].leave()  # ends well: no time-out is waited for
        begun = time.monotonic()
        async with asyncio.timeout(60):
            while not doing:
                await asyncio.sleep(0.02)
        assert time.monotonic() - begun < settings.node_timeout
        assert most == 1
        for n in {0, 1, 2} - {first, second}:
            await together[n].leave()


async def test_what_bears_the_token_of_no_node_is_found_while_the_nodes_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.engine.nodes.SWEEP", 0.5)
    async with running(tmp_path, engine={"retry": {"first": 60}}) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT)]
        await r.send(submit("M1", recipients=()))
        await r.until(lambda: len(r.dmp.jobs) == 1)
        async with asyncio.timeout(60):
            while (await r.state("M1"))["deliveries"][0]["state"] != "ready":
                await asyncio.sleep(0.02)
        r.dmp.reconciled = [Outcome(OutcomeClass.SUCCESS)]
        with raw(tmp_path) as db:
            db.execute(
                "UPDATE delivery SET state = 'sending', claimed_by = 'ghost' WHERE destination = 'dmp'"
            )
        await r.settled("M1")
        assert len(r.dmp.jobs) == 1


async def test_what_could_not_be_done_with_a_dead_node_s_messages_is_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away between the take-over and the answers."""
    async with running(tmp_path) as r:
        real, calls = r.gateway.intake.answer_unanswered, iter(range(100))

        async def answer(messages: Any = None) -> int:
            if messages and next(calls) == 0:
                raise JournalUnavailable("away")
            return await real(messages)

        monkeypatch.setattr(r.gateway.intake, "answer_unanswered", answer)
        now = time.time()

        def ghost(session: Any) -> None:
            session.info["node"] = "ghost"
            nodes.join(session, "ghost", now)
            new = records.NewMessage(submit("M9"), "0", "k", "M9", "S", "MDM^T02", "", "c", now)
            records.receive(session, new)
            session.info["node"] = r.gateway.journal.node

        await r.gateway.journal.write(ghost)
        async with asyncio.timeout(60):
            while (await r.state("M9"))["ack"] is None:
                await asyncio.sleep(0.05)
        assert next(calls) >= 2


@pytest.mark.parametrize("knows", [True, False], ids=["it knows", "it does not know yet"])
async def test_a_big_message_whose_bytes_another_node_began_to_remove_is_not_received(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """A node that hangs while it writes the parts of a message: the others remove them. It wakes in the middle, and
    must not give its message what is left of them."""
    document = cda(payload=build.pdf(3 << 20))
    big = build.mdm("T02", document, control_id="M1", recipients=())
    async with two(tmp_path) as (a, b):
        done = asyncio.Event()
        real = records.receive

        def bury(session: Session) -> Left | None:
            token = a.gateway.journal.node
            beat = next(t.beat for t in run(session, "nodes") if t.token == token)
            return nodes.bury(session, token, beat, time.time())

        async def take_over(journal: Journal) -> None:
            while (left := await b.gateway.journal.write(bury)) is None:
                await asyncio.sleep(0.01)  # it gave a sign of life in between
            assert left.payloads and await b.gateway.journal.write(
                lambda s: payloads.remove_some(s, left.payloads[0])
            )
            if knows:
                token = journal.node
                await a.until(lambda: journal.node != token, 30)
            done.set()

        def receive(session: Session, new: NewMessage, payload_id: int | None = None) -> records.Received:
            if not done.is_set() and session.info["node"] == a.gateway.journal.node:
                asyncio.run_coroutine_threadsafe(take_over(a.gateway.journal), loop).result(60)
                if knows:
                    session.info["node"] = a.gateway.journal.node
            return real(session, new, payload_id)

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(records, "receive", receive)
        assert (await a.send(big)).code == "AR"
        assert done.is_set()
        async with asyncio.timeout(60):
            # AR as long as the node does not know that it was buried: its sender tries again
            while (answer := await a.send(big)).code == "AR":
                await asyncio.sleep(0.1)
        assert answer.code == "AA"
        await b.settled("M1", 30)
        assert len(a.dmp.jobs) == 1
        assert a.dmp.contents == [document], "the whole document"


@pytest.mark.parametrize("knows", [True, False], ids=["it knows", "it does not know yet"])
async def test_what_was_taken_over_before_its_claim_came_back_is_not_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, knows: bool
) -> None:
    """The claim's commit happened, its answer hung on the way for longer than a node may be silent: by then another
    node has the delivery, and may have sent it."""
    async with two(tmp_path) as (a, b):
        held: list[Running] = []
        arrived, go = asyncio.Event(), asyncio.Event()
        for node in (a, b):
            journal = node.gateway.journal

            async def write(
                operation: Any, *args: Any, real: Any = journal.write, node: Any = node, **kw: Any
            ) -> Any:
                result = await real(operation, *args, **kw)
                if isinstance(result, claims.Claim) and result.deliveries and not held:
                    held.append(node)
                    arrived.set()
                    await go.wait()
                return result

            monkeypatch.setattr(journal, "write", write)
        assert (await a.send(submit("M1", recipients=()))).code == "AA"
        await asyncio.wait_for(arrived.wait(), 30)
        hung, other = (a, b) if held[0] is a else (b, a)
        token = hung.gateway.journal.node
        if not knows:
            hung.gateway.nodes._task.cancel()

        def bury(session: Any) -> Left | None:
            beat = next(
                t.beat for t in session.connection().exec_driver_sql("SELECT * FROM node") if t.token == token
            )
            return nodes.bury(session, token, beat, time.time())

        while await other.gateway.journal.write(bury) is None:
            await asyncio.sleep(0.01)  # it gave a sign of life in between
        other.gateway.engine.wake(["dmp"])
        await other.settled("M1", 30)
        if knows:
            await hung.until(lambda: hung.gateway.journal.node != token, 30)
        else:
            await asyncio.sleep(hung.gateway.settings.journal.node_timeout)
        go.set()
        # what comes next is begun once, by one that lives
        assert (await hung.send(submit("M2", 2, recipients=()))).code == "AA"
        await other.settled("M2", 30)
        assert [j.documents[0].uid for j in a.dmp.jobs] == [f"{ROOT}.1.1", f"{ROOT}.2.1"], "each sent once"
