"""Mailboxes and received mails: `GET /api/v1/mailboxes`, `GET /api/v1/mails` and the page `/boites`.

Purpose: a hospital sees whether its mailboxes are read, what came and what became of it; what nobody but a person can
settle stands apart.
Guarantee: read-only; names of mailboxes as in the settings, kinds, codes, sentences of ours, counts and times; no
address, no subject, no patient. At most `MAX_ROWS` mails.
Fails: 422 for a number out of bounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from gateway import __version__, mail_views
from gateway.exchange.inbox.keeping import MailboxState
from gateway.journal.store import Journal
from gateway.rights import Right
from gateway.web import mail_wording as wording
from gateway.web.guard import Guard
from gateway.web.numbers import LAST

MAX_ROWS = 500
PAGE_ROWS = 50
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many, the last ones")]


class MailboxesView(Protocol):
    """What this router asks of a running gateway."""

    journal: Journal
    guard: Guard

    def mailboxes(self) -> Mapping[str, MailboxState]:
        """How each mailbox is, by name."""
        ...


def create_router(gateway: MailboxesView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    see = gateway.guard.open_page(Right.OPERATE)
    call = gateway.guard.open_api(Right.OPERATE, "mails")
    pages.filters |= {
        "courriel": wording.kind,
        "motif": wording.reason,
        "suite": wording.progress,
        "reponse": wording.dpi_answer,
        "mdn": wording.mdn,
    }

    def states() -> list[dict[str, Any]]:
        return [
            {
                "name": name,
                "connected": state.connected,
                "since": datetime.fromtimestamp(state.since, UTC).isoformat(timespec="seconds"),
                "reason": "" if state.connected else state.reason,
                "sentence": "" if state.connected else wording.mailbox(state.reason),
                "person": state.configuration,
            }
            for name, state in sorted(gateway.mailboxes().items())
        ]

    @router.get("/api/v1/mailboxes")
    async def mailboxes(request: Request) -> dict[str, Any]:
        """State of each mailbox. `person`: somebody must act, waiting is useless."""
        await call(request)
        return {"mailboxes": states()}

    @router.get("/api/v1/mails")
    async def mails(
        request: Request,
        limit: Rows = PAGE_ROWS,
        mailbox: Annotated[str, Query(max_length=64)] = "",
        set_aside: bool | None = None,
        before: Annotated[int, Query(ge=0, le=LAST)] = 0,
    ) -> dict[str, Any]:
        """The last received mails, newest first; `set_aside`: only those for a person, or all but them."""
        await call(request)
        found = await gateway.journal.read(
            lambda s: mail_views.last_mails(s, limit, mailbox=mailbox, set_aside=set_aside, before=before)
        )
        return {"mails": found}

    @router.get("/boites", response_class=HTMLResponse)
    async def page(request: Request) -> HTMLResponse:
        """The same in French."""
        caller = await see(request)
        aside = await gateway.journal.read(lambda s: mail_views.last_mails(s, PAGE_ROWS, set_aside=True))
        others = await gateway.journal.read(lambda s: mail_views.last_mails(s, PAGE_ROWS, set_aside=False))
        template = pages.get_template("mailboxes.html")
        shown = template.render(
            mailboxes=states(), aside=aside, mails=others, caller=caller, version=__version__
        )
        return HTMLResponse(shown)

    return router
