"""`/valider` and `POST /api/v1/validate`: the report of a message or of a document, nothing sent.

Purpose: the report of `segur-gateway validate` as a page in French and as an API, with the layers of the running
gateway.

Guarantee: nothing is stored nor logged; the page shows a user the text that they gave, and nothing else. No state is
changed, so a forged request gains nothing. Bodies are bounded (`listener.max_message_bytes`), held in memory only,
few at a time, and worked on within the gateway's memory for documents.
Fails: 413 for a body that is too long, 400 for one that is not what the form sends, 422 for a wrong option,
503 when others are being validated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Protocol, cast

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment
from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from gateway import __version__
from gateway.errors import Overload, Severity
from gateway.hl7.transmission import Action
from gateway.rights import Right
from gateway.rules import Preset, megabytes
from gateway.validation import words
from gateway.validation.marked import blocks
from gateway.validation.overrides import DESTINATIONS, Options
from gateway.validation.report import Report, Unit
from gateway.validation.source import pasted
from gateway.validation.validator import Validator
from gateway.web.guard import Caller, Guard

AT_ONCE = 2
"""Validations under way: each may hold a document of the largest size."""
RETRY = {"Retry-After": "5"}
"""Seconds, to a program that came when there was no place."""
BODY_SECONDS = 120.0
"""A body must have come by then."""
FORM_BYTES = 20_000
"""What a form adds to the file."""
CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_TOO_LONG = "Le fichier dépasse la taille maximale acceptée ({limit} Mo)."
_BUSY = "D’autres validations sont en cours : réessayez dans un instant."
_NOTHING = "Choisissez un fichier, ou collez un texte."
_FORM = "Le formulaire reçu est illisible : rechargez la page et recommencez."
_LATE = "Le fichier n’est pas arrivé à temps : réessayez."

Destinations = Literal["dmp", "mss", "dmp,mss", "mss,dmp"]


class Asked(BaseModel):
    """The query parameters of the API."""

    action: Action | None = None
    destinations: Destinations | None = None
    processing: Literal["P", "T", "D"] | None = None
    conformance: Preset | None = None


class ValidationView(Protocol):
    """What this page asks of a running gateway."""

    guard: Guard

    @property
    def validators(self) -> Mapping[Preset, Validator]:
        """One for each preset of severities."""
        ...

    def work(self, size: int) -> AbstractAsyncContextManager[None]:
        """Around the work on `size` bytes: the gateway's memory for documents. Raises `Overload`."""
        ...

    @property
    def preset(self) -> Preset:
        """The gateway's own."""
        ...


class _Refused(Exception):
    """A request that is not worked on: status and French sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


class _InMemory(MultiPartParser):
    """A patient's document is never spooled to a temporary file."""

    spool_max_size = 0


@dataclass(slots=True)
class _Room:
    """How many validations are under way."""

    taken: int = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        if self.taken >= AT_ONCE:
            raise _Refused(503, _BUSY)
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def create_router(gateway: ValidationView, pages: Environment) -> APIRouter:
    """The routes; `pages` has the templates and their filters."""
    router = APIRouter()
    room = _Room()
    see, call = gateway.guard.open_page(Right.OPERATE), gateway.guard.open_api(Right.OPERATE)
    pages.filters |= {
        "couche": words.layer,
        "etat_couche": words.STATES.__getitem__,
        "mo": megabytes,
        "ou": words.where,
        "codes": words.codes,
    }

    def page(status: int = 200, **context: Any) -> HTMLResponse:
        values: dict[str, Any] = {
            "version": __version__,
            "own": gateway.preset,
            "chosen": {},
            "result": None,
            "problem": None,
            "limit": gateway.validators[gateway.preset].max_message_bytes,
        }
        html = pages.get_template("validation.html").render(values | context)
        return HTMLResponse(html, status, headers={"Content-Security-Policy": CSP})

    def render(report: Report, preset: Preset, chosen: dict[str, str], caller: Caller | None) -> HTMLResponse:
        return page(result=_shown(report, preset, gateway), chosen=chosen, caller=caller)

    @router.get("/valider", response_class=HTMLResponse)
    async def form(request: Request) -> HTMLResponse:
        """The empty form."""
        return page(caller=await see(request))

    @router.post("/valider", response_class=HTMLResponse)
    async def result(request: Request) -> HTMLResponse:
        """The report of the file or text of the form."""
        caller = await see(request)
        chosen: dict[str, str] = {}
        try:
            with room.place():
                content, name, chosen = await _read_form(request, gateway)
                preset = cast(Preset, chosen["conformance"] or gateway.preset)
                async with gateway.work(len(content)):
                    report = await gateway.validators[preset].validate(content, _options(chosen), name)
                    return await asyncio.to_thread(render, report, preset, chosen, caller)
        except _Refused as e:
            return page(e.status, problem=e.sentence, chosen=chosen, caller=caller)
        except Overload:
            return page(503, problem=_BUSY, chosen=chosen, caller=caller)

    @router.post("/api/v1/validate")
    async def validate(request: Request, asked: Annotated[Asked, Query()]) -> dict[str, Any]:
        """The report of the body (the bytes of a file) as JSON."""
        await call(request)
        if set(request.query_params) - set(Asked.model_fields):
            known = ", ".join(Asked.model_fields)
            raise HTTPException(422, f"Paramètre inconnu (paramètres connus : {known}).")
        limit = gateway.validators[gateway.preset].max_message_bytes
        try:
            with room.place():
                async with asyncio.timeout(BODY_SECONDS):
                    content = b"".join([chunk async for chunk in _bounded(request, limit)])
                wanted = None if asked.destinations is None else frozenset(asked.destinations.split(","))
                validator = gateway.validators[asked.conformance or gateway.preset]
                async with gateway.work(len(content)):
                    report = await validator.validate(
                        content, Options(asked.action, wanted, asked.processing)
                    )
                return report.as_json()
        except Overload:
            raise HTTPException(503, _BUSY, RETRY) from None
        except _Refused as e:
            raise HTTPException(e.status, e.sentence, RETRY if e.status == 503 else None) from None
        except TimeoutError:
            raise HTTPException(408, _LATE) from None

    return router


