"""What fails in a running gateway reaches the error mailbox: real SMTP over TLS, real journal, one mail for each."""

from __future__ import annotations

import asyncio
from pathlib import Path

from connectors.mss.receipts.model import Kind
from connectors.mss.receipts.reading import classify
from connectors.port import Outcome, OutcomeClass
from fixtures import build
from tests.errors.world import BOX, FROM, attachments, documents, operating, world
from tests.exchange.harness import submit
from tests.exchange.scripted import Scripted
from tests.hl7.messages import put

REFUSED = Outcome(OutcomeClass.PERMANENT, "DMPInvalidDocument", "Le document est refusé par le DMP")
NO_SUCH_BOX = Outcome(OutcomeClass.PERMANENT, "550", "Boîte inconnue")
MARTIN = "dr.martin@test-hopital.mssante.fr"


def pdf_message(control_id: str) -> tuple[bytes, bytes]:
    """A message whose document has a PDF copy, and that document."""
    document = build.cda_n1(payload=build.pdf(20_000))
    return build.mdm("T02", document, control_id=control_id), document


async def test_a_document_that_the_dmp_refuses(tmp_path: Path) -> None:
    """§2.6: one mail, with code and label, the message, IHE_XDM.ZIP and the PDF, over TLS."""
    message, document = pdf_message("DMP1")
    async with operating(tmp_path) as operator, world(tmp_path, operator) as w:
        w.running.dmp.outcomes = [REFUSED]
        assert (await w.running.send(message)).code == "AA"
        (mail,) = await w.got(1)
        await w.until_rows("SELECT state FROM delivery WHERE destination = 'errors'", [("succeeded",)])
        assert (mail.sender, mail.recipient) == (FROM, BOX)
        subject = str(mail.message["Subject"])
        assert subject.startswith(
            "[KO Intégration système !][DMPInvalidDocument] Envoi DMP non abouti - XDM/1.0/DDM+"
        )
        assert build.PATIENT.birth_family in subject
        assert mail.message["Auto-Submitted"] == "auto-generated"
        text = mail.text()
        for words in (
            "DMP1",
            "DMPInvalidDocument",
            "refusé par le DMP",
            "SIL-ESSAI / HOPITAL-ESSAI",
            "Que faire",
        ):
            assert words in text
        files = attachments(mail)
        assert files["message_original.hl7"] == message
        (received,) = documents(files["IHE_XDM.ZIP"])
        assert received.document.content == document
        assert [n for n in files if n.endswith(".pdf")] and mail.pdf().startswith(b"%PDF-")
        # our own side knows it for an error: its archive is never a new document
        assert classify(mail.raw) is Kind.ERROR_MAIL
        assert await w.rows("SELECT count(*) FROM incident") == [(1,)]


async def test_a_mail_that_the_operator_refuses_and_a_delivery_that_expires(tmp_path: Path) -> None:
    async with operating(tmp_path) as operator:
        scripted = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
        scripted["mss"] = Scripted("mss", (MARTIN,))
        engine = {"retry": {"first": 0.01, "longest": 0.02, "jitter": 0, "lifetime": 0.05}}
        async with world(tmp_path, operator, scripted=scripted, engine=engine) as w:
            w.running.mss.outcomes = [NO_SUCH_BOX]
            w.running.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT, "503", "indisponible")] * 50
            assert (await w.running.send(submit("BOTH"))).code == "AA"
            mails = await w.got(2)
            by_code = {str(m.message["Subject"]).split("[")[2].split("]")[0]: m for m in mails}
            assert set(by_code) == {"550", "503"}
            assert MARTIN in by_code["550"].text() and "Boîte inconnue" in by_code["550"].text()
            assert "a essayé pendant toute la durée prévue" in by_code["503"].text()


async def test_a_refused_message_is_told_by_option(tmp_path: Path) -> None:
    """An AE by option: every sentence of the ACK; the document alone when it has no complete metadata."""
    wrong = put(submit("AE1"), "PID^1^8", "")
    async with operating(tmp_path) as operator:
        async with world(tmp_path, operator) as w:
            assert (await w.running.send(wrong)).code == "AE"
            await asyncio.sleep(0.2)
            assert await w.rows("SELECT count(*) FROM incident") == [(0,)]
        async with world(tmp_path, operator, errors={"refused_messages": True}) as w:
            wrong = put(submit("AE2", 2), "PID^1^8", "")
            answer = await w.running.send(wrong)
            assert answer.code == "AE"
            (mail,) = await w.got(1)
            text = mail.text()
            assert "Message du DPI refusé" in text and "AE2" in text
            for error in answer.errors:
                assert str(error.diagnostic) in text, "every error of the ACK"
            assert attachments(mail)["message_original.hl7"] == wrong
            # the stored answer is given again: nothing new is told; AR is never told
            assert (await w.running.send(wrong)).code == "AE"
            assert await w.rows("SELECT flow, count(*) FROM incident GROUP BY flow") == [("refused", 1)]
