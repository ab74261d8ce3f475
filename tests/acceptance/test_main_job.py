"""The main job, end to end, over real MLLP, SOAP/MTOM with mutual TLS, and SMTP (synthetic fixtures)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from fixtures import build
from tests.acceptance.process import Counterparts, GatewayProcess, world

pytestmark = pytest.mark.slow

ROOT = build.DOCUMENT_ROOT
DOCTORS = ("dr.martin@test-hopital.mssante.fr", "dr.bernard@test-hopital.mssante.fr")
V1 = build.cda_n1()
V2 = build.cda_n1(uid=f"{ROOT}.1.2", version=2, replaces=f"{ROOT}.1.1")


def t02(control_id: str = "T02", cda: bytes = V1, **kwargs: object) -> bytes:
    return build.mdm("T02", cda, control_id=control_id, recipients=DOCTORS, **kwargs)  # type: ignore[arg-type]


def t10(control_id: str = "T10") -> bytes:
    return build.mdm("T10", V2, control_id=control_id, recipients=DOCTORS)


def t04(control_id: str = "T04") -> bytes:
    return build.mdm("T04", V2, control_id=control_id, recipients=DOCTORS)


async def all_succeeded(gateway: GatewayProcess, control_id: str) -> None:
    deliveries = await gateway.settled(control_id)
    assert {d["state"] for d in deliveries.values()} == {"succeeded"}, deliveries


def metadata(counterparts: Counterparts, index: int) -> str:
    return counterparts.mss.mails[index].documents()["IHE_XDM/SUBSET01/METADATA.XML"].decode()


async def test_submit_replace_delete(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        assert (await gateway.send(t02())).code == "AA"
        await all_succeeded(gateway, "T02")
        assert there.dmp.documents[f"{ROOT}.1.1"].content == V1
        assert there.dmp.documents[f"{ROOT}.1.1"].status == "Approved"
        assert Counter(m.recipient for m in there.mss.mails) == dict.fromkeys(DOCTORS, 1)
        for mail in there.mss.mails:
            assert mail.documents()["IHE_XDM/SUBSET01/DOC0001.XML"] == V1
            assert mail.pdf().startswith(b"%PDF")
        assert "extraMetadataSlot" not in metadata(there, 0)

        assert (await gateway.send(t10())).code == "AA"
        await all_succeeded(gateway, "T10")
        assert there.dmp.documents[f"{ROOT}.1.1"].status == "Deprecated"
        assert there.dmp.documents[f"{ROOT}.1.2"].status == "Approved"
        assert there.dmp.documents[f"{ROOT}.1.2"].content == V2
        assert "<" in metadata(there, 2) and ">C<" in metadata(there, 2)

        assert (await gateway.send(t04())).code == "AA"
        await all_succeeded(gateway, "T04")
        assert there.dmp.documents[f"{ROOT}.1.2"].status == "Deleted"
        assert ">D<" in metadata(there, 4)
        told = Counter((z.event, z.answered, z.indicator) for z in there.dpi.received)
        assert told == {(e, m, True): 1 + (e == "Z02") for e in ("Z01", "Z02") for m in ("T02", "T10", "T04")}


async def test_the_same_message_again_gets_the_same_ack_and_publishes_nothing_twice(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        first = await gateway.send_raw(t02())
        await all_succeeded(gateway, "T02")
        assert await gateway.send_raw(t02()) == first
        await all_succeeded(gateway, "T02")
        assert len(there.mss.mails) == 2
        assert sum(1 for e in there.dmp.events if e.action == "submit") == 1


async def test_a_replacement_whose_first_version_was_never_seen(tmp_path: Path) -> None:
    """Neither we nor the DMP know V1: accepted with a warning, refused by the DMP, told N; the mails go."""
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        assert (await gateway.send(t10())).code == "AA"
        deliveries = list((await gateway.settled("T10")).values())
        states = {d["destination"]: d["state"] for d in deliveries}
        assert states == {"dmp": "refused", "mss": "succeeded", "dpi": "succeeded"}
        assert Counter((z.event, z.indicator) for z in there.dpi.received) == {
            ("Z01", False): 1,
            ("Z02", True): 2,
        }


async def test_oru_with_two_documents(tmp_path: Path) -> None:
    n1 = build.cda_n1(uid=f"{ROOT}.2.1", set_id=f"{ROOT}.2")
    n3 = build.cda_n3()
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        ack = await gateway.send(build.oru("submit", [n1, n3], control_id="ORU1", recipients=DOCTORS))
        assert ack.code == "AA", ack
        await all_succeeded(gateway, "ORU1")
        assert {e.content for e in there.dmp.documents.values() if e.content in (n1, n3)} == {n1, n3}
        assert len(there.mss.mails) == 2
        files = there.mss.mails[0].documents()
        assert files["IHE_XDM/SUBSET01/DOC0001.XML"] == n1
        assert files["IHE_XDM/SUBSET01/DOC0002.XML"] == n3


async def test_a_document_that_is_not_a_cda_is_refused_at_its_place(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        ack = await gateway.send(
            build.mdm(
                "T02", b"Document medical au format CDA niveau 1", document_id=f"{ROOT}.5.1", control_id="X"
            )
        )
        assert ack.code == "AE"
        assert ("OBX^1^5", "102") in [(e.location, e.err3) for e in ack.errors]
        assert not there.mss.mails and not there.dmp.documents


async def test_refusals_of_both_connectors_in_one_ack_and_nothing_sent(tmp_path: Path) -> None:
    """DMP: a sender whose organisation is none of the authors' (EX_2.1-1140). MSSanté: a document without patient INS
    cannot be refused here, so a recipient outside the white list is."""
    white_list = tmp_path / "whitelist.xml"
    white_list.write_text(
        '<ListeBlancheMSSante xmlns="https://listeblanche.mssante.fr/schema"><ListeDomaines>'
        "<Domaine><Nom>autre.mssante.fr</Nom></Domaine></ListeDomaines></ListeBlancheMSSante>",
        encoding="utf-8",
    )
    async with world(tmp_path) as (gateway, there):
        settings = gateway.directory / "gateway.toml"
        settings.write_text(
            settings.read_text().replace(
                "[connectors.mss]\n", f'[connectors.mss]\nwhite_list = "{white_list}"\n'
            )
        )
        await gateway.start()
        ack = await gateway.send(t02(finess="1990000028"))
        assert ack.code == "AE"
        rules = {e.diagnostic.split("-")[0] for e in ack.errors}
        assert rules == {"DMP", "MSS"}, ack.errors
        assert not there.mss.mails and not there.dmp.events


async def test_dmp_down_when_the_ack_leaves(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        await there.dmp.down()
        assert (await gateway.send(t02())).code == "AA"
        while True:
            found = await gateway.message("T02")
            dmp = next(d for d in found["deliveries"] if d["destination"] == "dmp")
            if dmp["attempts"] >= 2:
                break
        assert dmp["state"] in ("ready", "sending")
        await there.dmp.up()
        await all_succeeded(gateway, "T02")
        assert there.dmp.documents[f"{ROOT}.1.1"].content == V1
        assert [(z.indicator, z.answered) for z in there.dpi.received if z.event == "Z01"] == [(True, "T02")]


async def test_dmp_closed_is_told_with_its_code(tmp_path: Path) -> None:
    async with world(tmp_path, dmp={"closed_patients": (build.PATIENT.ins,)}) as (gateway, there):
        await gateway.start()
        assert (await gateway.send(t02())).code == "AA"
        await gateway.settled("T02")
        zam = next(z for z in there.dpi.received if z.event == "Z01")
        assert (zam.indicator, zam.error[0]) == (False, "DMPClosed")


async def test_commit_then_drop_is_published_once_and_told_y(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        there.dmp.plan(dmp_fault("commit_then_drop", action="submit"))
        assert (await gateway.send(t02())).code == "AA"
        deliveries = await gateway.settled("T02")
        dmp = next(d for d in deliveries.values() if d["destination"] == "dmp")
        assert [h["kind"] for h in dmp["history"]] == ["deliver", "reconcile"]
        assert sum(1 for e in there.dmp.events if e.action == "submit") == 1
        assert [z.indicator for z in there.dpi.received if z.event == "Z01"] == [True]


async def test_one_recipient_refused_the_other_served(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, there):
        await gateway.start()
        there.mss.plan(DOCTORS[0], "550")
        assert (await gateway.send(t02())).code == "AA"
        await gateway.settled("T02")
        assert [m.recipient for m in there.mss.mails] == [DOCTORS[1]]
        told = {z.address: (z.indicator, z.error[0]) for z in there.dpi.received if z.event == "Z02"}
        assert told == {DOCTORS[0]: (False, "550"), DOCTORS[1]: (True, "")}


def dmp_fault(kind: str, **kwargs: object) -> object:
    from connectors.dmp.simulator.faults import Fault

    return Fault(kind, **kwargs)  # type: ignore[arg-type]
