"""The cookies of the pages: the session, and what proves that a form of a person who is not known came from here.

Guarantee: `HttpOnly`, `SameSite`, `Path=/`, no `Domain`; behind TLS (`[web] public_url`) also `Secure` and the prefix
`__Host-`, which a neighbouring site cannot set. The session's is `Lax`: a link in a mail, and the way back from an
OpenID Connect provider, find the session; what changes something asks for a CSRF token. The form's is `Strict`.
"""

from __future__ import annotations

from typing import Final, Literal

from fastapi import Request, Response

from gateway.accounts import secrets
from gateway.settings import WebSettings

SESSION: Final = "segur_session"
FORM: Final = "segur_form"
OIDC: Final = "segur_externe"
_MAX: Final = 100


class Cookies:
    """As the settings want them."""

    def __init__(self, settings: WebSettings) -> None:
        self._secure = settings.secure
        self._prefix = "__Host-" if settings.secure else ""

    def session(self, request: Request) -> str:
        """The session's secret, empty without one."""
        return self._read(request, SESSION)

    def open(self, response: Response, secret: str) -> None:
        """The browser has this session from now on (until it is closed)."""
        self._set(response, SESSION, secret, "lax")

    def close(self, response: Response) -> None:
        """It has none any more."""
        response.delete_cookie(
            self._prefix + SESSION, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    def form(self, request: Request) -> tuple[str, bool]:
        """(secret of this browser's forms, whether it is new and must be set)."""
        found = self._read(request, FORM)
        return (found, False) if found else (secrets.new(), True)

    def known_form(self, request: Request) -> str:
        """The same, empty when the browser has none."""
        return self._read(request, FORM)

    def set_form(self, response: Response, secret: str) -> None:
        """Remember it for this browser's forms."""
        self._set(response, FORM, secret, "strict")

    def oidc(self, request: Request) -> str:
        """What tells the browser that went to the OpenID Connect provider."""
        return self._read(request, OIDC)

    def set_oidc(self, response: Response, secret: str) -> None:
        """It comes back from another site: not `Strict`."""
        self._set(response, OIDC, secret, "lax")

    def _read(self, request: Request, name: str) -> str:
        found = request.cookies.get(self._prefix + name, "")
        return found if len(found) <= _MAX else ""

    def _set(self, response: Response, name: str, value: str, same_site: Literal["lax", "strict"]) -> None:
        response.set_cookie(
            self._prefix + name, value, path="/", secure=self._secure, httponly=True, samesite=same_site
        )
