"""ACK first: deliveries wait for messages being answered, and never stop (docs/decisions/0007)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.exchange.pressure import Pressure
from tests.exchange.harness import running, submit


async def test_quiet_is_waited_for_and_given_up_under_lasting_pressure() -> None:
    pressure = Pressure()
    assert await pressure.wait_quiet() is True
    with pressure.message():
        assert pressure.quiet is False
        assert await pressure.wait_quiet() is False
    assert await pressure.wait_quiet() is True


async def test_deliveries_go_on_while_a_message_is_never_answered(tmp_path: Path) -> None:
    async with running(tmp_path, ack={"deadline": 60}) as r:
        r.mss.prepare_seconds = 50
        stuck = asyncio.create_task(r.send(submit("STUCK", 99)))
        await r.until(lambda: r.mss.prepared == 1)
        r.mss.prepare_seconds = 0
        for n in range(3):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"
        for n in range(3):
            await r.settled(f"M{n}")
        assert len(r.dmp.jobs) == 3
        stuck.cancel()
        await asyncio.gather(stuck, return_exceptions=True)
