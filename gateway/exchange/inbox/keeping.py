"""Keep a mail: its bytes on stable storage before anything is done with it.

Guarantee: when `keep` returns, the mail is in the journal under its place in the mailbox; a place is kept once.
Fails: `JournalUnavailable`; then the mailbox still has it, unflagged.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from connectors.mailbox_port import Fetched
from gateway.exchange.identifiers import Clock
from gateway.exchange.reception import WHOLE, store_parts
from gateway.exchange.steps import reached
from gateway.exchange.telemetry import Telemetry
from gateway.journal import mails, payloads
from gateway.journal.store import Journal

log = logging.getLogger("gateway.inbox")


@dataclass(slots=True)
class MailboxState:
    """How a mailbox is, for `/readyz` and the page. `since`: connected, or not, since then (UTC seconds)."""

    connected: bool = False
    reason: str = "starting"
    configuration: bool = False
    since: float = 0.0


class JournalKeeper:
    """`connectors.mailbox_port.Keeper` over the journal, for one mailbox."""

    def __init__(
        self,
        journal: Journal,
        connector: str,
        mailbox: str,
        telemetry: Telemetry,
        clock: Clock,
        kept: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._connector = connector
        self._mailbox = mailbox
        self._telemetry = telemetry
        self._clock = clock
        self._kept = kept
        self.now = MailboxState(since=clock.now())
        telemetry.mailbox_connected.labels(mailbox).set(0)

    async def known(self, places: Sequence[str]) -> Collection[str]:
        """As the port says."""
        return await self._journal.read(lambda s: mails.known(s, self._mailbox, places))

    async def keep(self, fetched: Fetched) -> None:
        """As the port says. Of a mail that was not fetched its headers are kept."""
        content = fetched.content if fetched.content is not None else fetched.head
        sha256 = await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
        new = mails.NewMail(
            self._connector,
            self._mailbox,
            fetched.place,
            sha256 if fetched.content is not None else "",
            fetched.size,
            self._clock.now(),
        )
        if len(content) <= WHOLE:
            kept = await self._journal.write(
                lambda s: mails.keep(s, new, lambda: payloads.add(s, sha256, content))
            )
        else:
            async with store_parts(self._journal, sha256, content) as (payload_id, held):
                kept = await self._journal.write(
                    lambda s: mails.keep(s, new, lambda: payloads.held(s, payload_id))
                )
                if kept is not None:
                    held()
        if kept is None:
            return
        self._telemetry.mails_kept.labels(self._mailbox).inc()
        log.info("mail %d kept: %d bytes", kept, fetched.size)
        reached("kept", self._connector)
        self._kept()

    def state(self, connected: bool, reason: str = "", *, configuration: bool = False) -> None:
        """As the port says; one line of the log for each change."""
        before = self.now
        if (before.connected, before.reason, before.configuration) == (connected, reason, configuration):
            return
        # another reason does not begin the time anew
        since = before.since if before.connected == connected else self._clock.now()
        self.now = MailboxState(connected, reason, configuration, since)
        self._telemetry.mailbox_connected.labels(self._mailbox).set(int(connected))
        level = logging.INFO if connected else logging.CRITICAL if configuration else logging.WARNING
        words = "connected" if connected else f"not connected ({reason})"
        log.log(level, "mailbox %s: %s", self._mailbox, words)
