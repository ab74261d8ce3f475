"""The monthly run: provisional figures of the months under way, publication of those that are over, revisions.

Purpose: done by one node for all that share a journal. Every `refresh` seconds, when facts came: the months whose
cut-off has not passed; the months that are to be published (all of them since the first fact, after an import); the
published months that new facts may have changed.

Guarantee: without new facts and without a cut-off that passed nothing is computed, and no worker started. A stop in the
middle leaves whole months, the next run goes on. A month that was published by other rules or another catalogue is only
looked at again when facts that reach it came, or when somebody asks; a provisional one is computed again.
Fails: never ends by itself; faults of the journal and of the worker are waited for.
Source: spec/indicators.md R14.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from functools import partial

from sqlmodel import Session

from gateway.errors import GatewayError, JournalUnavailable
from gateway.exchange.identifiers import Clock
from gateway.journal import facts, figures
from gateway.journal.fact_stream import Seen
from gateway.journal.figures import PROVISIONAL, Check, Head
from gateway.journal.store import Journal
from indicators import periods
from indicators.bookkeeper import Bookkeeper
from indicators.touched import Reach, reach

log = logging.getLogger("gateway.indicators")

FIRST = 30.0
"""Seconds after the start."""
NEWEST = 13
"""Published months that are looked at after any new fact; older ones only when a fact reaches them."""
MARGIN = 62 * 86_400.0
"""Seconds by which what many facts tell may be older than their instants."""


class Monthly:
    """One per gateway; at work on the node that has the duty."""

    def __init__(
        self, journal: Journal, books: Bookkeeper, refresh: float, clock: Clock | None = None
    ) -> None:
        self._journal = journal
        self._books = books
        self._refresh = refresh
        self._clock = clock or Clock()
        self._task: asyncio.Task[None] | None = None
        self.looked = 0
        """The newest fact when the last run that ended well began."""

    async def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="indicators")

    async def stop(self) -> None:
        """End; what is left is for the next run."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        await asyncio.sleep(min(FIRST, self._refresh))
        while True:
            try:
                await self.run_once()
            except JournalUnavailable:
                log.warning("indicators: the journal is unavailable")
            except GatewayError as e:
                log.error("indicators: %s", e)
            except Exception as e:
                log.critical("indicators failed: %s", type(e).__name__, exc_info=e)
            await asyncio.sleep(self._refresh)

    async def run_once(self) -> None:
        """Compute what is to be computed now."""
        await self._books.in_use.look()
        newest = await self._journal.read(facts.newest)
        if not newest:
            return
        await self._books_know(newest)
        last = await self._journal.read(_last_check)
        wanted, untouched = await self._journal.read(self._wanted)
        if untouched and last is not None:
            # what came up to the last reading does not reach them: the next run begins to look there
            now = self._clock.now()
            await self._journal.write(partial(figures.checked, months=untouched, seen=last.seen, at=now))
        if wanted:
            await self._books.compute(wanted)
        self.looked = newest

    async def _books_know(self, newest: int) -> None:
        """Facts that nobody looked at may tell of an establishment, or of a time, that has no figures."""
        if self._books.since and newest == self.looked:
            return
        if await self._journal.read(self._all_known):
            return
        await self._books.compute([])

    def _all_known(self, session: Session) -> bool:
        """True when the last computation, perhaps before a restart, had all facts there are."""
        last = _last_check(session)
        return last is not None and not figures.changed(session, last.seen)

    def _wanted(self, session: Session) -> tuple[list[str], list[str]]:
        """(months to be computed, the newest first; months that nothing new reaches)."""
        now = self._clock.now()
        where = self._books.catalogue.time_zones["default"]
        heads, checks = figures.heads(session), figures.checks(session)
        this = periods.month_of(now, where)
        by_month: dict[str, list[Head]] = {}
        for head in heads:
            by_month.setdefault(head.month, []).append(head)
        since = self._since(heads)
        reaches: dict[Seen, Reach | None] = {}
        wanted, untouched = [], []
        for age, month in enumerate(reversed(periods.months(min(since.values(), default=this), this))):
            check, there = checks.get(month), by_month.get(month, [])
            missing = len(there) < sum(start <= month for start in since.values())
            due = any(
                self._books.outdated(h) or (h.revision == PROVISIONAL and _passed(h, now)) for h in there
            )
            if check is None or missing or due:
                wanted.append(month)
                continue
            if check.seen not in reaches:
                reaches[check.seen] = _reach(session, check)
            came = reaches[check.seen]
            if came is None:
                continue
            under_way = any(h.revision == PROVISIONAL for h in there)
            followed = age < NEWEST and all(self._same_rules(h) for h in there)
            if under_way or followed or any(came.touches(_instant(h.cutoff)) for h in there):
                wanted.append(month)
            else:
                untouched.append(month)
        return wanted, untouched

    def _since(self, heads: list[Head]) -> dict[str, str]:
        """FINESS → first month that facts tell of: as the last computation saw it, else as figures are kept."""
        zones = self._books.catalogue.time_zones
        told = {
            finess: periods.month_of(instant, periods.zone_of(finess, zones))
            for finess, instant in self._books.since.items()
        }
        for head in heads:
            told[head.finess] = min(told.get(head.finess, head.month), head.month)
        return told

    def _same_rules(self, head: Head) -> bool:
        catalogue = self._books.catalogue
        return (head.rule_version, head.catalogue_version) == (catalogue.rule_version, catalogue.version)


def _last_check(session: Session) -> Check | None:
    return max(figures.checks(session).values(), key=lambda c: c.seen.last, default=None)


def _instant(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def _passed(head: Head, now: float) -> bool:
    return _instant(head.cutoff) <= now


def _reach(session: Session, check: Check) -> Reach | None:
    new = figures.new_facts(session, check.seen)
    if not new:
        return None
    if len(new) < figures.LOOK:
        return reach(new)
    oldest = figures.oldest_new(session, check.seen)
    return Reach((oldest or 0.0) - MARGIN)
