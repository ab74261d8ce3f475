"""The guard of a running gateway (`gateway.web.guard.Guard`).

Purpose: sessions for people, tokens for programs; what is open; CSRF. Tokens are looked for in the local file of the
command line, in `[web] tokens`, then in the journal.

Guarantee: a token comes in the header `Authorization` alone, a session in its cookie alone, never in a URL. What
changes something for a session needs its CSRF token, and no `Origin` but ours. Refused accesses of known callers are in
the trace.
Fails: `Denied` (programs), `SignInFirst` and `Forbidden` (pages); `JournalUnavailable`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import quote, urlsplit

from fastapi import Request
from starlette.datastructures import FormData

from gateway.access import Access, Denied
from gateway.accounts import secrets
from gateway.accounts.api_tokens import ApiTokens
from gateway.accounts.sessions import Known, Sessions
from gateway.accounts.trace import Actor, Trace
from gateway.rights import RIGHTS, Right
from gateway.settings import WebSettings
from gateway.tokens import bearer
from gateway.web.cookies import Cookies
from gateway.web.guard import Caller, Dependency, OpenDependency, Via

log = logging.getLogger("gateway.web")

MAX_FORM: Final = 64_000
"""Bytes of a posted form."""
FORM_SECONDS: Final = 30.0
"""A form must have come by then."""
STALE: Final = "Ce formulaire n’est plus valable. Revenez à la page précédente, rechargez-la et recommencez."
ELSEWHERE: Final = (
    "Cette demande ne vient pas d’une page de la passerelle : elle n’a pas été prise en compte."
)
NOT_YOURS: Final = "Votre compte n’a pas le droit de voir cette page ou de faire cette action."
_SAFE: Final = ("GET", "HEAD")
_OPERATOR: Final = re.compile(r"[\w.-]{1,32}")
"""Of the account that runs the command line, which its token alone does not tell."""


class SignInFirst(Exception):
    """A page that needs a session; `back_to`: where to go afterwards."""

    def __init__(self, back_to: str) -> None:
        super().__init__()
        self.back_to = back_to


class Forbidden(Exception):
    """A page or a form that is refused: a French sentence."""

    def __init__(self, sentence: str, caller: Caller | None = None, status: int = 403) -> None:
        super().__init__(sentence)
        self.caller = caller
        self.status = status


def safe_path(wanted: str) -> str:
    """A path of ours to go to; empty for anything else (another site, a scheme, control characters)."""
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or len(wanted) > 2000:
        return ""
    parts = urlsplit(wanted)
    if not wanted.isprintable() or parts.scheme or parts.netloc:
        return ""
    return "" if parts.path in ("/connexion", "/deconnexion", "/premier-acces") else wanted


def peer_of(request: Request) -> str:
    """Address that the request came from."""
    return request.client.host if request.client is not None else ""


def actor(caller: Caller) -> Actor:
    """As the trace names them."""
    return Actor(caller.name, caller.via, caller.peer)


class Guarding:
    """One per gateway."""

    def __init__(
        self, settings: WebSettings, access: Access, sessions: Sessions, tokens: ApiTokens, trace: Trace
    ) -> None:
        self._open = settings.pages_are_open
        self._names = _own_names(settings)
        self._ours = settings.public_url
        self._access = access
        self._sessions = sessions
        self._tokens = tokens
        self._trace = trace
        self.cookies = Cookies(settings)

    # --- the words of `Guard` -------------------------------------------------------------------------------

    def page(self, right: Right | None = None) -> Dependency:
        """A session with the right."""

        async def dependency(request: Request) -> Caller:
            caller = await self.session(request)
            if caller is None:
                raise SignInFirst(_here(request))
            return await self._allowed(request, caller, right)

        return dependency

    def form(self, right: Right | None = None) -> Dependency:
        """A session with the right, and a form of it."""
        page = self.page(right)

        async def dependency(request: Request) -> Caller:
            caller = await page(request)
            if not self.from_here(request):
                await self._told(request, caller, "origin-refused")
                raise Forbidden(ELSEWHERE, caller)
            form = await read_form(request)
            if not secrets.same(str(form.get("csrf", "")), caller.csrf):
                await self._told(request, caller, "csrf-refused")
                raise Forbidden(STALE, caller)
            return caller

        return dependency

    def api(self, right: Right) -> Dependency:
        """A token or a session with the right."""

        async def dependency(request: Request) -> Caller:
            return await self._program(request, right, ())

        return dependency

    def open_page(self, right: Right) -> OpenDependency:
        """Open to anybody, or as `page`."""
        page = self.page(right)

        async def dependency(request: Request) -> Caller | None:
            return await self.session(request) if self._is_open(request) else await page(request)

        return dependency

    def open_api(self, right: Right, *scopes: str) -> OpenDependency:
        """Open to anybody, or as `api`."""

        async def dependency(request: Request) -> Caller | None:
            return None if self._is_open(request) else await self._program(request, right, scopes)

        return dependency

    async def deed(self, request: Request, scope: str) -> Caller:
        """A token with the scope, or a session with `Right.OPERATE`."""
        header = request.headers.get("authorization")
        if header is None and self.cookies.session(request):
            return await self._script(request, Right.OPERATE)
        caller = await self.token(request, header)
        if scope not in caller.scopes:
            await self._told(request, caller, "access-refused")
            raise Denied(403, "SCOPE", "Ce jeton n'autorise pas cette demande.")
        return caller

    async def audit(self, caller: Caller, action: str, subject: str = "", **details: Any) -> None:
        """Append to the trace."""
        await self._trace.add(actor(caller), action, subject, **details)

    # --- for the pages of log-in ----------------------------------------------------------------------------

    async def session(self, request: Request) -> Caller | None:
        """Whose session the browser has."""
        secret = self.cookies.session(request)
        known = await self._sessions.find(secret)
        return None if known is None else self._person(known, secret, request)

    async def token(self, request: Request, header: str | None) -> Caller:
        """Whose token stands in the header `Authorization`. Raises `Denied`."""
        token, peer = bearer(header), peer_of(request)
        found = self._access.find(token)
        if found is not None:
            client, local = found
            operator = request.headers.get("x-operator", "")
            name = f"{client.name} ({operator})" if local and _OPERATOR.fullmatch(operator) else client.name
            rights = frozenset(r for r in Right if r in client.scopes)
            via: Via = "command" if local else "token"
            return Caller(name, rights, peer=peer, via=via, scopes=client.scopes)
        kept = await self._tokens.find(token)
        if kept is None:
            log.warning("call without a known token")
            if token:
                await self._trace.add_once(Actor("", "", peer), "token-unknown")
            raise Denied(401, "TOKEN", "Jeton absent ou inconnu.")
        rights = frozenset(r for r in Right if r in kept.scopes)
        return Caller(kept.name, rights, peer=peer, via="token", scopes=kept.scopes)

    def from_here(self, request: Request) -> bool:
        """Whether a page of ours sends this. Browsers say where a form comes from; what says nothing is none."""
        origin = request.headers.get("origin")
        if origin is None:
            return request.headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if self._ours is not None and origin == self._ours:
            return True
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc == request.headers.get("host", "")

    async def stranger(self, request: Request) -> FormData:
        """The form of a person who is not known yet; it must be one that this browser was given."""
        if not self.from_here(request):
            raise Forbidden(ELSEWHERE)
        form, secret = await read_form(request), self.cookies.known_form(request)
        if not secret or not secrets.same(str(form.get("csrf", "")), secrets.csrf_of(secret)):
            raise Forbidden(STALE + " Les cookies doivent être acceptés.")
        return form

    # --- inside ---------------------------------------------------------------------------------------------

    def _is_open(self, request: Request) -> bool:
        """Open, and asked for by a name of this machine: a page of another site may give itself this address (DNS
        rebinding), and would read what is open to whoever sits here."""
        if not self._open or self._names is None:
            return self._open
        try:
            name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
        except ValueError:
            return False
        return name in self._names or _is_loopback(name)

    async def _program(self, request: Request, right: Right, scopes: tuple[str, ...]) -> Caller:
        header = request.headers.get("authorization")
        if header is None and self.cookies.session(request):
            return await self._script(request, right)
        caller = await self.token(request, header)
        if right not in caller.rights and not caller.scopes.intersection(scopes):
            await self._told(request, caller, "access-refused")
            raise Denied(403, "SCOPE", "Ce jeton n'autorise pas cette demande.")
        return caller

    async def _script(self, request: Request, right: Right) -> Caller:
        """A script of a page of ours, with the page's session."""
        caller = await self.session(request)
        if caller is None:
            raise Denied(401, "SESSION", "La session a pris fin : reconnectez-vous.")
        if right not in caller.rights:
            await self._told(request, caller, "access-refused")
            raise Denied(403, "RIGHT", NOT_YOURS)
        if request.method not in _SAFE:
            if not self.from_here(request):
                await self._told(request, caller, "origin-refused")
                raise Denied(403, "ORIGIN", ELSEWHERE)
            if not secrets.same(request.headers.get("x-csrf-token", ""), caller.csrf):
                await self._told(request, caller, "csrf-refused")
                raise Denied(403, "CSRF", "Jeton CSRF absent ou incorrect (X-CSRF-Token).")
        return caller

    def _person(self, known: Known, secret: str, request: Request) -> Caller:
        return Caller(
            known.login,
            RIGHTS[known.role],
            secrets.csrf_of(secret),
            known.role,
            peer_of(request),
            "session",
            account=known.account_id,
            session=known.sha256,
        )

    async def _allowed(self, request: Request, caller: Caller, right: Right | None) -> Caller:
        if right is not None and right not in caller.rights:
            await self._told(request, caller, "access-refused")
            raise Forbidden(NOT_YOURS, caller)
        return caller

    async def _told(self, request: Request, caller: Caller, action: str) -> None:
        route = request.scope.get("route")
        path = str(getattr(route, "path", ""))
        await self._trace.add_once(actor(caller), action, path, method=request.method)


