"""In French: a value of an address that cannot be read, and a page that is not there.

Purpose: what the framework finds by itself is answered like any other error: JSON `{"error": {"code", "message"}}`
under `/api/`, a page elsewhere.
Guarantee: what was sent is not sent back; the parameter's name is.
Fails: never.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment
from starlette.exceptions import HTTPException

from gateway.web.by_hand import failed
from gateway.web.guarding import Forbidden
from gateway.web.signing import refused

_WORDS: Final = {
    404: "Cette page n’existe pas.",
    405: "Cette adresse n’accepte pas cette forme de demande.",
}


def answer_in_french(app: FastAPI, pages: Environment) -> None:
    """Make the application say in French what the framework says in English."""

    def told(request: Request, status: int, code: str, sentence: str) -> Response:
        if request.url.path.startswith("/api/"):
            return failed(status, code, sentence)
        return refused(pages, Forbidden(sentence, status=status))

    @app.exception_handler(RequestValidationError)
    async def _unreadable(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, RequestValidationError)
        # the names are ours; the values may be anything
        names = sorted({str(e["loc"][1]) for e in fault.errors() if len(e["loc"]) > 1})
        return told(request, 422, "INVALID", f"Valeur incorrecte : {', '.join(names) or 'la demande'}.")

    @app.exception_handler(HTTPException)
    async def _framework(request: Request, fault: Exception) -> Response:
        assert isinstance(fault, HTTPException)
        sentence = _WORDS.get(fault.status_code)
        if sentence is None or fault.detail != HTTPStatus(fault.status_code).phrase:
            return await http_exception_handler(request, fault)
        answer = told(request, fault.status_code, HTTPStatus(fault.status_code).name, sentence)
        answer.headers.update(fault.headers or {})
        return answer
