"""A month as it is kept and shown: rows, what to look at, what changed since the last time.

Purpose: the one shape that the store writes, the API gives and the pages show. Pure.
Guarantee: what is published is never changed: facts that come later make revision n+1. Revision 0 is provisional: a
month that is not over yet (or not past its cut-off), computed again and again until it is published as revision 1.
Source: spec/indicators.md §6.6, R14.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from indicators.catalogue import Catalogue
from indicators.engine import Quality, Row
from indicators.explain import Explanation
from indicators.sheet import Cell

PROVISIONAL = 0
"""Revision of a month that may still change."""


@dataclass(frozen=True, slots=True)
class Change:
    """One row that is not what it was in the revision before. None: there was no such row, or there is none now."""

    cell: Cell
    before: tuple[int | None, int | None] | None
    """Numerator, denominator."""
    after: tuple[int | None, int | None] | None
    sentence: str
    """French."""


@dataclass(frozen=True, slots=True)
class Published:
    """The figures of one establishment and month."""

    finess: str
    month: str
    """`AAAA-MM`."""
    revision: int
    computed_at: float
    """Seconds since 1970, UTC."""
    as_of: str | None
    """ISO 8601: only facts known then; None: all that were known at `computed_at`."""
    cutoff: str
    """ISO 8601: up to when a success counts."""
    rule_version: str
    catalogue_version: str
    facts: int
    """Facts that were read."""
    rows: list[Row]
    quality: Quality
    """What to look at: of the newest revision as it is now, of a revision that was named as it was then."""
    changes: list[Change] = field(default_factory=list)
    """Since the revision before; empty for the first."""
    looked_at: float | None = None
    """When `quality` was seen, when that was after `computed_at`."""

    @property
    def provisional(self) -> bool:
        """It may still change."""
        return self.revision == PROVISIONAL


@dataclass(frozen=True, slots=True)
class Establishment:
    """A FINESS that facts speak of, and its name in the settings (else the number)."""

    finess: str
    name: str


State = Literal["idle", "computing", "failed"]


class Figures(Protocol):
    """What the web asks of the indicators of a running gateway. Names of months are `AAAA-MM`."""

    async def definitions(self) -> Catalogue:
        """The catalogue in use."""
        ...

    async def establishments(self) -> list[Establishment]:
        """All that have figures, by name."""
        ...

    async def months(self, finess: str) -> list[str]:
        """Months that have figures, the last one first."""
        ...

    async def month(self, finess: str, month: str, revision: int | None = None) -> Published | None:
        """The figures: the newest revision (a provisional one when nothing is published), or the one named."""
        ...

    async def revisions(self, finess: str, month: str) -> list[Published]:
        """All that was published of a month, the newest first."""
        ...

    async def trend(self, finess: str, last: str, count: int = 13) -> dict[str, Published | None]:
        """`count` months that end with `last`, in order."""
        ...

    async def explain(
        self, finess: str, month: str, cell: Cell, revision: int | None = None
    ) -> Explanation | None:
        """The list behind a row, of the facts that the revision knew; None: there is no such row."""
        ...

    async def refresh(self, month: str) -> State:
        """Ask for a new computation of a month (it becomes a revision when something changed)."""
        ...

    def state(self) -> State:
        """Whether a computation is under way, and whether the last one failed."""
        ...
