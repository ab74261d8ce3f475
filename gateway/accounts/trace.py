"""The trace of accesses: who did what, when; append-only.

Purpose: log-ins, log-outs, changes of accounts and tokens, refused accesses, and what pages say (explanations seen,
figures published). Deeds on deliveries are facts already (`gateway.exchange.by_hand`).
Guarantee: no patient data, no secret: logins of accounts, names of tokens, codes, routes. What an unknown caller makes
happen is told at most once in `QUIET` seconds for each address and kind.
Fails: `JournalUnavailable`.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import Session

from gateway.journal import access
from gateway.journal.store import Journal

QUIET: Final = 60.0
_KEPT: Final = 10_000
FAR: Final = 1e12


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it. `via`: `session`, `token`, `command`, or empty (the gateway itself, somebody unknown)."""

    name: str = ""
    via: str = ""
    peer: str = ""


def note(session: Session, now: float, actor: Actor, action: str, subject: str = "", **details: Any) -> None:
    """Append, in the transaction of what is told."""
    access.add_audit(session, now, actor.name, actor.via, action, subject, actor.peer, details)


class Trace:
    """One per gateway."""

    def __init__(self, journal: Journal, now: Callable[[], float]) -> None:
        self._journal = journal
        self._now = now
        self._told: OrderedDict[tuple[str, ...], float] = OrderedDict()

    async def add(self, actor: Actor, action: str, subject: str = "", **details: Any) -> None:
        """Append."""
        now = self._now()
        await self._journal.write(lambda s: note(s, now, actor, action, subject, **details))

    async def add_once(self, actor: Actor, action: str, subject: str = "", **details: Any) -> None:
        """Append what may be repeated without end, but not more often than once in `QUIET` seconds."""
        key = (actor.name, actor.via, actor.peer, action, subject)
        at = time.monotonic()
        if at - self._told.get(key, -QUIET) < QUIET:
            return
        self._told.pop(key, None)
        self._told[key] = at
        if len(self._told) > _KEPT:
            self._told.popitem(last=False)
        await self.add(actor, action, subject, **details)

    async def rows(
        self,
        *,
        before: int = 0,
        actor: str = "",
        action: str = "",
        since: float = 0.0,
        until: float = FAR,
        limit: int = 100,
    ) -> list[dict[str, Any]]:
        """The last ones first."""
        found = await self._journal.read(
            lambda s: access.audit_rows(
                s, before=before, actor=actor, action=action, since=since, until=until, limit=limit
            )
        )
        return [
            {
                "id": r.id,
                "at": datetime.fromtimestamp(r.at, UTC).isoformat(timespec="seconds"),
                "actor": r.actor,
                "via": r.via,
                "action": r.action,
                "subject": r.subject,
                "details": json.loads(r.details),
                "peer": r.peer,
            }
            for r in found
        ]

    async def actions(self) -> list[str]:
        """The words of the trace."""
        return await self._journal.read(access.audit_actions)
