"""What comes to a mailbox: versions, hostile mails, duplicates, who is answered. Source: spec/mssante.md §2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.mss.simulator import Fault
from fixtures import build
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action
from tests.circle.hospitals import A, B, disposition, hospital_b, mdns, until, until_rows
from tests.circle.mails import archive, cda, give, mail
from tests.mss.inbound import samples
from tests.mss.inbound.test_archive import HOSTILE

MAILS = "SELECT kind, reason FROM received_mail WHERE state = 'treated' ORDER BY id"
INTEGRATED = ("inbound", "")


async def test_two_documents_of_one_mail_are_two_messages_and_one_mdn(tmp_path: Path) -> None:
    """§2.1: one MDM = one document."""
    async with hospital_b(tmp_path) as (b, operator):
        n3 = build.cda_n3(
            uid="1.2.250.1.71.4.2.2.990000010.56.9.1", set_id="1.2.250.1.71.4.2.2.990000010.56.9"
        )
        await give(operator, await mail(cda(), n3))
        assert len(await b.got("T02", 2)) == 2
        await until(lambda: len(mdns(operator)) == 1)
        assert disposition(mdns(operator)[0]) == ("processed", "")
        assert {k.content for k in b.dpi.documents.kept} == {cda(), n3}


async def test_one_of_two_refused_is_one_negative_mdn(tmp_path: Path) -> None:
    """A mail is one thing (decision 19): what the DPI refused is said, with what it took."""
    async with hospital_b(tmp_path) as (b, operator):
        n3 = build.cda_n3(
            uid="1.2.250.1.71.4.2.2.990000010.56.9.1", set_id="1.2.250.1.71.4.2.2.990000010.56.9"
        )
        b.dpi.plan("AA", "AE:901")
        await give(operator, await mail(cda(), n3))
        await until_rows(b, MAILS, [("inbound", "901")])
        await until(lambda: len(mdns(operator)) == 1)
        assert disposition(mdns(operator)[0]) == ("processed/error", "901")


async def test_replacement_then_deletion(tmp_path: Path) -> None:
    """§2.3: T10 with TXA-13, T04; the DPI's own version rules agree."""
    async with hospital_b(tmp_path) as (b, operator):
        await give(operator, await mail(cda()))
        await b.got("T02")
        await give(operator, await mail(cda(1, 2, 1), action=Action.REPLACE))
        [t10] = await b.got("T10")
        txa = Message.parse(t10.raw).first("TXA")
        assert txa is not None and txa.text(13) == "1.2.250.1.71.4.2.2.990000010.56.1.1"
        await give(operator, await mail(cda(1, 2, 1), action=Action.DELETE))
        await b.got("T04")
        await until_rows(b, MAILS, [INTEGRATED] * 3)
        await until(lambda: len(mdns(operator)) == 3)
        assert [b.dpi.documents.state(k) for k in b.dpi.documents.kept] == ["latest", "deleted"]


BAD = {
    "IN-HASH": HOSTILE["IN-HASH"],
    "IN-ZIP-ENCRYPTED": HOSTILE["IN-ZIP-ENCRYPTED"],
    "IN-ZIP-NAME": HOSTILE["IN-ZIP-NAME climbs"],
    "IN-ZIP-RATIO": HOSTILE["IN-ZIP-RATIO"],
}


@pytest.mark.parametrize("rule", BAD)
async def test_a_bad_archive_is_a_clear_error_and_the_next_mail_goes_on(tmp_path: Path, rule: str) -> None:
    """§2.2: nothing of it goes to the DPI, the sender is told, a person is told, the mail is kept as it came."""
    async with hospital_b(tmp_path) as (b, operator):
        raw = await mail(archive_bytes=BAD[rule])
        await give(operator, raw)
        await give(operator, await mail(cda()))
        await b.got("T02")
        await until_rows(b, MAILS, [("inbound", "906"), INTEGRATED])
        [(findings,)] = await b.rows("SELECT findings FROM received_mail WHERE reason = '906'")
        assert rule in [f["rule"] for f in json.loads(findings) if f["severity"] == "reject"]
        await until_rows(b, "SELECT flow, code FROM incident", [("inbound", "906")])
        await until(lambda: len(mdns(operator)) == 2)
        assert sorted(disposition(m)[1] for m in mdns(operator)) == ["", "906"]
        [(content,)] = await b.rows(
            "SELECT p.content FROM payload p JOIN received_mail m ON m.payload_id = p.id WHERE m.reason = '906'"
        )
        assert raw in content
        assert [r.event for r in b.dpi.received] == ["T02"]


