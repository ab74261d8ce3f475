"""One MLLP exchange as a client: a message out, one answer back. I/O at the edge.

Purpose: deliveries to the DPI, `segur-gateway send`, the demo and the tests share this dialogue.
Guarantee: one connection per exchange, closed afterwards, so that a late answer can never be taken for the
answer to another message. The exception says which phase failed.
Fails: `ExchangeFault` for anything of the network; `FramingError` for an answer that is no MLLP frame.
Source: MLLP (HL7 v2 Transport Specification); framing by `gateway.hl7.framing`.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import EnvironmentFault, FramingError
from gateway.hl7.framing import FrameDecoder, encode

_SLICE = 65536


class Phase(StrEnum):
    """How far an exchange went."""

    CONNECT = "connect"
    SEND = "send"
    ANSWER = "answer"
    """The whole message was written."""


class ExchangeFault(EnvironmentFault):
    """The exchange ended without an answer. `timed_out` tells a deadline from a broken connection."""

    def __init__(self, phase: Phase, *, timed_out: bool, certificate: bool = False, why: str = "") -> None:
        super().__init__(f"MLLP {phase}: {'timeout' if timed_out else why or 'connection lost'}")
        self.phase = phase
        self.timed_out = timed_out
        self.certificate = certificate
        """TLS failed for a reason that only a person can mend."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds per phase, and the longest answer in bytes."""

    connect: float = 10.0
    send: float = 60.0
    answer: float = 60.0
    max_answer: int = 1_000_000


def as_wire(text: bytes) -> bytes:
    """The bytes of an ER7 file as they go on the wire: segments ended by CR, whatever the file's line ends."""
    return re.sub(rb"\r\n|\n", b"\r", text.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n")) + b"\r"


async def send(
    host: str,
    port: int,
    er7: bytes,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
    timeout: float = 60.0,
) -> bytes:
    """Send the message of a file and return the answer's payload. `timeout` in seconds, for each phase."""
    limits = Limits(timeout, timeout, timeout)
    return await exchange(host, port, as_wire(er7), tls=tls, server_name=server_name, limits=limits)


async def exchange(
    host: str,
    port: int,
    message: bytes,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
    limits: Limits | None = None,
) -> bytes:
    """Send `message` (ER7, unframed) and return the payload of the first frame of the answer."""
    limits = limits or Limits()
    frame = encode(message)
    phase = Phase.CONNECT
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(limits.connect):
            name = (server_name or host) if tls is not None else None
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name)
        phase = Phase.SEND
        async with asyncio.timeout(limits.send):
            view = memoryview(frame)
            for start in range(0, len(view), _SLICE):
                writer.write(view[start : start + _SLICE])
                await writer.drain()
        phase = Phase.ANSWER
        async with asyncio.timeout(limits.answer):
            return await _first_frame(reader, limits.max_answer)
    except TimeoutError:
        raise ExchangeFault(phase, timed_out=True) from None
    except ssl.SSLError as e:
        why = "certificate not accepted" if _about_trust(e) else "TLS failed (does the other side speak TLS?)"
        raise ExchangeFault(phase, timed_out=False, certificate=_about_trust(e), why=why) from e
    except (OSError, EOFError) as e:
        raise ExchangeFault(phase, timed_out=False, why=_reason(e)) from e
    finally:
        if writer is not None:
            # the answer is here or nobody wants it any more: nothing is worth waiting for
            writer.transport.abort()


async def _first_frame(reader: asyncio.StreamReader, max_size: int) -> bytes:
    """The first complete payload. Raises `EOFError` when the peer closes before it, `FramingError` when
    garbage or an answer too long comes instead."""
    decoder = FrameDecoder(max_size)
    received = 0
    while True:
        data = await reader.read(_SLICE)
        if not data:
            raise EOFError
        received += len(data)
        frames = decoder.feed(data)
        if frames:
            return frames[0]
        if received > max_size + 16:
            raise FramingError("no MLLP frame in the answer")


def _reason(fault: OSError | EOFError) -> str:
    if isinstance(fault, ConnectionRefusedError):
        return "nobody listens there"
    if isinstance(fault, socket.gaierror):
        return "unknown host"
    if isinstance(fault, EOFError):
        return "closed without an answer (not an MLLP port, or TLS, or the message has no readable MSH)"
    return ""


def _about_trust(fault: ssl.SSLError) -> bool:
    reason = (fault.reason or "").upper()
    return (
        isinstance(fault, ssl.SSLCertVerificationError) or "CERTIFICATE" in reason or "UNKNOWN_CA" in reason
    )
