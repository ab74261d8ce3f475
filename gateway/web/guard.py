"""Who may see and do what on the pages and over the API.

Purpose: one place that says, for each request, who asks (`Caller`) and whether the right is theirs. Pages ask for a
right by `page` and `form`, programs by `api`.

Guarantee: nothing is shown or done without the right; a form is believed only with the CSRF token of its session.
Fails: `Denied` (401, 403, 503) as JSON for programs; a page is sent to `/connexion`, or told 403 in French.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fastapi import Request

from gateway.rights import RIGHTS as RIGHTS
from gateway.rights import Right as Right
from gateway.rights import Role as Role

Via = Literal["session", "token", "command", ""]
"""How a caller comes: an account's session, a program's token, the command line of this machine; empty: by itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `csrf` is what a form of this session must send back as the field `csrf`; empty for a program."""

    name: str
    """Login of an account, name of a token."""
    rights: frozenset[Right]
    csrf: str = ""
    role: Role | None = None
    peer: str = ""
    """Address that the request came from."""
    via: Via = ""
    scopes: frozenset[str] = frozenset()
    """Of a token."""
    account: int | None = None
    session: str = ""
    """Sum of the session's identifier."""

    def may(self, right: str) -> bool:
        """True when the right is theirs (templates ask by its name)."""
        return right in self.rights


Dependency = Callable[[Request], Coroutine[Any, Any, Caller]]
"""A FastAPI dependency."""
OpenDependency = Callable[[Request], Coroutine[Any, Any, Caller | None]]
"""The same, None: nobody is known, and need not be."""


class Guard(Protocol):
    """One per gateway."""

    def page(self, right: Right | None = None) -> Dependency:
        """Of a page: a session with the right (None: any session), else a redirection to `/connexion`."""
        ...

    def form(self, right: Right | None = None) -> Dependency:
        """Of a posted form: as `page`, and the form's `csrf`."""
        ...

    def api(self, right: Right) -> Dependency:
        """Of a program: a token with the right (scope of that name), or a session (of a page's own script; for what
        is not a GET it must send `X-CSRF-Token`)."""
        ...

    def open_page(self, right: Right) -> OpenDependency:
        """As `page`, but of a page that is open to anybody where `[web] open_pages` says so."""
        ...

    def open_api(self, right: Right, *scopes: str) -> OpenDependency:
        """As `api`, but open to anybody where `[web] open_pages` says so. `scopes`: others that are enough."""
        ...

    async def deed(self, request: Request, scope: str) -> Caller:
        """Who acts on deliveries or mails: a token with the scope, or a session with `Right.OPERATE`. Raises
        `Denied`."""
        ...

    async def audit(self, caller: Caller, action: str, subject: str = "", **details: Any) -> None:
        """Append to the trace: who did what, when; never patient data."""
        ...
