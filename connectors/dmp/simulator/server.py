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
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from cryptography import x509
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

from connectors.dmp.certificates import CIPHERS
from connectors.dmp.simulator.answers import Answer, SoapFault
from connectors.dmp.simulator.events import Event, EventLog
from connectors.dmp.simulator.faults import CERTIFICATE_KINDS, Fault, FaultPlan
from connectors.dmp.simulator.operations import OPERATIONS, ROUTES
from connectors.dmp.simulator.patients import Patients, State, matricule
from connectors.dmp.simulator.pki import FAULTY, TEST_STRUCTURE, Pki, make_pki
from connectors.dmp.simulator.receiving import Received, receive
from connectors.dmp.simulator.registry import Registry, StoredEntry
from connectors.dmp.simulator.schemas import Schemas
from connectors.dmp.simulator.service import Identities, Service
from connectors.dmp.simulator.submission import Rules
from connectors.xds.tables import load_tables

BASE = "/si-dmp-server/v2/services"
MAX_REQUEST = 200_000_000
"""Bytes of a request, 413 beyond."""
_WORDS: dict[str, str] = {o.name: o.words for o in OPERATIONS}


class _Protocol(H11Protocol):
    """Gives the peer's certificate and the transport to the application (uvicorn has no TLS extension)."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, "peer": tls.getpeercert(True), "transport": transport}

    def close_if_idle(self) -> None:
        """Close a kept connection that serves no call."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to its host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class DmpSimulator:
    """See `create`. `documents`, `events`, `plan`, `patients`, `reset`, `down` and `up` are for tests.

    * `structure`, `entities`: Struct_IdNat of the test certificates (EJ), and others that it may speak for (EG)
    * `patients`: state by matricule (open, closed, unknown, opposed), `default_patient` for the rest;
      `closed_patients` and `unknown_patients` are short for it
    * `strict=False` (lenient): any sender's structure, without EX_2.1-1140, value sets, XSD and the other refusals that
      the official samples need to be spared
    * `schemas`: folder of the ebRIM and XDS.b schemas; None: no XSD validation (the schemas carry no licence, so they
      are not shipped)
    * `events_file`: JSON lines, one for each call; `keep_files`: documents as files too
    * `skew_minutes`: tolerance on the VIHF's IssueInstant
    """

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
        patients: Mapping[str, State] | None = None,
        default_patient: State = "open",
        structure: str = TEST_STRUCTURE,
        entities: Iterable[str] = (),
        skew_minutes: float = 5.0,
        keep_files: bool = False,
        strict: bool = True,
        schemas: Path | None = None,
        events_file: Path | None = None,
    ) -> None:
        self._host, self._port = host, port
        self._structure, self._entities = structure, tuple(entities)
        self.pki: Pki = make_pki(directory / "pki", structure=structure, host=host)
        self._faults = FaultPlan(faults)
        self.patients = Patients(
            {
                **dict.fromkeys(closed_patients, "closed"),
                **dict.fromkeys(unknown_patients, "unknown"),
                **(patients or {}),
            },
            default_patient,
        )
        self._registry = Registry(directory / "documents" if keep_files else None)
        self.schemas = Schemas(schemas if strict else None)
        authority = x509.load_pem_x509_certificate(self.pki.ca.read_bytes())
        allowed = {structure: frozenset((structure, *self._entities))} if strict else None
        self._service = Service(
            self._registry,
            self.patients,
            Rules(strict, authority, load_tables(), self.schemas),
            Identities(str(self.pki.ca), allowed, timedelta(minutes=skew_minutes)),
        )
        self._log = EventLog(events_file)
        self._calls: dict[str, int] = {}
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None
        self._app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        for route in ROUTES:
            self._app.add_api_route(
                f"{BASE}/{route}", self._endpoint, methods=["POST"], include_in_schema=False
            )

    @property
    def documents(self) -> dict[str, StoredEntry]:
        """What is kept, by uniqueId (the signatures of the lots left out)."""
        return self._registry.documents

    @property
    def events(self) -> list[Event]:
        """What was called, in order."""
        return self._log.events

    @property
    def faults(self) -> list[Fault]:
        """The plan, with the hits of each fault."""
        return self._faults.faults

    def plan(self, fault: Fault) -> Fault:
        """Add a fault to the plan. Call it in the simulator's event loop."""
        if fault.kind in CERTIFICATE_KINDS:
            # only a new connection shows a certificate
            for connection in list(self._server.server_state.connections) if self._server else ():
                if isinstance(connection, _Protocol):
                    connection.close_if_idle()
        return self._faults.add(fault)

    def clear_faults(self) -> None:
        """Plan nothing more."""
        self._faults.clear()

    def reset(self) -> None:
        """Forget documents, events, faults and MessageIDs; patients keep their states."""
        self._registry.reset()
        self._log.clear()
        self._faults.clear()
        self._service.reset()
        self.patients.reset()
        self._calls.clear()

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
            faulty = {kind: self._context(name) for kind, name in FAULTY.items()}
            # called for every handshake, with or without a server name
            config.ssl.sni_callback = partial(self._choose_certificate, faulty)
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
            f"{' '.join(filter(None, (e.transaction, _WORDS.get(e.action, 'appel illisible'), e.unique_id)))} : "
            f"{'accepté' if e.result == 'Success' else e.result}"
            f"{f' (refusé à l’étape {e.check})' if e.check and not e.fault else ''}"
            f"{f' [panne {e.fault}]' if e.fault else ''}"
            for e in list(self.events)
        ]

    # --- TLS ----------------------------------------------------------------------------------------------------

    def _context(self, name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self.pki.certificate(name), self.pki.key(name))
        return made

    def _choose_certificate(
        self,
        faulty: Mapping[str, ssl.SSLContext],
        tls: ssl.SSLObject | ssl.SSLSocket,
        _name: str | None,
        _context: ssl.SSLContext,
    ) -> None:
        fault = self._faults.take_certificate()
        if fault is not None:
            tls.context = faulty[fault.kind]

    # --- calls ------------------------------------------------------------------------------------------------

    async def _endpoint(self, request: Request) -> Response:
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_REQUEST:
                return Response(status_code=413)
            chunks.append(chunk)
        state = request.scope["state"]
        route = request.url.path.rpartition("/")[2]
        content_type = request.headers.get("content-type", "")
        call = await asyncio.to_thread(receive, route, content_type, b"".join(chunks))
        del chunks
        number = self._calls[call.action] = self._calls.get(call.action, 0) + 1
        patient = call.patients[0] if call.patients else call.vihf_patient
        fault = self._faults.take(
            call.action,
            call.unique_id,
            number,
            transaction=call.transaction,
            patient=matricule(patient),
        )
        if fault is not None and fault.seconds and fault.kind != "slow_body":
            await asyncio.sleep(fault.seconds)
        early = self._instead(call, fault)
        if early is not None and fault is not None:
            self._keep_event(call, fault.kind, fault, patient, kept=False)
            return _response(early, fault)
        if fault is not None and fault.kind == "drop":
            self._keep_event(call, "drop", fault, patient, kept=False)
            state["transport"].abort()
            return Response(status_code=500)
        peer = x509.load_der_x509_certificate(state["peer"])
        made, result = await asyncio.to_thread(self._service.run, call, peer, fault)
        kept = result == "Success" and call.action in ("submit", "update")
        self._keep_event(call, result, fault, patient, kept=kept)
        if fault is not None and fault.kind == "commit_then_drop":
            state["transport"].abort()
        return _response(made, fault)

    def _instead(self, call: Received, fault: Fault | None) -> Answer | None:
        """The answer of a fault that keeps nothing."""
        if fault is None:
            return None
        if fault.kind == "code":
            return self._service.refuse(call, fault)
        if fault.kind == "soap_fault":
            return self._service.fault(call, SoapFault(fault.code, fault.words))
        if fault.kind == "http":
            return Answer(fault.status or 503, "text/plain", b"")
        if fault.kind == "html":
            page = b"<html><body><h1>Internal Server Error</h1></body></html>"
            return Answer(fault.status or 500, "text/html", page)
        return None

    def _keep_event(
        self, call: Received, result: str, fault: Fault | None, patient: str, *, kept: bool
    ) -> None:
        self._log.add(
            lambda number, now: Event(
                number=number,
                action=call.action,
                unique_id=call.unique_id,
                result=result,
                time=now,
                transaction=call.transaction,
                message_id=call.message_id,
                patient=self.patients.alias(patient),
                check=call.check if not kept else "",
                fault=fault.kind if fault is not None else "",
                kept=kept,
            )
        )


