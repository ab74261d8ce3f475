"""The monthly indicators over HTTP: `/api/v1/indicators…`.

Purpose: figures as JSON or CSV, the list behind one, revisions and their differences, trend, catalogue, publication.

Guarantee: nothing without the right (`indicators`; for lists `explain`, and each call is in the trace: who, which row).
Figures hold every fact known when they were asked for, or say that they do not (`stale`). Lists name stays and never a
patient. What is wrong with a request is told in one go.
Fails: JSON `{"error": {"code", "message"}}` in French: 401, 403, 404, 422, 503.
Source: spec/indicators.md §6.6.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Protocol

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from gateway.errors import BadInput, EnvironmentFault
from gateway.web.guard import Caller, Guard, Right
from indicators import export, periods
from indicators.export import FUTURE, NO_FACTS
from indicators.published import Published
from indicators.service import Current, FigureService
from indicators.sheet import Cell

PATIENCE = 20.0
"""Seconds that a request waits for new figures."""
MAX_TREND = 60
_FINESS = re.compile(r"[0-9][0-9AB][0-9]{7}|UNKNOWN")
_SPACE_OFFSET = re.compile(r" (\d\d:?\d\d)$")
Text = Annotated[str, Query(max_length=100)]
Optional = Annotated[str | None, Query(max_length=100)]


class IndicatorView(Protocol):
    """What this router asks of a running gateway."""

    guard: Guard
    figures: FigureService | None


class Wrong(BadInput):
    """A request that cannot be answered."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


async def allowed(gateway: IndicatorView, request: Request, right: Right) -> Caller:
    """The caller, whose right it is: a token, or the session of a page. Raises `Denied`."""
    return await gateway.guard.api(right)(request)


