"""What changes something is believed from our own pages alone: CSRF tokens, `Origin`, cookies, headers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.rights import Role
from tests.access.people import ADMIN, OTHER, PASSWORD, Browser, add, browser, first, gateway, trace
from tests.exchange import harness
from tests.exchange.harness import Running

FORMS: dict[str, dict[str, str]] = {
    "/deconnexion": {},
    "/compte/mot-de-passe": {"old": PASSWORD, "password": OTHER, "again": OTHER},
    "/compte/sessions": {},
    "/comptes": {"login": "nouveau", "role": "administrateur"},
    "/comptes/camille/role": {"role": "administrateur"},
    "/comptes/camille/subject": {"subject": "x"},
    "/comptes/camille/disable": {},
    "/comptes/camille/enable": {},
    "/comptes/camille/unlock": {},
    "/comptes/camille/reset": {},
    "/jetons": {"name": "essai", "scope": "administer", "days": "30"},
    "/jetons/1/revocation": {},
    "/indicateurs/recalculer": {"etablissement": "750000001", "mois": "2025-02"},
}


def kept(directory: Path) -> str:
    """All that a form could change."""
    with harness.raw(directory) as db:
        tables = ("account", "invitation", "api_token", "web_session")
        columns = {
            "account": "login, role, password, subject, disabled, failures",
            "web_session": "sha256, account_id",
        }
        return str(
            [db.execute(f"SELECT {columns.get(t, '*')} FROM {t} ORDER BY 1").fetchall() for t in tables]
        )


async def test_every_posted_form_of_the_pages_is_in_this_table(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r:
        posted = {path for path, method in routes(r) if method == "POST" and not path.startswith("/api/")}
    own = {"/connexion", "/premier-acces", "/valider"}  # of nobody in particular
    named = {p.replace("/camille/", "/{login}/").replace("/1/", "/{token_id}/") for p in FORMS}
    deeds = {p for p in named if p.startswith("/comptes/{login}/")}
    assert posted == (named - deeds) | own | {"/comptes/{login}/{deed}"}


def all_routes(r: Running) -> list[Any]:
    """All routes of the application, those of its routers too."""
    app: Any = r.gateway._web._server.config.app  # type: ignore[union-attr]

    def walk(listed: Any) -> Iterator[Any]:
        for route in listed:
            if (inside := getattr(route, "original_router", None)) is not None:
                yield from walk(inside.routes)
            else:
                yield route

    return list(walk(app.routes))


def routes(r: Running) -> list[tuple[str, str]]:
    """(path, method) of all that the gateway answers."""
    found = [
        (route.path, m)
        for route in all_routes(r)
        for m in getattr(route, "methods", None) or ()
        if m != "HEAD"
    ]
    assert len(found) > 40
    return found


async def test_a_form_without_the_token_of_its_own_session_changes_nothing(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one, browser(r) as other, browser(r) as nobody:
        await first(r, one)
        await add(r, "camille", Role.ADMINISTRATEUR)
        await r.gateway.desk.tokens.create("garde", ["operate"], None, _who())
        await other.sign_in("camille")
        strangers = await other.csrf("/compte")
        own = await one.csrf("/compte")
        before = kept(tmp_path)
        for path, fields in FORMS.items():
            for csrf in (None, "", own[:-1] + ("0" if own[-1] != "0" else "1"), strangers):
                data = {"x": "1"} | fields | ({} if csrf is None else {"csrf": csrf})
                answer = await one.http.post(path, data=data)
                assert answer.status_code == 403 and "n’est plus valable" in answer.text, path
            for origin in ("https://x.fr", "null", f"{one.base}.x.fr"):
                answer = await one.http.post(path, data=fields | {"csrf": own}, headers={"Origin": origin})
                assert answer.status_code == 403, path
            headers = {"Origin": "", "Sec-Fetch-Site": "cross-site"}
            assert (await _without_origin(one, path, fields | {"csrf": own}, headers)).status_code == 403
            assert (await nobody.http.post(path, data=fields | {"csrf": own})).status_code == 303
            if path != "/deconnexion":
                as_json = await one.http.post(path, json=fields | {"csrf": own})
                assert as_json.status_code == 415
        assert kept(tmp_path) == before
        assert {"csrf-refused", "origin-refused"} <= {t["action"] for t in await trace(r)}


async def _without_origin(
    one: Browser, path: str, data: dict[str, str], headers: dict[str, str]
) -> httpx.Response:
    async with httpx.AsyncClient(base_url=one.base, cookies=one.http.cookies, timeout=60) as http:
        return await http.post(path, data=data, headers={k: v for k, v in headers.items() if v})


def _who() -> Any:
    from gateway.accounts.trace import Actor

    return Actor("essai")


@pytest.mark.sqlite
async def test_a_form_is_bounded(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        csrf = await one.csrf("/connexion")
        answer = await one.http.post("/connexion", data={"csrf": csrf, "login": "x" * 70_000})
        assert answer.status_code == 413

        async def pieces() -> Any:
            yield b"csrf=" + csrf.encode()

        # nor by a page whose fields are read before anybody is asked who they are
        answer = await one.http.post("/indicateurs/recalculer", data={"mois": "x" * 70_000})
        assert answer.status_code == 413
        assert answer.headers["x-content-type-options"] == "nosniff"
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await one.http.post("/connexion", content=pieces(), headers=kind)).status_code == 411


@pytest.mark.sqlite
async def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        form = await one.get("/connexion")
        assert form.headers["set-cookie"].startswith("segur_form=")
        assert form.headers["set-cookie"].endswith("; HttpOnly; Path=/; SameSite=strict")
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        answer = await one.sign_in()
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("segur_session=") and cookie.endswith("; HttpOnly; Path=/; SameSite=lax")
        assert "Secure" not in cookie and "Domain" not in cookie and "Max-Age" not in cookie
        assert "strict-transport-security" not in answer.headers


@pytest.mark.sqlite
async def test_behind_tls_cookies_are_secure_and_the_site_is_tls_alone(tmp_path: Path) -> None:
    public = "https://passerelle.hopital.test"
    async with gateway(tmp_path, public_url=public) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        link = await r.gateway.desk.people.reset(ADMIN, _who())
        assert f"{public}/premier-acces#" in r.gateway.administration()._link(link)["link"]
        # as the proxy sends it on: another host, the browser's origin, cookies that came over TLS
        form = await one.get("/connexion")
        assert form.headers["strict-transport-security"].startswith("max-age=")
        name, _, value = form.headers["set-cookie"].partition(";")[0].partition("=")
        assert name == "__Host-segur_form"
        csrf = form.text.partition('name="csrf" value="')[2].partition('"')[0]
        one.http.cookies.clear()
        headers = {"Origin": public, "Cookie": f"{name}={value}"}
        data = {"csrf": csrf, "login": ADMIN, "password": PASSWORD}
        answer = await one.http.post("/connexion", data=data, headers=headers)
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith("__Host-segur_session=") and "; Path=/; SameSite=lax; Secure" in cookie
        plain = {"Cookie": cookie.partition(";")[0].removeprefix("__Host-")}
        one.http.cookies.clear()
        assert (await one.http.get("/compte", headers=plain)).status_code == 303, "a neighbour could set it"


@pytest.mark.sqlite
async def test_pages_are_not_kept_not_framed_and_load_nothing(tmp_path: Path) -> None:
    import re

    async with gateway(tmp_path) as r, browser(r) as one:
        await first(r, one)
        for path in ("/compte", "/comptes", "/jetons", "/trace"):
            answer = await one.get(path)
            assert answer.status_code == 200, path
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["cross-origin-opener-policy"] == "same-origin"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert "camera=()" in answer.headers["permissions-policy"]
            assert not re.search(r"<script(?! src=\"/static/)|\son\w+=|style=|javascript:", answer.text)
            assert not re.search(r"""(?:src|href|action)=["'](?!/|#)""", answer.text)
            for control in re.findall(r"<(?:input|select)\b[^>]*>", answer.text):
                if 'type="hidden"' in control or 'type="checkbox"' in control:
                    continue
                name = re.search(r'id="([^"]+)"', control)
                labelled = "aria-label=" in control or (name and f'for="{name.group(1)}"' in answer.text)
                assert labelled, (path, control)
