"""The DMP simulator: HTTPS with mutual TLS on loopback, in the current event loop.

Purpose: a `connectors.simulator_port.Simulator` for tests, the demo and users' CI.
Guarantee: a client without a certificate of the test authority does not pass the handshake; TLS 1.2 with the suites of
the DMP; the exact bytes of documents are kept; faults come from an explicit plan.
Fails: `OSError` when the port is taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from connectors.dmp.simulator import control
from connectors.dmp.simulator.answers import Answer, SoapFault
from connectors.dmp.simulator.events import Event, EventLog
from connectors.dmp.simulator.faults import CERTIFICATE_KINDS, Fault, FaultPlan
from connectors.dmp.simulator.listening import Listener, Tls
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
LOOPBACK = "127.0.0.1"
MAX_REQUEST = 200_000_000
"""Bytes of a request, 413 beyond."""
_WORDS: dict[str, str] = {o.name: o.words for o in OPERATIONS}


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
    * `control_port`: plain HTTP on loopback to read events, plan faults, set patients, reset (0: any free port)
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
        control_port: int | None = None,
    ) -> None:
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
        self._rules = Rules(strict, authority, load_tables(), self.schemas)
        self._service = Service(
            self._registry,
            self.patients,
            self._rules,
            Identities(str(self.pki.ca), allowed, timedelta(minutes=skew_minutes)),
        )
        self._log = EventLog(events_file)
        self._calls: dict[str, int] = {}
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
        for route in ROUTES:
            app.add_api_route(f"{BASE}/{route}", self._endpoint, methods=["POST"], include_in_schema=False)
        self._listener = Listener(app, host, port, Tls(self.pki, FAULTY, self._certificate_fault))
        self._control = (
            Listener(control.application(self), LOOPBACK, control_port) if control_port is not None else None
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
            self._listener.close_idle()
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
        """Listen: the services, and the control when it is asked for. Connections are accepted from here on."""
        await self._listener.start()
        if self._control is not None:
            try:
                await self._control.start()
            except OSError:
                await self._listener.stop()
                raise

    async def stop(self) -> None:
        """Close the sockets and every connection."""
        if self._control is not None:
            await self._control.stop()
        await self._listener.stop()

    async def down(self) -> None:
        """Be unreachable (the control stays)."""
        await self._listener.stop()

    async def up(self) -> None:
        """Be reachable again, at the same address, with everything that was kept."""
        await self._listener.stop()
        await self._listener.start()

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
        return f"https://{self._listener.authority}{BASE}"

    def control_address(self) -> str:
        """Where the control answers, "" without one."""
        return f"http://{self._control.authority}" if self._control is not None else ""

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

    def notes(self) -> list[str]:
        """What a person who starts it should know (French)."""
        checked = "requêtes validées (XSD)" if self.schemas.present else "aucune validation XSD (--schemas)"
        made = [f"mode {'strict' if self._rules.strict else 'tolérant (--lenient)'} ; {checked}"]
        if self._control is not None:
            made.append(f"commande : {self.control_address()}")
        return made

    def _certificate_fault(self) -> str | None:
        fault = self._faults.take_certificate()
        return fault.kind if fault is not None else None

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
        made = await asyncio.to_thread(self._run, call, peer, fault, patient)
        if fault is not None and fault.kind == "commit_then_drop":
            state["transport"].abort()
        return _response(made, fault)

    def _run(self, call: Received, peer: x509.Certificate, fault: Fault | None, patient: str) -> Answer:
        """The call and its event in one thread: a client (or a stop) that cuts it meanwhile takes no event with it."""
        made, result = self._service.run(call, peer, fault)
        kept = result == "Success" and call.action in ("submit", "update")
        self._keep_event(call, result, fault, patient, kept=kept)
        return made

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
