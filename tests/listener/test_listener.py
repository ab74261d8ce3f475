"""The MLLP listener over real sockets: framing, limits with their defined answers, TLS, drain."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import ConfigurationFault, MessageUnreadable
from gateway.exchange.budget import MemoryBudget, Pool
from gateway.exchange.telemetry import Telemetry
from gateway.hl7.framing import encode
from gateway.hl7.message import Message
from gateway.listener import Listener
from gateway.settings import ListenerSettings
from tests.listener.certificates import Authority

Handler = Callable[[bytes, str], Awaitable[bytes | None]]


class Echo:
    """Answers the payload's bytes, so that what was read can be seen from outside."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.gate: asyncio.Event | None = None
        self.inside = asyncio.Event()

    async def __call__(self, raw: bytes, peer: str) -> bytes | None:
        self.seen.append(raw)
        self.inside.set()
        if self.gate is not None:
            await self.gate.wait()
        try:
            Message.parse(raw)
        except MessageUnreadable:
            return None
        return b"ACK:" + raw


def too_long(head: bytes) -> bytes | None:
    return b"TOO LONG:" + head[:20] if head.startswith(b"MSH") else None


def no_room(head: bytes) -> bytes | None:
    return b"NO ROOM:" + head[:20] if head.startswith(b"MSH") else None


class Serving:
    def __init__(self, listener: Listener, echo: Echo, telemetry: Telemetry) -> None:
        self.listener, self.echo, self.telemetry = listener, echo, telemetry

    async def connect(self, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.listener.port, **kwargs)

    def closed(self, reason: str) -> float:
        return self.telemetry.connections_closed.labels(reason)._value.get()

    async def until_closed(self, reason: str, count: float = 1) -> None:
        async with asyncio.timeout(60):
            while self.closed(reason) < count:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(**limits: Any) -> AsyncIterator[Serving]:
    echo, telemetry = Echo(), Telemetry()
    settings = ListenerSettings(port=0, **limits)
    room = MemoryBudget(settings.memory_budget_bytes).receiving
    listener = Listener(settings, Path(), echo, too_long, telemetry, no_room, room)
    await listener.start()
    try:
        yield Serving(listener, echo, telemetry)
    finally:
        await listener.drain()


