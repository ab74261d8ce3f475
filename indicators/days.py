"""Days: what was sent from an establishment, by day, so that a month reads its own alone.

Purpose: what several months of one world share: submissions by the UTC days of their attempts, and of each day the
counts that TBB-1 adds up over years. Pure.
Guarantee: `begun` and `succeeded` give every attempt of a period once, whatever the time zone of the period; `counts`
adds up to what `begun` gives.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from indicators.attempts import Attempt, Channel
from indicators.deliveries import Document, Submission
from indicators.periods import Period

_DAY = 86_400.0
Counted = tuple[Channel, str, str]
"""Channel, type code, outcome."""


class Days:
    """Of the documents of one establishment."""

    __slots__ = ("_begun", "_counts", "_succeeded")

    def __init__(self, documents: Iterable[Document]) -> None:
        self._begun: dict[int, list[Submission]] = {}
        """Those with an attempt whose first word is of that day."""
        self._succeeded: dict[int, list[Submission]] = {}
        """Those with one that succeeded that day, at another instant than that of its first word."""
        self._counts: dict[int, dict[Counted, int]] = {}
        for document in documents:
            for submission in document.submissions:
                self._add(submission, document.fold.attempts(submission))

    def _add(self, submission: Submission, attempts: list[Attempt]) -> None:
        begun, succeeded = set(), set()
        for a in attempts:
            day = int(a.first // _DAY)
            begun.add(day)
            if a.success is not None and a.success != a.first:
                succeeded.add(int(a.success // _DAY))
            if submission.qualified:
                counts = self._counts.get(day)
                if counts is None:
                    counts = self._counts[day] = {}
                key = (a.channel, submission.type_code, a.outcome)
                counts[key] = counts.get(key, 0) + 1
        for day in begun:
            self._begun.setdefault(day, []).append(submission)
        for day in succeeded:
            self._succeeded.setdefault(day, []).append(submission)

    def begun(self, period: Period) -> Iterator[Attempt]:
        """Attempts whose first word is of the period."""
        start, end = period.start, period.end
        for day in _days(period):
            for submission in self._begun.get(day, ()):
                for a in submission.attempts:
                    if start <= a.first < end and a.first // _DAY == day:
                        yield a

    def succeeded(self, period: Period) -> Iterator[Attempt]:
        """Attempts that have a first success in the period, even if it was taken back."""
        for a in self.begun(period):
            if a.success == a.first:
                yield a
        for day in _days(period):
            for submission in self._succeeded.get(day, ()):
                for a in submission.attempts:
                    if a.success != a.first and period.has(a.success) and (a.success or 0.0) // _DAY == day:
                        yield a

    def counts(self, period: Period) -> dict[Counted, int]:
        """Attempts of the period with a qualified identity."""
        found: dict[Counted, int] = {}
        for day in _days(period):
            told = self._counts.get(day)
            if told is None:
                continue
            if not (period.start <= day * _DAY and (day + 1) * _DAY <= period.end):
                # a day of which a part is of the period
                told = self._part(day, period)
            for key, number in told.items():
                found[key] = found.get(key, 0) + number
        return found

    def _part(self, day: int, period: Period) -> dict[Counted, int]:
        found: dict[Counted, int] = {}
        for submission in self._begun.get(day, ()):
            if submission.qualified:
                for a in submission.attempts:
                    if period.has(a.first) and a.first // _DAY == day:
                        key = (a.channel, submission.type_code, a.outcome)
                        found[key] = found.get(key, 0) + 1
        return found


def _days(period: Period) -> range:
    return range(int(period.start // _DAY), int(period.end // _DAY) + 1)
