"""One seed: the plan carried out against real processes, and the history of what was seen.

The DPI's lanes and the timed faults run together; a supervisor restarts each node as soon as it has ended. Then every
fault is lifted, the DPI gets its answers, the deliveries get to their ends, the DPI sends everything once more, and the
gateway is stopped in order. Nothing is waited for longer than the seed's time: what is open then is stuck.
"""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections import deque
from pathlib import Path
from typing import Any

from chaos.cluster import Cluster, NotReady
from chaos.counterparts import Dmp, Mss
from chaos.dpi import Dpi
from chaos.history import History, Hung, Noted, Stopped, Told
from chaos.messages import payload
from chaos.scenario import (
    DATABASE_KINDS,
    DISK_KINDS,
    HANGS,
    LANES,
    NODE_TIMEOUT,
    STARVED,
    Fault,
    Plan,
    Planned,
)
from chaos.wire import Relay
from connectors.dpi import simulator as dpi_simulator

FINAL_CODES = ("AA", "AE")
UNSEEN = ("no_ack", "in_ack", "unread", "nothing", "start", "inside", "no_end")
"""Attempts after which the DPI knows of no answer."""
AGAIN = 0.15
"""Seconds until the DPI tries again."""
LOOK = 0.05
LOOK_FOR_CPU = 0.2
WAITS_LONG = 0.5
"""Seconds without a CPU, of `NODE_TIMEOUT`: a sign of life may come too late."""
START_AGAIN = 0.5
"""Seconds until a node is started again whose start failed."""


class World:
    """What outlives the gateway, and several seeds: both simulators and the relays before them."""

    def __init__(self, directory: Path) -> None:
        self.dmp, self.mss = Dmp(directory / "dmp"), Mss(directory / "mss")
        self.history = History()
        self.relays: dict[str, Relay] = {}

    async def start(self) -> None:
        """Run the simulators."""
        for counterpart in (self.dmp, self.mss):
            await counterpart.start()
            relay = Relay(counterpart.name, counterpart.port, lambda cut: self.history.add(cut))
            await relay.start()
            self.relays[counterpart.name] = relay

    async def stop(self) -> None:
        """End them."""
        for relay in self.relays.values():
            await relay.stop()
        await self.dmp.stop()
        await self.mss.stop()

    def connectors(self) -> dict[str, dict[str, Any]]:
        """`[connectors.dmp]` and `[connectors.mss]` by way of the relays."""
        dmp, mss = dict(self.dmp.table), dict(self.mss.table)
        dmp["base_url"] = dmp["base_url"].replace(f":{self.dmp.port}/", f":{self.relays['dmp'].port}/")
        mss["port"] = self.relays["mss"].port
        return {"dmp": dmp, "mss": mss}

    async def reset(self, history: History) -> None:
        """A new seed."""
        self.history = history
        for counterpart in (self.dmp, self.mss):
            await counterpart.calm()
            await counterpart.reset()

    async def calm(self) -> None:
        """No fault any more."""
        for relay in self.relays.values():
            relay.calm()
        await self.dmp.calm()
        await self.mss.calm()


