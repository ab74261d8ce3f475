"""The world as facts tell it: all folds together, up to an instant.

Purpose: the one place where facts go in; what the rules read comes out. Pure.
Guarantee: facts in any order, repeated at will, give the same world; with `as_of`, only what was known then.
Fails: never for facts that `indicators.facts` read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from indicators.deliveries import DeliveryFold
from indicators.facts import Fact
from indicators.stays import StayFold
from indicators.uses import UseFold


class World:
    """Tell it facts with `add`."""

    __slots__ = ("as_of", "deliveries", "facts", "stays", "uses", "visit_feeds")

    def __init__(self, as_of: datetime | None = None) -> None:
        self.as_of = as_of
        """Only facts known then count; None: all."""
        self.stays = StayFold()
        self.deliveries = DeliveryFold()
        self.uses = UseFold()
        self.visit_feeds: dict[str, float] = {}
        """FINESS → instant of the first consultation told by an event."""
        self.facts = 0
        """Facts that count, repetitions included."""

    def add(self, fact: Fact) -> None:
        """One fact."""
        if self.as_of is not None and (fact.get("known_at") or fact["at"]) > self.as_of:
            return
        self.facts += 1
        if fact["fact"] == "delivery":
            self.deliveries.add(fact)
        elif fact["fact"] == "stay":
            self.stays.add_stay(fact)
        elif fact["fact"] == "consent":
            self.stays.add_consent(fact)
        elif fact["fact"] == "identity":
            self.stays.add_identity(fact)
        elif fact["fact"] == "consultation_visit":
            at, finess = fact["at"].timestamp(), fact["finess"]
            self.visit_feeds[finess] = min(self.visit_feeds.get(finess, at), at)
            self.stays.add_visit(fact)
        elif fact["fact"] == "dmp_consultation":
            self.uses.add_consultation(fact)
        elif fact["fact"] == "dmp_integration" or fact["fact"] == "mss_integration":
            self.uses.add_integration(fact)
        elif fact["fact"] == "mss_reception":
            self.uses.add_reception(fact)
        elif fact["fact"] == "break_glass":
            self.uses.add_break_glass(fact)
        elif fact["fact"] == "user_census":
            self.uses.add_census(fact)
        else:
            self.uses.add_correspondent(fact)

    def add_all(self, facts: Iterable[Fact]) -> World:
        """Many facts; gives itself."""
        for fact in facts:
            self.add(fact)
        return self
