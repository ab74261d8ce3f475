"""The world as facts tell it: all folds together, up to an instant.

Purpose: the one place where facts go in; what the rules read comes out. Pure.
Guarantee: facts in any order, repeated at will, give the same world; with `as_of`, only what was known then.
Fails: never for facts that `indicators.facts` read.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from indicators import told
from indicators.deliveries import DeliveryFold
from indicators.facts import Fact
from indicators.patients import Numbers
from indicators.stays import StayFold
from indicators.uses import UseFold

_Delivery, _Stay, _Consent, _Consultation = (
    told.Delivery,
    told.StayEvent,
    told.Consent,
    told.DmpConsultation,
)


class World:
    """Tell it facts with `add`."""

    __slots__ = ("as_of", "deliveries", "facts", "first", "stays", "uses", "visit_feeds")

    def __init__(self, as_of: datetime | None = None) -> None:
        self.as_of = as_of
        """Only facts known then count; None: all."""
        numbers = Numbers()
        self.stays = StayFold(numbers)
        self.deliveries = DeliveryFold(numbers)
        self.uses = UseFold(numbers)
        self.visit_feeds: dict[str, float] = {}
        """FINESS → instant of the first consultation told by an event."""
        self.first: dict[str, float] = {}
        """FINESS → instant of the first thing that facts tell (`since`)."""
        self.facts = 0
        """Facts that count, repetitions included."""

    def add(self, fact: Fact) -> None:
        """One fact."""
        at, known_at = fact["at"], fact.get("known_at")
        if self.as_of is None or (known_at or at) <= self.as_of:
            self.tell(told.of(fact), at.timestamp())

    def tell(self, fact: told.Any_, at: float) -> None:
        """One fact that is known to count; `at` is its instant, in seconds since 1970."""
        self.facts += 1
        finess = fact.finess
        if at < self.first.get(finess, _LATER):
            self.first[finess] = at
        # the kinds that come by the hundred thousand are asked for first
        kind = type(fact)
        if kind is _Delivery:
            self.deliveries.add(fact, at)  # type: ignore[arg-type]
        elif kind is _Stay:
            self.stays.add_stay(fact, at)  # type: ignore[arg-type]
        elif kind is _Consent:
            self.stays.add_consent(fact, at)  # type: ignore[arg-type]
        elif kind is _Consultation:
            self.uses.add_consultation(fact, at)  # type: ignore[arg-type]
        else:
            self._tell_rare(fact, at)

    def _tell_rare(self, fact: told.Any_, at: float) -> None:
        if isinstance(fact, told.Identity):
            self.stays.add_identity(fact, at)
        elif isinstance(fact, told.ConsultationVisit):
            self.visit_feeds[fact.finess] = min(self.visit_feeds.get(fact.finess, at), at)
            self.stays.add_visit(fact, at)
        elif isinstance(fact, told.DmpIntegration | told.MssIntegration):
            self.uses.add_integration(fact, at)
        elif isinstance(fact, told.MssReception):
            self.uses.add_reception(fact, at)
        elif isinstance(fact, told.BreakGlass):
            self.uses.add_break_glass(fact, at)
        elif isinstance(fact, told.UserCensus):
            self.uses.add_census(fact, at)
        elif isinstance(fact, told.Correspondent):
            self.uses.add_correspondent(fact)

    def since(self, finess: str) -> float | None:
        """Instant of the first thing that facts tell of an establishment: what they tell may be long before they do."""
        told_at, moved = self.first.get(finess), self.stays.feeds.get(finess)
        return min((t for t in (told_at, moved) if t is not None), default=None)

    def add_all(self, facts: Iterable[Fact]) -> World:
        """Many facts; gives itself."""
        for fact in facts:
            self.add(fact)
        return self


_LATER = float("inf")
