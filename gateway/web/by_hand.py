"""Deliveries and received mails by hand: `/api/v1/deliveries`, `/api/v1/mails`.

Purpose: what waits and why, for programs and for the command line; hold, release, retry, cancel, treat again, seen.
Guarantee: nothing is done without a token and its scope, or a session that may operate and its CSRF token
(`gateway.web.guard`), nor for another site's page (the body must say that it is JSON, so that a browser asks first, and
nobody answers it). What is shown holds no patient data.
Fails: JSON `{"error": {"code", "message"}}`: 401, 403, 404, 409 (it cannot be done), 411, 413, 415, 422.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import Annotated, Any, Literal, Protocol, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway import views
from gateway.access import Denied
from gateway.errors import JournalUnavailable
from gateway.exchange.by_hand import Asked, ByHand, Deed, Done, Refused, Several
from gateway.exchange.retention import Retention
from gateway.journal import by_hand as rows
from gateway.journal.store import Journal
from gateway.rights import Right
from gateway.web.guard import Caller, Guard
from gateway.web.numbers import LAST, Id

MAX_ROWS = 1000
MAX_BODY = 10_000
"""Bytes."""
_STATUS = {"UNKNOWN": 404, "REASON": 422}
Rows = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many")]


class Wanted(BaseModel):
    """The body of a deed on one delivery or mail."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(max_length=1000)
    even_if_sent: bool = False


class WantedOfSeveral(Wanted):
    """The body of a deed on several: all to a destination, or all of a message."""

    destination: str | None = Field(default=None, max_length=100)
    message: str | None = Field(default=None, max_length=200)
    """MSH-10."""
    sender: str | None = Field(default=None, max_length=500)
    """`application|facility`, when several senders used this MSH-10."""


W = TypeVar("W", bound=Wanted)


class ByHandView(Protocol):
    """What this router asks of a running gateway."""

    journal: Journal
    guard: Guard
    by_hand: ByHand
    retention: Retention


def failed(status: int, code: str, message: str) -> JSONResponse:
    """The one shape of an error. `message` is French."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": {"code": code, "message": message}}, status, headers)


def create_router(gateway: ByHandView) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    guard = gateway.guard
    see_deliveries = guard.open_api(Right.OPERATE, "deliveries")
    see_mails = guard.open_api(Right.OPERATE, "mails")

    @router.get("/api/v1/deliveries")
    async def deliveries(
        request: Request,
        destination: Annotated[str | None, Query(max_length=100)] = None,
        after: Annotated[int, Query(ge=0, le=LAST)] = 0,
        limit: Rows = 100,
    ) -> dict[str, Any]:
        """Unfinished deliveries, oldest first; `after`: the last id of the page before."""
        await see_deliveries(request)
        found = await gateway.journal.read(lambda s: rows.open_rows(s, destination, after, limit))
        return {"deliveries": [views.waiting(r) for r in found]}

    @router.get("/api/v1/deliveries/{delivery_id}")
    async def one(delivery_id: Id, request: Request) -> dict[str, Any]:
        """One delivery, its attempts, what it waits for."""
        await see_deliveries(request)
        found = await gateway.journal.read(lambda s: rows.one_row(s, delivery_id))
        if found is None:
            raise Refused("UNKNOWN", "Envoi inconnu.")
        return views.waiting_in_full(*found)

    @router.post("/api/v1/deliveries/{delivery_id}/{deed}")
    async def act(delivery_id: Id, deed: Deed, request: Request) -> dict[str, Any]:
        """Do it to one delivery."""
        client, wanted = await _asked(request, guard, "deliveries", Wanted)
        asked = Asked(client.name, wanted.reason, wanted.even_if_sent)
        done = await gateway.by_hand.one(delivery_id, deed, asked)
        await _told(guard, client, f"delivery-{deed}", str(delivery_id))
        return _done(done)

    @router.post("/api/v1/deliveries/{deed}")
    async def act_on_several(deed: Deed, request: Request) -> dict[str, Any]:
        """Do it to all unfinished deliveries to a destination or of a message."""
        client, wanted = await _asked(request, guard, "deliveries", WantedOfSeveral)
        asked = Asked(client.name, wanted.reason, wanted.even_if_sent)
        if (wanted.destination is None) == (wanted.message is None):
            raise Refused("REASON", "Nommer une destination, ou un message (MSH-10).")
        if wanted.destination is not None:
            found = await gateway.by_hand.to(wanted.destination, deed, asked)
        else:
            assert wanted.message is not None
            found = await gateway.by_hand.of(wanted.message, wanted.sender, deed, asked)
        subject = wanted.destination or wanted.message or ""
        await _told(guard, client, f"delivery-{deed}", subject, number=len(found.done))
        return _several(found)

    @router.get("/api/v1/mails/waiting")
    async def mails(request: Request, limit: Rows = 100) -> dict[str, Any]:
        """Received mails that wait for a person, the last first."""
        await see_mails(request)
        found = await gateway.journal.read(lambda s: rows.mail_rows(s, limit))
        return {"mails": [views.waiting_mail(r) for r in found]}

    @router.post("/api/v1/mails/{mail_id}/{deed}")
    async def act_on_mail(mail_id: Id, deed: Literal["retry", "seen"], request: Request) -> dict[str, Any]:
        """Treat a mail again, or note that a person has seen it."""
        client, wanted = await _asked(request, guard, "mails", Wanted)
        await gateway.by_hand.mail(mail_id, deed, Asked(client.name, wanted.reason))
        await _told(guard, client, f"mail-{deed}", str(mail_id))
        return {"id": mail_id}

    @router.get("/api/v1/retention")
    async def retention(request: Request) -> dict[str, Any]:
        """What retention would empty or remove now; nothing is."""
        await see_deliveries(request)
        return asdict(await gateway.retention.sweep(dry_run=True))

    return router


async def _told(guard: Guard, caller: Caller, action: str, subject: str, **details: Any) -> None:
    """The trace of what is a fact already: a journal that is away now must not deny what was done."""
    with contextlib.suppress(JournalUnavailable):
        await guard.audit(caller, action, subject, **details)


async def _asked(request: Request, guard: Guard, scope: str, model: type[W]) -> tuple[Caller, W]:
    """Who asks and for what: token (or session), scope and shape are looked at before the body is read."""
    client = await guard.deed(request, scope)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Denied(415, "TYPE", "Le corps de la demande doit être en application/json.")
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not (length.isascii() and length.isdigit()):
        raise Denied(411, "LENGTH", "La longueur de la demande n'est pas annoncée.")
    if int(length[:20]) > MAX_BODY:
        raise Denied(413, "TOO_LARGE", "La demande est trop longue.")
    try:
        return client, model.model_validate_json(await request.body())
    except ValidationError:
        raise Denied(
            422, "INVALID", "La demande est incomplète ou incorrecte (reason est obligatoire)."
        ) from None


def refused(fault: Refused | Denied) -> JSONResponse:
    """What cannot be done, as an answer."""
    status = fault.status if isinstance(fault, Denied) else _STATUS.get(fault.code, 409)
    return failed(status, fault.code, str(fault))


def _done(one: Done) -> dict[str, Any]:
    return {"id": one.id, "destination": one.destination, "state": one.state, "on_hold": one.on_hold}


def _several(found: Several) -> dict[str, Any]:
    return {
        "done": [_done(one) for one in found.done],
        "refused": [{"id": i, "code": code, "message": text} for i, code, text in found.refused],
    }
