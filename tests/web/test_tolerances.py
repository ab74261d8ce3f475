"""What was tolerated, by sender: from the journal, so a restart forgets nothing; bounded; no patient data."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from fixtures import build
from gateway import views
from gateway.errors import Finding, Severity
from gateway.exchange.telemetry import MAX_SENDERS, Telemetry
from gateway.journal import records
from gateway.journal.store import Journal
from tests.exchange.harness import running, submit
from tests.hl7.messages import put
from tests.web.test_web import PATIENT_WORDS, WEB, get

BLANK = "2.1^ CISIS_CDA_HL7_V2"


def sent(control_id: str, number: int, application: str = "SIL-ESSAI") -> bytes:
    """A message accepted with MSH21-BLANK and, for two PRT, PRT2-VALUE."""
    raw = put(put(submit(control_id, number), "MSH^1^21", BLANK), "MSH^1^3", application)
    return put(put(raw, "PRT^1^2", "AD"), "PRT^2^2", "AD")


async def test_the_api_and_the_page_survive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        assert "Aucune tolérance" in (await get(r, "/tolerances")).text
        for n in (1, 2):
            assert (await r.send(sent(f"M{n}", n))).code == "AA"
        assert (await r.send(sent("M3", 3, "AUTRE"))).code == "AA"
        # a refused message is not tolerated
        assert (await r.send(put(sent("M4", 4), "PID^1^8", ""))).code == "AE"
        metrics = (await get(r, "/metrics")).text
        line = 'segur_tolerances_total{rule="PRT2-VALUE",sender="SIL-ESSAI|HOPITAL-ESSAI"} 4.0'
        assert line in metrics
        assert 'segur_findings_total{rule="MSH21-BLANK",severity="warn"} 4.0' in metrics
    async with running(tmp_path, **WEB) as r:
        found: dict[str, Any] = (await get(r, "/api/v1/tolerances?days=1")).json()
        assert found["complete"] and found["days"] == 1
        by_sender = {s["sender"]: s for s in found["senders"]}
        assert set(by_sender) == {"SIL-ESSAI|HOPITAL-ESSAI", "AUTRE|HOPITAL-ESSAI"}
        first = by_sender["SIL-ESSAI|HOPITAL-ESSAI"]
        assert first["messages"] == 2
        assert [(t["rule"], t["count"]) for t in first["tolerances"]] == [
            ("PRT2-VALUE", 4),
            ("MSH21-BLANK", 2),
        ]
        assert first["tolerances"][0]["text"] == "PRT-2 doit valoir UC."
        assert first["tolerances"][1]["err2"] == "MSH^1^21^1^2"
        assert all(t["last_seen"] for t in first["tolerances"])
        page = await get(r, "/tolerances?days=1")
        assert "SIL-ESSAI / HOPITAL-ESSAI" in page.text and "PRT2-VALUE" in page.text
        assert "<script" not in page.text
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert 'href="/tolerances"' in (await get(r, "/")).text
        for word in (*PATIENT_WORDS, build.AUTHOR.id):
            assert word not in page.text and word not in json.dumps(found)


@pytest.mark.parametrize("days", ["0", "-1", "367", "x"])
async def test_the_period_is_bounded(tmp_path: Path, days: str) -> None:
    async with running(tmp_path, **WEB) as r:
        assert (await get(r, f"/api/v1/tolerances?days={days}")).status_code == 422
        assert (await get(r, f"/tolerances?days={days}")).status_code == 422


def test_senders_of_the_metric_are_bounded() -> None:
    telemetry = Telemetry()
    finding = Finding("MSH21-BLANK", Severity.WARN, "103", None, "…")
    for n in range(MAX_SENDERS + 20):
        telemetry.tolerated(f"A{n}|B", [finding])
    telemetry.tolerated("A0|B", [finding])
    (metric,) = telemetry.tolerances.collect()
    totals = {s.labels["sender"]: s.value for s in metric.samples if s.name.endswith("_total")}
    assert len(totals) == MAX_SENDERS + 1
    assert (totals["*"], totals["A0|B"]) == (20, 2)


def _store(journal: Journal, at: float, sender: str, code: str = "AA") -> Any:
    finding = Finding("MSH21-BLANK", Severity.WARN, "103", None, f"vu à {at:.0f}")

    def write(session: Any) -> None:
        new = records.NewMessage(b"x", "0" * 64, None, "M", sender, "MDM^T02", "p", "c", at)
        received = records.receive(session, new)
        records.answer(session, received.message_id, code, b"ack", [finding], {}, at)

    return journal.write(write)


async def test_period_and_bounds_of_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as r:
        journal, now = r.gateway.journal, time.time()
        for day in (40, 20, 10, 1):
            await _store(journal, now - day * 86_400, "A|B")
        await _store(journal, now, "C|D", "AE")
        monkeypatch.setattr(views, "MAX_SENDERS", 1)
        await _store(journal, now, "E|F")
        await _store(journal, now, "G|H")

        def counts(found: dict[str, Any]) -> dict[str, int]:
            return {s["sender"]: s["tolerances"][0]["count"] for s in found["senders"]}

        for days, expected in ((0.5, None), (5, 1), (15, 2), (30, 3), (60, 4)):
            since = now - days * 86_400
            found = await journal.read(lambda s, since=since: views.tolerances(s, since))
            assert found["complete"]
            if expected:
                assert counts(found) == {"A|B": expected, "*": 2}
                assert found["senders"][0]["tolerances"][0]["text"] == f"vu à {now - 86_400:.0f}"
        monkeypatch.setattr(views, "MAX_MESSAGES", 4)
        cut = await journal.read(lambda s: views.tolerances(s, now - 60 * 86_400))
        assert not cut["complete"]
        assert counts(cut) == {"A|B": 1, "*": 2}
        assert cut["since"] == views.instant(now - 86_400)
