"""How far back a new fact may reach: which published months it can change.

Purpose: a published month is looked at again when something new may change it, not whenever anything happens. Pure.
Guarantee: what is told of a time before a month's cut-off, and what takes back, merges or corrects, reaches it. Other
facts change a published month in rare ways (a later message that gives a stay another patient): those are found by the
regular run, which looks at the last months after any new fact.
Fails: never.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from indicators import told
from indicators.movements import CANCELLING


@dataclass(slots=True)
class Reach:
    """Of several facts."""

    oldest: float = float("inf")
    """First instant that they tell of."""
    anywhere: bool = False
    """One of them may change any month."""

    def touches(self, cutoff: float) -> bool:
        """True when a month with that cut-off may be another one now."""
        return self.anywhere or self.oldest < cutoff

    def add(self, fact: told.Any_, at: float) -> None:
        """One fact."""
        self.oldest = min(self.oldest, at)
        if isinstance(fact, told.Delivery):
            self.anywhere |= fact.outcome in ("failure", "deleted")
        elif isinstance(fact, told.StayEvent):
            movement = fact.movement
            instants = (movement.at, fact.admitted_at, fact.discharged_at, fact.occurred_at, fact.recorded_at)
            self.oldest = min(self.oldest, *(i.timestamp() for i in instants if i is not None), self.oldest)
            self.anywhere |= movement.action != "INSERT" or fact.event in CANCELLING
        elif isinstance(fact, told.Identity):
            self.anywhere = True


def reach(facts: Iterable[tuple[float, str]]) -> Reach:
    """Of facts as the journal gives them: (instant, JSON)."""
    found = Reach()
    for at, body in facts:
        found.add(told.read(body), at)
    return found