async def _bounded(request: Request, limit: int) -> AsyncGenerator[bytes, None]:
    """The body's pieces; refuses once they are too long in all."""
    size = 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _Refused(413, _TOO_LONG.format(limit=megabytes(limit)))
            yield chunk
    except ClientDisconnect:
        raise _Refused(400, _FORM) from None


async def _read_form(request: Request, gateway: ValidationView) -> tuple[bytes, str | None, dict[str, str]]:
    """(content, name of the file, options as chosen)."""
    limit = gateway.validators[gateway.preset].max_message_bytes
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise _Refused(400, _FORM)
    body = _bounded(request, limit + FORM_BYTES)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            parser = _InMemory(request.headers, body, max_files=1, max_fields=8, max_part_size=limit)
            form = await parser.parse()
    except (MultiPartException, UnicodeDecodeError):
        raise _Refused(400, _FORM) from None
    except TimeoutError:
        raise _Refused(408, _LATE) from None
    chosen = _chosen(form)
    upload, text = form.get("file"), form.get("text")
    if isinstance(upload, UploadFile):
        content = await upload.read()
        if content or upload.filename:
            return content, upload.filename or None, chosen
    if isinstance(text, str) and text.strip():
        return await asyncio.to_thread(pasted, text), None, chosen
    raise _Refused(422, _NOTHING)


def _chosen(form: FormData) -> dict[str, str]:
    """The form's options, only those that it offers."""
    offered = {
        "action": ("", *Action),
        "destinations": ("", *DESTINATIONS, ",".join(DESTINATIONS)),
        "processing": ("", "P", "T", "D"),
        "conformance": ("", "production", "interop"),
    }
    chosen = {}
    for name, values in offered.items():
        value = form.get(name, "")
        if value not in values:
            raise _Refused(422, _FORM)
        chosen[name] = str(value)
    return chosen


def _options(chosen: Mapping[str, str]) -> Options:
    return Options(
        Action(chosen["action"]) if chosen["action"] else None,
        frozenset(chosen["destinations"].split(",")) if chosen["destinations"] else None,
        chosen["processing"] or None,
    )


def _shown(report: Report, preset: Preset, gateway: ValidationView) -> dict[str, Any]:
    """The report as the template reads it."""
    notes = list(report.notes)
    if preset != gateway.preset:
        notes.append(
            "Ce jeu de sévérités n’est pas celui de la passerelle : ses connecteurs et son registre n’ont pas été"
            " interrogés."
        )
    return {
        "headline": words.headline(report),
        "verdict": report.verdict,
        "conformance": report.conformance,
        "file": report.file,
        "notes": notes,
        "units": [_shown_unit(unit) for unit in report.units],
    }


def _shown_unit(unit: Unit) -> dict[str, Any]:
    """One message or document. Assertions of the schematrons stand beside their lines, after the findings."""
    findings = [*unit.findings, *words.assertions(unit)]
    return {
        "headline": words.headline(unit),
        "verdict": unit.verdict,
        "subject": words.subject(unit),
        "checks": unit.checks,
        "families": words.families(unit),
        "missing": words.not_judged(unit.checks),
        "notes": unit.notes,
        "findings": findings,
        "errors": [i for i, f in enumerate(unit.findings) if f.severity is Severity.REJECT],
        "tolerated": [i for i, f in enumerate(unit.findings) if f.severity is Severity.WARN],
        "gaps": list(range(len(unit.findings), len(findings))),
        "blocks": blocks(replace(unit, findings=findings)),
    }
