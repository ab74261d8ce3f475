"""A whole gateway in the test's loop, on free ports, with scripted connectors, spoken to over a real
socket.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from fixtures import build
from gateway import views
from gateway.app import Gateway
from gateway.hl7.acknowledgement import Acknowledgement, read
from gateway.mllp import send
from gateway.settings import Settings
from tests.exchange.scripted import Scripted

ROOT = "1.2.250.1.71.4.2.2.990000010.77"


JOURNAL: dict[str, Any] = {}
"""The settings `[journal]` of the database under test; empty: SQLite in the test's folder (see conftest.py)."""


class Raw:
    """The journal's tables, from outside the gateway."""

    def __init__(self, directory: Path) -> None:
        if JOURNAL:
            password = Path(JOURNAL["password_file"]).read_text()
            self.db: Any = psycopg.connect(JOURNAL["url"], password=password, autocommit=True)
        else:
            self.db = sqlite3.connect(directory / "journal.sqlite", isolation_level=None)

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> Any:
        """A cursor; parameters are `?`."""
        return self.db.execute(statement.replace("?", "%s") if JOURNAL else statement, parameters)


@contextmanager
def raw(directory: Path) -> Iterator[Raw]:
    """While the gateway runs or between two runs."""
    opened = Raw(directory)
    try:
        yield opened
    finally:
        opened.db.close()


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Another process keeps the journal from committing anything."""
    with raw(directory) as other:
        other.execute("BEGIN" if JOURNAL else "BEGIN IMMEDIATE")
        if JOURNAL:
            other.execute("LOCK TABLE writer IN EXCLUSIVE MODE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def settings(**tables: Any) -> Settings:
    """Defaults on free ports, quick retries; `tables` replace whole tables."""
    base: dict[str, Any] = {
        "listener": {"port": 0, "drain_timeout": 5},
        "web": {"enabled": False},
        "journal": JOURNAL or {"path": "journal.sqlite"},
        "ack": {"deadline": 10},
        "engine": {"retry": {"first": 0.05, "longest": 0.2, "jitter": 0, "circuit_probe": 0.1}},
        "connectors": {"dmp": {}, "mss": {}, "dpi": {}},
    }
    return Settings(**(base | tables))


class Running:
    """One running gateway and its scripted connectors."""

    def __init__(self, gateway: Gateway, connectors: dict[str, Scripted]) -> None:
        self.gateway = gateway
        self.dmp = connectors["dmp"]
        self.mss = connectors["mss"]
        self.dpi = connectors["dpi"]

    async def send_raw(self, message: bytes) -> bytes:
        return await send("127.0.0.1", self.gateway.mllp_port, message)

    async def send(self, message: bytes) -> Acknowledgement:
        return read(await self.send_raw(message))

    async def state(self, control_id: str) -> dict[str, Any]:
        found = await self.gateway.journal.read(lambda s: views.messages_by_control_id(s, control_id))
        return found[-1]

    async def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for `condition`; fails the test after `seconds`."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def settled(self, control_id: str, seconds: float = 60) -> list[dict[str, Any]]:
        """The deliveries of a message once all have ended (ZAM included)."""
        async with asyncio.timeout(seconds):
            while True:
                deliveries: list[dict[str, Any]] = (await self.state(control_id))["deliveries"]
                if deliveries and all(d["finished_at"] for d in deliveries):
                    return deliveries
                await asyncio.sleep(0.01)


@asynccontextmanager
async def running(
    directory: Path, connectors: dict[str, Scripted] | None = None, **tables: Any
) -> AsyncIterator[Running]:
    """Start, yield, stop."""
    scripted = connectors or {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    gateway = Gateway(settings(**tables), directory, scripted)
    await gateway.start()
    try:
        yield Running(gateway, scripted)
    finally:
        await gateway.stop()


def cda(number: int = 1, version: int = 1, replaces: int | None = None, **kwargs: Any) -> bytes:
    """Version `version` of document set `number`; `replaces`: the version it replaces."""
    return build.cda_n1(
        uid=f"{ROOT}.{number}.{version}",
        set_id=f"{ROOT}.{number}",
        version=version,
        replaces=f"{ROOT}.{number}.{replaces}" if replaces else None,
        **kwargs,
    )


def submit(control_id: str, number: int = 1, version: int = 1, **kwargs: Any) -> bytes:
    return build.mdm("T02", cda(number, version), control_id=control_id, **kwargs)


def replace(control_id: str, number: int, version: int, replaces: int, **kwargs: Any) -> bytes:
    return build.mdm("T10", cda(number, version, replaces), control_id=control_id, **kwargs)


def delete(control_id: str, number: int, version: int, replaces: int | None = None, **kwargs: Any) -> bytes:
    return build.mdm("T04", cda(number, version, replaces), control_id=control_id, **kwargs)
