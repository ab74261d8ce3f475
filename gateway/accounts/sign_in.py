"""Log-in with a password: lock-out, and the session that comes of it.

Purpose: a login and a password in, a session out; failures are counted before the password is looked at, for the login
and for the address, so that tries at the same time count too.

Guarantee: the answer never says whether the login exists: an unknown one fails, waits and takes its time like another.
From `lock_after` failures in a row on, each one doubles the wait, up to `lock_longest`; a person is never shut out for
good. What is kept of unknown logins is their sum, in a bounded table.
Fails: `Refused` (a French sentence), `passwords.Busy`, `JournalUnavailable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from sqlmodel import Session

from gateway.accounts import secrets
from gateway.accounts.passwords import Passwords
from gateway.accounts.sessions import Opened, Sessions
from gateway.accounts.trace import Actor, note
from gateway.errors import BadInput
from gateway.exchange.identifiers import Clock
from gateway.journal import access
from gateway.journal.sql import lock
from gateway.journal.store import Journal
from gateway.settings_web import AccountSettings

ROWS: Final = 10_000
"""Addresses and unknown logins whose failures are remembered."""
FORGET: Final = 86_400.0
"""Seconds without a failure after which all is forgotten."""
WRONG: Final = "Identifiant ou mot de passe incorrect."
WAIT: Final = "Trop d’échecs : réessayez dans {}."


class Refused(BadInput):
    """Nobody is let in. `wait`: seconds, when that is why."""

    def __init__(self, sentence: str, wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class _Try:
    """A try that was counted: the account, when there is one."""

    account_id: int | None
    login: str
    password: str | None
    usable: bool
    locked: float | None
    """Seconds to wait if it fails: of the login."""
    locked_address: float | None


def canonical(login: str) -> str:
    """As it is kept: lower case, no space around, no control character."""
    return "".join(c for c in login.strip().lower() if c.isprintable())


class SignIn:
    """One per gateway."""

    def __init__(
        self,
        journal: Journal,
        settings: AccountSettings,
        passwords: Passwords,
        sessions: Sessions,
        clock: Clock,
        by_password: bool = True,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock
        self._by_password = by_password

    async def enter(self, login: str, password: str, peer: str, agent: str, before: str = "") -> Opened:
        """A new session. `before`: sum of the session that the browser had, which ends."""
        # who is only asked to come again has not failed
        self._passwords.check_room()
        now = self._clock.now()
        name = canonical(login)
        tried = await self._journal.write(lambda s: self._count(s, name, peer, now))
        if isinstance(tried, float):
            raise Refused(WAIT.format(in_words(tried)), tried)
        good, rehashed = await self._passwords.verify(tried.password, password)
        if not good or not tried.usable or tried.account_id is None or not self._by_password:
            await self._journal.write(lambda s: self._failed(s, tried, peer))
            raise Refused(WRONG)
        account_id = tried.account_id

        def entered(session: Session) -> Opened:
            # before the account's row, as `_count`: the other order would be a deadlock of two tries
            self._take_back(session, peer)
            row: Any = access.account_of(session, account_id)
            if row is None or row.disabled or row.password != tried.password:
                # while it was looked at: an administrator closed the account, or another password was chosen
                raise Refused(WRONG)
            if rehashed is not None:
                access.change(
                    session, "rehash_password", account_id, password=rehashed, before=tried.password
                )
            if before:
                access.close_session(session, before)
            return self._sessions.open(
                session, account_id, Actor(name, "session", peer), agent, how="password"
            )

        return await self._journal.write(entered)

    async def check(self, account_id: int, password: str, peer: str) -> bool:
        """Whether it is the password of an account that is logged in (before it may be changed); failures count."""
        self._passwords.check_room()
        now = self._clock.now()
        row = await self._journal.write(lambda s: access.account_of(s, account_id))
        if row is None:
            return False
        tried = await self._journal.write(lambda s: self._count(s, row.login, peer, now))
        if isinstance(tried, float):
            raise Refused(WAIT.format(in_words(tried)), tried)
        good, _rehashed = await self._passwords.verify(tried.password, password)

        def checked(session: Session) -> None:
            if good:
                access.change(session, "unlock_account", account_id)
                self._take_back(session, peer)
            else:
                self._failed(session, tried, peer)

        await self._journal.write(checked)
        return good

    def _count(self, session: Session, login: str, peer: str, now: float) -> _Try | float:
        """Count a failure of the login and of the address, to be taken back by a success; or the seconds to wait."""
        address_key, of_login = of_peer(peer), f"login {secrets.sum_of(login)}"
        lock(session, of_login, address_key)
        row: Any = access.account(session, login)
        address = access.failure(session, address_key)
        person = row if row is not None else access.failure(session, of_login)
        for found in (person, address):
            if found is not None and found.locked_until is not None and found.locked_until > now:
                # a clock that was set back must not shut anybody out for longer than the longest wait
                left = float(found.locked_until - now)
                if left <= self._settings.lock_longest:
                    return left
        failures, until = self._next(person, self._settings.lock_after, now)
        if row is not None:
            access.change(session, "account_failed", row.id, failures=failures, now=now, locked_until=until)
        else:
            access.keep_failure(session, of_login, failures, now, until)
        failures, until_address = self._next(address, self._settings.lock_address_after, now)
        access.keep_failure(session, address_key, failures, now, until_address)
        access.bound_failures(session, ROWS, now - FORGET)
        locked = None if until is None else until - now
        locked_address = None if until_address is None else until_address - now
        if row is None:
            return _Try(None, login, None, False, locked, locked_address)
        return _Try(row.id, login, row.password, not row.disabled, locked, locked_address)

    def _failed(self, session: Session, tried: _Try, peer: str) -> None:
        """The trace of a try that failed; what an unknown login was is not in it (it may be a password)."""
        now, who = self._clock.now(), Actor("", "", peer)
        known = tried.login if tried.account_id is not None else ""
        note(session, now, who, "login-failed", known)
        if tried.locked is not None:
            note(session, now, who, "login-locked", known, seconds=round(tried.locked))
        if tried.locked_address is not None:
            note(session, now, who, "address-locked", "", seconds=round(tried.locked_address))

    def _take_back(self, session: Session, peer: str) -> None:
        """The try that was counted was none: of the address, that one alone (somebody with an account of their own
        must not wipe out what they tried with others)."""
        access.take_back_failure(session, of_peer(peer))

    def _next(self, found: Any | None, after: int, now: float) -> tuple[int, float | None]:
        """(failures with this one, until when to wait if it fails)."""
        # of tries at the same time the one that is counted last may have begun first
        recent = found is not None and found.failed_at is not None and abs(now - found.failed_at) < FORGET
        failures = (found.failures if found is not None and recent else 0) + 1
        if failures < after:
            return failures, None
        longest, doublings = self._settings.lock_longest, min(failures - after, 30)
        return failures, now + min(longest, self._settings.lock_first * 2**doublings)


def of_peer(peer: str) -> str:
    """Where an address is counted. Of IPv6 the network: one machine has as many addresses in it as it likes."""
    try:
        address = ip_address(peer)
    except ValueError:
        return f"peer {peer}"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return f"peer {ip_network((int(address), 64), strict=False)}"
    return f"peer {peer}"


def in_words(seconds: float) -> str:
    """`30 secondes`, `4 minutes`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} secondes"
    return f"{round(seconds / 60)} minutes"
