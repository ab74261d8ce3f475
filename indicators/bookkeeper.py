"""The bookkeeper: computes months in the worker process and keeps what came of it.

Purpose: the one way by which figures come into the journal: ask the worker for months, publish those whose cut-off has
passed (R14), keep the others as provisional, note which facts they were computed with.

Guarantee: one computation at a time and per node; whoever asks for a month that is being computed waits for it. A
published month becomes a new revision only when a row is another one, with its differences; what to look at beside it
is kept as it is now. A stop in the middle leaves
whole months; the next run goes on.
Fails: `MachineLost`, `Busy`, `JournalUnavailable`; the state is then `failed` until a computation succeeds.
Source: spec/indicators.md R14, §6.6.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial

from sqlmodel import Session

from gateway.errors import GatewayError
from gateway.exchange.identifiers import Clock
from gateway.journal import figures
from gateway.journal.fact_stream import Seen, Source
from gateway.journal.figures import Computed, Head, Looked, Overtaken, Stored
from gateway.journal.store import Journal
from indicators import stored
from indicators.catalogue import Catalogue
from indicators.changes import changes
from indicators.in_use import CatalogueInUse
from indicators.machine import Busy, Machine
from indicators.published import State
from indicators.worker import Answer, Part, Request

log = logging.getLogger("gateway.indicators")

GROUP = 6
"""Months of one request to the worker: what is done is kept before the next ones are computed."""
TRIES = 5


class Bookkeeper:
    """One per gateway. `time_zones`: as the settings name them."""

    def __init__(
        self,
        journal: Journal,
        source: Source,
        in_use: CatalogueInUse,
        time_zones: dict[str, str],
        clock: Clock,
        machine: Machine | None = None,
    ) -> None:
        self._journal = journal
        self._source = source
        self.in_use = in_use
        self._zones = time_zones
        self._clock = clock
        self.machine = machine or Machine()
        self._turn = asyncio.Lock()
        self._computing = 0
        self._failed = False
        self.since: dict[str, float] = {}
        """FINESS → instant of the first thing that facts tell, as the last computation saw it."""
        self.cost = 0.0
        """Seconds of processor that the last computation took."""
        self.ended = float("-inf")
        """When it ended, or failed (monotonic)."""
        self.kept = 0
        """Grows whenever figures were kept."""

    def state(self) -> State:
        """Whether a computation is under way, and whether the last one failed."""
        if self._computing:
            return "computing"
        return "failed" if self._failed else "idle"

    @property
    def catalogue(self) -> Catalogue:
        """By which figures are made, as the last look at its file found it."""
        return self.in_use.catalogue

    def outdated(self, head: Head) -> bool:
        """True for provisional figures that were made by another catalogue."""
        made = (head.rule_version, head.catalogue_version)
        return head.revision == figures.PROVISIONAL and (
            made != (self.catalogue.rule_version, self.catalogue.version)
            or head.computed_at < self.in_use.since
        )

    @property
    def failed(self) -> bool:
        """True after a computation failed, until one succeeds."""
        return self._failed

    def request(self) -> Request:
        """One that reads the facts of this journal, by this catalogue."""
        source = self._source
        return Request(
            seconds=0.0,
            path=None if source.path is None else str(source.path),
            url=source.url,
            password_file=None if source.password_file is None else str(source.password_file),
            catalogue=self.in_use.text,
            time_zones=self._zones,
        )

    async def compute(self, months: Sequence[str]) -> None:
        """Compute these months of all establishments with all facts that are known, and keep them. Without months: see
        what facts tell of (`since`).
        """
        self._computing += 1
        try:
            for start in range(0, max(len(months), 1), GROUP):
                # who asks for one month has not to wait for the end of a long run
                async with self._turn:
                    await self._compute(months[start : start + GROUP])
        finally:
            self._computing -= 1

    async def _compute(self, months: Sequence[str]) -> None:
        await self.in_use.look()
        # the instant of the figures is before the facts are read: what was known then is in them
        now = self._clock.now()
        try:
            request = self.request()
            request.months = list(months)
            answer, content = await self.machine.ask(request)
            self.since, self.cost = answer.since, answer.cpu
            seen = Seen.of(answer.seen)
            parts = [(part, packed) for part, packed in zip(answer.parts, content, strict=True) if part.told]
            for part, packed in parts:
                await self._keep(answer, part, packed, seen, now)
            looked = await asyncio.to_thread(_looked, parts, seen, now)
            await self._journal.write(partial(_note, months=list(months), looked=looked, seen=seen, at=now))
            self._failed = False
        except Busy:
            raise
        except GatewayError:
            self._failed = True
            raise
        finally:
            self.ended = time.monotonic()

    async def _keep(self, answer: Answer, part: Part, packed: bytes, seen: Seen, now: float) -> None:
        computed = Computed(
            part.finess,
            part.month,
            now,
            part.cutoff,
            answer.rule_version,
            answer.catalogue_version,
            answer.facts,
            seen,
            part.digest,
            packed,
        )
        for _ in range(TRIES):
            found = await self._journal.read(partial(figures.stored, month=part.month, finess=part.finess))
            base = found[0] if found else None
            told = "[]"
            if base is not None and base.revision > figures.PROVISIONAL:
                if base.digest == part.digest:
                    return
                told = await asyncio.to_thread(self._changes, base, computed)
            try:
                revision = await self._journal.write(
                    partial(
                        figures.keep,
                        computed=computed,
                        publish=now >= part.cutoff_at,
                        base=base,
                        changes=told,
                    )
                )
            except Overtaken:
                continue
            if revision is not None:
                self.kept += 1
                if revision > figures.PROVISIONAL:
                    log.info("indicators: %s, %s published as revision %d", part.finess, part.month, revision)
            return

    def _changes(self, base: Stored, computed: Computed) -> str:
        before, _ = stored.unpack(base.content, base.finess, base.cutoff, 0, base.rule_version)
        after, _ = stored.unpack(computed.content, computed.finess, computed.cutoff, 0, computed.rule_version)
        return stored.pack_changes(changes(before, after, self.catalogue))


def _looked(parts: Sequence[tuple[Part, bytes]], seen: Seen, now: float) -> list[Looked]:
    """What to look at beside figures: it may be another while they are the same (docs/decisions/0039)."""
    return [
        Looked(part.finess, part.month, seen, now, stored.pack_quality(stored.quality_of(packed)))
        for part, packed in parts
    ]


def _note(session: Session, months: Sequence[str], looked: Sequence[Looked], seen: Seen, at: float) -> None:
    figures.look(session, looked)
    figures.checked(session, months, seen, at)
