"""The demo behind `make run`: three simulators and the gateway on loopback, one synthetic document sent.

Purpose: a newcomer sees the main job run in one command. The gateway is the real one, with real sockets,
TLS, SOAP and SMTP; only the counterparts are simulated.
Fails: returns 1 (and says in French what did not happen) when the document is not accepted, a delivery does
not succeed, or an expected ZAM does not come back in time.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
import tempfile
from datetime import datetime
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from connectors.simulator_port import HISTORY_EVERY, Simulator, print_history
from gateway import logs, views
from gateway.app import Gateway
from gateway.cli import SIMULATOR_GROUP, ack_in_words, first_access_in_words
from gateway.demo_stay import movements
from gateway.errors import ConfigurationFault
from gateway.hl7 import acknowledgement
from gateway.hl7.message import Message
from gateway.mllp import as_wire, send
from gateway.plugins import CONNECTOR_GROUP
from gateway.settings import LogSettings, Settings
from gateway.web import wording

PATIENCE = 60.0
"""Seconds for all deliveries and ZAM of the demo."""
LOOPBACK = "127.0.0.1"
FACILITY = {"HOPITAL-ESSAI": "990000010"}
NAMES = {"990000010": "Hôpital fictif de l’Essai"}


async def demo(directory: Path, message: Path, mllp_port: int, web_port: int, once: bool) -> int:
    """Run the demo; stay in the foreground unless `once`."""
    logs.configure(LogSettings(level="ERROR", format="text"))
    try:
        payload = as_wire(message.read_bytes())
    except OSError as e:
        raise ConfigurationFault(f"{message}: {e.strerror}") from e
    # a folder of its own for each run: beside another one that may be running, and gone with it
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=directory) as own:
        return await _demo(Path(own).resolve(), message.name, payload, mllp_port, web_port, once)


async def _demo(directory: Path, name: str, payload: bytes, mllp_port: int, web_port: int, once: bool) -> int:
    # the official samples (SEGUR_CONFORMANCE=interop) need a counterpart that is as tolerant as that preset
    conformance = Settings().conformance
    simulators: dict[str, Simulator] = {}
    stop = asyncio.Event()
    for sig in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(sig, stop.set)
    gateway: Gateway | None = None
    events: list[asyncio.Task[None]] = []
    try:
        connectors = {e.name for e in entry_points(group=CONNECTOR_GROUP)}
        for entry in sorted(entry_points(group=SIMULATOR_GROUP), key=lambda e: e.name):
            if entry.name not in connectors:
                continue
            options = {"strict": conformance == "production"} if entry.name == "dmp" else {}
            simulator: Simulator = entry.load().create(directory / entry.name, **options)
            await simulator.start()
            simulators[entry.name] = simulator
            told = partial(_say_event, entry.name)
            events.append(asyncio.create_task(print_history(simulator, told)))
            _say(f"simulateur {entry.name.upper():4} : {simulator.address()}")
        settings = Settings(
            listener={"port": _free(mllp_port)},
            web={"port": _free(web_port)},
            journal={"path": "journal.sqlite"},
            # the shipped messages are of a test (MSH-11 T) and name no establishment that counts
            indicators={"processing_ids": ("P", "T", "D"), "facilities": FACILITY, "names": NAMES},
            connectors={name: s.connector_settings() for name, s in simulators.items()},
        )
        gateway = Gateway(settings, directory)
        await gateway.start()
        _say(f"passerelle      : mllp://{LOOPBACK}:{gateway.mllp_port}")
        _say(f"envoi de {name} ({len(payload)} octets)…")
        answer = await send(LOOPBACK, gateway.mllp_port, payload)
        print(ack_in_words(answer), flush=True)
        good = acknowledgement.read(answer).code == "AA"
        if good:
            good = await _follow(gateway, Message.parse(payload).control_id)
        for movement in movements(Message.parse(payload), datetime.now().astimezone()):
            ack = acknowledgement.read(await send(LOOPBACK, gateway.mllp_port, movement))
            _say(f"séjour, ADT^{Message.parse(movement).event} : {ack.code}")
        await asyncio.sleep(2 * HISTORY_EVERY)  # let what the simulators saw be said
        _say(
            "tout est arrivé, les accusés métier (ZAM) sont revenus au DPI"
            if good
            else "la démonstration a échoué"
        )
        _say(f"dossier         : {directory} (effacé à l'arrêt)")
        page = f"http://{LOOPBACK}:{gateway.web_port}/"
        _say(f"page web        : {page}    API : {page}api/v1/messages/{Message.parse(payload).control_id}")
        _say(f"indicateurs     : {page}indicateurs (après connexion)")
        if (link := await gateway.first_access()) is not None:
            _say(first_access_in_words(link, settings.web.accounts.first_invitation))
        if not once:
            command = f"{Path(sys.argv[0])} send FICHIER --port {gateway.mllp_port}"
            _say(f"autre message   : {command}   (Ctrl-C pour arrêter)")
            await stop.wait()
        return 0 if good else 1
    finally:
        for task in events:
            task.cancel()
        if gateway is not None:
            await gateway.stop()
        for running in simulators.values():
            await running.stop()


async def _follow(gateway: Gateway, control_id: str) -> bool:
    """Wait until every delivery of the message has ended (ZAM included); True when all succeeded."""
    deliveries: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                found = await gateway.journal.read(lambda s: views.messages_by_control_id(s, control_id))
                deliveries = found[-1]["deliveries"]
                if deliveries and all(d["finished_at"] for d in deliveries):
                    break
                await asyncio.sleep(0.1)
    except TimeoutError:
        pass
    for d in deliveries:
        to = f" {d['recipient']}" if d["recipient"] else ""
        _say(f"remise {wording.destination(d['destination'])}{to} : {wording.state(d['state'])}")
    told = [d for d in deliveries if d["destination"] == "dpi"]
    outside = [d for d in deliveries if d["destination"] != "dpi"]
    return bool(outside) and len(told) == len(outside) and all(d["state"] == "succeeded" for d in deliveries)


def _free(port: int) -> int:
    """`port` if nobody has it, else 0 (any free one): the demo must run beside whatever is there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            _say(f"le port {port} est pris : un port libre est utilisé à la place")
            return 0
    return port


def _say_event(name: str, line: str) -> None:
    _say(f"[{name}] {line}")


def _say(line: str) -> None:
    print(line, flush=True)
