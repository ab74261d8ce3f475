"""The DPI that sends: one attempt of a message, disturbed at a chosen byte class, or clean.

Guarantee: every attempt ends with `Answered` (one for each ACK) or `Unanswered`; `Sent` comes before the bytes.
"""

from __future__ import annotations

import asyncio
import time

from chaos.history import Answered, History, Sent, Unanswered
from chaos.scenario import Planned
from gateway.errors import BadInput
from gateway.hl7.acknowledgement import read
from gateway.hl7.framing import FrameDecoder, encode

PATIENCE = 9.0
"""Seconds that the DPI waits for an ACK: more than the gateway's `ack.deadline`."""


class Dpi:
    """The sending side; `forget` tells which answers a disturbed attempt throws away."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._attempts: dict[str, int] = {}

    async def attempt(self, port: int, message: Planned, frame: bytes, how: str, part: float) -> str:
        """One attempt at the node on `port`. The code of the ACK that the DPI took notice of, "" for none."""
        number = self._attempts[message.key] = self._attempts.get(message.key, 0) + 1
        if how == "twice":
            codes = await asyncio.gather(
                self._one(port, message, frame, number, how, part),
                self._one(port, message, frame, number, how, part),
            )
            return codes[0]
        return await self._one(port, message, frame, number, how, part)

    async def _one(
        self, port: int, message: Planned, frame: bytes, number: int, how: str, part: float
    ) -> str:
        writer: asyncio.StreamWriter | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                return await self._speak(reader, writer, message, frame, number, how, part)
        except TimeoutError:
            why = "no answer in time"
        except OSError as e:
            why = type(e).__name__
        except EOFError:
            why = "closed"
        finally:
            if writer is not None:
                writer.transport.abort()
        self._history.add(Unanswered(time.time(), message.key, number, why))
        return ""

    async def _speak(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        message: Planned,
        frame: bytes,
        number: int,
        how: str,
        part: float,
    ) -> str:
        key, whole = message.key, encode(frame)
        stop = {
            "nothing": 0,
            "start": 1 + int(20 * part),
            "inside": 1 + int((len(whole) - 3) * part),
            "no_end": len(whole) - (1 if part < 0.5 else 2),
        }.get(how)
        self._history.add(Sent(time.time(), key, number, how, stop is None))
        if stop is not None:
            writer.write(whole[:stop])
            await writer.drain()
            if part < 0.5:
                writer.close()  # an orderly end of the stream
            raise EOFError
        writer.write(whole * 2 if how == "pipelined" else whole)
        await writer.drain()
        if how == "no_ack":
            raise EOFError
        if how == "half_close":
            writer.write_eof()
        if how == "in_ack":
            await reader.readexactly(1 + int(40 * part))
            raise EOFError
        decoder = FrameDecoder(1_000_000)
        codes: list[str] = []
        while len(codes) < (2 if how == "pipelined" else 1):
            data = await reader.read(65_536)
            if not data:
                raise EOFError
            for ack in decoder.feed(data):
                codes.append(self._answered(key, number, ack))
        return "" if how == "unread" else codes[0]

    def _answered(self, key: str, number: int, ack: bytes) -> str:
        try:
            found = read(ack)
            code, about = found.code, found.acknowledged
        except BadInput:
            code, about = "unreadable", ""
        self._history.add(Answered(time.time(), key, number, code, about, ack.decode("latin-1")))
        return code
