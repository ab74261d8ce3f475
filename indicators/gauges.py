"""The newest figures as Prometheus gauges: `segur_indicator_numerator`, `segur_indicator_denominator`.

Purpose: dashboards of operators. Read from what is kept, on whichever node serves `/metrics`.
Guarantee: nothing is computed for them; nothing is read again while nothing was kept. Bounded: the two newest months
of the first establishments. No patient, stay or user; no profession but `ALL`, for few users may have one (small
cells); no rate, for one that is null could not be told from zero.
Fails: as the journal.
Source: spec/indicators.md §6.6.
"""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Gauge

from gateway.journal import figures
from gateway.journal.store import Journal
from indicators import stored
from indicators.catalogue import ALL
from indicators.engine import Row

MONTHS = 2
MAX_ESTABLISHMENTS = 50
LABELS = ("finess", "indicator", "document_code", "period", "stay_kind", "channel", "result")


class IndicatorGauges:
    """Of one gateway."""

    def __init__(self, registry: CollectorRegistry, journal: Journal) -> None:
        self._journal = journal
        self._numerator = Gauge(
            "segur_indicator_numerator",
            "Numerator (or count) of an indicator, newest months",
            LABELS,
            registry=registry,
        )
        self._denominator = Gauge(
            "segur_indicator_denominator",
            "Denominator of an indicator, newest months",
            LABELS,
            registry=registry,
        )
        self._mark: tuple[int, float] | None = None

    async def refresh(self) -> None:
        """Bring them up to date, when something was kept since."""
        mark = await self._journal.read(figures.mark)
        if mark == self._mark:
            return
        found = await self._journal.read(lambda s: figures.newest_of_each(s, MONTHS, MAX_ESTABLISHMENTS))
        rows = await asyncio.to_thread(_rows, found)
        self._numerator.clear()
        self._denominator.clear()
        for row in rows:
            labels = [getattr(row, name) or "" for name in LABELS]
            if row.numerator is not None:
                self._numerator.labels(*labels).set(row.numerator)
            if row.denominator is not None:
                self._denominator.labels(*labels).set(row.denominator)
        self._mark = mark


def _rows(found: list[figures.Stored]) -> list[Row]:
    return [
        row
        for kept in found
        for row in stored.unpack(kept.content, kept.finess, kept.cutoff, kept.revision, kept.rule_version)[0]
        if row.period == kept.month and (row.breakdown_type != "profession" or row.profession == ALL)
    ]
