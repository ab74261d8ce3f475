"""Accounts: made by an invitation, changed by an administrator, used by their person.

Purpose: the first administrator, invitations, new passwords, roles; disable, enable, unlock. For the pages, the API and
the command line alike.

Guarantee: each change is in the trace, in the same commit. There is always an administrator who can log in: the last
one is neither disabled nor given another role. A one-time link works once; whoever uses it chooses the password, nobody
else ever knows it. A change of role or password, and a disabled account, end the sessions of the account.
Fails: `NotDone` with a code and a French sentence; `passwords.Busy`, `JournalUnavailable`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sqlmodel import Session

from gateway.accounts import secrets
from gateway.accounts.oidc import UNKNOWN, Person
from gateway.accounts.passwords import Passwords
from gateway.accounts.sessions import Opened, Sessions
from gateway.accounts.sign_in import canonical
from gateway.accounts.trace import Actor, note
from gateway.errors import BadInput
from gateway.exchange.identifiers import Clock
from gateway.journal import access
from gateway.journal.sql import lock
from gateway.journal.store import Journal
from gateway.rights import Role
from gateway.settings_web import AccountSettings

Deed = Literal["disable", "enable", "unlock"]
LOGIN: Final = re.compile(r"[a-z0-9](?:[a-z0-9._@-]{0,62}[a-z0-9])?")
MAX_NAME: Final = 100
_DEAD: Final = "Ce lien n’est pas valable : il a déjà servi ou il est périmé. Demandez-en un autre."
_LOCK: Final = "first account"


class NotDone(BadInput):
    """What was asked cannot be done. `str()` is a French sentence."""

    def __init__(self, code: str, sentence: str, subject: str = "") -> None:
        super().__init__(sentence)
        self.code = code
        self.subject = subject


@dataclass(frozen=True, slots=True)
class Link:
    """A new one-time link's secret, for whom, until when."""

    secret: str
    login: str
    expires_at: float

    def __repr__(self) -> str:
        return f"Link({self.login})"


@dataclass(frozen=True, slots=True)
class Invited:
    """What a link is good for. `login` empty: to be chosen (first administrator)."""

    kind: str
    login: str
    name: str


