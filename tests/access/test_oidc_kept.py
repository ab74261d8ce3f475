"""What is kept of a log-in by the provider, on both databases."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlmodel import Session

from gateway.accounts import begun
from gateway.accounts.trace import Actor
from gateway.errors import JournalUnavailable
from gateway.rights import Role
from tests.access.people import ADMIN, browser, gateway
from tests.access.provider import provider, table
from tests.access.test_oidc import by_provider, known
from tests.exchange import harness


async def test_a_log_in_by_the_provider(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        assert (await by_provider(one)).status_code == 303
        assert (await one.get("/erreurs")).status_code == 200
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM oidc_state").fetchone()[0] == 0
            (hint,) = db.execute("SELECT hint FROM web_session").fetchone()
        assert hint.count(".") == 2


async def test_who_was_let_in_is_not_kept_out_by_a_count_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(session: Session, peer: str) -> None:
        raise JournalUnavailable("away")

    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        monkeypatch.setattr(begun, "came_in", away)
        assert (await by_provider(one)).status_code == 303
        assert (await one.get("/erreurs")).status_code == 200


MAPPED = {"role_claim": "groups", "roles": {"dim": "lecteur", "dsi": "administrateur"}}


async def test_who_comes_in_first_without_administering_leaves_the_first_link_good(tmp_path: Path) -> None:
    """Else nobody would ever administer but by the command line."""
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p, **MAPPED)) as r,
        browser(r) as reader,
        browser(r) as boss,
        browser(r) as late,
    ):
        link = await r.gateway.first_access()
        assert link is not None
        p.person["groups"] = ["dim"]
        assert (await by_provider(reader)).status_code == 303
        await r.gateway.desk.people.invite("camille", "", Role.EXPLOITANT, None, Actor("essai"))
        again = await r.gateway.first_access()
        assert again is not None, "a start still prints one"
        taken = await boss.accept(again, login="camille")
        assert taken.status_code == 422 and "déjà pris" in taken.text
        assert (await boss.accept(again, login=ADMIN)).status_code == 303
        assert (await boss.get("/comptes")).status_code == 200
        for dead in (link, again):
            assert (await late.accept(dead, login="autre")).status_code == 403
        assert await r.gateway.first_access() is None


async def test_an_administrator_of_the_provider_ends_the_first_link(tmp_path: Path) -> None:
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p, **MAPPED)) as r,
        browser(r) as boss,
        browser(r) as late,
    ):
        link = await r.gateway.first_access()
        assert link is not None
        p.person["groups"] = ["dsi"]
        assert (await by_provider(boss)).status_code == 303
        assert (await late.accept(link, login="autre")).status_code == 403
        assert await r.gateway.first_access() is None
