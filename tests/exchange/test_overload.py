"""Overload: what has no room is answered AR at once, nothing blocks, everything is given back (docs/decisions/0012)."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
from pathlib import Path

import pytest

from fixtures import build
from gateway.errors import Overload
from gateway.exchange import checking, overload
from gateway.exchange.budget import FREE, MemoryBudget, Pool
from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.hl7.framing import END, START
from gateway.hl7.message import MAX_MSH, MAX_SEGMENTS
from gateway.journal import payloads
from tests.exchange.harness import Running, Scripted, cda, locked, raw, running, submit

MB = 1_000_000


def rules(ack: Acknowledgement) -> list[str | None]:
    return [e.diagnostic for e in ack.errors]


def big(control_id: str, number: int = 1, pdf: int = 3 * MB) -> bytes:
    """A message of about 1.8 times `pdf` bytes, as it goes on the wire."""
    document = cda(number, payload=build.pdf(pdf))
    return re.sub(rb"\r\n|\n", b"\r", build.mdm("T02", document, control_id=control_id))


class Half:
    """A connection that has sent the beginning of a frame."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, message: bytes) -> None:
        self.reader, self.writer = reader, writer
        self.frame = bytes([START]) + message + END
        self.sent = 0

    async def send(self, end: int | None = None) -> None:
        self.writer.write(self.frame[self.sent : end])
        self.sent = len(self.frame) if end is None else end
        await self.writer.drain()

    async def ack(self) -> Acknowledgement:
        async with asyncio.timeout(20):
            return read((await self.reader.readuntil(END))[1:-2])


async def connect(r: Running, message: bytes) -> Half:
    reader, writer = await asyncio.open_connection("127.0.0.1", r.gateway.mllp_port)
    return Half(reader, writer, message)


# --- the pools ------------------------------------------------------------------------------------------------------


async def test_those_that_wait_have_their_turn_in_order_and_a_lone_one_is_let_in_whatever_its_size() -> None:
    pool = Pool(10)
    assert await pool.take(25, 0), "alone"
    order: list[int] = []

    async def one(size: int) -> None:
        assert await pool.take(size)
        order.append(size)

    waiting = [asyncio.create_task(one(size)) for size in (8, 3, 2)]
    await asyncio.sleep(0)
    assert pool.used == 25
    pool.give(25)
    for _ in range(5):
        await asyncio.sleep(0)
    assert order == [8], "3 does not fit beside 8, and 2 does not overtake it"
    pool.give(8)
    await asyncio.gather(*waiting)
    assert order == [8, 3, 2]
    assert pool.used == 5


