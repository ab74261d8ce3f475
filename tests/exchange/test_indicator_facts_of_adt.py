"""What the ADT feed says to the indicators: facts in the commit of its ACK, and what makes none is seen."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.errors import ConfigurationFault
from indicators.from_adt import keyed_by
from tests.exchange.harness import raw, running, submit
from tests.exchange.test_indicator_facts import EVERY, told, until_told
from tests.hl7.test_adt import adt


async def test_an_adt_is_answered_once_its_facts_are_written(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        answer = await r.send(adt("A01", "77"))
        assert (answer.code, answer.acknowledged, answer.event) == ("AA", "77", "A01")
        found = await told(r)
        assert sorted(f["fact"] for f in found) == ["consent", "stay"]
        assert {f["finess"] for f in found} == {"750000001"}
        assert all("known_at" in f for f in found)
        # the same bytes: the same answer, nothing more
        assert await r.send_raw(adt("A01", "77")) == await r.send_raw(adt("A01", "77"))
        # the same content under another MSH-10: accepted, told once
        assert (await r.send(adt("A01", "78"))).code == "AA"
        # another content under the same MSH-10: MSH-10 is used twice in the field
        assert (await r.send(adt("A03", "77"))).code == "AA"
        found = await told(r)
        assert sorted(f.get("event", "-") for f in found) == ["-", "-", "A01", "A03"]
        state = await r.state("77")
        assert state["deliveries"] == []


async def test_all_that_is_wrong_with_an_adt_is_told_at_once(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        answer = await r.send(adt("A01", PID="PID|1", PV1="PV1|1|I", ZBE=None, ZFA="ZFA||||||||||XX"))
        assert answer.code == "AE"
        rules = {e.diagnostic for e in answer.errors}
        assert {"ADT-PATIENT", "ADT-STAY", "ADT-NO-ZBE"} <= rules
        assert await told(r) == []


async def test_an_event_that_no_indicator_needs_is_accepted(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(adt("A08"))).code == "AA"
        assert (await r.send(adt("A99"))).code == "AE"
        assert [f for f in await told(r) if f["fact"] == "stay"] == []


async def test_an_adt_and_a_document_name_the_same_patient_alike(tmp_path: Path) -> None:
    """One secret, made once and kept in the journal: after a restart too."""
    pid = next(line for line in submit("X").decode().split("\r") if line.startswith("PID"))
    async with running(tmp_path, indicators=EVERY) as r:
        assert (await r.send(adt("A01", PID=pid, ZFA=None))).code == "AA"
    async with running(tmp_path, indicators=EVERY) as r:
        assert (await r.send(submit("F-1", flags={"DESTDMP": "N"}))).code == "AA"
        found = await until_told(r, 2)
    assert len({f["patient"] for f in found}) == 1


async def test_the_secret_of_patients_keys_may_be_a_file_and_never_changes(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 32)
    table = EVERY | {"secret_file": "secret"}
    async with running(tmp_path, indicators=table) as r:
        assert (await r.send(adt("A01"))).code == "AA"
        key = keyed_by(b"s" * 32)
        stay = next(f for f in await told(r) if f["fact"] == "stay")
        from gateway.hl7.adt import read_adt
        from gateway.hl7.message import Message
        from gateway.rules import load_rulebook

        event = read_adt(Message.parse(adt("A01")), load_rulebook()).event
        assert event is not None and stay["patient"] == key(event.patient)
        with raw(tmp_path) as tables:
            (kept,) = tables.execute("SELECT secret FROM indicator_secret").fetchone()
            assert bytes(kept) == b""
    secret.write_bytes(b"t" * 32)
    with pytest.raises(ConfigurationFault, match="another secret"):
        async with running(tmp_path, indicators=table):
            pass
    with pytest.raises(ConfigurationFault, match="secret in a file"):
        async with running(tmp_path, indicators=EVERY):
            pass


async def test_an_establishment_that_nothing_names_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """UNKNOWN, once in the log for each sender, and among the warnings until the settings name it."""
    nobody = {
        "PID": "PID|1||IPP1^^^CH^PI" + "|" * 15 + "N1^^^CH^^AN",
        "PV1": "PV1|1|I" + "|" * 17 + "V1^^^CH^^VN",
    }
    async with running(tmp_path) as r:
        for number in ("1", "2"):
            assert (await r.send(adt("A01", number, **nobody))).code == "AA"
        assert {f["finess"] for f in await told(r)} == {"UNKNOWN"}
        warnings = await r.gateway.warnings()
        assert "GAM|CH" in warnings["indicators_establishment"]
    assert len([m for m in caplog.messages if "name no establishment" in m]) == 1
    async with running(tmp_path, indicators={"facilities": {"CH": "750000009"}}) as r:
        assert (await r.send(adt("A01", "3", **nobody))).code == "AA"
        assert "indicators_establishment" not in await r.gateway.warnings()
        assert {f["finess"] for f in await told(r)} == {"UNKNOWN", "750000009"}


NOBODY = {"PID": "PID|1||IPP1^^^CH^PI", "PV1": None, "ZBE": None}
"""An A28 or A31: about a person, so no visit number and no account that would hold a FINESS."""


@pytest.mark.sqlite
@pytest.mark.parametrize("event", ["A28", "A31"])
@pytest.mark.parametrize(
    ("own", "finess", "offset"),
    [
        ({}, "UNKNOWN", 1),
        ({"time_zones": {"default": "Indian/Reunion"}}, "UNKNOWN", 4),
        ({"facilities": {"CH": "970400123"}}, "970400123", 4),
        ({"facilities": {"CH": "970100123"}}, "970100123", -4),
        ({"facilities": {"CH": "970200123"}}, "970200123", -4),
        ({"facilities": {"CH": "970300123"}}, "970300123", -3),
        ({"facilities": {"CH": "980500123"}}, "980500123", 3),
        ({"facilities": {"CH": "975000123"}}, "975000123", -3),
        ({"facilities": {"CH": "2A0000123"}}, "2A0000123", 1),
        ({"facilities": {"CH": "750000123"}, "time_zones": {"default": "Indian/Reunion"}}, "750000123", 4),
        ({"facilities": {"CH": "970400123"}, "time_zones": {"9704": "Indian/Mayotte"}}, "970400123", 3),
        ({"facilities": {"OTHER": "970400123"}}, "UNKNOWN", 1),
    ],
)
async def test_a_message_about_a_person_is_of_the_time_of_its_sender(
    tmp_path: Path, event: str, own: dict[str, Any], finess: str, offset: int
) -> None:
    """No visit tells where it was written: the establishment that the settings give its sender does (R15)."""
    async with running(tmp_path, indicators=own) as r:
        assert (await r.send(adt(event, "T-1", **NOBODY))).code == "AA"
        (fact,) = await told(r)
    said = datetime(2025, 2, 3, 10, 15, tzinfo=timezone(timedelta(hours=offset)))
    assert (fact["fact"], fact["finess"]) == ("consent", finess)
    assert datetime.fromisoformat(fact["at"]) == said


async def test_a_merge_needs_no_establishment(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A40 names no stay, so no establishment, and no figure of one depends on it: nobody has anything to set."""
    merge = adt("A40", "1", MRG="MRG|IPP2^^^CH^PI", PV1=None, ZBE=None, ZFA=None, PID="PID|1||IPP1^^^CH^PI")
    async with running(tmp_path) as r:
        assert (await r.send(merge)).code == "AA"
        assert [f["fact"] for f in await told(r)] == ["identity"]
        assert "indicators_establishment" not in await r.gateway.warnings()
    assert not [m for m in caplog.messages if "name no establishment" in m]


