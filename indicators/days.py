"""Days: the attempts of an establishment by the day of their first word, so that a month reads its own alone.

Purpose: what several months of one world share: attempts by UTC day, and of each day the counts that TBB-1 adds up over
years. Pure.
Guarantee: `begun` and `succeeded` give every attempt of a period once, whatever the time zone of the period; `counts`
adds up to what `begun` gives.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from indicators.deliveries import Attempt, Channel, Document
from indicators.periods import Period

_DAY = 86_400.0
Counted = tuple[Channel, str, str]
"""Channel, type code, outcome."""


class Days:
    """Of the documents of one establishment."""

    __slots__ = ("_begun", "_counts", "_succeeded")

    def __init__(self, documents: Iterable[Document]) -> None:
        begun: dict[int, list[Attempt]] = {}
        succeeded: dict[int, list[Attempt]] = {}
        for document in documents:
            for submission in document.submissions:
                for a in submission.attempts:
                    day = int(a.first // _DAY)
                    one = begun.get(day)
                    if one is None:
                        one = begun[day] = []
                    one.append(a)
                    if a.success is not None and a.success != a.first:
                        succeeded.setdefault(int(a.success // _DAY), []).append(a)
        self._begun = begun
        self._succeeded = succeeded
        """Those that succeeded at another instant than that of their first word."""
        self._counts: dict[int, dict[Counted, int]] = {}

    def begun(self, period: Period) -> Iterator[Attempt]:
        """Attempts whose first word is of the period."""
        start, end = period.start, period.end
        for day in _days(period):
            for a in self._begun.get(day, ()):
                if start <= a.first < end:
                    yield a

    def succeeded(self, period: Period) -> Iterator[Attempt]:
        """Attempts that have a first success in the period, even if it was taken back."""
        for a in self.begun(period):
            if a.success == a.first:
                yield a
        for day in _days(period):
            for a in self._succeeded.get(day, ()):
                if period.has(a.success):
                    yield a

    def counts(self, period: Period) -> dict[Counted, int]:
        """Attempts of the period with a qualified identity."""
        found: dict[Counted, int] = {}
        for day in _days(period):
            attempts = self._begun.get(day)
            if attempts is None:
                continue
            if period.start <= day * _DAY and (day + 1) * _DAY <= period.end:
                told = self._counts.get(day)
                if told is None:
                    told = self._counts[day] = _counted(attempts)
            else:
                told = _counted(a for a in attempts if period.has(a.first))
            for key, number in told.items():
                found[key] = found.get(key, 0) + number
        return found


def _days(period: Period) -> range:
    return range(int(period.start // _DAY), int(period.end // _DAY) + 1)


def _counted(attempts: Iterable[Attempt]) -> dict[Counted, int]:
    found: dict[Counted, int] = {}
    for a in attempts:
        if a.submission.qualified:
            key = (a.channel, a.submission.type_code, a.outcome)
            found[key] = found.get(key, 0) + 1
    return found
