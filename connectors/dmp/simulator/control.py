"""The simulator's control: what a test in any language needs, over plain HTTP on loopback.

Purpose: read events and documents, plan faults, set patients, reset, be unreachable.
Guarantee: bound to loopback alone, and a page of the user's browser cannot reach it (Host is checked, what a browser
sends for a page is refused, bodies must be JSON). No patient data comes out; a patient's matricule comes in only in a
body.
Fails: 422 with a message for what cannot be read.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from fastapi import FastAPI, HTTPException, Request, Response

from connectors.dmp.simulator.events import Event
from connectors.dmp.simulator.faults import Fault, read_fault
from connectors.dmp.simulator.patients import Patients
from connectors.dmp.simulator.registry import StoredEntry
from connectors.simulator_control import control, json_table
from gateway.errors import ConfigurationFault


class Controlled(Protocol):
    """What the control needs of a simulator."""

    patients: Patients

    @property
    def documents(self) -> dict[str, StoredEntry]: ...

    @property
    def events(self) -> list[Event]: ...

    @property
    def faults(self) -> list[Fault]: ...

    def plan(self, fault: Fault) -> Fault: ...

    def clear_faults(self) -> None: ...

    def reset(self) -> None: ...

    async def down(self) -> None: ...

    async def up(self) -> None: ...


def _document(entry: StoredEntry, patients: Patients) -> dict[str, Any]:
    return {
        "uniqueId": entry.unique_id,
        "entryUUID": entry.entry_uuid,
        "status": entry.status,
        "version": entry.version,
        "replaces": entry.replaces,
        "patient": patients.alias(entry.patient_id),
        "submissionSet": entry.lot_uid,
        "confidentiality": list(entry.confidentiality),
        "formatCode": entry.format_code,
        "size": len(entry.content),
        "hash": entry.sha1,
    }


def _fault(fault: Fault) -> dict[str, Any]:
    made = asdict(fault)
    # a matricule came in; it does not come out
    made["patient"] = "(given)" if fault.patient else None
    return made


def application(simulator: Controlled) -> FastAPI:
    """The application of the control."""
    app = control(simulator)

    @app.get("/events")
    async def events(since: int = 0) -> list[dict[str, Any]]:
        return [asdict(e) for e in simulator.events if e.number > since]

    @app.get("/documents")
    async def documents() -> list[dict[str, Any]]:
        return [_document(e, simulator.patients) for e in list(simulator.documents.values())]

    @app.get("/faults")
    async def faults() -> list[dict[str, Any]]:
        return [_fault(f) for f in simulator.faults]

    @app.post("/faults", status_code=201)
    async def plan(request: Request) -> dict[str, Any]:
        try:
            return _fault(simulator.plan(read_fault(await json_table(request))))
        except ConfigurationFault as e:
            raise HTTPException(422, str(e)) from None

    @app.delete("/faults", status_code=204)
    async def clear() -> Response:
        simulator.clear_faults()
        return Response(status_code=204)

    @app.get("/patients")
    async def seen() -> dict[str, Any]:
        known = simulator.patients
        return {"default": known.default, "given": known.given(), "seen": known.seen()}

    @app.post("/patients", status_code=204)
    async def patients(request: Request) -> Response:
        table = await json_table(request)
        try:
            for number, state in table.items():
                simulator.patients.set(number, state)
        except ValueError as e:
            raise HTTPException(422, str(e)) from None
        return Response(status_code=204)

    return app