async def test_a_fault_in_a_fact_harms_no_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be a fact is logged and counted; the document is accepted and delivered."""
    from gateway.exchange import published

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise ValueError("broken")

    async with running(tmp_path, indicators=EVERY) as r:
        monkeypatch.setattr(published, "delivery", broken)
        assert (await r.send(submit("F-1"))).code == "AA"
        await r.settled("F-1")
        monkeypatch.setattr(published, "about", broken)
        assert (await r.send(submit("F-2", number=2))).code == "AA"
        await r.settled("F-2")
        assert await told(r) == []
    assert "fact not made: ValueError" in caplog.messages


@pytest.mark.parametrize("none", ["00010101", "00010101000000+1400", "99991231", "99991231235959-1400"])
async def test_a_date_that_stands_for_none_never_stops_a_feed(tmp_path: Path, none: str) -> None:
    """DPIs write it in PV1-44 and PV1-45. An AR would come back for ever, with all that waits behind the message."""
    async with running(tmp_path, indicators=EVERY) as r:
        stay = replaced_pv1(adt("A01", "D-1"), {44: none, 45: none})
        assert (await r.send(stay)).code == "AA"
        (fact,) = [f for f in await told(r) if f["fact"] == "stay"]
        assert "admitted_at" not in fact and "discharged_at" not in fact
        assert (await r.send(submit("D-2"))).code == "AA", "what waits behind it on the connection"


@pytest.mark.sqlite
async def test_an_adt_whose_own_date_stands_for_none_is_seen(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is acknowledged and no fact comes of it: its sender must hear of that somewhere."""
    web = {"web": {"enabled": True, "port": 0}}
    async with running(tmp_path, indicators=EVERY, **web) as r:
        assert "indicators_undated" not in await r.gateway.warnings()
        for number in ("U-1", "U-2"):
            undated = adt("A01", number).replace(b"|20250203101500||ADT", b"|00010101||ADT")
            assert (await r.send(undated)).code == "AA"
        assert (await r.send(adt("A03", "U-3"))).code == "AA"
        assert {f.get("event") for f in await told(r) if f["fact"] == "stay"} == {"A03"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{r.gateway.web_port}") as client:
            senders = (await client.get("/api/v1/tolerances")).json()["senders"]
            metrics = (await client.get("/metrics")).text
            page = (await client.get("/tolerances")).text
            ready = (await client.get("/readyz")).json()
        (sender,) = senders
        (tolerance,) = sender["tolerances"]
        assert (sender["sender"], tolerance["rule"], tolerance["count"]) == ("GAM|CH", "ADT-SENT-NONE", 2)
        assert tolerance["text"].endswith("il ne compte dans aucun indicateur.")
        assert "GAM / CH" in page and "ADT-SENT-NONE" in page
        assert 'segur_indicator_facts_total{result="undated",source="adt"} 2.0' in metrics
        assert 'segur_tolerances_total{rule="ADT-SENT-NONE",sender="GAM|CH"} 2.0' in metrics
        assert "GAM|CH" in ready["warnings"]["indicators_undated"]
        assert "IPP1" not in page + json.dumps([senders, ready])
    said = [m for m in caplog.messages if "stands for no date" in m]
    assert len(said) == 1, "once for each sender"


def replaced_pv1(message: bytes, fields: dict[int, str]) -> bytes:
    """With other fields of PV1."""
    segments = message.split(b"\r")
    index = next(i for i, s in enumerate(segments) if s.startswith(b"PV1|"))
    pv1 = segments[index].split(b"|")
    pv1 += [b""] * (max(fields) + 1 - len(pv1))
    for number, text in fields.items():
        pv1[number] = text.encode()
    segments[index] = b"|".join(pv1)
    return b"\r".join(segments)
