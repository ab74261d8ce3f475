"""The harness's own tools do what they say: the relay cuts at the byte, the preloaded library spoils one process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.disk import Disk, build
from chaos.history import WireCut
from chaos.wire import Relay

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
