"""The full circle: DPI A → gateway A → operator → gateway B → DPI B, and all that comes back."""

from __future__ import annotations

from pathlib import Path

from connectors.mss.simulator import Fault
from fixtures import build
from gateway.hl7.message import Message
from tests.circle.hospitals import B, circle, mdns, until_rows

ROOT = "1.2.250.1.71.4.2.2.990000010.55"


def message(control_id: str, event: str = "T02", version: int = 1, replaces: int | None = None) -> bytes:
    cda = build.cda_n1(
        uid=f"{ROOT}.1.{version}",
        set_id=f"{ROOT}.1",
        version=version,
        replaces=f"{ROOT}.1.{replaces}" if replaces else None,
    )
    return build.mdm(
        event, cda, control_id=control_id, recipients=(B,), ack_reading=True, flags={"DESTDMP": "N"}
    )


async def test_a_document_is_integrated_and_both_receipts_come_back(tmp_path: Path) -> None:
    """Z02 Y (the operator's report), T02 at B, Z03 Y (B's MDN)."""
    async with circle(tmp_path) as (a, b, _operator):
        assert (await a.send(message("CIRCLE-1"))).code == "AA"
        [t02] = await b.got("T02")
        [z02] = await a.got("Z02")
        [z03] = await a.got("Z03")
        assert (z02.indicator, z02.address, z02.answered) == (True, B, "CIRCLE-1")
        assert (z03.indicator, z03.address, z03.answered) == (True, B, "CIRCLE-1")
        received = Message.parse(t02.raw)
        assert received.msh.text(5) == "DPI" and received.msh.text(6) == "HOPITAL-B"
        await until_rows(b, "SELECT state, kind, reason FROM received_mail", [("treated", "inbound", "")])
        await until_rows(
            a,
            "SELECT event, fact, told FROM receipt ORDER BY event",
            [("Z02", "received", 1), ("Z03", "read", 1)],
        )
        await until_rows(a, "SELECT count(*) FROM incident", [(0,)])
        await until_rows(b, "SELECT count(*) FROM received_mail WHERE filed_at IS NULL", [(0,)])


async def test_a_document_refused_by_the_other_dpi_comes_back_as_902(tmp_path: Path) -> None:
    """B's DPI does not know the patient: MDN with 902, Z03 N at A, an incident on both sides."""
    async with circle(tmp_path) as (a, b, _operator):
        b.dpi.plan("AE:902")
        assert (await a.send(message("CIRCLE-2"))).code == "AA"
        [z03] = await a.got("Z03")
        assert z03.indicator is False and z03.error[0] == "902"
        await until_rows(b, "SELECT state, kind, reason FROM received_mail", [("treated", "inbound", "902")])
        await until_rows(b, "SELECT flow, code FROM incident", [("inbound", "902")])
        await until_rows(a, "SELECT flow, code FROM incident", [("receipt", "902")])


async def test_a_report_settles_a_mail_whose_answer_was_lost_and_nothing_is_sent_twice(
    tmp_path: Path,
) -> None:
    """The operator took the mail and the connection was cut: its DSN says so before we send again."""
    async with circle(tmp_path) as (a, b, operator):
        operator.plan(Fault("commit_then_drop", B))
        assert (await a.send(message("CIRCLE-3"))).code == "AA"
        [z02] = await a.got("Z02")
        assert z02.indicator is True
        await until_rows(a, "SELECT state FROM delivery WHERE destination = 'mss'", [("succeeded",)])
        tries = (
            "SELECT a.outcome FROM attempt a JOIN delivery d ON d.id = a.delivery_id "
            "WHERE d.destination = 'mss' AND a.kind = '{}' ORDER BY a.id"
        )
        assert [tuple(r) for r in await a.rows(tries.format("deliver"))] == [("uncertain",)]
        assert [tuple(r) for r in await a.rows(tries.format("reconcile"))][-1] == ("success",)
        await b.got("T02")
        assert (
            sum(e.action == "mail" and e.kept and e.notify.startswith("SUCCESS") for e in operator.events)
            == 1
        )


async def test_a_recipient_refused_at_once_and_one_refused_later(tmp_path: Path) -> None:
    """§3.1: 550 at RCPT; taken, then a report of failure: Z02 N each, nothing at B, an incident each."""
    async with circle(tmp_path) as (a, b, operator):
        operator.plan(Fault("rcpt", B, code=550))
        operator.plan(Fault("bounce", B, code=552, seconds=0.2))
        await a.send(message("CIRCLE-4"))
        await a.got("Z02")
        assert (await a.send(message("CIRCLE-5", "T10", 2, 1))).code == "AA"
        told = await a.got("Z02", 2)
        assert [(z.answered, z.indicator, z.error[0]) for z in told] == [
            ("CIRCLE-4", False, "550"),
            ("CIRCLE-5", False, "552"),
        ]
        await until_rows(
            a, "SELECT flow, code FROM incident ORDER BY id", [("outbound", "550"), ("receipt", "552")]
        )
        await operator.settle()
        assert b.dpi.received == [] and len(a.dpi.received) == 2


async def test_a_dpi_that_is_down_gets_its_document_once_when_it_is_back(tmp_path: Path) -> None:
    """§2.2 step 6: the mail waits in the journal; one MDM, one MDN, and only then."""
    async with circle(tmp_path) as (a, b, operator):
        await b.dpi.down()
        await a.send(message("CIRCLE-6"))
        await until_rows(b, "SELECT state FROM received_mail", [("forwarded",)])
        await until_rows(
            b, "SELECT outcome FROM attempt WHERE number = 2 AND delivery_id = 1", [("transient",)]
        )
        assert mdns(operator) == []
        await b.dpi.up()
        [z03] = await a.got("Z03")
        assert z03.indicator is True
        assert len(b.of("T02")) == 1 and len(mdns(operator)) == 1


async def test_versions_of_one_document_reach_the_other_dpi_in_order(tmp_path: Path) -> None:
    """T02, T10, T04 sent one after the other without waiting: the DPI's own version rules refuse nothing."""
    async with circle(tmp_path) as (a, b, _operator):
        for control_id, event, version, replaces in (
            ("CIRCLE-7", "T02", 1, None),
            ("CIRCLE-8", "T10", 2, 1),
            ("CIRCLE-9", "T04", 2, 1),
        ):
            assert (await a.send(message(control_id, event, version, replaces))).code == "AA"
        told = await a.got("Z03", 3)
        assert sorted((z.answered, z.indicator) for z in told) == [
            ("CIRCLE-7", True),
            ("CIRCLE-8", True),
            ("CIRCLE-9", True),
        ]
        assert [e.type for e in b.dpi.events] == ["MDM^T02", "MDM^T10", "MDM^T04"]
        assert [b.dpi.documents.state(k) for k in b.dpi.documents.kept] == ["latest", "deleted"]
