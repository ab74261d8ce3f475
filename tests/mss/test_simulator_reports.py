"""DSN and MDN of the operator simulator, read over IMAP with the standard library's parser.

Source: RFC 3461, 3464, 8098; spec/mssante.md §2.6, §3.1.
"""

from __future__ import annotations

import asyncio
from email.message import EmailMessage, Message
from pathlib import Path
from typing import Any, cast

import pytest

from connectors.mss.simulator import Fault, Reader
from connectors.mss.simulator.reports import wanted
from connectors.smtp.pool import xtext
from tests.mss.simulator_client import DOCTOR, ENVID, PFI, asking, mail, received, running, send

COLLEAGUE = "dr.bernard@hopital-b.mssante.fr"


def parts(report: EmailMessage) -> list[Message]:
    return cast(list[Message], report.get_payload())


def fields(report: EmailMessage) -> tuple[Message, Message]:
    """The message block and the recipient block of a DSN."""
    blocks = cast(list[Message], parts(report)[1].get_payload())
    assert len(blocks) == 2
    return blocks[0], blocks[1]


def notification(report: EmailMessage) -> Message:
    """The fields of an MDN."""
    return cast(list[Message], parts(report)[1].get_payload())[0]


async def test_a_success_report(tmp_path: Path) -> None:
    """RFC 3464 fields; RET=HDRS gives the headers back, and nothing of the body."""
    async with running(tmp_path) as operator:
        await send(operator, envid=xtext("a+b=c"))
        (report,) = await received(operator)
    assert report["Return-Path"] == "<>"
    assert report["Auto-Submitted"] == "auto-replied"
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    message, recipient = fields(report)
    assert message["Original-Envelope-Id"] == "a+b=c"
    assert message["Reporting-MTA"].startswith("dns;")
    assert recipient["Action"] == "delivered"
    assert recipient["Status"] == "2.0.0"
    assert recipient["Final-Recipient"] == f"rfc822; {DOCTOR}"
    assert recipient["Original-Recipient"] == f"rfc822;{DOCTOR}"
    assert recipient["Diagnostic-Code"].startswith("smtp; 250")
    assert [p.get_content_type() for p in parts(report)] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    assert "<m1@hopital-a.mssante.fr>" in str(parts(report)[2].get_payload())
    assert b".point" not in bytes(report)


@pytest.mark.parametrize(
    ("ret", "kind"), [("HDRS", "text/rfc822-headers"), ("FULL", "message/rfc822"), (None, "message/rfc822")]
)
async def test_a_failure_after_acceptance(tmp_path: Path, ret: str | None, kind: str) -> None:
    """Accepted, then a failure report: nothing in the mailbox; RET=FULL gives the mail back byte for byte."""
    async with running(tmp_path) as operator:
        operator.plan(Fault("bounce", DOCTOR, code=552))
        assert (await send(operator, ret=ret)).startswith("250")
        (report,) = await received(operator)
        assert await received(operator, DOCTOR) == []
        raw = operator.boxes.folder(PFI, "INBOX").messages[0].content
    message, recipient = fields(report)
    assert message["Original-Envelope-Id"] == ENVID
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.2.2")
    assert recipient["Diagnostic-Code"] == "smtp; 552 5.2.2 mailbox full"
    assert parts(report)[2].get_content_type() == kind
    assert (mail() in raw) is (kind == "message/rfc822")


async def test_delay_then_delivery(tmp_path: Path) -> None:
    """A delay report first, then the mail and a success report; relayed is told as relayed."""
    async with running(tmp_path) as operator:
        operator.plan(Fault("delayed", DOCTOR, seconds=0.05))
        operator.plan(Fault("relayed", DOCTOR))
        await send(operator)
        assert [fields(r)[1]["Action"] for r in await received(operator)] == ["delayed", "delivered"]
        await send(operator, mail(2))
        assert [fields(r)[1]["Action"] for r in await received(operator)][2:] == ["relayed"]
        assert len(await received(operator, DOCTOR)) == 2
        assert [e.result for e in operator.events if e.action == "dsn"] == ["delayed", "delivered", "relayed"]


