"""One node on the embedded engine: its journal is one SQLite file, read here from outside."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from chaos.cluster import GatewayNode, Held, settings
from chaos.disk import Disk
from chaos.history import Final, Left, Record, TakenOver
from chaos.scenario import Fault, Plan
from gateway.exchange.delivery import FINAL, sql_list

ANSWERED_WITHIN = 10.0
"""Seconds: more than the ACK's deadline. A message that a bad disk left without an answer was told AR: its row waits
for the next start, nothing else does."""
_IN_HAND = """
SELECT coalesce(m.control_id, ''), d.destination, d.recipient
  FROM delivery d LEFT JOIN message m ON m.id = d.message_id
 WHERE d.state = 'sending'"""
_ACKNOWLEDGED = "SELECT control_id FROM message WHERE ack_code = 'AA'"
_OPEN = f"""
SELECT (SELECT count(*) FROM delivery WHERE state NOT IN ({sql_list(FINAL)}))
     + (SELECT count(*) FROM message WHERE state = 'received' AND abs(received_at - ?) < ?)"""
_FINALS = """
SELECT coalesce(m.control_id, ''), d.destination, d.recipient, d.action, d.state,
       coalesce((SELECT group_concat(uid) FROM delivery_document dd WHERE dd.delivery_id = d.id), '')
  FROM delivery d LEFT JOIN message m ON m.id = d.message_id ORDER BY d.id"""


class SqliteEngine:
    """See `chaos.cluster.Engine`."""

    nodes = 1

    async def start(self) -> None:
        """Nothing is needed."""

    async def stop(self) -> None:
        """Nothing is left."""

    def cluster(
        self,
        plan: Plan,
        directory: Path,
        connectors: Mapping[str, Mapping[str, Any]],
        library: Path | None,
    ) -> SqliteCluster:
        """A file of its own."""
        return SqliteCluster(directory, connectors, library)


class SqliteCluster:
    """See `chaos.cluster.Cluster`. `library`: the preloaded one of `chaos.disk`, or None."""

    nodes = 1
    door: int | None = None

    def __init__(
        self, directory: Path, connectors: Mapping[str, Mapping[str, Any]], library: Path | None
    ) -> None:
        self._data = directory / "data"
        self._data.mkdir(parents=True)
        self.journal = self._data / "journal.sqlite"
        table = settings(connectors) | {"journal": {"path": str(self.journal.resolve())}}
        self._node = GatewayNode(directory, table)
        self._disk = Disk(library, self._data, directory / "disk.control") if library else None

    async def open(self, seen: Callable[[Record], None]) -> None:
        """Nothing stands around it."""

    async def launch(self, node: int, kill_at: str = "") -> None:
        """Start it."""
        await self._node.launch(
            {"SEGUR_KILL_AT": kill_at} | (self._disk.environment() if self._disk is not None else {})
        )

    async def ended(self, node: int) -> int:
        """Its exit status."""
        return await self._node.ended()

    def signal(self, node: int, number: int) -> None:
        """To its process."""
        self._node.signal(number)

    def running(self, node: int) -> bool:
        """It lives."""
        return self._node.running()

    def waited(self, node: int) -> float:
        """Of its process."""
        return self._node.waited()

    def port(self, node: int) -> int:
        """Its MLLP port."""
        return self._node.port

    def disk(self, node: int) -> Disk | None:
        """Its disk."""
        return self._disk

    def power_cut(self, node: int) -> int:
        """Destroy the part of the WAL that was not fsync'd."""
        if self._disk is None:
            return 0
        return self._disk.power_cut(self.journal.with_name(self.journal.name + "-wal"))

    def held(self, node: int) -> Held | None:
        """From a copy of the file and its WAL: opening the real ones would already be a recovery."""
        with tempfile.TemporaryDirectory() as folder:
            for suffix in ("", "-wal"):
                source = self.journal.with_name(self.journal.name + suffix)
                if source.exists():
                    shutil.copy(source, Path(folder) / source.name)
            try:
                with closing(sqlite3.connect(Path(folder) / self.journal.name)) as c:
                    return Held(
                        tuple(c.execute(_IN_HAND).fetchall()),
                        tuple(r[0] for r in c.execute(_ACKNOWLEDGED)),
                    )
            except sqlite3.Error:
                return None  # killed before the journal was made

    def open_work(self) -> int:
        """Beside the running gateway; something is open while there is no journal yet."""
        try:
            with closing(self._connect()) as c:
                count: int = c.execute(_OPEN, (time.time(), ANSWERED_WITHIN)).fetchone()[0]
                return count
        except sqlite3.OperationalError:
            return 1

    def finals(self) -> list[Final]:
        """Every delivery."""
        with closing(self._connect()) as c:
            return [
                Final(m, d, r, a, s, tuple(u.split(",")) if u else ())
                for m, d, r, a, s, u in c.execute(_FINALS)
            ]

    def shared(self) -> list[Left | TakenOver]:
        """Nothing: there is one node."""
        return []

    async def strike(self, fault: Fault) -> None:
        """There is no server that could fall."""

    async def power_off(self) -> None:
        """Nothing stands around it."""

    async def calm(self) -> None:
        """Nothing stands around it."""

    async def close(self, keep: Path | None) -> None:
        """The journal is a file of the seed's folder, which the run keeps or removes."""

    async def finish(self) -> None:
        """Kill what is left."""
        await self._node.finish()
        if self._disk is not None:
            self._disk.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True, timeout=10.0)
        connection.execute("PRAGMA query_only = ON")
        return connection
