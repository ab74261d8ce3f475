"""The pages of the monthly indicators: `/indicateurs` and what belongs to it, in French.

Purpose: figures of an establishment and month, their trend, the list behind each, what changed between revisions, the
definitions, downloads. Everything is made on the server and works without a script; `static/indicators.js` only opens
in place what is a page of its own.

Guarantee: figures for `Right.INDICATORS` alone, lists of stays for `Right.EXPLAIN` alone and each look at one is in the
trace. No address names a stay or a patient. Rendering happens in a thread: messages do not wait for a page.
Fails: 404 in French for what there is not, 400 for a month that is none.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment

from gateway import __version__
from gateway.errors import EnvironmentFault, JournalUnavailable
from gateway.web.guard import Caller, Guard, Right
from gateway.web.indicator_pages import figures as shown
from gateway.web.indicator_pages import lists, quality, words
from gateway.web.indicator_pages.addresses import ROOT, Asked, cell_of, is_month, shifted
from indicators import export, periods
from indicators.catalogue import default
from indicators.engine import Result
from indicators.explain import Explanation
from indicators.facts import UNKNOWN_FINESS
from indicators.published import Establishment, Figures, Published
from indicators.sheet import Cell

TREND = 13
Text = Annotated[str, Query(max_length=256)]
Revision = Annotated[int | None, Query(ge=0, le=1_000_000)]


class _Absent(Exception):
    """There is nothing to show: a status and a French sentence."""

    def __init__(self, status: int, title: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.title, self.sentence = status, title, sentence


class _Pages:
    """What the routes share."""

    def __init__(self, figures: Figures, pages: Environment, clock: Callable[[], float]) -> None:
        self.figures = figures
        self.pages = pages
        self.catalogue = default()
        self.clock = clock

    async def look(self) -> None:
        """Before each request: the catalogue may be another one."""
        self.catalogue = await self.figures.definitions()

    async def html(self, template: str, caller: Caller, code: int = 200, **values: Any) -> HTMLResponse:
        common = {
            "caller": caller,
            "here": ROOT,
            "version": __version__,
            "w": words,
            "state": self.figures.state(),
            "root": ROOT,
        }
        page = self.pages.get_template(f"indicators/{template}")
        return HTMLResponse(await asyncio.to_thread(page.render, common | values), code)

    def this_month(self, finess: str) -> str:
        zone = periods.zone_of(finess, self.catalogue.time_zones)
        return periods.day_of(self.clock(), zone).isoformat()[:7]

    def status(self, published: Published) -> dict[str, str]:
        """What the head of a page says of the figures."""
        zone = periods.zone_of(published.finess, self.catalogue.time_zones)
        return {
            "cutoff": words.instant(published.cutoff),
            "computed": words.moment(published.computed_at, zone),
            "as_of": words.instant(published.as_of) if published.as_of else "",
            "looked": words.moment(published.looked_at, zone) if published.looked_at else "",
        }

    async def found(self, finess: str, month: str, revision: int | None) -> tuple[Asked, Establishment]:
        """Which establishment and month are meant. Raises `_Absent`."""
        establishments = await self.figures.establishments()
        if not finess:
            known = [e for e in establishments if e.finess != UNKNOWN_FINESS] or establishments
            if not known:
                raise _Absent(200, "Aucun chiffre pour l’instant", "")
            finess = known[0].finess
        named = next((e for e in establishments if e.finess == finess), None)
        if named is None:
            raise _Absent(
                404,
                "Établissement inconnu",
                f"Aucun fait n’est rattaché à l’établissement « {finess[:20]} ».",
            )
        if month and not is_month(month):
            raise _Absent(400, "Mois illisible", "Un mois s’écrit AAAA-MM, par exemple 2025-02.")
        if not month:
            months = await self.figures.months(finess)
            month = months[0] if months else self.this_month(finess)
        return Asked(finess, month, revision), named

    async def published(self, asked: Asked) -> Published:
        found = await self.figures.month(asked.finess, asked.month, asked.revision)
        if found is None:
            raise _Absent(404, "Pas de chiffres", self.why_none(asked))
        return found

    async def explained(self, asked: Asked, cell: Cell) -> Explanation | None:
        try:
            return await self.figures.explain(asked.finess, asked.month, cell, asked.revision)
        except JournalUnavailable:
            raise
        except EnvironmentFault:
            sentence = "La liste ne peut pas être faite maintenant : réessayez dans un instant."
            raise _Absent(503, "Calcul occupé", sentence) from None

    def why_none(self, asked: Asked) -> str:
        name = words.month(asked.month)
        if asked.month > self.this_month(asked.finess):
            return f"Le mois {words.of(name)} n’est pas commencé."
        if asked.revision is not None:
            return f"Il n’y a pas de révision {asked.revision} {words.of(name)}."
        return f"Aucun chiffre n’est calculé pour {name} dans cet établissement."


def create_router(
    figures: Figures,
    guard: Guard,
    pages: Environment,
    clock: Callable[[], float] = time.time,
) -> APIRouter:
    """The routes over the figures of one running gateway."""
    p = _Pages(figures, pages, clock)
    router = APIRouter(prefix=ROOT, dependencies=[Depends(p.look)])
    reader = Depends(guard.page(Right.INDICATORS))
    explainer = Depends(guard.page(Right.EXPLAIN))
    operator = Depends(guard.form(Right.OPERATE))

    async def absent(caller: Caller, fault: _Absent, finess: str = "", month: str = "") -> Response:
        establishments = await figures.establishments()
        known = next((e for e in establishments if finess in ("", e.finess)), None)
        finess = known.finess if known else finess
        months = await figures.months(finess) if known else []
        return await p.html(
            "absent.html",
            caller,
            fault.status,
            title=fault.title,
            sentence=fault.sentence,
            establishments=establishments,
            establishment=known,
            months=months,
            asked=Asked(finess, month) if known and is_month(month) else None,
        )

    @router.get("", response_class=HTMLResponse)
    async def month_page(
        caller: Caller = reader,
        etablissement: Text = "",
        mois: Text = "",
        revision: Revision = None,
        vue: Text = "",
        courbe: Text = "",
        lignes: Text = "",
    ) -> Response:
        """Figures of a month: by family, or as a table (`vue=tableau`)."""
        try:
            asked, establishment = await p.found(etablissement, mois, revision)
            published = await p.published(asked)
        except _Absent as fault:
            return await absent(caller, fault, etablissement, mois)
        asked = Asked(
            asked.finess,
            asked.month,
            asked.revision,
            "tableau" if vue == "tableau" else "",
            courbe,
            lignes == "toutes",
        )
        establishments = await figures.establishments()
        values: dict[str, Any] = {
            "asked": asked,
            "published": published,
            "status": p.status(published),
            "establishment": establishment,
            "establishments": establishments,
            "months": await figures.months(asked.finess),
            "before": shifted(asked.month, -1),
            "after": shifted(asked.month, 1),
            "points": quality.points(published, establishments, p.catalogue),
        }
        if asked.view:
            rows, left = await asyncio.to_thread(shown.table, published, asked, p.catalogue)
            return await p.html("table.html", caller, rows=rows, left=left, **values)
        months = await figures.trend(asked.finess, asked.month, TREND)
        values["trend"] = await asyncio.to_thread(shown.trend, published, months, asked, p.catalogue)
        values["families"] = await asyncio.to_thread(shown.families, published, asked, p.catalogue)
        return await p.html("month.html", caller, **values)

    @router.get("/explication", response_class=HTMLResponse)
    async def explanation(
        request: Request,
        caller: Caller = explainer,
        etablissement: Text = "",
        mois: Text = "",
        revision: Revision = None,
        filtre: Text = "",
        page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
        format: Text = "",
        fragment: Text = "",
    ) -> Response:
        """The list behind a row: a page, the inside of the drawer (`fragment=1`), or a file (`format=csv`)."""
        cell = cell_of(request.query_params)
        try:
            asked, establishment = await p.found(etablissement, mois, revision)
            found = await p.explained(asked, cell)
            if found is None:
                raise _Absent(
                    404, "Pas de liste", "Il n’y a pas de ligne de ce nom dans les chiffres du mois."
                )
        except _Absent as fault:
            return await absent(caller, fault, etablissement, mois)
        await guard.audit(
            caller,
            "explain",
            f"{cell.indicator} {asked.finess} {asked.month}",
            row="/".join(filter(None, cell[1:])),
            members=len(found.members),
            format="csv" if format == "csv" else "page",
        )
        if format == "csv":
            text = await asyncio.to_thread(lists.to_csv, found)
            parts = [
                "liste",
                cell.indicator,
                asked.finess,
                asked.month,
                cell.code,
                cell.profession,
                cell.kind,
            ]
            # read by people, in spreadsheets: the mark at the beginning says that it is UTF-8
            return _file(text, "-".join(filter(None, parts)) + ".csv", "text/csv", "utf-8-sig")
        listing = await asyncio.to_thread(lists.listing, found, p.catalogue, filtre, page)
        return await p.html(
            "explanation_part.html" if fragment else "explanation.html",
            caller,
            asked=asked,
            establishment=establishment,
            found=found,
            figure=shown.figure(found.row, asked, p.catalogue),
            listing=listing,
            fragment=bool(fragment),
            link=lambda **more: asked.explanation(found.row, **more),
        )

    @router.get("/telecharger")
    async def download(
        caller: Caller = reader,
        etablissement: Text = "",
        mois: Text = "",
        revision: Revision = None,
        format: Text = "csv",
    ) -> Response:
        """The published rows as a file, in the published formats."""
        try:
            asked, _ = await p.found(etablissement, mois, revision)
            published = await p.published(asked)
        except _Absent as fault:
            return await absent(caller, fault, etablissement, mois)
        tail = "provisoire" if published.provisional else f"r{published.revision}"
        name = f"indicateurs-{published.finess}-{published.month}-{tail}"
        if format == "json":
            result = Result(published.month, published.catalogue_version, published.rows, [published.quality])
            return _file(await asyncio.to_thread(export.to_json, result), f"{name}.json", "application/json")
        return _file(await asyncio.to_thread(export.to_csv, published.rows), f"{name}.csv", "text/csv")

    @router.get("/revisions", response_class=HTMLResponse)
    async def revisions(
        caller: Caller = reader, etablissement: Text = "", mois: Text = "", revision: Revision = None
    ) -> Response:
        """What was published of a month, and what changed each time."""
        try:
            asked, establishment = await p.found(etablissement, mois, revision)
            await p.published(asked)
        except _Absent as fault:
            return await absent(caller, fault, etablissement, mois)
        told = [(r, p.status(r)) for r in await figures.revisions(asked.finess, asked.month)]
        return await p.html(
            "revisions.html", caller, asked=asked, establishment=establishment, revisions=told
        )

    @router.get("/definitions", response_class=HTMLResponse)
    async def definitions(caller: Caller = reader) -> Response:
        """What each indicator counts, the types of documents, the named choices: the catalogue."""
        named = [name for _, _, names in words.FAMILIES for name in names]
        others = tuple(name for name in p.catalogue.indicators if name not in named)
        groups = [
            (anchor, title, [p.catalogue.indicators[n] for n in names if n in p.catalogue.indicators])
            for anchor, title, names in (*words.FAMILIES, ("autres", "Autres indicateurs", others))
        ]
        options = [
            (name, _option(getattr(p.catalogue.options, name)), text)
            for name, text in p.catalogue.option_texts.items()
        ]
        return await p.html(
            "definitions.html",
            caller,
            catalogue=p.catalogue,
            groups=[g for g in groups if g[2]],
            options=options,
        )

    @router.post("/recalculer")
    async def compute_again(request: Request, caller: Caller = operator) -> Response:
        """Ask for a new computation of a month; back to its page."""
        # not as parameters: FastAPI would read a form of any size before the guard is asked
        form = await request.form()
        etablissement, mois = str(form.get("etablissement", ""))[:32], str(form.get("mois", ""))
        if not is_month(mois):
            fault = _Absent(400, "Mois illisible", "Un mois s’écrit AAAA-MM, par exemple 2025-02.")
            return await absent(caller, fault, etablissement, mois)
        await guard.audit(caller, "refresh", f"indicators {mois}")
        await figures.refresh(mois)
        return RedirectResponse(Asked(etablissement, mois).url(), status_code=303)

    return router


def _option(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _file(text: str, name: str, media_type: str, encoding: str = "utf-8") -> Response:
    name = re.sub(r"[^A-Za-z0-9._-]", "_", name)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(text.encode(encoding), media_type=f"{media_type}; charset=utf-8", headers=headers)
