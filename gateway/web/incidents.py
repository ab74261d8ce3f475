"""Errors that a person must hear of: `GET /api/v1/incidents` and the page `/erreurs`.

Purpose: nothing that failed is silent, even when no error mailbox is configured or none can be reached: the last errors
and what became of the mail that tells each.
Guarantee: read-only; identifiers of messages and documents, codes and sentences; no patient data (an address is shown
by its domain). At most `MAX_ROWS` errors.
Fails: 422 for a number out of bounds.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from gateway import __version__, views
from gateway.journal.store import Journal
from gateway.rights import Right
from gateway.web.guard import Guard

MAX_ROWS = 1000
PAGE_ROWS = 100
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many, the last ones")]


class IncidentsView(Protocol):
    """What this router asks of a running gateway."""

    journal: Journal
    guard: Guard

    async def warnings(self) -> dict[str, str]:
        """What a person must act on: name → French sentence."""
        ...


def create_router(gateway: IncidentsView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    see, call = gateway.guard.open_page(Right.OPERATE), gateway.guard.open_api(Right.OPERATE)

    @router.get("/api/v1/incidents")
    async def incidents(request: Request, limit: Rows = PAGE_ROWS) -> dict[str, Any]:
        """The last errors, newest first; `report` is the mail that tells it, null: not yet."""
        await call(request)
        found = await gateway.journal.read(lambda s: views.incidents(s, limit))
        return {"warnings": await gateway.warnings(), "incidents": found}

    @router.get("/erreurs", response_class=HTMLResponse)
    async def page(request: Request) -> HTMLResponse:
        """The same in French."""
        caller = await see(request)
        found = await gateway.journal.read(lambda s: views.incidents(s, PAGE_ROWS))
        template = pages.get_template("incidents.html")
        shown = template.render(
            incidents=found, warnings=await gateway.warnings(), caller=caller, version=__version__
        )
        return HTMLResponse(shown)

    return router
