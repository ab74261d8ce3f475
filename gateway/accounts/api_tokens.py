"""Tokens of programs in the journal: made (shown once), listed, revoked, found.

Guarantee: what is kept is the SHA-256 sum of 256 random bits. A revoked or expired token opens nothing from the next
call on, on every node. Each change is in the trace.
Fails: `NotDone`; `JournalUnavailable`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import Session

from gateway.accounts import secrets
from gateway.accounts.people import NotDone
from gateway.accounts.trace import Actor, note
from gateway.exchange.identifiers import Clock
from gateway.journal import access
from gateway.journal.store import Journal
from gateway.rights import SCOPES
from gateway.tokens import MIN_LENGTH, Client

MAX_ROWS: Final = 500
MAX_DAYS: Final = 3660
USED_EVERY: Final = 60.0
"""Seconds between two notes that a token is in use."""
NAME: Final = re.compile(r"[\w][\w .@-]{0,99}")


@dataclass(frozen=True, slots=True)
class NewToken:
    """To be shown once."""

    id: int
    name: str
    secret: str

    def __repr__(self) -> str:
        return f"NewToken({self.id})"


class ApiTokens:
    """One per gateway."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def create(self, name: str, scopes: Collection[str], days: float | None, who: Actor) -> NewToken:
        """A new one; `days` None: without an end."""
        name, wanted = name.strip(), [s for s in SCOPES if s in scopes]
        if not NAME.fullmatch(name):
            raise NotDone(
                "NAME", "Le nom du jeton a 1 à 100 caractères : lettres, chiffres, espace, point, tiret."
            )
        if not wanted or set(scopes) - set(SCOPES):
            raise NotDone("SCOPES", f"Choisissez au moins une portée parmi {', '.join(SCOPES)}.")
        if days is not None and not 0 < days <= MAX_DAYS:
            raise NotDone("DAYS", f"La durée est de 1 à {MAX_DAYS} jours.")
        now, secret = self._clock.now(), secrets.new()
        expires = None if days is None else now + days * 86_400

        def make(session: Session) -> int:
            made = access.add_token(session, name, secrets.sum_of(secret), wanted, who.name, now, expires)
            if made is None:
                raise NotDone("EXISTS", "Un jeton en service porte déjà ce nom.")
            note(session, now, who, "token-created", name, id=made, scopes=wanted, days=days)
            return made

        return NewToken(await self._journal.write(make), name, secret)

    async def revoke(self, token_id: int, who: Actor) -> None:
        """It opens nothing any more."""
        now = self._clock.now()

        def end(session: Session) -> None:
            # SQLite takes no greater number (the command line asks for any)
            name = access.revoke_token(session, token_id, now) if abs(token_id) < 2**31 else None
            if name is None:
                raise NotDone("UNKNOWN", "Ce jeton n’existe pas, ou il est déjà révoqué.")
            note(session, now, who, "token-revoked", name, id=token_id)

        await self._journal.write(end)

    async def all(self) -> list[dict[str, Any]]:
        """The last ones."""
        now = self._clock.now()
        rows = await self._journal.read(lambda s: access.tokens(s, MAX_ROWS))
        return [
            {
                "id": r.id,
                "name": r.name,
                "scopes": json.loads(r.scopes),
                "created_by": r.created_by,
                "created_at": _iso(r.created_at),
                "expires_at": _iso(r.expires_at),
                "last_used_at": _iso(r.last_used_at),
                "revoked_at": _iso(r.revoked_at),
                "good": r.revoked_at is None and (r.expires_at is None or r.expires_at > now),
            }
            for r in rows
        ]

    async def find(self, secret: str) -> Client | None:
        """Whose token it is; it counts as used."""
        if len(secret) < MIN_LENGTH:
            return None
        now, sha256 = self._clock.now(), secrets.sum_of(secret)
        row = await self._journal.read(lambda s: access.token(s, sha256, now))
        if row is None:
            return None
        if row.last_used_at is None or abs(now - row.last_used_at) >= USED_EVERY:
            await self._journal.write(lambda s: access.token_used(s, row.id, now))
        return Client(row.name, frozenset(json.loads(row.scopes)))


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
