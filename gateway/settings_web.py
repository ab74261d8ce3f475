"""Settings of the HTTP side: `[web]`, `[web.accounts]`, `[web.oidc]` (see gateway/settings.py)."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from gateway.settings_table import Table


class AccountSettings(Table):
    """Accounts of people, their sessions and passwords (docs/access.md). Times in seconds."""

    enabled: bool = True
    """Without accounts nobody logs in: pages are open or nobody's, programs have their tokens."""
    session_idle: float = Field(1800.0, ge=60)
    """A session that was not used for that long ends."""
    session_longest: float = Field(43_200.0, ge=60)
    """A session ends after that long, used or not."""
    sessions: int = Field(10, ge=1, le=1000)
    """Open sessions of one account; one more closes the oldest."""
    invitation: float = Field(172_800.0, ge=60)
    """How long a one-time link is good (new account, new password)."""
    first_invitation: float = Field(86_400.0, ge=60)
    """How long the link of the first administrator is good, which a start without any administrator prints."""
    password_length: int = Field(12, ge=12, le=64)
    """Characters of a password at least; what is easily guessed is refused whatever its length."""
    lock_after: int = Field(5, ge=1)
    """Failures in a row of one login after which it has to wait."""
    lock_address_after: int = Field(30, ge=1)
    """The same for one address, whatever the logins (several people may share a proxy's address). It may also have so
    many log-ins under way at the OpenID Connect provider."""
    lock_first: float = Field(30.0, gt=0)
    """The first wait; each further failure doubles it."""
    lock_longest: float = Field(900.0, gt=0)
    """The longest wait. After a day without a failure all is forgotten."""
    hash_memory_kib: int = Field(32_768, ge=7_168, le=1_048_576)
    """Memory of one computation of argon2id."""
    hash_passes: int = Field(3, ge=1, le=20)
    """Passes of one computation of argon2id."""
    hash_at_once: int = Field(2, ge=1, le=16)
    """Computations at once; a few more wait, the others are asked to come again."""


class OidcSettings(Table):
    """Log-in by an OpenID Connect provider (Pro Santé Connect, or the hospital's own)."""

    issuer: str
    """As the provider writes it; its settings are read from `/.well-known/openid-configuration` below it."""
    client_id: str
    client_secret_file: Path | None = None
    """File with the client's secret. None: a public client (PKCE alone)."""
    label: str = "Pro Santé Connect"
    """What the button says after « Se connecter avec »."""
    scopes: tuple[str, ...] = ("openid", "scope_all")
    acr_values: str | None = "eidas1"
    """Level of assurance that is asked for, and that the answer must name (one of them, where there are several)."""
    login_claim: str = "SubjectNameID"
    """Claim that names the person: `SubjectNameID` (RPPS or ADELI, of Pro Santé Connect), `preferred_username`, `sub`.
    It is compared with the accounts' subject."""
    name_claim: str = "name"
    """Claim with the name to show, of an account that `roles` makes."""
    allowed_subjects: tuple[str, ...] = ()
    """Only these persons (values of `login_claim`); empty: all that have an account, or a role below."""
    role_claim: str | None = None
    """Claim that gives a role to who has no account, by `roles`. None: only accounts that exist."""
    roles: dict[str, Literal["lecteur", "exploitant", "administrateur"]] = Field(default_factory=dict)
    """Value of `role_claim` → role. The account is made at the first log-in, and keeps its role afterwards."""
    clock_skew: float = Field(30.0, ge=0, le=300)
    """Seconds by which the provider's clock may differ."""
    timeout: float = Field(10.0, gt=0)
    """Seconds for a call to the provider."""
    ca: Path | None = None
    """CA bundle (PEM) of the provider's certificate. None: the system's."""
    passwords: bool = True
    """Accounts may log in with their password too. One administrator should: the provider may be down."""

    @field_validator("issuer")
    @classmethod
    def _issuer(cls, value: str) -> str:
        parts = urlsplit(value)
        loopback = parts.hostname in ("127.0.0.1", "localhost", "::1")
        if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
            raise ValueError("issuer must begin with https://")
        return value

    @model_validator(mode="after")
    def _complete(self) -> OidcSettings:
        if "openid" not in self.scopes:
            raise ValueError("scopes must name openid")
        if bool(self.role_claim) != bool(self.roles):
            raise ValueError("role_claim and roles go together")
        return self


class WebSettings(Table):
    """HTTP: health, metrics, API, pages."""

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    tokens: Path | None = None
    """File of programs that may call the API: `[[token]]` tables with `name`, `sha256` (of a random token of at least
    32 characters, in hexadecimal), `scopes` (among `deliveries`, `mails`, `indicators`, `explain`, `operate`, `facts`,
    `events`, `administer`). Tokens may also be made on the page `/jetons`."""
    public_url: str | None = None
    """`https://…` of the TLS proxy in front: cookies are `Secure`, HSTS is sent, links are written with it."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks of proxies whose `X-Forwarded-For` is believed."""
    open_pages: Literal["auto"] | bool = "auto"
    """The pages of exchanges, errors, mailboxes, tolerances and validation, and the read APIs behind them, without
    log-in. `auto`: when `host` is a loopback address and there is no `public_url`. `/healthz`, `/readyz` and `/metrics`
    are always open; indicators and accounts never."""
    accounts: AccountSettings = AccountSettings()
    oidc: OidcSettings | None = None

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
            raise ValueError("public_url must be http(s)://host[:port], without a path")
        if parts.query or parts.fragment or parts.username is not None:
            raise ValueError("public_url must be http(s)://host[:port], without a path")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network)
        return value

    @model_validator(mode="after")
    def _oidc_needs_accounts(self) -> WebSettings:
        if self.oidc is not None and not self.accounts.enabled:
            raise ValueError("oidc needs accounts.enabled")
        return self

    @property
    def loopback(self) -> bool:
        """Only this machine reaches it."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def pages_are_open(self) -> bool:
        """`open_pages`, decided. A loopback address with a `public_url` is a proxy's back door, not a lone machine."""
        if self.open_pages == "auto":
            return self.loopback and self.public_url is None
        return bool(self.open_pages)

    @property
    def secure(self) -> bool:
        """Browsers come over TLS."""
        return (self.public_url or "").startswith("https://")
