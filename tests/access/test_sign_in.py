"""Log-in, sessions, log-out, the first administrator: what opens, and what does not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gateway.accounts.sign_in import WRONG
from gateway.rights import Role
from tests.access.people import ADMIN, OTHER, PASSWORD, actions, add, browser, first, gateway, trace
from tests.exchange import harness


async def test_the_first_administrator_comes_in_by_a_link_that_works_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as two:
        link = await r.gateway.first_access()
        assert link is not None and "/premier-acces#" in link and "?" not in link
        page = await one.post("/premier-acces", code=link)
        assert page.status_code == 200 and "premier administrateur" in page.text
        answer = await one.accept(link, login="Dominique ", name="Dominique Essai")
        assert (answer.status_code, answer.headers["location"]) == (303, "/comptes")
        assert (await one.get("/")).status_code == 200
        again = await two.accept(link, login="autre")
        assert again.status_code == 403 and "n’est pas valable" in again.text
        assert await r.gateway.first_access() is None
        assert await actions(r) == ["first-link", "link-used", "login"]


async def test_a_link_of_an_earlier_start_is_worth_nothing_on_one_node(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        old, new = await r.gateway.first_access(), await r.gateway.first_access()
        assert old and new
        expected = (200, 200) if r.gateway.journal.shared else (403, 200)
        got = [(await one.post("/premier-acces", code=link)).status_code for link in (old, new)]
        assert tuple(got) == expected


async def test_only_one_first_administrator_even_of_two_at_once(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as two:
        link = await r.gateway.first_access()
        assert link is not None
        answers = await asyncio.gather(one.accept(link, login="one"), two.accept(link, login="two"))
        assert sorted(a.status_code for a in answers) == [303, 403]
        assert len(await r.gateway.desk.people.everybody()) == 1


async def test_a_link_that_is_too_old_opens_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        link = await r.gateway.first_access()
        with harness.raw(tmp_path) as db:
            db.execute("UPDATE invitation SET expires_at = expires_at - 90000")
        assert (await one.post("/premier-acces", code=str(link))).status_code == 403


async def test_a_page_asks_for_a_log_in_and_is_there_afterwards(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        sent = await one.get("/tolerances?days=7")
        assert (sent.status_code, sent.headers["location"]) == (
            303,
            "/connexion?suite=%2Ftolerances%3Fdays%3D7",
        )
        form = await one.get(sent.headers["location"])
        assert 'value="/tolerances?days=7"' in form.text
        answer = await one.sign_in(suite="/tolerances?days=7")
        assert (answer.status_code, answer.headers["location"]) == (303, "/tolerances?days=7")
        page = await one.get("/tolerances?days=7")
        assert page.status_code == 200 and "Se déconnecter" in page.text and "Comptes et accès" in page.text


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://x.fr/",
        "//x.fr",
        "/\\x.fr",
        "\\\\x.fr",
        "javascript:alert(1)",
        "/\t/x.fr",
        "x",
        "/connexion",
        "/a\r\nX: y",
    ],
)
@pytest.mark.sqlite
async def test_a_log_in_leads_to_no_other_site(tmp_path: Path, elsewhere: str) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        assert 'name="suite" value=""' in (await one.get("/connexion", params={"suite": elsewhere})).text
        answer = await one.sign_in(suite=elsewhere)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_a_wrong_password_and_an_unknown_login_are_told_the_same(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        await add(r, "disabled", Role.LECTEUR)
        await r.gateway.desk.people.act("disabled", "disable", _who())
        answers = [
            await one.sign_in(login, password)
            for login, password in ((ADMIN, "x"), ("nobody", PASSWORD), ("disabled", PASSWORD), (ADMIN, ""))
        ]
        assert {a.status_code for a in answers} == {401}
        assert all(WRONG in a.text for a in answers)
        bodies = {
            a.text.replace(login, "").split("<form", 1)[0]
            for a, login in zip(answers, (ADMIN, "nobody", "disabled", ADMIN), strict=True)
        }
        assert len(bodies) == 1
        assert one.cookie == ""
        told = [(t["action"], t["subject"]) for t in await trace(r) if t["action"] == "login-failed"]
        assert told == [("login-failed", w) for w in (ADMIN, "", "disabled", ADMIN)]
        assert "nobody" not in json.dumps(await trace(r)), "it may be a password in the wrong field"


async def test_the_session_is_new_at_log_in_and_the_old_one_ends(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as thief:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        fixed = "f" * 43
        one.http.cookies.set("segur_session", fixed, domain="127.0.0.1")
        await one.sign_in()
        made = {c.value for c in one.http.cookies.jar if c.name == "segur_session"} - {fixed}
        thief.http.cookies.set("segur_session", fixed)
        assert (await thief.get("/")).status_code == 303, "a value that the browser brought is no session"
        assert made
        # a second log-in of the same browser ends its first session
        (first_one,) = made
        again = await _again(one, first_one)
        thief.http.cookies.clear()
        thief.http.cookies.set("segur_session", first_one)
        assert again != first_one and (await thief.get("/")).status_code == 303


async def _again(one: object, had: str) -> str:
    from tests.access.people import Browser

    assert isinstance(one, Browser)
    one.http.cookies.delete("segur_session")
    csrf = await one.csrf("/connexion")
    one.http.cookies.set("segur_session", had)
    answer = await one.post("/connexion", csrf=csrf, login=ADMIN, password=PASSWORD)
    assert answer.status_code == 303
    value = answer.cookies.get("segur_session")
    assert value
    return str(value)


async def test_log_out_ends_the_session_on_the_server(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as copy:
        await first(r, one)
        copy.http.cookies.set("segur_session", one.cookie)
        assert (await copy.get("/")).status_code == 200
        answer = await one.post("/deconnexion", of="/")
        assert answer.status_code == 303 and one.cookie == ""
        assert (await copy.get("/")).status_code == 303
        assert (await actions(r))[-1] == "logout"


async def test_a_session_ends_when_it_is_not_used_and_after_its_longest_life(tmp_path: Path) -> None:
    async with (
        gateway(tmp_path, accounts={"session_idle": 600, "session_longest": 3600}) as r,
        browser(r) as one,
    ):
        await first(r, one)
        for column, seconds in (("seen_at", 700), ("expires_at", 3700)):
            assert (await one.get("/")).status_code == 200
            with harness.raw(tmp_path) as db:
                db.execute(f"UPDATE web_session SET {column} = {column} - {seconds}")
            assert (await one.get("/")).status_code == 303
            await one.sign_in()


async def test_use_keeps_a_session_alive(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts={"session_idle": 600}) as r, browser(r) as one:
        await first(r, one)
        for _ in range(3):
            with harness.raw(tmp_path) as db:
                db.execute("UPDATE web_session SET seen_at = seen_at - 400")
            assert (await one.get("/")).status_code == 200


async def test_sessions_are_in_the_journal_and_a_restart_ends_none(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await first(r, one)
        cookie = one.cookie
    with harness.raw(tmp_path) as db:
        kept = str(db.execute("SELECT * FROM web_session").fetchall()) + str(
            db.execute("SELECT * FROM account").fetchall()
        )
    assert cookie not in kept and PASSWORD not in kept and "$argon2id$" in kept
    async with gateway(tmp_path) as r, browser(r) as two:
        two.http.cookies.set("segur_session", cookie)
        assert (await two.get("/")).status_code == 200


async def test_passwords_that_are_short_or_guessed_are_refused(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        link = str(await r.gateway.first_access())
        for password in (
            "court",
            "motdepasse123",
            "azertyuiop12",
            "dominique2026",
            "segur-passerelle",
            "x" * 300,
        ):
            answer = await one.accept(link, password, login=ADMIN)
            assert answer.status_code == 422, password
            assert password not in answer.text
        differ = await one.post("/premier-acces", code=link, login=ADMIN, password=PASSWORD, again=OTHER)
        assert differ.status_code == 422 and "pas les mêmes" in differ.text
        assert (await one.accept(link, "d'où vient ce très long été", login=ADMIN)).status_code == 303


async def test_a_form_from_elsewhere_or_of_another_browser_lets_nobody_in(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as other:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        csrf = await other.csrf("/connexion")
        fields = {"login": ADMIN, "password": PASSWORD}
        assert (await one.http.post("/connexion", data=fields)).status_code == 403
        assert (await one.post("/connexion", csrf=csrf, **fields)).status_code == 403
        for headers in ({"Origin": "https://x.fr"}, {"Origin": "null"}):
            own = await one.csrf("/connexion")
            sent = await one.http.post("/connexion", data={"csrf": own} | fields, headers=headers)
            assert sent.status_code == 403
        assert one.cookie == "" and (await one.sign_in()).status_code == 303


def _who():  # type: ignore[no-untyped-def]
    from gateway.accounts.trace import Actor

    return Actor("essai")
