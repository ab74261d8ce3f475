"""Accounts, sessions, one-time links, tokens and the trace in the journal: the statements, by name.

Guarantee: no function commits. What is read to be changed is locked until the transaction ends (PostgreSQL: several
nodes). Secrets come here as sums alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlmodel import Session

from gateway.journal.sql import insert, lock, run

TRIMMED: Final = "trace-trimmed"
"""What the trace says of its own oldest rows that went."""


def account(session: Session, login: str) -> Any | None:
    """By login, as the row is."""
    return run(session, "account_by_login", login=login).first()


def account_of(session: Session, account_id: int) -> Any | None:
    """By id."""
    return run(session, "account_by_id", account_id=account_id).first()


def account_of_subject(session: Session, subject: str) -> Any | None:
    """By who it is at the OpenID Connect provider."""
    return run(session, "account_by_subject", subject=subject).first()


def any_administrator(session: Session) -> bool:
    """True when somebody has an account that administers, disabled or not."""
    return bool(run(session, "administrators_exist").scalar_one())


def accounts(session: Session, now: float, idle: float) -> Sequence[Any]:
    """All, by login; sessions that are open, whether a link is out."""
    return run(session, "accounts_for_people", now=now, idle=now - idle).all()


def add_account(
    session: Session, login: str, name: str, role: str, now: float, password: str | None, subject: str | None
) -> int:
    """A new one; its id."""
    return insert(
        session,
        "insert_account",
        login=login,
        name=name,
        role=role,
        now=now,
        password=password,
        subject=subject,
    )


def change(session: Session, name: str, account_id: int, **values: Any) -> None:
    """Run one of `set_password`, `set_role`, `set_disabled`, `set_subject`, `unlock_account`, `account_failed`,
    `account_entered`, `rehash_password`."""
    run(session, name, account_id=account_id, **values)


def administrators(session: Session, *, by_password: bool, external: bool) -> list[int]:
    """Accounts that may administer and can log in (by which ways there are); locked with all that decides of the last
    of them."""
    lock(session, "administrators")
    ways = {"by_password": int(by_password), "external": int(external)}
    return list(run(session, "administrators", **ways).scalars())


def failure(session: Session, key: str) -> Any | None:
    """Failures that no account has (of an address, of an unknown login)."""
    return run(session, "sign_in_failure", key=key).first()


def keep_failure(session: Session, key: str, failures: int, now: float, locked_until: float | None) -> None:
    """Count one."""
    run(session, "keep_sign_in_failure", key=key, failures=failures, now=now, locked_until=locked_until)


def forget_failure(session: Session, key: str) -> None:
    """As if nothing had been."""
    run(session, "forget_sign_in_failure", key=key)


def take_back_failure(session: Session, key: str) -> None:
    """One that was counted was none; who had to wait need not any more."""
    lock(session, key)
    found = failure(session, key)
    if found is not None and found.failures > 1:
        keep_failure(session, key, found.failures - 1, found.failed_at, None)
    elif found is not None:
        forget_failure(session, key)


def bound_failures(session: Session, rows: int, before: float) -> None:
    """Those before `before` go, and the oldest of more than `rows`."""
    run(session, "forget_old_sign_in_failures", before=before)
    run(session, "bound_sign_in_failures", rows=rows)


# --- sessions -----------------------------------------------------------------------------------------------


def add_session(
    session: Session,
    sha256: str,
    account_id: int,
    now: float,
    expires_at: float,
    peer: str,
    agent: str,
    hint: str | None,
) -> None:
    """Open one."""
    run(
        session,
        "insert_session",
        sha256=sha256,
        account_id=account_id,
        now=now,
        expires_at=expires_at,
        peer=peer,
        agent=agent,
        hint=hint,
    )


def bound_sessions(session: Session, account_id: int, sessions: int, now: float, idle: float) -> None:
    """Ended ones of everybody go, and the oldest of an account's beyond `sessions`."""
    run(session, "close_ended_sessions", now=now, idle=now - idle)
    run(session, "close_oldest_sessions", account_id=account_id, sessions=sessions)


def session_of(session: Session, sha256: str, now: float, idle: float) -> Any | None:
    """An open session and its account."""
    return run(session, "session_by_sum", sha256=sha256, now=now, idle=now - idle).first()


def session_seen(session: Session, sha256: str, now: float) -> None:
    """It is in use."""
    run(session, "session_seen", sha256=sha256, now=now)


def sessions_of(session: Session, account_id: int, now: float, idle: float) -> Sequence[Any]:
    """An account's open sessions, the last used first."""
    return run(session, "sessions_of_account", account_id=account_id, now=now, idle=now - idle).all()


def close_session(session: Session, sha256: str) -> Any | None:
    """End one; its account and the provider's hint."""
    return run(session, "close_session", sha256=sha256).first()


def close_sessions(session: Session, account_id: int, but: str = "") -> int:
    """End all of an account (but one); how many."""
    return int(run(session, "close_sessions", account_id=account_id, but=but).rowcount)


