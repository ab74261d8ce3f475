"""Two gateway processes on one PostgreSQL journal behind a TCP balancer, one killed with -9 under load.

Everything acknowledged ends, exactly once, in the order of its versions, without a person (docs/decisions/0027).
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from fixtures import build
from gateway.errors import EnvironmentFault
from gateway.hl7.acknowledgement import read
from gateway.mllp import send
from tests.acceptance import process
from tests.acceptance.process import PATIENCE, Counterparts, GatewayProcess, world
from tests.postgres import Database

pytestmark = pytest.mark.slow

DOCTOR = "dr.martin@test-hopital.mssante.fr"
SETS, VERSIONS = 8, 4


@asynccontextmanager
async def balancer(*nodes: GatewayProcess) -> AsyncIterator[int]:
    """The port of a TCP balancer: the nodes in turn, those that refuse a connection left out."""
    turn = 0

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal turn
        for _ in nodes:
            turn += 1
            try:
                there = await asyncio.open_connection("127.0.0.1", nodes[turn % len(nodes)].port)
            except OSError:
                continue
            await asyncio.gather(pipe(reader, there[1]), pipe(there[0], writer))
            return
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def message(number: int, version: int) -> bytes:
    root = f"{build.DOCUMENT_ROOT}.{number}"
    cda = build.cda_n1(
        uid=f"{root}.{version}",
        set_id=root,
        version=version,
        replaces=f"{root}.{version - 1}" if version > 1 else None,
    )
    event = "T02" if version == 1 else "T10"
    return build.mdm(event, cda, control_id=f"S{number}V{version}", recipients=(DOCTOR,), ack_reception=True)


async def until_answered(port: int, raw: bytes) -> bytes:
    """What a DPI does: the same again until it has an answer that is not AR."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                ack = await send("127.0.0.1", port, raw, timeout=20)
                if read(ack).code != "AR":
                    return ack
            except EnvironmentFault:
                pass
            await asyncio.sleep(0.1)


def once_and_in_order(there: Counterparts) -> None:
    """Every document once in the DMP, in the order of its versions; one mail each, one Z01 and one Z02 each."""
    published = [e.unique_id for e in there.dmp.events if e.action in ("submit", "replace")]
    wanted = [f"{build.DOCUMENT_ROOT}.{n}.{v}" for n in range(1, SETS + 1) for v in range(1, VERSIONS + 1)]
    assert Counter(published) == Counter(wanted), "each published once"
    for n in range(1, SETS + 1):
        own = [uid for uid in published if uid and uid.startswith(f"{build.DOCUMENT_ROOT}.{n}.")]
        assert own == sorted(own), "in the order of the versions"
    assert len({m.raw for m in there.mss.mails}) == SETS * VERSIONS
    told = {(z.control_id, z.answered) for z in there.dpi.received}
    assert len(told) == 2 * SETS * VERSIONS, "one Z01 and one Z02 each"


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGTERM])
async def test_one_of_two_nodes_ends_under_load(
    tmp_path: Path, journal_database: Database, monkeypatch: pytest.MonkeyPatch, stop: signal.Signals
) -> None:
    monkeypatch.setattr(process, "JOURNAL", journal_database.table)
    async with world(tmp_path) as (first, there):
        folder = tmp_path / "second"
        folder.mkdir()
        second = GatewayProcess(folder, there.tables(), "production")
        await first.start()
        await second.start()
        try:
            async with balancer(first, second) as port:
                ended_at = 0.0

                async def one_set(number: int) -> None:
                    for version in range(1, VERSIONS + 1):
                        ack = read(await until_answered(port, message(number, version)))
                        assert ack.code == "AA", ack

                async def end() -> None:
                    nonlocal ended_at
                    while len(there.dmp.events) < SETS:
                        await asyncio.sleep(0.005)
                    assert first.process is not None
                    ended_at = time.time()
                    os.kill(first.process.pid, stop)
                    assert await first.ended() == (-signal.SIGKILL if stop is signal.SIGKILL else 0)

                await asyncio.gather(end(), *(one_set(n) for n in range(1, SETS + 1)))
                recovered = 0
                for number in range(1, SETS + 1):
                    for version in range(1, VERSIONS + 1):
                        deliveries = (await second.settled(f"S{number}V{version}")).values()
                        assert {d["state"] for d in deliveries} == {"succeeded"}, deliveries
                        assert Counter(d["destination"] for d in deliveries) == {"dmp": 1, "mss": 1, "dpi": 2}
                        recovered += sum(h["kind"] == "recovery" for d in deliveries for h in d["history"])
        finally:
            await second.stop()

        once_and_in_order(there)
        # only a mail that was in hand of the killed node may have gone twice, as the same bytes
        mails = Counter(m.raw for m in there.mss.mails)
        assert sum(mails.values()) - len(mails) <= (recovered if stop is signal.SIGKILL else 0)
        if recovered:
            with journal_database.connect() as c:
                row = c.execute("SELECT max(started_at) FROM attempt WHERE kind = 'recovery'").fetchone()
            assert row is not None
            print(f"taken over {row[0] - ended_at:.2f} s after the kill ({recovered} deliveries in hand)")


async def test_the_database_crashes_again_and_again_under_load(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was answered AA stands, what was not is asked again; no node takes another one for dead."""
    monkeypatch.setattr(process, "JOURNAL", database.table)
    async with world(tmp_path) as (first, there):
        folder = tmp_path / "second"
        folder.mkdir()
        second = GatewayProcess(folder, there.tables(), "production")
        await first.start()
        await second.start()
        try:
            async with balancer(first, second) as port:

                async def one_set(number: int) -> None:
                    for version in range(1, VERSIONS + 1):
                        ack = read(await until_answered(port, message(number, version)))
                        assert ack.code == "AA", ack

                async def crash() -> None:
                    for events in (SETS // 2, SETS, 2 * SETS):
                        while len(there.dmp.events) < events:
                            await asyncio.sleep(0.005)
                        await asyncio.to_thread(database.server.restart)

                await asyncio.gather(crash(), *(one_set(n) for n in range(1, SETS + 1)))
                for number in range(1, SETS + 1):
                    for version in range(1, VERSIONS + 1):
                        deliveries = (await second.settled(f"S{number}V{version}")).values()
                        assert {d["state"] for d in deliveries} == {"succeeded"}, deliveries
                        kinds = {h["kind"] for d in deliveries for h in d["history"]}
                        assert "recovery" not in kinds, "nobody died"
        finally:
            await second.stop()
        once_and_in_order(there)
        assert len(there.mss.mails) == SETS * VERSIONS, "an outcome waits for the journal: no mail goes twice"
