"""What the controls of all simulators share: plain HTTP on loopback for tests in any language.

Purpose: an application with reset, down and up, that a web page of the user's browser cannot reach.
Guarantee: Host must be loopback; a request that a browser makes for a page (Origin, Sec-Fetch-Site) is refused, for a
form of any site may post without a body.
Fails: 403 for a web page, 400 for another Host, 415 or 422 for a body that is no JSON object; `OSError` at the start
when the port is taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.middleware.trustedhost import TrustedHostMiddleware

LOOPBACK = "127.0.0.1"


class Switched(Protocol):
    """A simulator that can forget what happened and be out of reach."""

    def reset(self) -> None: ...

    async def down(self) -> None: ...

    async def up(self) -> None: ...


def control(simulator: Switched) -> FastAPI:
    """The application, with what every simulator has; its own routes are added by the caller."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[LOOPBACK, "localhost"])

    @app.middleware("http")
    async def _no_page(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        if "origin" in request.headers or "sec-fetch-site" in request.headers:
            return Response("not for web pages", status_code=403)
        return await call_next(request)

    @app.post("/reset", status_code=204)
    async def reset() -> Response:
        simulator.reset()
        return Response(status_code=204)

    @app.post("/down", status_code=204)
    async def down() -> Response:
        await simulator.down()
        return Response(status_code=204)

    @app.post("/up", status_code=204)
    async def up() -> Response:
        await simulator.up()
        return Response(status_code=204)

    return app


async def json_table(request: Request) -> Mapping[str, Any]:
    """A JSON object, and said to be one: a form of another site cannot say so. 415 or 422 otherwise."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "Content-Type: application/json expected")
    try:
        body = await request.json()
    except ValueError:
        raise HTTPException(422, "JSON expected") from None
    if not isinstance(body, dict):
        raise HTTPException(422, "a JSON object expected")
    return body


class _Server(uvicorn.Server):
    """A server that leaves signals to its host."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ControlServer:
    """A control's listener on loopback. Port 0: any free one."""

    def __init__(self, app: FastAPI, port: int) -> None:
        self.port = port
        self._app = app
        self._running: tuple[_Server, asyncio.Task[None]] | None = None

    async def start(self) -> None:
        """Listen."""
        listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((LOOPBACK, self.port))
        except OSError as e:
            listening.close()
            raise OSError(e.errno, f"control, port {self.port}: {e.strerror}") from e
        listening.listen()
        self.port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=1,
        )
        server = _Server(config)
        self._running = server, asyncio.create_task(server.serve(sockets=[listening]), name="control")

    async def stop(self) -> None:
        """Close the socket."""
        running, self._running = self._running, None
        if running is not None:
            running[0].should_exit = True
            await running[1]
