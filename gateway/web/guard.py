"""Who may see and do what on the pages and over the API.

Purpose: one place that says, for each request, who asks (`Caller`) and whether the right is theirs. Pages ask for a
right by `page` and `form`, programs by `api`.

Guarantee: nothing is shown or done without the right; a form is believed only with the CSRF token of its session.
Fails: `Denied` (401, 403, 503) as JSON for programs; a page is sent to `/connexion`, or told 403 in French.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from fastapi import Request


class Right(StrEnum):
    """What a role or a token may do."""

    INDICATORS = "indicators"
    """See figures, download them."""
    EXPLAIN = "explain"
    """See the lists of stays, documents and users behind them."""
    OPERATE = "operate"
    """See exchanges, errors and mailboxes; act on deliveries and mails; publish again."""
    FACTS = "facts"
    """Import facts of the past."""
    EVENTS = "events"
    """Tell events of the DPI, and its users."""
    ADMINISTER = "administer"
    """Accounts, tokens, trace."""


class Role(StrEnum):
    """Of an account."""

    LECTEUR = "lecteur"
    EXPLOITANT = "exploitant"
    ADMINISTRATEUR = "administrateur"


RIGHTS: dict[Role, frozenset[Right]] = {
    # business and technical rights are apart (SSI/GEN.16): who operates sees figures, not the lists of stays
    Role.LECTEUR: frozenset({Right.INDICATORS, Right.EXPLAIN}),
    Role.EXPLOITANT: frozenset({Right.INDICATORS, Right.OPERATE, Right.FACTS, Right.EVENTS}),
    Role.ADMINISTRATEUR: frozenset(Right),
}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `csrf` is what a form of this session must send back as the field `csrf`; empty for a program."""

    name: str
    rights: frozenset[Right]
    csrf: str = ""
    role: Role | None = None

    def may(self, right: str) -> bool:
        """True when the right is theirs (templates ask by its name)."""
        return right in self.rights


Dependency = Callable[[Request], Coroutine[Any, Any, Caller]]
"""A FastAPI dependency."""


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

    async def audit(self, caller: Caller, action: str, subject: str = "", **details: Any) -> None:
        """Append to the trace: who did what, when; never patient data."""
        ...