async def frame_of(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(60):
        return (await reader.readuntil(b"\x1c\r"))[1:-2]


def message(n: int = 1, body: str = "") -> bytes:
    return f"MSH|^~\\&|A|B|C|D|2026||MDM^T02^MDM_T02|{n}|T|2.6\rOBX|1|TX|{body}\r".encode()


async def test_pipelined_messages_are_answered_one_by_one_in_order() -> None:
    async with serving() as s:
        reader, writer = await s.connect()
        writer.write(b"".join(encode(message(n)) for n in range(20)))
        assert [await frame_of(reader) for _ in range(20)] == [b"ACK:" + message(n) for n in range(20)]
        writer.close()


async def test_a_message_split_at_every_byte_is_read_whole() -> None:
    async with serving() as s:
        whole = encode(message(1, "é")) + encode(message(2))
        for cut in range(1, len(whole)):
            reader, writer = await s.connect()
            writer.write(whole[:cut])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(whole[cut:])
            assert await frame_of(reader) == b"ACK:" + message(1, "é")
            assert await frame_of(reader) == b"ACK:" + message(2)
            writer.close()
            await writer.wait_closed()


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_bytes_between_the_marks_are_kept_as_they_came(end: bytes) -> None:
    async with serving() as s:
        raw = message().replace(b"\r", end)
        reader, writer = await s.connect()
        writer.write(encode(raw))
        assert await frame_of(reader) == b"ACK:" + raw
        assert s.echo.seen == [raw]
        writer.close()


async def test_garbage_between_frames_is_dropped_counted_and_logged_without_content(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving() as s:
        reader, writer = await s.connect()
        writer.write(b"DURAND\x00\x00" + encode(message(1)) + b"\r\nDURAND" + encode(message(2)))
        assert await frame_of(reader) == b"ACK:" + message(1)
        assert await frame_of(reader) == b"ACK:" + message(2)
        assert s.telemetry.dropped_bytes._value.get() == len(b"DURAND\x00\x00DURAND")
        assert "DURAND" not in caplog.text
        assert "14 bytes outside any frame dropped" in caplog.text
        writer.close()


async def test_a_frame_without_msh_closes_that_connection_alone() -> None:
    async with serving() as s:
        other_reader, other = await s.connect()
        reader, writer = await s.connect()
        writer.write(encode(b"not a message"))
        assert await reader.read() == b""
        await s.until_closed("unreadable")
        other.write(encode(message(1)))
        assert await frame_of(other_reader) == b"ACK:" + message(1)
        writer.close()
        other.close()


async def test_one_connection_too_many_is_closed_at_once() -> None:
    async with serving(max_connections=2) as s:
        keep = [await s.connect() for _ in range(2)]
        for n, (reader, writer) in enumerate(keep):
            writer.write(encode(message(n)))
            await frame_of(reader)
        reader, writer = await s.connect()
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        await s.until_closed("too_many")
        writer.close()
        for _, kept in keep:
            kept.close()


@pytest.mark.parametrize(
    ("sent", "limit", "reason"),
    [
        (b"", "first_byte_timeout", "first_byte_timeout"),
        (b"\x0bMSH|^~\\&|A", "frame_timeout", "frame_timeout"),
        (encode(message()), "idle_timeout", "idle_timeout"),
    ],
)
async def test_silence_closes_the_connection(sent: bytes, limit: str, reason: str) -> None:
    async with serving(**{limit: 0.1}) as s:
        reader, writer = await s.connect()
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 10)
        assert answer == (encode(b"ACK:" + message()) if reason == "idle_timeout" else b"")
        await s.until_closed(reason)
        writer.close()


async def test_a_message_over_the_limit_is_answered_and_the_next_one_is_read() -> None:
    async with serving(max_message_bytes=2000) as s:
        reader, writer = await s.connect()
        writer.write(encode(message(1)) + encode(message(2, "x" * 400_000)) + encode(message(3)))
        assert await frame_of(reader) == b"ACK:" + message(1)
        assert (await frame_of(reader)).startswith(b"TOO LONG:MSH|")
        assert await frame_of(reader) == b"ACK:" + message(3)
        writer.close()


async def test_a_client_cut_in_the_middle_of_a_frame_is_counted() -> None:
    async with serving() as s:
        _, writer = await s.connect()
        writer.write(b"\x0bMSH|")
        await writer.drain()
        writer.close()
        await s.until_closed("cut_in_frame")
        assert s.echo.seen == []


async def test_a_client_that_stops_writing_still_gets_its_answer() -> None:
    async with serving() as s:
        reader, writer = await s.connect()
        writer.write(encode(message()))
        writer.write_eof()
        assert await reader.read() == encode(b"ACK:" + message())
        writer.close()


async def test_only_allowed_networks_are_served() -> None:
    async with serving(allowed_networks=("192.0.2.0/24",)) as s:
        reader, writer = await s.connect()
        try:
            assert await reader.read() == b""
        except ConnectionResetError:
            pass
        await s.until_closed("network")
        writer.close()
    async with serving(allowed_networks=("127.0.0.0/8",)) as s:
        reader, writer = await s.connect()
        writer.write(encode(message()))
        await frame_of(reader)
        writer.close()


async def test_drain_answers_what_is_under_way_and_closes_the_idle() -> None:
    async with serving() as s:
        idle_reader, idle = await s.connect()
        idle.write(encode(message(1)))
        await frame_of(idle_reader)
        s.echo.gate, s.echo.inside = asyncio.Event(), asyncio.Event()
        reader, writer = await s.connect()
        writer.write(encode(message(2)))
        await s.echo.inside.wait()
        drain = asyncio.create_task(s.listener.drain())
        assert await asyncio.wait_for(idle_reader.read(), 10) == b""
        assert not s.listener.listening
        s.echo.gate.set()
        assert await reader.read() == encode(b"ACK:" + message(2))
        await drain
        with pytest.raises(ConnectionRefusedError):
            await s.connect()
        writer.close()
        idle.close()


async def test_a_port_in_use_is_a_configuration_fault() -> None:
    async with serving() as s:
        settings = ListenerSettings(port=s.listener.port)
        other = Listener(settings, Path(), s.echo, too_long, s.telemetry, no_room, Pool(0))
        with pytest.raises(ConfigurationFault):
            await other.start()


# --- TLS ------------------------------------------------------------------------------------------------------------


def client_context(authority: Authority, name: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.ca))
    if name:
        certificate, key = authority.issue(name)
        context.load_cert_chain(certificate, key)
    return context


