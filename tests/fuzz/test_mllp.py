"""MLLP streams: the same payloads whatever the cuts and the garbage; a listener that answers or closes, always."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from itertools import count, pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from gateway.hl7.acknowledgement import read
from gateway.hl7.framing import END, FrameDecoder, FrameTooLong, encode
from tests.exchange.harness import Running, running, submit
from tests.fuzz.support import MESSAGES, examples

LIMIT = 40_000
SILENCE = 0.3
"""Seconds after which the listener of these tests closes a connection that says nothing."""
# Bytes that begin no frame: garbage between two frames.
garbage = st.lists(
    st.sampled_from([b"\x1c\r", b"\x1c", b"\r", b"\n", b"\0", b"MSH", b"x", b"\x0c", b"\xff"]), max_size=6
).map(b"".join)
payloads = st.one_of(
    st.sampled_from(MESSAGES),
    st.lists(
        st.sampled_from([b"\x1c", b"\r", b"\n", b"\x0b", b"M", b"MSH", b"a", b"\x1c\n", b"\0"]), max_size=8
    ).map(b"".join),
    st.binary(max_size=60),
    # a payload with an end block cannot be framed; a start block and MSH inside one mean that it was given up
).filter(lambda p: END not in p + b"\r" and b"\x0bMSH" not in p and len(p) <= LIMIT)


@examples(200, 3000)
@given(st.lists(st.tuples(garbage, payloads), max_size=5), garbage, st.lists(st.integers(0), max_size=10))
def test_the_same_payloads_whatever_the_cuts_and_the_garbage(
    sent: list[tuple[bytes, bytes]], after: bytes, cuts: list[int]
) -> None:
    stream = b"".join(noise + encode(payload) for noise, payload in sent) + after
    bounds = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    decoder = FrameDecoder(LIMIT)
    got = [frame for a, b in pairwise(bounds) for frame in decoder.feed(stream[a:b])]
    assert got == [payload for _, payload in sent]
    noise = b"".join(n for n, _ in sent) + after
    assert decoder.dropped + decoder.separators == len(noise)
    assert decoder.buffered == 0


@examples(150, 3000)
@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6), st.integers(8, 60))
def test_any_stream_ends_and_a_good_frame_after_it_is_read(
    stream: bytes, cuts: list[int], limit: int
) -> None:
    """Whatever came before, the decoder holds no more than its limit, and reads the next good frame."""
    decoder, bounds = FrameDecoder(limit), sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    for data in (*(stream[a:b] for a, b in pairwise(bounds)), END, encode(b"MSH|good")):
        while True:
            try:
                frames = decoder.feed(data)
                break
            except FrameTooLong as e:
                assert len(e.head) <= 4096
                data = b""
        assert decoder.buffered <= limit + 4
    assert frames == [b"MSH|good"]


# --- a real listener ------------------------------------------------------------------------------------------------

T = TypeVar("T")


class Threaded:
    """A whole gateway whose event loop runs in a thread, for tests that speak to it through plain blocking sockets."""

    def __init__(self, directory: Path) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._context = running(
            directory,
            listener={
                "port": 0,
                "first_byte_timeout": SILENCE,
                "frame_timeout": SILENCE,
                "idle_timeout": SILENCE,
                "max_message_bytes": LIMIT,
                "drain_timeout": 5,
            },
        )
        self.running: Running = self.call(self._context.__aenter__())
        self.numbers = count(1)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self) -> None:
        self.call(self._context.__aexit__(None, None, None))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.running.gateway.mllp_port), timeout=10)
        sock.settimeout(10)
        return sock

    def good(self) -> tuple[str, bytes]:
        """A message that deserves AA: (MSH-10, frame)."""
        number = next(self.numbers)
        return f"F{number}", encode(submit(f"F{number}", number, ack_reception=False))


def frame_of(sock: socket.socket) -> bytes:
    """The next frame's payload. Raises `TimeoutError` after 10 s: a connection that hangs."""
    data = b""
    while END not in data:
        piece = sock.recv(65536)
        assert piece, f"closed without an answer after {data!r}"
        data += piece
    assert data.startswith(b"\x0b") and data.endswith(END)
    return data[1:-2]


