"""Failures in a row make whoever tries wait, of a login and of an address; nobody is shut out for good."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.accounts import passwords, sign_in
from gateway.accounts.trace import Actor
from gateway.rights import Role
from tests.access.people import ADMIN, OTHER, PASSWORD, add, browser, gateway, trace
from tests.exchange import harness

LOCK = {"lock_after": 3, "lock_first": 600.0, "lock_longest": 3000.0, "lock_address_after": 100}


async def test_after_failures_in_a_row_even_the_right_password_waits(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        for _ in range(3):
            assert (await one.sign_in(password="wrong")).status_code == 401
        answer = await one.sign_in()
        assert answer.status_code == 429 and "réessayez dans 10 minutes" in answer.text
        assert 590 <= int(answer.headers["retry-after"]) <= 601
        assert one.cookie == ""
        told = [(t["action"], t["subject"]) for t in await trace(r)][-4:]
        assert told == [("login-failed", ADMIN)] * 3 + [("login-locked", ADMIN)]
        # it ends by itself, the next failure waits twice as long, and a log-in forgets all
        for seconds in (1200, 2400, 3000, 3000):
            with harness.raw(tmp_path) as db:
                db.execute("UPDATE account SET locked_until = failed_at - 1")
            assert (await one.sign_in(password="wrong")).status_code == 401
            with harness.raw(tmp_path) as db:
                (left,) = db.execute("SELECT locked_until - failed_at FROM account").fetchone()
                assert left == pytest.approx(seconds)
                db.execute("UPDATE account SET locked_until = failed_at - 1")
        assert (await one.sign_in()).status_code == 303
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT failures, locked_until FROM account").fetchone() == (0, None)


async def test_an_unknown_login_waits_like_another(tmp_path: Path) -> None:
    """Else the wait would say which logins exist."""
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        seen = {
            login: [(await one.sign_in(login, "wrong")).status_code for _ in range(5)]
            for login in (ADMIN, "nobody")
        }
        assert seen[ADMIN] == seen["nobody"] == [401, 401, 401, 429, 429]
        with harness.raw(tmp_path) as db:
            assert "nobody" not in str(db.execute("SELECT * FROM sign_in_failure").fetchall())


async def test_tries_at_the_same_time_are_counted_too(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        csrf = await one.csrf("/connexion")
        answers = await asyncio.gather(
            *(one.post("/connexion", csrf=csrf, login=ADMIN, password=f"wrong {n}") for n in range(10))
        )
        assert sorted(a.status_code for a in answers) == [401] * 3 + [429] * 7


async def test_an_administrator_unlocks(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one, browser(r) as boss:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        await add(r, "camille", Role.LECTEUR)
        await boss.sign_in()
        for _ in range(4):
            await one.sign_in("camille", "wrong")
        assert "bloqué jusqu’au" in (await boss.get("/comptes")).text
        assert (await boss.post("/comptes/camille/unlock", of="/comptes")).status_code == 303
        assert (await one.sign_in("camille")).status_code == 303


async def test_an_address_waits_whatever_the_logins(tmp_path: Path) -> None:
    few = LOCK | {"lock_address_after": 4}
    async with gateway(tmp_path, accounts=few) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        answers = [(await one.sign_in(f"nobody{n}", "wrong")).status_code for n in range(5)]
        assert answers == [401] * 4 + [429]
        assert (await one.sign_in()).status_code == 429
        assert [t["action"] for t in await trace(r)][-1] == "address-locked"


async def test_ones_own_log_in_does_not_wipe_out_what_was_tried_with_others(tmp_path: Path) -> None:
    few = LOCK | {"lock_address_after": 6}
    async with gateway(tmp_path, accounts=few) as r, browser(r) as one:
        await add(r, "attacker", Role.LECTEUR)
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        answers = []
        for n in range(6):
            answers.append((await one.sign_in(f"victim{n}", "wrong")).status_code)
            one.http.cookies.clear()
            answers.append((await one.sign_in("attacker")).status_code)
            one.http.cookies.clear()
        assert answers[:10] == [401, 303] * 5 and answers[10:] == [401, 429]


async def test_another_address_is_believed_of_a_declared_proxy_alone(tmp_path: Path) -> None:
    few = LOCK | {"lock_address_after": 2}
    for proxies, expected in (((), 429), (("127.0.0.1",), 401)):
        directory = tmp_path / str(len(proxies))
        directory.mkdir()
        async with gateway(directory, accounts=few, trusted_proxies=proxies) as r:
            last = 0
            for n in range(4):
                async with browser(r, **{"X-Forwarded-For": f"192.0.2.{n}"}) as one:
                    last = (await one.sign_in(f"nobody{proxies}{n}", "wrong")).status_code
            assert last == expected


async def test_what_is_remembered_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "ROWS", 5)
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        for n in range(12):
            await one.sign_in(f"nobody{n}", "wrong")
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM sign_in_failure").fetchone()[0] <= 5


async def test_a_clock_that_was_set_back_shuts_nobody_out(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        await one.sign_in(password="wrong")
        with harness.raw(tmp_path) as db:
            db.execute(
                "UPDATE account SET failures = 9, failed_at = failed_at + 86400, locked_until = failed_at + 89000"
            )
        assert (await one.sign_in()).status_code == 303


async def test_a_wrong_old_password_counts_as_a_failure(tmp_path: Path) -> None:
    """A session left open is no way to try passwords."""
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        await one.sign_in()
        fields = {"password": "figuier-lanterne-55-nuage", "again": "figuier-lanterne-55-nuage"}
        got = [
            (await one.post("/compte/mot-de-passe", of="/compte", old="wrong", **fields)).status_code
            for _ in range(4)
        ]
        assert got == [401, 401, 401, 429]
        await r.gateway.desk.people.act(ADMIN, "unlock", Actor("essai"))
        changed = await one.post("/compte/mot-de-passe", of="/compte", old=PASSWORD, **fields)
        assert changed.status_code == 303


@pytest.mark.parametrize("change", ["password", "disable"])
async def test_who_is_looked_at_while_the_account_changes_does_not_come_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """A password that became known is changed: a try with the old one that began before must open no session."""
    async with gateway(tmp_path) as r:
        await add(r, "alex", Role.ADMINISTRATEUR)
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        desk = r.gateway.desk
        looking = desk.sign_in._passwords
        verify = looking.verify

        async def slowly(kept: str | None, password: str) -> tuple[bool, str | None]:
            found = await verify(kept, password)
            if change == "disable":
                await desk.people.act(ADMIN, "disable", Actor("essai"))
            else:
                link = await desk.people.reset(ADMIN, Actor("essai"))
                await desk.people.accept(link.secret, "", "", OTHER, "127.0.0.1", "essai")
            return found

        monkeypatch.setattr(looking, "verify", slowly)
        with pytest.raises(sign_in.Refused):
            await desk.sign_in.enter(ADMIN, PASSWORD, "192.0.2.1", "essai")
        with harness.raw(tmp_path) as db:
            opened = db.execute("SELECT count(*) FROM web_session WHERE peer = '192.0.2.1'").fetchone()
            assert opened == (0,)


@pytest.mark.sqlite
async def test_who_is_asked_to_come_again_has_not_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody who floods the log-in would lock the others out."""
    async with gateway(tmp_path, accounts=LOCK) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        with monkeypatch.context() as full:
            full.setattr(passwords, "MAX_WAITING", 0)
            for _ in range(5):
                answer = await one.sign_in()
                assert answer.status_code == 503 and "réessayez dans un instant" in answer.text
        assert (await one.sign_in()).status_code == 303


def test_an_ipv6_network_is_one_address() -> None:
    """Whoever has one address of a /64 has 2^64 of them."""
    one, same, other = (
        sign_in.of_peer(a) for a in ("2001:db8:1:2::7", "2001:DB8:1:2:ffff::1", "2001:db8:1:3::7")
    )
    assert one == same != other
    assert sign_in.of_peer("192.0.2.1") == "peer 192.0.2.1" != sign_in.of_peer("192.0.2.2")
    assert sign_in.of_peer("::ffff:192.0.2.1") != sign_in.of_peer("::ffff:192.0.2.2")
    assert sign_in.of_peer("pas une adresse") == "peer pas une adresse"
