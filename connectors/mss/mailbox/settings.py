"""Settings of one applicative mailbox read over IMAP: an item of `[[connectors.mss.mailboxes]]`.

Guarantee: frozen; everything that can be known wrong before a connection is told at once, by field name, never by
value.
Fails: pydantic's `ValidationError`, for whoever embeds it.
Source: spec/mssante.md §1.3 (transport: IMAP4 with STARTTLS, client certificate of the applicative mailbox).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from connectors.mss.mailbox.model import Where
from connectors.smtp.settings import LOOPBACK, from_base


class ImapTimeouts(BaseModel):
    """Seconds allowed to each phase of an IMAP session."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    connect: float = Field(default=15.0, gt=0)
    """TCP with the TLS handshake, then the greeting, each."""
    command: float = Field(default=60.0, gt=0)
    """Each command but the reading of a mail."""
    body: float = Field(default=600.0, gt=0)
    """The reading of one mail."""


class ImapSettings(BaseModel):
    """One item of `[[connectors.mss.mailboxes]]`. Relative paths start from the settings' folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="bal", pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")
    """Its name in logs, metrics and pages; never the address."""
    host: str = Field(min_length=1)
    """Its certificate must bear this name."""
    port: int = Field(default=143, ge=1, le=65535)
    tls: Literal["none", "starttls", "implicit"] = "starttls"
    """`none` on loopback only."""
    ca_bundle: Path | None = None
    """PEM of the only authorities trusted (IGC-Santé); none: the system's. Read again at each connection, as our
    certificate and key: changed ones need no restart."""
    client_cert: Path | None = None
    """Certificate of the applicative mailbox: PEM (leaf, then its chain), or PKCS#12 that holds the key too."""
    client_key: Path | None = None
    """PEM; left out when `client_cert` is a PKCS#12."""
    client_key_password_file: Path | None = None
    """Pass phrase of the key or of the PKCS#12."""
    auth: Literal["login", "plain", "external", "xoauth2"] = "login"
    """`login` is the LOGIN command; the others are SASL mechanisms. `external` needs the client's certificate."""
    user: str = ""
    """Of the mailbox. With `external`: the mailbox wanted; empty, the one of the certificate."""
    secret_file: Path | None = None
    """Password, or access token with `xoauth2`; read again at each login, so that it can be renewed meanwhile."""

    folder: str = Field(default="INBOX", min_length=1)
    """The folder that is read."""
    processed: str = ""
    """Folder for treated mails, made when it is missing; empty: they stay in place, flagged as seen."""
    error: str = ""
    """Folder for mails that could not be integrated; empty: they stay in place, `\\Flagged`."""
    other: str = ""
    """Folder for mails that are not for the gateway; empty: they stay in place."""

    idle: bool = True
    """Be told of new mail at once (RFC 2177) where the server can."""
    idle_renew: float = Field(default=540.0, gt=0, le=1740)
    """Seconds after which IDLE is said again, under 29 minutes: a connection that died silently is found by then."""
    poll: float = Field(default=60.0, gt=0, le=1740)
    """Seconds between two looks without IDLE."""
    max_mail_bytes: int = Field(default=50_000_000, gt=0)
    """A larger mail is never read: its header and its size are given."""
    timeouts: ImapTimeouts = ImapTimeouts()
    retry_first: float = Field(default=1.0, gt=0)
    """Seconds before the first new try after a fault; each fault in a row doubles it."""
    retry_longest: float = Field(default=120.0, gt=0)
    retry_configuration: float = Field(default=300.0, gt=0)
    """Seconds before a new try when a person must act: an account must not be locked by our tries. A secret or
    certificate that cannot be read (the server is not asked then) is tried as after any other fault."""

    @field_validator("ca_bundle", "client_cert", "client_key", "client_key_password_file", "secret_file")
    @classmethod
    def _absolute(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        return from_base(path, info)

    @field_validator("user", "folder", "processed", "error", "other")
    @classmethod
    def _one_line(cls, text: str) -> str:
        if any(c in text for c in "\0\r\n"):
            raise ValueError("one line")
        return text

    @model_validator(mode="after")
    def _coherent(self) -> Self:
        problems = []
        if self.client_key is not None and self.client_cert is None:
            problems.append("client_key needs client_cert")
        if self.client_key_password_file is not None and self.client_cert is None:
            problems.append("client_key_password_file needs client_cert")
        if self.client_cert is not None and self.tls == "none":
            problems.append("client_cert needs tls")
        if self.tls == "none" and self.host not in LOOPBACK:
            problems.append("tls none is for loopback only")
        if self.auth == "external":
            if self.client_cert is None:
                problems.append("auth external needs client_cert")
        elif not self.user or self.secret_file is None:
            problems.append(f"auth {self.auth} needs user and secret_file")
        if self.retry_first > self.retry_longest:
            problems.append("retry_first is longer than retry_longest")
        for treated in (self.processed, self.error, self.other):
            if treated and _same(treated, self.folder):
                problems.append("a folder for treated mails is the folder that is read")
                break
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def folder_for(self, where: Where) -> str:
        """The folder for a treated mail, "" to leave it in place."""
        return {Where.PROCESSED: self.processed, Where.ERROR: self.error, Where.OTHER: self.other}[where]


def _same(one: str, other: str) -> bool:
    """INBOX alone is the same in any case (RFC 3501 §5.1)."""
    return one == other or one.upper() == other.upper() == "INBOX"