@pytest.mark.parametrize(
    ("notify", "action", "sent"),
    [
        ("SUCCESS,FAILURE,DELAY", "delivered", True),
        ("FAILURE", "delivered", False),
        ("FAILURE", "failed", True),
        ("SUCCESS", "failed", False),
        ("SUCCESS", "relayed", True),
        ("NEVER", "failed", False),
        ("DELAY", "delayed", True),
        ("FAILURE", "delayed", False),
        ("", "failed", True),
        ("", "delivered", False),
        ("success", "expanded", True),
    ],
)
def test_what_notify_asks_for(notify: str, action: Any, sent: bool) -> None:
    """RFC 3461 §4.1; without NOTIFY a failure is told."""
    assert wanted(notify, action) is sent


async def test_no_report_without_a_return_path(tmp_path: Path) -> None:
    """RFC 3461 §5.2.1: a mail from <> never makes a report, whatever becomes of it."""
    async with running(tmp_path) as operator:
        operator.plan(Fault("bounce", DOCTOR))
        assert (await send(operator, sender="")).startswith("250")
        await send(operator, sender="")
        assert len(await received(operator, DOCTOR)) == 1
        assert [e for e in operator.events if e.action == "dsn"] == []


async def test_an_operator_without_dsn(tmp_path: Path) -> None:
    """No DSN in EHLO: success is never told, a later failure is."""
    async with running(tmp_path, dsn=False) as operator:
        await send(operator)
        operator.plan(Fault("bounce", DOCTOR))
        await send(operator, mail(2))
        (report,) = await received(operator)
    message, recipient = fields(report)
    assert message["Original-Envelope-Id"] is None
    assert recipient["Action"] == "failed"


async def test_each_recipient_has_a_report(tmp_path: Path) -> None:
    """Two recipients in one transaction, one fault: each is told apart."""
    async with running(tmp_path) as operator:
        operator.plan(Fault("bounce", COLLEAGUE))
        await send(operator, recipients=[DOCTOR, COLLEAGUE])
        told = {fields(r)[1]["Final-Recipient"]: fields(r)[1]["Action"] for r in await received(operator)}
    assert told == {f"rfc822; {DOCTOR}": "delivered", f"rfc822; {COLLEAGUE}": "failed"}


# --- readers
# -----------------------------------------------------------------------------------------------------


async def answered(
    tmp_path: Path, reader: Reader, raw: bytes | None = None, **options: Any
) -> list[EmailMessage]:
    """What comes back to the sender of a mail that asks for an MDN and for no DSN."""
    async with running(tmp_path, readers=[reader]) as operator:
        await send(operator, raw or mail(**asking()), notify="NEVER", **options)
        return await received(operator)


@pytest.mark.parametrize("kind", ["displayed", "processed", "dispatched", "deleted"])
async def test_dispositions(tmp_path: Path, kind: Any) -> None:
    """RFC 8098: fields, empty return path, the original in the third part."""
    (report,) = await answered(tmp_path, Reader(kind))
    assert report["Return-Path"] == "<>"
    assert report.get_param("report-type") == "disposition-notification"
    assert report["In-Reply-To"] == "<m1@hopital-a.mssante.fr>"
    assert report["From"] == DOCTOR
    told = notification(report)
    assert told["Original-Message-ID"] == "<m1@hopital-a.mssante.fr>"
    assert told["Final-Recipient"] == f"rfc822;{DOCTOR}"
    assert told["Disposition"].endswith(f"; {kind}")
    assert parts(report)[2].get_content_type() == "message/rfc822"


@pytest.mark.parametrize("third", ["none", "headers", "message"])
@pytest.mark.parametrize("form", ["A", "B", "C"])
async def test_error_902_in_every_form(tmp_path: Path, form: Any, third: Any) -> None:
    """§2.6: variants A, B, C of the volet, with and without the third part."""
    (report,) = await answered(tmp_path, Reader("error", form=form, third=third))
    assert str(report["Subject"]) == "[KO Intégration système !][902] XDM/1.0/DDM+CR essai NOM Prenom"
    told = notification(report)
    old = "902^Identifiant de patient inconnu^messageErrorCondition| E^Error^errorSeverity"
    disposition = str(told["Disposition"]).partition("; ")[2]
    assert disposition == ("processed/error" if form == "C" else f"processed/Error: {old}")
    error = {"A": None, "B": old, "C": old.replace("messageError", "applicationError")}[form]
    assert told["Error"] == error
    assert "902 Identifiant de patient inconnu" in str(parts(report)[0].get_content())  # type: ignore[attr-defined]
    assert len(parts(report)) == (2 if third == "none" else 3)


