"""A stop drains within its deadline, and the next start says what it found."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from tests.exchange.harness import running, submit

DRAIN = 0.6


async def test_a_delivery_under_way_ends_before_the_stop(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.gate = asyncio.Event()
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.until(lambda: len(r.dmp.jobs) == 1)
        gate = r.dmp.gate
        stopping = asyncio.create_task(r.gateway.stop())
        await asyncio.sleep(0.2)
        assert not stopping.done()
        gate.set()
        await stopping
    async with running(tmp_path) as r:
        assert (await r.state("M1"))["deliveries"][0]["state"] == "succeeded"
        assert r.dmp.jobs == []


async def test_one_that_hangs_is_cut_at_the_deadline_and_looked_into_at_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, listener={"port": 0, "drain_timeout": DRAIN}) as r:
        r.dmp.gate = asyncio.Event()  # for ever
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.until(lambda: len(r.dmp.jobs) == 1)
        begun = time.monotonic()
        await r.gateway.stop()
        assert time.monotonic() - begun < 2 * DRAIN + 10  # the bound is the deadline's, not the destination's
    assert "1 deliveries cut" in caplog.text
    caplog.set_level(logging.INFO)
    async with running(tmp_path) as r:
        await r.settled("M1")
        assert len(r.dmp.reconciliations) == 1
        assert "uncertain=" in caplog.text or "taken over" in caplog.text or "left in hand" in caplog.text
        (found,) = [d for d in (await r.state("M1"))["deliveries"] if d["destination"] == "dmp"]
        assert "recovery" in [h["kind"] for h in found["history"]]
