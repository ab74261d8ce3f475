"""The harness's own tools do what they say: the relay cuts at the byte, the preloaded library spoils one process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from sqlmodel import Session

from chaos.cluster import GatewayNode
from chaos.disk import Disk, build
from chaos.history import Left, TakenOver, WireCut
from chaos.postgres import PostgresEngine
from chaos.scenario import make
from chaos.server import Server, programs
from chaos.wire import Balancer, Relay
from gateway.hl7.transmission import Action
from gateway.journal import claims, nodes, queue, records
from gateway.journal.store import Journal
from gateway.settings import JournalSettings

# --- the relay ------------------------------------------------------------------------------------------------------


async def _through(
    cut: tuple[str, int] | None, request: bytes, answer: bytes
) -> tuple[bytes, bytes, list[WireCut]]:
    """What arrived there, what came back, and the cuts that were told."""
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken = bytearray()
        try:
            while len(taken) < len(request) and (data := await reader.read(65_536)):
                taken += data
            if len(taken) == len(request):
                writer.write(answer)
                await writer.drain()
                await reader.read()
        except OSError:
            pass
        got.set_result(bytes(taken))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    cuts: list[WireCut] = []
    relay = Relay("dmp", server.sockets[0].getsockname()[1], cuts.append)
    await relay.start()
    if cut is not None:
        relay.cut(*cut)
    back = bytearray()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        writer.write(request)
        await writer.drain()
        while len(back) < len(answer) and (data := await reader.read(65_536)):
            back += data
    except OSError:
        pass
    writer.close()
    there = await got
    await relay.stop()
    server.close()
    return there, bytes(back), cuts


async def test_the_relay_changes_nothing() -> None:
    request, answer = bytes(range(256)) * 2000, b"answer" * 5000
    assert await _through(None, request, answer) == (request, answer, [])


@pytest.mark.parametrize("count", [0, 1, 70_000])
async def test_the_relay_cuts_what_goes_out_at_the_byte(count: int) -> None:
    request = bytes(range(256)) * 1000
    there, back, cuts = await _through(("out", count), request, b"answer")
    assert (there, back) == (request[:count], b"")
    assert [(c.link, c.direction) for c in cuts] == [("dmp", "out")]


@pytest.mark.parametrize("count", [0, 3])
async def test_the_relay_cuts_the_answer_after_the_request_arrived(count: int) -> None:
    there, back, cuts = await _through(("back", count), b"request", b"answer")
    assert there == b"request"
    assert back == b"answer"[:count]
    assert [c.direction for c in cuts] == ["back"]


async def test_what_the_relay_holds_back_arrives_when_it_is_released() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay = Relay("database 0", server.sockets[0].getsockname()[1], lambda cut: None)
    await relay.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    writer.write(b"one")
    assert await reader.readexactly(3) == b"one"
    assert len(relay.ports()) == 1
    relay.hold()
    writer.write(b"two")
    late_reader, late_writer = await asyncio.open_connection("127.0.0.1", relay.port)
    late_writer.write(b"three")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.readexactly(1)
    relay.release()
    assert await reader.readexactly(3) == b"two"
    assert await late_reader.readexactly(5) == b"three"
    relay.refuse()
    assert await ended(reader) and await ended(late_reader)
    refused_reader, refused = await asyncio.open_connection("127.0.0.1", relay.port)
    assert await ended(refused_reader)
    relay.release()
    again_reader, again = await asyncio.open_connection("127.0.0.1", relay.port)
    again.write(b"four")
    assert await again_reader.readexactly(4) == b"four"
    for each in (writer, late_writer, refused, again):
        each.close()
    await relay.stop()
    server.close()


async def ended(reader: asyncio.StreamReader) -> bool:
    """The connection was closed, or cut."""
    try:
        async with asyncio.timeout(30):
            return await reader.read() == b""
    except OSError:
        return True


# --- the balancer ---------------------------------------------------------------------------------------------------


async def test_the_balancer_asks_the_nodes_in_turn_and_leaves_out_those_that_take_no_connection() -> None:
    async def node(name: bytes) -> asyncio.Server:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(name + await reader.read())  # answers after the end of what it was told
            await writer.drain()
            writer.close()

        return await asyncio.start_server(serve, "127.0.0.1", 0)

    nodes = [await node(b"A"), await node(b"B")]
    ports = [n.sockets[0].getsockname()[1] for n in nodes]
    balancer = Balancer(lambda: ports)
    await balancer.start()

    async def ask(by: Balancer = balancer) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", by.port)
        writer.write(b" has it")
        writer.write_eof()
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        return answer

    assert sorted([await ask(), await ask()]) == [b"A has it", b"B has it"]
    first = Balancer(lambda: ports[::-1], in_turn=False)
    await first.start()
    assert [await ask(first), await ask(first), await ask(first)] == [b"B has it"] * 3
    await first.stop()
    nodes[0].close()
    await nodes[0].wait_closed()
    assert [await ask(), await ask(), await ask()] == [b"B has it"] * 3
    ports.clear()
    reader, writer = await asyncio.open_connection("127.0.0.1", balancer.port)
    assert await ended(reader)
    writer.close()
    await balancer.stop()
    nodes[1].close()


# --- what the journal of several nodes says of itself ---------------------------------------------------------------


async def test_the_triggers_note_who_had_what_in_hand_and_from_whom_it_was_taken(
    postgres_server: Server, tmp_path: Path
) -> None:
    engine = PostgresEngine()
    await asyncio.to_thread(engine.use, postgres_server)
    cluster = engine.cluster(make(7, nodes=2), tmp_path, {}, None)
    await cluster.open(lambda record: None)
    cluster._node_of |= {"11": 0, "22": 1}  # their process ids
    try:
        settings = JournalSettings.model_validate(engine.journal(postgres_server.port, "seed_7"))
        async with AsyncExitStack() as stack:
            first, second = [await Journal.open(Path(), settings) for _ in range(2)]
            stack.push_async_callback(first.close)
            stack.push_async_callback(second.close)
            await first.write(lambda s: nodes.join(s, "host 11", 1.0))
            await second.write(lambda s: nodes.join(s, "host 22", 1.0))

            def arrived(s: Session) -> None:
                new = records.NewMessage(b"MSH", "0", "k", "M1", "S", "MDM^T02", "", "c", 1.0)
                message = records.receive(s, new).message_id
                documents = ((None, "1.2", "1"),)
                queue.enqueue(
                    s, queue.NewDelivery(message, "mss", "dr@x", Action.SUBMIT, documents, b"", 1.0, 9.0)
                )

            await first.write(arrived)
            assert cluster.shared() == []
            before = time.time()
            claim = await first.write(lambda s: claims.claim(s, "mss", 1, 2.0, first.node))
            assert len(claim.deliveries) == 1
            await second.write(lambda s: nodes.bury(s, first.node, 1, 3.0))
            first.renew()
            await first.write(lambda s: nodes.join(s, "host 11", 4.0))
            assert (await second.write(lambda s: claims.claim(s, "mss", 1, 4.0, second.node))).deliveries
            left, taken = cluster.shared()
            assert isinstance(left, Left) and isinstance(taken, TakenOver)
            assert (left.node, taken.node) == (0, 0)
            assert left.back is not None and taken.back == left.back and taken.again is not None
            # the clock of the server, not that of a node
            assert before < taken.claimed < left.at < taken.at < left.back < taken.again < time.time()
            assert (taken.control_id, taken.destination, taken.recipient) == ("M1", "mss", "dr@x")
            assert cluster.open_work() > 0
            assert [(f.control_id, f.uids) for f in cluster.finals()] == [("M1", ("1.2",))]
    finally:
        await cluster.finish()
        await cluster.close(tmp_path)
    assert "INSERT INTO public.delivery" in (tmp_path / "journal.sql").read_text("utf-8")


async def test_a_run_that_is_stopped_while_its_server_starts_leaves_none() -> None:
    if programs() is None:
        assert not os.environ.get("REQUIRE_POSTGRES"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    engine = PostgresEngine()
    start = asyncio.create_task(engine.start())
    async with asyncio.timeout(60):
        while engine._starting is None:
            await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await engine.stop()
    assert not engine._folder.exists()
    with pytest.raises(psycopg.OperationalError):
        engine.server.connect()


async def test_a_node_that_waits_for_a_cpu_is_known_to(tmp_path: Path) -> None:
    if not Path("/proc/self/schedstat").exists():
        pytest.skip("this kernel does not count it")
    busy = "import os, sys\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile True: pass"
    node = GatewayNode(tmp_path, {})
    assert node.waited() == 0
    rivals = [await asyncio.create_subprocess_exec(sys.executable, "-c", busy) for _ in range(2)]
    try:
        node.process = rivals[0]
        async with asyncio.timeout(60):
            while node.waited() < 0.2:
                await asyncio.sleep(0.05)
    finally:
        for rival in rivals:
            rival.kill()
            await rival.wait()


# --- the preloaded library --------------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    library, why = build(tmp_path)
    if library is None:
        pytest.skip(why)
    (tmp_path / "data").mkdir()
    made = Disk(library, tmp_path / "data", tmp_path / "control")
    yield made
    made.close()


def run(disk: Disk, program: str) -> str:
    """What a process with that disk prints."""
    done = subprocess.run(
        [sys.executable, "-c", program], env=disk.environment(), capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def writes(folder: Path, name: str = "file") -> str:
    return (
        f"import os\ntry:\n fd = os.open({str(folder / name)!r}, os.O_RDWR | os.O_CREAT)\n"
        " os.write(fd, b'12345'); os.fsync(fd); print('ok')\nexcept OSError as e:\n print(e.strerror)"
    )


def test_a_full_disk_refuses_what_grows_and_takes_the_rest(disk: Disk, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "file").write_bytes(b"1234567890")
    disk.full()
    assert run(disk, writes(data)) == "ok"
    assert run(disk, writes(data, "new")) == "No space left on device"
    assert run(disk, writes(tmp_path, "elsewhere")) == "ok"
    disk.calm()
    assert run(disk, writes(data, "new")) == "ok"


def test_a_read_only_disk_refuses_everything(disk: Disk, tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "file").write_bytes(b"1234567890")
    disk.read_only()
    assert run(disk, writes(data)) == "Read-only file system"
    assert run(disk, writes(tmp_path, "elsewhere")) == "ok"
    assert run(disk, f"print(open({str(data / 'file')!r}).read())") == "1234567890"


def test_an_fsync_that_fails_syncs_nothing(disk: Disk, tmp_path: Path) -> None:
    disk.failing()
    assert run(disk, writes(tmp_path / "data", "journal-wal")) == "Input/output error"
    assert disk.power_cut(tmp_path / "data" / "journal-wal") == 5
    disk.calm()
    assert run(disk, writes(tmp_path / "data", "journal-wal")) == "ok"
    assert disk.power_cut(tmp_path / "data" / "journal-wal") == 0


def test_the_clock_jumps_and_the_monotonic_one_does_not(disk: Disk) -> None:
    program = (
        "import time, datetime; print(int(time.time()), int(time.monotonic()), datetime.datetime.now().year)"
    )
    before = [int(x) for x in run(disk, program).split()]
    disk.clock(-10 * 365 * 86_400)
    after = [int(x) for x in run(disk, program).split()]
    assert after[0] < before[0] - 9 * 365 * 86_400
    assert after[1] >= before[1]
    assert after[2] < before[2] - 8


def test_a_clock_that_is_wrong_all_the_time_is_so_after_a_jump_too(disk: Disk, tmp_path: Path) -> None:
    assert disk._library
    (tmp_path / "other").mkdir()
    skewed = Disk(disk._library, tmp_path / "other", tmp_path / "other.control", skew=-3_600)

    def wrong_by(which: Disk) -> float:
        return round((int(run(which, "import time; print(int(time.time()))")) - time.time()) / 600) * 600

    assert (wrong_by(disk), wrong_by(skewed)) == (0, -3_600)
    skewed.clock(7_200)
    assert (wrong_by(disk), wrong_by(skewed)) == (0, 3_600)
    skewed.calm()
    assert wrong_by(skewed) == -3_600
    skewed.close()


def test_a_power_cut_destroys_what_was_not_synced_and_nothing_else(disk: Disk, tmp_path: Path) -> None:
    log = tmp_path / "data" / "journal-wal"
    program = (
        f"import os\nfd = os.open({str(log)!r}, os.O_RDWR | os.O_CREAT)\n"
        "os.pwrite(fd, b'safe', 0)\nos.fsync(fd)\nos.pwrite(fd, b'lost', 4)\nos._exit(0)"
    )
    run(disk, program)
    assert log.read_bytes() == b"safelost"
    assert disk.power_cut(log) == 4
    assert log.read_bytes() == b"safe\xa5\xa5\xa5\xa5"
    assert disk.power_cut(log) == 0
