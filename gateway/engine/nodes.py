"""This process among those that share its journal: signs of life, take-over of the dead, duties.

Purpose: with one process per journal (`Alone`) a start takes back all that a stop left. With several (`Together`) each
gives a sign of life every `heartbeat` seconds and watches the others; what a dead one had in hand is taken over by
exactly one of them, without a person. A duty (reading the mailboxes) is done by one process at a time.

Guarantee: a node counts as dead only after `node_timeout` seconds in which this process, itself awake and its database
there, saw no sign of life: a restart of the database, or a stop of the observer, counts for nobody's death. A node that
was buried while it hung stops what it has in hand as soon as it wakes, under a new token; its outcomes are refused.

Fails: never ends by itself; faults of the journal are waited for.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.errors import JournalUnavailable
from gateway.exchange.identifiers import Clock
from gateway.journal import nodes, queue
from gateway.journal.nodes import Left
from gateway.journal.store import Journal
from gateway.settings import JournalSettings

log = logging.getLogger("gateway.engine")

SWEEP = 60.0
"""Seconds between two looks for what bears the token of no node (it was buried, and worked on before it knew)."""
Step = Callable[[], Awaitable[None]]
TakenOver = Callable[[Left], Awaitable[None]]
"""What else is to be done with what a dead node left: answer its messages, remove its payloads, wake the engine."""


class Nodes(Protocol):
    """What the application needs of it."""

    async def join(self) -> Left:
        """Begin; what is to be taken up before anything new is."""
        ...

    async def watch(self, taken_over: TakenOver, lost: Callable[[], None]) -> None:
        """Watch the others from now on. `lost`: this node was buried, nothing in hand is its own any more."""
        ...

    async def duty(self, name: str, start: Step, stop: Step) -> None:
        """`start` it when it becomes ours, `stop` it when it is no more, or at the end."""
        ...

    async def rest(self) -> None:
        """Duties stop, and no other is taken."""
        ...

    async def leave(self) -> None:
        """The end: what is left in hand is free for the others."""
        ...


def nodes_of(journal: Journal, settings: JournalSettings, clock: Clock) -> Nodes:
    """As the journal is: of one process, or shared."""
    return Together(journal, settings, clock) if journal.shared else Alone(journal, clock)


class Alone:
    """The only process: nothing to watch, all duties are ours."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._duties: list[Step] = []

    async def join(self) -> Left:
        """Everything that a stop left."""
        found = await self._journal.write(lambda s: queue.recover(s, self._clock.now()))
        return Left(None, None, found)

    async def watch(self, taken_over: TakenOver, lost: Callable[[], None]) -> None:
        """Nobody else is there."""

    async def duty(self, name: str, start: Step, stop: Step) -> None:
        """At once."""
        await start()
        self._duties.append(stop)

    async def rest(self) -> None:
        """Duties stop."""
        while self._duties:
            await self._duties.pop()()

    async def leave(self) -> None:
        """What is left in hand is for the next start."""
        await self.rest()


@dataclass(slots=True)
class _Duty:
    start: Step
    stop: Step
    ours: bool = False


@dataclass(slots=True)
class _Observed:
    beat: int
    since: float
    """When this beat was first seen (monotonic)."""


