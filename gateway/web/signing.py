"""Log-in, log-out, one-time links: `/connexion`, `/deconnexion`, `/premier-acces`.

Purpose: the pages by which a person comes in with a password, or chooses one with a link that an administrator (or the
gateway's first start) gave. A link bears its secret in the fragment (`/premier-acces#…`): a browser sends that to
nobody, so it is in no access log, no history of a proxy, no `Referer`; the page's script moves it into the form, and
without scripts the person pastes the link.

Guarantee: no answer says whether a login exists. After a log-in the browser goes to the page that was asked for, on
this site only. A form is believed only from the browser that was given it.
Fails: 401 wrong login or password, 429 wait, 503 too many at once; each is a page in French.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment
from starlette.datastructures import FormData
from starlette.routing import Match

from gateway.accounts import secrets
from gateway.accounts.desk import Desk
from gateway.accounts.oidc import Oidc
from gateway.accounts.passwords import Busy
from gateway.accounts.people import NotDone
from gateway.accounts.sessions import Opened
from gateway.accounts.sign_in import Refused
from gateway.rights import Role
from gateway.web.guard import Caller
from gateway.web.guarding import Forbidden, Guarding, actor, peer_of, safe_path

FIGURES = "/indicateurs"
"""The page of indicators, where it is on."""
BUSY = "D’autres connexions sont en cours : réessayez dans un instant."


class SigningView(Protocol):
    """What these pages ask of a running gateway."""

    guarding: Guarding
    desk: Desk
    oidc: Oidc | None

    def base_url(self) -> str:
        """Where a browser finds the pages."""
        ...


def field(form: FormData, name: str) -> str:
    """A text field, empty when it is not there."""
    found = form.get(name, "")
    return found if isinstance(found, str) else ""


def home(request: Request, role: Role) -> str:
    """Where somebody goes who asked for nothing."""
    if role is not Role.LECTEUR:
        return "/"
    asked = {**request.scope, "path": FIGURES, "method": "GET"}
    there = any(route.matches(asked)[0] is Match.FULL for route in request.app.routes)
    return FIGURES if there else "/compte"


def entered(request: Request, guard: Guarding, opened: Opened, back_to: str = "") -> RedirectResponse:
    """The answer to a log-in: the cookie, and the way to the page."""
    answer = RedirectResponse(safe_path(back_to) or home(request, opened.role), 303)
    guard.cookies.open(answer, opened.secret)
    return answer


def _shown(
    pages: Environment, guard: Guarding, request: Request, template: str, status: int = 200, **values: Any
) -> HTMLResponse:
    """A page with a form for somebody who is not known."""
    secret, new = guard.cookies.form(request)
    csrf = secrets.csrf_of(secret)
    answer = HTMLResponse(pages.get_template(template).render(csrf=csrf, **values), status)
    if new:
        guard.cookies.set_form(answer, secret)
    return answer


def sign_in_page(
    pages: Environment, guard: Guarding, request: Request, status: int, **values: Any
) -> HTMLResponse:
    """The page of log-in, with what went wrong."""
    return _shown(pages, guard, request, "sign_in.html", status, **values)


def create_router(gateway: SigningView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    guard = gateway.guarding

    shown = partial(_shown, pages, guard)

    @router.get("/connexion", response_class=HTMLResponse)
    async def form(request: Request, suite: str = "", sortie: str = "") -> Response:
        """The form."""
        caller = await guard.session(request)
        if caller is not None and caller.role is not None:
            return RedirectResponse(safe_path(suite) or home(request, caller.role), 303)
        return shown(request, "sign_in.html", suite=safe_path(suite), out=bool(sortie))

    @router.post("/connexion", response_class=HTMLResponse)
    async def sign_in(request: Request) -> Response:
        """Come in."""
        sent = await guard.stranger(request)
        login, suite = field(sent, "login"), safe_path(field(sent, "suite"))
        had = guard.cookies.session(request)
        try:
            opened = await gateway.desk.sign_in.enter(
                login,
                field(sent, "password"),
                peer_of(request),
                request.headers.get("user-agent", ""),
                secrets.sum_of(had) if had else "",
            )
        except Refused as e:
            status = 429 if e.wait else 401
            answer = shown(request, "sign_in.html", status, suite=suite, login=login[:64], problem=str(e))
            if e.wait:
                answer.headers["Retry-After"] = str(int(e.wait) + 1)
            return answer
        except Busy:
            return shown(request, "sign_in.html", 503, suite=suite, login=login[:64], problem=BUSY)
        return entered(request, guard, opened, suite)

    @router.post("/deconnexion")
    async def sign_out(request: Request) -> Response:
        """Go out: this session ends on every node."""
        caller: Caller = await guard.form()(request)
        hint = await gateway.desk.sessions.close(caller.session, actor(caller))
        left = f"{gateway.base_url()}/connexion?" + urlencode({"sortie": "1"})
        place = await gateway.oidc.leave(hint, left) if gateway.oidc is not None and hint else None
        answer: Response
        if place is None:
            answer = RedirectResponse("/connexion?" + urlencode({"sortie": "1"}), 303)
        else:
            # no redirection: the policy of forms (`form-action`) lets none lead to another site
            answer = HTMLResponse(pages.get_template("signed_out.html").render(place=place))
        guard.cookies.close(answer)
        return answer

    @router.get("/premier-acces", response_class=HTMLResponse)
    async def link(request: Request) -> Response:
        """Where a one-time link leads."""
        return shown(request, "first_access.html")

    @router.post("/premier-acces", response_class=HTMLResponse)
    async def use(request: Request) -> Response:
        """First the link alone, then login and password."""
        sent = await guard.stranger(request)
        # the whole link may be pasted
        secret = field(sent, "code").strip().rpartition("#")[2][:100]
        login, name = field(sent, "login")[:64], field(sent, "name")[:100]
        try:
            invited = await gateway.desk.people.invited(secret)
        except NotDone as e:
            return shown(request, "first_access.html", 403, problem=str(e))
        values: dict[str, Any] = {"code": secret, "invited": invited, "login": login, "name": name}
        if not field(sent, "password"):
            problem = "Choisissez un mot de passe." if "password" in sent else None
            status = 422 if problem else 200
            return shown(request, "first_access.html", status, problem=problem, **values)
        if field(sent, "password") != field(sent, "again"):
            problem = "Les deux mots de passe ne sont pas les mêmes."
            return shown(request, "first_access.html", 422, problem=problem, **values)
        try:
            opened = await gateway.desk.people.accept(
                secret,
                login,
                name,
                field(sent, "password"),
                peer_of(request),
                request.headers.get("user-agent", ""),
            )
        except NotDone as e:
            if e.code == "LINK":
                return shown(request, "first_access.html", 403, problem=str(e))
            return shown(request, "first_access.html", 422, problem=str(e), **values)
        except Busy:
            return shown(request, "first_access.html", 503, problem=BUSY, **values)
        first = invited.kind == "first"
        return entered(request, guard, opened, "/comptes" if first else "")

    return router


def refused(pages: Environment, fault: Forbidden) -> HTMLResponse:
    """A page or a form that is not for this person."""
    html = pages.get_template("refused.html").render(sentence=str(fault), caller=fault.caller)
    return HTMLResponse(html, fault.status)