# --- one-time links -----------------------------------------------------------------------------------------


def add_invitation(
    session: Session, sha256: str, kind: str, account_id: int | None, now: float, expires_at: float
) -> None:
    """A new link; an account's earlier ones are worth nothing any more."""
    run(session, "delete_old_invitations", now=now)
    if account_id is not None:
        run(session, "delete_invitations_of", account_id=account_id)
    run(
        session,
        "insert_invitation",
        sha256=sha256,
        kind=kind,
        account_id=account_id,
        now=now,
        expires_at=expires_at,
    )


def invitation(session: Session, sha256: str, now: float) -> Any | None:
    """What a link is good for."""
    return run(session, "invitation", sha256=sha256, now=now).first()


def invitation_there(session: Session, sha256: str, now: float) -> bool:
    """There is such a link; for a read (nothing is locked)."""
    return run(session, "invitation_there", sha256=sha256, now=now).first() is not None


def use_invitation(session: Session, sha256: str) -> None:
    """It is worth nothing any more."""
    run(session, "delete_invitation", sha256=sha256)


def drop_invitations(session: Session, account_id: int | None) -> None:
    """Of an account; None: those of the first administrator."""
    if account_id is None:
        run(session, "delete_first_invitations")
    else:
        run(session, "delete_invitations_of", account_id=account_id)


# --- tokens -------------------------------------------------------------------------------------------------


def add_token(
    session: Session,
    name: str,
    sha256: str,
    scopes: Sequence[str],
    by: str,
    now: float,
    expires_at: float | None,
) -> int | None:
    """A program's new token; None when one of that name is in use."""
    lock(session, f"api token {name}")
    if run(session, "api_token_in_use", name=name, now=now).first() is not None:
        return None
    return insert(
        session,
        "insert_api_token",
        name=name,
        sha256=sha256,
        scopes=json.dumps(list(scopes)),
        by=by,
        now=now,
        expires_at=expires_at,
    )


def token(session: Session, sha256: str, now: float) -> Any | None:
    """A token that is good now."""
    return run(session, "api_token_by_sum", sha256=sha256, now=now).first()


def token_used(session: Session, token_id: int, now: float) -> None:
    """Remember when."""
    run(session, "api_token_used", token_id=token_id, now=now)


def revoke_token(session: Session, token_id: int, now: float) -> str | None:
    """It is worth nothing any more; its name, None when it was not good before."""
    name: str | None = run(session, "revoke_api_token", token_id=token_id, now=now).scalar()
    return name


def tokens(session: Session, limit: int) -> Sequence[Any]:
    """The last ones, revoked ones too."""
    return run(session, "api_tokens", limit=limit).all()


# --- OpenID Connect -----------------------------------------------------------------------------------------


def add_oidc_state(
    session: Session, sha256: str, now: float, expires_at: float, rows: int, **values: str
) -> None:
    """A log-in begins at the provider; the oldest of more than `rows` are forgotten."""
    run(session, "delete_old_oidc_states", now=now)
    run(session, "insert_oidc_state", sha256=sha256, expires_at=expires_at, **values)
    run(session, "bound_oidc_states", rows=rows)


def take_oidc_state(session: Session, sha256: str) -> Any | None:
    """It came back: once."""
    return run(session, "take_oidc_state", sha256=sha256).first()


# --- the trace ----------------------------------------------------------------------------------------------


def add_audit(
    session: Session,
    now: float,
    actor: str,
    via: str,
    action: str,
    subject: str,
    peer: str,
    details: dict[str, Any],
) -> None:
    """Append."""
    run(
        session,
        "insert_audit",
        now=now,
        actor=actor,
        via=via,
        action=action,
        subject=subject,
        peer=peer,
        details=json.dumps(details, ensure_ascii=False, sort_keys=True),
    )


def audit_rows(
    session: Session, *, before: int, actor: str, action: str, since: float, until: float, limit: int
) -> Sequence[Any]:
    """The last ones first; `before`: the id that a page ended with, 0: from the end."""
    return run(
        session,
        "audit_rows",
        before=before,
        actor=actor,
        action=action,
        since=since,
        until=until,
        limit=limit,
    ).all()


def old_audit(session: Session, before: float) -> int:
    """How many rows are older."""
    return int(run(session, "old_audit", before=before).scalar_one())


def trim_audit(session: Session, before: float, limit: int, now: float) -> int:
    """Remove the oldest rows before `before`, `limit` at most; how many went, which the trace says."""
    number = int(run(session, "delete_old_audit", before=before, limit=limit).rowcount)
    if number:
        day = datetime.fromtimestamp(before, UTC).date().isoformat()
        add_audit(session, now, "", "", TRIMMED, "", "", {"number": number, "before": day})
    return number


def audit_actions(session: Session) -> list[str]:
    """All words that the trace holds."""
    return list(run(session, "audit_actions").scalars())
