"""TCP relays: one between the gateway and a counterpart that cuts a connection at a given byte, and a balancer.

Bytes pass unchanged (TLS too). `cut` arms one cut: after so many more bytes in one direction, over all connections, the
connection that carries the last of them is aborted on both sides: what came before has passed, nothing after it has.
`hold` lets nothing pass until `release`, and loses nothing; `refuse` ends what is open and takes nothing new.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from chaos.history import WireCut

_SLICE = 65_536


class Relay:
    """One link. `port` is where the gateway connects."""

    def __init__(self, link: str, target: int, seen: Callable[[WireCut], None]) -> None:
        self.link, self._target, self._seen = link, target, seen
        self.port = 0
        self._armed: dict[str, list[int]] = {"out": [], "back": []}
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._refuses = False
        self._far: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def cut(self, direction: str, count: int) -> None:
        """Cut after `count` more bytes of `direction` (`out` of the gateway, or `back`)."""
        self._armed[direction].append(count)

    def calm(self) -> None:
        """Cut nothing more."""
        for armed in self._armed.values():
            armed.clear()
        self.release()

    def ports(self) -> list[int]:
        """Of the open connections, as the counterpart sees them."""
        names = [far.get_extra_info("sockname") for far in self._far]
        return [name[1] for name in names if name]

    def hold(self) -> None:
        """Nothing passes, nothing is closed: as a network that swallows packets."""
        self._flows.clear()

    def refuse(self) -> None:
        """Nothing is there any more."""
        self._refuses = True
        for task in list(self._open):
            task.cancel()

    def release(self) -> None:
        """All passes again, what was held too."""
        self._refuses = False
        self._flows.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        far: asyncio.StreamWriter | None = None
        try:
            if self._refuses:
                return
            await self._flows.wait()
            answers, far = await asyncio.open_connection("127.0.0.1", self._target)
            self._far.add(far)
            ways = [
                asyncio.create_task(self._copy(reader, far, "out")),
                asyncio.create_task(self._copy(answers, writer, "back")),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # nobody there, or the end: the gateway sees a closed connection
        finally:
            writer.transport.abort()
            if far is not None:
                self._far.discard(far)
                far.transport.abort()

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: str) -> None:
        """Until the end of the stream, or the armed cut (then both sides are aborted by the caller)."""
        try:
            while data := await source.read(_SLICE):
                await self._flows.wait()
                armed = self._armed[direction]
                if armed and armed[0] < len(data):
                    target.write(data[: armed.pop(0)])
                    await target.drain()
                    await asyncio.sleep(0)  # to the socket, as far as it takes it
                    self._seen(WireCut(time.time(), self.link, direction))
                    return
                if armed:
                    armed[0] -= len(data)
                target.write(data)
                await target.drain()
            if target.can_write_eof():
                target.write_eof()
                await asyncio.sleep(0.5)  # the other way may still carry an answer
        except OSError:
            pass


class Balancer:
    """What stands before several nodes: a connection of the DPI goes to the next one that takes it.

    `ports`: those of the nodes that may be asked. `in_turn`: not the first one each time.
    """

    def __init__(self, ports: Callable[[], Sequence[int]], *, in_turn: bool = True) -> None:
        self._ports, self._turn, self._step = ports, 0, int(in_turn)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on loopback."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Cut everything."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        far: asyncio.StreamWriter | None = None
        try:
            found = await self._next()
            if found is None:
                return
            answers, far = found
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_pass(reader, far))
                ways.create_task(_pass(answers, writer))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass  # one side was cut: so is the other
        finally:
            writer.transport.abort()
            if far is not None:
                far.transport.abort()

    async def _next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        self._turn += self._step
        ports = self._ports()
        for n in range(len(ports)):
            try:
                return await asyncio.open_connection("127.0.0.1", ports[(self._turn + n) % len(ports)])
            except OSError:
                continue
        return None


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    """Until the end of the stream, which is passed on; `OSError` when it is cut."""
    while data := await source.read(_SLICE):
        target.write(data)
        await target.drain()
    if target.can_write_eof():
        target.write_eof()
