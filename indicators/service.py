"""The figures of a running gateway: what is kept, brought up to date when facts came since.

Purpose: what the API, the pages and the gauges ask (`indicators.published.Figures`); the monthly run asks the same
bookkeeper (`indicators.monthly`).

Guarantee: who asks for a month gets figures that hold all facts known when they asked, when these can be had in time;
else the last ones, and is told so. What to look at beside the newest revision is as it is now, or says of when it is
(`looked_at`); beside a revision that is named, as it was. A month that is over and past its cut-off is published when
it is first computed. A computation that takes long is not repeated at each request: it rests ten times as long as it
took.
Fails: `JournalUnavailable`; `MachineLost` and `Busy` from `as_of` and `explain`.
Source: spec/indicators.md §6.6, R14.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal, TypeVar

from sqlmodel import Session

from gateway.errors import GatewayError
from gateway.exchange.identifiers import Clock
from gateway.journal import facts, figures
from gateway.journal.figures import PROVISIONAL, Looked, Stored
from gateway.journal.store import Journal
from indicators import periods, stored
from indicators.bookkeeper import Bookkeeper
from indicators.catalogue import Catalogue
from indicators.explain import Explanation
from indicators.monthly import Monthly
from indicators.published import Establishment, Published, State
from indicators.sheet import Cell
from indicators.touched import reach
from indicators.worker import Listed

T = TypeVar("T")
log = logging.getLogger("gateway.indicators")

QUICK = 2.0
"""Seconds of processor: a computation that took less is repeated whenever facts came."""
REST = 10.0
"""Times as long as it took, that another one rests."""
AFTER_FAILURE = 60.0
PATIENCE = 2.0
"""Seconds that a page waits for new figures."""
REMEMBERED = 8
"""Results of `as_of` that are kept in memory."""
_RUN = ""
_Behind = Literal["", "quality", "figures"]
"""What facts that came since may make another: nothing, what is told beside the figures, the figures."""


@dataclass(frozen=True, slots=True)
class Current:
    """The newest figures of a month."""

    found: list[Published]
    """By establishment."""
    stale: bool = False
    """Facts came since, and new figures could not be had in time."""


class FigureService:
    """One per gateway (`indicators.published.Figures`)."""

    def __init__(
        self,
        journal: Journal,
        bookkeeper: Bookkeeper,
        monthly: Monthly,
        names: Mapping[str, str],
        clock: Clock | None = None,
    ) -> None:
        self._journal = journal
        self.books = bookkeeper
        self.monthly = monthly
        self._names = names
        self._clock = clock or Clock()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        """Month → its computation; `_RUN`: that of all months."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._past: OrderedDict[tuple[str, str, float, int, float], list[Published]] = OrderedDict()

    @property
    def catalogue(self) -> Catalogue:
        """By which figures are made."""
        return self.books.catalogue

    async def close(self) -> None:
        """End what is under way, and the worker."""
        tasks = [*self._tasks, *self._under_way.values()]
        for task in tasks:
            task.cancel()
        await self.books.machine.close()
        await asyncio.gather(*tasks, return_exceptions=True)

    def trouble(self) -> dict[str, str]:
        """What a person must look at: name → French sentence."""
        found = {}
        if self.books.failed:
            found["indicators"] = "Le dernier calcul des indicateurs a échoué ; il sera repris."
        if self.books.in_use.fault:
            found["indicators_catalogue"] = self.books.in_use.fault
        return found

    # --- indicators.published.Figures -----------------------------------------------------------------------

    async def definitions(self) -> Catalogue:
        """The catalogue in use, as its file is now."""
        return await self.books.in_use.look()

    async def establishments(self) -> list[Establishment]:
        """All that have figures, by name."""
        await self._first_figures()
        known = await self._journal.read(figures.finesses)
        found = [Establishment(finess, self._names.get(finess, finess)) for finess in known]
        return sorted(found, key=lambda e: (e.name.casefold(), e.finess))

    async def months(self, finess: str) -> list[str]:
        """Months that have figures, the last one first."""
        await self._first_figures()
        return await self._journal.read(lambda s: figures.months(s, finess))

    async def month(self, finess: str, month: str, revision: int | None = None) -> Published | None:
        """The figures: the newest revision (a provisional one when nothing is published), or the one named."""
        if revision is None:
            found = (await self.current(month, finess, within=PATIENCE)).found
        else:
            found = await self.kept(month, finess, revision)
        return next(iter(found), None)

    async def revisions(self, finess: str, month: str) -> list[Published]:
        """All that was published of a month, the newest first."""
        return await self._shown(await self._journal.read(lambda s: figures.revisions(s, finess, month)))

    async def trend(self, finess: str, last: str, count: int = 13) -> dict[str, Published | None]:
        """`count` months that end with `last`, in order."""
        wanted = [periods.month_before(last, back) for back in reversed(range(count))]

        def rows(session: Session) -> list[Stored]:
            return [kept for month in wanted for kept in figures.stored(session, month, finess)]

        found = {p.month: p for p in await self._shown(await self._journal.read(rows))}
        return {month: found.get(month) for month in wanted}

    async def explain(
        self, finess: str, month: str, cell: Cell, revision: int | None = None
    ) -> Explanation | None:
        """The list behind a row, of the facts that the revision knew; None: there is no such row."""
        rows = await self._journal.read(
            partial(figures.stored, month=month, finess=finess, revision=revision)
        )
        if not rows:
            return None
        await self.books.in_use.look()
        request = self.books.request()
        request.until = rows[0].seen.as_json()
        request.explain = Listed(finess, month, tuple(cell), rows[0].revision)
        answer, content = await self._shielded(self.books.machine.ask(request))
        return None if answer.listed is None else stored.unpack_explanation(content[0])

    async def refresh(self, month: str) -> State:
        """Ask for a new computation of a month (it becomes a revision when something changed)."""
        self._begin(month)
        return self.state()

    def state(self) -> State:
        """Whether a computation is under way, and whether the last one failed."""
        return "computing" if self._under_way else self.books.state()

    # --- for the API ----------------------------------------------------------------------------------------

    async def current(
        self, month: str, finess: str | None = None, *, within: float, force: bool = False
    ) -> Current:
        """The newest figures of a month, of all facts that are known now when that takes no longer than `within`
        seconds. `force`: compute whatever was computed before.
        """
        end = asyncio.get_running_loop().time() + within
        await self.books.in_use.look()
        stale = False
        done = month > self.this_month()
        while not done:
            behind = "figures" if force else await self._journal.read(partial(self._behind, month=month))
            if not behind:
                break
            # one that is under way may have read the facts before the last of them came
            done = month not in self._under_way
            if done and not force and self._resting():
                stale = behind == "figures"
            elif behind == "quality" and self.books.cost > within:
                # the figures are right: who looks at them need not wait in vain, the next one sees the rest
                self._begin(month)
                done = True
            elif not await self._await(self._begin(month), end):
                stale, done = behind == "figures", True
        return Current(
            await self._shown(*await self._journal.read(partial(_now, month=month, finess=finess))), stale
        )

    async def kept(self, month: str, finess: str | None, revision: int | None = None) -> list[Published]:
        """What is kept of a month, by establishment, whatever came since."""
        rows = await self._journal.read(
            partial(figures.stored, month=month, finess=finess, revision=revision)
        )
        return await self._shown(rows)

    async def as_of(self, month: str, at: datetime, finess: str | None = None) -> list[Published]:
        """The figures as they would have been with the facts known at that instant; nothing is kept in the journal."""
        await self.books.in_use.look()
        newest = await self._journal.read(facts.newest)
        key = (month, finess or "", at.timestamp(), newest, self.books.in_use.since)
        known = self._past.get(key)
        if known is not None:
            self._past.move_to_end(key)
            return known
        request = self.books.request()
        request.as_of, request.months, request.finess = at.timestamp(), [month], finess
        answer, content = await self._shielded(self.books.machine.ask(request))
        found = []
        for part, packed in zip(answer.parts, content, strict=True):
            where = periods.zone_of(part.finess, self.catalogue.time_zones)
            told = periods.iso(at.timestamp(), where)
            rows, quality = stored.unpack(
                packed, part.finess, part.cutoff, PROVISIONAL, answer.rule_version, told
            )
            if part.told:
                found.append(
                    Published(
                        finess=part.finess,
                        month=month,
                        revision=PROVISIONAL,
                        computed_at=self._clock.now(),
                        as_of=told,
                        cutoff=part.cutoff,
                        rule_version=answer.rule_version,
                        catalogue_version=answer.catalogue_version,
                        facts=answer.facts,
                        rows=rows,
                        quality=quality,
                    )
                )
        self._past[key] = found
        if len(self._past) > REMEMBERED:
            self._past.popitem(last=False)
        return found

    async def explain_as_of(self, finess: str, month: str, cell: Cell, at: datetime) -> Explanation | None:
        """The list behind a row of `as_of`."""
        await self.books.in_use.look()
        request = self.books.request()
        request.as_of, request.explain = at.timestamp(), Listed(finess, month, tuple(cell))
        answer, content = await self._shielded(self.books.machine.ask(request))
        return None if answer.listed is None else stored.unpack_explanation(content[0])

    def this_month(self) -> str:
        """The month that it is, where it begins first."""
        zones = self.catalogue.time_zones.values()
        return max(periods.month_of(self._clock.now(), zone) for zone in zones)

    # --- inside ---------------------------------------------------------------------------------------------

    def _behind(self, session: Session, month: str) -> _Behind:
        """What of the month was not computed with all facts that may change it, or is to be published."""
        check = figures.check_of(session, month)
        if check is None:
            return "figures" if facts.newest(session) > 0 else ""
        heads = figures.heads(session, month)
        now = self._clock.now()
        provisional = [h for h in heads if h.revision == PROVISIONAL]
        if any(self.books.outdated(h) for h in provisional):
            return "figures"
        if any(datetime.fromisoformat(h.cutoff).timestamp() <= now for h in provisional):
            return "figures"
        new = figures.new_facts(session, check.seen)
        if new:
            if provisional or not heads or len(new) >= figures.LOOK:
                return "figures"
            found = reach(new)
            if any(found.touches(datetime.fromisoformat(h.cutoff).timestamp()) for h in heads):
                return "figures"
        # a success after the cut-off changes no figure: it is told beside them
        looked = figures.looked(session, month)
        if any(h.finess not in looked for h in heads):
            return "quality"
        oldest = min((one.seen for one in looked.values()), key=lambda seen: seen.last, default=None)
        return "quality" if oldest is not None and figures.sent_since(session, oldest) else ""

    async def _first_figures(self) -> None:
        """Facts that came since the last run may tell of establishments and months without figures."""
        newest = await self._journal.read(facts.newest)
        if newest != self.monthly.looked and (_RUN in self._under_way or not self._resting()):
            end = asyncio.get_running_loop().time() + PATIENCE
            await self._await(self._begin(_RUN), end)

    def _resting(self) -> bool:
        rest = REST * self.books.cost if self.books.cost > QUICK else 0.0
        if self.books.failed:
            rest = max(rest, AFTER_FAILURE)
        return time.monotonic() - self.books.ended < rest

    def _begin(self, month: str) -> asyncio.Task[None]:
        """The computation of a month (or the run over all), begun now unless it is under way."""
        task = self._under_way.get(month)
        if task is None:
            work = self.monthly.run_once() if month == _RUN else self.books.compute([month])
            task = self._under_way[month] = asyncio.ensure_future(work)
            task.add_done_callback(partial(self._ended, month))
        return task

    def _ended(self, month: str, task: asyncio.Task[None]) -> None:
        self._under_way.pop(month, None)
        if not task.cancelled() and (e := task.exception()) is not None:
            if isinstance(e, GatewayError):
                log.error("indicators: %s", e)
            else:
                log.critical("indicators failed: %s", type(e).__name__, exc_info=e)

    async def _await(self, task: asyncio.Task[None], end: float) -> bool:
        """True when it ended well by `end`."""
        await asyncio.wait({task}, timeout=max(0.0, end - asyncio.get_running_loop().time()))
        return task.done() and not task.cancelled() and task.exception() is None

    async def _shown(self, rows: list[Stored], looked: Mapping[str, Looked] | None = None) -> list[Published]:
        """A millisecond or two for each: not in the event loop."""
        zones, looked = self.catalogue.time_zones, looked or {}
        return await asyncio.to_thread(
            lambda: [_published(row, zones, looked.get(row.finess)) for row in rows]
        )

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """A caller that goes away must not break off an answer of the worker in its middle."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)


def _now(session: Session, month: str, finess: str | None) -> tuple[list[Stored], dict[str, Looked]]:
    """The newest revisions of a month, and what to look at beside them now."""
    return figures.stored(session, month, finess), figures.looked(session, month)


def _published(row: Stored, zones: Mapping[str, str], looked: Looked | None) -> Published:
    """As it is shown. Each row says up to when facts were known (spec §1.4): the instant of the computation. `looked`:
    what to look at now; what the revision was kept with is older, or as old.
    """
    known = periods.iso(row.computed_at, periods.zone_of(row.finess, zones))
    rows, quality = stored.unpack(row.content, row.finess, row.cutoff, row.revision, row.rule_version, known)
    looked_at = None
    if looked is not None and looked.seen.last >= row.seen.last:
        quality = stored.unpack_quality(looked.content)
        looked_at = looked.at if looked.at > row.computed_at else None
    return Published(
        finess=row.finess,
        month=row.month,
        revision=row.revision,
        computed_at=row.computed_at,
        as_of=None,
        cutoff=row.cutoff,
        rule_version=row.rule_version,
        catalogue_version=row.catalogue_version,
        facts=row.facts,
        rows=rows,
        quality=quality,
        changes=stored.unpack_changes(row.changes),
        looked_at=looked_at,
    )
