"""The HTTP API by which the DPI consults a DMP in the name of a professional (AIR): `/api/v1/dmp/`.

Purpose: TD0.2, TD3.1a, TD3.2, TD3.3a, TD3.3b, TD3.3d, and the one call "is there a newer version?".
Guarantee: no call without a known token and its scope; the caller is told every wrong field at once; a patient is
named in bodies only; each call is recorded before the DMP is asked, and again with what came of it (caller, user,
uniqueId, outcome; no patient data); no more than half of the connections to the DMP are taken from deliveries.
Fails: JSON `{"error": {"code", "message", …}}`; 503 when the call cannot be recorded.
Source: spec/dmp.md §1.1, §2.2; EX_AIR-030 (callers are authenticated). Described in docs/dmp-api.md.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from connectors.dmp import api_models as models
from connectors.dmp.api_calls import Calls, Result, WrongCall
from connectors.dmp.api_tokens import Client, TokenFile
from connectors.dmp.consultation import NOT_FOUND
from connectors.dmp.responses import Failure
from connectors.port import Audit, OutcomeClass
from gateway.errors import ConfigurationFault, EnvironmentFault

log = logging.getLogger("connectors.dmp.api")

_STATUS: Final = {
    OutcomeClass.PERMANENT: 409,
    OutcomeClass.TRANSIENT: 503,
    OutcomeClass.CONFIGURATION: 502,
    OutcomeClass.UNCERTAIN: 504,
}
_BEARER = "bearer "
_TRANSACTIONS: Final = {"existence": "TD0.2", "retrieve": "TD3.2", "archive": "TD3.3d"}
"""Of the calls that are not TD3.1a."""


def error(status: int, code: str, message: str, **more: Any) -> JSONResponse:
    """The one shape of an error. `message` is French, for the user."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status, headers)


def _failure(failure: Failure) -> JSONResponse:
    status = 404 if failure.code == NOT_FOUND else _STATUS.get(failure.outcome, 502)
    return error(
        status,
        failure.code,
        failure.label,
        outcome=failure.outcome.value,
        retry=failure.outcome is OutcomeClass.TRANSIENT,
    )


def create_api(calls: Calls, tokens: TokenFile, audit: Audit, max_request: int, concurrent: int) -> FastAPI:
    """The application to mount. `calls` does the work; `audit` records one entry durably."""
    app = FastAPI(title="segur-gateway DMP", docs_url=None, redoc_url=None, openapi_url=None)
    slots = asyncio.Semaphore(concurrent)

    @app.middleware("http")
    async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = _refusal(request, tokens, max_request)
        return refused if refused is not None else await call_next(request)

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, fault: RequestValidationError) -> JSONResponse:
        # names and reasons only: the values may be a patient's
        wrong = [
            {"field": ".".join(str(p) for p in e["loc"] if p != "body"), "reason": e["msg"]}
            for e in fault.errors()
        ]
        return error(422, "INVALID", "La demande est incomplète ou incorrecte.", fields=wrong)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, fault: HTTPException) -> JSONResponse:
        return error(
            fault.status_code, f"HTTP{fault.status_code}", "Cette adresse n'existe pas sous cette forme."
        )

    async def run(
        request: Request, name: str, scope: str, asked: models.Asked, work: Callable[[], Awaitable[Result]]
    ) -> JSONResponse:
        client: Client = request.state.client
        if scope not in client.scopes:
            return error(403, "SCOPE", "Ce jeton n'autorise pas cette demande.")
        entry = {
            "call": name,
            "client": client.name,
            "user": asked.user.id,
            "structure": asked.user.structure,
            "documents": _documents(asked),
            "transaction": _transaction(name, asked),
            "profession": asked.user.roles[0].code,
            "stay": asked.stay.model_dump(exclude_none=True) if asked.stay else None,
            "trigger": asked.trigger,
        }
        try:
            await audit({**entry, "outcome": "asked"})
        except EnvironmentFault:
            return error(503, "AUDIT", "La demande ne peut pas être tracée pour le moment.", retry=True)
        answer, outcome, code, type_code = await _work(slots, work)
        try:
            await audit({**entry, "outcome": outcome, "code": code, **type_code})
        except EnvironmentFault:
            log.critical("outcome of DMP call %s (%s) not recorded", name, outcome)
        log.info("DMP call %s by %s: %s %s", name, client.name, outcome, code)
        return answer

    @app.post("/existence")
    async def existence(request: Request, asked: models.Asked) -> JSONResponse:
        """TD0.2."""
        return await run(request, "existence", "consult", asked, lambda: calls.existence(asked))

    @app.post("/queries/FindDocuments")
    async def find_documents(request: Request, asked: models.DocumentsAsked) -> JSONResponse:
        """TD3.1a."""
        return await run(request, "FindDocuments", "consult", asked, lambda: calls.find_documents(asked))

    @app.post("/queries/FindSubmissionSets")
    async def find_sets(request: Request, asked: models.SetsAsked) -> JSONResponse:
        """TD3.1a."""
        return await run(request, "FindSubmissionSets", "consult", asked, lambda: calls.find_sets(asked))

    def by_names(name: str) -> None:
        @app.post(f"/queries/{name}", name=name)
        async def named(request: Request, asked: models.NamedAsked) -> JSONResponse:
            return await run(request, name, "consult", asked, lambda: calls.named(name, asked))

    def by_uuids(name: str) -> None:
        @app.post(f"/queries/{name}", name=name)
        async def uuids(request: Request, asked: models.UuidsAsked) -> JSONResponse:
            return await run(request, name, "consult", asked, lambda: calls.uuids(name, asked))

    def by_one(name: str) -> None:
        @app.post(f"/queries/{name}", name=name)
        async def one(request: Request, asked: models.OneAsked) -> JSONResponse:
            return await run(request, name, "consult", asked, lambda: calls.one(name, asked))

    for name in ("GetDocuments", "GetDocumentsAndAssociations"):
        by_names(name)
    for name in ("GetAssociations", "GetSubmissionSets"):
        by_uuids(name)
    for name in ("GetRelatedDocuments", "GetSubmissionSetAndContents"):
        by_one(name)

    @app.post("/newest")
    async def newest(request: Request, asked: models.DocumentAsked) -> JSONResponse:
        """Is there a newer version of this document?"""
        return await run(request, "newest", "consult", asked, lambda: calls.newest(asked))

    @app.post("/retrieve")
    async def retrieve(request: Request, asked: models.DocumentAsked) -> JSONResponse:
        """TD3.2."""
        return await run(request, "retrieve", "consult", asked, lambda: calls.retrieve(asked))

    @app.post("/visibility")
    async def visibility(request: Request, asked: models.VisibilityAsked) -> JSONResponse:
        """TD3.3a, TD3.3b."""
        return await run(request, "visibility", "update", asked, lambda: calls.visibility(asked))

    @app.post("/archive")
    async def archive(request: Request, asked: models.ArchiveAsked) -> JSONResponse:
        """TD3.3d."""
        return await run(request, "archive", "update", asked, lambda: calls.archive(asked))

    return app


