"""What exchanges say to the indicators: one fact for each outcome, in its commit, whatever comes after."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.mailbox_port import ReceiptFact, Receipts
from connectors.port import Outcome, OutcomeClass
from fixtures import build
from gateway.demo_stay import movements
from gateway.exchange.by_hand import Asked
from gateway.exchange.inbox.mailroom import Mailroom
from gateway.hl7.message import Message
from gateway.journal import by_hand
from indicators import facts
from tests.exchange.harness import ROOT, Running, cda, delete, replace, running, submit
from tests.exchange.scripted import Scripted
from tests.exchange.test_mailroom import doc, incoming, mailing, receipt, until_rows
from tests.hl7.test_adt import adt

EVERY = {"processing_ids": ["P", "T", "D"]}
REFUSED = Outcome(OutcomeClass.PERMANENT, "DMPInvalidDocument", "refusé")
PATIENT_BOX = f"{build.PATIENT.ins}@patient.mssante.fr"


async def told(r: Running) -> list[dict[str, Any]]:
    """All facts, in the order of arrival; each is one of the published model."""
    bodies = await r.gateway.journal.read(
        lambda s: (
            s.connection().exec_driver_sql("SELECT body FROM indicator_fact ORDER BY id").scalars().all()
        )
    )
    for body in bodies:
        facts.read(body)
    return [json.loads(body) for body in bodies]


async def until_told(r: Running, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(60):
        while len(found := await told(r)) < number:
            await asyncio.sleep(0.02)
    assert len(found) == number
    return found


def brief(found: list[dict[str, Any]]) -> list[str]:
    return [f"{f['destination']} {f['document']['unique_id']} {f['outcome']}" for f in found]


async def test_a_version_that_succeeds_is_a_fact_with_all_that_the_indicators_ask(tmp_path: Path) -> None:
    async with running(tmp_path, indicators=EVERY) as r:
        assert (await r.send(submit("F-1"))).code == "AA"
        found = await until_told(r, 2)
    by_channel = {f["destination"]: f for f in found}
    assert {*by_channel} == {"dmp", "mss"}
    fact = by_channel["dmp"]
    assert fact["fact"] == "delivery" and fact["outcome"] == "success" and fact["control_id"] == "F-1"
    assert fact["document"]["unique_id"] == f"{ROOT}.1.1" and fact["document"]["set_id"] == f"{ROOT}.1"
    assert (fact["document"]["version"], fact["document"]["type_code"]) == (1, "11502-2")
    assert fact["document"]["type_system"] == build.LOINC and fact["document"]["date"]
    assert fact["finess"] == build.FINESS[1:], "PRT-8.10: 1 and the FINESS"
    assert fact["stay"] == {"authority": build.IPP_ROOT, "value": "260100042"}, "PV1-19"
    assert fact["ins_qualified"] is True and fact["historical"] is False
    for word in (build.PATIENT.ins, build.PATIENT.ipp, build.PATIENT.birth_family):
        assert word not in json.dumps(found)


async def test_the_first_version_fails_and_the_second_succeeds(tmp_path: Path) -> None:
    """R2: each version has its own fact; the failure says its code."""
    dmp = Scripted("dmp")
    dmp.outcomes = [REFUSED]
    connectors = {"dmp": dmp, "mss": Scripted("mss"), "dpi": Scripted("dpi")}
    async with running(tmp_path, connectors, indicators=EVERY) as r:
        assert (await r.send(submit("F-1", flags={"DESTMSSANTEPS": "N"}, recipients=()))).code == "AA"
        await until_told(r, 1)
        assert (
            await r.send(replace("F-2", 1, 2, 1, flags={"DESTMSSANTEPS": "N"}, recipients=()))
        ).code == "AA"
        found = await until_told(r, 2)
    assert brief(found) == [f"dmp {ROOT}.1.1 failure", f"dmp {ROOT}.1.2 success"]
    assert found[0]["code"] == "DMPInvalidDocument" and "code" not in found[0]["document"]
    assert found[0]["document"]["set_id"] == found[1]["document"]["set_id"]


async def test_a_patient_address_keeps_its_domain_alone(tmp_path: Path) -> None:
    """An address of Mon espace santé is an INS: facts stay for ever, an INS may not."""
    mss = Scripted("mss", (PATIENT_BOX, "dr.martin@test-hopital.mssante.fr"))
    connectors = {"dmp": Scripted("dmp"), "mss": mss, "dpi": Scripted("dpi")}
    async with running(tmp_path, connectors, indicators=EVERY) as r:
        assert (await r.send(submit("F-1", flags={"DESTDMP": "N"}))).code == "AA"
        # two deliveries, and who the doctor is
        found = [f for f in await until_told(r, 3) if f["fact"] == "delivery"]
    patient, doctor = sorted((f["recipient"] for f in found), key=lambda a: "patient" not in a)
    assert patient.endswith("@patient.mssante.fr") and build.PATIENT.ins not in patient
    assert doctor == "dr.martin@test-hopital.mssante.fr"


async def test_a_recipient_is_a_correspondent_of_the_stay_by_rpps(tmp_path: Path) -> None:
    """MSP-2: ADT tell an RPPS without an address, documents an address; only together do they tell who has one."""
    mss = Scripted("mss", (PATIENT_BOX, build.DR_MARTIN.address))
    connectors = {"dmp": Scripted("dmp"), "mss": mss, "dpi": Scripted("dpi")}
    async with running(tmp_path, connectors, indicators=EVERY) as r:
        assert (await r.send(submit("F-1"))).code == "AA"
        await r.settled("F-1")
        found = [f for f in await told(r) if f["fact"] == "correspondent"]
    (one,) = found
    assert (one["rpps"], one["address"]) == (build.DR_MARTIN.id[1:], build.DR_MARTIN.address)
    assert one["stay"] == {"authority": build.IPP_ROOT, "value": "260100042"}
    assert one["finess"] == build.FINESS[1:]


async def test_a_deletion_is_a_fact_and_one_that_fails_is_none(tmp_path: Path) -> None:
    dmp = Scripted("dmp")
    connectors = {"dmp": dmp, "mss": Scripted("mss"), "dpi": Scripted("dpi")}
    only_dmp: dict[str, Any] = {"flags": {"DESTMSSANTEPS": "N"}, "recipients": ()}
    async with running(tmp_path, connectors, indicators=EVERY) as r:
        assert (await r.send(submit("F-1", **only_dmp))).code == "AA"
        await until_told(r, 1)
        dmp.outcomes = [REFUSED]
        assert (await r.send(delete("F-2", 1, 1, **only_dmp))).code == "AA"
        await r.settled("F-2")
        assert (await r.send(delete("F-3", 1, 1, **only_dmp))).code == "AA"
        found = await until_told(r, 2)
    assert brief(found) == [f"dmp {ROOT}.1.1 success", f"dmp {ROOT}.1.1 deleted"]
    assert found[1]["control_id"] == "F-3"


async def test_a_document_asked_for_again_has_no_second_success(tmp_path: Path) -> None:
    async with running(tmp_path, indicators=EVERY) as r:
        assert (await r.send(submit("F-1", flags={"DESTDMP": "N"}))).code == "AA"
        await until_told(r, 1)
        # the DMP is new in this one, the mail is not
        assert (await r.send(submit("F-2"))).code == "AA"
        found = await until_told(r, 2)
        await r.settled("F-2")
        assert len(await told(r)) == 2
    assert [(f["destination"], f["control_id"]) for f in found] == [("mss", "F-1"), ("dmp", "F-2")]


async def test_a_negative_dsn_takes_the_success_back_and_a_positive_one_gives_it_again(
    tmp_path: Path,
) -> None:
    """docs/decisions/0026: with the MSH-10 of the message that asked; a reader's refusal (Z03) is no failure."""
    async with mailing(tmp_path, indicators=EVERY) as (r, mss):
        assert (await r.send(submit("R-1", flags={"DESTDMP": "N"}))).code == "AA"
        await until_told(r, 1)
        news = (receipt(True), receipt(False, "Z03", code="902"), receipt(False, code="552"), receipt(True))
        for uid, says in enumerate(news, 1):
            mss.says = says
            mss.mail(uid, b"key-r-1 %d" % uid)
            await until_rows(r, "SELECT count(*) FROM receipt", [(uid,)])
        found = await told(r)
    assert [f["outcome"] for f in found] == ["success", "failure", "success"]
    assert {f["control_id"] for f in found} == {"R-1"} and len({f["fact_id"] for f in found}) == 3
    assert found[1]["code"] == "552" and found[0]["at"] < found[1]["at"] < found[2]["at"]


