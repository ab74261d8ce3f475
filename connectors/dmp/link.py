"""The link to one DMP: certificates, connections, requests; renewed without a restart.

Purpose: what every transaction shares: a builder that signs, a transport that carries, and the belief in replies.
Guarantee: builder and transport are replaced together; a set of certificates that is not fit is never taken: the
old one stays and an alert says why. A call under way ends on the connection that it began on.
Fails: `start` raises `ConfigurationFault`; `call` returns a `Failure`.
Source: EX_GEN-1450, spec/dmp.md §1.5, §4.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial

from connectors.dmp.certificates import Credentials, fingerprint, load_credentials
from connectors.dmp.requests import Request, RequestBuilder
from connectors.dmp.responses import Answer, ErrorCodes, Failure, judge_clock, load_codes, read_reply
from connectors.dmp.settings import DmpSettings
from connectors.dmp.transport import TLS_ALERT, DmpTransport, TransportFailure
from connectors.port import OutcomeClass
from gateway.errors import ConfigurationFault, GatewayBug

log = logging.getLogger("connectors.dmp")

_IN_LOOP = 1_000_000
"""Bytes of a reply that are read in the event loop; a longer one takes a thread."""
_WARN_EVERY = timedelta(days=1)


class Link:
    """One per connector. `start`, calls, `stop`."""

    def __init__(self, settings: DmpSettings, version: str, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._version = version
        self._clock = clock
        self._codes: ErrorCodes = load_codes(settings.error_codes)
        self._builder: RequestBuilder | None = None
        self._transport: DmpTransport | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._warned: datetime | None = None
        self.credentials: Credentials | None = None

    @property
    def started(self) -> bool:
        """True between `start` and `stop`."""
        return self._transport is not None

    @property
    def build(self) -> RequestBuilder:
        """The builder of the certificates in use."""
        if self._builder is None:
            raise GatewayBug("the DMP connector was not started")
        return self._builder

    async def start(self) -> None:
        """Check certificates, open the pool, watch the files."""
        seen = fingerprint(self._settings)
        await self._install(await asyncio.to_thread(load_credentials, self._settings, self._clock()))
        self._warn_of_expiry()
        self._watcher = asyncio.create_task(self._watch(seen), name="dmp-certificates")

    async def stop(self) -> None:
        """Close the pool."""
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        transport, self._transport = self._transport, None
        if transport is not None:
            await transport.close()

    def certificates(self) -> Mapping[str, datetime]:
        """Setting name to the end of validity of each certificate in use; empty before start."""
        if self.credentials is None:
            return {}
        return {
            "auth_certificate": self.credentials.auth_leaf.not_valid_after_utc,
            "sign_certificate": self.credentials.signing.chain[0].not_valid_after_utc,
        }

    async def call(self, request: Request, *, writes: bool) -> Answer | Failure:
        """Send one request, believe or not its reply."""
        if self._transport is None:
            return Failure(OutcomeClass.TRANSIENT, "STOPPED", "Le connecteur DMP est arrêté.")
        try:
            reply = await self._transport.post(
                request.url, request.content_type, request.chunks, request.length, request.limit
            )
        except TransportFailure as e:
            outcome = e.outcome
            if outcome is OutcomeClass.UNCERTAIN and not writes:
                refused = e.code == TLS_ALERT
                outcome = OutcomeClass.CONFIGURATION if refused else OutcomeClass.TRANSIENT
            return Failure(outcome, e.code, e.label)
        read = partial(
            read_reply, reply, request.message_id, self._codes, writes=writes, expected=request.reply
        )
        made = await asyncio.to_thread(read) if len(reply.body) > _IN_LOOP else read()
        return judge_clock(made, reply.date, self._clock()) if isinstance(made, Failure) else made

    # --- certificates -------------------------------------------------------------------------------------------

    async def _install(self, credentials: Credentials) -> None:
        old = self._transport
        self.credentials = credentials
        self._builder = RequestBuilder(self._settings, credentials.signing, self._version)
        self._transport = DmpTransport(self._settings, credentials.tls)
        if old is not None:
            await old.retire()

    async def _watch(self, seen: tuple[tuple[int, ...], ...]) -> None:
        refused = ""
        while True:
            await asyncio.sleep(self._settings.certificate_check)
            self._warn_of_expiry()
            found = fingerprint(self._settings)
            # a set that was refused is looked at again: it may only have been laid down before its first day
            if found == seen and not refused:
                continue
            seen = found
            try:
                credentials = await asyncio.to_thread(load_credentials, self._settings, self._clock())
            except ConfigurationFault as e:
                if str(e) != refused:
                    log.critical("DMP certificates changed and cannot be used, the former ones stay: %s", e)
                refused = str(e)
                continue
            refused = ""
            await self._install(credentials)
            self._warned = None
            log.warning("DMP certificates changed: in use, valid until %s", credentials.not_after.date())

    def _warn_of_expiry(self) -> None:
        """Once a day from `expiry_warning_days` before the end."""
        now = self._clock()
        limit = now + timedelta(days=self._settings.expiry_warning_days)
        if self._warned is not None and now - self._warned < _WARN_EVERY:
            return
        for name, end in self.certificates().items():
            if end <= limit:
                self._warned = now
                log.critical("DMP %s expires on %s", name, end.date())