def create_router(gateway: IndicatorView) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter(prefix="/api/v1/indicators")

    def service() -> FigureService:
        if gateway.figures is None:
            raise Wrong(404, "DISABLED", "Les indicateurs sont désactivés ([indicators] enabled).")
        return gateway.figures

    @router.get("")
    async def figures(
        request: Request,
        month: Optional = None,
        finess: Optional = None,
        as_of: Optional = None,
        revision: Optional = None,
        fresh: Optional = None,
        refresh: Optional = None,
        format: Optional = None,
    ) -> Response:
        """The rows of a month."""
        await allowed(gateway, request, Right.INDICATORS)
        wanted = Wanted(month, finess, as_of, revision, format)
        force = _yes(fresh) or _yes(refresh)
        found, reason = await _figures(service(), wanted, force)
        return await _answer(wanted, found, reason)

    @router.post("/publish")
    async def publish(request: Request, month: Optional = None) -> Response:
        """Compute a month now: it is published, or becomes a revision, when it is to."""
        caller = await allowed(gateway, request, Right.OPERATE)
        wanted = Wanted(month)
        await gateway.guard.audit(caller, "indicators.publish", month=wanted.month)
        found, reason = await _figures(service(), wanted, True)
        return await _json(export.summary(wanted.month, found.found, found.stale, reason))

    @router.get("/revisions")
    async def revisions(request: Request, month: Optional = None, finess: Optional = None) -> Response:
        """What was published of a month, the newest first."""
        await allowed(gateway, request, Right.INDICATORS)
        wanted = Wanted(month, finess, finess_needed=True)
        found = await service().revisions(wanted.finess or "", wanted.month)
        return await _json(export.summary(wanted.month, found, False, None if found else NO_FACTS))

    @router.get("/differences")
    async def differences(
        request: Request, month: Optional = None, finess: Optional = None, revision: Optional = None
    ) -> Response:
        """What a revision changed: the newest, or the one named."""
        await allowed(gateway, request, Right.INDICATORS)
        wanted = Wanted(month, finess, revision=revision, finess_needed=True)
        published = await service().revisions(wanted.finess or "", wanted.month)
        one = next((p for p in published if wanted.revision in (None, p.revision)), None)
        if one is None:
            raise Wrong(404, "REVISION", "Ce mois n'a pas de révision publiée de ce numéro.")
        return await _json(export.differences(one))

    @router.get("/trend")
    async def trend(
        request: Request, finess: Optional = None, last: Optional = None, count: Optional = None
    ) -> Response:
        """The same rows over several months, as they are kept."""
        await allowed(gateway, request, Right.INDICATORS)
        number = int(count) if count and count.isascii() and count.isdigit() and len(count) < 4 else 13
        if not 1 <= number <= MAX_TREND:
            raise Wrong(422, "COUNT", f"count : un nombre de 1 à {MAX_TREND} attendu.")
        wanted = Wanted(last or service().this_month(), finess, finess_needed=True)
        found = await service().trend(wanted.finess or "", wanted.month, number)
        months = {m: None if p is None else export.published_dict(p) for m, p in found.items()}
        return await _json({"finess": wanted.finess, "months": months})

    @router.get("/catalogue")
    async def catalogue(request: Request) -> Response:
        """What each indicator is, the document types, the named choices."""
        await allowed(gateway, request, Right.INDICATORS)
        return await _json(export.catalogue_dict(await service().definitions()))

    @router.get("/wave1")
    async def wave1(
        request: Request, month: Optional = None, finess: Optional = None, format: Optional = None
    ) -> Response:
        """TBB-1 alone: the table of the first wave."""
        await allowed(gateway, request, Right.INDICATORS)
        wanted = Wanted(month, finess, format=format)
        found, reason = await _figures(service(), wanted, False)
        return await _answer(wanted, found, reason, "TBB-1")

    @router.get("/explain")
    async def explain(
        request: Request,
        indicator: Text = "",
        month: Optional = None,
        finess: Optional = None,
        as_of: Optional = None,
        revision: Optional = None,
        period: Text = "",
        breakdown_type: Optional = None,
        document_code: Text = "",
        profession: Text = "",
        channel: Text = "",
        stay_kind: Text = "",
        result: Text = "",
    ) -> Response:
        """The list behind a row."""
        caller = await allowed(gateway, request, Right.EXPLAIN)
        wanted = Wanted(month, finess, as_of, revision, finess_needed=True)
        told = (document_code, profession, channel, stay_kind, result)
        cell = Cell(indicator, period or wanted.month, breakdown_type or "", *told)
        one = wanted.finess or ""
        # before anything is shown, and whatever comes of it
        await gateway.guard.audit(
            caller, "indicators.explain", finess=one, month=wanted.month, row=cell._asdict()
        )
        figures = service()
        if wanted.as_of is None and wanted.revision is None:
            rows = (await figures.current(wanted.month, one, within=PATIENCE)).found
        elif wanted.as_of is not None:
            rows = await _past(figures, wanted)
        else:
            rows = [p for p in [await figures.month(one, wanted.month, wanted.revision)] if p is not None]
        if breakdown_type is None:
            # all but the kind of breakdown says which row it is
            known = (r.cell for p in rows for r in p.rows)
            cell = next((c for c in known if c._replace(breakdown="") == cell), cell)
        try:
            if wanted.as_of is not None:
                found = await figures.explain_as_of(one, wanted.month, cell, wanted.as_of)
            else:
                number = rows[0].revision if rows else wanted.revision
                found = await figures.explain(one, wanted.month, cell, number)
        except EnvironmentFault as e:
            raise Wrong(503, "BUSY", f"La liste ne peut pas être faite maintenant : {e}.") from None
        if found is None:
            raise Wrong(404, "ROW", "Aucune ligne de ce mois ne correspond.")
        return await _json(found)

    return router


def refused(fault: Wrong) -> JSONResponse:
    """The one shape of an error."""
    return JSONResponse({"error": {"code": fault.code, "message": str(fault)}}, fault.status)


