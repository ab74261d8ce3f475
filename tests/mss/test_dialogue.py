"""The SMTP dialogue against a scripted server on a real socket: what aiosmtpd cannot play.

Source: RFC 5321 §3.8, §4.5.3; the guarantee of `connectors.smtp.pool`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from connectors.mss import settings
from connectors.port import Outcome, OutcomeClass
from connectors.smtp.pool import Envelope, SmtpPool
from tests.mss.samples import SETTINGS

ENVELOPE = Envelope("a@x.fr", "b@x.fr", "e1", "FAILURE")
BIG = b"0123456789abcdef" * 4 + b"\r\n"
MESSAGE = b"Subject: x\r\n\r\n" + BIG * 200_000
"""13 MB: far above what the kernel's buffers take, so that a server that stops reading is noticed."""


class Peer:
    """One scripted connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\r\n")
        await self.writer.drain()

    async def hear(self) -> str:
        return (await self.reader.readline()).decode().strip()

    async def greet(self, *extensions: str) -> None:
        await self.say("220 scripted")
        assert (await self.hear()).startswith("EHLO")
        for line in ("250-scripted", *(f"250-{e}" for e in extensions), "250 HELP"):
            await self.say(line)

    async def until_data(self) -> None:
        for word in ("MAIL", "RCPT"):
            assert (await self.hear()).startswith(word)
            await self.say("250 ok")
        assert await self.hear() == "DATA"
        await self.say("354 go")

    async def whole_mail(self) -> bytes:
        await self.until_data()
        return await self.reader.readuntil(b"\r\n.\r\n")


Script = Callable[[Peer], Awaitable[None]]


@asynccontextmanager
async def scripted(*scripts: Script, **table: object) -> AsyncIterator[SmtpPool]:
    """A pool that talks to a server whose connections follow `scripts`, one each, then close."""
    waiting = list(scripts)
    faults: list[BaseException] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await waiting.pop(0)(Peer(reader, writer))
        except Exception as e:
            faults.append(e)
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        pool = SmtpPool(settings.MssSettings.model_validate({**SETTINGS, "port": port, **table}))
        yield pool
        await pool.close()
    assert not faults
    assert not waiting


async def send(pool: SmtpPool, message: bytes = b"Subject: x\r\n\r\nx\r\n") -> Outcome:
    async with pool.slot():
        return await pool.send(ENVELOPE, message)


async def accept(peer: Peer) -> None:
    await peer.greet()
    await peer.whole_mail()
    await peer.say("250 queued")


async def test_a_refusal_in_the_middle_of_the_body_is_heard() -> None:
    """The server may answer before the final dot and close: its answer counts, not the broken connection."""

    async def refuse(peer: Peer) -> None:
        await peer.greet()
        await peer.until_data()
        await peer.reader.readexactly(100_000)
        await peer.say("552 5.3.4 too much")
        # read on, so that the client's kernel does not see a reset before it has read the refusal
        while await peer.reader.read(65536):
            pass

    async with scripted(refuse) as pool:
        result = await send(pool, MESSAGE)
    assert (result.outcome, result.code) == (OutcomeClass.PERMANENT, "552")


async def test_a_cut_in_the_middle_of_the_body_is_transient() -> None:
    """Nothing can have been accepted before the final dot: no reconciliation needed."""

    async def cut(peer: Peer) -> None:
        await peer.greet()
        await peer.until_data()
        await peer.reader.readexactly(100_000)

    async with scripted(cut) as pool:
        result = await send(pool, MESSAGE)
    assert (result.outcome, result.code) == (OutcomeClass.TRANSIENT, "442")


async def test_a_server_that_stops_reading_is_transient_and_never_gets_the_final_dot() -> None:
    """Timeout of the upload: code 420; the rest of the buffer is thrown away, not sent."""
    rest: list[bytes] = []
    done = asyncio.Event()

    async def stop_reading(peer: Peer) -> None:
        await peer.greet()
        await peer.until_data()
        await done.wait()
        try:
            while data := await peer.reader.read(65536):
                rest.append(data[-5:])
        except ConnectionError:
            pass

    async with scripted(stop_reading, timeouts={"body": 0.2}) as pool:
        result = await send(pool, MESSAGE)
        done.set()
    assert (result.outcome, result.code) == (OutcomeClass.TRANSIENT, "420")
    assert b"\r\n.\r\n" not in rest


async def test_a_session_closed_by_the_server_is_replaced() -> None:
    """An idle session that dies at MAIL (421 or a cut) is no failure of the mail."""

    async def then_cut(peer: Peer) -> None:
        await accept(peer)
        assert (await peer.hear()).startswith("MAIL")

    async with scripted(then_cut, accept) as pool:
        assert (await send(pool)).outcome is OutcomeClass.SUCCESS
        assert (await send(pool)).outcome is OutcomeClass.SUCCESS


async def test_an_unreadable_answer_to_the_final_dot_is_uncertain() -> None:
    """After the dot only a clear answer is an answer."""

    async def mumble(peer: Peer) -> None:
        await peer.greet()
        await peer.whole_mail()
        await peer.say("??? queued")

    async with scripted(mumble) as pool:
        assert (await send(pool)).outcome is OutcomeClass.UNCERTAIN


async def test_a_cancelled_transaction_leaves_no_session_behind() -> None:
    """Stop of the gateway in the middle of a mail: the next mail opens a new session."""
    heard = asyncio.Event()

    async def never_answer(peer: Peer) -> None:
        await peer.greet()
        await peer.whole_mail()
        heard.set()
        try:
            assert await peer.reader.read() == b""
        except ConnectionError:
            pass

    async with scripted(never_answer, accept) as pool:
        task = asyncio.ensure_future(send(pool))
        await heard.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await send(pool)).outcome is OutcomeClass.SUCCESS


async def test_no_more_sessions_than_allowed() -> None:
    """`connections`: mails wait for a session."""
    open_now = 0
    most = 0

    async def count(peer: Peer) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await peer.greet()
        while (await peer.hear()).startswith("MAIL"):
            await peer.say("250 ok")
            await peer.hear()
            await peer.say("250 ok")
            await peer.hear()
            await peer.say("354 go")
            await peer.reader.readuntil(b"\r\n.\r\n")
            await peer.say("250 queued")
        open_now -= 1

    async with scripted(count, count, connections=2) as pool:
        results = await asyncio.gather(*(send(pool) for _ in range(8)))
    assert {r.outcome for r in results} == {OutcomeClass.SUCCESS}
    assert most == 2


async def test_a_greeting_that_refuses_service() -> None:
    """421 is a circumstance, 554 says that we are not welcome: somebody must act."""

    def greets(line: str) -> Script:
        async def script(peer: Peer) -> None:
            await peer.say(line)

        return script

    async with scripted(greets("421 busy"), greets("554 go away")) as pool:
        busy, unwelcome = await send(pool), await send(pool)
    assert (busy.outcome, busy.code) == (OutcomeClass.TRANSIENT, "421")
    assert (unwelcome.outcome, unwelcome.code) == (OutcomeClass.CONFIGURATION, "554")


async def test_lines_that_start_with_a_dot_arrive_as_they_are() -> None:
    """RFC 5321 §4.5.2, seen by the server."""
    from connectors.smtp.pool import transparent

    got: list[bytes] = []

    async def keep(peer: Peer) -> None:
        await peer.greet()
        got.append(await peer.whole_mail())
        await peer.say("250 ok")

    async with scripted(keep) as pool:
        await send(pool, transparent(b"a: b\r\n\r\n.x\r\n..y\r\n"))
    assert got == [b"a: b\r\n\r\n..x\r\n...y\r\n.\r\n"]
