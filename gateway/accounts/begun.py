"""Log-ins that were begun at the OpenID Connect provider: how many an address may have under way.

Purpose: a GET is enough to begin one, and each is kept in the journal until it comes back; whoever asks again and
again must not fill it, nor push out the log-ins of others, nor keep the writers, which messages wait for, busy.

Guarantee: of one address (of IPv6 its /64) at most `lock_address_after` are under way, and one more for each time that
as many would take to expire; one that lets a person in counts no more. Counted in the journal, in the bounded table of
failed log-ins: for all nodes. Who has to wait costs a read.
Fails: `wait` says the seconds; `JournalUnavailable` is its callers'.
"""

from __future__ import annotations

from typing import Any, Final

from sqlmodel import Session

from gateway.accounts.sign_in import FORGET, ROWS, of_peer
from gateway.journal import access
from gateway.journal.sql import lock

LIFETIME: Final = 600.0
"""Seconds that a person may spend at the provider."""


def wait(session: Session, peer: str, most: int, now: float) -> float:
    """Seconds before this address may begin another one; 0: now."""
    begun, since = _under_way(access.failure(session, _key(peer)), most, now)
    return 0.0 if begun < most else max(1.0, since + LIFETIME / most - now)


def count(session: Session, peer: str, most: int, now: float) -> float:
    """One more, if it may be: 0; else the seconds to wait."""
    key = _key(peer)
    lock(session, key)
    if left := wait(session, peer, most, now):
        return left
    begun, since = _under_way(access.failure(session, key), most, now)
    access.keep_failure(session, key, begun + 1, since, None)
    access.bound_failures(session, ROWS, now - FORGET)
    return 0.0


def came_in(session: Session, peer: str) -> None:
    """One of this address let somebody in: it counts no more."""
    access.take_back_failure(session, _key(peer))


def _key(peer: str) -> str:
    return f"begun {of_peer(peer)}"


def _under_way(found: Any | None, most: int, now: float) -> tuple[int, float]:
    """(how many, since when the next one is on its way out): they go one after the other, evenly."""
    # a clock that was set back must not shut anybody out; those of two nodes differ a little
    if found is None or abs(now - found.failed_at) > LIFETIME:
        return 0, now
    gone = max(0, int((now - found.failed_at) / (LIFETIME / most)))
    left = max(0, found.failures - gone)
    return left, found.failed_at + gone * LIFETIME / most if left else now