async def test_two_patients_in_one_archive(tmp_path: Path) -> None:
    """§1.2, §2.2: one mail is about one patient: neither document goes to the DPI."""
    async with hospital_b(tmp_path) as (b, operator):
        good = await archive(cda(1), cda(2))
        other = build.Patient(ins="2790351215189" + build.ins_key("2790351215189"), birth_family="TEST-AUTRE")
        mixed = samples.with_document(good, cda(2, patient=other), 2)
        await give(operator, await mail(archive_bytes=mixed))
        await give(operator, await mail(cda(3)))
        await b.got("T02")
        await until_rows(b, MAILS, [("inbound", "906"), INTEGRATED])
        assert [k.uid for k in b.dpi.documents.kept] == ["1.2.250.1.71.4.2.2.990000010.56.3.1"]


async def test_a_mail_of_a_thousand_parts_and_one_of_a_hundred_megabytes(tmp_path: Path) -> None:
    """§2.2: bounded; a person is told; the loop goes on."""
    async with hospital_b(tmp_path) as (b, operator):
        parts = b"".join(b"--X\r\nContent-Type: text/plain\r\n\r\nx\r\n" for _ in range(1000))
        head = (
            f"From: {A}\r\nTo: {B}\r\nSubject: XDM/1.0/DDM+CR NOM Prenom\r\nMessage-ID: <m1@a.fr>\r\n"
            'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="X"\r\n\r\n'
        ).encode()
        await give(operator, head + parts + b"--X--\r\n")
        huge = head + b"--X\r\n\r\n" + b"x" * 76 * 1_350_000 + b"\r\n--X--\r\n"
        assert len(huge) > 100_000_000
        await operator.boxes.deliver(B, f"Return-Path: <{A}>\r\n".encode(), huge)
        await give(operator, await mail(cda()))
        await b.got("T02")
        await until_rows(
            b,
            "SELECT kind, reason FROM received_mail WHERE state = 'treated' ORDER BY size",
            [INTEGRATED, ("quarantine", "TOO-COMPLEX"), ("too-large", "")],
        )
        await until_rows(b, "SELECT flow, code FROM incident", [("inbound", "906")] * 2)
        [(kept,)] = await b.rows(
            "SELECT p.size FROM payload p JOIN received_mail m ON m.payload_id = p.id WHERE kind = 'too-large'"
        )
        assert kept < 10_000  # its headers; the mail itself stays in the mailbox


async def test_a_mail_delivered_twice_is_integrated_once(tmp_path: Path) -> None:
    """The copies differ by the operator's trace headers: each one asks for an MDN, and gets it (decision 31)."""
    async with hospital_b(tmp_path) as (b, operator):
        operator.plan(Fault("twice", B))
        await give(operator, await mail(cda()))
        await until_rows(b, MAILS, [INTEGRATED, ("duplicate", "")])
        await until(lambda: len(mdns(operator)) == 2)
        assert len(b.of("T02")) == 1


async def test_the_same_document_by_another_way_is_integrated_once(tmp_path: Path) -> None:
    """Another mail (a forward): the DPI has it, who asks again is told so again."""
    async with hospital_b(tmp_path) as (b, operator):
        await give(operator, await mail(cda()))
        await until_rows(b, MAILS, [INTEGRATED])
        await give(operator, await mail(cda(), extra="Received: from elsewhere\n"))
        await until_rows(b, MAILS, [INTEGRATED, ("duplicate", "")])
        await until(lambda: len(mdns(operator)) == 2)
        assert len(b.of("T02")) == 1 and len(b.dpi.documents.kept) == 1


