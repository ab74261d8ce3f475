"""The MLLP listener: sockets in, frames to the intake, one ACK back for each.

Purpose: the edge. Frames of one connection are answered one after the other, in their order; connections do
not disturb one another.

Guarantee: nothing that a client sends stops the listener or another connection. The bytes given to the
handler are exactly those between 0x0B and 0x1C 0x0D. An ACK is written only on the connection that brought
its message, and before the next frame of it is taken.

Defined answers to each limit:
* too many connections, network not allowed, certificate not allowed: closed at once, counted;
* no first byte, silence inside a frame, idle: closed, counted (there is no whole message to answer);
* a client that does not read its ACK: closed, counted (the ACK is stored, the same message gets it again);
* a frame over the size limit: AE as soon as the limit is passed, the rest of that frame is skipped;
* a frame for which the memory budget has no room: AR at once, the rest of that frame is skipped;
* a TLS handshake that fails: closed, counted, logged (once a minute for each peer);
* a frame without a readable MSH: closed, counted.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.x509.oid import NameOID

from gateway.errors import ConfigurationFault, GatewayError
from gateway.exchange.budget import FREE, Pool
from gateway.exchange.steps import reached
from gateway.exchange.telemetry import Telemetry
from gateway.hl7.framing import FrameDecoder, FrameTooLong, encode
from gateway.settings import ListenerSettings, ListenerTls

log = logging.getLogger("gateway.listener")

READ_BYTES = 262_144
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 20), (socket.TCP_KEEPCNT, 3))
"""A peer that vanished (VPN loss, power cut) is noticed after about two minutes."""

Handler = Callable[[bytes, str], Awaitable[bytes | None]]
Refuse = Callable[[bytes], bytes | None]
"""The answer to a frame of which only the beginning is known; None when it has no readable MSH."""
RESERVED_AT_A_TIME = 1 << 20
"""Bytes of the memory budget taken at a time while a frame grows."""
MAX_PEERS = 1000
SAID_AGAIN = 60.0
"""Seconds between two log lines about failed handshakes of one peer."""


@dataclass(slots=True, eq=False)
class _Connection:
    """One connection. `busy` while a message of it is being answered."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    peer: str
    decoder: FrameDecoder
    task: asyncio.Task[None] | None = None
    busy: bool = False
    counted: int = field(default=0)
    reserved: int = 0
    """Bytes of the memory budget."""


