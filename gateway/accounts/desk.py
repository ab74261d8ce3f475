"""The rooms of accounts put together, for a running gateway and for the command line."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.accounts.api_tokens import ApiTokens
from gateway.accounts.passwords import Passwords
from gateway.accounts.people import Link, People
from gateway.accounts.sessions import Sessions
from gateway.accounts.sign_in import SignIn
from gateway.accounts.trace import Trace
from gateway.exchange.identifiers import Clock
from gateway.journal.store import Journal
from gateway.settings import WebSettings


@dataclass(frozen=True, slots=True)
class Desk:
    """One per gateway."""

    people: People
    sessions: Sessions
    sign_in: SignIn
    tokens: ApiTokens
    trace: Trace


def open_desk(journal: Journal, settings: WebSettings, clock: Clock) -> Desk:
    """On this journal."""
    accounts = settings.accounts
    passwords = Passwords(accounts)
    sessions = Sessions(journal, accounts, clock)
    by_password = settings.oidc is None or settings.oidc.passwords
    return Desk(
        People(journal, accounts, passwords, sessions, clock, by_password, settings.oidc is not None),
        sessions,
        SignIn(journal, accounts, passwords, sessions, clock, by_password),
        ApiTokens(journal, clock),
        Trace(journal, clock.now),
    )


def base_url(settings: WebSettings, port: int) -> str:
    """Where a browser finds the pages: `[web] public_url`, else this machine's own address."""
    if settings.public_url is not None:
        return settings.public_url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def link_of(settings: WebSettings, port: int, link: Link) -> str:
    """A one-time link. Its secret stands after `#`: no browser sends that, so no log has it. `port` 0: the path alone,
    for the port is chosen when the gateway starts."""
    known = port or settings.public_url is not None
    return f"{base_url(settings, port) if known else ''}/premier-acces#{link.secret}"