async def test_one_that_stops_waiting_takes_nothing_and_holds_nobody_up() -> None:
    pool = Pool(10)
    assert await pool.take(6)
    assert not await pool.take(9, 0.01)
    leaving = asyncio.create_task(pool.take(9))
    behind = asyncio.create_task(pool.take(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await behind
    pool.give(2)
    pool.give(6)
    assert pool.used == 0


async def test_small_messages_are_not_counted() -> None:
    budget = MemoryBudget(1)
    async with budget.work(FREE, 0), budget.work(FREE, 0), budget.delivery("dmp", FREE):
        assert set(budget.used().values()) == {0}
    async with budget.work(FREE + 1, 0):
        with pytest.raises(Overload):
            async with budget.work(FREE + 1, 0):
                pass
    assert set(budget.used().values()) == {0}


# --- memory, over sockets -------------------------------------------------------------------------------------------

SMALL_BUDGET = {"port": 0, "drain_timeout": 5, "max_message_bytes": 8 * MB, "memory_budget_bytes": 20 * MB}


async def test_half_sent_frames_that_fill_the_budget_block_nobody(tmp_path: Path) -> None:
    """EXC-OVERLOAD-MEMORY: the one that asks for more is refused at once, the others and small ones go on."""
    async with running(tmp_path, listener=SMALL_BUDGET) as r:
        room = r.gateway.overloads.budget.receiving
        messages = [big(f"B{n}", n, 3_900_000) for n in range(3)]  # 6.9 MB each; 8 MB of room
        halves = [await connect(r, m) for m in messages]
        for half in halves[:2]:
            await half.send(4 * MB)
        await r.until(lambda: room.used >= 6 * MB)
        await halves[2].send(4 * MB)  # 3 MB more than there is
        refused = await halves[2].ack()
        assert (refused.code, rules(refused), refused.acknowledged) == ("AR", ["EXC-OVERLOAD-MEMORY"], "B2")
        assert "memory" in await r.gateway.readiness()
        assert (await r.send(submit("SMALL", 9))).code == "AA", "small ones go on"
        # two of 6.9 MB in 8 MB of room: one of them is refused, the other goes through
        await asyncio.gather(halves[0].send(), halves[1].send())
        answers = [await half.ack() for half in halves[:2]]
        assert sorted(a.code for a in answers) == ["AA", "AR"]
        # the rest of a refused frame is skipped, and the connection is good for the next message
        await halves[2].send()
        halves[2].frame, halves[2].sent = bytes([START]) + messages[2] + END, 0
        await halves[2].send()
        assert (await halves[2].ack()).code == "AA"
        assert room.used == 0
        assert r.gateway.telemetry.overloads.labels("EXC-OVERLOAD-MEMORY")._value.get() == 2
        for half in halves:
            half.writer.close()


async def test_the_budget_is_given_back_when_a_connection_is_cut_in_its_frame(tmp_path: Path) -> None:
    async with running(tmp_path, listener=SMALL_BUDGET) as r:
        room = r.gateway.overloads.budget.receiving
        half = await connect(r, big("B1"))
        await half.send(4 * MB)
        await r.until(lambda: room.used >= 2 * MB)
        half.writer.transport.abort()
        await r.until(lambda: room.used == 0)


async def test_the_budget_is_given_back_after_a_refusal_a_long_frame_and_a_drain(tmp_path: Path) -> None:
    async with running(tmp_path, listener=SMALL_BUDGET) as r:
        budget = r.gateway.overloads.budget
        message = big("B1")
        refused = await r.send(message.replace(b"|MDM^T02^MDM_T02|", b"|MDM^T99^MDM_T99|", 1))
        assert refused.code == "AE"
        long = await connect(r, big("B2", pdf=5 * MB))
        await long.send()
        assert rules(await long.ack()) == ["EXC-TOO-LONG"]
        assert set(budget.used().values()) == {0}
        half = await connect(r, message)
        await half.send(4 * MB)
        await r.until(lambda: budget.receiving.used > 0)
    assert set(budget.used().values()) == {0}


async def test_a_big_message_that_finds_no_working_memory_in_time_is_ar_and_may_come_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, ack={"deadline": 3}) as r:
        working = r.gateway.overloads.budget.working
        assert working.try_take(working.capacity)
        ack = await r.send(big("B1"))
        assert (ack.code, rules(ack)) == ("AR", ["EXC-OVERLOAD-MEMORY"])
        assert (await r.send(submit("SMALL", 9))).code == "AA"
        working.give(working.capacity)
    async with running(tmp_path) as r:
        assert (await r.send(big("B1"))).code == "AA"


# --- big messages ---------------------------------------------------------------------------------------------------


async def test_a_20_mb_pdf_arrives_byte_for_byte_in_the_journal_and_at_both_connectors(
    tmp_path: Path,
) -> None:
    """Stored in parts, each in its own commit, and read back as one."""
    document = cda(1, payload=build.pdf(20 * MB))
    message = re.sub(rb"\r\n|\n", b"\r", build.mdm("T02", document, control_id="B1"))
    async with running(tmp_path) as r:
        assert (await r.send(message)).code == "AA"
        await r.settled("B1", 60)
        assert r.dmp.contents == [document]
        assert r.mss.contents == [document]
        again = await r.send(message)
        assert again.code == "AA", "the same message gets its stored answer"
        assert set(r.gateway.overloads.budget.used().values()) == {0}
        with raw(tmp_path) as db:
            parts = db.execute("SELECT content FROM payload_part ORDER BY payload_id, position").fetchall()
            stored = b"".join(part for (part,) in parts)
            assert max(len(part) for (part,) in parts) == payloads.PART
            assert hashlib.sha256(stored).digest() == hashlib.sha256(message).digest()
            assert db.execute("SELECT count(*) FROM payload").fetchone() == (1,), "kept once"
            assert db.execute("SELECT count(*) FROM payload_pending").fetchone() == (0,)


async def test_the_same_msh_10_with_another_big_content_is_refused_and_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(big("B1"))).code == "AA"
        other = await r.send(big("B1", 2))
        assert (other.code, rules(other)) == ("AE", ["EXC-SAME-CONTROL-ID"])


