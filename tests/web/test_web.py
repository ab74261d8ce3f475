"""Health, metrics, API and page: what they say, and that no patient data is in them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from connectors.port import Outcome, OutcomeClass
from fixtures import build
from tests.exchange.harness import Running, running, submit

WEB = {"web": {"enabled": True, "port": 0}}
PATIENT_WORDS = ("TEST-DURAND", "CAMILLE", build.PATIENT.ins, "19841203", build.PATIENT.ipp)


async def get(r: Running, path: str) -> httpx.Response:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{r.gateway.web_port}", timeout=60) as client:
        return await client.get(path)


async def test_health_and_readiness(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        assert (await get(r, "/healthz")).text == "ok\n"
        ready = await get(r, "/readyz")
        none = dict.fromkeys(("package", "xsd", "schematron"), "not configured")
        assert (ready.status_code, ready.json()) == (
            200,
            {"ready": True, "reasons": {}, "warnings": {}, "checks": none},
        )


async def test_readiness_is_red_when_the_journal_does_not_commit(tmp_path: Path) -> None:
    from sqlalchemy import text

    async with running(tmp_path, **WEB) as r:
        await r.gateway.journal.write(lambda s: s.execute(text(f"PRAGMA max_page_count = {1}")).scalar_one())
        await r.gateway.journal.close()
        answer = await get(r, "/readyz")
        assert answer.status_code == 503
        assert list(answer.json()["reasons"]) == ["journal"]


async def test_message_states_by_control_id(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        r.mss.recipients = (f"{build.PATIENT.ins}@patient.mssante.fr", "dr.x@test-hopital.mssante.fr")
        r.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT, "503", "indisponible")]
        await r.send(submit("M1"))
        await r.settled("M1")
        found = (await get(r, "/api/v1/messages/M1")).json()["messages"]
        assert len(found) == 1
        message: dict[str, Any] = found[0]
        assert (message["ack"], message["state"], message["type"]) == ("AA", "answered", "MDM^T02")
        assert message["documents"][0]["version"] == 1
        dmp = next(d for d in message["deliveries"] if d["destination"] == "dmp")
        assert [h["outcome"] for h in dmp["history"]] == ["transient", "success"]
        assert {d["recipient"] for d in message["deliveries"] if d["destination"] == "mss"} == {
            "…@patient.mssante.fr",
            "…@test-hopital.mssante.fr",
        }
        assert (await get(r, "/api/v1/messages/NONE")).status_code == 404


async def test_a_zam_is_told_from_the_delivery_of_a_document(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        await r.send(submit("M1"))
        await r.settled("M1")
        (message,) = (await get(r, "/api/v1/messages/M1")).json()["messages"]
        page = (await get(r, "/")).text
    seen = sorted((d["destination"], d["action"], d["event"]) for d in message["deliveries"])
    assert set(seen) == {
        ("dmp", "submit", None),
        ("mss", "submit", None),
        ("dpi", "zam", "Z01"),
        ("dpi", "zam", "Z02"),
    }
    assert "Retour au DPI (ZAM Z01, DMP)" in page and "Retour au DPI (ZAM Z02, MSSanté)" in page


async def test_metrics_count_messages_latency_deliveries_and_queues(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        await r.send(submit("M1"))
        await r.settled("M1")
        await r.send(submit("M2"))  # already transmitted
        seen = (await get(r, "/metrics")).text
        for line in (
            'segur_messages_total{code="AA",type="MDM^T02"} 1.0',
            'segur_messages_total{code="AE",type="MDM^T02"} 1.0',
            'segur_ack_seconds_count{code="AA"} 1.0',
            'segur_deliveries_total{destination="dmp",state="succeeded"} 1.0',
            'segur_queue_oldest_seconds{destination="dmp"} 0.0',
            'segur_findings_total{rule="EXC-ALREADY-TRANSMITTED",severity="reject"} 1.0',
        ):
            assert line in seen, line


async def test_the_age_of_what_a_connector_uses_is_told(tmp_path: Path) -> None:
    """`connectors.port.WithAges` (the white list of MSSanté): a metric, and a date in `/readyz`."""
    async with running(tmp_path, **WEB) as r:
        day = datetime.now(UTC) - timedelta(hours=1)
        r.mss.ages = lambda: {"white_list": day}  # type: ignore[attr-defined]
        seen = (await get(r, "/metrics")).text
        told = re.search(r'segur_data_age_seconds\{data="white_list",destination="mss"\} (\S+)', seen)
        assert told is not None and 3600 <= float(told.group(1)) < 3700
        checks = (await get(r, "/readyz")).json()["checks"]
        assert checks["mss.white_list"] == f"{day:%Y-%m-%dT%H:%M:%SZ}"


async def test_queue_depth_and_age_while_a_destination_is_down(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB, engine={"retry": {"first": 60}}) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT, "503", "indisponible")]
        await r.send(submit("M1"))
        await r.until(lambda: len(r.dmp.jobs) == 1)
        for _ in range(100):
            seen = (await get(r, "/metrics")).text
            if 'segur_queue_depth{destination="dmp",state="ready"} 1.0' in seen:
                break
        assert 'segur_queue_depth{destination="dmp",state="ready"} 1.0' in seen
        age = re.search(r'segur_queue_oldest_seconds\{destination="dmp"\} (\S+)', seen)
        assert age is not None and float(age.group(1)) > 0


async def test_the_page_is_in_french_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        assert "Aucun message reçu" in (await get(r, "/")).text
        await r.send(submit("M1"))
        await r.settled("M1")
        answer = await get(r, "/")
        assert "AA — accepté" in answer.text
        assert "réussi" in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert not re.search(r"""(?:src|href)=["'](?!/|#)""", answer.text)
        assert (await get(r, "/static/page.css")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/api/v1/messages/M1", "/api/v1/messages/M2", "/metrics"])
async def test_no_patient_data_anywhere(tmp_path: Path, path: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with running(tmp_path, **WEB) as r:
        r.mss.recipients = (f"{build.PATIENT.ins}@patient.mssante.fr",)
        await r.send(submit("M1"))
        await r.settled("M1")
        await r.send(submit("M2", 2).replace(b"TEST-DURAND", b"AUTRE-NOM", 1))
        text = (await get(r, path)).text + caplog.text
        for word in (*PATIENT_WORDS, "AUTRE-NOM"):
            assert word not in text, word
