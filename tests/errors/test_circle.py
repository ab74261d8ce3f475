"""Errors of the way back: a received mail that the DPI refuses, a late receipt, an error mail that bounces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors.mss import simulator as mss_simulator
from connectors.mss.simulator import Fault, Mail
from fixtures import build
from tests.circle.hospitals import A, B, Hospital, hospital, until, until_rows
from tests.circle.test_circle import message
from tests.errors.world import OID, attachments, documents

ERRORS_A, ERRORS_B = "erreurs@hopital-a.mssante.fr", "erreurs@hopital-b.mssante.fr"


def told(operator: Any, address: str) -> list[Mail]:
    """Error mails that reached the operator for this mailbox."""
    return [m for m in operator.mails if m.recipient == address]


def errors(operator: Any, sender: str, address: str) -> dict[str, Any]:
    """`[connectors.errors]`: from the hospital's own applicative mailbox, as in the profile's example."""
    keys = ("host", "port", "tls", "ca_bundle", "auth", "user", "secret_file")
    transport = {k: v for k, v in operator.connector_settings().items() if k in keys}
    return transport | {"from_address": sender, "to": [address], "source_oid": OID}


async def test_both_sides_of_a_refusal_are_told(tmp_path: Path) -> None:
    """B: the received mail, byte for byte, with its archive; A: the message and the MDN that told it."""
    operator = mss_simulator.create(tmp_path / "operator")
    async with (
        operator.running(),
        hospital(
            tmp_path / "a", operator, A, "HOPITAL-A", connectors={"errors": errors(operator, A, ERRORS_A)}
        ) as a,
        hospital(
            tmp_path / "b", operator, B, "HOPITAL-B", connectors={"errors": errors(operator, B, ERRORS_B)}
        ) as b,
    ):
        b.dpi.plan("AE:902")
        assert (await a.send(message("TOLD-1"))).code == "AA"
        await until(lambda: bool(told(operator, ERRORS_A) and told(operator, ERRORS_B)))
        (at_b,), (at_a,) = told(operator, ERRORS_B), told(operator, ERRORS_A)
        (sent,) = [m for m in operator.mails if m.recipient == B and m.sender == A]
        assert str(at_b.message["Subject"]).startswith("[KO Intégration système !][902] XDM/1.0/DDM+")
        assert build.PATIENT.birth_family in str(at_b.message["Subject"])
        assert documents(at_b.archive())
        enclosed = attachments(at_b)["message_original.eml"]
        assert sent.message_id.encode() in enclosed
        assert "Courriel MSSanté non intégré par le destinataire" in at_a.text() and "TOLD-1" in at_a.text()
        assert set(attachments(at_a)) >= {"IHE_XDM.ZIP", "message_original.hl7", "accuse_recu.eml"}
        assert [d.action.value for d in documents(at_a.archive())] == ["submit"]


async def test_an_error_mail_that_bounces_is_told_again_and_never_makes_a_loop(tmp_path: Path) -> None:
    """The report's own bounce comes to the applicative mailbox: no incident, no document, and not silence either."""
    operator = mss_simulator.create(tmp_path / "operator")
    async with (
        operator.running(),
        hospital(
            tmp_path / "a",
            operator,
            A,
            "HOPITAL-A",
            connectors={"errors": errors(operator, A, ERRORS_A)},
            errors={"repeat": 1.5},
        ) as a,
    ):
        nobody = "inconnu@hopital-c.mssante.fr"
        operator.plan(Fault("rcpt", nobody, times=0, code=550))
        operator.plan(Fault("bounce", ERRORS_A, times=1, code=550))
        assert (await a.send(build.mdm(
            "T02", build.cda_n1(), control_id="BOUNCE", recipients=(nobody,), flags={"DESTDMP": "N"}
        ))).code == "AA"  # fmt: skip
        await until_rows(a, "SELECT reason FROM received_mail", [("error-report",)])
        await until_warned(a)
        await until(lambda: len(told(operator, ERRORS_A)) == 2)
        await until_rows(a, "SELECT count(*) FROM error_report WHERE resolved_at IS NOT NULL", [(1,)])
        assert await a.gateway.warnings() == {}
        await until_rows(a, "SELECT flow, count(*) FROM incident GROUP BY flow", [("outbound", 1)])
        assert a.of("T02") == []
        # the report itself, brought back to the mailbox that the gateway reads: an error mail, never a document
        await operator.boxes.deliver(A, b"", told(operator, ERRORS_A)[-1].raw)
        await until_rows(a, "SELECT count(*) FROM received_mail WHERE state = 'treated'", [(2,)])
        await until_rows(a, "SELECT count(*) FROM incident", [(1,)])
        assert a.of("T02") == [] and len(told(operator, ERRORS_A)) == 2


async def test_a_bounce_that_is_no_report_makes_no_loop_and_no_silence(tmp_path: Path) -> None:
    """Some servers give a mail back without a delivery report. Of an error mail: no new error, or each error mail would
    bring the next one, with the last inside. Of a document's mail: somebody must hear that it did not arrive."""
    operator = mss_simulator.create(tmp_path / "operator")
    async with (
        operator.running(),
        hospital(
            tmp_path / "a", operator, A, "HOPITAL-A", connectors={"errors": errors(operator, A, ERRORS_A)}
        ) as a,
    ):
        there, nobody = "service@hopital-c.mssante.fr", "inconnu@hopital-c.mssante.fr"
        operator.plan(Fault("rcpt", nobody, times=0, code=550))
        for number, recipient in enumerate((there, nobody)):
            message = build.mdm(
                "T02", build.cda_n1(), control_id=f"B{number}", recipients=(recipient,),
                flags={"DESTDMP": "N"},
            )  # fmt: skip
            assert (await a.send(message)).code == "AA"
        await until(lambda: len(told(operator, ERRORS_A)) == 1)
        mail = next(m for m in operator.mails if m.recipient == there)
        for uid, returned in enumerate((told(operator, ERRORS_A)[0].raw, mail.raw), 1):
            head = b"From: MAILER-DAEMON@hopital-c.mssante.fr\r\nSubject: failure notice\r\n"
            head += b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="=_x"\r\n\r\n'
            head += (
                b"--=_x\r\n\r\nI'm not going to try again.\r\n--=_x\r\nContent-Type: message/rfc822\r\n\r\n"
            )
            await operator.boxes.deliver(A, b"", head + returned + b"\r\n--=_x--\r\n")
            treated = "SELECT count(*) FROM received_mail WHERE kind = 'quarantine'"
            await until_rows(a, treated, [(uid,)])
            await until_rows(a, "SELECT count(*) FROM incident", [(uid,)])
        assert a.of("T02") == []


async def until_warned(one: Hospital) -> None:
    """Wait until /readyz warns."""
    import asyncio

    async with asyncio.timeout(60):
        while not await one.gateway.warnings():
            await asyncio.sleep(0.02)
