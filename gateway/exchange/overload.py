"""What keeps the gateway from taking one more message now, and for how long it says so.

Purpose: one place for the three overloads (memory, journal, deliveries), asked by the intake before it takes a message
and by `/readyz`. Source: hl7-transmission.md §2 (AR: overload, the message may be sent again).

Guarantee: asking costs a comparison when all is well. `/readyz` does not flap: memory stays red for `RECOVERY` seconds
after the last refusal, deliveries until a tenth of the limit is free again.
Fails: never; a journal that does not answer is itself an overload.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from gateway.errors import JournalUnavailable
from gateway.exchange.budget import MemoryBudget
from gateway.journal.store import Journal

STALLED = 5.0
"""Seconds that one commit of the journal may take before messages are refused at once."""
RECOVERY = 10.0
RECOUNT = 1.0
"""Seconds between two counts of the open deliveries while the limit is near."""
GREEN_AGAIN = 0.9

MEMORY, JOURNAL, QUEUE = "EXC-OVERLOAD-MEMORY", "EXC-OVERLOAD-JOURNAL", "EXC-OVERLOAD-QUEUE"
SENTENCES = {
    MEMORY: ("memory", "La mémoire réservée aux gros documents est pleine : des messages sont refusés (AR)."),
    JOURNAL: ("journal", "Le journal n’enregistre plus : aucun message ne peut être accepté."),
    QUEUE: ("queue", "Trop de transmissions sont en attente : aucun message ne peut être accepté."),
}
"""Rule → name and French sentence of `/readyz`."""


class Backlog:
    """Open deliveries, as an upper bound that is counted again when it reaches the limit (0: no limit)."""

    def __init__(self, limit: int, count: Callable[[], Awaitable[int]]) -> None:
        self._limit = limit
        self._count = count
        self._bound = limit  # not counted yet
        self._counted_at = float("-inf")
        self._full = False

    def add(self, deliveries: int) -> None:
        """So many were enqueued."""
        self._bound += deliveries

    async def full(self) -> bool:
        """True while the limit is reached, until a tenth of it is free."""
        if not self._limit or (self._bound < self._limit and not self._full):
            return False
        now = time.monotonic()
        if now - self._counted_at >= RECOUNT:
            self._counted_at = now
            self._bound = await self._count()
            self._full = self._bound >= self._limit * (GREEN_AGAIN if self._full else 1)
        return self._full


class Overloads:
    """One per gateway."""

    def __init__(self, journal: Journal, budget: MemoryBudget, backlog: Backlog) -> None:
        self.budget = budget
        self.backlog = backlog
        self._journal = journal

    @classmethod
    def without_limits(cls, journal: Journal) -> Overloads:
        """For an intake that stands alone."""

        async def none() -> int:
            return 0

        return cls(journal, MemoryBudget(1 << 62), Backlog(0, none))

    async def now(self) -> str | None:
        """The rule by which a new message is refused at once, or None."""
        if self._journal.stalled_for > STALLED:
            return JOURNAL
        try:
            return QUEUE if await self.backlog.full() else None
        except JournalUnavailable:
            return JOURNAL

    async def reasons(self) -> dict[str, str]:
        """For `/readyz`: name → French sentence."""
        rules = [rule for rule in (await self.now(),) if rule]
        pools = (self.budget.receiving, self.budget.working)
        if time.monotonic() - max(pool.last_refusal for pool in pools) < RECOVERY:
            rules.append(MEMORY)
        return dict(SENTENCES[rule] for rule in rules)
