"""Log-in by an OpenID Connect provider (Pro Santé Connect, or the hospital's own): the authorization code flow.

Purpose: send a browser to the provider (`begin`), and make of what comes back a person (`finish`): PKCE (S256), `state`
and `nonce` of 256 bits, used once and kept in the journal (the browser may come back to another node).

Guarantee: nobody is let in but by an ID token that the provider signed (asymmetric algorithms of `ALGORITHMS` alone),
for us, now, with our nonce, at the level of assurance that was asked for; what `userinfo` adds counts only for the same
`sub`. The provider's addresses come from its own settings, over https (or http on this machine's loopback, like the
issuer itself). A person without an account is let in only where the settings map a claim to a role.
Fails: `Failed` with a code and a French sentence; no text holds a token or what the provider said.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import httpx
from joserfc import jwk, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from sqlmodel import Session

from gateway.accounts import begun, secrets
from gateway.accounts.begun import LIFETIME
from gateway.accounts.sign_in import in_words
from gateway.errors import ConfigurationFault, EnvironmentFault, JournalUnavailable
from gateway.exchange.identifiers import Clock
from gateway.journal import access
from gateway.journal.store import Journal
from gateway.settings_web import AccountSettings, OidcSettings

log = logging.getLogger("gateway.web")

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
ROWS: Final = 10_000
"""Log-ins under way at most."""
FRESH: Final = 3600.0
"""Seconds that the provider's settings and keys are kept; a key that is not among them is asked for at once."""
AGAIN: Final = 10.0
"""Seconds between two questions for keys that are not known."""
MAX_ANSWER: Final = 1_000_000
DOWN: Final = (
    "Le service d’identité ne répond pas : réessayez dans un moment, ou connectez-vous avec un mot de passe."
)
NOT_GOOD: Final = "La connexion par le service d’identité n’a pas abouti : recommencez."
TOO_MANY: Final = "Trop de connexions commencées depuis votre adresse : réessayez dans {}."
UNKNOWN: Final = "Votre identité est reconnue, mais aucun compte ne lui correspond : voyez un administrateur."


class Failed(EnvironmentFault):
    """Nobody is let in. `code` goes to the trace. `wait`: seconds, when that is why."""

    def __init__(self, code: str, sentence: str = NOT_GOOD, subject: str = "", wait: float = 0.0) -> None:
        super().__init__(sentence)
        self.code = code
        self.subject = subject
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Person:
    """Who came back. `role`: by the settings' mapping; None: only an account that exists."""

    subject: str
    name: str
    role: str | None
    id_token: str
    back_to: str

    def __repr__(self) -> str:
        return "Person()"


@dataclass(slots=True)
class _Provider:
    """Its settings and keys, as read."""

    settings: dict[str, Any]
    keys: jwk.KeySet
    at: float