async def _work(
    slots: asyncio.Semaphore, work: Callable[[], Awaitable[Result]]
) -> tuple[JSONResponse, str, str, dict[str, str]]:
    """(answer, outcome, code, type of the document that was read) of one call."""
    try:
        async with slots:
            made = await work()
    except WrongCall as e:
        wrong = [{"field": e.field, "reason": e.code}]
        return error(422, e.code, e.message, fields=wrong), "refused", e.code, {}
    except Exception as e:
        # our own bug: said without its words, which may quote what was sent
        log.error("DMP call failed: %s", type(e).__name__)
        return error(500, "INTERNAL", "Erreur interne de la passerelle."), "failed", type(e).__name__, {}
    if isinstance(made, Failure):
        return _failure(made), made.outcome.value, made.code, {}
    return await asyncio.to_thread(_json, made), "success", "", _type(made)


def _json(made: Mapping[str, Any]) -> JSONResponse:
    """A document's bytes become base64 here, in a thread."""
    content = made.get("content")
    if isinstance(content, bytes):
        made = {**made, "content": base64.b64encode(content).decode()}
    return JSONResponse(dict(made))


def _type(made: Mapping[str, Any]) -> dict[str, str]:
    """The type of the document that TD3.2 read, for the audit."""
    found = (made.get("document") or {}).get("type") or {}
    return {"type_code": found["code"], "type_system": found["system"]} if found else {}


def _transaction(name: str, asked: models.Asked) -> str:
    """The DMP's name of a call."""
    if isinstance(asked, models.VisibilityAsked):
        # what masks is TD3.3a, what makes visible to the patient TD3.3b
        return "TD3.3a" if asked.hide_from or "professionals" in asked.show_to else "TD3.3b"
    return _TRANSACTIONS.get(name, "TD3.1a")


def _documents(asked: models.Asked) -> list[str]:
    """uniqueIds (or entryUUIDs) of a call, for the audit."""
    named = asked.model_dump(include={"unique_id", "unique_ids", "entry_uuid", "entry_uuids"})
    return [x for v in named.values() if v for x in ([v] if isinstance(v, str) else v)]


def _refusal(request: Request, tokens: TokenFile, max_request: int) -> JSONResponse | None:
    """Token and size, before anything is read."""
    try:
        known = tokens.current()
    except ConfigurationFault as e:
        log.critical("the DMP API is shut: %s", e)
        return error(503, "TOKENS", "L'API n'est pas configurée.")
    given = request.headers.get("authorization", "")
    client = known.find(given[len(_BEARER) :].strip()) if given.lower().startswith(_BEARER) else None
    if client is None:
        log.warning("DMP API: call without a known token")
        return error(401, "TOKEN", "Jeton absent ou inconnu.")
    length = request.headers.get("content-length", "")
    # a body in pieces has no end that was announced, whatever Content-Length says beside it (RFC 9112 §6.3)
    pieces = "transfer-encoding" in request.headers
    if pieces or (request.method == "POST" and not (length.isascii() and length.isdigit())):
        return error(411, "LENGTH", "La longueur de la demande n'est pas annoncée.")
    if length and int(length[:20]) > max_request:
        return error(413, "TOO_LARGE", "La demande est trop longue.")
    request.state.client = client
    return None
