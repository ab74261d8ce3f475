"""The sending side of the simulated DPI: one HL7 message over MLLP, its ACK back.

Purpose: `segur-gateway send`, the demo, the tests.
Guarantee: line ends of a file (LF or CRLF) become the CR of ER7; nothing else of the message is changed.
Fails: `ExchangeFault`, `FramingError` (see `connectors.dpi.mllp`).
"""

from __future__ import annotations

import ssl

from connectors.dpi.mllp import Limits, exchange


def to_er7(content: bytes) -> bytes:
    """The message of a file: segments ended by CR, without empty lines at the end."""
    return content.replace(b"\r\n", b"\r").replace(b"\n", b"\r").rstrip(b"\r") + b"\r"


async def send(
    host: str,
    port: int,
    er7: bytes,
    *,
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
    timeout: float = 60.0,  # one deadline per phase, kept by exchange() with asyncio.timeout
) -> bytes:
    """Send `er7` and return the ACK's bytes (unframed). `timeout` in seconds, for each phase."""
    limits = Limits(timeout, timeout, timeout)
    return await exchange(host, port, to_er7(er7), tls=tls, server_name=server_name, limits=limits)
