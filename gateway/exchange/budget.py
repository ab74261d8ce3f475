"""How many bytes of documents may be in memory, over all connections and deliveries (docs/decisions/0012).

Purpose: a message of 50 MB of PDF costs several times its size while it is received, checked and delivered; how many
of them may be there at once is a setting, not luck. Small messages are not counted at all (`FREE`): their memory is
bounded by the number of connections.

Guarantee: three shares that never wait for one another, so that nothing can block in a circle: receiving (grows with
the frame, refuses at once), working (decoding and parsing before the ACK: waits its turn, within the ACK's deadline)
and delivering (one share per destination: waits as long as it takes). What is taken is given back on every path. Of
those that wait, one that is alone in its share is let in whatever its size, so that nothing waits for ever.

Fails: `Overload` for what cannot be taken in time. Not thread-safe: the event loop's own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from gateway.errors import Overload

FREE = 1 << 20
"""Bytes of a frame, message or document that are not counted."""
RECEIVING, WORKING, DELIVERING = 0.4, 0.3, 0.3
"""Parts of the budget."""
WORK_COPIES = 3
"""What checking and preparing holds besides the message, in sizes of the message (docs/decisions/0012)."""
DELIVERY_COPIES = 4
"""What building and sending holds, in sizes of the documents."""


class Pool:
    """Bytes that may be taken, first come first served."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.used = 0
        self.last_refusal = float("-inf")
        """`time.monotonic()` of the last time that somebody went without."""
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self.capacity

    def try_take(self, size: int) -> bool:
        """Take now or not at all."""
        if self.used + size > self.capacity:
            self.last_refusal = time.monotonic()
            return False
        self.used += size
        return True

    async def take(self, size: int, within: float | None = None) -> bool:
        """Take, waiting for those before us and at most `within` seconds; False: nothing was taken."""
        if not self._waiting and self._fits(size):
            self.used += size
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (size, turn)
        self._waiting.append(waiter)
        try:
            await asyncio.wait((turn,), timeout=within)
        except asyncio.CancelledError:
            self._leave(waiter)
            raise
        if turn.done():
            return True
        self._leave(waiter)
        self.last_refusal = time.monotonic()
        return False

    def give(self, size: int) -> None:
        """Give back; those whose turn has come have theirs."""
        self.used -= size
        self._turns()

    def _leave(self, waiter: tuple[int, asyncio.Future[None]]) -> None:
        size, turn = waiter
        if turn.done():
            self.give(size)  # its turn came together with its end
            return
        self._waiting.remove(waiter)
        self._turns()

    def _turns(self) -> None:
        while self._waiting and self._fits(self._waiting[0][0]):
            size, turn = self._waiting.popleft()
            self.used += size
            turn.set_result(None)


class MemoryBudget:
    """The shares of `total` bytes. `destinations` share the part of deliveries."""

    def __init__(self, total: int, destinations: Iterable[str] = ()) -> None:
        names = list(destinations)
        self.receiving = Pool(int(total * RECEIVING))
        self.working = Pool(int(total * WORKING))
        self.delivering = {name: Pool(int(total * DELIVERING) // len(names)) for name in names}

    @asynccontextmanager
    async def work(self, size: int, within: float) -> AsyncIterator[None]:
        """Around the checks and preparations of a message of `size` bytes. `Overload` after `within` seconds."""
        if size <= FREE:
            yield
            return
        wanted = size * WORK_COPIES
        if not await self.working.take(wanted, max(0.0, within)):
            raise Overload("EXC-OVERLOAD-MEMORY")
        try:
            yield
        finally:
            self.working.give(wanted)

    @asynccontextmanager
    async def delivery(self, destination: str, size: int) -> AsyncIterator[None]:
        """Around a delivery of documents of `size` bytes in all."""
        if size <= FREE or destination not in self.delivering:
            yield
            return
        pool, wanted = self.delivering[destination], size * DELIVERY_COPIES
        await pool.take(wanted)
        try:
            yield
        finally:
            pool.give(wanted)

    def used(self) -> dict[str, int]:
        """Bytes taken, by share."""
        delivering = sum(pool.used for pool in self.delivering.values())
        return {"receiving": self.receiving.used, "working": self.working.used, "delivering": delivering}