class People:
    """One per gateway."""

    def __init__(
        self,
        journal: Journal,
        settings: AccountSettings,
        passwords: Passwords,
        sessions: Sessions,
        clock: Clock,
        by_password: bool = True,
        external: bool = False,
    ) -> None:
        """`by_password`, `external`: the ways in that there are."""
        self._journal = journal
        self._settings = settings
        self._passwords = passwords
        self._sessions = sessions
        self._clock = clock
        self._by_password = by_password
        self._external = external

    # --- one-time links -------------------------------------------------------------------------------------

    async def first(self) -> Link | None:
        """A link for the first administrator; None when there is one already."""
        now, secret = self._clock.now(), secrets.new()
        link = Link(secret, "", now + self._settings.first_invitation)

        def make(session: Session) -> Link | None:
            if access.any_administrator(session):
                return None
            if not self._journal.shared:
                # of several nodes that start, each prints its own
                access.drop_invitations(session, None)
            access.add_invitation(session, secrets.sum_of(secret), "first", None, now, link.expires_at)
            note(session, now, Actor(), "first-link")
            return link

        return await self._journal.write(make)

    async def invited(self, secret: str) -> Invited:
        """What a link is good for."""
        now, sha256 = self._clock.now(), secrets.sum_of(secret)
        # whoever makes up links must not keep the writers, which messages wait for, busy
        if not await self._journal.read(lambda s: access.invitation_there(s, sha256, now)):
            raise NotDone("LINK", _DEAD)

        def look(session: Session) -> Invited:
            kind, row = _link(session, secret, now)
            return Invited(kind, row.login if row else "", row.name if row else "")

        return await self._journal.write(look)

    async def accept(
        self, secret: str, login: str, name: str, password: str, peer: str, agent: str
    ) -> Opened:
        """Use a link: the account has this password, and is logged in. `login` and `name` count only where they are
        to be chosen."""
        now = self._clock.now()
        invited = await self.invited(secret)
        if invited.kind == "first":
            login, name = _checked(login, name)
        else:
            login, name = invited.login, invited.name
        if why := await self._passwords.refused(password, login, name):
            raise NotDone("PASSWORD", why)
        hashed = await self._passwords.hash(password)

        def take(session: Session) -> Opened:
            kind, row = _link(session, secret, now)
            if row is None:
                lock(session, _LOCK)
                if access.any_administrator(session):
                    raise NotDone("LINK", _DEAD)
                _untaken(session, login)
                role = Role.ADMINISTRATEUR
                account_id = access.add_account(session, login, name, role, now, hashed, None)
                access.drop_invitations(session, None)
            else:
                account_id = row.id
                access.change(session, "set_password", account_id, password=hashed)
                access.close_sessions(session, account_id)
                access.use_invitation(session, secrets.sum_of(secret))
            note(session, now, Actor(login, "", peer), "link-used", login, kind=kind)
            return self._sessions.open(session, account_id, Actor(login, "session", peer), agent, how="link")

        return await self._journal.write(take)

    async def invite(self, login: str, name: str, role: Role, subject: str | None, who: Actor) -> Link:
        """A new account, and the link by which its person chooses a password."""
        login, name = _checked(login, name)
        subject = _subject(subject)
        now, secret = self._clock.now(), secrets.new()
        link = Link(secret, login, now + self._settings.invitation)

        def make(session: Session) -> Link:
            lock(session, _LOCK)
            _untaken(session, login)
            _free(session, subject, None)
            account_id = access.add_account(session, login, name, role, now, None, subject)
            access.add_invitation(session, secrets.sum_of(secret), "new", account_id, now, link.expires_at)
            _no_more_first(session, role)
            note(session, now, who, "account-created", login, role=role.value, external=bool(subject))
            return link

        return await self._journal.write(make)

    async def reset(self, login: str, who: Actor) -> Link:
        """A link for a new password; the old one works until it is used."""
        now, secret = self._clock.now(), secrets.new()
        link = Link(secret, canonical(login), now + self._settings.invitation)

        def make(session: Session) -> Link:
            row = _account(session, link.login)
            kind = "new" if row.password is None else "reset"
            access.add_invitation(session, secrets.sum_of(secret), kind, row.id, now, link.expires_at)
            note(session, now, who, "link-made", link.login, kind=kind)
            return link

        return await self._journal.write(make)

    # --- the OpenID Connect provider ------------------------------------------------------------------------

    async def recognised(self, person: Person, peer: str, agent: str, before: str = "") -> Opened:
        """Who the provider says it is comes in: with the account of that subject, or with a new one where the settings
        give a role. `before`: sum of the session that the browser had, which ends."""
        now = self._clock.now()

        def take(session: Session) -> Opened:
            lock(session, f"subject {person.subject}")
            row = access.account_of_subject(session, person.subject)
            if row is not None and row.disabled:
                raise NotDone("DISABLED", UNKNOWN, person.subject)
            if row is not None:
                account_id, login = row.id, row.login
            elif person.role is None:
                raise NotDone("NO_ACCOUNT", UNKNOWN, person.subject)
            else:
                login = _free_login(session, person.subject)
                name = "".join(c for c in person.name if c.isprintable()).strip()[:MAX_NAME]
                account_id = access.add_account(session, login, name, person.role, now, None, person.subject)
                _no_more_first(session, person.role)
                note(
                    session,
                    now,
                    Actor("", "", peer),
                    "account-created",
                    login,
                    role=person.role,
                    external=True,
                )
            if before:
                access.close_session(session, before)
            who = Actor(login, "session", peer)
            return self._sessions.open(session, account_id, who, agent, how="external", hint=person.id_token)

        return await self._journal.write(take)

    # --- what an administrator changes ----------------------------------------------------------------------

    async def everybody(self) -> list[dict[str, Any]]:
        """All, by login."""
        now = self._clock.now()
        rows = await self._journal.read(lambda s: access.accounts(s, now, self._settings.session_idle))
        return [
            {
                "login": r.login,
                "name": r.name,
                "role": r.role,
                "subject": r.subject,
                "disabled": bool(r.disabled),
                "password": bool(r.has_password),
                "invited": bool(r.invited),
                "locked_until": _iso(r.locked_until if r.locked_until and r.locked_until > now else None),
                "sessions": r.sessions,
                "created_at": _iso(r.created_at),
                "last_login_at": _iso(r.last_login_at),
            }
            for r in rows
        ]

    async def set_role(self, login: str, role: Role, who: Actor) -> None:
        """Another role; the account's sessions end."""

        def change(session: Session, row: Any, now: float) -> None:
            if row.role == role:
                return
            if role is not Role.ADMINISTRATEUR:
                self._not_the_last(session, row)
            access.change(session, "set_role", row.id, role=role.value)
            _no_more_first(session, role)
            access.close_sessions(session, row.id)
            note(session, now, who, "role-changed", row.login, before=row.role, after=role.value)

        await self._change(login, change)

    async def set_subject(self, login: str, subject: str | None, who: Actor) -> None:
        """Who it is at the OpenID Connect provider."""
        subject = _subject(subject)

        def change(session: Session, row: Any, now: float) -> None:
            _free(session, subject, row.id)
            if subject is None and not (row.password is not None and self._by_password):
                self._not_the_last(session, row)
            access.change(session, "set_subject", row.id, subject=subject)
            access.close_sessions(session, row.id)
            note(session, now, who, "subject-changed", row.login, external=bool(subject))

        await self._change(login, change)

    async def act(self, login: str, deed: Deed, who: Actor) -> None:
        """Disable (sessions and links end), enable, unlock."""

        def change(session: Session, row: Any, now: float) -> None:
            match deed:
                case "disable":
                    self._not_the_last(session, row)
                    access.change(session, "set_disabled", row.id, disabled=True)
                    access.close_sessions(session, row.id)
                    access.drop_invitations(session, row.id)
                case "enable":
                    access.change(session, "set_disabled", row.id, disabled=False)
                case "unlock":
                    access.change(session, "unlock_account", row.id)
            note(session, now, who, f"account-{deed}d" if deed != "unlock" else "account-unlocked", row.login)

        await self._change(login, change)

    async def _change(self, login: str, change: Callable[[Session, Any, float], None]) -> None:
        now, name = self._clock.now(), canonical(login)

        def operation(session: Session) -> None:
            self._administrators(session)
            change(session, _account(session, name), now)

        await self._journal.write(operation)

    def _administrators(self, session: Session) -> set[int]:
        return set(access.administrators(session, by_password=self._by_password, external=self._external))

    def _not_the_last(self, session: Session, row: Any) -> None:
        """An administrator remains who can log in (one who was only invited cannot yet)."""
        if (
            row.role == Role.ADMINISTRATEUR
            and not row.disabled
            and not self._administrators(session) - {row.id}
        ):
            raise NotDone(
                "LAST", "C’est le dernier administrateur : donnez d’abord ce rôle à un autre compte."
            )

    # --- what a person changes ------------------------------------------------------------------------------

    async def change_password(self, account_id: int, password: str, who: Actor, agent: str) -> Opened:
        """Another password, and another session instead of all that there were."""
        row = await self._journal.write(lambda s: access.account_of(s, account_id))
        if row is None:
            raise NotDone("UNKNOWN", "Ce compte n’existe pas.")
        if why := await self._passwords.refused(password, row.login, row.name):
            raise NotDone("PASSWORD", why)
        hashed, now = await self._passwords.hash(password), self._clock.now()

        def change(session: Session) -> Opened:
            access.change(session, "set_password", account_id, password=hashed)
            access.close_sessions(session, account_id)
            access.drop_invitations(session, account_id)
            note(session, now, who, "password-changed", row.login)
            return self._sessions.open(session, account_id, who, agent, how="password-changed")

        return await self._journal.write(change)