class Listener:
    """Start with `start`, read the real port in `port`, stop with `drain`."""

    def __init__(
        self,
        settings: ListenerSettings,
        base_dir: Path,
        handler: Handler,
        too_long: Refuse,
        telemetry: Telemetry,
        no_room: Refuse,
        room: Pool,
    ) -> None:
        self._settings = settings
        self._networks = settings.networks()
        self._base_dir = base_dir
        self._handler = handler
        self._too_long = too_long
        self._telemetry = telemetry
        self._no_room = no_room
        self._room = room
        self._tls: ssl.SSLContext | None = None
        self._handshakes: dict[str, float] = {}
        self._server: asyncio.Server | None = None
        self._port = 0
        self._open: set[_Connection] = set()
        self._draining = False

    async def start(self) -> None:
        """Bind and listen. Raises `ConfigurationFault` when the address or the TLS files are wrong."""
        self._tls = server_context(self._settings.tls, self._base_dir) if self._settings.tls else None
        try:
            self._server = await asyncio.start_server(
                self._serve, self._settings.host, self._settings.port, limit=READ_BYTES
            )
        except OSError as e:
            raise ConfigurationFault(
                f"MLLP listener {self._settings.host}:{self._settings.port}: {e.strerror}"
            ) from e
        self._port = self._server.sockets[0].getsockname()[1]

    @property
    def port(self) -> int:
        """The port in use (the one asked for, or the one that was given for 0)."""
        return self._port

    @property
    def listening(self) -> bool:
        """True while new connections are accepted."""
        return self._server is not None and self._server.is_serving() and not self._draining

    async def drain(self) -> None:
        """Accept nothing more, let messages under way be answered (`drain_timeout`), close."""
        self._draining = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._open):
            if not connection.busy and connection.task is not None:
                connection.task.cancel()
        tasks = [c.task for c in self._open if c.task is not None]
        if tasks:
            _done, late = await asyncio.wait(tasks, timeout=self._settings.drain_timeout)
            for task in late:
                task.cancel()
            if late:
                log.warning("drain: %d connections cut before their answer", len(late))
                await asyncio.wait(late)

    # --- one connection -------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = writer.get_extra_info("peername")
        peer = str(address[0]) if address else "?"
        refusal = self._refusal(peer)
        if not refusal and self._tls is not None:
            refusal = await self._handshake(writer, peer) or self._refusal(peer) or self._certificate(writer)
        if refusal:
            self._close_reason(refusal, peer)
            writer.transport.abort()
            return
        connection = _Connection(
            reader, writer, peer, FrameDecoder(self._settings.max_message_bytes), asyncio.current_task()
        )
        _keep_alive(writer)
        self._open.add(connection)
        self._telemetry.connections.inc()
        reason = "client"
        try:
            reason = await self._converse(connection)
        except (ConnectionError, ssl.SSLError):
            reason = "broken"
        except TimeoutError:
            reason = "not_reading"
        except GatewayError as e:
            # an answer that cannot be framed: this connection ends, the others go on
            log.error("answer not sent: %s", e)
            reason = "broken"
        except asyncio.CancelledError:
            reason = "drain"
        finally:
            self._room.give(connection.reserved)
            self._open.discard(connection)
            self._telemetry.connections.dec()
            self._count_dropped(connection)
            self._close_reason(reason, peer)
            await _close(writer)

    async def _handshake(self, writer: asyncio.StreamWriter, peer: str) -> str:
        """TLS, here and not in asyncio's server, which says nothing of those that fail; why it failed, or ''.

        Nothing of the client has been read before: this runs before the transport's first read.
        """
        assert self._tls is not None
        try:
            await writer.start_tls(self._tls, ssl_handshake_timeout=self._settings.first_byte_timeout)
        except (OSError, EOFError) as e:
            now = time.monotonic()
            if now - self._handshakes.get(peer, -SAID_AGAIN) >= SAID_AGAIN:
                if len(self._handshakes) >= MAX_PEERS:
                    self._handshakes.clear()
                self._handshakes[peer] = now
                reason = e.reason if isinstance(e, ssl.SSLError) else type(e).__name__
                log.warning("TLS handshake with %s failed: %s", peer, reason)
            return "tls"
        return ""

    def _refusal(self, peer: str) -> str:
        """Why this connection is not served, or an empty string."""
        if self._draining:
            return "drain"
        if len(self._open) >= self._settings.max_connections:
            return "too_many"
        if self._networks and not any(ip_address(peer) in network for network in self._networks):
            return "network"
        return ""

    def _certificate(self, writer: asyncio.StreamWriter) -> str:
        """`certificate` when its name is not allowed, else ''."""
        tls = self._settings.tls
        if tls and tls.allowed_names:
            names = _certificate_names(writer.get_extra_info("ssl_object"))
            if names.isdisjoint(tls.allowed_names):
                return "certificate"
        return ""

    async def _converse(self, connection: _Connection) -> str:
        """Read, answer, until the end; why it ended."""
        decoder, first = connection.decoder, True
        while True:
            if decoder.in_frame:
                limit, late = self._settings.frame_timeout, "frame_timeout"
            elif first:
                limit, late = self._settings.first_byte_timeout, "first_byte_timeout"
            else:
                limit, late = self._settings.idle_timeout, "idle_timeout"
            try:
                async with asyncio.timeout(limit):
                    data = await connection.reader.read(READ_BYTES)
            except TimeoutError:
                return late
            if not data:
                return "cut_in_frame" if decoder.in_frame else "client"
            first = False
            ended = await self._feed(connection, data)
            self._count_dropped(connection)
            if ended:
                return ended

    async def _feed(self, connection: _Connection, data: bytes) -> str:
        """Give bytes to the decoder, answer every frame they end; why the connection must end, or ''."""
        while True:
            decoder = connection.decoder
            if not self._reserve(connection, decoder.buffered + len(data)):
                ack = self._no_room(decoder.give_up())
                self._reserve(connection, len(data))
                if ack is None:
                    return "unreadable"
                await self._write(connection, ack)
            too_long: FrameTooLong | None = None
            try:
                frames = decoder.feed(data)
            except FrameTooLong as e:
                # frames that ended before the long one are answered first: answers keep the order of messages
                frames, too_long = e.frames, e
            ended = await self._answer(connection, frames)
            frames.clear()
            self._reserve(connection, decoder.buffered)
            if ended:
                return ended
            if too_long is None:
                return ""
            log.warning("frame over %d bytes refused", self._settings.max_message_bytes)
            ack = self._too_long(too_long.head)
            if ack is None:
                return "unreadable"
            await self._write(connection, ack)
            data = b""  # the decoder kept what follows

    async def _answer(self, connection: _Connection, frames: list[bytes]) -> str:
        """Answer complete frames, in order; why the connection must end, or ''."""
        for frame in frames:
            connection.busy = True
            try:
                ack = await self._handler(frame, connection.peer)
                if ack is None:
                    return "unreadable"
                await self._write(connection, ack)
                reached("acknowledged")
            finally:
                connection.busy = False
            if self._draining:
                return "drain"
        return ""

    def _reserve(self, connection: _Connection, size: int) -> bool:
        """Make the connection's part of the budget fit `size` bytes held; False when there is no room for more."""
        wanted = max(0, size - FREE)
        if wanted > connection.reserved:
            more = -(-(wanted - connection.reserved) // RESERVED_AT_A_TIME) * RESERVED_AT_A_TIME
            if connection.decoder.skipping:
                return True  # nothing of it is kept
            if not self._room.try_take(more):
                return False
            connection.reserved += more
        elif wanted == 0 and connection.reserved:
            self._room.give(connection.reserved)
            connection.reserved = 0
        return True

    async def _write(self, connection: _Connection, ack: bytes) -> None:
        """Write one ACK. `TimeoutError` when the client does not read it within `frame_timeout`."""
        connection.writer.write(encode(ack))
        async with asyncio.timeout(self._settings.frame_timeout):
            await connection.writer.drain()

    def _count_dropped(self, connection: _Connection) -> None:
        new = connection.decoder.dropped - connection.counted
        if new > 0:
            connection.counted = connection.decoder.dropped
            self._telemetry.dropped_bytes.inc(new)
            log.warning("%d bytes outside any frame dropped", new)

    def _close_reason(self, reason: str, peer: str) -> None:
        self._telemetry.connections_closed.labels(reason).inc()
        log.info("MLLP connection from %s ended: %s", peer, reason)


def server_context(tls: ListenerTls, base_dir: Path) -> ssl.SSLContext:
    """The TLS context of the listener: explicit floor, client certificates required when a CA is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3 if tls.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(base_dir / tls.certificate, base_dir / tls.key)
        if tls.client_ca is not None:
            context.load_verify_locations(base_dir / tls.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as e:
        raise ConfigurationFault(f"TLS of the MLLP listener: {e}") from e
    return context


def _certificate_names(ssl_object: ssl.SSLObject | None) -> set[str]:
    """Subject CN and DNS alternative names of the client's certificate."""
    der = ssl_object.getpeercert(binary_form=True) if ssl_object else None
    if not der:
        return set()
    certificate = x509.load_der_x509_certificate(der)
    names = {str(a.value) for a in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    try:
        alternatives = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names.update(alternatives.get_values_for_type(x509.DNSName))
    except x509.ExtensionNotFound:
        pass
    return names


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        async with asyncio.timeout(5):
            await writer.wait_closed()
    except (TimeoutError, OSError, ssl.SSLError):
        writer.transport.abort()
