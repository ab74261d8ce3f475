"""Sockets of the simulator: an application on loopback, with mutual TLS or plain, in the current event loop.

Purpose: uvicorn with what it lacks: the client's certificate given to the application, a server certificate chosen at
each handshake, signals left to the host.
Guarantee: TLS 1.2 with the suites of the DMP, a client certificate of the test authority compulsory.
Fails: `OSError` when the port is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from connectors.dmp.certificates import CIPHERS
from connectors.dmp.simulator.pki import Pki

_BACKLOG = 128


class _Protocol(H11Protocol):
    """Gives the peer's certificate and the transport to the application (uvicorn has no TLS extension)."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        peer = tls.getpeercert(True) if tls is not None else None
        self.app_state = {**self.app_state, "peer": peer, "transport": transport}

    def close_if_idle(self) -> None:
        """Close a kept connection that serves no call."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to its host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Tls:
    """Mutual TLS with the test PKI; `choose` names the certificate of each handshake (None: the usual one)."""

    def __init__(self, pki: Pki, faulty: Mapping[str, str], choose: Callable[[], str | None]) -> None:
        self._pki = pki
        self._choose = choose
        self._faulty = {kind: self._context(name) for kind, name in faulty.items()}

    def options(self) -> dict[str, Any]:
        """For `uvicorn.Config`."""
        return {
            "ssl_keyfile": str(self._pki.key("server")),
            "ssl_certfile": str(self._pki.certificate("server")),
            "ssl_ca_certs": str(self._pki.ca),
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
            "ssl_ciphers": CIPHERS,
        }

    def harden(self, context: ssl.SSLContext) -> None:
        """TLS 1.2 only; the callback runs in every handshake, with or without a server name."""
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.sni_callback = self._chosen

    def _context(self, name: str) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(self._pki.certificate(name), self._pki.key(name))
        return made

    def _chosen(
        self, tls: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext
    ) -> None:
        kind = self._choose()
        if kind is not None:
            tls.context = self._faulty[kind]


class Listener:
    """One address. Port 0: any free one, the same again after `stop` and `start`."""

    def __init__(self, app: FastAPI, host: str, port: int, tls: Tls | None = None) -> None:
        self.host, self.port = host, port
        self._app = app
        self._tls = tls
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen. The socket accepts from here on; requests wait until the server is ready."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # asyncio sets TCP_NODELAY only on sockets that say they are TCP: without it each answer waits 40 ms
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.host, self.port))
        except OSError:
            listening.close()
            raise
        listening.listen(_BACKLOG)
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
            **(self._tls.options() if self._tls else {}),
        )
        config.load()
        if config.ssl is not None and self._tls is not None:
            self._tls.harden(config.ssl)
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="dmp-simulator")

    async def stop(self) -> None:
        """Close the socket and every connection."""
        server, task, self._server, self._task = self._server, self._task, None, None
        if server is not None and task is not None:
            server.should_exit = True
            await task

    def close_idle(self) -> None:
        """Close the kept connections that serve no call."""
        for connection in list(self._server.server_state.connections) if self._server else ():
            if isinstance(connection, _Protocol):
                connection.close_if_idle()

    @property
    def authority(self) -> str:
        """host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
