"""kill -9 between the note of an error and its mail, and around them: each error is told, once."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.errors.connector import BLIND_SENDS
from connectors.mss.simulator import Fault
from fixtures import build
from gateway.exchange.steps import DELIVERY_STEPS, REPORT_STEPS
from tests.acceptance.process import PATIENCE, Counterparts, GatewayProcess, world
from tests.errors.world import BOX, FROM, attachments, documents, table, until

RECIPIENT = "inconnu@test-hopital.mssante.fr"
STEPS = [*REPORT_STEPS, "mss:recorded", *(f"errors:{step}" for step in DELIVERY_STEPS)]


def tables(counterparts: Counterparts) -> dict[str, dict[str, Any]]:
    return counterparts.tables() | {"errors": table(counterparts.mss)}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at(step: str, tmp_path: Path) -> None:
    async with world(tmp_path) as (first, counterparts):
        gateway = GatewayProcess(first.directory, tables(counterparts), "production")
        counterparts.mss.plan(Fault("rcpt", RECIPIENT, times=0, code=550))
        message = build.mdm("T02", build.cda_n1(), control_id="KILLERR", recipients=(RECIPIENT,))
        try:
            await gateway.start(kill_at=step)
            assert (await gateway.send(message)).code == "AA"
            assert await gateway.ended() == -signal.SIGKILL, f"{step} was never reached"
            await gateway.start()
            await until(lambda: any(m.sender == FROM for m in counterparts.mss.mails), PATIENCE)
            async with httpx.AsyncClient(base_url=gateway.web) as client, asyncio.timeout(PATIENCE):
                while True:
                    await asyncio.sleep(0.1)
                    (incident,) = (await client.get("/api/v1/incidents")).json()["incidents"]
                    if incident["report"] and incident["report"]["state"] == "succeeded":
                        break
        finally:
            await gateway.stop()
        mails = [m for m in counterparts.mss.mails if m.sender == FROM]
        assert {m.recipient for m in mails} == {BOX}
        assert len({m.raw for m in mails}) == 1, "a repetition is the same mail, byte for byte"
        # only between the operator's 250 and our commit may the same mail go again
        assert len(mails) <= (2 if step.startswith("errors:") else 1) <= BLIND_SENDS
        assert documents(attachments(mails[0])["IHE_XDM.ZIP"])