async def test_the_error_mail(tmp_path: Path) -> None:
    """§2.6 "courriel standard": asked for by nobody, the original whole inside."""
    (report,) = await answered(tmp_path, Reader("error_mail", code="904"), mail())
    assert str(report["Subject"]).startswith("[KO Intégration système !][904] XDM/1.0/DDM+")
    assert report.get_content_type() == "multipart/mixed"
    assert [p.get_content_type() for p in parts(report)] == ["text/plain", "message/rfc822"]
    assert parts(report)[1].get_filename() == "message_original.eml"
    (old,) = await answered(tmp_path, Reader("error_mail", form="A"), mail())
    assert str(old["Subject"]).startswith("[Erreur d'intégration !][902] XDM/1.0/DDM+")


async def test_odd_but_seen_forms(tmp_path: Path) -> None:
    """Blanks inside the brackets (the volet's example), no Original-Message-ID, another final recipient."""
    (spaced,) = await answered(tmp_path, Reader("processed", message_id="spaces"))
    assert notification(spaced)["Original-Message-ID"] == "< m1@hopital-a.mssante.fr >"
    (without,) = await answered(
        tmp_path, Reader("displayed", message_id="absent", final_recipient=COLLEAGUE, return_path="reader")
    )
    assert notification(without)["Original-Message-ID"] is None
    assert notification(without)["Final-Recipient"] == f"rfc822;{COLLEAGUE}"
    assert without["Return-Path"] == f"<{DOCTOR}>"


async def test_when_nothing_is_answered(tmp_path: Path) -> None:
    """Not asked; asked for another address than the return path; automatic mail; report; empty return path."""
    reader = Reader("displayed")
    assert await answered(tmp_path, reader, mail()) == []
    assert await answered(tmp_path, reader, mail(**asking(COLLEAGUE))) == []
    assert await answered(tmp_path, reader, mail(**asking(), Auto_Submitted="auto-generated")) == []
    assert await answered(tmp_path, reader, sender="") == []
    assert await answered(tmp_path, Reader("none")) == []
    assert await answered(tmp_path, Reader("displayed", recipient="@autre.mssante.fr")) == []
    assert len(await answered(tmp_path, Reader("displayed", recipient="@hopital-b.mssante.fr"))) == 1
    assert len(await answered(tmp_path, Reader("displayed", always=True), mail())) == 1


async def test_the_attachments_are_given_again(tmp_path: Path) -> None:
    """Form A of an error: archive and PDF of the original again, as parts of the report."""
    original = EmailMessage()
    original["From"], original["To"], original["Message-ID"] = PFI, DOCTOR, "<x@hopital-a.mssante.fr>"
    original["Disposition-Notification-To"] = PFI
    original.set_content("texte")
    original.add_attachment(b"PK-zip", "application", "zip", filename="IHE_XDM.ZIP")
    original.add_attachment(b"%PDF-1.4", "application", "pdf", filename="copie.pdf")
    raw = original.as_bytes().replace(b"\n", b"\r\n")
    (report,) = await answered(tmp_path, Reader("error", form="A"), raw)
    again = parts(report)[3:]
    assert [(p.get_content_type(), p.get_payload(decode=True)) for p in again] == [
        ("application/zip", b"PK-zip"),
        ("application/pdf", b"%PDF-1.4"),
    ]


async def test_two_hospitals(tmp_path: Path) -> None:
    """Two domains on one operator: A sends, B reads and answers by SMTP itself, A gets the answer."""
    async with running(tmp_path, mailboxes=[PFI, DOCTOR], closed=True) as operator:
        await send(operator, mail(1))
        (got,) = await received(operator, DOCTOR)
        assert got["Return-Path"] == f"<{PFI}>"
        await send(operator, mail(2, DOCTOR, PFI, In_Reply_To=str(got["Message-ID"])), DOCTOR, [PFI])
        report, answer = await received(operator)
        assert fields(report)[1]["Action"] == "delivered"
        assert answer["In-Reply-To"] == "<m1@hopital-a.mssante.fr>"
        (report_b,) = (await received(operator, DOCTOR))[1:]
        assert fields(report_b)[1]["Final-Recipient"] == f"rfc822; {PFI}"
        assert (await send(operator, recipients=["inconnu@hopital-b.mssante.fr"])).startswith("550 5.1.1")


async def test_stop_drops_what_is_due(tmp_path: Path) -> None:
    """A report due in an hour does not hold the process."""
    async with asyncio.timeout(5), running(tmp_path) as operator:
        operator.plan(Fault("bounce", DOCTOR, seconds=3600))
        await send(operator)
