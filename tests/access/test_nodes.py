"""Accounts on several nodes: the journal is one, so are sessions, locks and tokens."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.accounts.trace import Actor
from gateway.rights import Role
from tests.access.people import ADMIN, CHEAP, CLOSED, add, browser
from tests.exchange import harness
from tests.exchange.test_nodes import two
from tests.postgres import Database

WEB = {"enabled": True, "port": 0} | CLOSED


@pytest.fixture(autouse=True)
def on_postgres(journal_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "JOURNAL", journal_database.table)


@pytest.fixture
def journal_on() -> None:
    """PostgreSQL alone."""


async def test_a_session_a_lock_and_a_token_of_one_node_hold_on_the_other(tmp_path: Path) -> None:
    accounts = CHEAP | {"lock_after": 2, "lock_first": 600.0}
    async with (
        two(tmp_path, web=WEB | {"accounts": accounts}) as (a, b),
        browser(a) as one,
        browser(b) as other,
    ):
        links = [await node.gateway.first_access() for node in (a, b)]
        assert all(links), "each node prints one"
        await add(a, ADMIN, Role.ADMINISTRATEUR)
        assert (await other.post("/premier-acces", code=str(links[1]))).status_code == 403
        await one.sign_in()
        other.http.cookies.set("segur_session", one.cookie)
        assert (await other.get("/comptes")).status_code == 200
        await one.post("/deconnexion", of="/compte")
        assert (await other.get("/comptes")).status_code == 303
        assert [(await p.sign_in(password="wrong")).status_code for p in (one, other, one)] == [401, 401, 429]
        made = await a.gateway.desk.tokens.create("essai", ["operate"], 1, Actor("essai"))
        headers = {"Authorization": f"Bearer {made.secret}"}
        async with httpx.AsyncClient(base_url=other.base, headers=headers) as http:
            assert (await http.get("/api/v1/incidents")).status_code == 200
            await a.gateway.desk.tokens.revoke(made.id, Actor("essai"))
            assert (await http.get("/api/v1/incidents")).status_code == 401
