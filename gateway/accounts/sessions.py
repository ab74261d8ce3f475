"""Sessions: a random value in a cookie, its sum in the journal.

Purpose: who is behind a request; open, close, list. A session ends when it is not used, after its longest life, with
its account, when the role or the password changes, or when a person closes it.

Guarantee: the value in the cookie was made here at log-in, never taken from the browser (no fixation). All nodes see
the same sessions.
Fails: `JournalUnavailable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlmodel import Session

from gateway.accounts import secrets
from gateway.accounts.trace import Actor, note
from gateway.exchange.identifiers import Clock
from gateway.journal import access
from gateway.journal.store import Journal
from gateway.rights import Role
from gateway.settings_web import AccountSettings

SEEN_EVERY: Final = 30.0
"""Seconds between two notes that a session is in use."""
MAX_AGENT: Final = 120


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session. `secret` goes into the cookie, nowhere else."""

    secret: str
    account_id: int
    login: str
    role: Role

    def __repr__(self) -> str:
        return f"Opened({self.account_id})"


@dataclass(frozen=True, slots=True)
class Known:
    """Whose session it is."""

    sha256: str
    account_id: int
    login: str
    name: str
    role: Role


class Sessions:
    """One per gateway."""

    def __init__(self, journal: Journal, settings: AccountSettings, clock: Clock) -> None:
        self._journal = journal
        self._settings = settings
        self._clock = clock

    def open(
        self, session: Session, account_id: int, who: Actor, agent: str, *, how: str, hint: str | None = None
    ) -> Opened:
        """Open one, in the transaction of what let the person in."""
        now, secret = self._clock.now(), secrets.new()
        access.change(session, "account_entered", account_id, now=now)
        row: Any = access.account_of(session, account_id)
        access.add_session(
            session,
            secrets.sum_of(secret),
            account_id,
            now,
            now + self._settings.session_longest,
            who.peer,
            "".join(c for c in agent if c.isprintable())[:MAX_AGENT],
            hint,
        )
        access.bound_sessions(session, account_id, self._settings.sessions, now, self._settings.session_idle)
        note(session, now, Actor(row.login, "session", who.peer), "login", row.login, how=how)
        return Opened(secret, account_id, row.login, Role(row.role))

    async def find(self, secret: str) -> Known | None:
        """Whose session this cookie is; it counts as used."""
        if not secret:
            return None
        sha256, now, idle = secrets.sum_of(secret), self._clock.now(), self._settings.session_idle
        row = await self._journal.read(lambda s: access.session_of(s, sha256, now, idle))
        if row is None:
            return None
        if now - row.seen_at >= min(SEEN_EVERY, idle / 4):
            await self._journal.write(lambda s: access.session_seen(s, sha256, now))
        return Known(sha256, row.account_id, row.login, row.name, Role(row.role))

    async def close(self, sha256: str, who: Actor) -> str | None:
        """Log out; what the OpenID Connect provider's log-out asks for."""
        now = self._clock.now()

        def closed(session: Session) -> str | None:
            found = access.close_session(session, sha256)
            if found is None:
                return None
            note(session, now, who, "logout", who.name)
            hint: str | None = found.hint
            return hint

        return await self._journal.write(closed)

    async def close_others(self, account_id: int, but: str, who: Actor) -> int:
        """End all other sessions of one's own account; how many."""
        now = self._clock.now()

        def closed(session: Session) -> int:
            number = access.close_sessions(session, account_id, but)
            note(session, now, who, "sessions-closed", who.name, number=number)
            return number

        return await self._journal.write(closed)

    async def of(self, account_id: int) -> list[Any]:
        """Open ones of an account, the last used first."""
        now, idle = self._clock.now(), self._settings.session_idle
        return list(await self._journal.read(lambda s: access.sessions_of(s, account_id, now, idle)))
