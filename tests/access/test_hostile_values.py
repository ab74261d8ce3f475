"""Every value of an address that a route reads, hostile: refused in French, never a failure, on both databases.

The routes are the application's own: one that is added is tried too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import httpx

from tests.access.people import Browser, browser, first, gateway
from tests.access.test_forms import all_routes
from tests.exchange.harness import Running, submit

NUMBERS = (
    "0", "-1", str(2**31), str(2**63 - 1), str(2**63), str(2**64), "-" + str(2**63 + 1), "1" * 400, "1e3", "1.5",
    "1_000", "0x10", "+1", "١٢", "²", "nan", "", " ", "\0", "1\0", "..", "../..", "%00", "1;DROP", "1" * 5000,
)  # fmt: skip
TEXTS = (
    "\0",
    "a\0b",
    "..",
    "../../etc/passwd",
    "\ud7ff\U0010ffff",
    "x" * 5000,
    "'; --",
    "%",
    "\r\nX: y",
    "²",
)
NORMAL = {
    "finess": "750000001", "etablissement": "750000001", "month": "2025-02", "mois": "2025-02", "indicator": "ALI-1",
    "indicateur": "ALI-1", "deed": "hold", "delivery_id": "1", "mail_id": "1", "token_id": "1", "login": "camille",
    "control_id": "M1",
}  # fmt: skip
"""Other parameters, so that a request gets as far as the one that is tried."""
MUST_REFUSE = (str(2**63), str(2**64), "-1", "١٢", "1e3", "1" * 400, "\0", "..")
"""No route takes these for a number that it knows."""


class Tried(NamedTuple):
    """A parameter of a route."""

    method: str
    path: str
    name: str
    place: str
    number: bool
    needed: tuple[str, ...]


def parameters(r: Running) -> Iterator[Tried]:
    """Every parameter in the path or in the query of every route."""
    for route in all_routes(r):
        dependant = getattr(route, "dependant", None)
        if dependant is None:
            continue
        (method,) = route.methods - {"HEAD"}
        queries = tuple(f.alias for f in dependant.query_params)
        for place, fields in (("path", dependant.path_params), ("query", dependant.query_params)):
            for field in fields:
                number = "int" in str(field.field_info.annotation)
                yield Tried(method, route.path, field.alias, place, number, queries)


def address(one: Tried, value: str) -> tuple[str, dict[str, str]]:
    path, query = one.path, {q: NORMAL[q] for q in one.needed if q in NORMAL}
    if one.place == "query":
        query[one.name] = value
    for name, normal in NORMAL.items():
        told = quote(value, safe="") if (one.place, one.name) == ("path", name) else normal
        path = path.replace(f"{{{name}}}", told)
    assert "{" not in path, path
    return path, query


async def sent(one: Browser, tried: Tried, csrf: str, value: str) -> httpx.Response:
    path, query = address(tried, value)
    if tried.method == "GET":
        return await one.http.get(path, params=query)
    if path.startswith("/api/"):
        body = {"reason": "essai"} if "deliveries" in path or "mails" in path else {}
        return await one.http.post(path, params=query, json=body, headers={"X-CSRF-Token": csrf})
    return await one.http.post(path, params=query, data={"csrf": csrf})


def sentence(answer: httpx.Response) -> str:
    """What a refusal says."""
    if answer.headers["content-type"].startswith("application/json"):
        told = answer.json()
        return str(told["error"]["message"] if "error" in told else told["detail"])
    return answer.text


async def test_no_value_of_an_address_is_a_failure(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        await first(r, one)
        assert (await r.send(submit("M1"))).code == "AA"
        csrf = await one.csrf("/compte")
        found = list(parameters(r))
        assert {p.name for p in found if p.number} >= {
            "delivery_id", "mail_id", "token_id", "limit", "after", "before", "days", "avant", "revision", "page"
        }  # fmt: skip
        failed, english = [], []
        for tried in found:
            for value in NUMBERS + (() if tried.number else TEXTS):
                answer = await sent(one, tried, csrf, value)
                what = (tried.method, tried.path, tried.name, value[:30], answer.status_code)
                if answer.status_code >= 500:
                    failed.append(what)
                if tried.number and value in MUST_REFUSE and answer.status_code not in (404, 422):
                    failed.append(what)
                if answer.status_code in (404, 422):
                    words = sentence(answer)
                    if "Input should" in words or "Not Found" in words or not words.strip():
                        english.append(what)
                    if len(value) > 3 and value in words and answer.status_code == 422:
                        english.append((*what, "echoed"))
        assert not failed, json.dumps(failed, indent=1)
        assert not english, json.dumps(english, indent=1)


async def test_what_is_not_there_is_said_in_french(tmp_path: Path) -> None:
    async with gateway(tmp_path) as r, browser(r) as one:
        page = await one.get("/nulle-part")
        assert page.status_code == 404 and "n’existe pas" in page.text and '<html lang="fr">' in page.text
        program = await one.get("/api/v1/nulle-part")
        assert program.json() == {"error": {"code": "NOT_FOUND", "message": "Cette page n’existe pas."}}
        other = await one.http.post("/healthz", headers={"Content-Length": "0"})
        assert other.status_code == 405 and other.headers["allow"] == "GET" and "n’accepte pas" in other.text
        await first(r, one)
        for path in ("/api/v1/messages/inconnu", "/api/v1/deliveries/7"):
            found = await one.get(path)
            assert found.status_code == 404 and found.json()["error"]["code"] == "UNKNOWN"
        wrong = await one.get("/api/v1/deliveries?limit=beaucoup&after=-1")
        assert wrong.json()["error"] == {"code": "INVALID", "message": "Valeur incorrecte : after, limit."}