async def test_silence_after_a_delay_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The DPI is told N: so are the indicators; what arrives after all is a success again."""
    monkeypatch.setattr(Mailroom, "overdue_pause", 0.05)
    async with mailing(tmp_path, indicators=EVERY) as (r, mss):
        mss.outcomes = [Outcome(OutcomeClass.SUCCESS, "250", "ok", awaits=0.5)]
        assert (await r.send(submit("R-5", flags={"DESTDMP": "N"}))).code == "AA"
        await until_rows(r, "SELECT count(*) FROM awaited", [(1,)])
        mss.says = lambda raw: Receipts("dsn", (ReceiptFact(0, "Z02", "delayed", code="451"),))
        mss.mail(1, b"key-r-5")
        found = await until_told(r, 2)
        assert [(f["outcome"], f.get("code")) for f in found] == [("success", "250"), ("failure", "451")]
        mss.says = receipt(True)
        mss.mail(2, b"key-r-5 late")
        found = await until_told(r, 3)
    assert found[2]["outcome"] == "success"


async def test_a_cancelled_delivery_is_a_failure(tmp_path: Path) -> None:
    dmp = Scripted("dmp")
    dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT, "X", "absent")] * 50
    connectors = {"dmp": dmp, "mss": Scripted("mss"), "dpi": Scripted("dpi")}
    slow = {"retry": {"first": 300, "longest": 900, "jitter": 0}}
    async with running(tmp_path, connectors, indicators=EVERY, engine=slow) as r:
        assert (await r.send(submit("F-1", flags={"DESTMSSANTEPS": "N"}, recipients=()))).code == "AA"
        await until_rows(r, "SELECT count(*) FROM attempt", [(1,)])
        (delivery_id,) = await r.gateway.journal.read(lambda s: by_hand.open_to(s, "dmp"))
        await r.gateway.by_hand.one(delivery_id, "cancel", Asked("essai", "essai d'annulation"))
        found = await until_told(r, 1)
    assert brief(found) == [f"dmp {ROOT}.1.1 failure"] and found[0]["code"] == "ANNULATION"


async def test_what_came_by_mail_and_what_the_dpi_answered(tmp_path: Path) -> None:
    """A reception when the document goes to the DPI, an integration when the DPI has answered."""
    documents = (doc("1.1"), doc("2.1", set_id="1.2.200"))
    dpi_answers = [Outcome(OutcomeClass.SUCCESS, "AA"), Outcome(OutcomeClass.PERMANENT, "AE", "refusé")]
    facilities = {"B": "750000001"}
    async with mailing(tmp_path, indicators=EVERY | {"facilities": facilities}) as (r, mss):
        r.dpi.outcomes = list(dpi_answers)
        mss.says = incoming(*documents)
        mss.mail(1, b"a mail")
        found = await until_told(r, 4)
    kinds = sorted((f["fact"], f.get("outcome", "")) for f in found)
    assert kinds == [
        ("mss_integration", "failure"),
        ("mss_integration", "success"),
        ("mss_reception", ""),
        ("mss_reception", ""),
    ]
    assert {f["finess"] for f in found} == {"750000001"} and {f["format"] for f in found} == {"cda"}
    assert {f["mode"] for f in found if f["fact"] == "mss_integration"} == {"auto"}
    assert {f["message_id"] for f in found} == {f"sha256:{hashlib.sha256(b'a mail').hexdigest()}"}
    assert {f["document"]["type_code"] for f in found} == {"11502-2"}


async def test_messages_of_tests_do_not_count_in_production(tmp_path: Path) -> None:
    """[indicators] processing_ids: P alone, unless the settings say otherwise (the fixtures bear T)."""
    async with running(tmp_path) as r:
        assert (await r.send(submit("F-1"))).code == "AA"
        await r.settled("F-1")
        assert await told(r) == []
        assert "MSH-11 T" in (await r.gateway.warnings())["indicators_processing"], "never without a word"


async def test_who_sends_what_counts_may_send_tests_beside(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(adt(control_id="A-1").replace(b"|A-1|P|", b"|A-1|D|"))).code == "AA"
        assert "MSH-11 D" in (await r.gateway.warnings())["indicators_processing"]
        assert (await r.send(adt(control_id="A-2"))).code == "AA"
        assert "indicators_processing" not in await r.gateway.warnings()
        assert {f["control_id"] for f in await told(r) if "control_id" in f} == {"A-2"}


async def test_the_stay_of_the_demonstration_is_one_that_counts(tmp_path: Path) -> None:
    """`make run`: admission and discharge of the stay that the document names."""
    async with running(tmp_path, indicators=EVERY) as r:
        document = submit("F-1")
        assert (await r.send(document)).code == "AA"
        for movement in movements(Message.parse(document), datetime.now(UTC)):
            assert (await r.send(movement)).code == "AA"
        found = await until_told(r, 4)
    stays = [f for f in found if f["fact"] == "stay"]
    sent = next(f for f in found if f["fact"] == "delivery")
    assert [f["event"] for f in stays] == ["A01", "A03"]
    assert {json.dumps(f["stay"]) for f in stays} == {json.dumps(sent["stay"])}
    assert {f["patient"] for f in stays} == {sent["patient"]}


async def test_facts_can_be_switched_off(tmp_path: Path) -> None:
    async with running(tmp_path, indicators={"enabled": False}) as r:
        assert (await r.send(submit("F-1"))).code == "AA"
        await r.settled("F-1")
        answer = await r.send(adt())
        assert (answer.code, [e.err3 for e in answer.errors]) == ("AE", ["200"])
        assert await told(r) == []


async def test_an_old_document_sent_now_is_historical(tmp_path: Path) -> None:
    """R10: dated (serviceEvent) more than `historical_days` before its message."""
    only_dmp: dict[str, Any] = {"flags": {"DESTMSSANTEPS": "N"}, "recipients": ()}
    async with running(tmp_path, indicators=EVERY) as r:
        late = build.mdm("T02", cda(1), control_id="F-1", date="20270110093000", **only_dmp)
        assert (await r.send(late)).code == "AA"
        (old,) = await until_told(r, 1)
    assert old["historical"] is True
    async with running(tmp_path, indicators=EVERY | {"historical_days": 0}) as r:
        again = build.mdm("T02", cda(2), control_id="F-2", date="20270110093000", **only_dmp)
        assert (await r.send(again)).code == "AA"
        found = await until_told(r, 2)
    assert found[1]["historical"] is False


async def test_a_discharge_in_an_mdm_is_a_word_on_the_stay(tmp_path: Path) -> None:
    """PV1-45: for stays that no ADT closes; written with the ACK."""
    message = submit("F-1")
    pv1 = next(line for line in message.split(b"\r") if line.startswith(b"PV1"))
    fields = pv1.split(b"|") + [b""] * 46
    fields[21], fields[44], fields[45] = b"03", b"20260105080000", b"20260109120000"
    message = message.replace(pv1, b"|".join(fields[:46]))
    async with running(tmp_path, indicators=EVERY) as r:
        assert (await r.send(message)).code == "AA"
        stays = [f for f in await told(r) if f["fact"] == "stay"]
        assert len(stays) == 1
        assert (await r.send(message)).code == "AA", "the same answer again"
        await r.settled("F-1")
        again = [f for f in await told(r) if f["fact"] == "stay"]
    assert again == stays
    (stay,) = stays
    assert (stay["event"], stay["kind"], stay["patient_class"]) == ("MDM", "03", "I")
    assert stay["discharged_at"] == "2026-01-09T11:00:00Z", "local time of the establishment"
