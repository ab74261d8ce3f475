"""Log-in by an OpenID Connect provider: who is let in, and every way of not being."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwk

from gateway.accounts.trace import Actor
from gateway.errors import ConfigurationFault
from gateway.rights import Role
from tests.access.people import ADMIN, Browser, actions, add, browser, gateway, trace
from tests.access.provider import CLIENT, RPPS, provider, table
from tests.exchange.harness import Running

pytestmark = pytest.mark.sqlite
"""What is kept of it (states, subjects) is tested on both databases by `test_a_log_in_by_the_provider`."""


async def by_provider(person: Browser, suite: str = "/erreurs") -> httpx.Response:
    """From the button to the answer of the gateway."""
    sent = await person.get("/connexion/externe", params={"suite": suite})
    assert sent.status_code == 303, sent.text
    async with httpx.AsyncClient(timeout=60) as http:
        back = (await http.get(sent.headers["location"])).headers["location"]
    return await person.get(back)


async def known(r: Running, subject: str = RPPS, role: Role = Role.EXPLOITANT) -> None:
    await r.gateway.desk.people.invite("camille", "Camille Essai", role, subject, Actor("essai"))


async def test_who_has_an_account_comes_in_with_its_role(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        assert "Se connecter avec Pro Santé Connect" in (await one.get("/connexion")).text
        answer = await by_provider(one)
        assert (answer.status_code, answer.headers["location"]) == (303, "/erreurs")
        assert (await one.get("/erreurs")).status_code == 200
        assert (await one.get("/comptes")).status_code == 403
        assert (await one.get("/compte")).text.count("Pro Santé Connect") >= 1
        (login,) = [t for t in await trace(r) if t["action"] == "login"]
        assert (login["actor"], login["details"]) == ("camille", {"how": "external"})


async def test_what_is_asked_of_the_provider(tmp_path: Path) -> None:
    """PKCE S256, state, nonce, the level of assurance; the way back is the public address."""
    public = "http://passerelle.hopital.test:8443"
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p), public_url=public) as r,
        browser(r) as one,
    ):
        sent = [await one.get("/connexion/externe") for _ in range(2)]
        first, second = (parse_qs(urlsplit(s.headers["location"]).query) for s in sent)
        assert first["acr_values"] == ["eidas1"] and first["scope"] == ["openid scope_all"]
        assert first["redirect_uri"] == [f"{public}/connexion/externe/retour"]
        assert first["code_challenge_method"] == ["S256"]
        for name in ("state", "nonce", "code_challenge"):
            assert len(first[name][0]) == 43 and first[name] != second[name]


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        ({"nonce": "other"}, "CLAIM_NONCE"),
        ({"nonce": None}, "CLAIM_NONCE"),
        ({"aud": "somebody-else"}, "CLAIM_AUD"),
        ({"aud": [CLIENT, "somebody-else"]}, "CLAIM_AZP"),
        ({"azp": "somebody-else"}, "CLAIM_AZP"),
        ({"iss": "https://somebody.else"}, "CLAIM_ISS"),
        ({"exp": int(time.time()) - 3600}, "CLAIM_EXP"),
        ({"exp": None}, "CLAIM_EXP"),
        ({"iat": int(time.time()) + 3600}, "CLAIM_IAT"),
        ({"acr": "eidas0"}, "CLAIM_ACR"),
        ({"acr": None}, "CLAIM_ACR"),
        ({"sub": None}, "CLAIM_SUB"),
    ],
)
async def test_an_id_token_that_is_not_for_us_now_lets_nobody_in(
    tmp_path: Path, spoil: dict[str, Any], code: str
) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        p.spoil = spoil
        await refused(r, one, code)


async def test_a_signature_that_is_not_the_providers_lets_nobody_in(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        p.signer = jwk.RSAKey.generate_key(2048, {"kid": "k1"})
        await refused(r, one, "SIGNATURE")
        p.signer, p.algorithm = p.key, "none"
        await refused(r, one, "SIGNATURE")
        # the public key as the secret of a symmetric signature
        p.algorithm = "HS256"
        await refused(r, one, "SIGNATURE")


async def test_a_new_key_of_the_provider_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.accounts.oidc.AGAIN", 0.0)
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        assert (await by_provider(one)).status_code == 303
        p.signer = jwk.RSAKey.generate_key(2048, {"kid": "k2", "use": "sig"})
        p.shown = [p.key, p.signer]
        assert (await by_provider(one)).status_code == 303


async def refused(r: Running, one: Browser, code: str, status: int = 403) -> httpx.Response:
    r.gateway.desk.trace._told.clear()  # the same is told once a minute
    before = len(await trace(r))
    answer = await by_provider(one)
    assert answer.status_code == status and one.cookie == "", answer.text
    assert 'role="alert"' in answer.text
    (told,) = [t for t in (await trace(r))[before:] if t["action"] == "oidc-failed"]
    assert told["details"] == {"code": code}
    return answer


async def test_a_state_is_good_once_and_for_the_browser_that_began(tmp_path: Path) -> None:
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p)) as r,
        browser(r) as one,
        browser(r) as other,
        httpx.AsyncClient() as http,
    ):
        await known(r)

        async def back() -> str:
            sent = await one.get("/connexion/externe")
            return (await http.get(sent.headers["location"])).headers["location"]

        place = await back()
        stolen = await other.get(place)
        assert stolen.status_code == 403 and other.cookie == "", "another browser"
        assert (await one.get(place)).status_code == 403, "it was used up"
        place = await back()
        assert (await one.get(place)).status_code == 303
        replayed = await one.get(place)
        assert replayed.status_code == 403
        for query in ("", "?state=x&code=y", "?code=y"):
            assert (await other.get(f"/connexion/externe/retour{query}")).status_code == 403
        codes = {t["details"].get("code") for t in await trace(r) if t["action"] == "oidc-failed"}
        assert codes == {"BROWSER"} or codes == {"BROWSER", "STATE"}


async def test_who_gives_up_at_the_provider_is_told(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        sent = await one.get("/connexion/externe")
        (state,) = parse_qs(urlsplit(sent.headers["location"]).query)["state"]
        answer = await one.get("/connexion/externe/retour", params={"state": state, "error": "access_denied"})
        assert answer.status_code == 403 and "abandonnée" in answer.text


async def test_an_unknown_person_is_refused_and_no_account_is_made(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        answer = await by_provider(one)
        assert answer.status_code == 403 and "aucun compte" in answer.text
        assert await r.gateway.desk.people.everybody() == []
        (told,) = [t for t in await trace(r) if t["action"] == "oidc-failed"]
        assert (told["subject"], told["details"]) == (RPPS, {"code": "NO_ACCOUNT"})
        await known(r)
        await r.gateway.desk.people.act("camille", "disable", Actor("essai"))
        assert (await by_provider(one)).status_code == 403 and one.cookie == ""


async def test_a_claim_may_give_a_role_to_who_has_no_account(tmp_path: Path) -> None:
    more = {"role_claim": "groups", "roles": {"dsi": "exploitant", "dim": "lecteur"}}
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p, **more)) as r, browser(r) as one:
        p.person["groups"] = ["autre"]
        assert (await by_provider(one)).status_code == 403
        p.person["groups"] = ["dim", "autre"]
        assert (await by_provider(one)).status_code == 303
        (made,) = await r.gateway.desk.people.everybody()
        assert (made["login"], made["role"], made["name"], made["subject"]) == (
            RPPS,
            "lecteur",
            "Camille Essai",
            RPPS,
        )
        # the role is the administrator's from then on
        await r.gateway.desk.people.set_role(RPPS, Role.EXPLOITANT, Actor("essai"))
        assert (await by_provider(one)).status_code == 303
        assert (await r.gateway.desk.people.everybody())[0]["role"] == "exploitant"


async def test_only_persons_of_the_list_where_there_is_one(tmp_path: Path) -> None:
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p, allowed_subjects=["899700000002"])) as r,
        browser(r) as one,
    ):
        await known(r)
        assert (await by_provider(one)).status_code == 403


async def test_userinfo_of_somebody_else_is_not_believed(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        p.userinfo_sub = "f:1:other"
        await refused(r, one, "USERINFO_SUB")


async def test_a_provider_that_is_down_is_said_and_passwords_still_work(tmp_path: Path) -> None:
    async with provider(tmp_path) as p:
        settings = table(p)
    async with gateway(tmp_path, oidc=settings) as r, browser(r) as one:
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        answer = await one.get("/connexion/externe")
        assert answer.status_code == 503 and "ne répond pas" in answer.text
        assert (await one.sign_in()).status_code == 303


async def test_a_provider_that_fails_at_the_token_lets_nobody_in(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        p.token_status = 500
        await refused(r, one, "TOKEN", 503)


async def test_passwords_may_be_off(tmp_path: Path) -> None:
    async with (
        provider(tmp_path) as p,
        gateway(tmp_path, oidc=table(p, passwords=False)) as r,
        browser(r) as one,
    ):
        await add(r, ADMIN, Role.ADMINISTRATEUR)
        page = (await one.get("/connexion")).text
        assert 'name="password"' not in page and "Se connecter avec" in page
        csrf_of_another_page = await one.csrf("/premier-acces")
        answer = await one.post("/connexion", csrf=csrf_of_another_page, login=ADMIN, password="x" * 12)
        assert answer.status_code == 401


async def test_log_out_leads_to_the_providers(tmp_path: Path) -> None:
    async with provider(tmp_path) as p, gateway(tmp_path, oidc=table(p)) as r, browser(r) as one:
        await known(r)
        await by_provider(one)
        answer = await one.post("/deconnexion", of="/erreurs")
        assert answer.status_code == 200 and f"{p.issuer}/logout?id_token_hint=" in answer.text
        assert one.cookie == "" and (await one.get("/erreurs")).status_code == 303
        assert "logout" in await actions(r)


async def test_a_missing_secret_stops_the_start(tmp_path: Path) -> None:
    settings = {"issuer": "https://x.test", "client_id": "x", "client_secret_file": "not-there"}
    with pytest.raises(ConfigurationFault, match="client_secret_file"):
        async with gateway(tmp_path, oidc=settings):
            pass
