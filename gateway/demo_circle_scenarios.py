"""What the demo of the circle plays, and how each line is judged against the simulators."""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

from gateway.app import Gateway
from gateway.hl7 import acknowledgement
from gateway.mllp import send

PATIENCE = 60.0
"""Seconds for one wait."""
ROOT = "1.2.250.1.71.4.2.2.990000010.9"
A, B = "pfi@hopital-a.mssante.fr", "urologie_auto@hopital-b.mssante.fr"
SPARE = "archives_auto@hopital-b.mssante.fr"
"""A mailbox of B that no DPI takes documents from."""
ERRORS = {"A": "erreurs@hopital-a.mssante.fr", "B": "erreurs@hopital-b.mssante.fr"}


@dataclass(slots=True)
class Line:
    """One line of the table. `wrong` is empty when everything is as it must be."""

    title: str
    ack: str = ""
    dpi: str = ""
    zam: str = ""
    told: str = ""
    wrong: list[str] = field(default_factory=list)

    def must(self, condition: bool, what: str) -> None:
        """Note what is not as it must be."""
        if not condition:
            self.wrong.append(what)


@dataclass(slots=True)
class Hospital:
    """One of the two."""

    name: str
    gateway: Gateway
    dpi: Any
    address: str


@dataclass(slots=True)
class Stage:
    """Two hospitals and their operator."""

    a: Hospital
    b: Hospital
    operator: Any
    build: Any
    fault: Any
    number: int = 0
    mark: int = 0
    """Events of DPI B before this scenario."""

    def cda(self, document: int, version: int = 1, replaces: int = 0) -> bytes:
        """A version of document set `document`."""
        made: bytes = self.build.cda_n1(
            uid=f"{ROOT}.{document}.{version}",
            set_id=f"{ROOT}.{document}",
            version=version,
            replaces=f"{ROOT}.{document}.{replaces}" if replaces else None,
        )
        return made

    async def send(self, line: Line, event: str, *cdas: bytes, to: str = B) -> str:
        """From DPI A, both receipts asked for; its MSH-10. An ORU when there are several documents."""
        self.number += 1
        control_id = f"CERCLE-{self.number}"
        options: dict[str, Any] = {
            "control_id": control_id,
            "recipients": (to,),
            "ack_reading": True,
            "flags": {"DESTDMP": "N"},
            "hops": ("DPI", "HOPITAL-A", "PFI", "HOPITAL-A"),
        }
        if event == "R01":
            message = self.build.oru("submit", cdas, **options)
        else:
            message = self.build.mdm(event, cdas[0], **options)
        answer = acknowledgement.read(await send("127.0.0.1", self.a.gateway.mllp_port, message))
        line.ack = answer.code
        kind = "ORU^R01" if event == "R01" else f"MDM^{event}"
        print(f"  DPI A → passerelle A       {kind}, {control_id}, {answer.code}", flush=True)
        line.must(answer.code == "AA", "ACK AA attendu")
        return control_id

    def zams(self, control_id: str) -> list[str]:
        """What DPI A was told of a message: `Z02 Y`, `Z03 N 902`."""
        told = [z for z in self.a.dpi.received if z.answered == control_id]
        return sorted(f"{z.event} {'Y' if z.indicator else 'N ' + z.error[0]}" for z in told)

    async def told(self, line: Line, control_id: str, *wanted: str) -> None:
        """Wait until DPI A was told `wanted`, and nothing else."""
        await until(lambda: len(self.zams(control_id)) >= len(wanted))
        await self.operator.settle()
        line.zam = ", ".join(self.zams(control_id))
        line.must(line.zam == ", ".join(wanted), f"attendu {', '.join(wanted)}")

    async def taken(self, line: Line, event: str, count: int, integrated: int) -> None:
        """Wait until DPI B got `count` messages of this event; how many of them it integrated."""
        await until(lambda: len(self._events(event)) >= count)
        found = self._events(event)
        line.dpi = f"{len(found)} {event}, {sum(e.kept for e in found)} intégré(s)"
        line.must((len(found), sum(e.kept for e in found)) == (count, integrated), f"attendu {integrated}")

    def _events(self, event: str) -> list[Any]:
        return [e for e in self.b.dpi.events[self.mark :] if e.type == f"MDM^{event}"]

    def fresh(self) -> None:
        """Before a scenario: what DPI B gets is counted from here."""
        self.mark = len(self.b.dpi.events)

    async def person(self, line: Line, before: int) -> None:
        """Wait until a person of B is told of an error, by a mail that has the attachments again."""
        await until(lambda: len(self.error_mails()) > before)
        mail = self.error_mails()[-1].message
        names = [part.get_filename() or "" for part in mail.walk()]
        line.told = f"courriel d'erreur, {sum(map(bool, names))} pièces"
        line.must("IHE_XDM.ZIP" in (n.upper() for n in names), "IHE_XDM.ZIP en pièce jointe")
        line.must(len(self.error_mails()) == before + 1, "un seul courriel d'erreur")

    def error_mails(self) -> list[Any]:
        """Mails in the error mailbox of B."""
        return [m for m in self.operator.mails if m.recipient == ERRORS["B"]]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for `condition`; `TimeoutError` after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - any simulator's state
            await asyncio.sleep(0.02)


async def accepted(stage: Stage, line: Line) -> None:
    """Z02 Y, T02 AA, Z03 Y."""
    stage.fresh()
    sent = await stage.send(line, "T02", stage.cda(1))
    await stage.taken(line, "T02", 1, 1)
    await stage.told(line, sent, "Z02 Y", "Z03 Y")


