"""The simulator's control: what a test in any language needs, over plain HTTP on loopback.

Purpose: read events and mails, plan faults and readers, be unreachable, restore a folder, reset.
Guarantee: bound to loopback alone, and a page of the user's browser cannot reach it (`connectors.simulator_control`;
bodies must be JSON). No patient data comes out; an address comes in only in a body.
Fails: 422 with a message for what cannot be read; `OSError` at the start when the port is taken.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

from fastapi import FastAPI, HTTPException, Request, Response

from connectors.mss.simulator.events import Event
from connectors.mss.simulator.faults import Fault, read_fault, read_reader
from connectors.mss.simulator.readers import Reader
from connectors.simulator_control import ControlServer, control, json_table
from gateway.errors import ConfigurationFault


class Controlled(Protocol):
    """What the control needs of a simulator."""

    readers: list[Reader]

    @property
    def events(self) -> list[Event]: ...

    @property
    def faults(self) -> list[Fault]: ...

    def plan(self, what: Fault) -> None: ...

    def restore(self, address: str, folder: str = "INBOX") -> None: ...

    def reset(self) -> None: ...

    async def down(self) -> None: ...

    async def up(self) -> None: ...


def _shown(what: Fault | Reader) -> dict[str, Any]:
    """Addresses came in; they do not come out."""
    hidden = ("recipient", "sender", "final_recipient")
    return {k: "(given)" if k in hidden and v else v for k, v in asdict(what).items()}


def application(simulator: Controlled) -> FastAPI:
    """The application of the control."""
    app = control(simulator)

    @app.get("/events")
    async def events(since: int = 0) -> list[dict[str, Any]]:
        return [asdict(e) for e in simulator.events if e.number > since]

    @app.get("/faults")
    async def faults() -> list[dict[str, Any]]:
        return [_shown(f) for f in simulator.faults]

    @app.post("/faults", status_code=201)
    async def plan(request: Request) -> dict[str, Any]:
        try:
            made = read_fault(await json_table(request))
        except ConfigurationFault as e:
            raise HTTPException(422, str(e)) from None
        simulator.plan(made)
        return _shown(made)

    @app.delete("/faults", status_code=204)
    async def clear_faults() -> Response:
        simulator.faults.clear()
        return Response(status_code=204)

    @app.get("/readers")
    async def readers() -> list[dict[str, Any]]:
        return [_shown(r) for r in simulator.readers]

    @app.post("/readers", status_code=201)
    async def read(request: Request) -> dict[str, Any]:
        try:
            made = read_reader(await json_table(request))
        except ConfigurationFault as e:
            raise HTTPException(422, str(e)) from None
        simulator.readers.append(made)
        return _shown(made)

    @app.delete("/readers", status_code=204)
    async def clear_readers() -> Response:
        simulator.readers.clear()
        return Response(status_code=204)

    @app.post("/restore", status_code=204)
    async def restore(request: Request) -> Response:
        table = await json_table(request)
        try:
            simulator.restore(str(table.get("address", "")), str(table.get("folder", "INBOX")))
        except LookupError:
            raise HTTPException(422, "no such mailbox") from None
        return Response(status_code=204)

    return app


class Control(ControlServer):
    """The control's listener. Port 0: any free one."""

    def __init__(self, simulator: Controlled, port: int) -> None:
        super().__init__(application(simulator), port)
