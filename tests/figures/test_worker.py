"""The worker process: what becomes of it when it dies, hangs or has nothing to do, and of the gateway meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.errors import BadInput, EnvironmentFault
from indicators.machine import Busy, Machine, MachineLost
from indicators.worker import Request
from tests.exchange.harness import running
from tests.figures.world import FINESS, WEB, Client, delivery, figure, stay, tell


async def until_gone(pid: int, seconds: float = 60) -> None:
    """Wait for the end of a process."""
    async with asyncio.timeout(seconds):
        while _alive(pid):
            await asyncio.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def test_nothing_runs_before_somebody_asks_and_nothing_stays(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        assert r.gateway.figures is not None
        machine = r.gateway.figures.books.machine
        await tell(r, [*stay(1), delivery(1)])
        assert machine.pid is None
        await Client(r).month("month=2025-02")
        pid = machine.pid
        assert pid is not None and _alive(pid)
        assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0), "ACKs come first"
    await until_gone(pid)


@pytest.mark.sqlite
async def test_a_worker_without_work_goes(tmp_path: Path) -> None:
    machine = Machine(keep=0.2)
    try:
        with pytest.raises(EnvironmentFault):
            await machine.ask(Request(seconds=0, path=str(tmp_path / "none.sqlite")))
        pid = machine.pid
        assert pid is not None
        await until_gone(pid)
        assert machine.pid is None
    finally:
        await machine.close()


async def test_a_worker_that_dies_in_the_middle_leaves_the_old_figures_and_an_alarm_and_is_replaced(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, **WEB) as r:
        client, figures = Client(r), r.gateway.figures
        assert figures is not None
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        assert figure(await client.month("month=2025-02")) == (1, 2)
        pid = figures.books.machine.pid
        assert pid is not None
        await tell(r, [delivery(2)])
        # stopped, so that it dies with a request in hand and not before
        os.kill(pid, signal.SIGSTOP)
        asked = asyncio.create_task(client.month("month=2025-02"))
        await r.until(lambda: figures.state() == "computing")
        os.kill(pid, signal.SIGKILL)
        told = await asked
        assert (figure(told), told["stale"]) == ((1, 2), True), "the last figures, and it is said"
        assert figures.state() == "failed"
        assert "indicators" in figures.trouble()
        assert "indicators" in await r.gateway.warnings()
        # the next computation takes a new process
        told = await client.month("month=2025-02&fresh=true")
        assert (figure(told), told["stale"]) == ((2, 2), False)
        assert figures.trouble() == {} and figures.state() == "idle"


@pytest.mark.sqlite
async def test_a_worker_that_hangs_is_ended_in_time(tmp_path: Path) -> None:
    machine = Machine(seconds=1.0)
    try:
        with pytest.raises(EnvironmentFault):
            await machine.ask(Request(seconds=0, path=str(tmp_path / "none.sqlite")))
        pid = machine.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(MachineLost):
            await machine.ask(Request(seconds=0, path=str(tmp_path / "none.sqlite")))
        await until_gone(pid)
    finally:
        await machine.close()


@pytest.mark.sqlite
async def test_too_many_requests_are_refused_at_once_and_wrong_ones_are_told(tmp_path: Path) -> None:
    machine = Machine()
    path = str(tmp_path / "none.sqlite")
    try:
        tasks = [asyncio.create_task(machine.ask(Request(seconds=0, path=path))) for _ in range(12)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(isinstance(e, Busy) for e in found) == 4
        async with running(tmp_path) as r:
            await tell(r, stay(1))
            journal = str(tmp_path / "journal.sqlite")
            with pytest.raises(BadInput):
                await machine.ask(Request(seconds=0, path=journal, months=["2025-99"]))
            answer, _ = await machine.ask(Request(seconds=0, path=journal, months=["2025-02"]))
            assert [p.finess for p in answer.parts] == [FINESS]
    finally:
        await machine.close()


@pytest.mark.sqlite
async def test_the_worker_dies_with_its_gateway(tmp_path: Path) -> None:
    """A process that starts the worker as a gateway does, and is killed."""
    program = textwrap.dedent(
        """
        import asyncio, sys
        from indicators.machine import Machine
        from indicators.worker import Request

        async def main():
            machine = Machine()
            try:
                await machine.ask(Request(seconds=0, path=sys.argv[1]))
            except Exception:
                pass
            print(machine.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    parent = subprocess.Popen(  # noqa: ASYNC220 - it has to outlive nobody
        [sys.executable, "-c", program, str(tmp_path / "none.sqlite")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert parent.stdout is not None
        line = await asyncio.to_thread(parent.stdout.readline)
        pid = int(line)
        assert _alive(pid)
        parent.kill()
        await until_gone(pid)
    finally:
        parent.kill()
        parent.wait()
        assert parent.stdout is not None
        parent.stdout.close()


async def test_kept_worlds_read_only_what_is_new_and_the_facts_of_a_revision_are_found_again(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, **WEB) as r:
        assert r.gateway.figures is not None
        books = r.gateway.figures.books
        await tell(r, [*stay(1), delivery(1)])
        first, _ = await books.machine.ask(books.request())
        await tell(r, [*stay(2), delivery(2)])
        second, _ = await books.machine.ask(books.request())
        assert (first.facts, second.facts) == (3, 6)
        request = books.request()
        request.until = first.seen
        again, _ = await books.machine.ask(request)
        assert (again.facts, again.seen) == (3, first.seen)
        await books.machine.close()
