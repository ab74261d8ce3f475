"""The control of the simulated DPI: what a test in any language needs, over plain HTTP on loopback.

Purpose: read events and documents, plan answers, say who is known, be unreachable, reset.
Guarantee: loopback alone, and no page of the user's browser reaches it (`connectors.simulator_control`). No patient
data comes out; identities come in only in a body.
Fails: 422 with a message for what cannot be read.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from fastapi import FastAPI, HTTPException, Request, Response
from pydantic import TypeAdapter, ValidationError

from connectors.dpi.simulator.events import Event, masked
from connectors.dpi.simulator.integration import Documents, Kept, Patient
from connectors.simulator_control import control, json_table

_PATIENTS = TypeAdapter(list[Patient])


class Controlled(Protocol):
    """What the control needs of a simulator."""

    documents: Documents

    @property
    def events(self) -> list[Event]: ...

    @property
    def planned(self) -> list[str]: ...

    def plan(self, *verdicts: str) -> None: ...

    def clear_plan(self) -> None: ...

    def reset(self) -> None: ...

    async def down(self) -> None: ...

    async def up(self) -> None: ...


def read_patients(rows: Any) -> list[Patient]:
    """Patients of a list of tables. Raises `ValueError`, without their values."""
    try:
        return _PATIENTS.validate_python(rows)
    except ValidationError as e:
        places = sorted({".".join(map(str, error["loc"])) for error in e.errors()})
        raise ValueError(f"patients: {', '.join(places)}") from None


def _document(kept: Kept, documents: Documents) -> dict[str, Any]:
    return {
        "number": kept.number,
        "uid": masked(kept.uid),
        "set": masked(kept.set_key),
        "version": kept.version,
        "replaces": masked(kept.replaces),
        "state": documents.state(kept),
        "size": len(kept.content),
        "control_id": masked(kept.control_id),
    }


def application(simulator: Controlled) -> FastAPI:
    """The application of the control."""
    app = control(simulator)

    @app.get("/events")
    async def events(since: int = 0) -> list[dict[str, Any]]:
        return [asdict(e) for e in simulator.events if e.number > since]

    @app.get("/documents")
    async def documents() -> list[dict[str, Any]]:
        return [_document(k, simulator.documents) for k in list(simulator.documents.kept)]

    @app.get("/plan")
    async def planned() -> list[str]:
        return simulator.planned

    @app.post("/plan", status_code=204)
    async def plan(request: Request) -> Response:
        answers = (await json_table(request)).get("answers")
        if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers):
            raise HTTPException(422, "answers: a list of texts expected")
        try:
            simulator.plan(*answers)
        except ValueError:
            raise HTTPException(422, "answers: one of them is not known") from None
        return Response(status_code=204)

    @app.delete("/plan", status_code=204)
    async def clear() -> Response:
        simulator.clear_plan()
        return Response(status_code=204)

    @app.get("/patients")
    async def patients() -> dict[str, Any]:
        known = simulator.documents.patients
        return {"everybody": known is None, "count": len(known or ())}

    @app.post("/patients", status_code=204)
    async def set_patients(request: Request) -> Response:
        rows = (await json_table(request)).get("patients")
        try:
            simulator.documents.patients = None if rows is None else read_patients(rows)
        except ValueError as e:
            raise HTTPException(422, str(e)) from None
        return Response(status_code=204)

    return app
