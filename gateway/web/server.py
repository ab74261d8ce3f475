"""The HTTP server inside the gateway's loop.

Purpose: uvicorn started and stopped with the gateway, on the address that the settings say.
Guarantee: it says that it runs when it accepts connections; requests under way end before it stops.
Fails: `ConfigurationFault` from `start` when the address cannot be had.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import uvicorn

from gateway.errors import ConfigurationFault
from gateway.settings import WebSettings
from gateway.web.connections import Connection


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the gateway's own decide."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebServer:
    """The HTTP server inside the gateway's loop."""

    def __init__(self, app: Any, settings: WebSettings) -> None:
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            lifespan="off",
            http=Connection,
            server_header=False,
            # whoever could name another address would not be locked out by theirs
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=list(settings.trusted_proxies),
        )
        self._server = _Server(config)
        self._socket = None
        self._task: asyncio.Task[None] | None = None
        self._address = (settings.host, settings.port)

    @property
    def port(self) -> int:
        """The port in use."""
        sockets = [s for server in self._server.servers for s in server.sockets]
        return int(sockets[0].getsockname()[1]) if sockets else 0

    async def start(self) -> None:
        """Returns once it accepts connections; `ConfigurationFault` when the address cannot be had."""
        self._task = asyncio.create_task(self._run(), name="web")
        while not self._server.started:
            if self._task.done():
                raise ConfigurationFault(f"web address {self._address[0]}:{self._address[1]} cannot be used")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Finish requests under way."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        # uvicorn calls sys.exit when it cannot bind: that must not end the gateway without a word
        with contextlib.suppress(SystemExit):
            await self._server.serve()
