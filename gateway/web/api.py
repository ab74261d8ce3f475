"""The FastAPI application: `/healthz`, `/readyz`, `/metrics`, `/api/v1/messages/{MSH-10}`, the page of the last
exchanges; routers of their own for the rest.

Guarantee: read-only, but for what known callers may do (`gateway.web.guard`); no patient data; a strict
Content-Security-Policy, nothing loaded from elsewhere. `/healthz`, `/readyz` and `/metrics` are open to anybody; the
rest as `[web] open_pages` says, or to those who have the right.
Fails: 404 for an unknown MSH-10; 503 from `/readyz` with the reasons, from any page when the journal is away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlencode

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, select_autoescape
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway import __version__, views
from gateway.access import Denied
from gateway.accounts.people import NotDone
from gateway.census import CensusFaults
from gateway.errors import JournalUnavailable
from gateway.exchange.by_hand import Refused
from gateway.exchange.inbox.keeping import MailboxState
from gateway.exchange.telemetry import Telemetry
from gateway.fact_intake import FactFaults
from gateway.journal.store import Journal
from gateway.rights import Right
from gateway.settings import Settings
from gateway.web import (
    accounts,
    administering,
    by_hand,
    facts,
    incidents,
    indicators,
    mail_wording,
    mailboxes,
    my_account,
    oidc,
    signing,
    tolerances,
    trace,
    unreadable,
    validation,
    wording,
)
from gateway.web.guarding import Forbidden, SignInFirst, too_much
from gateway.web.indicator_pages import pages as figure_pages

HERE = Path(__file__).parent
PAGE_ROWS = 50
CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
HSTS = "max-age=31536000"
PERMISSIONS = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
AWAY = "La passerelle ne peut pas lire ou écrire son journal pour l’instant : réessayez dans un moment."
NO_ACCOUNTS = (
    "Cette page demande une connexion, et les comptes sont désactivés dans les réglages de la passerelle."
)


class GatewayView(
    validation.ValidationView,
    by_hand.ByHandView,
    facts.FactsView,
    indicators.IndicatorView,
    signing.SigningView,
    administering.AdministeringView,
    Protocol,
):
    """What the web may ask of a running gateway."""

    settings: Settings
    journal: Journal
    telemetry: Telemetry

    async def readiness(self) -> dict[str, str]:
        """What is not ready: name → French sentence. Empty when all is well."""
        ...

    def mailboxes(self) -> Mapping[str, MailboxState]:
        """How each mailbox is, by name."""
        ...

    async def warnings(self) -> dict[str, str]:
        """What a person must act on although messages are accepted: name → French sentence."""
        ...

    def checks(self) -> dict[str, str]:
        """Layers of the official CDA package: which are in use, and the package's digest."""
        ...

    async def measure(self) -> None:
        """Bring the gauges up to date."""
        ...


def _own_bounds(path: str) -> bool:
    """What is posted there is not a small form, and bounded by those who read it."""
    return path == "/valider" or path.startswith("/api/")