class Seed:
    """One run of one plan. `seconds`: the time it may take."""

    def __init__(
        self, plan: Plan, world: World, cluster: Cluster, zam: dpi_simulator.DpiSimulator, seconds: float
    ) -> None:
        self._plan, self._world, self._cluster, self._zam = plan, world, cluster, zam
        self._end = time.monotonic() + seconds
        self._dpi = Dpi(world.history)
        self._ready = [asyncio.Event() for _ in range(cluster.nodes)]
        self._open = asyncio.Event()
        """Some node is ready."""
        self._reason: dict[int, str] = {}
        self._begun = 0
        self._progress = asyncio.Condition()
        self._over = False

    async def run(self) -> None:
        """From the start of the nodes to their orderly stop; the history is the world's."""
        for table in self._plan.dmp:
            await self._world.dmp.plan(table)
        for table in self._plan.mss:
            await self._world.mss.plan(table)
        self._zam.plan(*self._plan.dpi)
        await self._cluster.open(self._world.history.add)
        nodes = [asyncio.create_task(self._supervise(n)) for n in range(self._cluster.nodes)]
        watching = [asyncio.create_task(self._watch(n)) for n in range(self._cluster.nodes)]
        work = [asyncio.create_task(self._lane(n)) for n in range(LANES)]
        work += [asyncio.create_task(self._fault(f)) for f in self._plan.faults]
        try:
            await self._until_end(asyncio.gather(*work))
            for fault in work:
                fault.cancel()
            await self._world.calm()
            await self._cluster.calm()
            for node in range(self._cluster.nodes):
                if (disk := self._cluster.disk(node)) is not None:
                    disk.calm()
                self._cluster.signal(node, signal.SIGCONT)
            if await self._until_end(self._settled()):
                self._kill_after_all()
                await self._until_end(self._everything_again())
                await self._until_end(self._settled())
        finally:
            self._over = True
            for node in range(self._cluster.nodes):
                self._stop(node, "end", signal.SIGTERM)
            done, late = await asyncio.wait(nodes, timeout=60)
            await asyncio.gather(*watching)
            for task in (*late, *work):
                task.cancel()
            await asyncio.gather(*nodes, *work, return_exceptions=True)
            for task in done:
                task.result()
        await self._collect()

    # --- the DPI ----------------------------------------------------------------------------------------------

    async def _lane(self, number: int) -> None:
        for ready in self._ready:
            await ready.wait()  # what happens to one of several nodes is to meet the others at work
        for message in self._plan.messages:
            if message.lane == number:
                await self._send(message)

    async def _send(self, message: Planned) -> None:
        frame = payload(message)
        async with self._progress:
            self._begun += 1
            self._progress.notify_all()
        for how, part in message.disturbed:
            code = await self._attempt(message, frame, how, part)
            if code in FINAL_CODES and how not in UNSEEN:
                return
        while not message.gives_up:
            if await self._attempt(message, frame, "clean", 0.0) in FINAL_CODES:
                return
            await asyncio.sleep(AGAIN)

    async def _attempt(self, message: Planned, frame: bytes, how: str, part: float) -> str:
        await self._open.wait()
        port = self._cluster.door or self._cluster.port(0)
        return await self._dpi.attempt(port, message, frame, how, part)

    async def _everything_again(self) -> None:
        """The DPI's operator sends all once more: the same answers, and nothing happens."""
        for message in self._plan.messages:
            if not message.gives_up:
                frame = payload(message)
                while await self._attempt(message, frame, "clean", 0.0) not in FINAL_CODES:
                    await asyncio.sleep(AGAIN)

    # --- the nodes ----------------------------------------------------------------------------------------------

    async def _supervise(self, node: int) -> None:
        armed = [step for which, step in self._plan.armed if which == node]
        while not self._over:
            step, was_ready = armed.pop(0) if armed else "", False
            try:
                await self._cluster.launch(node, step)
                self._is_ready(node, True)
                was_ready = True
                status = await self._cluster.ended(node)
            except NotReady as e:
                status = e.status
            self._is_ready(node, False)
            at = time.time()
            how = self._reason.pop(node, "")
            if how in ("", "term") and status == -signal.SIGKILL and step:
                how = "step"  # an armed step may also be met while a SIGTERM is obeyed
            if not how and not was_ready and status in (1, 2) and self._spoilt(node):
                # a disk or a database that it cannot use: it says so and ends, its service manager starts it again
                self._world.history.add(Stopped(at, node, "start", "it could not"))
                await asyncio.sleep(START_AGAIN)
                continue
            lost = self._cluster.power_cut(node) if how == "power_cut" else 0
            held = await asyncio.to_thread(self._cluster.held, node)
            detail = step if how == "step" else f"{lost} bytes lost" if lost else f"status {status}"
            if how in ("term", "end") and status not in (0, -signal.SIGTERM):  # -15: while it was starting
                how = "crash"
            self._world.history.add(
                Stopped(
                    at,
                    node,
                    how or "crash",
                    detail,
                    held.in_hand if held else (),
                    held.acknowledged if held else (),
                )
            )
            if not how:
                await asyncio.sleep(LOOK * 4)

    async def _watch(self, node: int) -> None:
        """Notes when the machine had no CPU for a node, or for this process, by which its connections go: others may
        then take it for dead."""
        looks: deque[tuple[float, float]] = deque()
        since, until = 0.0, 0.0
        while not self._over:
            now, waited = time.time(), self._cluster.waited(node)
            late = bool(looks) and now - looks[-1][0] > LOOK_FOR_CPU + WAITS_LONG
            if looks and waited < looks[-1][1]:
                looks.clear()  # another process
            looks.append((now, waited))
            while looks[0][0] < now - NODE_TIMEOUT - 2 * LOOK_FOR_CPU:
                looks.popleft()
            if late or waited - looks[0][1] > WAITS_LONG:
                if until and looks[0][0] > until:
                    self._world.history.add(Hung(since, until, node, STARVED))
                    since = 0.0
                since, until = since or looks[0][0], now
            await asyncio.sleep(LOOK_FOR_CPU)
        if until:
            self._world.history.add(Hung(since, until, node, STARVED))

    def _is_ready(self, node: int, ready: bool) -> None:
        (self._ready[node].set if ready else self._ready[node].clear)()
        (self._open.set if any(r.is_set() for r in self._ready) else self._open.clear)()

    def _spoilt(self, node: int) -> bool:
        return any(
            f.kind in (*DATABASE_KINDS, "power_cut") or (f.kind in DISK_KINDS and f.node == node)
            for f in self._plan.faults
        )

    def _stop(self, node: int, how: str, number: int) -> None:
        if self._cluster.running(node) and node not in self._reason:
            self._reason[node] = how
            self._cluster.signal(node, number)
            self._cluster.signal(node, signal.SIGCONT)

    def _kill_after_all(self) -> None:
        """A short seed has its kill, be it at rest: of several nodes, the one that was to die at a step may have had no
        such work."""
        if not self._plan.faults and not any(True for _ in self._world.history.of(Stopped)):
            for node, _step in self._plan.armed:
                self._stop(node, "kill", signal.SIGKILL)

    # --- the faults ---------------------------------------------------------------------------------------------

    async def _fault(self, fault: Fault) -> None:
        async with self._progress:
            await self._progress.wait_for(lambda: self._begun >= fault.after)
        await asyncio.sleep(fault.delay)
        node = fault.node
        self._note(f"{fault}")
        began = time.time()
        match fault.kind:
            case "kill":
                await self._ready[node].wait()
                self._stop(node, fault.kind, signal.SIGKILL)
            case "power_cut":
                await self._ready[node].wait()
                falls = asyncio.create_task(self._cluster.power_off())
                await asyncio.sleep(0)  # the database first, if there is one: the nodes would end its commits
                for each in range(self._cluster.nodes):
                    self._stop(each, fault.kind, signal.SIGKILL)
                await falls
            case "kill_start":
                await self._ready[node].wait()
                self._stop(node, "kill", signal.SIGKILL)
                while node in self._reason or not self._cluster.running(node):
                    await asyncio.sleep(LOOK / 5)
                await asyncio.sleep(fault.seconds)
                self._stop(node, "kill", signal.SIGKILL)
            case "term":
                await self._ready[node].wait()
                self._stop(node, "term", signal.SIGTERM)
            case "pause" | "hang":
                if fault.kind == "hang":
                    await self._ready[node].wait()
                    began = time.time()
                self._cluster.signal(node, signal.SIGSTOP)
                await asyncio.sleep(fault.seconds)
                self._cluster.signal(node, signal.SIGCONT)
            case "cut":
                self._world.relays[fault.link].cut(fault.direction, fault.count)
            case "down":
                await self._down(fault)
            case kind if kind in DATABASE_KINDS:
                await self._cluster.strike(fault)
            case _:
                await self._spoil(fault)
        if fault.kind in HANGS:
            self._world.history.add(Hung(began, time.time(), node, fault.kind))
        self._note(f"over: {fault.kind}")

    async def _down(self, fault: Fault) -> None:
        if fault.link == "dpi":
            await self._zam.down()
            await asyncio.sleep(fault.seconds)
            await self._zam.up()
            return
        counterpart = {"dmp": self._world.dmp, "mss": self._world.mss}[fault.link]
        await counterpart.call("POST", "/down")
        await asyncio.sleep(fault.seconds)
        await counterpart.call("POST", "/up")

    async def _spoil(self, fault: Fault) -> None:
        disk = self._cluster.disk(fault.node)
        if disk is None:
            return
        match fault.kind:
            case "disk_full":
                disk.full()
            case "read_only":
                disk.read_only()
            case "slow_fsync":
                disk.slow(fault.count)
            case "fsync_fails":
                disk.failing()
            case "clock":
                disk.clock(fault.count)
        await asyncio.sleep(fault.seconds)
        disk.calm()

    # --- the end --------------------------------------------------------------------------------------------------

    async def _settled(self) -> None:
        while await asyncio.to_thread(self._cluster.open_work):
            await asyncio.sleep(LOOK)

    async def _until_end(self, work: Any) -> bool:
        """False when the seed's time was over first."""
        try:
            async with asyncio.timeout(max(0.0, self._end - time.monotonic())):
                await work
                return True
        except TimeoutError:
            self._note("the time of the seed is over")
            return False

    async def _collect(self) -> None:
        history = self._world.history
        for record in await self._world.dmp.records():
            history.add(record)
        for mail in self._world.mss.records():
            history.add(mail)
        for zam in self._zam.received:
            digest = hashlib.sha256(zam.raw).hexdigest()
            history.add(
                Told(
                    zam.control_id,
                    zam.answered,
                    zam.event,
                    zam.address,
                    bool(zam.indicator),
                    zam.error[0],
                    digest,
                )
            )
        for final in self._cluster.finals():
            history.add(final)
        for noted in self._cluster.shared():
            history.add(noted)

    def _note(self, text: str) -> None:
        self._world.history.add(Noted(time.time(), text))
