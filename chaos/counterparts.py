"""The DMP and the MSSanté operator, each a process of its own: killing the gateway leaves them and their histories.

They are the simulators that users have (`segur-gateway simulator`), driven by their HTTP control. What they write
(event log as JSON lines, mails as files) is read here into the records of `chaos.history`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sys
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from chaos.history import Mailed, Stored, Submitted
from chaos.messages import named_in

PATIENCE = 120.0
ROUNDING = 0.002
"""Seconds: the events are written with their milliseconds, rounded down."""


def free_port() -> int:
    """A port of loopback that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class Counterpart:
    """One simulator in its process."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.port, self.control_port = free_port(), free_port()
        self.table: dict[str, Any] = {}
        """Its `[connectors.<name>]` table, as it prints it."""
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.control_port}", timeout=10.0)
        self._read = 0

    @property
    def events_file(self) -> Path:
        """Its event log."""
        return self.directory / "events.jsonl"

    async def start(self) -> None:
        """Run it; returns once it printed its settings (it listens then)."""
        command = [sys.executable, "-m", "gateway.cli", "simulator", self.name]
        command += ["--directory", str(self.directory), "--port", str(self.port)]
        command += ["--control", str(self.control_port), "--events", str(self.events_file)]
        if self.name == "mss":
            command += ["--imap-port", str(free_port())]
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        lines: list[str] = []
        async with asyncio.timeout(PATIENCE):
            while line := (await self._process.stdout.readline()).decode():
                if lines and not line.strip():
                    break
                if not line.startswith("#"):
                    lines.append(line)
        self.table = tomllib.loads("".join(lines))["connectors"][self.name]
        self._reading = asyncio.create_task(self._drain())

    async def stop(self) -> None:
        """End it."""
        await self._client.aclose()
        if self._reading is not None:
            self._reading.cancel()
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def reset(self) -> None:
        """A new seed: nothing kept, nothing planned; what the log holds so far is not looked at again."""
        await self.call("POST", "/reset")
        self._read = len(self._lines())

    async def plan(self, fault: Mapping[str, Any]) -> None:
        """Plan a fault."""
        await self.call("POST", "/faults", fault)

    async def calm(self) -> None:
        """Plan nothing more, be reachable."""
        await self.call("DELETE", "/faults")
        await self.call("POST", "/up")

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call of the control; raises when it is refused."""
        headers = {"Content-Type": "application/json"}
        content = json.dumps(body).encode() if body is not None else None
        answer = await self._client.request(method, path, content=content, headers=headers)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def events(self) -> list[dict[str, Any]]:
        """The events of this seed."""
        return [json.loads(line) for line in self._lines()[self._read :]]

    def _lines(self) -> list[str]:
        if not self.events_file.exists():
            return []
        return self.events_file.read_text(encoding="utf-8").splitlines()

    async def _drain(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        while await self._process.stdout.readline():
            pass


def _at(event: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


class Dmp(Counterpart):
    """The DMP."""

    def __init__(self, directory: Path) -> None:
        super().__init__("dmp", directory)

    async def records(self) -> list[Submitted | Stored]:
        """What it was asked, and what it has."""
        documents = await self.call("GET", "/documents")
        names = {entry["entryUUID"]: entry["uniqueId"] for entry in documents}
        made: list[Submitted | Stored] = []
        for event in self.events():
            action = {"submit": "submit", "update": "delete", "query": "look"}.get(event["action"])
            if action is not None:
                # a change of status names the entryUUID
                uid = names.get(event["unique_id"], event["unique_id"])
                made.append(
                    Submitted(_at(event), action, uid, event["result"], event["kept"], event["fault"])
                )
        for entry in documents:
            replaced = entry["replaces"]
            made.append(
                Stored(
                    entry["uniqueId"],
                    entry["status"],
                    names.get(replaced, replaced) if replaced else "",
                    entry["hash"],
                )
            )
        return made


class Mss(Counterpart):
    """The operator."""

    def __init__(self, directory: Path) -> None:
        super().__init__("mss", directory)

    async def reset(self) -> None:
        """As for every counterpart; mails of earlier seeds are removed."""
        await super().reset()
        for path in self._files():
            path.unlink()

    def _files(self) -> list[Path]:
        return sorted((self.directory / "mails").glob("*.eml"))

    def records(self) -> list[Mailed]:
        """The mails that it took, by the instant at which it wrote them.

        Copies of one mail have one Message-ID: an event belongs to the last one written before it. One without an event
        is the mail of a gateway that was gone before the operator could answer: taken, and nobody was told.
        """
        files: dict[str, list[tuple[float, int]]] = defaultdict(list)
        made: list[Mailed] = []
        for path in self._files():
            raw, at = path.read_bytes(), path.stat().st_mtime
            key, recipient, message_id, documents = named_in(raw)
            files[message_id].append((at, len(made)))
            digest = hashlib.sha256(raw).hexdigest()
            made.append(Mailed(at, key, recipient, message_id, digest, "cut", documents))
        for event in self.events():
            if event["action"] == "mail" and event["kept"]:
                before = [f for f in files[event["message_id"]] if f[0] <= _at(event) + ROUNDING]
                if before:
                    files[event["message_id"]].remove(before[-1])
                    made[before[-1][1]] = replace(made[before[-1][1]], answer=event["result"])
        return sorted(made, key=lambda m: m.at)
