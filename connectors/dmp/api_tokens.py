"""Who may call the API: a file of hashed bearer tokens and their scopes.

Purpose: tell a caller by its token. The file holds SHA-256 sums of random tokens (256 bits): nothing to guess, and
whoever reads the file cannot call.
Guarantee: every token of the file is compared, in constant time; a changed file is used at the next call, a wrong one
shuts the API and never the gateway.
Fails: `load_tokens` raises `ConfigurationFault` with every wrong entry (by its number, never its content).
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import ConfigurationFault

Scope = Literal["consult", "update"]
MIN_LENGTH: Final = 32
"""Characters of a token: shorter ones are not looked at."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: list[Scope] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class Client:
    """One caller: its name goes to the audit."""

    name: str
    scopes: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tokens:
    """All callers by the sum of their token."""

    entries: tuple[tuple[str, Client], ...]

    def find(self, token: str) -> Client | None:
        """The caller of a token."""
        made = hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
        found = None
        for known, client in self.entries:
            if hmac.compare_digest(known, made):
                found = client
        return found if len(token) >= MIN_LENGTH else None


def load_tokens(path: Path) -> Tokens:
    """Read `[[token]]` tables: `name`, `sha256`, `scopes`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigurationFault(f"[connectors.dmp] api_tokens cannot be read ({type(e).__name__})") from e
    listed = table.get("token")
    entries: list[tuple[str, Client]] = []
    wrong: list[str] = []
    for number, row in enumerate(listed if isinstance(listed, list) else [], 1):
        try:
            one = _Entry.model_validate(row)
        except ValidationError:
            wrong.append(str(number))
        else:
            entries.append((one.sha256, Client(one.name, frozenset(one.scopes))))
    names = [client.name for _, client in entries]
    if wrong or not entries or len(set(names)) != len(names):
        raise ConfigurationFault(
            f"[connectors.dmp] api_tokens: [[token]] number {', '.join(wrong) or '-'} wrong, absent or named twice "
            "(name, sha256 of 64 lower-case hexadecimal digits, scopes among consult and update)"
        )
    return Tokens(tuple(entries))


class TokenFile:
    """The tokens of a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._tokens: Tokens | None = None

    def current(self) -> Tokens:
        """The tokens now. Raises `ConfigurationFault`."""
        try:
            found = self._path.stat()
        except OSError as e:
            raise ConfigurationFault(
                f"[connectors.dmp] api_tokens cannot be read ({type(e).__name__})"
            ) from e
        mark = (found.st_ino, found.st_size, found.st_mtime_ns)
        if self._tokens is None or mark != self._seen:
            self._tokens, self._seen = None, mark
            self._tokens = load_tokens(self._path)
        return self._tokens
