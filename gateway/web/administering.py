"""Accounts, tokens and the trace for programs and for the command line: `/api/v1/accounts`, `/api/v1/tokens`,
`/api/v1/audit`.

Guarantee: only for those who may administer; what is shown holds no secret but a link or a token that was just made.
Fails: JSON `{"error": {"code", "message"}}`: 401, 403, 404, 409, 413, 415, 422.
"""

from __future__ import annotations

from typing import Annotated, Any, Protocol, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from gateway.access import Denied
from gateway.accounts.administration import Administration, Change, Deed, Wanted, WantedToken
from gateway.accounts.people import NotDone
from gateway.rights import Right
from gateway.web.by_hand import MAX_BODY, failed
from gateway.web.guarding import Guarding, actor
from gateway.web.numbers import LAST, Id

M = TypeVar("M", bound=BaseModel)
_STATUS = {"UNKNOWN": 404, "EXISTS": 409, "LAST": 409}


class AdministeringView(Protocol):
    """What this router asks of a running gateway."""

    guarding: Guarding

    def administration(self) -> Administration:
        """With the port in use."""
        ...


def create_router(gateway: AdministeringView) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    may = gateway.guarding.api(Right.ADMINISTER)

    @router.get("/api/v1/accounts")
    async def accounts(request: Request) -> dict[str, Any]:
        """All accounts."""
        await may(request)
        return await gateway.administration().accounts()

    @router.post("/api/v1/accounts")
    async def invite(request: Request) -> dict[str, Any]:
        """A new account; the link by which its person chooses a password."""
        who = actor(await may(request))
        return await gateway.administration().invite(await _body(request, Wanted), who)

    @router.post("/api/v1/accounts/first")
    async def first(request: Request) -> dict[str, Any]:
        """A link for the first administrator, when there is no account."""
        await may(request)
        return await gateway.administration().first()

    @router.post("/api/v1/accounts/{login}/{deed}")
    async def act(login: str, deed: Deed, request: Request) -> dict[str, Any]:
        """Do it to an account."""
        who = actor(await may(request))
        return await gateway.administration().act(login, deed, await _body(request, Change), who)

    @router.get("/api/v1/tokens")
    async def tokens(request: Request) -> dict[str, Any]:
        """The last tokens."""
        await may(request)
        return await gateway.administration().tokens()

    @router.post("/api/v1/tokens")
    async def create(request: Request) -> dict[str, Any]:
        """A new token, told this once."""
        who = actor(await may(request))
        return await gateway.administration().create_token(await _body(request, WantedToken), who)

    @router.post("/api/v1/tokens/{token_id}/revoke")
    async def revoke(token_id: Id, request: Request) -> dict[str, Any]:
        """It opens nothing any more."""
        who = actor(await may(request))
        return await gateway.administration().revoke_token(token_id, who)

    @router.get("/api/v1/audit")
    async def audit(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        before: Annotated[int, Query(ge=0, le=LAST)] = 0,
        actor: Annotated[str, Query(max_length=100)] = "",
        action: Annotated[str, Query(max_length=100)] = "",
    ) -> dict[str, Any]:
        """The trace, the last first; `before`: the last id of the page before."""
        await may(request)
        trace = gateway.administration().desk.trace
        return {"audit": await trace.rows(before=before, actor=actor, action=action, limit=limit)}

    return router


def not_done(fault: NotDone) -> JSONResponse:
    """What cannot be done, as an answer."""
    return failed(_STATUS.get(fault.code, 422), fault.code, str(fault))


async def _body(request: Request, model: type[M]) -> M:
    """The JSON body, of a bounded one. Raises `Denied`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Denied(415, "TYPE", "Le corps de la demande doit être en application/json.")
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not (length.isascii() and length.isdigit()):
        raise Denied(411, "LENGTH", "La longueur de la demande n'est pas annoncée.")
    if int(length[:20]) > MAX_BODY:
        raise Denied(413, "TOO_LARGE", "La demande est trop longue.")
    try:
        return model.model_validate_json(await request.body())
    except ValidationError:
        raise Denied(422, "INVALID", "La demande est incomplète ou incorrecte.") from None
