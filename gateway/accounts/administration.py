"""What an administrator does, as the API and the command line say it: dictionaries in and out.

Purpose: one wording for `/api/v1/accounts`, `/api/v1/tokens` and `segur-gateway accounts|tokens`, whether a running
gateway does it or the command itself.
Fails: `NotDone` with a code and a French sentence; `JournalUnavailable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gateway.accounts.desk import Desk, link_of
from gateway.accounts.people import Link, NotDone
from gateway.accounts.trace import Actor
from gateway.rights import Role
from gateway.settings import WebSettings

Deed = Literal["disable", "enable", "unlock", "reset", "role", "subject"]


class Wanted(BaseModel):
    """A new account."""

    model_config = ConfigDict(extra="forbid")

    login: str = Field(max_length=100)
    name: str = Field(default="", max_length=200)
    role: Role
    subject: str | None = Field(default=None, max_length=300)
    """Who it is at the OpenID Connect provider."""


class Change(BaseModel):
    """A deed on an account: `role` and `subject` where the deed is that."""

    model_config = ConfigDict(extra="forbid")

    role: Role | None = None
    subject: str | None = Field(default=None, max_length=300)


class WantedToken(BaseModel):
    """A new token; `days` None: without an end."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=200)
    scopes: list[str] = Field(max_length=20)
    days: float | None = None


@dataclass(frozen=True, slots=True)
class Administration:
    """One for each gateway, or for one command."""

    desk: Desk
    settings: WebSettings
    port: int

    async def accounts(self) -> dict[str, Any]:
        """All of them."""
        return {"accounts": await self.desk.people.everybody()}

    async def first(self) -> dict[str, Any]:
        """A link for the first administrator, while there is none."""
        link = await self.desk.people.first()
        if link is None:
            raise NotDone(
                "EXISTS", "Il y a déjà un administrateur : c’est à lui de créer les autres comptes."
            )
        return self._link(link)

    async def invite(self, wanted: Wanted, who: Actor) -> dict[str, Any]:
        """A new account and its link."""
        link = await self.desk.people.invite(wanted.login, wanted.name, wanted.role, wanted.subject, who)
        return self._link(link)

    async def act(self, login: str, deed: Deed, change: Change, who: Actor) -> dict[str, Any]:
        """Do it to an account."""
        people = self.desk.people
        match deed:
            case "reset":
                return self._link(await people.reset(login, who))
            case "role":
                if change.role is None:
                    raise NotDone("ROLE", "Nommer le rôle.")
                await people.set_role(login, change.role, who)
            case "subject":
                await people.set_subject(login, change.subject, who)
            case _:
                await people.act(login, deed, who)
        return {"login": login}

    async def tokens(self) -> dict[str, Any]:
        """The last ones."""
        return {"tokens": await self.desk.tokens.all()}

    async def create_token(self, wanted: WantedToken, who: Actor) -> dict[str, Any]:
        """A new token, told this once."""
        made = await self.desk.tokens.create(wanted.name, wanted.scopes, wanted.days, who)
        return {"id": made.id, "name": made.name, "token": made.secret}

    async def revoke_token(self, token_id: int, who: Actor) -> dict[str, Any]:
        """It opens nothing any more."""
        await self.desk.tokens.revoke(token_id, who)
        return {"id": token_id}

    def _link(self, link: Link) -> dict[str, Any]:
        until = datetime.fromtimestamp(link.expires_at, UTC).isoformat(timespec="seconds")
        return {
            "login": link.login,
            "link": link_of(self.settings, self.port, link),
            "expires_at": until,
        }