async def test_what_a_stop_left_of_a_big_message_is_removed_at_start(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        journal = r.gateway.journal
        kept = big("B1")
        assert (await r.send(kept)).code == "AA"
        payload_id = await journal.write(lambda s: payloads.begin(s, "0" * 64, 3 * payloads.PART))
        for position in range(2):
            part = memoryview(bytes(payloads.PART))
            await journal.write(lambda s, p=position, c=part: payloads.add_part(s, payload_id, p, c))
    async with running(tmp_path) as r:
        assert await r.gateway.journal.read(payloads.pending) == []
        with raw(tmp_path) as db:
            left = db.execute("SELECT count(*) FROM payload_part WHERE payload_id = ?", (payload_id,))
            assert left.fetchone() == (0,)
            assert db.execute("SELECT count(*) FROM payload").fetchone() == (1,)
        assert (await r.send(kept)).code == "AA"


# --- the journal ----------------------------------------------------------------------------------------------------


async def test_a_journal_that_hangs_is_ar_in_time_and_nothing_is_accepted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EXC-OVERLOAD-JOURNAL: withdrawn, so that what was answered AR is not accepted when the journal is back."""
    async with running(tmp_path, ack={"deadline": 0.5}) as r:
        with locked(tmp_path), monkeypatch.context() as patch:
            patch.setattr("gateway.app.READY_WITHIN", 0.2)
            async with asyncio.timeout(10):  # the lock itself would be waited for 30 s
                acks = await asyncio.gather(*(r.send(submit(f"M{n}", n)) for n in range(3)))
            assert {(a.code, *rules(a)) for a in acks} == {("AR", "EXC-OVERLOAD-JOURNAL")}
            assert "journal" in await r.gateway.readiness()
        await r.gateway.journal.write(lambda s: None)
        assert not r.dmp.jobs
        assert await r.gateway.readiness() == {}
    async with running(tmp_path) as r:
        for n in range(3):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"
            await r.settled(f"M{n}")
        assert len(r.dmp.jobs) == 3


async def test_a_second_commit_that_hangs_is_ar_and_is_withdrawn(tmp_path: Path) -> None:
    """The message is received, the preparations accept, then the journal is locked: AR, and it stays unaccepted."""
    connectors = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    async with running(tmp_path, connectors, ack={"deadline": 3.0}) as r:
        connectors["dmp"].prepare_seconds = 0.3
        sending = asyncio.create_task(r.send(submit("M1")))
        await r.until(lambda: r.dmp.prepared == 1)
        with locked(tmp_path):
            async with asyncio.timeout(10):
                ack = await sending
            assert (ack.code, rules(ack)) == ("AR", ["EXC-OVERLOAD-JOURNAL"])
        await r.gateway.journal.write(lambda s: None)  # all that waited has been looked at
        with raw(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM delivery").fetchone() == (0,)
        connectors["dmp"].prepare_seconds = 0
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        assert len(r.dmp.jobs) == 1


async def test_a_journal_known_to_hang_refuses_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, ack={"deadline": 120}) as r:
        with locked(tmp_path), monkeypatch.context() as patch:
            patch.setattr(overload, "STALLED", 0.2)
            waiting = asyncio.create_task(r.gateway.journal.write(lambda s: None))
            await r.until(lambda: r.gateway.journal.stalled_for > 0.2)
            async with asyncio.timeout(10):
                ack = await r.send(submit("M1"))
            assert (ack.code, rules(ack)) == ("AR", ["EXC-OVERLOAD-JOURNAL"])
        await waiting
        assert (await r.send(submit("M1"))).code == "AA"


# --- deliveries -----------------------------------------------------------------------------------------------------


async def test_too_many_open_deliveries_are_ar_until_a_tenth_is_free_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EXC-OVERLOAD-QUEUE"""
    monkeypatch.setattr(overload, "RECOUNT", 0.0)
    retry = {"first": 0.05, "longest": 0.2, "jitter": 0, "circuit_probe": 0.1}
    async with running(tmp_path, engine={"max_open_deliveries": 4, "retry": retry}) as r:
        r.dmp.gate = r.mss.gate = asyncio.Event()
        for n in range(2):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"  # one for the DMP and one mail each
        ack = await r.send(submit("M2", 2))
        assert (ack.code, rules(ack)) == ("AR", ["EXC-OVERLOAD-QUEUE"])
        assert "queue" in await r.gateway.readiness()
        assert (await r.send(submit("M0", 0))).code == "AA", "what has its answer gets it again"
        r.dmp.gate.set()
        for n in range(2):
            await r.settled(f"M{n}")
        assert await r.gateway.readiness() == {}
        assert (await r.send(submit("M2", 2))).code == "AA"
        await r.settled("M2")
        assert len(r.dmp.jobs) == 3


async def test_the_limit_does_not_flap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "RECOUNT", 0.0)
    counts = iter([10, 9, 9, 8])

    async def count() -> int:
        return next(counts)

    backlog = overload.Backlog(10, count)
    assert [await backlog.full() for _ in range(4)] == [True, True, True, False]
    assert not await backlog.full(), "below the limit nothing is counted"