def _link(session: Session, secret: str, now: float) -> tuple[str, Any | None]:
    """(kind, the account's row; None: the first administrator is to be made). Raises `NotDone`."""
    found = access.invitation(session, secrets.sum_of(secret), now)
    if found is None:
        raise NotDone("LINK", _DEAD)
    if found.account_id is None:
        if access.any_administrator(session):
            raise NotDone("LINK", _DEAD)
        return "first", None
    row = access.account_of(session, found.account_id)
    if row is None or row.disabled:
        raise NotDone("LINK", _DEAD)
    return found.kind, row


def _account(session: Session, login: str) -> Any:
    row = access.account(session, login)
    if row is None:
        raise NotDone("UNKNOWN", "Ce compte n’existe pas.")
    return row


def _untaken(session: Session, login: str) -> None:
    if access.account(session, login) is not None:
        raise NotDone("EXISTS", "Cet identifiant est déjà pris.")


def _no_more_first(session: Session, role: str) -> None:
    """There is an administrator: the printed link is worth nothing any more. Others come in before, and it stays."""
    if role == Role.ADMINISTRATEUR:
        access.drop_invitations(session, None)


def _free(session: Session, subject: str | None, account_id: int | None) -> None:
    if subject is None:
        return
    row = access.account_of_subject(session, subject)
    if row is not None and row.id != account_id:
        raise NotDone("SUBJECT", "Un autre compte a déjà cet identifiant externe.")


def _free_login(session: Session, subject: str) -> str:
    """A login for a person of whom only the provider's name is known."""
    login = canonical(subject)
    if LOGIN.fullmatch(login) and access.account(session, login) is None:
        return login
    return f"externe-{secrets.sum_of(subject)[:16]}"


def _checked(login: str, name: str) -> tuple[str, str]:
    login, name = canonical(login), "".join(c for c in name if c.isprintable()).strip()
    if not LOGIN.fullmatch(login):
        raise NotDone(
            "LOGIN",
            "L’identifiant a 1 à 64 caractères : lettres sans accent, chiffres, point, tiret, @ ou _.",
        )
    if len(name) > MAX_NAME:
        raise NotDone("NAME", f"Le nom a au plus {MAX_NAME} caractères.")
    return login, name


def _subject(subject: str | None) -> str | None:
    found = "".join(c for c in (subject or "") if c.isprintable()).strip()
    if len(found) > 255:
        raise NotDone("SUBJECT", "L’identifiant externe est trop long.")
    return found or None


def _iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
