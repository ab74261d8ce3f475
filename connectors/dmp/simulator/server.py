"""The DMP simulator: HTTPS with mutual TLS on loopback, in the current event loop.

Purpose: a `connectors.simulator_port.Simulator` for tests, the demo and users' CI.
Guarantee: a client without a certificate of the test authority does not pass the handshake; TLS 1.2 with the suites of
the DMP; the exact bytes of documents are kept; faults come from an explicit plan.
Fails: `OSError` when the port is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from fastapi import FastAPI, Request, Response
from uvicorn.protocols.http.h11_impl import H11Protocol

from connectors.dmp.certificates import CIPHERS
from connectors.dmp.simulator.answers import Answer, SoapFault
from connectors.dmp.simulator.faults import Fault, FaultPlan
from connectors.dmp.simulator.pki import TEST_STRUCTURE, Pki, make_pki
from connectors.dmp.simulator.registry import Registry, StoredEntry
from connectors.dmp.simulator.service import Received, Service, receive

BASE = "/si-dmp-server/v2/services"
_WORDS = {
    "submit": "TD2.1 alimentation",
    "query": "TD3.1b recherche de référence",
    "update": "TD3.3 mise à jour",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One call received. No patient data."""

    number: int
    action: str
    unique_id: str
    result: str
    """`Success`, a code, or the kind of the fault that hit it."""


class _Protocol(H11Protocol):
    """Gives the peer's certificate and the transport to the application (uvicorn has no TLS extension)."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, "peer": tls.getpeercert(True), "transport": transport}


class _Server(uvicorn.Server):
    """A server that leaves signals to its host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DmpSimulator:
    """See `create`. `documents`, `events`, `plan`, `down` and `up` are for tests."""

    name = "dmp"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        faults: Iterable[Fault] = (),
        closed_patients: Iterable[str] = (),
        unknown_patients: Iterable[str] = (),
        structure: str = TEST_STRUCTURE,
        entities: Iterable[str] = (),
        skew_minutes: float = 5.0,
        keep_files: bool = False,
        strict: bool = True,
    ) -> None:
        # lenient (`strict=False`): any sender's structure, and EX_2.1-1140 (sender among the authors) not applied;
        # the official samples of the volet Transmission need it
        self._host, self._port = host, port
        self._structure, self._entities = structure, tuple(entities)
        self.pki: Pki = make_pki(directory / "pki", structure=structure, host=host)
        self._faults = FaultPlan(list(faults))
        authority = x509.load_pem_x509_certificate(self.pki.ca.read_bytes())
        self._registry = Registry(
            authority,
            frozenset(closed_patients),
            frozenset(unknown_patients),
            directory / "documents" if keep_files else None,
            strict,
        )
        self._service = Service(
            self._registry,
            str(self.pki.ca),
            {structure: frozenset((structure, *self._entities))} if strict else None,
            timedelta(minutes=skew_minutes),
        )
        self.events: list[Event] = []
        self._calls: dict[str, int] = {}
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        for route in ("repository", "registry"):
            self._app.add_api_route(
                f"{BASE}/{route}", self._endpoint, methods=["POST"], include_in_schema=False
            )

    @property
    def documents(self) -> dict[str, StoredEntry]:
        """What is kept, by uniqueId."""
        return self._registry.documents

    def plan(self, fault: Fault) -> Fault:
        """Add a fault to the plan."""
        self._faults.faults.append(fault)
        return fault

    async def start(self) -> None:
        """Listen. The socket accepts from here on; requests wait until the server is ready."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        # asyncio sets TCP_NODELAY only on sockets that say they are TCP: without it each answer waits 40 ms
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self._host, self._port))
        except OSError:
            listening.close()
            raise
        listening.listen(128)
        self._port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            ssl_keyfile=str(self.pki.key("server")),
            ssl_certfile=str(self.pki.certificate("server")),
            ssl_ca_certs=str(self.pki.ca),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
            ssl_ciphers=CIPHERS,
            timeout_graceful_shutdown=1,
        )
        config.load()
        if config.ssl is not None:
            config.ssl.minimum_version = config.ssl.maximum_version = ssl.TLSVersion.TLSv1_2
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="dmp-simulator")

    async def stop(self) -> None:
        """Close the socket and every connection."""
        server, task, self._server, self._task = self._server, self._task, None, None
        if server is not None and task is not None:
            server.should_exit = True
            await task

    async def down(self) -> None:
        """Be unreachable."""
        await self.stop()

    async def up(self) -> None:
        """Be reachable again, at the same address, with everything that was kept."""
        await self.start()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[DmpSimulator]:
        """`async with simulator.running():`."""
        await self.start()
        try:
            yield self
        finally:
            await self.stop()

    def address(self) -> str:
        """Base of the services."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"https://{host}:{self._port}{BASE}"

    def connector_settings(self) -> dict[str, Any]:
        """A `[connectors.dmp]` table for this simulator."""
        return {
            "base_url": self.address(),
            "auth_certificate": str(self.pki.certificate("auth").resolve()),
            "auth_key": str(self.pki.key("auth").resolve()),
            "sign_certificate": str(self.pki.certificate("sign").resolve()),
            "sign_key": str(self.pki.key("sign").resolve()),
            "ca_bundle": str(self.pki.ca.resolve()),
            "instance_oid": "1.2.250.1.71.4.2.2.990000010.9",
            "structures": {self._structure: list(self._entities)} if self._entities else {},
        }

    def history(self) -> list[str]:
        """One French line per call."""
        return [
            f"{_WORDS.get(e.action, 'appel inconnu')} {e.unique_id} : "
            f"{'accepté' if e.result == 'Success' else e.result}"
            for e in self.events
        ]

    # --- calls ------------------------------------------------------------------------------------------------

    async def _endpoint(self, request: Request) -> Response:
        body = await request.body()
        state = request.scope["state"]
        route = request.url.path.rpartition("/")[2]
        call = await asyncio.to_thread(receive, route, request.headers.get("content-type", ""), body)
        number = self._calls[call.action] = self._calls.get(call.action, 0) + 1
        fault = self._faults.take(call.action, call.unique_id, number)
        if fault is not None and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        early = self._instead(call, fault)
        if early is not None:
            self._log(call, fault.kind if fault else "")
            return _response(early)
        if fault is not None and fault.kind == "drop":
            self._log(call, "drop")
            state["transport"].abort()
            return Response(status_code=500)
        peer = x509.load_der_x509_certificate(state["peer"])
        made, result = await asyncio.to_thread(self._service.run, call, peer, fault)
        self._log(call, result)
        if fault is not None and fault.kind == "commit_then_drop":
            state["transport"].abort()
        return _response(made)

    def _instead(self, call: Received, fault: Fault | None) -> Answer | None:
        """The answer of a fault that keeps nothing."""
        if fault is None:
            return None
        if fault.kind == "code":
            return self._service.refuse(call, fault.code, fault.words)
        if fault.kind == "soap_fault":
            return self._service.fault(call, SoapFault(fault.code, fault.words))
        if fault.kind == "http":
            return Answer(fault.status, "text/plain", b"")
        if fault.kind == "html":
            return Answer(500, "text/html", b"<html><body><h1>Internal Server Error</h1></body></html>")
        return None

    def _log(self, call: Received, result: str) -> None:
        self.events.append(Event(len(self.events) + 1, call.action, call.unique_id, result))


def _response(answer: Answer) -> Response:
    return Response(answer.body, status_code=answer.status, headers={"content-type": answer.content_type})