def until_closed(sock: socket.socket) -> bytes:
    """Everything until the other side closes. Raises `TimeoutError` after 10 s: a connection that hangs."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := sock.recv(65536):
            data += piece
    return data


@pytest.fixture(scope="module")
def threaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    gateway = Threaded(tmp_path_factory.mktemp("fuzz"))
    yield gateway
    gateway.stop()


class Clients(RuleBasedStateMachine):
    """Clients that do anything; at each step some other client gets its AA."""

    gateway: Threaded
    connections = Bundle("connections")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[socket.socket] = []

    @initialize(target=connections)
    def first(self) -> socket.socket:
        return self.connect()

    @rule(target=connections)
    def connect(self) -> socket.socket:
        sock = self.gateway.connect()
        self.open.append(sock)
        return sock

    def put(self, sock: socket.socket, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the listener closed it already: its right
            sock.sendall(data)

    @rule(sock=connections, data=st.binary(max_size=200))
    def any_bytes(self, sock: socket.socket, data: bytes) -> None:
        self.put(sock, data)

    @rule(sock=connections, raw=payloads)
    def any_frame(self, sock: socket.socket, raw: bytes) -> None:
        self.put(sock, encode(raw))

    @rule(sock=connections, size=st.integers(1, 3 * LIMIT), msh=st.booleans())
    def long_frame(self, sock: socket.socket, size: int, msh: bool) -> None:
        self.put(sock, b"\x0b" + (MESSAGES[0][:120] if msh else b"") + b"x" * size + END)

    @rule(sock=connections, share=st.floats(0, 1))
    def part_of_a_good_frame(self, sock: socket.socket, share: float) -> None:
        frame = self.gateway.good()[1]
        self.put(sock, frame[: int(share * len(frame))])

    @rule(sock=connections)
    def half_closed(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)

    @rule(sock=connections)
    def reset(self, sock: socket.socket) -> None:
        """The client's machine loses power: RST."""
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        if sock in self.open:
            self.open.remove(sock)

    @rule(cuts=st.lists(st.integers(0), max_size=4), noise=garbage, frames=st.integers(1, 3))
    def good_messages_are_answered_in_order(self, cuts: list[int], noise: bytes, frames: int) -> None:
        """On a new connection, cut anywhere, after garbage, several at once: each gets its AA."""
        wanted = [self.gateway.good() for _ in range(frames)]
        stream = b"".join(noise + frame for _, frame in wanted)
        bounds = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
        with self.gateway.connect() as sock:
            for a, b in pairwise(bounds):
                sock.sendall(stream[a:b])
            data = b""
            while data.count(END) < frames:
                piece = sock.recv(65536)
                assert piece, "closed without an answer"
                data += piece
        acks = [read(f[1:]) for f in data.split(END) if f]
        assert [(a.code, a.acknowledged) for a in acks] == [("AA", control_id) for control_id, _ in wanted]

    def teardown(self) -> None:
        """No connection hangs: each is closed by the listener within its time-outs."""
        for sock in self.open:
            until_closed(sock)
            sock.close()
        self.good_messages_are_answered_in_order([], b"", 1)


def test_the_listener_survives_its_clients(threaded: Threaded) -> None:
    class Machine(Clients):
        gateway = threaded

    run_state_machine_as_test(Machine, settings=examples(12, 60, stateful_step_count=12))
    threaded.call(threaded.running.until(lambda: not threaded.running.gateway.listener._open))


@examples(15, 100)
@given(st.binary(max_size=400))
def test_any_bytes_are_answered_or_closed(threaded: Threaded, data: bytes) -> None:
    """A client that sends anything and waits: it reads an answer or the end, never nothing for ever."""
    with threaded.connect() as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
        until_closed(sock)
