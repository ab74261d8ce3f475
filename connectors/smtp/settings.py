"""Settings of an SMTP client: what every connector that sends mail has in its table.

Purpose: one frozen base model; a connector's own settings inherit it, so that the keys are the same everywhere.
Guarantee: neither a mail nor a password or a token goes out in clear to another machine; an `EXTERNAL` without
certificate, or a key without certificate, is refused.
Fails: pydantic's `ValidationError`; the connector that loads its table tells all problems at once.
Source: spec/mssante.md §1.3 (transport, authentication); RFC 4954, RFC 5321 §4.5.3.2.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Timeouts(BaseModel):
    """Seconds allowed to each phase of an SMTP session (RFC 5321 §4.5.3.2 asks for minutes: a short `reply`
    turns slow successes into uncertain deliveries, and those into possible second mails)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: float = Field(default=15.0, gt=0)
    """TCP, greeting, TLS handshake, EHLO and AUTH, each."""
    command: float = Field(default=60.0, gt=0)
    """MAIL, RCPT, DATA, RSET, each."""
    body: float = Field(default=600.0, gt=0)
    """The whole upload after 354."""
    reply: float = Field(default=600.0, gt=0)
    """The answer to the final dot."""


def from_base(path: Path | None, info: ValidationInfo) -> Path | None:
    """`path` from the folder `base_dir` of the validation's context."""
    base = (info.context or {}).get("base_dir")
    return path if path is None or base is None else Path(base) / path


class SmtpTransport(BaseModel):
    """How an SMTP server is reached. Relative paths start from the settings' folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    port: int = Field(default=587, ge=1, le=65535)
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    """`none` on loopback only."""
    ca_bundle: Path | None = None
    """PEM of the only authorities trusted (IGC-Santé, gamme Élémentaire Organisation); none: the system's."""
    crl_file: Path | None = None
    """PEM of the revocation list of the server's issuer, renewed by other means and read again when it changes
    (ECO.1.1.5 to 1.1.7). Given: no session with a server that it names, nor with an out-of-date list."""
    client_cert: Path | None = None
    """Certificate of the applicative mailbox: PEM (leaf, then its chain), or PKCS#12 that holds the key too."""
    client_key: Path | None = None
    """PEM; left out when `client_cert` is a PKCS#12."""
    client_key_password_file: Path | None = None
    """Pass phrase of the key or of the PKCS#12."""
    certificate_check: float = Field(default=60.0, gt=0)
    """Seconds between looks at the certificate files: changed ones are used without a restart."""
    auth: Literal["none", "external", "plain", "login", "xoauth2"] = "none"
    """SASL mechanism after TLS: it depends on the operator."""
    user: str = ""
    """Name of the mailbox for `plain`, `login` and `xoauth2`."""
    secret_file: Path | None = None
    """Password, or access token for `xoauth2`; read again at each login, so that a changed one needs no restart."""
    ehlo_name: str = Field(default="", pattern=r"^[A-Za-z0-9.:\[\]-]*$")
    """Name given in EHLO; empty: the domain of the sender's address."""
    timeouts: Timeouts = Timeouts()
    connections: int = Field(default=4, ge=1, le=64)
    """Most SMTP connections at a time."""
    idle: float = Field(default=30.0, ge=0)
    """Seconds an unused connection is kept open."""

    @field_validator(
        "ca_bundle", "crl_file", "client_cert", "client_key", "client_key_password_file", "secret_file"
    )
    @classmethod
    def _absolute(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return from_base(path, info)

    @model_validator(mode="after")
    def _transport_is_coherent(self) -> Self:
        problems = []
        if self.client_key is not None and self.client_cert is None:
            problems.append("client_key needs client_cert")
        if self.client_key_password_file is not None and self.client_cert is None:
            problems.append("client_key_password_file needs client_cert")
        if self.client_cert is not None and self.tls == "none":
            problems.append("client_cert needs tls")
        if self.crl_file is not None and self.tls == "none":
            problems.append("crl_file needs tls")
        if self.auth in ("plain", "login", "xoauth2") and (not self.user or self.secret_file is None):
            problems.append("auth plain, login and xoauth2 need user and secret_file")
        if self.tls == "none" and self.host not in LOOPBACK:
            # documents of patients, and passwords
            problems.append("tls none is for loopback only")
        if self.auth == "external" and self.client_cert is None:
            problems.append("auth external needs client_cert")
        if problems:
            raise ValueError("; ".join(problems))
        return self

    @property
    def helo(self) -> str:
        """The name given in EHLO."""
        return self.ehlo_name or "localhost"
