"""Accounts and tokens for administrators: the pages `/comptes` and `/jetons`.

Guarantee: a link or a token is shown once, in the answer to the form that asked for it, and kept nowhere. What cannot
be done is said on the page.
Fails: 404, 409, 422: the page again, with the reason.
"""

from __future__ import annotations

from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment
from pydantic import ValidationError

from gateway.accounts.administration import Administration, Change, Deed, Wanted, WantedToken
from gateway.accounts.people import NotDone
from gateway.rights import DEEDS, SCOPES, Right, Role
from gateway.web.guard import Caller
from gateway.web.guarding import Guarding, actor
from gateway.web.numbers import Id
from gateway.web.signing import field

ROLES = {
    Role.LECTEUR: "Lecteur d’indicateurs",
    Role.EXPLOITANT: "Exploitant",
    Role.ADMINISTRATEUR: "Administrateur",
}
SCOPE_WORDS = {
    "deliveries": "agir sur les envois",
    "mails": "agir sur les courriels reçus",
    "indicators": "lire les indicateurs",
    "explain": "lire les listes qui les expliquent",
    "operate": "lire les échanges, les erreurs et les boîtes",
    "facts": "importer des faits du passé",
    "events": "transmettre les événements du DPI",
    "administer": "gérer les comptes et les jetons",
}
DAYS = {"30": "30 jours", "90": "90 jours", "366": "un an", "": "sans fin"}
_DONE = {
    "role": "Le rôle est changé ; les sessions de ce compte sont fermées.",
    "disable": "Le compte est désactivé, ses sessions sont fermées.",
    "enable": "Le compte est réactivé.",
    "unlock": "Le compte est débloqué.",
    "subject": "L’identifiant externe est enregistré.",
    "revoke": "Le jeton est révoqué.",
}
_WRONG = "Le formulaire est incomplet ou incorrect."


class AccountsView(Protocol):
    """What these pages ask of a running gateway."""

    guarding: Guarding

    def administration(self) -> Administration:
        """With the port in use."""
        ...


def create_router(gateway: AccountsView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    may, sent = gateway.guarding.page(Right.ADMINISTER), gateway.guarding.form(Right.ADMINISTER)
    pages.globals |= {"roles": ROLES, "scope_words": SCOPE_WORDS, "deed_scopes": DEEDS, "token_days": DAYS}

    async def people(caller: Caller, status: int = 200, **values: Any) -> HTMLResponse:
        values.setdefault("given", {})
        found = await gateway.administration().accounts()
        html = pages.get_template("accounts.html").render(**found, caller=caller, **values)
        return HTMLResponse(html, status)

    async def programs(caller: Caller, status: int = 200, **values: Any) -> HTMLResponse:
        values.setdefault("given", {})
        found = await gateway.administration().tokens()
        html = pages.get_template("api_tokens.html").render(**found, caller=caller, **values)
        return HTMLResponse(html, status)

    @router.get("/comptes", response_class=HTMLResponse)
    async def accounts(request: Request, fait: str = "") -> HTMLResponse:
        """All accounts."""
        return await people(await may(request), done=_DONE.get(fait))

    @router.post("/comptes", response_class=HTMLResponse)
    async def invite(request: Request) -> Response:
        """A new account; its link, once."""
        caller = await sent(request)
        form = await request.form()
        values = {name: field(form, name) for name in ("login", "name", "role", "subject")}
        try:
            wanted = Wanted.model_validate(values)
            made = await gateway.administration().invite(wanted, actor(caller))
        except ValidationError:
            return await people(caller, 422, problem=_WRONG, given=values)
        except NotDone as e:
            return await people(caller, 409 if e.code == "EXISTS" else 422, problem=str(e), given=values)
        return await people(caller, made=made)

    @router.post("/comptes/{login}/{deed}", response_class=HTMLResponse)
    async def act(login: str, deed: Deed, request: Request) -> Response:
        """Do it to an account."""
        caller = await sent(request)
        form = await request.form()
        try:
            change = Change(
                role=Role(field(form, "role")) if deed == "role" else None,
                subject=field(form, "subject") or None,
            )
            made = await gateway.administration().act(login, deed, change, actor(caller))
        except ValueError:  # ValidationError is one
            return await people(caller, 422, problem=_WRONG)
        except NotDone as e:
            return await people(caller, 404 if e.code == "UNKNOWN" else 409, problem=str(e))
        if deed == "reset":
            return await people(caller, made=made)
        return RedirectResponse(f"/comptes?fait={deed}", 303)

    @router.get("/jetons", response_class=HTMLResponse)
    async def tokens(request: Request, fait: str = "") -> HTMLResponse:
        """All tokens."""
        return await programs(await may(request), done=_DONE.get(fait))

    @router.post("/jetons", response_class=HTMLResponse)
    async def create(request: Request) -> HTMLResponse:
        """A new token, shown once."""
        caller = await sent(request)
        form = await request.form()
        scopes = [str(s) for s in form.getlist("scope") if s in SCOPES]
        name, days = field(form, "name"), field(form, "days")
        given = {"name": name, "scopes": scopes, "days": days}
        if days not in DAYS:
            return await programs(caller, 422, problem=_WRONG, given=given)
        try:
            wanted = WantedToken(name=name, scopes=scopes, days=float(days) if days else None)
            made = await gateway.administration().create_token(wanted, actor(caller))
        except ValidationError:
            return await programs(caller, 422, problem=_WRONG, given=given)
        except NotDone as e:
            return await programs(caller, 409 if e.code == "EXISTS" else 422, problem=str(e), given=given)
        return await programs(caller, made=made)

    @router.post("/jetons/{token_id}/revocation", response_class=HTMLResponse)
    async def revoke(token_id: Id, request: Request) -> Response:
        """It opens nothing any more."""
        caller = await sent(request)
        try:
            await gateway.administration().revoke_token(token_id, actor(caller))
        except NotDone as e:
            return await programs(caller, 404, problem=str(e))
        return RedirectResponse("/jetons?fait=revoke", 303)

    return router
