"""The engine: one claiming loop per destination, in each gateway process; the delivery table is the queue.

Purpose: bring due deliveries to the runner, at most `concurrency[destination]` at once, so that one
unreachable destination never holds up another.

Guarantee: memory does not grow with the backlog (only what is in hand is loaded). A loop that meets a fault
of the journal waits and goes on; it never ends before `stop`. Several processes on one journal share what is due.

Fails: what is still under way when `stop` times out is cancelled; the journal says `sending`, and the next
start (or another node) treats it as uncertain.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence

from gateway.engine.port import Allowance, Run
from gateway.errors import JournalUnavailable
from gateway.exchange.pressure import Pressure
from gateway.journal import claims, nodes
from gateway.journal.claims import Claim, Claimed
from gateway.journal.sql import node_of
from gateway.journal.store import Journal

log = logging.getLogger("gateway.engine")

DEFAULT_CONCURRENCY = 4
IDLE_POLL = 30.0
"""Seconds between looks when nothing is due: a safety net, work is normally announced by `wake`."""
SHARED_POLL = 1.0
"""The same on a journal that several processes share: another one's work is announced to that one alone. A look is
one statement; a NOTIFY in the commits would serialise them on the server."""
FAULT_PAUSE = 1.0
LIMITED_PAUSE = 0.05
"""After a claim that was limited below the free slots."""


class EmbeddedEngine:
    """See the module. `Journal.node` names this process in `delivery.claimed_by`; `farthest`: seconds that a delivery
    may be put off at most (what is due later is due now: the clock went back).
    """

    def __init__(
        self,
        journal: Journal,
        destinations: Iterable[str],
        concurrency: Mapping[str, int],
        pressure: Pressure | None = None,
        farthest: float = math.inf,
    ) -> None:
        self._pressure = pressure or Pressure()
        self._journal = journal
        self._concurrency = {d: max(1, concurrency.get(d, DEFAULT_CONCURRENCY)) for d in destinations}
        self._wake = {d: asyncio.Event() for d in self._concurrency}
        self._farthest = farthest
        self._loops: list[asyncio.Task[None]] = []
        self._running: dict[str, set[asyncio.Task[None]]] = {d: set() for d in self._concurrency}
        self._idle = SHARED_POLL if journal.shared else IDLE_POLL
        self._stopping = False

    async def start(self, run: Run, allowance: Allowance) -> None:
        """Begin to claim, one loop per destination."""
        for destination in self._concurrency:
            self._loops.append(
                asyncio.create_task(self._loop(destination, run, allowance), name=f"engine-{destination}")
            )

    def wake(self, destinations: Iterable[str]) -> None:
        """Look again now."""
        for destination in destinations:
            event = self._wake.get(destination)
            if event is not None:
                event.set()

    async def stop(self, timeout: float) -> None:
        """Claim nothing more; give what is under way `timeout` seconds."""
        self._stopping = True
        self.wake(self._wake)
        if self._loops:
            await asyncio.gather(*self._loops, return_exceptions=True)
        under_way = [t for tasks in self._running.values() for t in tasks]
        if under_way:
            _done, late = await asyncio.wait(under_way, timeout=timeout)
            for task in late:
                task.cancel()
            if late:
                log.warning("stop: %d deliveries cut; they will be reconciled at the next start", len(late))
                await asyncio.wait(late)

    def drop(self) -> None:
        """What is under way is not ours any more: cut it."""
        for tasks in self._running.values():
            for task in tasks:
                task.cancel()

    def in_hand(self) -> int:
        """Deliveries under way."""
        return sum(len(tasks) for tasks in self._running.values())

    async def _loop(self, destination: str, run: Run, allowance: Allowance) -> None:
        wake, running = self._wake[destination], self._running[destination]
        while not self._stopping:
            wake.clear()
            free = self._concurrency[destination] - len(running)
            pressed = free > 0 and not await self._pressure.wait_quiet()
            if self._stopping:
                break
            claimed: Sequence[Claimed] = ()
            pause = self._idle if free == 0 else FAULT_PAUSE
            try:
                limit = min(free, allowance(destination, 1 if pressed else free)) if free > 0 else 0
                if limit > 0:
                    claim = await self._claim(destination, limit)
                    claimed, pause = claim.deliveries, self._pause(claim, limit, free)
            except JournalUnavailable:
                log.warning(
                    "%s: the journal is unavailable, claiming again in %g s", destination, FAULT_PAUSE
                )
            except Exception as e:
                # our own bug: said each time, and the loop goes on (other deliveries must not wait for ever)
                log.critical("%s: claiming failed: %s", destination, type(e).__name__, exc_info=e)
            for item in claimed:
                task = asyncio.create_task(run(item), name=f"{destination}-{item.id}")
                running.add(task)
                task.add_done_callback(lambda t: self._ended(destination, t))
            try:
                async with asyncio.timeout(pause):
                    await wake.wait()
            except TimeoutError:
                pass

    async def _claim(self, destination: str, limit: int) -> Claim:
        now, begun = time.time(), time.monotonic()
        claim = await self._journal.write(
            lambda session: claims.claim(session, destination, limit, now, node_of(session), self._farthest)
        )
        if claim.deliveries and not await self._ours(claim.deliveries[0].token, begun):
            log.warning(
                "%s: a claim came back too late, other nodes have its %d deliveries",
                destination,
                len(claim.deliveries),
            )
            return Claim((), claim.next_due, claim.brought_back)
        if claim.brought_back:
            log.warning(
                "%s: the clock went back: %d deliveries are due again", destination, claim.brought_back
            )
        return claim

    async def _ours(self, token: str, begun: float) -> bool:
        """Is a claim of several processes' journal still that of this process? Its commit may have come back after a
        hang, when another one had taken this one for dead, and sent what was claimed."""
        if not self._journal.shared:
            return True
        slow = time.monotonic() - begun >= self._journal.settings.node_timeout / 2
        while slow and not self._stopping:
            try:
                slow = False
                if not await self._journal.read(lambda session: nodes.present(session, token)):
                    return False
            except JournalUnavailable:
                # begun or given up it must be: nobody else takes what a living node has in hand
                slow = True
                await asyncio.sleep(FAULT_PAUSE)
        return token == self._journal.node

    def _ended(self, destination: str, task: asyncio.Task[None]) -> None:
        self._running[destination].discard(task)
        self._wake[destination].set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("delivery runner failed: %s", type(error).__name__, exc_info=error)

    def _pause(self, claim: Claim, limit: int, free: int) -> float:
        """Seconds until the next look. With no slot left the end of a delivery wakes the loop."""
        if claim.next_due is None or len(claim.deliveries) >= free:
            return self._idle
        if len(claim.deliveries) == limit:
            # slots are left, but only so many were allowed (pressure, a circuit's probe)
            return FAULT_PAUSE if limit == 0 else LIMITED_PAUSE
        return min(self._idle, max(0.0, claim.next_due - time.time()))
