"""The receiving side of the simulated DPI: an MLLP server with a plan of answers.

Purpose: `create(directory, **options)`; it runs in the current event loop.
Guarantee: a message is kept, byte for byte, before it is answered. Repetitions of a MSH-10 are kept too: a
test can count them. As a consumer (`consumer=True`) it checks an MDM, keeps its document or says why not, and answers
a repetition (same MSH-10, same bytes) as the first time.
Fails: `OSError` when a port is taken.

Options of `create`: `host`, `port` (0: any free one), `max_size` (bytes of a frame), `keep` (True: also write
each message as a file in `directory`/messages), `consumer`, `patients` (those that it knows; None: everybody),
`events_file`, `control_port`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import re
import tomllib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from connectors.dpi.simulator.control import application, read_patients
from connectors.dpi.simulator.events import Event, EventLog
from connectors.dpi.simulator.integration import Documents, Patient
from connectors.dpi.simulator.received import Received, read_message
from connectors.dpi.simulator.structure import Checked, Error, check
from connectors.simulator_control import LOOPBACK, ControlServer
from connectors.simulator_port import serve
from gateway.errors import BadInput, FramingError
from gateway.hl7.acknowledgement import build, to_charset
from gateway.hl7.framing import FrameDecoder, encode
from gateway.hl7.message import Message
from gateway.hl7.tables import APPLICATION_ERRORS, MESSAGE_ERRORS, label

LATE_SECONDS = 5.0
_MSA_2 = re.compile(rb"(?<=\r)(MSA\|..\|)[^|\r]*")


class Verdict(StrEnum):
    """One answer to one message."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    SILENCE = "silence"
    """Kept, never answered; the connection stays open until the sender gives up."""
    CUT = "cut"
    """Kept, the connection closed without an answer."""
    OTHER = "other"
    """AA for another MSH-10."""
    LATE = "late"
    """The answer comes after some seconds, on the same connection: `late:2.5`."""
    DROP = "drop"
    """Not kept, the connection closed without an answer."""
    GARBAGE = "garbage"
    """A frame that is no HL7 message."""


@dataclass(frozen=True, slots=True)
class _Judged:
    """One message, decided. `answer` goes out on the wire."""

    received: Received
    answer: bytes | None
    said: str
    errors: tuple[Error, ...]
    kept: bool
    again: bool

    def in_words(self) -> str:
        """One French line."""
        why = f" ({', '.join(map(str, self.errors))})" if self.errors else ""
        kept = ", document intégré" if self.kept else ""
        return (
            f"{self.received.in_words()}, réponse {self.said}{why}{kept}{', déjà reçu' if self.again else ''}"
        )