class Wanted:
    """What was asked for, checked; `Wrong` tells all that is not right."""

    def __init__(
        self,
        month: str | None,
        finess: str | None = None,
        as_of: str | None = None,
        revision: str | None = None,
        format: str | None = None,
        *,
        finess_needed: bool = False,
    ) -> None:
        faults: list[tuple[str, str]] = []
        self.month, self.finess = month or "", finess or None
        self.as_of: datetime | None = None
        self.revision: int | None = None
        self.format = format or "json"
        try:
            periods.month(self.month, "UTC")
        except BadInput:
            faults.append(("MONTH", "month : un mois AAAA-MM attendu, par exemple 2025-02."))
        if self.finess is not None and not _FINESS.fullmatch(self.finess):
            faults.append(("FINESS", "finess : neuf caractères attendus, le FINESS géographique."))
        if finess_needed and self.finess is None:
            faults.append(("FINESS", "finess : obligatoire."))
        if as_of:
            self.as_of = _instant(as_of)
            if self.as_of is None:
                sentence = "as_of : une date avec son décalage attendue, 2025-03-10T00:00:00+01:00."
                faults.append(("AS_OF", sentence))
        if revision:
            if revision.isascii() and revision.isdigit() and len(revision) < 7:
                self.revision = int(revision)
            else:
                faults.append(("REVISION", "revision : un nombre attendu."))
            if as_of:
                faults.append(("REVISION", "revision et as_of ne vont pas ensemble."))
        if self.format not in ("json", "csv"):
            faults.append(("FORMAT", "format : json ou csv attendu."))
        if faults:
            raise Wrong(422, faults[0][0], " ".join(sentence for _, sentence in faults))


def _instant(text: str) -> datetime | None:
    """An instant with its offset; a `+` that was not escaped comes as a space."""
    try:
        moment = datetime.fromisoformat(_SPACE_OFFSET.sub(r"+\1", text.strip()))
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


def _yes(text: str | None) -> bool:
    return text is not None and text.lower() not in ("", "0", "false", "non", "no")


async def _figures(service: FigureService, wanted: Wanted, force: bool) -> tuple[Current, str | None]:
    """(figures, why there are none)."""
    if wanted.month > service.this_month():
        return Current([]), FUTURE
    if wanted.as_of is not None:
        found = Current(await _past(service, wanted))
    elif wanted.revision is not None:
        found = Current(await service.kept(wanted.month, wanted.finess, wanted.revision))
        if not found.found:
            raise Wrong(404, "REVISION", "Ce mois n'a pas de révision de ce numéro.")
    else:
        found = await service.current(wanted.month, wanted.finess, within=PATIENCE, force=force)
        if found.stale and not found.found and service.state() == "failed":
            raise Wrong(503, "FAILED", "Le calcul a échoué ; il sera repris.")
    return found, None if found.found else NO_FACTS


async def _past(service: FigureService, wanted: Wanted) -> list[Published]:
    assert wanted.as_of is not None
    try:
        return await service.as_of(wanted.month, wanted.as_of, wanted.finess)
    except EnvironmentFault as e:
        raise Wrong(503, "BUSY", f"Le calcul n'est pas possible maintenant : {e}.") from None


async def _answer(
    wanted: Wanted, found: Current, reason: str | None, indicator: str | None = None
) -> Response:
    headers = {"X-Segur-Stale": "true"} if found.stale else {}
    rows = [r for p in found.found for r in p.rows if indicator in (None, r.indicator)]
    if wanted.format == "csv":
        name = f"indicateurs-{wanted.finess or 'tous'}-{wanted.month}.csv"
        headers["Content-Disposition"] = f'attachment; filename="{name}"'
        text = await asyncio.to_thread(export.to_csv, rows)
        return Response(text, media_type="text/csv; charset=utf-8", headers=headers)
    return await _json(export.month_dict(wanted.month, found.found, rows, found.stale, reason), headers)


async def _json(told: object, headers: Mapping[str, str] | None = None) -> Response:
    """Thousands of rows are not written in the event loop."""
    return Response(
        await asyncio.to_thread(export.as_json, told), media_type="application/json", headers=headers
    )