# --- what cannot be read in time, or at all -------------------------------------------------------------------------


async def test_a_message_is_answered_although_every_thread_is_busy_with_others(tmp_path: Path) -> None:
    """The deadline covers the first look too: a check that does not end must not leave others without an answer."""
    end = threading.Event()
    busy = [checking._THREADS.submit(end.wait) for _ in range(checking._THREADS._max_workers)]
    try:
        async with running(tmp_path, ack={"deadline": 0.5}) as r:
            message = build.mdm("T02", cda(payload=build.pdf(60_000)), control_id="BUSY1")
            assert len(message) > checking.INLINE_BYTES
            async with asyncio.timeout(20):
                ack = await r.send(message)
            assert (ack.code, ack.acknowledged, rules(ack)) == ("AR", "BUSY1", ["EXC-DEADLINE"])
            assert (await r.send(submit("SMALL1", 2))).code == "AA", "small ones need no thread"
            end.set()
            assert (await r.send(message)).code == "AA", "it may be sent again"
    finally:
        end.set()
        for future in busy:
            future.result()


@pytest.mark.parametrize("kind", ["segments", "msh"])
async def test_a_message_with_a_msh_is_answered_whatever_it_holds(tmp_path: Path, kind: str) -> None:
    """Architecture §7a: the connection is closed only when there is nobody to answer."""
    message = submit("MANY1")
    if kind == "segments":
        message += b"ZZZ|1\r" * MAX_SEGMENTS
    else:
        message = message.replace(b"|FRA|", b"|FRA" + b"x" * MAX_MSH + b"|")
    async with running(tmp_path) as r:
        half = await connect(r, message)
        await half.send()
        ack = await half.ack()
        assert (ack.code, ack.acknowledged, rules(ack)) == ("AE", "MANY1", ["EXC-UNREADABLE"])
        again = Half(half.reader, half.writer, submit("AFTER1"))
        await again.send()
        assert (await again.ack()).code == "AA", "the connection goes on"
        half.writer.close()
