"""The indicator pages alone, over given figures and a guard of one caller, with the headers of the gateway."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, FileSystemLoader, select_autoescape

from gateway.web.api import CSP, HERE
from gateway.web.guard import Guard
from gateway.web.indicator_pages.pages import create_router
from indicators.published import Figures
from tests.web.indicators.hospital import NOW


def site(figures: Figures, guard: Guard) -> FastAPI:
    """The application."""
    app = FastAPI()
    pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=select_autoescape())
    app.mount("/static", StaticFiles(directory=HERE / "static"))

    @app.middleware("http")
    async def _headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = CSP
        return response

    app.include_router(create_router(figures, guard, pages, clock=lambda: NOW))
    return app