_PIECES = 20
_PADDING = b" " * 65_536
_AFTER = b"</soap:Header>"


def _response(answer: Answer, fault: Fault | None) -> Response:
    headers = {"content-type": answer.content_type}
    if fault is not None and fault.kind == "http" and fault.retry_after is not None:
        headers["retry-after"] = str(fault.retry_after)
    if fault is not None and fault.kind == "slow_body":
        headers["content-length"] = str(len(answer.body))
        return StreamingResponse(
            _slowly(answer.body, fault.seconds), status_code=answer.status, headers=headers
        )
    if fault is not None and fault.kind == "huge_body":
        headers["content-length"] = str(len(answer.body) + fault.size)
        return StreamingResponse(_hugely(answer.body, fault.size), status_code=answer.status, headers=headers)
    return Response(answer.body, status_code=answer.status, headers=headers)


async def _slowly(body: bytes, seconds: float) -> AsyncIterator[bytes]:
    """The body in pieces, all along `seconds`."""
    step = max(1, -(-len(body) // _PIECES))
    for start in range(0, len(body), step):
        await asyncio.sleep(seconds / _PIECES)
        yield body[start : start + step]


async def _hugely(body: bytes, size: int) -> AsyncIterator[bytes]:
    """The body with `size` spaces between header and body: a good answer, if one reads it all."""
    at = body.find(_AFTER) + len(_AFTER) if _AFTER in body else 0
    yield body[:at]
    while size > 0:
        yield _PADDING[:size]
        size -= len(_PADDING)
    yield body[at:]
