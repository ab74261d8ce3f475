"""Who may call an interface: a file of hashed bearer tokens and their scopes.

Purpose: tell a caller by its token. The file holds SHA-256 sums of random tokens (256 bits): nothing to guess, and
whoever reads the file cannot call. Shared by the gateway's own interface and by connectors that offer one.
Guarantee: every token of the file is compared, in constant time; a changed file is used at the next call, a wrong one
shuts the interface and never the gateway. A token is read from the header `Authorization` alone, never from a URL.
Fails: `load_tokens` raises `ConfigurationFault` with every wrong entry (by its number, never its content).
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.errors import ConfigurationFault

MIN_LENGTH: Final = 32
"""Characters of a token: shorter ones are not looked at."""
_BEARER: Final = "bearer "


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    scopes: list[str] = Field(min_length=1)


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
        made = sum_of(token)
        found = None
        for known, client in self.entries:
            if hmac.compare_digest(known, made):
                found = client
        return found if len(token) >= MIN_LENGTH else None


def sum_of(token: str) -> str:
    """What the file holds of a token: SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def bearer(authorization: str | None) -> str:
    """The token of a header `Authorization: Bearer …`; empty without one."""
    header = authorization or ""
    return header[len(_BEARER) :].strip() if header[: len(_BEARER)].lower() == _BEARER else ""


def load_tokens(path: Path, scopes: Collection[str], setting: str) -> Tokens:
    """Read `[[token]]` tables: `name`, `sha256`, `scopes` (among `scopes`). `setting` names the file in faults."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigurationFault(f"{setting} cannot be read ({type(e).__name__})") from e
    listed = table.get("token")
    entries: list[tuple[str, Client]] = []
    wrong: list[str] = []
    for number, row in enumerate(listed if isinstance(listed, list) else [], 1):
        try:
            one = _Entry.model_validate(row)
        except ValidationError:
            wrong.append(str(number))
            continue
        if set(one.scopes) <= set(scopes):
            entries.append((one.sha256, Client(one.name, frozenset(one.scopes))))
        else:
            wrong.append(str(number))
    names = [client.name for _, client in entries]
    if wrong or not entries or len(set(names)) != len(names):
        raise ConfigurationFault(
            f"{setting}: [[token]] number {', '.join(wrong) or '-'} wrong, absent or named twice "
            f"(name, sha256 of 64 lower-case hexadecimal digits, scopes among {' and '.join(scopes)})"
        )
    return Tokens(tuple(entries))


class TokenFile:
    """The tokens of a file, read again when it changes."""

    def __init__(self, path: Path, scopes: Collection[str], setting: str) -> None:
        self._path = path
        self._scopes = scopes
        self._setting = setting
        self._seen: tuple[int, int, int] | None = None
        self._tokens: Tokens | None = None

    def current(self) -> Tokens:
        """The tokens now. Raises `ConfigurationFault`."""
        try:
            found = self._path.stat()
        except OSError as e:
            raise ConfigurationFault(f"{self._setting} cannot be read ({type(e).__name__})") from e
        mark = (found.st_ino, found.st_size, found.st_mtime_ns)
        if self._tokens is None or mark != self._seen:
            self._tokens, self._seen = None, mark
            self._tokens = load_tokens(self._path, self._scopes, self._setting)
        return self._tokens
