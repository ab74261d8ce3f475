"""Events of the DPI and facts of the past: `POST /api/v1/events`, `/api/v1/events/users`, `/api/v1/facts`.

Purpose: what only others know goes in here; docs/indicators.md has the formats and examples.
Guarantee: nothing is read before the caller and the right are known, nothing is written of a request with a fault; a
file is kept on disk while it is looked at, never in memory. Answers repeat no value but the event's own id.
Fails: JSON `{"error": {"code", "message", "faults", "count"}}`: 401, 403, 409 (a contradiction; the indicators are
off), 413, 415, 422; 503 when the journal is away.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import Counter
from datetime import UTC, datetime
from typing import IO, Any, Protocol

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import TypeAdapter, ValidationError

from gateway.access import Denied
from gateway.census import CensusFaults, read_csv
from gateway.errors import BadInput
from gateway.exchange.publisher import Publisher
from gateway.fact_intake import FactFaults, FactIntake
from gateway.web.guard import Caller, Guard, Right
from indicators import periods
from indicators.events import MAX_EVENTS
from indicators.facts import Finess
from indicators.lines import SHOWN

MAX_JSON = 500_000
"""Bytes of events, of a census, or of facts as one JSON array: they are read in one go."""
MAX_FILE = 4_000_000_000
"""Bytes of facts as JSON lines, at most (see `room`)."""
LINES = "application/x-ndjson"
CONFLICT = "Ces faits contredisent ce qui est connu : rien n'a été retenu."
INVALID = "Des faits sont incorrects : rien n'a été retenu."
_FINESS: TypeAdapter[str] = TypeAdapter(Finess)


class FactsView(Protocol):
    """What this router asks of a running gateway."""

    guard: Guard
    publisher: Publisher
    facts: FactIntake


def create_router(gateway: FactsView) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()

    @router.post("/api/v1/events")
    async def events(request: Request) -> JSONResponse:
        """One event, a list of them, or one a line."""
        await _caller(gateway, request, Right.EVENTS)
        kind = _kind(request, "application/json", LINES)
        body = await _body(request)
        listed = _listed(_lines_of(body) if kind == LINES else [_json(body)], MAX_EVENTS)
        taken = await gateway.facts.events(listed)
        counts = Counter(t.status for t in taken)
        found = {
            "new": counts["new"],
            "known": counts["known"],
            "conflicts": counts["conflict"],
            "events": [{"position": t.position, "event_id": t.event_id, "status": t.status} for t in taken],
        }
        return JSONResponse(found, 409 if taken and counts["conflict"] == len(taken) else 200)

    @router.post("/api/v1/events/users")
    async def users(request: Request, finess: str = "", month: str = "", at: str = "") -> JSONResponse:
        """The users of an establishment on a day (`at`), or on the last one of a month, as CSV."""
        client = await _caller(gateway, request, Right.EVENTS)
        _kind(request, "text/csv")
        names = gateway.publisher.names
        assert names is not None
        where = establishment(finess)
        moment = day_of(month, at, names.zone_of(where).key)
        census = await asyncio.to_thread(read_csv, await _body(request), where, moment)
        taken = await gateway.facts.given(census, "event", client.name)
        return JSONResponse({"new": taken.new, "known": taken.same})

    @router.post("/api/v1/facts")
    async def facts(request: Request) -> JSONResponse:
        """Facts of the past, one a line (of any number), or as one array."""
        client = await _caller(gateway, request, Right.FACTS)
        kind = _kind(request, "application/json", LINES)
        with tempfile.TemporaryFile() as kept:
            if kind == LINES:
                await _spool(request, kept)
            else:
                listed = _listed([_json(await _body(request))], None)
                kept.write("".join(f"{json.dumps(fact)}\n" for fact in listed).encode())
            taken = await gateway.facts.file(kept, client.name)
        return JSONResponse({"new": taken.new, "known": taken.same})

    return router


def establishment(finess: str) -> str:
    """A FINESS number. Raises `Denied`."""
    try:
        return _FINESS.validate_python(finess)
    except ValidationError:
        raise Denied(422, "FINESS", "« finess » : numéro FINESS géographique attendu.") from None


def day_of(month: str, at: str, zone: str) -> datetime:
    """The instant of a census: `at` (with an offset), or the last second of a month there. Raises `Denied`."""
    try:
        if month and not at:
            return datetime.fromtimestamp(periods.month(month, zone).end - 1, UTC)
        if at and not month:
            moment = datetime.fromisoformat(at)
            if moment.tzinfo is not None:
                return moment
    except (BadInput, ValueError):
        pass
    raise Denied(422, "DAY", "« month » (AAAA-MM), ou « at » (date et heure avec décalage), est attendu.")


def told(fault: FactFaults | CensusFaults) -> dict[str, Any]:
    """What is wrong with facts."""
    conflict = isinstance(fault, FactFaults) and fault.conflict
    return {
        "error": {
            "code": "CONFLICT" if conflict else "INVALID",
            "message": CONFLICT if conflict else INVALID,
            "count": fault.count if isinstance(fault, FactFaults) else len(fault.faults),
            "faults": fault.faults[:SHOWN],
        }
    }


def faulty(fault: FactFaults | CensusFaults) -> JSONResponse:
    """The same as an answer."""
    found = told(fault)
    return JSONResponse(found, 409 if found["error"]["code"] == "CONFLICT" else 422)


async def _caller(gateway: FactsView, request: Request, right: Right) -> Caller:
    """Who asks, if the right is theirs and facts are kept here."""
    caller = await gateway.guard.api(right)(request)
    if not gateway.publisher.on:
        raise Denied(409, "OFF", "Les indicateurs ne sont pas activés sur cette passerelle.")
    return caller


def _kind(request: Request, *allowed: str) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in allowed:
        raise Denied(415, "TYPE", f"Le corps de la demande doit être en {' ou '.join(allowed)}.")
    return kind


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_JSON:
            raise Denied(413, "TOO_LARGE", f"La demande est trop longue ({MAX_JSON} octets au plus).")
    return bytes(body)


def room() -> int:
    """Bytes that a file may have: the folder of temporary files may be the journal's disk, or memory (tmpfs), and a
    message needs both."""
    return min(MAX_FILE, shutil.disk_usage(tempfile.gettempdir()).free // 2)


async def _spool(request: Request, kept: IO[bytes]) -> None:
    size, limit = 0, room()
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise Denied(413, "TOO_LARGE", f"La demande est trop longue ({limit} octets au plus).")
        await asyncio.to_thread(kept.write, chunk)


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Denied(422, "INVALID", "Le corps de la demande n'est pas du JSON.") from None


def _lines_of(body: bytes) -> list[Any]:
    """What each line says; one that is no JSON stands for itself, and will be told as faulty."""
    found: list[Any] = []
    for line in body.splitlines():
        if line.strip():
            try:
                found.append(json.loads(line))
            except (ValueError, RecursionError):
                found.append(None)
    return found


def _listed(told: list[Any], limit: int | None) -> list[Any]:
    if len(told) == 1 and isinstance(told[0], list):
        told = told[0]
    if not told:
        raise Denied(422, "INVALID", "La demande est vide.")
    if limit is not None and len(told) > limit:
        raise Denied(413, "TOO_MANY", f"{limit} événements au plus par demande.")
    return told
