"""The sheet: the rows of a month as the rules fill them, and the list behind one of them when it is asked for.

Purpose: rules say of each subject (a stay, a document, a patient…) in which row it stands, whether it counts above and
below, and why. The sheet adds up; when one row is to be explained it keeps that row's subjects too. Pure.
Guarantee: a figure and its list come from the same calls: the list adds up to the figure.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from indicators.why import Why


class Cell(NamedTuple):
    """Which row. Texts are "" where the row has no such breakdown."""

    indicator: str
    period: str
    breakdown: str = ""
    code: str = ""
    profession: str = ""
    channel: str = ""
    kind: str = ""
    result: str = ""


class Member(NamedTuple):
    """One subject of a row. `subject` is a Stay, Document, Attempt, Use, Reception or a text; `evidence` are the
    attempts or uses that decide.
    """

    subject: object
    numerator: bool
    denominator: bool
    why: Why
    evidence: Sequence[object]


class Tally:
    """The numbers of a row."""

    __slots__ = ("denominator", "details", "documents", "numerator", "reason")

    def __init__(self, rate: bool) -> None:
        self.numerator: int | None = 0
        self.denominator: int | None = 0 if rate else None
        self.documents: int | None = None
        self.reason = ""
        self.details: dict[str, Any] = {}

    def add_detail(self, name: str, count: int = 1) -> None:
        """Add to a number of the details."""
        self.details[name] = self.details.get(name, 0) + count


class Sheet:
    """Rows by cell. With `explained`, the members of that cell are kept in `members`."""

    __slots__ = ("explained", "members", "tallies")

    def __init__(self, explained: Cell | None = None) -> None:
        self.explained = explained
        self.tallies: dict[Cell, Tally] = {}
        self.members: list[Member] = []

    def row(self, cell: Cell, *, rate: bool, documents: bool = False) -> Tally:
        """The row, made if it is not there; `documents` when it counts documents beside."""
        tally = self.tallies.get(cell)
        if tally is None:
            tally = self.tallies[cell] = Tally(rate)
            if documents:
                tally.documents = 0
        return tally

    def unknown(self, cell: Cell, reason: str) -> None:
        """The row cannot be computed: all null, with the reason."""
        tally = self.row(cell, rate=True)
        tally.numerator = tally.denominator = tally.documents = None
        tally.reason = reason

    def explains(self, indicator: str) -> bool:
        """True when the row to be explained is of that indicator: subjects that do not count are wanted too."""
        return self.explained is not None and self.explained.indicator == indicator

    def count(
        self,
        cell: Cell,
        subject: object,
        why: Why,
        numerator: bool,
        denominator: bool = True,
        documents: int = 0,
        evidence: Sequence[object] = (),
    ) -> None:
        """A subject of a row that is there."""
        tally = self.tallies[cell]
        if numerator:
            assert tally.numerator is not None
            tally.numerator += 1
        if denominator and tally.denominator is not None:
            tally.denominator += 1
        if documents:
            tally.documents = (tally.documents or 0) + documents
        if cell == self.explained:
            self.members.append(Member(subject, numerator, denominator, why, evidence))

    def outside(self, cell: Cell, subject: object, why: Why, evidence: Sequence[object] = ()) -> None:
        """A subject that a reader may look for and that does not count in the row."""
        if cell == self.explained:
            self.members.append(Member(subject, False, False, why, evidence))