class Oidc:
    """One per gateway. `close` when it ends."""

    def __init__(
        self,
        settings: OidcSettings,
        accounts: AccountSettings,
        base_dir: Path,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._most = accounts.lock_address_after
        self._journal = journal
        self._clock = clock
        self._provider: _Provider | None = None
        self._secret = ""
        if settings.client_secret_file is not None:
            try:
                self._secret = (base_dir / settings.client_secret_file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as e:
                raise ConfigurationFault(
                    f"web.oidc.client_secret_file: cannot be read ({type(e).__name__})"
                ) from None
        try:
            trust = ssl.create_default_context(
                cafile=str(base_dir / settings.ca) if settings.ca is not None else None
            )
        except (OSError, ssl.SSLError) as e:
            raise ConfigurationFault(f"web.oidc.ca: cannot be read ({type(e).__name__})") from None
        self._http = httpx.AsyncClient(
            verify=trust,
            timeout=settings.timeout,
            follow_redirects=False,
            headers={"Accept": "application/json"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def begin(self, redirect_uri: str, back_to: str, browser: str, peer: str) -> str:
        """Where to send the browser. `browser`: the secret of a cookie that it must have when it comes back; `peer`:
        its address, which may begin so many."""
        now, most = self._clock.now(), self._most
        _may_begin(await self._journal.read(lambda s: begun.wait(s, peer, most, now)))
        provider = await self._known()
        state, nonce, verifier = secrets.new(), secrets.new(), secrets.new()

        def keep(session: Session) -> float:
            if wait := begun.count(session, peer, most, now):
                return wait
            access.add_oidc_state(
                session,
                secrets.sum_of(state),
                now,
                now + LIFETIME,
                ROWS,
                nonce=nonce,
                verifier=verifier,
                browser=secrets.sum_of(browser),
                back_to=back_to,
            )
            return 0.0

        _may_begin(await self._journal.write(keep))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self._settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self._settings.acr_values:
            asked["acr_values"] = self._settings.acr_values
        return _with(self._address(provider, "authorization_endpoint"), asked)

    async def finish(self, redirect_uri: str, answer: dict[str, str], browser: str) -> Person:
        """Who came back with this answer of the provider (the query of the redirection)."""
        state = answer.get("state", "")
        row = await self._journal.write(lambda s: access.take_oidc_state(s, secrets.sum_of(state)))
        if not state or row is None or row.expires_at <= self._clock.now():
            raise Failed("STATE")
        if not browser or not secrets.same(row.browser, secrets.sum_of(browser)):
            raise Failed("BROWSER")
        if answer.get("iss", self._settings.issuer) != self._settings.issuer:  # RFC 9207
            raise Failed("ISSUER")
        if "error" in answer or not answer.get("code"):
            raise Failed("REFUSED", "Le service d’identité a refusé la connexion, ou elle a été abandonnée.")
        provider = await self._known()
        tokens = await self._exchange(provider, answer["code"], row.verifier, redirect_uri)
        id_token = tokens.get("id_token")
        if not isinstance(id_token, str):
            raise Failed("NO_ID_TOKEN")
        claims = await self._verified(id_token, row.nonce)
        wanted = {self._settings.login_claim, self._settings.name_claim, self._settings.role_claim or ""}
        if self._settings.login_claim not in claims or (wanted - set(claims) - {""}):
            claims = await self._more(provider, tokens, claims)
        subject = claims.get(self._settings.login_claim)
        if not isinstance(subject, str) or not 0 < len(subject) <= 255 or not subject.isprintable():
            raise Failed("NO_SUBJECT")
        allowed = self._settings.allowed_subjects
        if allowed and subject not in allowed:
            raise Failed("NOT_ALLOWED", UNKNOWN, subject)
        name = claims.get(self._settings.name_claim)
        return Person(
            subject, name if isinstance(name, str) else "", self._role(claims), id_token, str(row.back_to)
        )

    async def came_in(self, peer: str) -> None:
        """Somebody of this address was let in: what they began counts no more. Without the journal it counts until it
        expires; who was let in is not kept out for it."""
        try:
            await self._journal.write(lambda s: begun.came_in(s, peer))
        except JournalUnavailable as e:
            log.warning("a log-in that was let in still counts as under way: %s", e)

    async def leave(self, id_token: str, redirect_uri: str) -> str | None:
        """Where to send the browser to log out at the provider too; None: it has no such place."""
        try:
            provider = await self._known()
            place = self._address(provider, "end_session_endpoint")
        except Failed:
            return None
        return _with(
            place,
            {
                "id_token_hint": id_token,
                "client_id": self._settings.client_id,
                "post_logout_redirect_uri": redirect_uri,
            },
        )

    # --- inside ---------------------------------------------------------------------------------------------

    def _role(self, claims: dict[str, Any]) -> str | None:
        """The first of the mapping that the person has."""
        if self._settings.role_claim is None:
            return None
        found = claims.get(self._settings.role_claim)
        values = found if isinstance(found, list) else [found]
        return next((role for value, role in self._settings.roles.items() if value in values), None)

    async def _exchange(
        self, provider: _Provider, code: str, verifier: str, redirect_uri: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._settings.client_id,
            "code_verifier": verifier,
        }
        auth: httpx.BasicAuth | None = None
        if self._secret:
            methods = provider.settings.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
            if "client_secret_basic" in methods:
                auth = httpx.BasicAuth(
                    urlencode({"": self._settings.client_id})[1:], urlencode({"": self._secret})[1:]
                )
            else:
                form["client_secret"] = self._secret
        place = self._address(provider, "token_endpoint")
        return await self._ask("POST", place, "TOKEN", data=form, auth=auth)

    async def _verified(self, id_token: str, nonce: str) -> dict[str, Any]:
        """The claims of an ID token that is good."""
        provider = await self._known()
        try:
            token = jwt.decode(id_token, provider.keys, algorithms=list(ALGORITHMS))
        except InvalidKeyIdError:
            provider = await self._known(new_keys=True)
            try:
                token = jwt.decode(id_token, provider.keys, algorithms=list(ALGORITHMS))
            except (JoseError, ValueError) as e:
                raise Failed("SIGNATURE") from e
        except (JoseError, ValueError) as e:
            raise Failed("SIGNATURE") from e
        claims: dict[str, Any] = dict(token.claims)
        registry = jwt.JWTClaimsRegistry(
            now=lambda: int(self._clock.now()),
            leeway=int(self._settings.clock_skew),
            iss={"essential": True, "value": self._settings.issuer},
            aud={"essential": True, "value": self._settings.client_id},
            exp={"essential": True},
            iat={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        try:
            registry.validate(claims)
        except JoseError as e:
            claim = str(getattr(e, "claim", "") or "")
            raise Failed(f"CLAIM_{claim.upper()}" if claim.isalpha() else "CLAIMS") from e
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if (several or "azp" in claims) and claims.get("azp") != self._settings.client_id:
            raise Failed("CLAIM_AZP")
        if self._settings.acr_values and claims.get("acr") not in self._settings.acr_values.split():
            raise Failed("CLAIM_ACR", "Le niveau d’authentification n’est pas suffisant.")
        return claims

    async def _more(
        self, provider: _Provider, tokens: dict[str, Any], claims: dict[str, Any]
    ) -> dict[str, Any]:
        """What `userinfo` adds about the same person."""
        token = tokens.get("access_token")
        if "userinfo_endpoint" not in provider.settings or not isinstance(token, str):
            return claims
        place = self._address(provider, "userinfo_endpoint")
        headers = {"Authorization": f"Bearer {token}"}
        found = await self._ask("GET", place, "USERINFO", headers=headers)
        if found.get("sub") != claims["sub"]:
            raise Failed("USERINFO_SUB")
        return found | claims

    async def _known(self, new_keys: bool = False) -> _Provider:
        """The provider's settings and keys."""
        provider, now = self._provider, time.monotonic()
        age = FRESH if provider is None else now - provider.at
        if provider is not None and age < (AGAIN if new_keys else FRESH):
            return provider
        place = self._settings.issuer.rstrip("/") + "/.well-known/openid-configuration"
        settings = await self._ask("GET", place, "DISCOVERY")
        if settings.get("issuer") != self._settings.issuer:
            raise Failed("DISCOVERY_ISSUER", DOWN)
        made = _Provider(settings, jwk.KeySet([]), now)
        found = await self._ask("GET", self._address(made, "jwks_uri"), "KEYS")
        made.keys = _keys(found)
        self._provider = made
        return made

    def _address(self, provider: _Provider, name: str) -> str:
        place = provider.settings.get(name)
        if not isinstance(place, str):
            raise Failed(f"NO_{name.upper()}", DOWN)
        scheme = urlsplit(place).scheme
        if scheme != "https" and scheme != urlsplit(self._settings.issuer).scheme:
            raise Failed(f"SCHEME_{name.upper()}", DOWN)
        return place

    async def _ask(self, method: str, place: str, code: str, **more: Any) -> dict[str, Any]:
        """One call; a JSON object. Raises `Failed`."""
        try:
            async with self._http.stream(method, place, **more) as answer:
                content = b""
                async for piece in answer.aiter_bytes():
                    content += piece
                    if len(content) > MAX_ANSWER:
                        raise Failed(code, DOWN)
                if answer.status_code != 200:
                    log.warning("identity provider: %s answered %d", code, answer.status_code)
                    raise Failed(code, NOT_GOOD if answer.status_code < 500 else DOWN)
                found = json.loads(content)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as e:
            log.warning("identity provider: %s: %s", code, type(e).__name__)
            raise Failed(code, DOWN) from None
        if not isinstance(found, dict):
            raise Failed(code, DOWN)
        return found


def _may_begin(wait: float) -> None:
    if wait:
        raise Failed("TOO_MANY", TOO_MANY.format(in_words(wait)), wait=wait)


def _keys(found: dict[str, Any]) -> jwk.KeySet:
    """Public keys for signatures; what is for something else, or of a kind that is not known, is left out."""
    keys: list[Any] = []
    for one in found.get("keys", []) if isinstance(found.get("keys"), list) else []:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") not in ("RSA", "EC"):
            continue
        try:
            keys.append(jwk.import_key(one))
        except (JoseError, ValueError):
            log.warning("identity provider: a key that cannot be read is left out")
    return jwk.KeySet(keys)


def _with(place: str, query: dict[str, str]) -> str:
    """An address with these parameters, beside those that it has."""
    return f"{place}{'&' if urlsplit(place).query else '?'}{urlencode(query)}"
