"""Alarms: the rules as a table, and a running gateway that says their beginning and end once each."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import httpx
import pytest

from connectors.port import Outcome, OutcomeClass
from gateway.exchange.alarms import DAY, Measurements, alarms
from gateway.settings import AlarmSettings
from tests.exchange.harness import running, submit

NOW = 1_800_000_000.0
S = AlarmSettings(oldest=600, oldest_of={"errors": 60}, silence={"DPI|H": 3600}, certificate_days=30)


@pytest.mark.parametrize(
    ("measured", "names"),
    [
        ({}, set()),
        ({"oldest": {"dmp": NOW - 599}}, set()),
        ({"oldest": {"dmp": NOW - 601, "mss": NOW}}, {"oldest_dmp"}),
        ({"oldest": {"errors": NOW - 61}}, {"oldest_errors"}),
        ({"last_message": {"DPI|H": NOW - 3599}}, set()),
        ({"last_message": {"DPI|H": NOW - 3601}}, {"silence_DPI|H"}),
        ({"last_message": {"OTHER|H": NOW - 99999}}, set()),
        ({"certificates": {"dmp tls": NOW + 31 * DAY}}, set()),
        ({"certificates": {"dmp tls": NOW + 29 * DAY}}, {"certificate_dmp_tls"}),
        ({"certificates": {"dmp tls": NOW - DAY}}, {"certificate_dmp_tls"}),
        ({"disk_free": 2_000_000_000}, set()),
        ({"disk_free": 1_999_999_999}, {"disk"}),
        ({"mailboxes": {"mailbox_a": "La boîte…"}}, {"mailbox_a"}),
    ],
)
def test_rules(measured: dict[str, object], names: set[str]) -> None:
    assert set(alarms(Measurements(NOW, **measured), S)) == names  # type: ignore[arg-type]


def test_zero_is_no_alarm_of_age() -> None:
    assert alarms(Measurements(NOW, oldest={"dmp": 0.0}), AlarmSettings(oldest=0)) == {}


async def test_an_alarm_is_said_once_at_each_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "gateway.alarms")
    quick = {"every": 0.05, "oldest": 0.3, "disk_free_bytes": 0}
    async with running(tmp_path, alarms=quick, web={"enabled": True, "port": 0}) as r:
        r.dmp.gate = asyncio.Event()
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.until(lambda: "oldest_dmp" in r.gateway.alarms.now)
        base = f"http://127.0.0.1:{r.gateway.web_port}"
        async with httpx.AsyncClient(base_url=base) as client:
            ready = await client.get("/readyz")
            assert ready.status_code == 200 and "dmp" in ready.json()["warnings"]["oldest_dmp"]
            assert 'segur_alarm{name="oldest_dmp"} 1.0' in (await client.get("/metrics")).text
            await asyncio.sleep(0.2)
            r.dmp.gate.set()
            await r.until(lambda: not r.gateway.alarms.now)
            assert 'segur_alarm{name="oldest_dmp"} 0.0' in (await client.get("/metrics")).text
    lines = [x.getMessage() for x in caplog.records if "oldest_dmp" in x.getMessage()]
    assert len(lines) == 2 and lines[1].endswith("ended")


async def test_a_sender_that_was_silent_before_the_start_too(tmp_path: Path) -> None:
    quick = {"every": 0.05, "disk_free_bytes": 0}
    async with running(tmp_path, alarms=quick) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.SUCCESS)]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        sender = (await r.state("M1"))["sender"]
    await asyncio.sleep(0.6)
    async with running(tmp_path, alarms=quick | {"silence": {sender: 0.5}}) as r:
        await r.until(lambda: f"silence_{sender}" in r.gateway.alarms.now, 5)
        assert (await r.send(submit("M2", 2, recipients=()))).code == "AA"
        await r.until(lambda: not r.gateway.alarms.now, 5)
