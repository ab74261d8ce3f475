"""Every role, every token and nobody, on every route: who may, as a table."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.accounts.trace import Actor
from gateway.rights import RIGHTS, Right, Role
from tests.access.people import add, browser, gateway
from tests.access.test_forms import routes

L, E, A = Role.LECTEUR, Role.EXPLOITANT, Role.ADMINISTRATEUR
OPERATORS, ALL, ADMINS, READERS = {E, A}, {L, E, A}, {A}, {L, A}

PAGES = {
    "/": OPERATORS,
    "/erreurs": OPERATORS,
    "/boites": OPERATORS,
    "/tolerances": OPERATORS,
    "/valider": OPERATORS,
    "/compte": ALL,
    "/comptes": ADMINS,
    "/jetons": ADMINS,
    "/trace": ADMINS,
    "/trace.csv": ADMINS,
    "/indicateurs": ALL,
    "/indicateurs/revisions": ALL,
    "/indicateurs/telecharger": ALL,
    "/indicateurs/definitions": ALL,
    "/indicateurs/explication": READERS,
}
APIS = {
    "/api/v1/messages/M1": OPERATORS,
    "/api/v1/incidents": OPERATORS,
    "/api/v1/mailboxes": OPERATORS,
    "/api/v1/mails": OPERATORS,
    "/api/v1/mails/waiting": OPERATORS,
    "/api/v1/tolerances": OPERATORS,
    "/api/v1/deliveries": OPERATORS,
    "/api/v1/deliveries/1": OPERATORS,
    "/api/v1/retention": OPERATORS,
    "/api/v1/accounts": ADMINS,
    "/api/v1/tokens": ADMINS,
    "/api/v1/audit": ADMINS,
    "/api/v1/indicators": ALL,
    "/api/v1/indicators/revisions": ALL,
    "/api/v1/indicators/differences": ALL,
    "/api/v1/indicators/trend": ALL,
    "/api/v1/indicators/catalogue": ALL,
    "/api/v1/indicators/wave1": ALL,
    "/api/v1/indicators/explain": READERS,
}
CALLS = {
    "/api/v1/validate": OPERATORS,
    "/api/v1/deliveries/1/hold": OPERATORS,
    "/api/v1/deliveries/hold": OPERATORS,
    "/api/v1/mails/1/seen": OPERATORS,
    "/api/v1/accounts": ADMINS,
    "/api/v1/accounts/first": ADMINS,
    "/api/v1/accounts/camille/disable": ADMINS,
    "/api/v1/tokens": ADMINS,
    "/api/v1/tokens/1/revoke": ADMINS,
    "/api/v1/indicators/publish": OPERATORS,
    "/api/v1/facts": OPERATORS,
    "/api/v1/events": OPERATORS,
    "/api/v1/events/users": OPERATORS,
}
OPEN = {"/healthz", "/readyz", "/metrics", "/connexion", "/premier-acces", "/openapi.json"}
SCOPES = {
    "operate": {
        "/api/v1/validate", "/api/v1/indicators/publish",
        *(p for p, roles in APIS.items() if roles is OPERATORS),
    },
    "deliveries": {
        "/api/v1/deliveries", "/api/v1/deliveries/1", "/api/v1/retention",
        "/api/v1/deliveries/1/hold", "/api/v1/deliveries/hold",
    },
    "mails": {"/api/v1/mails", "/api/v1/mails/waiting", "/api/v1/mailboxes", "/api/v1/mails/1/seen"},
    "administer": {p for p, roles in (APIS | CALLS).items() if roles is ADMINS},
    "indicators": {p for p, roles in APIS.items() if roles is ALL},
    "explain": {"/api/v1/indicators/explain"},
    "facts": {"/api/v1/facts"},
    "events": {"/api/v1/events", "/api/v1/events/users"},
}  # fmt: skip


def _template(path: str) -> str:
    for here, there in (
        ("/messages/M1", "/messages/{control_id}"),
        ("/deliveries/1/hold", "/deliveries/{delivery_id}/{deed}"),
        ("/deliveries/hold", "/deliveries/{deed}"),
        ("/deliveries/1", "/deliveries/{delivery_id}"),
        ("/mails/1/seen", "/mails/{mail_id}/{deed}"),
        ("/accounts/camille/disable", "/accounts/{login}/{deed}"),
        ("/tokens/1/revoke", "/tokens/{token_id}/revoke"),
    ):
        path = path.replace(here, there)
    return path


@pytest.mark.sqlite
async def test_every_route_is_in_these_tables(tmp_path: Path) -> None:
    """What is added to the web must say who may see it."""
    async with gateway(tmp_path) as r:
        found = routes(r)
    got = {p for p, m in found if m == "GET"}
    assert got == {_template(p) for p in (*PAGES, *APIS)} | OPEN
    called = {p for p, m in found if m == "POST" and p.startswith("/api/")}
    assert called == {_template(p) for p in CALLS}


@pytest.mark.sqlite
async def test_nobody_sees_a_page_or_calls_an_api(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        for path in PAGES:
            answer = await one.get(path)
            assert answer.status_code == 303 and answer.headers["location"].startswith("/connexion"), path
        assert (await one.http.post("/valider")).status_code == 303
        for path in APIS:
            answer = await one.get(path)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "TOKEN"), path
        for path in CALLS:
            assert (await one.http.post(path, json={"reason": "x"})).status_code == 401, path
        for path in OPEN:
            assert (await one.get(path)).status_code == 200, path


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_sees_what_is_its_own_and_no_more(tmp_path: Path, role: Role) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await add(r, "camille", Role.LECTEUR)
        await add(r, "alex", role)
        assert (await one.sign_in("alex")).status_code == 303
        for path, roles in PAGES.items():
            answer = await one.get(path)
            assert answer.status_code == (200 if role in roles else 403), path
            if role not in roles:
                assert "n’a pas le droit" in answer.text and "Se déconnecter" in answer.text
        for path, roles in APIS.items():
            status = (await one.get(path)).status_code
            assert (status not in (303, 401, 403)) if role in roles else (status == 403), path
        csrf = {"X-CSRF-Token": await one.csrf("/compte")}
        for path, roles in CALLS.items():
            bare = await one.http.post(path, json={"reason": "x"})
            assert bare.status_code == 403, path
            answer = await one.http.post(path, json={"reason": "x"}, headers=csrf)
            code = answer.json().get("error", {}).get("code")
            assert (answer.status_code != 403) if role in roles else (code == "RIGHT"), (path, answer.text)
            cross = await one.http.post(path, json={"reason": "x"}, headers=csrf | {"Origin": "https://x.fr"})
            assert cross.status_code == 403
        refused = [t for t in await r.gateway.desk.trace.rows() if t["action"] == "access-refused"]
        assert {t["actor"] for t in refused} == (set() if role is A else {"alex"})


@pytest.mark.parametrize("scope", sorted(SCOPES))
@pytest.mark.sqlite
async def test_a_token_has_its_scope_and_no_more(tmp_path: Path, scope: str) -> None:
    async with (
        gateway(tmp_path) as r,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{r.gateway.web_port}", timeout=60) as http,
    ):
        await r.gateway.desk.tokens.create("autre", [scope], 1, Actor("essai"))
        made = await r.gateway.desk.tokens.create("essai", [scope], 1, Actor("essai"))
        http.headers["Authorization"] = f"Bearer {made.secret}"
        for path in APIS:
            answer = await http.get(path)
            assert (answer.status_code != 403) == (path in SCOPES[scope]), path
        for path in CALLS:
            answer = await http.post(path, json={"reason": "x"})
            assert (answer.status_code != 403) == (path in SCOPES[scope]), path
        for path in PAGES:
            assert (await http.get(path)).status_code == 303, "a token opens no page"


def test_who_operates_sees_no_lists_of_stays_and_who_reads_operates_nothing() -> None:
    """SSI/GEN.16: business and technical rights are apart."""
    assert Right.EXPLAIN not in RIGHTS[E] and Right.OPERATE not in RIGHTS[L]
    assert RIGHTS[A] == set(Right) and set(RIGHTS) == set(Role)
    assert all(Right.ADMINISTER not in RIGHTS[role] for role in (L, E))


@pytest.mark.sqlite
async def test_on_loopback_pages_are_open_as_before_unless_a_proxy_stands_in_front(tmp_path: Path) -> None:
    for web, status in (
        ({"open_pages": "auto"}, 200),
        ({"open_pages": True}, 200),
        ({"open_pages": False}, 303),
        ({"open_pages": "auto", "public_url": "https://passerelle.hopital.test"}, 303),
        ({"open_pages": "auto", "host": "0.0.0.0"}, 303),
    ):
        directory = tmp_path / str(hash(str(web)))
        directory.mkdir()
        async with gateway(directory, **web) as r, browser(r) as one:
            page = await one.get("/")
            assert page.status_code == status, web
            assert ((await one.get("/api/v1/deliveries")).status_code == 200) == (status == 200)
            if status == 200:
                assert "Tolérances par émetteur" in page.text and "Se connecter" in page.text
            assert (await one.get("/comptes")).status_code == 303
            assert (await one.get("/api/v1/accounts")).status_code == 401


@pytest.mark.sqlite
async def test_without_accounts_there_is_no_log_in(tmp_path: Path) -> None:
    async with gateway(tmp_path, accounts={"enabled": False}) as r, browser(r) as one:
        assert await r.gateway.first_access() is None
        assert (await one.get("/connexion")).status_code == 404
        page = await one.get("/erreurs")
        assert page.status_code == 403 and "désactivés" in page.text
