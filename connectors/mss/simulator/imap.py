"""The IMAP4rev1 listener of the simulated operator: the mailboxes read by any client, with IDLE.

Purpose: each connection is one session (`imap_session`) over the store, in the current event loop.
Fails: `OSError` when the port is taken. Decision 17 says why it is our own.
"""

from __future__ import annotations

import asyncio
import ssl

from connectors.mss.simulator.imap_session import Accounts, Session
from connectors.mss.simulator.imap_syntax import MAX_LINE, Closed


class ImapServer:
    """The listener. `tls`: none, starttls or implicit."""

    def __init__(
        self, accounts: Accounts, host: str, port: int, tls: str, context: ssl.SSLContext | None
    ) -> None:
        self.host, self.port = host, port
        self.tls, self.context = tls, context
        self.accounts = accounts
        self._server: asyncio.Server | None = None
        self._sessions: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def start(self) -> None:
        """Listen; the port is known afterwards."""
        implicit = self.context if self.tls == "implicit" else None
        self._server = await asyncio.start_server(
            self._serve, self.host, self.port, ssl=implicit, limit=2 * MAX_LINE
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.cut()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    def cut(self) -> None:
        """Cut every connection."""
        for task, writer in self._sessions.items():
            writer.transport.abort()
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._sessions[task] = writer
        session = Session(self.accounts, reader, writer, self.tls, self.context)
        try:
            await session.run()
        except (Closed, OSError, asyncio.CancelledError):
            pass
        finally:
            session.leave()
            del self._sessions[task]
            writer.close()
