"""A small OpenID Connect provider on loopback: real sockets, RS256 keys. It checks what a provider must (PKCE, secret,
redirection, code used once), and says wrong things when told to."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import uvicorn
from joserfc import jwk, jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

CLIENT, SECRET = "passerelle-essai", "tres:secret & long"
RPPS = "899700000001"


class Provider:
    """One. `person`: claims of `userinfo`; `spoil`: changes the claims of the ID token before it is signed."""

    def __init__(self) -> None:
        self.issuer = ""
        self.key = jwk.RSAKey.generate_key(2048, {"kid": "k1", "use": "sig", "alg": "RS256"})
        self.shown = [self.key]
        self.person: dict[str, Any] = {"sub": "f:1:x", "SubjectNameID": RPPS, "name": "Camille Essai"}
        self.acr = "eidas1"
        self.spoil: dict[str, Any] = {}
        self.signer: Any = self.key
        self.algorithm = "RS256"
        self.token_status = 200
        self.userinfo_sub: str | None = None
        self.codes: dict[str, dict[str, str]] = {}
        self.ended: list[dict[str, str]] = []
        self.app = Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._settings),
                Route("/keys", self._keys),
                Route("/auth", self._auth),
                Route("/token", self._token, methods=["POST"]),
                Route("/userinfo", self._userinfo),
            ]
        )

    async def _settings(self, request: Request) -> Response:
        places = {
            "authorization_endpoint": "auth",
            "token_endpoint": "token",
            "userinfo_endpoint": "userinfo",
            "jwks_uri": "keys",
            "end_session_endpoint": "logout",
        }
        return JSONResponse(
            {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in places.items()}
        )

    async def _keys(self, request: Request) -> Response:
        other = {"kty": "RSA", "use": "enc", "kid": "other", "n": "AQAB", "e": "AQAB"}
        return JSONResponse({"keys": [other, *(k.as_dict(private=False) for k in self.shown)]})

    async def _auth(self, request: Request) -> Response:
        asked = dict(request.query_params)
        assert asked["code_challenge_method"] == "S256" and asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT and "openid" in asked["scope"].split()
        code = f"code-{len(self.codes)}"
        self.codes[code] = asked
        return RedirectResponse(
            asked["redirect_uri"] + "?" + urlencode({"code": code, "state": asked["state"]}), 303
        )

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        asked = self.codes.pop(str(form["code"]), None)
        basic = base64.b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        # the name and the secret are form-encoded inside Basic (RFC 6749 §2.3.1)
        right = basic == f"{CLIENT}:tres%3Asecret+%26+long"
        if asked is None or not right or asked["code_challenge"] != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        assert form["redirect_uri"] == asked["redirect_uri"]
        if self.token_status != 200:
            return JSONResponse({"error": "server_error"}, self.token_status)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "sub": self.person["sub"],
            "iat": now,
            "exp": now + 300,
            "nonce": asked["nonce"],
            "acr": self.acr,
        } | self.spoil
        claims = {k: v for k, v in claims.items() if v is not None}
        return JSONResponse(
            {"access_token": "a" * 20, "token_type": "Bearer", "id_token": self._signed(claims)}
        )

    def _signed(self, claims: dict[str, Any]) -> str:
        if self.algorithm == "none":
            parts = ({"alg": "none", "kid": "k1"}, claims)
            return ".".join(_b64(json.dumps(p).encode()) for p in parts) + "."
        if self.algorithm == "HS256":
            parts = ({"alg": "HS256", "kid": "k1"}, claims)
            signed = ".".join(_b64(json.dumps(p).encode()) for p in parts)
            mac = hmac.new(self.key.as_pem(private=False), signed.encode(), hashlib.sha256).digest()
            return f"{signed}.{_b64(mac)}"
        header = {"alg": self.algorithm, "kid": getattr(self.signer, "kid", None) or "k1"}
        return jwt.encode(header, claims, self.signer, algorithms=[self.algorithm])

    async def _userinfo(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {'a' * 20}"
        return JSONResponse(self.person | ({"sub": self.userinfo_sub} if self.userinfo_sub else {}))


def _b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class _Quiet(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The test's own."""


@asynccontextmanager
async def provider(directory: Path) -> AsyncIterator[Provider]:
    """At work on a free port."""
    (directory / "oidc-secret").write_text(SECRET + "\n", encoding="utf-8")
    one = Provider()
    config = uvicorn.Config(one.app, host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = _Quiet(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    one.issuer = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield one
    finally:
        server.should_exit = True
        await task


def table(one: Provider, **more: Any) -> dict[str, Any]:
    """The settings `[web.oidc]`."""
    return {"issuer": one.issuer, "client_id": CLIENT, "client_secret_file": "oidc-secret"} | more