class DpiSimulator:
    """An MLLP server (`connectors.simulator_port.Simulator`)."""

    name = "dpi"

    def __init__(
        self,
        directory: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        max_size: int = 100_000_000,
        keep: bool = False,
        consumer: bool = False,
        patients: Iterable[Patient] | None = None,
        events_file: Path | None = None,
        control_port: int | None = None,
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self.consumer = consumer
        self.received: list[Received] = []
        self.documents = Documents(patients)
        self._log = EventLog(events_file)
        self._answered: dict[str, tuple[str, bytes]] = {}
        """MSH-10 → SHA-256 of the message and the answer of the consumer."""
        self._max_size = max_size
        self._keep = keep
        self._plan: deque[tuple[Verdict, str]] = deque()
        self._history: list[str] = []
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._dialogues: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()
        self._control = ControlServer(application(self), control_port) if control_port is not None else None

    def plan(self, *verdicts: Verdict | str) -> None:
        """Answers to the next messages, one each; then every message is answered AA, or as the consumer judges it.
        `AE:902` is an AE with that code of table 0533 (volet Transmission au LPS, ERR-5), `late:2` two seconds.
        Raises `ValueError` for what is no answer; nothing is planned then."""
        made = []
        for verdict in verdicts:
            kind, _, more = str(verdict).partition(":")
            if Verdict(kind) is Verdict.LATE:
                float(more or LATE_SECONDS)
            made.append((Verdict(kind), more))
        self._plan.extend(made)

    @property
    def planned(self) -> list[str]:
        """The answers that are still to be given."""
        return [f"{verdict}:{more}" if more else verdict.value for verdict, more in self._plan]

    def clear_plan(self) -> None:
        """Forget the planned answers."""
        self._plan.clear()

    @property
    def events(self) -> list[Event]:
        """What happened, in order."""
        return self._log.events

    def reset(self) -> None:
        """Forget messages, documents, events and the plan; the patients stay."""
        for kept in (self.received, self._plan, self._history, self._answered):
            kept.clear()
        self.documents.clear()
        self._log.clear()

    async def wait_for(self, count: int) -> list[Received]:
        """The messages, once there are at least `count` (for demos and tests: no polling)."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.received) >= count)
        return list(self.received)

    # --- Simulator
    # --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; the ports are known afterwards."""
        await self.up()
        if self._control is not None:
            try:
                await self._control.start()
            except OSError:
                await self.down()
                raise

    async def stop(self) -> None:
        """Stop listening and end the dialogues."""
        if self._control is not None:
            await self._control.stop()
        await self.down()

    async def down(self) -> None:
        """The DPI is stopped: connections are refused (the control stays)."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for dialogue in self._dialogues:
            dialogue.cancel()
        await asyncio.gather(*self._dialogues, return_exceptions=True)

    async def up(self) -> None:
        """The DPI is back on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def control_address(self) -> str:
        """Where the control answers, "" without one."""
        return f"http://{LOOPBACK}:{self._control.port}" if self._control is not None else ""

    def address(self) -> str:
        """`mllp://host:port`."""
        return f"mllp://{self.host}:{self.port}"

    def connector_settings(self) -> dict[str, Any]:
        """A `[connectors.dpi]` table: every application is this DPI."""
        return {"routes": [{"application": "*", "facility": "*", "host": self.host, "port": self.port}]}

    def history(self) -> list[str]:
        """What it received, without patient data."""
        return list(self._history)

    # --- inside
    # -----------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._dialogues.add(task)
        try:
            await self._serve(reader, writer)
        except (OSError, FramingError):
            pass  # the peer went away, or sends no MLLP: this connection is over
        except asyncio.CancelledError:
            pass  # stop(): asyncio's server logs a cancelled dialogue as an error
        finally:
            self._dialogues.discard(task)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        decoder = FrameDecoder(self._max_size)
        while data := await reader.read(65536):
            for payload in decoder.feed(data):
                answer = await self._answer(payload)
                if answer is None:
                    return
                if answer:
                    writer.write(encode(answer))
                    await writer.drain()

    async def _answer(self, payload: bytes) -> bytes | None:
        """The answer to a message: b"" for silence, None to cut."""
        verdict, more = self._plan.popleft() if self._plan else (Verdict.AA, "")
        number = next(self._numbers)  # before any await: two messages at once are two files
        try:
            message = Message.parse(payload)
        except BadInput:
            self._history.append("message illisible, connexion coupée")
            return None
        if self._keep:
            await asyncio.to_thread(self._write, number, payload)
        consumed = self.consumer and message.type == "MDM"
        checked = await asyncio.to_thread(check, message) if consumed else Checked()
        made = self._judge(message, verdict, more, checked, f"DPI{number:06d}", consumed=consumed)
        async with self._arrival:
            self.received.append(made.received)
            self._history.append(made.in_words())
            self._log.add(
                type=f"{message.type}^{message.event}",
                control_id=message.control_id,
                answer=made.said,
                errors=tuple(str(e) for e in made.errors),
                places=tuple(e.place for e in made.errors),
                uid=checked.cda.uid if checked.cda else "",
                version=checked.cda.version if checked.cda else None,
                kept=made.kept,
                again=made.again,
                size=len(payload),
            )
            self._arrival.notify_all()
        if verdict is Verdict.LATE:
            await asyncio.sleep(float(more or LATE_SECONDS))
        return made.answer

    def _judge(
        self, message: Message, verdict: Verdict, more: str, checked: Checked, own_id: str, *, consumed: bool
    ) -> _Judged:
        """What is answered and what is kept. Nothing is awaited: two messages at once are judged one by one."""
        received, control_id = read_message(message), message.control_id
        digest = hashlib.sha256(message.raw).hexdigest()
        before = self._answered.get(control_id) if consumed else None
        again = before is not None and before[0] == digest
        errors: list[Error] = []
        code = verdict.value if verdict in (Verdict.AE, Verdict.AR) else "AA"
        if verdict is Verdict.AE and more:
            errors = [Error("", "207", more)]
        takes = consumed and not again and verdict not in (Verdict.AE, Verdict.AR, Verdict.DROP)
        if takes:
            errors = list(checked.errors)
            if before is not None:
                errors.append(Error("MSH^1^10", "199"))  # the same MSH-10 with other content
            if not errors and checked.cda is not None:
                errors = self.documents.judge(message.event, checked.cda)
            code = "AE" if errors else "AA"
            if not errors and checked.cda is not None:
                self.documents.integrate(message.event, checked.cda, checked.content, control_id)
        answer = _acknowledgement(message, code, errors, own_id)
        if again and before is not None and verdict not in (Verdict.AE, Verdict.AR):
            answer = before[1]
        elif consumed and not again and code != "AR" and verdict is not Verdict.DROP:
            self._answered[control_id] = digest, answer
        said = code if verdict in (Verdict.AA, Verdict.AE, Verdict.AR) else verdict.value
        wire: bytes | None = answer
        if verdict is Verdict.SILENCE:
            wire = b""
        elif verdict in (Verdict.CUT, Verdict.DROP):
            wire = None
        elif verdict is Verdict.GARBAGE:
            wire = b"ceci n'est pas un ACK"
        elif verdict is Verdict.OTHER:
            wire = _MSA_2.sub(rb"\1AUTRE-MESSAGE", answer, count=1)
        return _Judged(received, wire, said, tuple(errors), kept=takes and not errors, again=again)

    def _write(self, number: int, payload: bytes) -> None:
        folder = self.directory / "messages"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.er7").write_bytes(payload)


def _acknowledgement(message: Message, code: str, errors: Sequence[Error], own_id: str) -> bytes:
    """The ACK, ERR as in the lines of the volet (ERR-2 to ERR-5)."""
    made = build(message, code, (), own_id, datetime.now(UTC))
    lines = []
    for error in errors if code == "AE" else ():
        text = label(MESSAGE_ERRORS, error.code)
        fields = ["ERR", "", error.place, f"{error.code}^{text}^messageErrorCondition", "E"]
        if error.application:
            words = label(APPLICATION_ERRORS, error.application)
            fields.append(f"{error.application}^{words}^applicationErrorCondition")
        lines.append("|".join(fields) + "\r")
    return made + to_charset("".join(lines), message.encoding)


def create(directory: Path, **options: Any) -> DpiSimulator:
    """A simulated DPI that keeps its files in `directory` (options: see the module)."""
    directory.mkdir(parents=True, exist_ok=True)
    return DpiSimulator(directory, **options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run alone until interrupted: `segur-gateway simulator dpi`."""
    parser = argparse.ArgumentParser(
        prog="segur-gateway simulator dpi",
        description="Simulated DPI: receives ZAM and MDM over MLLP, answers them, keeps them as files.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument(
        "--directory", type=Path, default=Path("var/simulator-dpi"), help="messages received are kept here"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=2576, help="port to listen on")
    parser.add_argument(
        "--consumer",
        action="store_true",
        help="check each MDM (volet Transmission au LPS) and keep its document",
    )
    parser.add_argument(
        "--patients", type=Path, help="TOML file of the [[patient]] it knows (default: everybody)"
    )
    parser.add_argument("--plan", default="", help="answers to the next messages: AE:902,AR,late:3")
    parser.add_argument("--events", dest="events_file", type=Path, help="JSON lines of what happened")
    parser.add_argument(
        "--control", dest="control_port", type=int, help="port of the control (HTTP, loopback)"
    )
    options = vars(parser.parse_args(argv))

    directory, known, planned = (options.pop(name) for name in ("directory", "patients", "plan"))
    try:
        if known is not None:
            options["patients"] = read_patients(tomllib.loads(known.read_text("utf-8")).get("patient", []))
        made = create(directory, keep=True, **options)
        made.plan(*(answer.strip() for answer in planned.split(",") if answer.strip()))
    except (OSError, ValueError) as e:
        parser.error(str(e))
    return serve("DPI simulé", lambda: made)
