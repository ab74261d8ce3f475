"""What administrators do: accounts, roles, links, tokens, the trace; and what a person does with their own account."""

from __future__ import annotations

import asyncio
import csv
import io
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.accounts.desk import open_desk
from gateway.accounts.people import NotDone
from gateway.accounts.trace import Actor
from gateway.exchange.identifiers import Clock
from gateway.rights import Role
from gateway.settings import WebSettings
from gateway.settings_web import AccountSettings, OidcSettings
from tests.access.people import (
    ADMIN,
    CHEAP,
    OTHER,
    PASSWORD,
    actions,
    add,
    browser,
    first,
    gateway,
    trace,
)
from tests.exchange import harness
from tests.exchange.harness import Running, submit
from tests.operations.test_by_hand import SLOW, TRANSIENT, command


def link_in(answer: httpx.Response) -> str:
    found = re.search(r"<code>(http\S+/premier-acces#[\w-]+)</code>", answer.text)
    assert found is not None, answer.text
    return found.group(1)


async def test_a_person_is_invited_chooses_a_password_and_has_the_role(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss, browser(r) as one:
        await first(r, boss)
        answer = await boss.post("/comptes", login="Camille.Martin", name="Camille Martin", role="lecteur")
        link = link_in(answer)
        assert link not in (await boss.get("/comptes")).text, "shown once"
        page = await one.post("/premier-acces", code=link)
        assert "camille.martin" in page.text and "premier administrateur" not in page.text
        accepted = await one.accept(link, OTHER, login="somebody-else")
        assert (accepted.status_code, accepted.headers["location"]) == (303, "/indicateurs")
        assert "Lecteur d’indicateurs" in (await one.get("/compte")).text
        assert [a["login"] for a in await r.gateway.desk.people.everybody()] == ["camille.martin", ADMIN]
        again = await boss.post("/comptes", login="camille.martin", role="lecteur")
        assert again.status_code == 409 and "déjà pris" in again.text
        for login in ("", "é", "a b", "x" * 65 + "!", "-x", "a/b", "<script>"):
            assert (await boss.post("/comptes", login=login, role="lecteur")).status_code == 422, login
        assert (await boss.post("/comptes", login="x", role="roi")).status_code == 422


async def test_a_new_link_replaces_the_one_before_and_a_password(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss, browser(r) as one, browser(r) as two:
        await first(r, boss)
        await add(r, "camille", Role.LECTEUR)
        await one.sign_in("camille")
        old = link_in(await boss.post("/comptes/camille/reset", of="/comptes"))
        new = link_in(await boss.post("/comptes/camille/reset", of="/comptes"))
        assert (await two.accept(old, OTHER)).status_code == 403
        assert (await one.get("/compte")).status_code == 200, "until the link is used nothing changes"
        assert (await two.accept(new, OTHER)).status_code == 303
        assert (await one.get("/compte")).status_code == 303, "sessions with the old password ended"
        assert (await one.sign_in("camille", PASSWORD)).status_code == 401
        assert (await one.sign_in("camille", OTHER)).status_code == 303


async def test_another_role_ends_the_sessions_and_counts_at_the_next_log_in(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss, browser(r) as one:
        await first(r, boss)
        await add(r, "camille", Role.LECTEUR)
        await one.sign_in("camille")
        assert (await one.get("/erreurs")).status_code == 403
        answer = await boss.post("/comptes/camille/role", of="/comptes", role="exploitant")
        assert answer.status_code == 303
        assert (await one.get("/compte")).status_code == 303
        await one.sign_in("camille")
        assert (await one.get("/erreurs")).status_code == 200
        (told,) = [t for t in await trace(r) if t["action"] == "role-changed"]
        assert (told["actor"], told["via"], told["subject"]) == (ADMIN, "session", "camille")
        assert told["details"] == {"before": "lecteur", "after": "exploitant"} and told["peer"] == "127.0.0.1"


async def test_a_disabled_account_is_out_at_once_links_included(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss, browser(r) as one:
        await first(r, boss)
        await add(r, "camille", Role.LECTEUR)
        await one.sign_in("camille")
        link = link_in(await boss.post("/comptes/camille/reset", of="/comptes"))
        assert (await boss.post("/comptes/camille/disable", of="/comptes")).status_code == 303
        assert (await one.get("/compte")).status_code == 303
        assert (await one.sign_in("camille")).status_code == 401
        assert (await one.accept(link, OTHER)).status_code == 403
        await boss.post("/comptes/camille/enable", of="/comptes")
        assert (await one.sign_in("camille")).status_code == 303
        assert (await boss.post("/comptes/nobody/disable", of="/comptes")).status_code == 404


async def test_the_last_administrator_remains(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss:
        await first(r, boss)
        for deed, fields in (("disable", {}), ("role", {"role": "lecteur"})):
            answer = await boss.post(f"/comptes/{ADMIN}/{deed}", of="/comptes", **fields)
            assert answer.status_code == 409 and "dernier administrateur" in answer.text
        await add(r, "second", Role.ADMINISTRATEUR)
        people = r.gateway.desk.people
        both = await asyncio.gather(
            people.act(ADMIN, "disable", Actor("a")),
            people.act("second", "disable", Actor("b")),
            return_exceptions=True,
        )
        assert sum(isinstance(x, Exception) for x in both) == 1, "not even when both go at once"


async def test_an_administrator_who_cannot_come_in_yet_does_not_count(tmp_path: Path) -> None:
    """Invited, the link not used (or lost): were the other one to go, nobody could administer any more."""
    async with gateway(tmp_path) as r, browser(r) as boss:
        await first(r, boss)
        people = r.gateway.desk.people
        link = await people.invite("second", "", Role.ADMINISTRATEUR, "899700000001", Actor("a"))
        for going in (
            people.act(ADMIN, "disable", Actor("a")),
            people.set_role(ADMIN, Role.LECTEUR, Actor("a")),
        ):
            with pytest.raises(NotDone) as refused:
                await going
            assert refused.value.code == "LAST", "nor by a provider that there is not"
        await people.accept(link.secret, "", "", PASSWORD, "127.0.0.1", "essai")
        await people.act(ADMIN, "disable", Actor("a"))


@pytest.mark.sqlite
async def test_the_last_administrator_keeps_the_way_in(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r:
        journal, clock = r.gateway.journal, Clock()
        web = WebSettings(
            accounts=AccountSettings(**CHEAP), oidc=OidcSettings(issuer="https://x.test", client_id="x")
        )
        people = open_desk(journal, web, clock).people
        await people.invite("seule", "", Role.ADMINISTRATEUR, "899700000001", Actor("a"))
        with pytest.raises(NotDone) as refused:
            await people.set_subject("seule", None, Actor("a"))
        assert refused.value.code == "LAST"
        await people.set_subject("seule", "899700000002", Actor("a"))
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        await people.set_subject("seule", None, Actor("a"))


async def test_a_link_that_two_use_at_once_gives_one_account_one_password(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r:
        people = r.gateway.desk.people
        printed = await people.first()
        assert printed is not None
        got = await asyncio.gather(
            *(people.accept(printed.secret, f"admin{n}", "", PASSWORD, "127.0.0.1", "x") for n in range(4)),
            return_exceptions=True,
        )
        assert sorted(isinstance(x, NotDone) for x in got) == [False, True, True, True]
        invited = await people.invite("camille", "", Role.LECTEUR, None, Actor("a"))
        got = await asyncio.gather(
            *(people.accept(invited.secret, "", "", p, "127.0.0.1", "x") for p in (PASSWORD, OTHER) * 2),
            return_exceptions=True,
        )
        assert sorted(isinstance(x, NotDone) for x in got) == [False, True, True, True]
        assert len(await people.everybody()) == 2


async def test_a_password_is_changed_and_all_other_sessions_end(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as other:
        await first(r, one)
        await other.sign_in()
        had = one.cookie
        change = {"of": "/compte", "password": OTHER}
        assert (await one.post("/compte/mot-de-passe", old="x", again=OTHER, **change)).status_code == 401
        assert (await one.post("/compte/mot-de-passe", old=PASSWORD, again="x", **change)).status_code == 422
        weak = {"of": "/compte", "password": "motdepasse123", "again": "motdepasse123"}
        assert (await one.post("/compte/mot-de-passe", old=PASSWORD, **weak)).status_code == 422
        done = await one.post("/compte/mot-de-passe", old=PASSWORD, again=OTHER, **change)
        assert (done.status_code, done.headers["location"]) == (303, "/compte?fait=mot-de-passe")
        assert one.cookie != had and (await one.get("/compte")).status_code == 200
        assert (await other.get("/compte")).status_code == 303
        assert "password-changed" in await actions(r)


async def test_a_person_sees_their_sessions_and_closes_the_others(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r, **{"User-Agent": "Autre <b>"}) as other:
        await first(r, one)
        await other.sign_in()
        page = (await one.get("/compte")).text
        assert "cette session" in page and "Autre &lt;b&gt;" in page
        assert (await one.post("/compte/sessions", of="/compte")).status_code == 303
        assert (await other.get("/compte")).status_code == 303
        assert (await one.get("/compte")).status_code == 200


async def test_an_account_has_so_many_sessions_and_no_more(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts={"sessions": 2}) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        cookies = []
        for _ in range(3):
            one.http.cookies.delete("segur_session") if one.cookie else None
            await one.sign_in()
            cookies.append(one.cookie)
        with harness.raw(tmp_path) as db:
            assert db.execute("SELECT count(*) FROM web_session").fetchone()[0] == 2
        assert (await one.get("/compte")).status_code == 200


# --- tokens -------------------------------------------------------------------------------------------------


async def call(r: Running, path: str, token: str, body: Any = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{r.gateway.web_port}", headers=headers, timeout=60
    ) as http:
        return await (http.get(path) if body is None else http.post(path, json=body))


async def test_a_token_is_shown_once_and_opens_until_it_is_revoked_or_too_old(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss:
        await first(r, boss)
        made = await boss.post("/jetons", name="supervision", scope=["operate"], days="30")
        token = re.search(r"<code>([\w-]{43})</code>", made.text)
        assert token is not None
        secret = token.group(1)
        page = (await boss.get("/jetons")).text
        assert secret not in page and "supervision" in page and "valable jusqu’au" in page
        with harness.raw(tmp_path) as db:
            assert secret not in str(db.execute("SELECT * FROM api_token").fetchall())
        assert (await call(r, "/api/v1/incidents", secret)).status_code == 200
        assert (await call(r, "/api/v1/incidents", secret[:-1] + "_")).status_code == 401
        (row,) = await r.gateway.desk.tokens.all()
        assert row["last_used_at"] is not None
        with harness.raw(tmp_path) as db:
            db.execute("UPDATE api_token SET expires_at = expires_at - 31 * 86400")
        assert (await call(r, "/api/v1/incidents", secret)).status_code == 401
        assert "périmé" in (await boss.get("/jetons")).text
        with harness.raw(tmp_path) as db:
            db.execute("UPDATE api_token SET expires_at = NULL")
        assert (await call(r, "/api/v1/incidents", secret)).status_code == 200
        assert (await boss.post("/jetons/1/revocation", of="/jetons")).status_code == 303
        assert (await call(r, "/api/v1/incidents", secret)).status_code == 401
        assert (await boss.post("/jetons/1/revocation", of="/jetons")).status_code == 404
        for fields in ({"name": ""}, {"name": "x", "scope": []}, {"name": "x", "days": "7"}):
            wrong = {"name": "x", "scope": ["operate"], "days": "30"} | fields
            assert (await boss.post("/jetons", **wrong)).status_code == 422
        assert {"token-created", "token-revoked", "token-unknown"} <= set(await actions(r))


@pytest.mark.sqlite
async def test_tokens_of_the_file_have_rights_too(tmp_path: Path) -> None:
    import hashlib

    digest = hashlib.sha256(b"a" * 40).hexdigest()
    row = f'[[token]]\nname = "supervision"\nsha256 = "{digest}"\nscopes = ["operate", "events"]\n'
    (tmp_path / "tokens.toml").write_text(row)
    async with gateway(tmp_path, tokens="tokens.toml") as r:
        assert (await call(r, "/api/v1/incidents", "a" * 40)).status_code == 200
        assert (await call(r, "/api/v1/accounts", "a" * 40)).status_code == 403


# --- deeds by hand with a session ---------------------------------------------------------------------------


async def test_an_operator_acts_on_deliveries_with_a_session_and_it_is_told(tmp_path: Path) -> None:
    from tests.access.people import CHEAP, CLOSED

    web = {"enabled": True, "port": 0} | CLOSED | {"accounts": CHEAP}
    async with harness.running(tmp_path, web=web, engine=SLOW) as r, browser(r) as one:
        r.dmp.outcomes = [TRANSIENT]
        await add(r, "alex", Role.EXPLOITANT)
        await one.sign_in("alex")
        await r.send(submit("M1", recipients=()))
        await r.until(lambda: len(r.dmp.jobs) == 1, 30)
        async with asyncio.timeout(30):
            while (found := (await one.get("/api/v1/deliveries")).json()["deliveries"])[0]["outcome"] is None:
                await asyncio.sleep(0.02)
        path = f"/api/v1/deliveries/{found[0]['id']}/hold"
        csrf = await one.csrf("/compte")
        assert (await one.http.post(path, json={"reason": "essai"})).status_code == 403
        done = await one.http.post(path, json={"reason": "essai"}, headers={"X-CSRF-Token": csrf})
        assert done.status_code == 200, done.text
        (told,) = [t for t in await trace(r) if t["action"] == "delivery-hold"]
        assert (told["actor"], told["subject"]) == ("alex", str(found[0]["id"]))


# --- the trace ----------------------------------------------------------------------------------------------


async def test_the_trace_is_filtered_paged_and_downloaded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as boss, browser(r) as one:
        await first(r, boss)
        await one.sign_in("nobody", "wrong")
        for n in range(120):
            await r.gateway.desk.trace.add(
                Actor("essai", "token", "192.0.2.1"), "figures-published", f"2026-{n}"
            )
        page = (await boss.get("/trace")).text
        assert "2026-119" in page and "2026-0<" not in page and "Lignes plus anciennes" in page
        older = re.search(r'href="(/trace\?avant=\d+)"', page)
        assert older is not None
        second = (await boss.get(older.group(1))).text
        assert "2026-0<" in second and "échec de connexion" in second and "2026-119" not in second
        only = (await boss.get("/trace", params={"acteur": ADMIN})).text
        assert "connexion" in only and "2026-1" not in only
        failed = (await boss.get("/trace", params={"action": "login-failed"})).text
        assert failed.count("<tr><td") == 1
        assert "Rien." in (await boss.get("/trace", params={"au": "2020-01-01"})).text
        assert "2026-119" in (await boss.get("/trace", params={"du": "2020-01-01"})).text
        assert (await boss.get("/trace", params={"du": "hier"})).status_code == 422
        answer = await boss.get("/trace.csv", params={"acteur": "essai"})
        assert answer.headers["content-disposition"] == 'attachment; filename="trace.csv"'
        rows = list(csv.reader(io.StringIO(answer.text.lstrip("\ufeff")), delimiter=";"))
        assert len(rows) == 121 and rows[1][2:6] == ["essai", "token", "figures-published", "2026-119"]


async def test_secrets_are_in_no_trace_and_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with gateway(tmp_path) as r, browser(r) as boss, browser(r) as one:
        await first(r, boss)
        link = link_in(await boss.post("/comptes", login="camille", role="lecteur"))
        await one.accept(link, OTHER)
        made = await r.gateway.desk.tokens.create("essai", ["operate"], 1, Actor("essai"))
        await call(r, "/api/v1/incidents", made.secret)
        await one.post("/deconnexion", of="/compte")
        await one.sign_in(ADMIN, "mistyped-password-9")
        # what httpx itself logs at DEBUG is the browser of this test
        logged = [m.getMessage() for m in caplog.records if not m.name.startswith("httpcore")]
        assert logged
        text = str(await trace(r)) + "\n".join(logged)
        for secret in (
            PASSWORD,
            OTHER,
            link.partition("#")[2],
            made.secret,
            boss.cookie,
            "mistyped-password-9",
        ):
            assert secret and secret not in text
        assert made.secret not in repr(made) and OTHER not in repr(await r.gateway.desk.people.everybody())


async def test_what_is_refused_again_and_again_is_told_once_a_minute(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await add(r, "camille", Role.LECTEUR)
        await one.sign_in("camille")
        for _ in range(5):
            assert (await one.get("/comptes")).status_code == 403
            assert (await call(r, "/api/v1/accounts", "x" * 43)).status_code == 401
        told = [(t["action"], t["actor"], t["subject"]) for t in await trace(r) if "-refused" in t["action"]]
        assert told == [("access-refused", "camille", "/comptes")]
        assert (await actions(r)).count("token-unknown") == 1


# --- the command line ---------------------------------------------------------------------------------------


def config(directory: Path) -> str:
    path = directory / "gateway.toml"
    path.write_text('[journal]\npath = "journal.sqlite"\n[web]\nport = 0\n')
    return str(path)


@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("web", "base"),
    [
        ("port = 8081", "http://127.0.0.1:8081"),
        ('port = 0\npublic_url = "https://passerelle.test"', "https://passerelle.test"),
    ],
)
async def test_a_link_of_the_command_has_the_address_that_the_settings_tell(
    tmp_path: Path, web: str, base: str
) -> None:
    (tmp_path / "gateway.toml").write_text(f'[journal]\npath = "journal.sqlite"\n[web]\n{web}\n')
    status, text = await command("accounts", "invite", "--config", str(tmp_path / "gateway.toml"))
    assert status == 0 and text.split()[-1].startswith(f"{base}/premier-acces#") and "port" not in text


@pytest.mark.sqlite
async def test_the_command_administers_a_running_gateway(tmp_path: Path) -> None:
    where = ("--config", config(tmp_path))
    async with gateway(tmp_path) as r, browser(r) as one:
        status, text = await command("accounts", "invite", *where)
        assert status == 0 and "/premier-acces#" in text
        assert (await one.accept(text.split()[-1], login=ADMIN)).status_code == 303
        assert (await command("accounts", "invite", *where))[0] == 1
        status, text = await command("accounts", "invite", "camille", "--role", "exploitant", *where)
        assert status == 0
        assert (await one.accept(text.split()[-1], OTHER)).status_code == 303
        for deed in ("disable", "enable", "unlock", "reset"):
            assert (await command("accounts", deed, "camille", *where))[0] == 0, deed
        assert (await command("accounts", "role", "camille", "lecteur", *where))[0] == 0
        assert (await command("accounts", "subject", "camille", "899700000001", *where))[0] == 0
        status, text = await command("accounts", "disable", ADMIN, *where)
        assert status == 1 and "dernier administrateur" in text
        status, text = await command("accounts", "list", *where)
        assert status == 0 and re.search(r"camille\s+lecteur\s+actif", text) and ADMIN in text
        status, text = await command("tokens", "create", "supervision", "--scope", "operate", *where)
        assert status == 0
        assert (await call(r, "/api/v1/incidents", text.split()[-1])).status_code == 200
        status, text = await command("tokens", "list", *where)
        assert status == 0 and "supervision" in text and "valable" in text
        assert (await command("tokens", "revoke", "1", *where))[0] == 0
        assert (await command("tokens", "revoke", "1", *where))[0] == 1
        told = [t for t in await trace(r) if t["via"] == "command"]
        assert {t["action"] for t in told} >= {
            "account-created",
            "role-changed",
            "token-created",
            "token-revoked",
        }
        assert all(t["actor"].startswith("ligne de commande") for t in told)


async def test_the_command_works_in_the_journal_when_no_gateway_runs(tmp_path: Path) -> None:
    from connectors.simulator_port import toml_value

    table = harness.JOURNAL or {"path": "journal.sqlite"}
    lines = ["[web]", "port = 0", "[journal]", *(f"{k} = {toml_value(v)}" for k, v in table.items())]
    (tmp_path / "gateway.toml").write_text("\n".join(lines))
    where = ("--config", str(tmp_path / "gateway.toml"))
    status, text = await command("accounts", "list", *where)
    assert (status, text) == (0, "Aucun compte.\n")
    status, text = await command("accounts", "invite", ADMIN, "--role", "administrateur", *where)
    assert status == 0
    # nobody knows a port that is chosen at each start
    link = text.split()[-1]
    assert link.startswith("/premier-acces#") and "choisit son port" in text and "http" not in text
    async with gateway(tmp_path) as r, browser(r) as one:
        assert await r.gateway.first_access() is None
        assert (await one.accept(f"{one.base}{link}")).status_code == 303
        (told,) = [t for t in await trace(r) if t["action"] == "account-created"]
        assert told["via"] == "command"
    assert (await command("accounts", "disable", ADMIN, *where))[0] == 1
    assert (await command("accounts", "unlock", ADMIN, *where))[0] == 0
    for number in (7, 2**31, 2**64):
        assert (await command("tokens", "revoke", str(number), *where))[0] == 1