def _own_names(settings: WebSettings) -> frozenset[str] | None:
    """Names by which browsers may ask for open pages; None: any, for the settings open them to other machines."""
    if not settings.loopback:
        return None
    public = urlsplit(settings.public_url or "").hostname
    return frozenset(filter(None, ("localhost", settings.host.lower(), public)))


def _is_loopback(name: str) -> bool:
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def too_much(request: Request) -> Forbidden | None:
    """Why the body of a posted form is not read: its length is bounded, and told beforehand. None: it is."""
    length = request.headers.get("content-length", "")
    if "transfer-encoding" in request.headers or not (length.isascii() and length.isdigit()):
        return Forbidden(STALE, status=411)
    return Forbidden("Le formulaire est trop long.", status=413) if int(length[:20]) > MAX_FORM else None


async def read_form(request: Request) -> FormData:
    """The fields of a posted form. Raises `Forbidden` (408, 411, 413, 415)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise Forbidden(STALE, status=415)
    if fault := too_much(request):
        raise fault
    try:
        async with asyncio.timeout(FORM_SECONDS):
            return await request.form(max_fields=100)
    except TimeoutError:
        raise Forbidden(STALE, status=408) from None


def _here(request: Request) -> str:
    """The page that was asked for, to come back to."""
    if request.method not in _SAFE:
        return ""
    query = f"?{request.url.query}" if request.url.query else ""
    return safe_path(quote(request.url.path, safe="/%:@!$&'()*+,;=-._~") + query)
