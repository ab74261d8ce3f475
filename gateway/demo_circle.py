"""The demo behind `make demo-circle`: documents from one hospital's DPI to another's, and all that comes back.

Purpose: an editor or a hospital sees in one command the whole circle: DPI A → gateway A → MSSanté operator → gateway B
→ DPI B, the receipts (Z02, Z03), refusals, cuts and hostile mails. Gateways are real, SMTP and IMAP are over TLS; the
operator and the two DPI are the simulators; messages are synthetic.
Guarantee: each line is checked against what the simulators hold, not against what the gateways say of themselves. What
is printed has no patient data.
Fails: returns 1 when a line is not as it must be, 2 when it is not run from the project's folder.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from gateway import logs
from gateway.app import Gateway
from gateway.cli import SIMULATOR_GROUP
from gateway.demo_circle_scenarios import ERRORS, SCENARIOS, SPARE, A, B, Hospital, Line, Stage
from gateway.demo_table import columns, run, verdict
from gateway.settings import LogSettings, Settings

LOOK_EVERY = 0.05
"""Seconds between two looks at what the simulators received, to print it."""
_SHARED = frozenset(
    ("host", "port", "tls", "auth", "ca_bundle", "client_cert", "client_key", "user", "secret_file")
) | {"from_address", "source_oid"}
"""What the connectors `mss` and `errors` share here."""


class Narrator:
    """Prints each message as it goes: where, type, event, MSH-10, answer."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._shown: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.say()
            await asyncio.sleep(LOOK_EVERY)

    def say(self) -> None:
        """What is new since the last time, in the order in which it happened."""
        operator = self._stage.operator
        mails = iter(self._new("mails", operator.mails))
        said: list[tuple[str, str]] = []
        for event in self._new("events", operator.events):
            if event.action == "mail" and not event.kept:
                said.append((event.time, f"passerelle → opérateur     courriel refusé, {event.result}"))
            elif event.action == "mail":
                mail = next(mails)  # each mail that was taken has its event
                said.append((event.time, f"{_side(mail.sender)} → opérateur   {_kind(mail.message)}, 250"))
            elif event.action == "dsn":
                said.append((event.time, f"opérateur → passerelle A   avis de remise, {event.result}"))
        for hospital in (self._stage.a, self._stage.b):
            names = f"passerelle {hospital.name} → DPI {hospital.name}"
            for event in self._new(hospital.name, hospital.dpi.events):
                why = f" ({', '.join(event.errors)})" if event.errors else ""
                said.append(
                    (event.time, f"{names}       {event.type}, {event.control_id}, {event.answer}{why}")
                )
        for _, line in sorted(said):
            print(f"  {line}", flush=True)

    def _new(self, name: str, items: Sequence[Any]) -> list[Any]:
        seen = self._shown.get(name, 0)
        self._shown[name] = len(items)
        return list(items[seen:])


def _side(sender: str) -> str:
    return f"passerelle {'A' if sender == A else 'B'}"  # an MDN has no return path: only B answers here


def _kind(message: Any) -> str:
    report = message.get_param("report-type")
    if report == "disposition-notification":
        return "accusé de lecture (MDN)"
    if "KO" in str(message["Subject"]):
        return "courriel d'erreur"
    return "courriel avec IHE_XDM.ZIP"


async def _hospital(
    stack: AsyncExitStack, folder: Path, modules: dict[str, Any], operator: Any, name: str, address: str
) -> Hospital:
    """A gateway, its mailboxes and its DPI, started."""
    folder.mkdir()
    dpi = modules["dpi"].create(folder / "dpi", consumer=True)
    await dpi.start()
    stack.push_async_callback(dpi.stop)
    facility = f"HOPITAL-{name}"
    box = {"retry_first": 0.2, "processed": "Traites", "error": "Erreurs"}
    boxes = [
        {
            **operator.imap_settings(address),
            **box,
            "name": "bal",
            "address": address,
            "dpi": {"application": "DPI", "facility": facility},
        }
    ]
    if name == "B":
        boxes.append({**operator.imap_settings(SPARE), **box, "name": "sans-dpi", "address": SPARE})
    mss = {**operator.connector_settings(), "from_address": address, "mailboxes": boxes}
    errors = {k: v for k, v in mss.items() if k in _SHARED} | {"to": [ERRORS[name]]}
    connectors = {"mss": mss, "dpi": dpi.connector_settings(), "errors": errors}
    settings = Settings(
        listener={"port": 0},
        web={"port": 0},
        journal={"path": "journal.sqlite"},
        engine={"retry": {"first": 0.2, "longest": 1.0, "jitter": 0, "circuit_probe": 0.3}},
        connectors=connectors,
    )
    gateway = Gateway(settings, folder)
    await gateway.start()
    stack.push_async_callback(gateway.stop)
    return Hospital(name, gateway, dpi, address)


async def demo(directory: Path, once: bool) -> int:
    """Play all scenarios, print the table; 0 when every line is as it must be."""
    try:
        from fixtures import build
    except ImportError:
        print("demo-circle : à lancer depuis le dossier du projet (make demo-circle)", file=sys.stderr)
        return 2
    logs.configure(LogSettings(level="ERROR", format="text"))
    logging.getLogger("mail.log").setLevel(logging.CRITICAL)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        own = stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=directory))
        folder = Path(own).resolve()
        modules = {e.name: e.load() for e in entry_points(group=SIMULATOR_GROUP)}
        operator = modules["mss"].create(folder / "operator", tls="implicit", auth="external")
        await stack.enter_async_context(operator.running())
        a = await _hospital(stack, folder / "a", modules, operator, "A", A)
        b = await _hospital(stack, folder / "b", modules, operator, "B", B)
        stage = Stage(a, b, operator, build, modules["mss"].Fault)
        for hospital in (a, b):
            gateway = hospital.gateway
            print(
                f"hôpital {hospital.name} : passerelle mllp://127.0.0.1:{gateway.mllp_port}, "
                f"page http://127.0.0.1:{gateway.web_port}/boites, DPI {hospital.dpi.address()}"
            )
        print(f"opérateur : {operator.address()}, {operator.imap_address()}\n", flush=True)
        narrator = Narrator(stage)
        telling = asyncio.create_task(narrator.run())
        lines = await _all(stage, narrator)
        telling.cancel()
        print("\n" + table(lines))
        good = not any(line.wrong for line in lines)
        print("\ntout s'est passé comme prévu" if good else "\nla démonstration a échoué")
        if not once:
            print("Ctrl-C pour arrêter", flush=True)
            await asyncio.Event().wait()
        return 0 if good else 1


async def _all(stage: Stage, narrator: Narrator) -> list[Line]:
    lines = []
    for title, scenario in SCENARIOS:
        line = Line(title)
        lines.append(line)
        print(title, flush=True)
        try:
            await scenario(stage, line)
        except TimeoutError:
            line.wrong.append("rien au bout d'une minute")
        narrator.say()
    return lines


def table(lines: Sequence[Line]) -> str:
    """The table, in columns."""
    head = ("scénario", "ACK", "au DPI B", "ZAM au DPI A", "erreurs dites à B", "résultat")
    return columns(head, [(x.title, x.ack, x.dpi, x.zam, x.told, verdict(x.wrong)) for x in lines])


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m gateway.demo_circle [--once]`."""
    return run(demo, "demo-circle", "D'un DPI à l'autre, et retour", argv)


if __name__ == "__main__":
    sys.exit(main())
