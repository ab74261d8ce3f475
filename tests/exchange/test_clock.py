"""The gateway's clock is set back: nothing waits for as long as it was wrong.

Found by the chaos harness (a clock jump): deliveries put off while the clock was ahead waited until it was there again.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import text

from connectors.port import Outcome, OutcomeClass
from gateway.exchange.circuit import Circuit
from gateway.exchange.retry import delay_after, farthest
from gateway.journal import mails, payloads
from gateway.journal.store import Journal
from gateway.settings import RetrySettings
from tests.exchange.harness import running, submit

DAY = 86_400


async def test_a_delivery_put_off_while_the_clock_was_ahead_is_due_now(tmp_path: Path) -> None:
    retry = {"first": 30, "longest": 30, "jitter": 0}
    async with running(tmp_path, engine={"retry": retry}) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT)]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.until(lambda: len(r.dmp.jobs) == 1)
        while not await r.gateway.journal.write(
            lambda s: (
                s.execute(text(f"UPDATE delivery SET due_at = due_at + {DAY} WHERE state = 'ready'")).rowcount
            )  # type: ignore[attr-defined]
        ):
            pass
        r.gateway.engine.wake(["dmp"])
        deliveries = await r.settled("M1")
        assert {d["state"] for d in deliveries} == {"succeeded"}


async def test_an_ordinary_delay_is_kept(tmp_path: Path) -> None:
    retry = {"first": 30, "longest": 30, "jitter": 0}
    async with running(tmp_path, engine={"retry": retry}) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT)]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.until(lambda: len(r.dmp.jobs) == 1)
        assert (await r.send(submit("M2", 2, recipients=()))).code == "AA"
        await r.settled("M2")
        assert (await r.state("M1"))["deliveries"][0]["state"] == "ready"
        assert len(r.dmp.jobs) == 2


async def test_a_received_mail_that_came_while_the_clock_was_ahead_is_treated_now(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "journal.sqlite")
    try:
        for at, place in ((1000.0 + DAY, "ahead"), (1000.0, "now"), (1000.0 + 30, "put off")):
            new = mails.NewMail("mss", "box", place, place, 1, at)
            await journal.write(
                lambda s, new=new: mails.keep(s, new, lambda: payloads.add(s, new.sha256, b"x"))
            )
        found = await journal.read(lambda s: mails.due(s, 1000.0, 9))
        assert {m.place for m in found} == {"ahead", "now"}
    finally:
        await journal.close()


def test_no_delay_is_longer_than_the_farthest() -> None:
    policy = RetrySettings(first=50, longest=10, jitter=0.5)
    assert max(delay_after(n, policy, 1) for n in range(1, 20)) <= farthest(policy)
    assert max(delay_after(n, RetrySettings(), 1) for n in range(1, 40)) <= farthest(RetrySettings())


def test_a_circuit_probes_again_when_the_clock_went_back() -> None:
    circuit = Circuit(probe_every=60)
    circuit.open(DAY, "X")
    assert circuit.allowance(DAY + 1, 4) == 0
    assert circuit.allowance(100, 4) == 1
    assert circuit.allowance(120, 4) == 0
    assert circuit.allowance(161, 4) == 1
    assert circuit.close(170) == 0.0