class Together:
    """One of several. `settings`: heartbeat and node_timeout."""

    def __init__(self, journal: Journal, settings: JournalSettings, clock: Clock) -> None:
        self._journal = journal
        self._heartbeat = settings.heartbeat
        self._timeout = settings.node_timeout
        self._clock = clock
        self._name = f"{socket.gethostname()} {os.getpid()}"
        self._others: dict[str, _Observed] = {}
        self._looked = time.monotonic()
        self._duties: dict[str, _Duty] = {}
        self._taken_over: TakenOver | None = None
        self._left: list[Left] = []
        """Taken over, and not all done with yet."""
        self._swept = time.monotonic()
        self._lost: Callable[[], None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def join(self) -> Left:
        """Begin to give signs of life; what nobody alive has in hand."""
        await self._enter()
        self._task = asyncio.create_task(self._run(), name="nodes")
        return await self._journal.write(lambda s: nodes.orphans(s, self._clock.now()))

    async def watch(self, taken_over: TakenOver, lost: Callable[[], None]) -> None:
        """From now on the dead are taken over."""
        self._taken_over, self._lost = taken_over, lost

    async def duty(self, name: str, start: Step, stop: Step) -> None:
        """It is taken when nobody alive has it."""
        self._duties[name] = _Duty(start, stop)

    async def rest(self) -> None:
        """Duties stop; signs of life go on."""
        await self._drop_duties()
        self._duties.clear()

    async def leave(self) -> None:
        """The node is gone: nobody has to wait for its death."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.rest()
        try:
            async with asyncio.timeout(self._timeout):
                left = await self._journal.write(lambda s: nodes.leave(s, self._clock.now()), self._timeout)
            if left is not None and any(left.deliveries.values()):
                log.warning("left in hand, free for other nodes: %s", _words(left))
        except (JournalUnavailable, TimeoutError):
            log.warning("the journal is unavailable: other nodes take over what is left in hand")

    # --- inside ---------------------------------------------------------------------------------------------

    async def _enter(self) -> None:
        await self._journal.write(lambda s: nodes.join(s, self._name, self._clock.now()))

    async def _run(self) -> None:
        while True:
            begun = time.monotonic()
            try:
                await self._look()
            except JournalUnavailable:
                # others could not give a sign of life either
                self._others.clear()
            except Exception as e:
                log.critical("watching the nodes failed: %s", type(e).__name__, exc_info=e)
            await asyncio.sleep(max(0.0, self._heartbeat - (time.monotonic() - begun)))

    async def _look(self) -> None:
        """One sign of life, one look at the others."""
        seen = await self._journal.aside(nodes.beat)
        if seen is None:
            await self._buried()
            return
        now = time.monotonic()
        if now - self._looked > self._timeout / 2:
            self._others.clear()  # we slept: so may have they, or we missed their signs
        self._looked = now
        dead: list[tuple[str, int]] = []
        observed: dict[str, _Observed] = {}
        for token, beat in seen.beats.items():
            if token == self._journal.node:
                continue
            before = self._others.get(token)
            if before is None or before.beat != beat:
                before = _Observed(beat, now)
            elif now - before.since >= self._timeout and self._taken_over is not None:
                dead.append((token, beat))
            observed[token] = before
        self._others = observed
        for token, beat in dead:
            await self._bury(token, beat)
        if now - self._swept >= SWEEP:
            self._swept = now
            self._left.append(await self._journal.write(lambda s: nodes.orphans(s, self._clock.now())))
        while self._left and self._taken_over is not None:
            await self._taken_over(self._left[0])
            self._left.pop(0)
        for name, duty in [*self._duties.items()]:
            holder = seen.duties.get(name)
            if not duty.ours and (holder is None or holder not in seen.beats):
                await self._take_duty(name, duty)

    async def _bury(self, token: str, beat: int) -> None:
        left = await self._journal.write(lambda s: nodes.bury(s, token, beat, self._clock.now()))
        if left is not None:
            log.critical("a node gave no sign of life for %g s: taken over (%s)", self._timeout, _words(left))
            self._left.append(left)

    async def _take_duty(self, name: str, duty: _Duty) -> None:
        if await self._journal.write(lambda s: nodes.take_duty(s, name)):
            log.info("duty taken: %s", name)
            duty.ours = True
            await duty.start()

    async def _buried(self) -> None:
        """We hung longer than `node_timeout`: the others have what was ours."""
        log.critical("other nodes took this one for dead: what it had in hand is theirs")
        if self._lost is not None:
            self._lost()
        await self._drop_duties()
        self._journal.renew()
        self._others.clear()
        await self._enter()

    async def _drop_duties(self) -> None:
        for name, duty in self._duties.items():
            if duty.ours:
                duty.ours = False
                log.info("duty left: %s", name)
                await duty.stop()


def _words(left: Left) -> str:
    counts = left.deliveries | {"messages": len(left.messages or ()), "payloads": len(left.payloads or ())}
    return ", ".join(f"{k}={v}" for k, v in counts.items())
