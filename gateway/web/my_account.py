"""One's own account: the page `/compte` (password, sessions).

Guarantee: a password is changed only by who knows the old one (failures count as at log-in); afterwards all other
sessions are ended, and this one is another.
Fails: 401 wrong password, 422 a password that may not be chosen, 429 wait; each is the page again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment

from gateway.accounts.desk import Desk
from gateway.accounts.passwords import Busy
from gateway.accounts.people import NotDone
from gateway.accounts.sign_in import Refused
from gateway.web.guard import Caller
from gateway.web.guarding import Guarding, actor, peer_of
from gateway.web.signing import BUSY, field

DONE = {
    "mot-de-passe": "Le mot de passe est changé ; les autres sessions sont fermées.",
    "sessions": "Les autres sessions sont fermées.",
}


class MyAccountView(Protocol):
    """What this page asks of a running gateway."""

    guarding: Guarding
    desk: Desk


def create_router(gateway: MyAccountView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    guard = gateway.guarding
    mine, sent = guard.page(), guard.form()

    async def shown(caller: Caller, status: int = 200, **values: Any) -> HTMLResponse:
        assert caller.account is not None
        mine_of = [a for a in await gateway.desk.people.everybody() if a["login"] == caller.name]
        sessions = [
            {
                "own": row.sha256 == caller.session,
                "created_at": _iso(row.created_at),
                "seen_at": _iso(row.seen_at),
                "peer": row.peer,
                "agent": row.agent,
            }
            for row in await gateway.desk.sessions.of(caller.account)
        ]
        html = pages.get_template("account.html").render(
            caller=caller, account=mine_of[0] if mine_of else {}, sessions=sessions, **values
        )
        return HTMLResponse(html, status)

    @router.get("/compte", response_class=HTMLResponse)
    async def page(request: Request, fait: str = "") -> HTMLResponse:
        """The page."""
        return await shown(await mine(request), done=DONE.get(fait))

    @router.post("/compte/mot-de-passe", response_class=HTMLResponse)
    async def password(request: Request) -> Response:
        """Another password."""
        caller = await sent(request)
        assert caller.account is not None
        form = await request.form()
        if field(form, "password") != field(form, "again"):
            return await shown(caller, 422, problem="Les deux nouveaux mots de passe ne sont pas les mêmes.")
        try:
            if not await gateway.desk.sign_in.check(caller.account, field(form, "old"), peer_of(request)):
                return await shown(caller, 401, problem="Le mot de passe actuel n’est pas celui-là.")
            opened = await gateway.desk.people.change_password(
                caller.account,
                field(form, "password"),
                actor(caller),
                request.headers.get("user-agent", ""),
            )
        except Refused as e:
            return await shown(caller, 429, problem=str(e))
        except NotDone as e:
            return await shown(caller, 422, problem=str(e))
        except Busy:
            return await shown(caller, 503, problem=BUSY)
        answer = RedirectResponse("/compte?fait=mot-de-passe", 303)
        guard.cookies.open(answer, opened.secret)
        return answer

    @router.post("/compte/sessions")
    async def close(request: Request) -> Response:
        """End all other sessions."""
        caller = await sent(request)
        assert caller.account is not None
        await gateway.desk.sessions.close_others(caller.account, caller.session, actor(caller))
        return RedirectResponse("/compte?fait=sessions", 303)

    return router


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