def tls_settings(authority: Authority, **more: Any) -> dict[str, Any]:
    certificate, key = authority.issue("localhost")
    return {"tls": {"certificate": certificate, "key": key, **more}}


async def test_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(**tls_settings(authority)) as s:
        reader, writer = await s.connect(ssl=client_context(authority), server_hostname="localhost")
        writer.write(encode(message()))
        assert await frame_of(reader) == b"ACK:" + message()
        writer.close()


async def test_mutual_tls_refuses_a_client_without_a_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(**tls_settings(authority, client_ca=authority.ca)) as s:
        reader, writer = await s.connect(ssl=client_context(authority), server_hostname="localhost")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            writer.write(encode(message()))
            await writer.drain()
            if await reader.read() == b"":
                raise ConnectionResetError
        assert s.echo.seen == []
        writer.close()


async def test_mutual_tls_refuses_another_authority(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with serving(**tls_settings(authority, client_ca=authority.ca)) as s:
        context = client_context(authority)
        context.load_cert_chain(*stranger.issue("dpi.hopital.test"))
        reader, writer = await s.connect(ssl=context, server_hostname="localhost")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            writer.write(encode(message()))
            await writer.drain()
            if await reader.read() == b"":
                raise ConnectionResetError
        assert s.echo.seen == []
        writer.close()


@pytest.mark.parametrize(("name", "served"), [("dpi.hopital.test", True), ("other.hopital.test", False)])
async def test_the_allow_list_of_certificate_names(tmp_path: Path, name: str, served: bool) -> None:
    authority = Authority(tmp_path)
    limits = tls_settings(authority, client_ca=authority.ca, allowed_names=("dpi.hopital.test",))
    async with serving(**limits) as s:
        reader, writer = await s.connect(ssl=client_context(authority, name), server_hostname="localhost")
        if served:
            writer.write(encode(message()))
            assert await frame_of(reader) == b"ACK:" + message()
        else:
            await s.until_closed("certificate")
            assert s.echo.seen == []
        writer.close()


async def test_an_old_protocol_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with serving(**tls_settings(authority, minimum="1.3")) as s:
        context = client_context(authority)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await s.connect(ssl=context, server_hostname="localhost")


async def test_a_failed_handshake_is_counted_and_logged_once_a_minute_for_each_peer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    authority, stranger = Authority(tmp_path / "a"), Authority(tmp_path / "b")
    async with serving(**tls_settings(authority, client_ca=authority.ca)) as s:
        for _ in range(3):
            with pytest.raises((ssl.SSLError, ConnectionError)):
                # a client that does not trust us; then one that does not speak TLS at all
                await s.connect(ssl=client_context(stranger), server_hostname="localhost")
        reader, writer = await s.connect()
        writer.write(encode(message()))
        with contextlib.suppress(ConnectionError):
            await reader.read()  # a TLS alert, then the end
        await s.until_closed("tls", 4)
        writer.close()
        lines = [m for m in caplog.messages if "handshake" in m]
        assert len(lines) == 1, lines
        assert "127.0.0.1" in lines[0]
        _reader, good = await s.connect(ssl=client_context(authority, "dpi"), server_hostname="localhost")
        good.write(encode(message()))
        assert await frame_of(_reader) == b"ACK:" + message()
        good.close()


async def test_a_big_message_over_tls_arrives_whole(tmp_path: Path) -> None:
    """The handshake is ours, on a connection that was already open: flow control must still work after it."""
    authority = Authority(tmp_path)
    async with serving(**tls_settings(authority)) as s:
        reader, writer = await s.connect(
            ssl=client_context(authority), server_hostname="localhost", limit=1 << 24
        )
        raw = message(1, "x" * 5_000_000)
        writer.write(encode(raw))
        assert await frame_of(reader) == b"ACK:" + raw
        writer.close()
