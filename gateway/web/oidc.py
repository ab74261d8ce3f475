"""Log-in by the OpenID Connect provider: `/connexion/externe` and `/connexion/externe/retour`.

Guarantee: only the browser that began a log-in ends it. Who is refused is told why in French, and the trace has a code.
Fails: 403 refused, 429 too many were begun, 503 the provider does not answer: the page of log-in, with the reason.
"""

from __future__ import annotations

from typing import Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from jinja2 import Environment

from gateway.accounts import secrets
from gateway.accounts.desk import Desk
from gateway.accounts.oidc import DOWN, Failed, Oidc
from gateway.accounts.people import NotDone
from gateway.accounts.trace import Actor
from gateway.web.guarding import Guarding, peer_of, safe_path
from gateway.web.signing import entered, sign_in_page

BACK = "/connexion/externe/retour"


class OidcView(Protocol):
    """What these pages ask of a running gateway."""

    guarding: Guarding
    desk: Desk

    def base_url(self) -> str:
        """Where a browser finds the pages."""
        ...


def create_router(gateway: OidcView, pages: Environment, oidc: Oidc) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    guard = gateway.guarding

    async def failed(request: Request, fault: Failed) -> Response:
        await gateway.desk.trace.add_once(
            Actor("", "", peer_of(request)), "oidc-failed", fault.subject, code=fault.code
        )
        if fault.wait:
            answer = sign_in_page(pages, guard, request, 429, problem=str(fault))
            answer.headers["Retry-After"] = str(int(fault.wait) + 1)
            return answer
        status = 503 if str(fault) == DOWN else 403
        return sign_in_page(pages, guard, request, status, problem=str(fault))

    @router.get("/connexion/externe")
    async def begin(request: Request, suite: str = "") -> Response:
        """To the provider."""
        browser = secrets.new()
        try:
            place = await oidc.begin(gateway.base_url() + BACK, safe_path(suite), browser, peer_of(request))
        except Failed as e:
            return await failed(request, e)
        answer = RedirectResponse(place, 303)
        guard.cookies.set_oidc(answer, browser)
        return answer

    @router.get(BACK)
    async def back(request: Request) -> Response:
        """From the provider."""
        had = guard.cookies.session(request)
        try:
            person = await oidc.finish(
                gateway.base_url() + BACK, dict(request.query_params), guard.cookies.oidc(request)
            )
            opened = await gateway.desk.people.recognised(
                person,
                peer_of(request),
                request.headers.get("user-agent", ""),
                secrets.sum_of(had) if had else "",
            )
        except Failed as e:
            return await failed(request, e)
        except NotDone as e:
            return await failed(request, Failed(e.code, str(e), e.subject))
        await oidc.came_in(peer_of(request))
        return entered(request, guard, opened, person.back_to)

    return router
