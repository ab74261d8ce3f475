"""A running gateway and persons with browsers (httpx: real HTTP, cookies kept)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from gateway.accounts.trace import Actor
from gateway.rights import Role
from tests.exchange.harness import Running, running

ADMIN, PASSWORD = "dominique", "trombone-nuage-17-velours"
OTHER = "cascade-lanterne-84-figuier"
CHEAP = {"hash_memory_kib": 7168, "hash_passes": 1}
"""Of argon2: tests are not slower than they must be."""
CLOSED: dict[str, Any] = {"open_pages": False}


class Browser:
    """One person's."""

    def __init__(self, r: Running, **headers: str) -> None:
        self.base = f"http://127.0.0.1:{r.gateway.web_port}"
        self.http = httpx.AsyncClient(
            base_url=self.base, timeout=60, headers={"Origin": self.base, "User-Agent": "essai"} | headers
        )

    async def get(self, path: str, **more: Any) -> httpx.Response:
        return await self.http.get(path, **more)

    async def csrf(self, path: str) -> str:
        """What the forms of a page must send back."""
        found = re.search(r'name="csrf" value="([^"]*)"', (await self.get(path)).text)
        assert found is not None, f"no form on {path}"
        return found.group(1)

    async def post(self, path: str, of: str | None = None, **fields: Any) -> httpx.Response:
        """Send a form of the page `of` (default: the same path)."""
        csrf = fields.pop("csrf", None) or await self.csrf(of or path)
        return await self.http.post(path, data={"csrf": csrf} | fields)

    async def sign_in(self, login: str = ADMIN, password: str = PASSWORD, **more: str) -> httpx.Response:
        return await self.post("/connexion", login=login, password=password, **more)

    async def accept(self, link: str, password: str = PASSWORD, **more: str) -> httpx.Response:
        """Use a one-time link."""
        return await self.post("/premier-acces", code=link, password=password, again=password, **more)

    @property
    def cookie(self) -> str:
        return self.http.cookies.get("segur_session") or ""


@asynccontextmanager
async def gateway(directory: Path, **web: Any) -> AsyncIterator[Running]:
    """Running, with pages that are closed unless `open_pages` says otherwise; nobody has an account."""
    accounts = CHEAP | web.pop("accounts", {})
    table = {"enabled": True, "port": 0} | CLOSED | {"accounts": accounts} | web
    async with running(directory, web=table) as r:
        yield r


@asynccontextmanager
async def browser(r: Running, **headers: str) -> AsyncIterator[Browser]:
    one = Browser(r, **headers)
    try:
        yield one
    finally:
        await one.http.aclose()


async def first(r: Running, person: Browser) -> None:
    """The first administrator comes in by the printed link."""
    link = await r.gateway.first_access()
    assert link is not None
    answer = await person.accept(link, login=ADMIN, name="Dominique Essai")
    assert answer.status_code == 303, answer.text


async def add(r: Running, login: str, role: Role, password: str = PASSWORD) -> None:
    """An account with a password."""
    desk = r.gateway.desk
    link = await desk.people.invite(login, login.title(), role, None, Actor("essai"))
    await desk.people.accept(link.secret, "", "", password, "127.0.0.1", "essai")


async def trace(r: Running) -> list[dict[str, Any]]:
    """The trace, oldest first."""
    return (await r.gateway.desk.trace.rows(limit=1000))[::-1]


async def actions(r: Running) -> list[str]:
    return [row["action"] for row in await trace(r)]
