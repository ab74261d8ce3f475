"""Tokens that are files: programs that may call the running gateway, and the command line of this machine.

Purpose: callers of `[web] tokens` (hashed tokens with scopes), and the command line of this machine: a token made anew
at each start, with all rights, in a file that its owner alone can read, beside the journal.

Guarantee: whoever can read the file of the local token can read the journal too.
Fails: `Denied` with an HTTP status and a French sentence. A folder that cannot be written: no local token, a warning.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.errors import BadInput, ConfigurationFault
from gateway.rights import SCOPES
from gateway.settings import Settings
from gateway.tokens import Client, TokenFile, Tokens, sum_of

log = logging.getLogger("gateway.web")

SETTING: Final = "[web] tokens"
LOCAL: Final = "ligne de commande"
"""Name of the local caller in the audit."""


class Denied(BadInput):
    """The caller may not do this."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.code = status, code


def local_file(settings: Settings, base_dir: Path) -> Path:
    """Where the local token stands: beside the journal, by the port that the settings name (several gateways of one
    PostgreSQL journal may share a folder)."""
    return (base_dir / settings.journal.path).parent / f"operator-{settings.web.port}.json"


@dataclass(frozen=True, slots=True)
class LocalAccess:
    """What the local file says: where the gateway answers, and the token."""

    url: str
    token: str


def read_local(path: Path) -> LocalAccess:
    """As the running gateway wrote it. `ConfigurationFault` when there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return LocalAccess(str(found["url"]), str(found["token"]))
    except FileNotFoundError:
        raise ConfigurationFault(
            f"{path.name} : absent ; la passerelle ne tourne pas avec ces réglages"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ConfigurationFault(f"{path.name} : illisible ({type(e).__name__})") from None


class Access:
    """One per gateway."""

    def __init__(self, settings: Settings, base_dir: Path) -> None:
        self._file = local_file(settings, base_dir)
        self._host = settings.web.host
        named = settings.web.tokens
        self._tokens = None if named is None else TokenFile(base_dir / named, SCOPES, SETTING)
        self._local: Tokens | None = None
        if self._tokens is not None:
            self._tokens.current()

    def open(self, port: int) -> None:
        """Write the local token, now that the interface answers at `port`."""
        token = secrets.token_urlsafe(32)
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self._host, self._host)  # noqa: S104 - compared
        url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        made = self._file.with_name(f"{self._file.name}.{os.getpid()}")
        try:
            made.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # with PostgreSQL nobody else makes it
            made.unlink(missing_ok=True)
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as f:
                json.dump({"url": url, "token": token}, f)
            made.replace(self._file)
        except OSError as e:
            log.warning("no token for the local command line: %s", e.strerror)
            return
        self._local = Tokens(((sum_of(token), Client(LOCAL, frozenset(SCOPES))),))

    def close(self) -> None:
        """The local token is worth nothing any more."""
        if self._local is not None:
            self._local = None
            with contextlib.suppress(OSError):
                self._file.unlink(missing_ok=True)

    def find(self, token: str) -> tuple[Client, bool] | None:
        """The caller of a token, and whether it is the command line of this machine. Raises `Denied` (503) when the
        file of tokens cannot be read."""
        client = self._local.find(token) if self._local is not None else None
        if client is not None:
            return client, True
        if self._tokens is not None:
            try:
                client = self._tokens.current().find(token)
            except ConfigurationFault as e:
                log.critical("calls with a token are refused: %s", e)
                raise Denied(503, "TOKENS", "Le fichier des jetons est illisible ou incorrect.") from None
        return None if client is None else (client, False)
