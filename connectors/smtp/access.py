"""What opens an SMTP session: the TLS context with our certificate, and the secret. I/O at the edge.

Purpose: read the files of a `SmtpTransport`, watch them, give the pool what it needs at each session.
Guarantee: an identity in hand has its own key and was within its days when it was taken; one that is not fit is never
taken: the former one stays and one alert says why. The secret is read at each login and kept nowhere.
Fails: `ConfigurationFault` with every problem at once (setting names, never contents).
Source: spec/mssante.md §1.3 (ECO.1.1.1, 1.1.10).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509

from connectors.keys.files import Fingerprint, check_identity, fingerprint, read_identity, read_password
from connectors.keys.files import use_identity as give
from connectors.smtp.settings import SmtpTransport
from gateway.errors import ConfigurationFault

log = logging.getLogger("connectors.smtp")

SECRET_MAX = 65_536
"""Bytes of a secret file: an access token is a few kilobytes."""


@dataclass(frozen=True, slots=True)
class Identity:
    """TLS context (None without TLS) and our own certificate (None without one)."""

    context: ssl.SSLContext | None
    leaf: x509.Certificate | None


class Access:
    """The files of one transport. `load` before use, `watch` for as long as it serves."""

    def __init__(self, transport: SmtpTransport, name: str, clock: Callable[[], datetime]) -> None:
        self._transport = transport
        self._name = name
        self._clock = clock
        self._seen: Fingerprint = ()
        self._identity = Identity(None, None)

    @property
    def context(self) -> ssl.SSLContext | None:
        """For the next session."""
        return self._identity.context

    @property
    def leaf(self) -> x509.Certificate | None:
        """Our certificate in use."""
        return self._identity.leaf

    async def load(self) -> None:
        """Read everything, the secret too. Raises `ConfigurationFault` with all problems."""
        problems: list[str] = []
        self._seen = await asyncio.to_thread(self._fingerprint)
        identity = await asyncio.to_thread(self._read, problems)
        if self._transport.secret_file is not None:
            try:
                await self.secret()
            except ConfigurationFault as e:
                problems.append(str(e))
        if problems or identity is None:
            raise ConfigurationFault("; ".join(problems))
        self._identity = identity

    async def watch(self, changed: Callable[[], None]) -> None:
        """Look at the files every `certificate_check` seconds, until cancelled; `changed` is called after a new
        identity is in force."""
        refused = ""
        while True:
            await asyncio.sleep(self._transport.certificate_check)
            found = await asyncio.to_thread(self._fingerprint)
            # files that were refused are looked at again: they may only have been laid down before their first day
            if found == self._seen and not refused:
                continue
            self._seen = found
            problems: list[str] = []
            identity = await asyncio.to_thread(self._read, problems)
            if identity is None:
                told = "; ".join(problems)
                if told != refused:
                    log.critical(
                        "%s: certificates changed and cannot be used, the former ones stay: %s",
                        self._name,
                        told,
                    )
                refused = told
                continue
            refused = ""
            self._identity = identity
            until = f", valid until {identity.leaf.not_valid_after_utc.date()}" if identity.leaf else ""
            log.warning("%s: certificates changed: in use%s", self._name, until)
            changed()

    async def secret(self) -> str:
        """The password or token as the file holds it now, line end removed. Raises `ConfigurationFault`."""
        path = self._transport.secret_file
        if path is None:
            return ""

        def read() -> str:
            with path.open("rb") as file:
                return file.read(SECRET_MAX).decode("utf-8").strip("\r\n")

        try:
            text = await asyncio.to_thread(read)
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigurationFault(f"secret_file: {type(e).__name__}") from None
        if not text:
            raise ConfigurationFault("secret_file is empty")
        return text

    def _fingerprint(self) -> Fingerprint:
        t = self._transport
        return fingerprint((t.ca_bundle, t.crl_file, t.client_cert, t.client_key, t.client_key_password_file))

    def _read(self, problems: list[str]) -> Identity | None:
        """The identity of the files as they are; None when anything is wrong (`problems` say what)."""
        t = self._transport
        if t.tls == "none":
            return Identity(None, None)
        context: ssl.SSLContext | None = None
        try:
            context = ssl.create_default_context(cafile=str(t.ca_bundle) if t.ca_bundle else None)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
        except (OSError, ssl.SSLError) as e:
            problems.append(f"ca_bundle cannot be read ({type(e).__name__})")
        if t.crl_file is not None and context is not None:
            try:
                context.load_verify_locations(cafile=str(t.crl_file))
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            except (OSError, ssl.SSLError) as e:
                problems.append(f"crl_file cannot be read ({type(e).__name__})")
        leaf: x509.Certificate | None = None
        if t.client_cert is not None:
            password = read_password("client_key_password_file", t.client_key_password_file, problems)
            names = ("client_cert", "client_key")
            chain, key = read_identity(names, t.client_cert, t.client_key, password, problems)
            check_identity("client_cert", (chain, key), self._clock(), problems)
            if chain and key is not None and context is not None and not problems:
                try:
                    give(context, chain, key)
                except (OSError, ssl.SSLError, ValueError) as e:
                    problems.append(f"client_cert and client_key cannot be used for TLS ({type(e).__name__})")
                leaf = chain[0]
        return None if problems else Identity(context, leaf)


def utc_now() -> datetime:
    """The clock of a pool, unless a test gives another."""
    return datetime.now(UTC)
