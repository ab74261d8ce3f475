"""One IMAP connection: bytes in, bytes out, nothing of the session's state. I/O at the edge.

Purpose: `Wire.open`, then `send` a line and `read` answers, literals included.
Guarantee: a line and a literal are bounded before they are read; a literal is held once; what was said in clear before
TLS is thrown away; the server's certificate bears the name that was asked for. Nothing is logged.
Fails: `MailboxFault` for anything of the network and of the server; `TimeoutError` is the caller's (`asyncio.timeout`).
Source: RFC 3501 §2.2, §4.3 (literals), §6.2.1 (STARTTLS), 8314 (implicit TLS).
"""

from __future__ import annotations

import asyncio
import io
import re
import ssl
from datetime import UTC, datetime

from connectors.keys.files import check_identity, read_identity, read_password, use_identity
from connectors.mss.mailbox.model import LiteralTooLong, MailboxFault, Reason
from connectors.mss.mailbox.settings import ImapSettings

Answer = list[bytes | tuple[bytes, bytes]]
"""One response as `imaplib` gives it: lines without CRLF; one that announces a literal goes with it as a pair."""

LINE = 65_536
LONGEST_ANSWER = 1 << 24
"""Bytes of lines in one answer: numbers of a million mails."""
_READ = 65_536
_LITERAL = re.compile(rb"\{(\d{1,19})\+?\}$")


class Wire:
    """A connection and, once `start_tls` was called, its TLS."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._clear: asyncio.StreamWriter | None = None
        """Kept as long as the connection: a StreamWriter closes its transport when it is collected."""

    @classmethod
    async def open(cls, settings: ImapSettings) -> Wire:
        """Connect, TLS at once when it is implicit; the greeting is not read yet."""
        context = await tls_context(settings) if settings.tls == "implicit" else None
        try:
            async with asyncio.timeout(settings.timeouts.connect):
                reader, writer = await asyncio.open_connection(
                    settings.host, settings.port, limit=LINE, ssl=context
                )
        except (OSError, EOFError) as e:
            raise of_fault(e, Reason.REFUSED) from None
        return cls(reader, writer)

    async def start_tls(self, settings: ImapSettings) -> None:
        """TLS on this connection, after the server's OK. What came in clear behind that OK is lost with the old reader
        (nobody may slip answers in)."""
        context = await tls_context(settings)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LINE)
        protocol = asyncio.StreamReaderProtocol(reader)
        clear = self._writer
        try:
            async with asyncio.timeout(settings.timeouts.connect):
                transport = await loop.start_tls(
                    clear.transport, protocol, context, server_hostname=settings.host
                )
        except (OSError, EOFError) as e:
            raise of_fault(e) from None
        if transport is None:
            raise MailboxFault(Reason.CUT)
        protocol.connection_made(transport)
        self._clear = clear
        self._reader, self._writer = reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    async def send(self, line: bytes) -> None:
        """One line, CRLF added."""
        try:
            self._writer.write(line + b"\r\n")
            await self._writer.drain()
        except (OSError, EOFError) as e:
            raise of_fault(e) from None

    def push(self, line: bytes) -> None:
        """One short line, without waiting (from a callback)."""
        self._writer.write(line + b"\r\n")

    async def read(self, literal: int) -> Answer:
        """The next response. `literal`: longest literal taken, in bytes; a longer one raises `LiteralTooLong`."""
        answer: Answer = []
        room = LONGEST_ANSWER
        try:
            while True:
                line = await self._line(room)
                room -= len(line)
                found = _LITERAL.search(line)
                if found is None:
                    answer.append(line)
                    return answer
                size = int(found[1])
                if size > literal:
                    raise LiteralTooLong(size)
                answer.append((line, await self._literal(size)))
        except (OSError, EOFError) as e:
            raise of_fault(e) from None

    def abort(self) -> None:
        """End at once, without a word."""
        self._writer.transport.abort()
        if self._clear is not None:
            self._clear.transport.abort()

    # --- inside
    # -----------------------------------------------------------------------------------------------

    async def _line(self, room: int) -> bytes:
        pieces: list[bytes] = []
        while True:
            try:
                piece = await self._reader.readuntil(b"\n")
                ended = True
            except asyncio.LimitOverrunError as e:
                piece = await self._reader.readexactly(max(e.consumed, 1))
                ended = False
            room -= len(piece)
            if room < 0:
                raise MailboxFault(Reason.PROTOCOL)
            pieces.append(piece)
            if ended:
                return b"".join(pieces).rstrip(b"\r\n")

    async def _literal(self, size: int) -> bytes:
        held = io.BytesIO()
        while size:
            piece = await self._reader.read(min(size, _READ))
            if not piece:
                raise MailboxFault(Reason.CUT)
            held.write(piece)
            size -= len(piece)
        # of a buffer that nobody else holds: no second copy
        return held.getvalue()


async def tls_context(settings: ImapSettings) -> ssl.SSLContext:
    """TLS >= 1.2, host name checked, with the trusted authorities and our certificate as they are now on disk.

    Raises `MailboxFault(FILES)` with every problem, by setting name.
    """
    problems: list[str] = []
    context = await asyncio.to_thread(_context, settings, problems)
    if context is None:
        raise MailboxFault(Reason.FILES, "; ".join(problems))
    return context


def _context(settings: ImapSettings, problems: list[str]) -> ssl.SSLContext | None:
    try:
        context = ssl.create_default_context(cafile=str(settings.ca_bundle) if settings.ca_bundle else None)
    except (OSError, ssl.SSLError) as e:
        problems.append(f"ca_bundle cannot be read ({type(e).__name__})")
        return None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.client_cert is None:
        return context
    names = ("client_cert", "client_key")
    password = read_password("client_key_password_file", settings.client_key_password_file, problems)
    identity = read_identity(names, settings.client_cert, settings.client_key, password, problems)
    check_identity("client_cert", identity, datetime.now(UTC), problems)
    chain, key = identity
    if not problems and key is not None:
        try:
            use_identity(context, chain, key)
        except (OSError, ssl.SSLError, ValueError) as e:
            problems.append(f"client_cert cannot be used for TLS ({type(e).__name__})")
    return None if problems else context


def of_fault(fault: BaseException, otherwise: Reason = Reason.CUT) -> MailboxFault:
    """The reason of a fault of the socket or of TLS."""
    if isinstance(fault, TimeoutError):
        return MailboxFault(Reason.TIMEOUT)
    if isinstance(fault, ssl.SSLError):
        words = (fault.reason or "").upper()
        if isinstance(fault, ssl.SSLCertVerificationError) or any(
            word in words for word in ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
        ):
            return MailboxFault(Reason.CERTIFICATE)
        return MailboxFault(Reason.TLS)
    return MailboxFault(otherwise)
