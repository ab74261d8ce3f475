"""kill -9 of hospital B's gateway at every step of a received mail, then a restart (spec/mssante.md §2.2).

The document reaches the DPI once (one MSH-10, whatever the number of sends); its sender gets one MDN. The only
repetition that SMTP cannot exclude is the MDN itself between the operator's 250 and our commit: the same mail.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from connectors.dpi import simulator as dpi_simulator
from connectors.mss import simulator as mss_simulator
from gateway.exchange.steps import DELIVERY_STEPS, MAIL_STEPS
from tests.acceptance.process import GatewayProcess
from tests.circle.hospitals import B, disposition, mdns, until
from tests.circle.mails import cda, give, mail

STEPS = [*(f"mss:{s}" for s in MAIL_STEPS), *(f"{d}:{s}" for d in ("dpi", "mss") for s in DELIVERY_STEPS)]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
async def test_killed_at(step: str, tmp_path: Path) -> None:
    operator = mss_simulator.create(tmp_path / "operator")
    dpi = dpi_simulator.create(tmp_path / "dpi", consumer=True)
    await dpi.start()
    async with operator.running():
        mailbox = {
            **operator.imap_settings(B),
            "address": B,
            "retry_first": 0.1,
            "dpi": {"application": "DPI", "facility": "HOPITAL-B"},
        }
        mss = {**operator.connector_settings(), "from_address": B, "mailboxes": [mailbox]}
        gateway = GatewayProcess(tmp_path, {"mss": mss, "dpi": dpi.connector_settings()}, "production")
        try:
            await gateway.start(kill_at=step)
            await give(operator, await mail(cda()))
            assert await gateway.ended() == -signal.SIGKILL, f"{step} was never reached"
            await gateway.start()
            await until(lambda: bool(mdns(operator)), 40)
            await give(operator, await mail(cda(2)))  # what follows goes on: nothing is left of the first one
            await until(lambda: len({m.message_id for m in mdns(operator)}) == 2, 40)
        finally:
            await gateway.stop()
        first = [r for r in dpi.received if r.control_id == dpi.received[0].control_id]
        assert len({r.raw for r in first}) == 1
        assert len(first) <= (2 if step.startswith("dpi:") else 1)
        assert len({r.control_id for r in dpi.received}) == 2
        assert [k.uid[-3:] for k in dpi.documents.kept] == ["1.1", "2.1"]
        sent = [m.raw for m in mdns(operator)]
        assert len(set(sent)) == 2 and len(sent) <= (3 if step == "mss:done" else 2)
        assert all(disposition(m) == ("processed", "") for m in mdns(operator))
    await dpi.stop()
