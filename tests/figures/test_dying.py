"""A gateway process killed while it computes: its worker goes with it, another one (or the next start) goes on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from sqlmodel import Session

from gateway.journal import facts, figures
from gateway.journal.store import Journal
from indicators.facts import read
from tests.acceptance.process import PATIENCE, REPOSITORY
from tests.exchange import harness
from tests.figures.test_black_box import settings_file
from tests.figures.test_worker import until_gone
from tests.figures.world import FINESS, delivery, stay

pytestmark = pytest.mark.slow


class Node:
    """`segur-gateway run` without connectors."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.cli", "run", "--config", str(self.config)),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert (await self.process.stdout.readline()).startswith(b"ready")

    def workers(self) -> list[int]:
        """Its worker processes of the indicators."""
        assert self.process is not None
        found = []
        for entry in Path("/proc").iterdir():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                if parent == self.process.pid and b"indicators.worker" in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except (OSError, ValueError, IndexError):
                continue
        return found

    async def kill(self) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


async def test_a_node_that_dies_while_it_computes_is_followed_by_another(tmp_path: Path) -> None:
    config = settings_file(tmp_path)
    with config.open("a", encoding="utf-8") as f:
        f.write("[listener]\nport = 0\n[indicators]\nrefresh = 0.3\n")
    told = [*stay(1), *stay(2), delivery(1)]
    rows = [facts.row(read(json.dumps(fact)), "import") for fact in told]
    settings = harness.settings().journal
    journal = await Journal.open(tmp_path / "journal.sqlite", settings)
    await journal.write(lambda s: facts.add_many(s, rows))
    await journal.close()

    first, second = Node(config), Node(config)
    try:
        await first.start()
        async with asyncio.timeout(PATIENCE):
            while not (workers := first.workers()):
                await asyncio.sleep(0.002)
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        if harness.JOURNAL:
            await second.start()
        await first.kill()
        for pid in workers:
            # one that was stopped before it asked to die with its gateway finds that nobody is there
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            await until_gone(pid)
        if not harness.JOURNAL:
            await second.start()

        def published(session: Session) -> bool:
            found = figures.stored(session, "2025-02", FINESS)
            return bool(found) and found[0].revision == 1 and found[0].facts == len(told)

        if harness.JOURNAL:
            journal = await Journal.open(tmp_path / "journal.sqlite", settings)
            async with asyncio.timeout(120):
                while not await journal.read(published):
                    await asyncio.sleep(0.1)
        else:
            # one process per file: its command line tells what it kept
            async with asyncio.timeout(120):
                while not _in_the_file(tmp_path / "journal.sqlite"):
                    await asyncio.sleep(0.2)
    finally:
        for node in (first, second):
            if node.process is not None:
                await node.kill()
        await journal.close()


def _in_the_file(path: Path) -> bool:
    import sqlite3

    with sqlite3.connect(path) as db:
        found = db.execute(
            "SELECT revision FROM indicator_month WHERE month = '2025-02' AND finess = ?", (FINESS,)
        ).fetchall()
    db.close()
    return found == [(1,)]
