"""Tolerances by sender: `GET /api/v1/tolerances` and the page `/tolerances`.

Purpose: a DPI's editor and the hospital see what was accepted although the profile asks for something else, and how
often: each is a named rule. Read from the journal's stored findings, so that a restart forgets nothing.
Guarantee: read-only; rule ids, sentences, counts and times; no patient data. The period is bounded (`MAX_DAYS`) and so
is the number of messages read (`views.MAX_MESSAGES`); the answer says when it was cut.
Fails: 422 for a period out of bounds.
"""

from __future__ import annotations

import time
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from gateway import __version__, views
from gateway.journal.store import Journal
from gateway.rights import Right
from gateway.web.guard import Guard

MAX_DAYS = 366
PERIODS = (1, 7, 30, 90, 366)
"""Days that the page offers."""
Days = Annotated[int, Query(ge=1, le=MAX_DAYS, description="Period, in days before now")]


class TolerancesView(Protocol):
    """What this router asks of a running gateway."""

    journal: Journal
    guard: Guard


def create_router(gateway: TolerancesView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    see, call = gateway.guard.open_page(Right.OPERATE), gateway.guard.open_api(Right.OPERATE)

    async def read(days: int) -> dict[str, Any]:
        since = time.time() - days * 86_400
        return {"days": days} | await gateway.journal.read(lambda s: views.tolerances(s, since))

    @router.get("/api/v1/tolerances")
    async def tolerances(request: Request, days: Days = 30) -> dict[str, Any]:
        """Per sender: what was tolerated in the last `days` days, the most frequent first."""
        await call(request)
        return await read(days)

    @router.get("/tolerances", response_class=HTMLResponse)
    async def page(request: Request, days: Days = 30) -> HTMLResponse:
        """The same in French."""
        caller = await see(request)
        found = await read(days)
        template = pages.get_template("tolerances.html")
        return HTMLResponse(template.render(**found, periods=PERIODS, caller=caller, version=__version__))

    return router