async def test_a_restored_mailbox_brings_nothing_twice(tmp_path: Path) -> None:
    """RFC 3501 §2.3.1.1: another UIDVALIDITY, every mail has a new UID."""
    async with hospital_b(tmp_path) as (b, operator):
        await give(operator, await mail(cda(1)))
        await give(operator, await mail(cda(2)))
        await until_rows(b, MAILS, [INTEGRATED] * 2)
        await until_rows(b, "SELECT count(*) FROM received_mail WHERE filed_at IS NULL", [(0,)])
        operator.restore(B)
        await give(operator, await mail(cda(3)))
        await b.got("T02", 3)
        await until_rows(
            b, "SELECT count(*) FROM received_mail WHERE state = 'treated' AND kind = 'inbound'", [(3,)]
        )
        await until_rows(b, "SELECT count(*) FROM received_mail WHERE state <> 'treated'", [(0,)])
        await until(lambda: len(mdns(operator)) == 3)
        assert len(b.of("T02")) == 3


async def test_a_document_masked_to_professionals_never_reaches_the_dpi(tmp_path: Path) -> None:
    """§2.1: MASQUE_PS."""
    async with hospital_b(tmp_path) as (b, operator):
        masked = samples.changed(
            await archive(cda()), r'nodeRepresentation="N"', 'nodeRepresentation="MASQUE_PS"'
        )
        await give(operator, await mail(archive_bytes=masked))
        await until_rows(b, MAILS, [("inbound", "906")])
        [(findings,)] = await b.rows("SELECT findings FROM received_mail")
        assert "IN-MASKED" in findings
        assert b.dpi.received == []


async def test_who_gets_no_mdn(tmp_path: Path) -> None:
    """§2.6: not asked for; another address than the return path; an automatic mail (RFC 8098 §2.1, RFC 3834)."""
    async with hospital_b(tmp_path) as (b, operator):
        await give(operator, await mail(cda(1), ask=False))
        await give(operator, await mail(cda(2)), sender="autre@hopital-a.mssante.fr")
        await give(operator, await mail(cda(3), extra="Auto-Submitted: auto-generated\n"))
        await give(operator, await mail(cda(4)))
        await until_rows(b, "SELECT count(*) FROM received_mail WHERE state = 'treated'", [(4,)])
        await until(lambda: len(mdns(operator)) == 1)
        await operator.settle()
        await until_rows(b, "SELECT count(*) FROM delivery WHERE destination = 'mss'", [(1,)])
        assert [m for m in operator.mails if m.sender in ("", B)] == mdns(operator)


async def test_answers_that_are_not_for_this_message_end_nothing(tmp_path: Path) -> None:
    """§2.4: MSA-2 of another message, an answer that comes after our patience: the same message again."""
    patience = {"timeouts": {"acknowledgement": 0.3}}
    async with hospital_b(tmp_path, dpi=patience) as (b, operator):
        b.dpi.plan("other", "late:1", "AR", "garbage", "silence", "cut")
        await give(operator, await mail(cda()))
        await until_rows(b, MAILS, [INTEGRATED])
        await until(lambda: len(mdns(operator)) == 1)
        assert len({r.control_id for r in b.of("T02")}) == 1 and len({r.raw for r in b.of("T02")}) == 1
        assert len(b.of("T02")) == 7
        assert len(b.dpi.documents.kept) == 1
        assert disposition(mdns(operator)[0]) == ("processed", "")


async def test_without_a_dpi_it_is_an_error_for_a_person(tmp_path: Path) -> None:
    """A mailbox that has no route."""
    async with hospital_b(tmp_path, mailbox={"dpi": None}) as (b, operator):
        await give(operator, await mail(cda()))
        await until_rows(b, MAILS, [("inbound", "906")])
        await until_rows(b, "SELECT flow, code FROM incident", [("inbound", "906")])
        await until(lambda: len(mdns(operator)) == 1)
        assert disposition(mdns(operator)[0]) == ("processed/error", "906")
