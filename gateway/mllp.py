"""An MLLP client: one message out, its acknowledgement back.

Purpose: `segur-gateway send`, the demo and whoever needs to speak MLLP once.
Guarantee: returns the payload of the first whole frame received after the message was sent; what is left of
the connection is closed, so that a late answer can never be taken for another message's.
Fails: `EnvironmentFault` (cannot connect, cut, no answer in time), `FramingError`.
"""

from __future__ import annotations

import asyncio
import re
import ssl

from gateway.errors import EnvironmentFault
from gateway.hl7.framing import FrameDecoder, encode

READ_BYTES = 65_536
MAX_ANSWER = 10_000_000


def as_wire(text: bytes) -> bytes:
    """The bytes of an ER7 file as they go on the wire: segments ended by CR, whatever the file's line
    ends.
    """
    return re.sub(rb"\r\n|\n", b"\r", text.removeprefix(b"\xef\xbb\xbf").strip(b"\r\n")) + b"\r"


async def exchange(
    host: str, port: int, payload: bytes, timeout: float = 30.0, tls: ssl.SSLContext | None = None
) -> bytes:
    """Send `payload` to `host:port`, return the payload of the answer. `timeout` in seconds, for the
    whole.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls)
            try:
                writer.write(encode(payload))
                await writer.drain()
                decoder = FrameDecoder(MAX_ANSWER)
                while data := await reader.read(READ_BYTES):
                    if frames := decoder.feed(data):
                        return frames[0]
            finally:
                writer.close()
    except TimeoutError as e:
        raise EnvironmentFault(f"no answer from {host}:{port} within {timeout:g} s") from e
    except OSError as e:
        raise EnvironmentFault(f"{host}:{port}: {e.strerror or type(e).__name__}") from e
    raise EnvironmentFault(f"{host}:{port} closed the connection without an answer")
