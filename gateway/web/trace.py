"""The trace of accesses: the page `/trace` and its download `/trace.csv`.

Guarantee: for administrators; no patient data is in the trace. At most `CSV_ROWS` rows in a download, the last ones.
Fails: 422 for a date that is none.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Protocol
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from gateway.accounts.desk import Desk
from gateway.accounts.trace import FAR
from gateway.rights import Right
from gateway.web.guard import Guard
from gateway.web.numbers import LAST
from gateway.web.wording import PARIS, time

PAGE_ROWS = 100
CSV_ROWS = 50_000
ACTIONS = {
    "account-created": "compte créé",
    "account-disabled": "compte désactivé",
    "account-enabled": "compte réactivé",
    "account-unlocked": "compte débloqué",
    "access-refused": "accès refusé",
    "address-locked": "adresse bloquée",
    "csrf-refused": "formulaire refusé",
    "explain": "liste d’un indicateur vue",
    "indicators.explain": "liste d’un indicateur lue par un programme",
    "indicators.publish": "indicateurs publiés",
    "refresh": "indicateurs recalculés",
    "first-link": "lien du premier administrateur",
    "link-made": "lien à usage unique créé",
    "link-used": "lien à usage unique utilisé",
    "login": "connexion",
    "login-failed": "échec de connexion",
    "login-locked": "identifiant bloqué",
    "logout": "déconnexion",
    "oidc-failed": "échec de connexion externe",
    "origin-refused": "demande d’un autre site refusée",
    "password-changed": "mot de passe changé",
    "role-changed": "rôle changé",
    "sessions-closed": "sessions fermées",
    "subject-changed": "identifiant externe changé",
    "trace-trimmed": "lignes anciennes de la trace supprimées",
    "token-created": "jeton créé",
    "token-revoked": "jeton révoqué",
    "token-unknown": "jeton inconnu",
    "delivery-hold": "envoi retenu",
    "delivery-release": "envoi libéré",
    "delivery-retry": "envoi relancé",
    "delivery-cancel": "envoi annulé",
    "mail-retry": "courriel traité de nouveau",
    "mail-seen": "courriel vu",
}
DETAILS = {
    "after": "après",
    "before": "avant",
    "days": "jours",
    "external": "identifiant externe",
    "format": "forme",
    "how": "par",
    "id": "n°",
    "kind": "lien",
    "members": "lignes",
    "method": "méthode",
    "month": "mois",
    "number": "nombre",
    "role": "rôle",
    "row": "ligne",
    "scopes": "portées",
    "seconds": "secondes",
}
VALUES = {
    "external": "service d’identité",
    "first": "premier administrateur",
    "link": "lien à usage unique",
    "new": "nouveau compte",
    "password": "mot de passe",
    "password-changed": "changement de mot de passe",
    "reset": "nouveau mot de passe",
}
VIAS = {"session": "session", "token": "jeton", "command": "ligne de commande", "": "—"}
Text = Annotated[str, Query(max_length=100)]


class TraceView(Protocol):
    """What this page asks of a running gateway."""

    guard: Guard
    desk: Desk


def words(action: str) -> str:
    """An action in French."""
    return ACTIONS.get(action, action)


def create_router(gateway: TraceView, pages: Environment) -> APIRouter:
    """The router for one running gateway."""
    router = APIRouter()
    may = gateway.guard.page(Right.ADMINISTER)
    pages.filters |= {"acte": words, "voie": lambda via: VIAS.get(via, via), "details": _details}

    @router.get("/trace", response_class=HTMLResponse)
    async def page(
        request: Request,
        acteur: Text = "",
        action: Text = "",
        du: date | None = None,
        au: date | None = None,
        avant: Annotated[int, Query(ge=0, le=LAST)] = 0,
    ) -> HTMLResponse:
        """The last rows that the filter lets through."""
        caller = await may(request)
        trace = gateway.desk.trace
        rows = await trace.rows(
            before=avant, actor=acteur, action=action, since=_begin(du), until=_end(au), limit=PAGE_ROWS + 1
        )
        asked = {k: str(v) for k, v in (("acteur", acteur), ("action", action), ("du", du), ("au", au)) if v}
        more = rows[PAGE_ROWS - 1]["id"] if len(rows) > PAGE_ROWS else None
        html = pages.get_template("trace.html").render(
            caller=caller,
            rows=rows[:PAGE_ROWS],
            asked=asked,
            actions=sorted(await trace.actions(), key=words),
            older="" if more is None else urlencode(asked | {"avant": str(more)}),
            query=urlencode(asked),
        )
        return HTMLResponse(html)

    @router.get("/trace.csv")
    async def table(
        request: Request,
        acteur: Text = "",
        action: Text = "",
        du: date | None = None,
        au: date | None = None,
    ) -> Response:
        """The same as a table for a spreadsheet."""
        await may(request)
        rows = await gateway.desk.trace.rows(
            actor=acteur, action=action, since=_begin(du), until=_end(au), limit=CSV_ROWS
        )
        content = await asyncio.to_thread(_csv, rows)
        headers = {"Content-Disposition": 'attachment; filename="trace.csv"'}
        return Response(content, media_type="text/csv; charset=utf-8", headers=headers)

    return router


def _details(details: dict[str, Any]) -> str:
    """`rôle : lecteur, identifiant externe : non`."""
    return ", ".join(f"{DETAILS.get(k, k)} : {_value(v)}" for k, v in details.items())


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "oui" if value else "non"
    if isinstance(value, str):
        return VALUES.get(value, value)
    if isinstance(value, list):
        return " ".join(map(_value, value))
    return "—" if value is None else f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _csv(rows: list[dict[str, Any]]) -> str:
    out = io.StringIO()
    write = csv.writer(out, delimiter=";", lineterminator="\r\n")
    write.writerow(("n°", "date (Paris)", "acteur", "voie", "action", "objet", "détails", "adresse"))
    for r in rows:
        cells = (r["id"], time(r["at"]), r["actor"], r["via"], r["action"], r["subject"])
        write.writerow([_plain(c) for c in (*cells, _details(r["details"]), r["peer"])])
    return "\N{BYTE ORDER MARK}" + out.getvalue()


def _plain(cell: Any) -> Any:
    """No spreadsheet takes it for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


def _begin(day: date | None) -> float:
    return 0.0 if day is None else _midnight(day)


def _end(day: date | None) -> float:
    return FAR if day is None or day == date.max else _midnight(day + timedelta(days=1))


def _midnight(day: date) -> float:
    try:
        return datetime(day.year, day.month, day.day, tzinfo=PARIS).timestamp()
    except (OverflowError, ValueError):  # the first or the last day that there is
        return 0.0
