"""Gateway nodes as the harness sees them, whatever their engine: start, kill, stop, ports, journal.

A `Cluster` owns real processes (`segur-gateway run`). `chaos.sqlite` is one node on one file, `chaos.postgres`
several on one database. Node numbers count from 0.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from chaos.disk import Disk
from chaos.history import Final, Left, Record, TakenOver
from chaos.scenario import Fault, Plan
from connectors.simulator_port import toml_table

PATIENCE = 120.0
"""Seconds for a start; more is a failure. A machine that is shared with others may take most of them."""


@dataclass(frozen=True, slots=True)
class Held:
    """What the journal says at one instant."""

    in_hand: tuple[tuple[str, str, str], ...]
    """(MSH-10, destination, recipient) of deliveries that are being sent."""
    acknowledged: tuple[str, ...] | None
    """MSH-10 answered AA; None: nobody can read it now (the database is down: its own stop is judged)."""


class Cluster(Protocol):
    """The nodes and their journal."""

    nodes: int
    door: int | None
    """Port of the balancer before the nodes; None: the DPI connects to the one that there is."""

    async def open(self, seen: Callable[[Record], None]) -> None:
        """Before the first start: what stands around the nodes. `seen`: takes what happens to it."""
        ...

    async def launch(self, node: int, kill_at: str = "") -> None:
        """Start a node; returns once it is ready. `kill_at`: the step at which it kills itself. `NotReady`."""
        ...

    async def ended(self, node: int) -> int:
        """Wait until the node's process has ended; its exit status (negative: the signal)."""
        ...

    def signal(self, node: int, number: int) -> None:
        """SIGKILL, SIGTERM, SIGSTOP, SIGCONT; nothing when it has ended."""
        ...

    def running(self, node: int) -> bool:
        """Its process lives."""
        ...

    def waited(self, node: int) -> float:
        """Seconds that its process has waited for a CPU, since its start."""
        ...

    def port(self, node: int) -> int:
        """Where its MLLP listener is (or was, before it ended)."""
        ...

    def disk(self, node: int) -> Disk | None:
        """Its disk and clock; None when they cannot be spoilt."""
        ...

    def power_cut(self, node: int) -> int:
        """After SIGKILL: lose what was not on stable storage. Bytes lost."""
        ...

    def held(self, node: int) -> Held | None:
        """What the journal that the node left says (read without touching it); None when it cannot be read."""
        ...

    def open_work(self) -> int:
        """Deliveries that have not ended, and messages that are being answered."""
        ...

    def finals(self) -> list[Final]:
        """Every delivery of the journal."""
        ...

    def shared(self) -> list[Left | TakenOver]:
        """What the journal says of nodes that were, and of what was taken from their hands; nothing with one node."""
        ...

    async def strike(self, fault: Fault) -> None:
        """One of `scenario.DATABASE_KINDS`, from its beginning to its end."""
        ...

    async def power_off(self) -> None:
        """Beside the kill of every node that a power cut is: what stands around them falls too, and comes back."""
        ...

    async def calm(self) -> None:
        """No fault any more around the nodes."""
        ...

    async def finish(self) -> None:
        """The end of a seed: kill what is left."""
        ...

    async def close(self, keep: Path | None) -> None:
        """Forget the journal; `keep`: a folder that shall have what a person needs of it."""
        ...


class Engine(Protocol):
    """Makes the cluster of each seed; what it needs for all of them lives as long as it."""

    nodes: int

    async def start(self) -> None:
        """Raises `RuntimeError` when something is not installed."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...

    def cluster(
        self,
        plan: Plan,
        directory: Path,
        connectors: Mapping[str, Mapping[str, Any]],
        library: Path | None,
    ) -> Cluster:
        """The nodes of a plan. `library`: the preloaded one of `chaos.disk`, or None."""
        ...


class NotReady(Exception):
    """A node ended before it was ready; `status` is how."""

    def __init__(self, status: int) -> None:
        super().__init__(f"exit status {status}")
        self.status = status


class GatewayNode:
    """One `segur-gateway run` in `directory`."""

    def __init__(self, directory: Path, table: Mapping[str, Mapping[str, Any]]) -> None:
        self.directory = directory
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._config = directory / "gateway.toml"
        self._config.write_text(
            "\n".join(toml_table(n, t).replace("[connectors.", "[", 1) for n, t in table.items()), "utf-8"
        )
        self._log = directory / "gateway.log"

    async def launch(self, environment: Mapping[str, str]) -> None:
        """Start it; `NotReady` when it ends first."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "gateway.cli", "run", "--config", str(self._config)),
                env=os.environ | dict(environment),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=1 << 20,
            )
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE):
                line = (await self.process.stdout.readline()).decode()
        except TimeoutError:
            self.signal(signal.SIGKILL)
            line = ""
        found = re.match(r"ready mllp=\S+:(\d+) ", line)
        if found is None:
            raise NotReady(await self.process.wait())
        self.port = int(found[1])

    def running(self) -> bool:
        """Its process lives."""
        return self.process is not None and self.process.returncode is None

    def waited(self) -> float:
        """Seconds that its threads have waited for a CPU, by the kernel's count; 0 where there is none."""
        if self.process is None:
            return 0.0
        nanoseconds = 0
        for count in Path(f"/proc/{self.process.pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # it has ended
                nanoseconds += int(count.read_text().split()[1])
        return nanoseconds / 1e9

    def signal(self, number: int) -> None:
        """Send a signal to a process that lives."""
        if self.process is not None and self.running():
            # not `send_signal`: it would reap a process that ended just now, and asyncio would not know how it ended
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def ended(self) -> int:
        """Its exit status."""
        assert self.process is not None
        return await self.process.wait()

    async def finish(self) -> None:
        """Kill what is left."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        if self.process is not None:
            await self.process.wait()


def settings(connectors: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The tables of a node's settings file, but for its journal: short delays, so that a seed takes seconds."""
    times: dict[str, dict[str, Any]] = {
        "dmp": {"timeouts": {"connect": 2.0, "write": 3.0, "read": 3.0, "pool": 5.0, "total": 8.0}},
        "mss": {"timeouts": {"connect": 2.0, "command": 4.0, "body": 8.0, "reply": 6.0}},
        "dpi": {"timeouts": {"connect": 2.0, "send": 2.0, "acknowledgement": 2.0}},
    }
    return {
        "listener": {"port": 0, "drain_timeout": 5.0},
        "web": {"port": 0},
        "log": {"level": "INFO", "format": "text"},
        "ack": {"deadline": 5.0},
        "engine.retry": {"first": 0.1, "longest": 0.5, "circuit_probe": 0.5},
        **{f"connectors.{name}": {**table, **times.get(name, {})} for name, table in connectors.items()},
    }
