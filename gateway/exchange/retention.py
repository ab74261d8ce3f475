"""Retention with three clocks: contents, traces, the audit trail. One process does it for all that share a journal.

Purpose: bytes of patients' documents do not stay longer than the hospital decides, nor the details of what became of
them, nor the rows of ADT; the register of versions and the facts stay. The trail of who did what has its own clock.
Guarantee: what `gateway.journal.retention` says may go, and nothing else; a few rows in each commit, with a pause after
it, so that no ACK waits for it. A stop in the middle leaves whole rows; the next run goes on.
Fails: never ends by itself; faults of the journal are waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial

from sqlmodel import Session

from gateway.errors import JournalUnavailable
from gateway.exchange.identifiers import Clock
from gateway.exchange.telemetry import Telemetry
from gateway.journal import access, retention
from gateway.journal.retention import Emptiable
from gateway.journal.store import Journal
from gateway.settings import RetentionSettings

log = logging.getLogger("gateway.retention")

DAY = 86_400.0
LOOK = 500
"""Rows of one look."""
GROUP = 20
"""Rows of one commit."""
AUDIT_GROUP = 500
"""Rows of the trail of one commit: they are small, and each commit adds one."""
PAUSE = 0.05
"""Seconds between two commits."""

Find = Callable[[Session, int, float, int], list[Emptiable]]


@dataclass(slots=True)
class Swept:
    """What a run emptied or removed, or would."""

    messages: int = 0
    mails: int = 0
    bytes: int = 0
    deliveries: int = 0
    """Whose details go."""
    adt: int = 0
    """Messages whose rows go."""
    audit: int = 0
    """Rows of the trail."""
    rows: int = 0
    """Removed (0 of a dry run: they are counted as they go)."""


class Retention:
    """One per process. `reporting`: there is an error mailbox."""

    def __init__(
        self,
        journal: Journal,
        settings: RetentionSettings,
        telemetry: Telemetry,
        reporting: bool,
        clock: Clock | None = None,
    ) -> None:
        self._journal = journal
        self._settings = settings
        self._telemetry = telemetry
        self._reporting = reporting
        self._clock = clock or Clock()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin, when there is a clock."""
        s = self._settings
        if s.content_days is not None or s.trace_days is not None or s.audit_days:
            self._task = asyncio.create_task(self._run(), name="retention")

    async def stop(self) -> None:
        """End; what is left is for the next run."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(min(60.0, self._settings.every))
            try:
                swept = await self.sweep()
                words = ", ".join(f"{k}={v}" for k, v in asdict(swept).items())
                log.info("retention: %s", words)
            except JournalUnavailable:
                log.warning("retention: the journal is unavailable")
            except Exception as e:
                log.critical("retention failed: %s", type(e).__name__, exc_info=e)
            await asyncio.sleep(self._settings.every)

    async def sweep(self, *, dry_run: bool = False) -> Swept:
        """One run; what it did, or would do."""
        swept, now = Swept(), self._clock.now()
        content, trace = self._settings.content_days, self._settings.trace_days
        if content is not None:
            before = now - content * DAY
            reporting = self._reporting
            told = await self._journal.read(lambda s: retention.unreported(s, reporting=reporting))
            swept.messages = await self._empty(retention.messages, told[0], before, swept, dry_run)
            swept.mails = await self._empty(retention.mails, told[1], before, swept, dry_run)
        if trace is not None:
            await self._trim(now - trace * DAY, swept, dry_run)
            await self._forget(now - trace * DAY, swept, dry_run)
        if self._settings.audit_days:
            # whole days: what says that rows went is a row too, and must not make a run of each
            before = (now - self._settings.audit_days * DAY) // DAY * DAY
            swept.audit = await self._trim_audit(before, dry_run)
        return swept

    async def _empty(
        self, find: Find, kept: frozenset[int], before: float, swept: Swept, dry_run: bool
    ) -> int:
        number, after = 0, 0
        while True:
            found = await self._journal.read(partial(_find, find=find, after=after, before=before))
            if not found:
                return number
            after = found[-1].id
            going = [one for one in found if one.id not in kept]
            number += len(going)
            swept.bytes += sum(one.size for one in going)
            if dry_run:
                continue
            for start in range(0, len(going), GROUP):
                group = going[start : start + GROUP]
                ids = [p for one in group for p in one.payloads]
                await self._journal.write(partial(retention.empty, payload_ids=ids, now=self._clock.now()))
                self._telemetry.retention.labels("contents").inc(len(group))
                await asyncio.sleep(PAUSE)

    async def _trim(self, before: float, swept: Swept, dry_run: bool) -> None:
        after = 0
        while True:
            found: Sequence[int] = await self._journal.read(
                partial(retention.traces, after=after, before=before, limit=LOOK)
            )
            if not found:
                return
            after = found[-1]
            swept.deliveries += len(found)
            if dry_run:
                continue
            for start in range(0, len(found), GROUP):
                group = found[start : start + GROUP]
                removed = await self._journal.write(partial(retention.trim, delivery_ids=group))
                swept.rows += removed
                self._telemetry.retention.labels("traces").inc(len(group))
                await asyncio.sleep(PAUSE)

    async def _forget(self, before: float, swept: Swept, dry_run: bool) -> None:
        after = 0
        while True:
            found: Sequence[int] = await self._journal.read(
                partial(retention.adt, after=after, before=before, limit=LOOK)
            )
            if not found:
                return
            after = found[-1]
            if dry_run:
                swept.adt += len(found)
                continue
            for start in range(0, len(found), GROUP):
                group, now = found[start : start + GROUP], self._clock.now()
                gone = await self._journal.write(partial(retention.forget, message_ids=group, now=now))
                swept.adt += gone
                self._telemetry.retention.labels("adt").inc(gone)
                await asyncio.sleep(PAUSE)

    async def _trim_audit(self, before: float, dry_run: bool) -> int:
        if dry_run:
            return await self._journal.read(lambda s: access.old_audit(s, before))
        number, gone = 0, AUDIT_GROUP
        while gone == AUDIT_GROUP:
            now = self._clock.now()
            gone = await self._journal.write(partial(_trim_audit, before=before, now=now))
            number += gone
            self._telemetry.retention.labels("audit").inc(gone)
            await asyncio.sleep(PAUSE)
        return number


def _trim_audit(session: Session, before: float, now: float) -> int:
    return access.trim_audit(session, before, AUDIT_GROUP, now)


def _find(session: Session, find: Find, after: int, before: float) -> list[Emptiable]:
    return find(session, after, before, LOOK)
