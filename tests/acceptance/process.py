"""The gateway as a process of its own, against the three simulators in the test's loop: everything real."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from connectors.dmp import simulator as dmp_simulator
from connectors.dpi import simulator as dpi_simulator
from connectors.mss import simulator as mss_simulator
from connectors.simulator_port import toml_table, toml_value
from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.mllp import send

REPOSITORY = Path(__file__).resolve().parents[2]
JOURNAL: dict[str, Any] = {}
"""The settings `[journal]` of the database under test; empty: SQLite (see conftest.py)."""
PATIENCE = 60.0
"""Seconds: a stuck test fails instead of hanging; nothing is measured with it."""


class Counterparts:
    """The three simulators."""

    def __init__(self, directory: Path, options: dict[str, dict[str, Any]]) -> None:
        self.dmp = dmp_simulator.create(directory / "dmp", **options.get("dmp", {}))
        self.mss = mss_simulator.create(directory / "mss", **options.get("mss", {}))
        self.dpi = dpi_simulator.create(directory / "dpi", **options.get("dpi", {}))

    def tables(self) -> dict[str, dict[str, Any]]:
        """The connectors' settings."""
        return {
            "dmp": self.dmp.connector_settings(),
            "mss": self.mss.connector_settings(),
            "dpi": self.dpi.connector_settings(),
        }


class GatewayProcess:
    """`segur-gateway run` in `directory`; `start` may be called again after it ended."""

    def __init__(self, directory: Path, tables: dict[str, dict[str, Any]], conformance: str) -> None:
        self.directory = directory
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self.web = ""
        lines = [
            f'conformance = "{conformance}"',
            "[listener]\nport = 0\ndrain_timeout = 20.0",
            "[web]\nport = 0",
            '[log]\nlevel = "WARNING"\nformat = "text"',
            "[journal]",
            *(f"{k} = {toml_value(v)}" for k, v in (JOURNAL or {"path": "journal.sqlite"}).items()),
            "[engine.retry]\nfirst = 0.1\nlongest = 0.5\ncircuit_probe = 0.5",
        ]
        lines.extend(toml_table(name, table) for name, table in tables.items())
        (directory / "gateway.toml").write_text("\n".join(lines), encoding="utf-8")

    async def start(self, kill_at: str = "") -> None:
        """Run it; returns once it said that it is ready. `kill_at`: the step at which it kills itself."""
        environment = os.environ | {"SEGUR_KILL_AT": kill_at}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway.cli",
            "run",
            "--config",
            str(self.directory / "gateway.toml"),
            cwd=REPOSITORY,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = (await self.process.stdout.readline()).decode()
        found = re.match(r"ready mllp=\S+:(\d+) web=(\S+)", line)
        assert found is not None, "the gateway did not become ready"
        self.port, self.web = int(found.group(1)), found.group(2)

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        return await self.ended()

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self.process is not None
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    async def send_raw(self, message: bytes) -> bytes:
        """The ACK's bytes."""
        return await send("127.0.0.1", self.port, message, timeout=PATIENCE)

    async def send(self, message: bytes) -> Acknowledgement:
        """The ACK, read."""
        return read(await self.send_raw(message))

    async def message(self, control_id: str) -> dict[str, Any]:
        """What the API says of a message."""
        async with httpx.AsyncClient(base_url=self.web) as client:
            answer = await client.get(f"/api/v1/messages/{control_id}")
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()["messages"][-1]
            return found

    async def settled(self, control_id: str) -> dict[str, dict[str, Any]]:
        """The message's deliveries by destination and recipient, once all have ended (ZAM included)."""
        async with asyncio.timeout(PATIENCE):
            while True:
                deliveries = (await self.message(control_id))["deliveries"]
                if deliveries and all(d["finished_at"] for d in deliveries):
                    return {f"{d['destination']} {d['id']}": d for d in deliveries}
                await asyncio.sleep(0.05)


@asynccontextmanager
async def world(
    directory: Path, conformance: str = "production", **options: Any
) -> AsyncIterator[tuple[GatewayProcess, Counterparts]]:
    """Simulators started, a gateway process configured for them (not started)."""
    counterparts = Counterparts(directory, options)
    simulators = (counterparts.dmp, counterparts.mss, counterparts.dpi)
    gateway: GatewayProcess | None = None
    try:
        for simulator in simulators:
            await simulator.start()
        gateway = GatewayProcess(directory, counterparts.tables(), conformance)
        yield gateway, counterparts
    finally:
        if gateway is not None and gateway.process is not None:
            await gateway.stop()
        for simulator in simulators:
            await simulator.stop()