def create_app(gateway: GatewayView, apis: Mapping[str, Any] | None = None) -> FastAPI:
    """The application for one running gateway. `apis`: connectors' own ASGI applications, by name."""
    app = FastAPI(title="segur-gateway", version=__version__, docs_url=None, redoc_url=None)
    pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape())
    pages.filters |= {
        "etat": wording.state,
        "cible": wording.destination,
        "heure": wording.time,
        "accuse": wording.ack,
        "flux": wording.flow,
        "fait": mail_wording.fact,
    }
    web = gateway.settings.web
    pages.globals |= {
        "version": __version__,
        "accounts_enabled": web.accounts.enabled,
        "passwords_enabled": web.oidc is None or web.oidc.passwords,
        "password_length": web.accounts.password_length,
        "oidc_label": web.oidc.label if web.oidc else "",
    }
    see, call = gateway.guard.open_page(Right.OPERATE), gateway.guard.open_api(Right.OPERATE)
    for name, api in (apis or {}).items():
        app.mount(f"/api/v1/{name}", api)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")

    @app.middleware("http")
    async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        # a form's fields may be read before the guard is asked: from anybody
        fault = too_much(request) if request.method == "POST" and not _own_bounds(request.url.path) else None
        response = await call_next(request) if fault is None else signing.refused(pages, fault)
        response.headers.setdefault("Content-Security-Policy", CSP)
        response.headers["X-Content-Type-Options"] = "nosniff"
        # to this site alone; without it a browser would say of our own forms that they come from nowhere
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = PERMISSIONS
        if web.secure:
            response.headers["Strict-Transport-Security"] = HSTS
        response.headers["Cache-Control"] = "no-store"
        return response

    app.include_router(validation.create_router(gateway, pages))
    app.include_router(tolerances.create_router(gateway, pages))
    app.include_router(incidents.create_router(gateway, pages))
    app.include_router(mailboxes.create_router(gateway, pages))
    app.include_router(by_hand.create_router(gateway))
    app.include_router(indicators.create_router(gateway))
    app.include_router(facts.create_router(gateway))
    if web.accounts.enabled:
        app.include_router(signing.create_router(gateway, pages))
        app.include_router(my_account.create_router(gateway, pages))
        app.include_router(accounts.create_router(gateway, pages))
        app.include_router(trace.create_router(gateway, pages))
    if gateway.oidc is not None:
        app.include_router(oidc.create_router(gateway, pages, gateway.oidc))
    app.include_router(administering.create_router(gateway))
    service = gateway.figures
    if service is not None:
        app.include_router(figure_pages.create_router(service, gateway.guard, pages))

    unreadable.answer_in_french(app, pages)

    @app.exception_handler(Refused)
    @app.exception_handler(Denied)
    async def _refused(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, Refused | Denied)
        return by_hand.refused(fault)

    @app.exception_handler(indicators.Wrong)
    async def _wrong(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, indicators.Wrong)
        return indicators.refused(fault)

    @app.exception_handler(FactFaults)
    @app.exception_handler(CensusFaults)
    async def _faulty(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, FactFaults | CensusFaults)
        return facts.faulty(fault)

    @app.exception_handler(NotDone)
    async def _not_done(request: Request, fault: Exception) -> JSONResponse:
        assert isinstance(fault, NotDone)
        return administering.not_done(fault)

    @app.exception_handler(SignInFirst)
    async def _sign_in_first(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, SignInFirst)
        if not web.accounts.enabled:
            return signing.refused(pages, Forbidden(NO_ACCOUNTS))
        query = "?" + urlencode({"suite": fault.back_to}) if fault.back_to not in ("", "/") else ""
        return RedirectResponse(f"/connexion{query}", 303)

    @app.exception_handler(Forbidden)
    async def _forbidden(request: Request, fault: Exception) -> HTMLResponse:
        assert isinstance(fault, Forbidden)
        return signing.refused(pages, fault)

    @app.exception_handler(JournalUnavailable)
    async def _away(request: Request, fault: Exception) -> Response:
        if request.url.path.startswith("/api/"):
            return by_hand.failed(503, "JOURNAL", AWAY)
        return signing.refused(pages, Forbidden(AWAY, status=503))

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process answers."""
        return "ok\n"

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """200 when messages can be accepted, else 503 with the reasons. Warnings keep nothing from being accepted."""
        reasons = await gateway.readiness()
        warnings = await gateway.warnings()
        body = {"ready": not reasons, "reasons": reasons, "warnings": warnings, "checks": gateway.checks()}
        return JSONResponse(body, status_code=503 if reasons else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Prometheus text format."""
        await gateway.measure()
        return Response(generate_latest(gateway.telemetry.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api/v1/messages/{control_id}")
    async def message(control_id: str, request: Request) -> dict[str, Any]:
        """State of the message(s) with this MSH-10: documents, deliveries, attempts."""
        await call(request)
        found = await gateway.journal.read(lambda s: views.messages_by_control_id(s, control_id))
        if not found:
            raise Refused("UNKNOWN", "Aucun message reçu n’a cet identifiant (MSH-10).")
        return {"messages": found}

    @app.get("/", response_class=HTMLResponse)
    async def page(request: Request) -> HTMLResponse:
        """The last exchanges."""
        caller = await see(request)
        messages = await gateway.journal.read(lambda s: views.last_messages(s, PAGE_ROWS))
        reasons = await gateway.readiness()
        return HTMLResponse(
            pages.get_template("exchanges.html").render(
                messages=messages, reasons=reasons, warnings=await gateway.warnings(), caller=caller
            )
        )

    return app