async def replacement(stage: Stage, line: Line) -> None:
    """T10."""
    stage.fresh()
    sent = await stage.send(line, "T10", stage.cda(1, 2, 1))
    await stage.taken(line, "T10", 1, 1)
    await stage.told(line, sent, "Z02 Y", "Z03 Y")


async def deletion(stage: Stage, line: Line) -> None:
    """T04: the latest version is deleted, the one before is the latest again."""
    stage.fresh()
    sent = await stage.send(line, "T04", stage.cda(1, 2, 1))
    await stage.taken(line, "T04", 1, 1)
    await stage.told(line, sent, "Z02 Y", "Z03 Y")
    documents = stage.b.dpi.documents
    line.must([documents.state(k) for k in documents.kept] == ["latest", "deleted"], "V2 supprimée, V1 reste")


async def unknown_patient(stage: Stage, line: Line) -> None:
    """902: MDN to A, error mail at B."""
    stage.fresh()
    before = len(stage.error_mails())
    stage.b.dpi.documents.patients = []
    sent = await stage.send(line, "T02", stage.cda(2))
    await stage.taken(line, "T02", 1, 0)
    await stage.told(line, sent, "Z02 Y", "Z03 N 902")
    stage.b.dpi.documents.patients = None
    await stage.person(line, before)


async def two_documents(stage: Stage, line: Line) -> None:
    """ORU with N1 and N3: two MDM."""
    stage.fresh()
    n3 = stage.build.cda_n3(uid=f"{ROOT}.4.1", set_id=f"{ROOT}.4", version=1)
    sent = await stage.send(line, "R01", stage.cda(3), n3)
    await stage.taken(line, "T02", 2, 2)
    await stage.told(line, sent, "Z02 Y", "Z03 Y")


async def bounce(stage: Stage, line: Line) -> None:
    """550 at RCPT."""
    stage.fresh()
    stage.operator.plan(stage.fault("rcpt", B, code=550))
    sent = await stage.send(line, "T02", stage.cda(5))
    await stage.told(line, sent, "Z02 N 550")
    await stage.taken(line, "T02", 0, 0)


async def late_bounce(stage: Stage, line: Line) -> None:
    """Taken, then a failure report."""
    stage.fresh()
    stage.operator.plan(stage.fault("bounce", B, code=552, seconds=1.0))
    sent = await stage.send(line, "T02", stage.cda(6))
    await stage.told(line, sent, "Z02 N 552")
    await stage.taken(line, "T02", 0, 0)


async def dpi_down(stage: Stage, line: Line) -> None:
    """DPI B is stopped, then back: one MDM."""
    stage.fresh()
    await stage.b.dpi.down()
    sent = await stage.send(line, "T02", stage.cda(7))
    await until(lambda: "Z02 Y" in stage.zams(sent))
    await asyncio.sleep(1.0)
    line.must(len(stage.b.dpi.events) == stage.mark, "rien pendant l'arrêt")
    await stage.b.dpi.up()
    await stage.taken(line, "T02", 1, 1)
    await stage.told(line, sent, "Z02 Y", "Z03 Y")


async def without_route(stage: Stage, line: Line) -> None:
    """A mailbox that no DPI takes documents from."""
    stage.fresh()
    before = len(stage.error_mails())
    sent = await stage.send(line, "T02", stage.cda(8), to=SPARE)
    await stage.told(line, sent, "Z02 Y", "Z03 N 906")
    await stage.taken(line, "T02", 0, 0)
    await stage.person(line, before)


async def bomb(stage: Stage, line: Line) -> None:
    """A hostile archive: nothing for the DPI, a person is told; the next mail goes on."""
    stage.fresh()
    before = len(stage.error_mails())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("IHE_XDM/SUBSET01/DOC0001.XML", bytes(20_000_000))
    mail = EmailMessage()
    mail["From"], mail["To"] = "inconnu@hopital-c.mssante.fr", B
    mail["Subject"], mail["Message-ID"] = "XDM/1.0/DDM+CR NOM Prenom", "<bombe@hopital-c.mssante.fr>"
    mail.set_content("Document en pièce jointe.")
    mail.add_attachment(packed.getvalue(), maintype="application", subtype="zip", filename="IHE_XDM.ZIP")
    head = b"Return-Path: <inconnu@hopital-c.mssante.fr>\r\n"
    await stage.operator.boxes.deliver(B, head, mail.as_bytes().replace(b"\n", b"\r\n"))
    print("  opérateur → passerelle B   courriel avec IHE_XDM.ZIP (20 Mo dans 20 ko)", flush=True)
    await stage.person(line, before)
    line.must(len(stage.b.dpi.events) == stage.mark, "rien pour le DPI")
    sent = await stage.send(line, "T02", stage.cda(9))
    await stage.taken(line, "T02", 1, 1)
    await stage.told(line, sent, "Z02 Y", "Z03 Y")


SCENARIOS: tuple[tuple[str, Callable[[Stage, Line], Awaitable[None]]], ...] = (
    ("Document intégré", accepted),
    ("Remplacement (T10)", replacement),
    ("Suppression (T04)", deletion),
    ("Patient inconnu (902)", unknown_patient),
    ("Deux documents (ORU N1 + N3)", two_documents),
    ("Destinataire refusé (550)", bounce),
    ("Remis puis rejeté (avis 552)", late_bounce),
    ("DPI B arrêté puis relancé", dpi_down),
    ("Boîte sans DPI", without_route),
    ("Archive piégée, puis la suite", bomb),
)
