"""Connections of the web: so many at most, and none that stands there without asking for anything.

Purpose: the listener of messages lives in the same process and needs the same file descriptors: whoever opens
connections to the pages and keeps them must not keep messages out.
Guarantee: `MAX_CONNECTIONS`; a connection whose request (its head) does not come within `HEAD_SECONDS` is closed.
Fails: what is too much is closed without a word.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS: Final = 400
HEAD_SECONDS: Final = 30.0


class Connection(H11Protocol):
    """One of them."""

    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It is there."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.close()
            return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The next request may come."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._patience = self.loop.call_later(HEAD_SECONDS, self._look)

    def _look(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
