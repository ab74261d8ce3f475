"""The demo behind `make demo-dmp`: what becomes of documents in the DMP, the hard cases too, in one table.

Purpose: an editor or a hospital sees in one command how the gateway behaves when the DMP refuses, cuts or stops. The
gateway is the real one; the DMP (SOAP over mutual TLS) and the DPI are the simulators; messages are synthetic.
Guarantee: each line is checked against what the simulators hold, not against what the gateway says of itself.
Fails: returns 1 when a line is not as it must be, 2 when it is not run from the project's folder.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from typing import Any

from gateway import logs, views
from gateway.app import Gateway
from gateway.cli import SIMULATOR_GROUP
from gateway.demo_table import columns, run, verdict
from gateway.hl7 import acknowledgement
from gateway.mllp import send
from gateway.settings import LogSettings, Settings

PATIENCE = 60.0
"""Seconds for one scenario."""
ROOT = "1.2.250.1.71.4.2.2.990000010.8"
_OUTCOMES = {
    "success": "succès",
    "transient": "échec passager",
    "permanent": "refus",
    "configuration": "configuration",
    "uncertain": "issue inconnue",
}
_KINDS = {"deliver": "envoi", "reconcile": "vérification", "recovery": "reprise"}


@dataclass(slots=True)
class Line:
    """One line of the table. `wrong` is empty when everything is as it must be."""

    title: str
    ack: str = ""
    attempts: str = ""
    dmp: str = ""
    zam: str = ""
    wrong: list[str] = field(default_factory=list)

    def must(self, condition: bool, what: str) -> None:
        """Note what is not as it must be."""
        if not condition:
            self.wrong.append(what)


class _Alerts(logging.Handler):
    """Keeps the alerts (level CRITICAL) of the gateway."""

    def __init__(self) -> None:
        super().__init__(logging.CRITICAL)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class Stage:
    """A running gateway between a simulated DPI and a simulated DMP."""

    def __init__(self, gateway: Gateway, dmp: Any, dpi: Any, fault: Any, build: Any, alerts: _Alerts) -> None:
        self.gateway, self.dmp, self.dpi, self.fault, self.build = gateway, dmp, dpi, fault, build
        self.alerts = alerts

    def uid(self, number: int, version: int) -> str:
        """uniqueId of a version of document set `number`."""
        return f"{ROOT}.{number}.{version}"

    async def play(
        self, line: Line, control_id: str, event: str, number: int, version: int, replaces: int = 0
    ) -> list[dict[str, Any]]:
        """Send one message, wait for its end; fills the line's ACK, attempts and ZAM. The DMP's attempts."""
        cda = self.build.cda_n1(
            uid=self.uid(number, version),
            set_id=f"{ROOT}.{number}",
            version=version,
            replaces=self.uid(number, replaces) if replaces else None,
        )
        message = self.build.mdm(event, cda, control_id=control_id, recipients=())
        answer = await send("127.0.0.1", self.gateway.mllp_port, message)
        line.ack = acknowledgement.read(answer).code
        line.must(line.ack == "AA", "ACK AA attendu")
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await self.gateway.journal.read(lambda s: views.messages_by_control_id(s, control_id))
                deliveries = found[-1]["deliveries"] if found else []
                if len(deliveries) == 2 and all(d["finished_at"] for d in deliveries):
                    break
                await asyncio.sleep(0.05)
        told = [z for z in self.dpi.received if z.answered == control_id]
        line.zam = ", ".join(("Y" if z.indicator else "N") for z in told)
        line.must(len(told) == 1, "un ZAM attendu")
        history: list[dict[str, Any]] = next(d["history"] for d in deliveries if d["destination"] == "dmp")
        line.attempts = _attempts(history)
        return history

    def status(self, number: int, version: int) -> str:
        """Status of a version in the DMP, "absent" without one."""
        stored = self.dmp.documents.get(self.uid(number, version))
        return stored.status if stored is not None else "absent"

    def kept(self, number: int, version: int) -> int:
        """How many times the DMP kept this version."""
        uid = self.uid(number, version)
        return sum(e.kept and e.action == "submit" and e.unique_id == uid for e in self.dmp.events)


def _attempts(history: Sequence[dict[str, Any]]) -> str:
    """All attempts in order, the same one after the other counted."""
    runs = [(words, len(list(same))) for words, same in groupby(map(_attempt, history))]
    return " → ".join(words if times == 1 else f"{times} × {words}" for words, times in runs)


def _attempt(attempt: dict[str, Any]) -> str:
    code = f" ({attempt['code']})" if attempt["code"] else ""
    kind, outcome = attempt["kind"], attempt["outcome"]
    return f"{_KINDS.get(kind, kind)} : {_OUTCOMES.get(outcome, outcome)}{code}"


# --- the scenarios ------------------------------------------------------------------------------------------------


async def submission(stage: Stage, line: Line) -> None:
    """TD2.1a."""
    await stage.play(line, "DEMO-1", "T02", 1, 1)
    line.dmp = f"V1 {stage.status(1, 1)}"
    line.must(line.dmp == "V1 Approved" and line.zam == "Y", "V1 en vigueur, ZAM Y")


async def replacement(stage: Stage, line: Line) -> None:
    """TD3.1b, TD2.1b."""
    await stage.play(line, "DEMO-2", "T10", 1, 2, replaces=1)
    line.dmp = f"V1 {stage.status(1, 1)}, V2 {stage.status(1, 2)}"
    line.must(line.dmp == "V1 Deprecated, V2 Approved" and line.zam == "Y", "V2 remplace V1, ZAM Y")


async def deletion(stage: Stage, line: Line) -> None:
    """TD3.1b, TD3.3c."""
    await stage.play(line, "DEMO-3", "T04", 1, 2, replaces=1)
    line.dmp = f"V2 {stage.status(1, 2)}"
    line.must(line.dmp == "V2 Deleted" and line.zam == "Y", "V2 supprimée, ZAM Y")


async def closed(stage: Stage, line: Line) -> None:
    """DMPClosed."""
    matricule = stage.build.PATIENT.ins
    stage.dmp.patients.set(matricule, "closed")
    history = await stage.play(line, "DEMO-4", "T02", 2, 1)
    stage.dmp.patients.set(matricule, "open")
    line.dmp = stage.status(2, 1)
    line.must(line.dmp == "absent" and line.zam == "N", "rien dans le DMP, ZAM N")
    line.must([a["code"] for a in history] == ["DMPClosed"], "code DMPClosed")


async def cut_after_commit(stage: Stage, line: Line) -> None:
    """The DMP keeps the document, then cuts: looked up, not sent again."""
    stage.dmp.plan(stage.fault("commit_then_drop", action="submit"))
    history = await stage.play(line, "DEMO-5", "T02", 3, 1)
    line.dmp = f"V1 {stage.status(3, 1)}, enregistrée {stage.kept(3, 1)} fois"
    line.must(line.dmp == "V1 Approved, enregistrée 1 fois" and line.zam == "Y", "publiée une fois, ZAM Y")
    line.must([a["kind"] for a in history] == ["deliver", "reconcile"], "vérification avant tout renvoi")


async def cut_before_commit(stage: Stage, line: Line) -> None:
    """The request is lost: looked up, then sent again."""
    stage.dmp.plan(stage.fault("drop", action="submit"))
    await stage.play(line, "DEMO-6", "T02", 4, 1)
    line.dmp = f"V1 {stage.status(4, 1)}, enregistrée {stage.kept(4, 1)} fois"
    line.must(line.dmp == "V1 Approved, enregistrée 1 fois" and line.zam == "Y", "publiée une fois, ZAM Y")


async def certificate(stage: Stage, line: Line) -> None:
    """Our certificate is refused three times: the destination stops, one alert; then it works again, one alert."""
    stage.alerts.messages.clear()
    words = "Le certificat ayant signé le VIHF est invalide : Not a valid signature certificate"
    stage.dmp.plan(
        stage.fault("soap_fault", action="submit", code="DMPInvalidCertificate", words=words, times=3)
    )
    await stage.play(line, "DEMO-7", "T02", 5, 1)
    alerts = stage.alerts.messages
    line.dmp = f"V1 {stage.status(5, 1)}, {len(alerts)} alertes"
    line.must(stage.status(5, 1) == "Approved" and line.zam == "Y", "publiée ensuite, ZAM Y")
    line.must(
        len(alerts) == 2 and "stopped" in alerts[0] and "works again" in alerts[1],
        "une alerte au début, une à la fin",
    )


async def failed_version(stage: Stage, line: Line) -> None:
    """V1 is refused: it is not in the DMP; V2, which names it, goes as a first submission."""
    stage.dmp.plan(
        stage.fault("code", action="submit", code="XDSRepositoryMetadataError", words="sim: refus")
    )
    before = Line("")
    await stage.play(before, "DEMO-8", "T02", 6, 1)
    await stage.play(line, "DEMO-9", "T10", 6, 2, replaces=1)
    line.zam = f"{before.zam}, {line.zam}"
    line.dmp = f"V1 {stage.status(6, 1)}, V2 {stage.status(6, 2)}"
    line.must(line.dmp == "V1 absent, V2 Approved" and line.zam == "N, Y", "V2 seule, ZAM N puis Y")
    line.wrong += before.wrong


async def failed_replacement(stage: Stage, line: Line) -> None:
    """V3 is refused: the DMP keeps V2."""
    stage.dmp.plan(
        stage.fault("code", action="submit", code="XDSRepositoryMetadataError", words="sim: refus")
    )
    await stage.play(line, "DEMO-10", "T10", 6, 3, replaces=2)
    line.dmp = f"V2 {stage.status(6, 2)}, V3 {stage.status(6, 3)}"
    line.must(line.dmp == "V2 Approved, V3 absent" and line.zam == "N", "V2 reste en vigueur, ZAM N")


SCENARIOS: tuple[tuple[str, Callable[[Stage, Line], Awaitable[None]]], ...] = (
    ("Alimentation (TD2.1a)", submission),
    ("Remplacement (TD2.1b)", replacement),
    ("Suppression (TD3.3c)", deletion),
    ("DMP fermé", closed),
    ("Coupure après enregistrement", cut_after_commit),
    ("Coupure avant enregistrement", cut_before_commit),
    ("Certificat refusé trois fois", certificate),
    ("V1 refusée, V2 la remplace", failed_version),
    ("V3 refusée", failed_replacement),
)


async def demo(directory: Path, once: bool) -> int:
    """Play all scenarios, print the table; 0 when every line is as it must be."""
    try:
        from fixtures import build
    except ImportError:
        print("demo-dmp : à lancer depuis le dossier du projet (make demo-dmp)", file=sys.stderr)
        return 2
    logs.configure(LogSettings(level="ERROR", format="text"))
    logging.getLogger("gateway.delivery").propagate = False
    alerts = _Alerts()
    logging.getLogger("gateway.delivery").addHandler(alerts)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=directory) as own:
        folder = Path(own).resolve()
        modules = {e.name: e.load() for e in entry_points(group=SIMULATOR_GROUP)}
        dmp, dpi = (modules[name].create(folder / name) for name in ("dmp", "dpi"))
        await dmp.start()
        await dpi.start()
        settings = Settings(
            listener={"port": 0},
            web={"enabled": False},
            journal={"path": "journal.sqlite"},
            engine={"retry": {"first": 0.1, "longest": 1.0, "jitter": 0, "circuit_probe": 0.3}},
            connectors={"dmp": dmp.connector_settings(), "dpi": dpi.connector_settings()},
        )
        gateway = Gateway(settings, folder)
        try:
            await gateway.start()
            print(
                f"passerelle : mllp://127.0.0.1:{gateway.mllp_port}    DMP simulé : {dmp.address()}\n",
                flush=True,
            )
            lines = await _all(Stage(gateway, dmp, dpi, modules["dmp"].Fault, build, alerts))
            print(table(lines))
            good = not any(line.wrong for line in lines)
            print("\ntout s'est passé comme prévu" if good else "\nla démonstration a échoué")
            if not once:
                print("Ctrl-C pour arrêter", flush=True)
                await asyncio.Event().wait()
            return 0 if good else 1
        finally:
            await gateway.stop()
            await dmp.stop()
            await dpi.stop()


async def _all(stage: Stage) -> list[Line]:
    lines = []
    for title, scenario in SCENARIOS:
        line = Line(title)
        lines.append(line)
        try:
            await scenario(stage, line)
        except TimeoutError:
            line.wrong.append("rien au bout d'une minute")
        stage.dmp.clear_faults()
    return lines


def table(lines: Sequence[Line]) -> str:
    """The table, in columns."""
    head = ("scénario", "ACK", "tentatives", "dans le DMP", "ZAM", "résultat")
    return columns(head, [(x.title, x.ack, x.attempts, x.dmp, x.zam, verdict(x.wrong)) for x in lines])


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m gateway.demo_dmp [--once]`."""
    return run(demo, "demo-dmp", "Le DMP, cas difficiles compris", argv)


if __name__ == "__main__":
    sys.exit(main())
