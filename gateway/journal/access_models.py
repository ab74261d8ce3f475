"""Tables of accounts and access (SQLModel). Times are UTC seconds since the epoch (float).

Purpose: who may log in, who is logged in, which programs may call, and the trace of it, in the journal: every node sees
the same. No patient data. No secret either: passwords are argon2id hashes, identifiers of sessions, links and tokens
are SHA-256 sums of random values (256 bits).
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint
from sqlmodel import Field, SQLModel

from gateway.rights import Role

_ROLES = ", ".join(f"'{role}'" for role in Role)


class Account(SQLModel, table=True):
    """A person who may log in."""

    __table_args__ = (CheckConstraint(f"role IN ({_ROLES})", name="account_role"),)

    id: int | None = Field(default=None, primary_key=True)
    login: str = Field(unique=True)
    """In lower case."""
    name: str = ""
    """To show."""
    role: str
    password: str | None = None
    """argon2id hash; None: not chosen yet, or another way in."""
    subject: str | None = Field(default=None, unique=True)
    """Who it is at the OpenID Connect provider (RPPS…)."""
    disabled: bool = False
    failures: int = 0
    """Failed log-ins in a row."""
    failed_at: float | None = None
    locked_until: float | None = None
    created_at: float
    last_login_at: float | None = None


class WebSession(SQLModel, table=True):
    """A session of an account. Its CSRF token is computed from the identifier, which is in the browser alone."""

    __tablename__ = "web_session"

    sha256: str = Field(primary_key=True)
    account_id: int = Field(foreign_key="account.id", index=True)
    created_at: float
    seen_at: float
    expires_at: float
    peer: str = ""
    agent: str = ""
    """What the browser says it is, cut: by this a person knows their sessions."""
    hint: str | None = None
    """ID token of the OpenID Connect provider, which its log-out asks for."""


class Invitation(SQLModel, table=True):
    """A one-time link."""

    __table_args__ = (
        CheckConstraint("kind IN ('first', 'new', 'reset')", name="invitation_kind"),
        CheckConstraint("(kind = 'first') = (account_id IS NULL)", name="invitation_account"),
    )

    sha256: str = Field(primary_key=True)
    kind: str
    account_id: int | None = Field(default=None, foreign_key="account.id")
    created_at: float
    expires_at: float


class ApiToken(SQLModel, table=True):
    """A program's token."""

    __tablename__ = "api_token"

    id: int | None = Field(default=None, primary_key=True)
    name: str
    sha256: str = Field(unique=True)
    scopes: str
    """JSON list."""
    created_by: str
    created_at: float
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None


class SignInFailure(SQLModel, table=True):
    """Failed log-ins of an address, or of a login that no account has. Few rows: the oldest go."""

    __tablename__ = "sign_in_failure"

    key: str = Field(primary_key=True)
    """`peer …`, or `login` and the sum of what was written (a password written in the wrong field is not kept)."""
    failures: int
    failed_at: float = Field(index=True)
    locked_until: float | None = None


class OidcState(SQLModel, table=True):
    """A log-in that is under way at the OpenID Connect provider; the row goes when it comes back, once."""

    __tablename__ = "oidc_state"

    sha256: str = Field(primary_key=True)
    """Of `state`."""
    nonce: str
    verifier: str
    """Of PKCE."""
    browser: str
    """Sum of the cookie of the browser that began it."""
    back_to: str
    expires_at: float = Field(index=True)


class Audit(SQLModel, table=True):
    """The trace: who did what, when. Append-only."""

    id: int | None = Field(default=None, primary_key=True)
    at: float = Field(index=True)
    actor: str
    """Login, name of a token; empty: nobody who is known."""
    via: str = ""
    """`session`, `token`, `command`; empty: the gateway itself, or somebody unknown."""
    action: str
    subject: str = ""
    details: str = "{}"
    """JSON."""
    peer: str = ""
