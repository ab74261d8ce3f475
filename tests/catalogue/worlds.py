"""The gateways that the catalogue is tried on: whole ones, on real sockets, each with the settings that it needs.

`production` and `interop` have the real connectors and their simulators; the others show one circumstance each.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
import ssl
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from connectors.port import Preparation, Unavailable, Verdict
from gateway import views
from gateway.app import Gateway
from gateway.exchange import overload
from gateway.settings import Settings
from tests.acceptance.process import Counterparts
from tests.exchange.harness import settings
from tests.exchange.scripted import Scripted
from tests.listener.certificates import Authority

T = TypeVar("T")
SMALL = 20_000
"""`max_message_bytes` of the world `small`."""

WHITE_LIST = (
    '<ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema"><Domaine><Nom>test-hopital.mssante.fr</Nom>'
    "</Domaine><Domaine><Nom>patient.mssante.fr</Nom></Domaine></ListeBlancheMSSante>"
)


class World:
    """A gateway whose event loop runs in a thread of its own; tests speak to it with blocking sockets."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.tls: ssl.SSLContext | None = None
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._stack = contextlib.AsyncExitStack()
        self.gateway: Gateway = self.call(self._start())

    async def _start(self) -> Gateway:
        made, connectors = await getattr(self, f"_{self.name.replace('-', '_')}")()
        gateway = Gateway(made, self.directory, connectors)
        await gateway.start()
        self._stack.push_async_callback(gateway.stop)
        if self.name == "full":
            # SQLite answers SQLITE_FULL, as on a full disk, from its next page on
            await gateway.journal.write(lambda s: s.connection().exec_driver_sql("PRAGMA max_page_count = 1"))
        if self.name == "locked":
            other = sqlite3.connect(self.directory / "journal.sqlite", isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            self._stack.callback(other.close)
        return gateway

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(60)

    def stop(self) -> None:
        self.call(self._stack.aclose())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.gateway.mllp_port), timeout=20)
        return self.tls.wrap_socket(sock, server_hostname="localhost") if self.tls else sock

    def findings(self, control_id: str) -> list[dict[str, Any]]:
        """What the journal keeps of a message."""
        found = self.call(self.gateway.journal.read(lambda s: views.messages_by_control_id(s, control_id)))
        kept: list[dict[str, Any]] = found[-1]["findings"]
        return kept

    # --- worlds -----------------------------------------------------------------------------------------------------

    async def _real(self, conformance: str, **tables: Any) -> tuple[Settings, None]:
        there = Counterparts(self.directory / "counterparts", {"dmp": {"strict": False}})
        for simulator in (there.dmp, there.mss, there.dpi):
            await simulator.start()
            self._stack.push_async_callback(simulator.stop)
        white_list = self.directory / "listeblanchemssante.xml"
        white_list.write_text(WHITE_LIST, encoding="utf-8")
        connectors = there.tables()
        # what is answered does not depend on the extra `pdf`
        connectors["mss"] |= {"white_list": str(white_list), "render_pdf": "never"}
        return settings(conformance=conformance, connectors=connectors, **tables), None

    async def _production(self) -> tuple[Settings, None]:
        return await self._real("production")

    async def _interop(self) -> tuple[Settings, None]:
        return await self._real("interop")

    def _scripted(self, **tables: Any) -> tuple[Settings, dict[str, Scripted]]:
        return settings(**tables), {name: Scripted(name) for name in ("dmp", "mss", "dpi")}

    async def _small(self) -> tuple[Settings, dict[str, Scripted]]:
        """Short limits: 20 kB, half a second, two connections."""
        return self._scripted(
            listener={
                "port": 0,
                "max_message_bytes": SMALL,
                "first_byte_timeout": 0.3,
                "frame_timeout": 0.3,
                "idle_timeout": 0.3,
                "max_connections": 2,
            }
        )

    async def _basic_err(self) -> tuple[Settings, dict[str, Scripted]]:
        """Without ERR-5, ERR-7 and ERR-8."""
        return self._scripted(ack={"extended_err": False, "deadline": 10})

    async def _unknown_refused(self) -> tuple[Settings, dict[str, Scripted]]:
        return self._scripted(versions={"unknown_predecessor": "refuse"})

    async def _alone(self) -> tuple[Settings, dict[str, Scripted]]:
        """No connector configured."""
        return settings(), {}

    async def _unavailable(self) -> tuple[Settings, dict[str, Scripted]]:
        made, connectors = self._scripted()
        connectors["dmp"].verdict = lambda _p: Unavailable("certificat expiré.")
        return made, connectors

    async def _late(self) -> tuple[Settings, dict[str, Scripted]]:
        made, connectors = self._scripted(ack={"deadline": 0.2})
        connectors["mss"].prepare_seconds = 30
        return made, connectors

    async def _broken(self) -> tuple[Settings, dict[str, Scripted]]:
        def raises(_preparation: Preparation) -> Verdict:
            raise KeyError("a bug of the connector")

        made, connectors = self._scripted()
        connectors["dmp"].verdict = raises
        return made, connectors

    async def _queue(self) -> tuple[Settings, dict[str, Scripted]]:
        """One delivery that does not end is enough; they are counted at each message."""
        self._stack.callback(setattr, overload, "RECOUNT", overload.RECOUNT)
        overload.RECOUNT = 0.0
        made, connectors = self._scripted(engine={"max_open_deliveries": 1})
        connectors["dmp"].gate = connectors["mss"].gate = asyncio.Event()
        self._stack.callback(connectors["dmp"].gate.set)
        return made, connectors

    async def _locked(self) -> tuple[Settings, dict[str, Scripted]]:
        """Another process holds the journal's write lock (see `_start`)."""
        return self._scripted(ack={"deadline": 0.5})

    async def _full(self) -> tuple[Settings, dict[str, Scripted]]:
        """The disk is full (see `_start`)."""
        return self._scripted()

    async def _tls_plain(self) -> tuple[Settings, dict[str, Scripted]]:
        """Mutual TLS, and a client that speaks in clear."""
        made = await self._tls()
        self.tls = None
        return made

    async def _tls_no_certificate(self) -> tuple[Settings, dict[str, Scripted]]:
        """Mutual TLS, and a client without a certificate."""
        made = await self._tls()
        self.tls = ssl.create_default_context(cafile=str(self.directory / "ours" / "ca.pem"))
        return made

    async def _network(self) -> tuple[Settings, dict[str, Scripted]]:
        """Only another network may connect."""
        return self._scripted(listener={"port": 0, "allowed_networks": ["10.0.0.0/8"]})

    async def _tls(self) -> tuple[Settings, dict[str, Scripted]]:
        """Mutual TLS; this world's own client has a certificate of another authority."""
        ours, other = Authority(self.directory / "ours"), Authority(self.directory / "other")
        certificate, key = ours.issue("localhost")
        self.tls = ssl.create_default_context(cafile=str(ours.ca))
        self.tls.load_cert_chain(*other.issue("dpi"))
        tls = {"certificate": str(certificate), "key": str(key), "client_ca": str(ours.ca)}
        return self._scripted(listener={"port": 0, "tls": tls})
