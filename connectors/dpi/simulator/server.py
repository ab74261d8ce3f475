"""The receiving side of the simulated DPI: an MLLP server with a plan of answers.

Purpose: `create(directory, **options)`; it runs in the current event loop.
Guarantee: a message is kept, byte for byte, before it is answered. Repetitions of a MSH-10 are kept too: a
test can count them.
Fails: `OSError` when the port is taken.

Options of `create`: `host`, `port` (0: any free one), `max_size` (bytes of a frame), `keep` (True: also write
each message as a file in `directory`/messages).
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from connectors.simulator_port import serve
from gateway.errors import BadInput, Finding, FramingError, Severity
from gateway.hl7.acknowledgement import build
from gateway.hl7.framing import FrameDecoder, encode
from gateway.hl7.message import Message
from gateway.hl7.tables import APPLICATION_ERRORS, label


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
    GARBAGE = "garbage"
    """A frame that is no HL7 message."""


@dataclass(frozen=True, slots=True)
class Received:
    """A message received."""

    raw: bytes
    type: str
    """MSH-9.1."""
    event: str
    """MSH-9.2: Z01, Z02, Z03, T02…"""
    control_id: str
    answered: str
    """ZAM: OBX-4, the MSH-10 of the message it is about."""
    indicator: bool | None
    """ZAM: OBX-5, Y is True."""
    address: str
    """ZAM^Z02 and Z03: the mailbox (OBX-5.4 of the second OBX)."""
    error: tuple[str, str]
    """ZAM: ERR-5 code and label, or two empty texts."""

    def in_words(self) -> str:
        """One French line without patient data (a mailbox is shown by its domain: it may hold an INS)."""
        if self.indicator is None:
            return f"{self.type}^{self.event} reçu"
        to = f", boîte …@{self.address.rpartition('@')[2]}" if self.address else ""
        said = "oui" if self.indicator else f"non ({' '.join(self.error).strip()})"
        return f"{self.type}^{self.event} sur {self.answered}{to} : accepté {said}"


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
    ) -> None:
        self.directory = directory
        self.host = host
        self.port = port
        self.received: list[Received] = []
        self._max_size = max_size
        self._keep = keep
        self._plan: deque[tuple[Verdict, str]] = deque()
        self._history: list[str] = []
        self._numbers = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._dialogues: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Condition()

    def plan(self, *verdicts: Verdict | str) -> None:
        """Answers to the next messages, one each; then every message is answered AA. `AE:902` is an AE with that code
        of table 0533 (volet Transmission au LPS, ERR-5)."""
        for verdict in verdicts:
            kind, _, code = str(verdict).partition(":")
            self._plan.append((Verdict(kind), code))

    async def wait_for(self, count: int) -> list[Received]:
        """The messages, once there are at least `count` (for demos and tests: no polling)."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.received) >= count)
        return list(self.received)

    # --- Simulator
    # --------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen; the port is known afterwards."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and end the dialogues."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for dialogue in self._dialogues:
            dialogue.cancel()
        await asyncio.gather(*self._dialogues, return_exceptions=True)

    async def down(self) -> None:
        """The DPI is stopped: connections are refused."""
        await self.stop()

    async def up(self) -> None:
        """The DPI is back on the same port."""
        await self.start()

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
        verdict, error = self._plan.popleft() if self._plan else (Verdict.AA, "")
        now = datetime.now(UTC)
        number = next(self._numbers)  # before any await: two messages at once are two files
        try:
            message = Message.parse(payload)
        except BadInput:
            self._history.append("message illisible, connexion coupée")
            return None
        received = read_message(message)
        if self._keep:
            await asyncio.to_thread(self._write, number, payload)
        async with self._arrival:
            self.received.append(received)
            self._history.append(f"{received.in_words()}, réponse {verdict}")
            self._arrival.notify_all()
        if verdict is Verdict.SILENCE:
            return b""
        if verdict is Verdict.CUT:
            return None
        if verdict is Verdict.GARBAGE:
            return b"ceci n'est pas un ACK"
        code = "AA" if verdict is Verdict.OTHER else verdict.value
        findings = []
        if error:
            findings.append(Finding("", Severity.REJECT, "207", error, label(APPLICATION_ERRORS, error)))
        answer = build(message, code, findings, f"DPI{number:06d}", now)
        if verdict is Verdict.OTHER:
            answer = answer.replace(f"MSA|AA|{received.control_id}".encode(), b"MSA|AA|AUTRE-MESSAGE")
        return answer

    def _write(self, number: int, payload: bytes) -> None:
        folder = self.directory / "messages"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06d}.er7").write_bytes(payload)


def read_message(message: Message) -> Received:
    """What a DPI looks at in a message of the gateway."""
    observations = message.all("OBX") if message.type == "ZAM" else []
    error = message.first("ERR") if message.type == "ZAM" else None
    return Received(
        raw=message.raw,
        type=message.type,
        event=message.event,
        control_id=message.control_id,
        answered=observations[0].text(4) if observations else "",
        indicator=observations[0].text(5) == "Y" if observations else None,
        address=observations[1].text(5, comp=4) if len(observations) > 1 else "",
        error=(error.text(5), error.text(5, comp=2)) if error is not None else ("", ""),
    )


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
    options = vars(parser.parse_args(argv))

    directory = options.pop("directory")
    return serve("DPI simulé", lambda: create(directory, keep=True, **options))
