"""A gateway with facts: what the tests of figures share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import httpx

from gateway.access import local_file, read_local
from gateway.journal import facts
from indicators.facts import read
from tests.exchange.harness import Running

FINESS = "750000001"
WEB = {"web": {"enabled": True, "port": 0}}
LDL = "11490-0"


def stay(
    number: int,
    opened: str = "2025-02-03T10:00:00+01:00",
    closed: str = "2025-02-10T11:00:00+01:00",
    **more: Any,
) -> list[dict[str, Any]]:
    """An admission and a discharge."""
    common = {
        "fact": "stay",
        "finess": FINESS,
        "stay": {"authority": "CHU", "value": f"S{number}"},
        "patient": f"p{number}",
        "patient_class": "I",
        "kind": "03",
        **more,
    }
    return [
        {
            **common,
            "fact_id": f"s-{common['finess']}-{number}-{event}",
            "event": event,
            "at": at,
            "movement": {"id": event, "action": "INSERT", "at": at},
        }
        for event, at in (("A01", opened), ("A03", closed))
    ]


def delivery(number: int, at: str = "2025-02-11T09:00:00+01:00", **more: Any) -> dict[str, Any]:
    """A discharge letter of a stay, in the DMP."""
    return {
        "fact_id": f"d-{number}-{at}",
        "fact": "delivery",
        "finess": FINESS,
        "at": at,
        "control_id": f"M{number}",
        "document": {
            "unique_id": f"1.2.{number}.1",
            "set_id": f"1.2.{number}",
            "version": 1,
            "type_code": LDL,
            "type_system": "2.16.840.1.113883.6.1",
        },
        "destination": "dmp",
        "outcome": "success",
        "stay": {"authority": "CHU", "value": f"S{number}"},
        "patient": f"p{number}",
        "ins_qualified": True,
        **more,
    }


async def tell(r: Running, told: Iterable[dict[str, Any]]) -> None:
    """Facts into the journal, as an import puts them there."""
    rows = [facts.row(read(json.dumps(f)), "import") for f in told]
    for start in range(0, len(rows), 500):
        added = await r.gateway.journal.write(
            lambda s, part=rows[start : start + 500]: facts.add_many(s, part)  # type: ignore[misc]
        )
        assert not added.conflicts


class Client:
    """A program that asks the gateway, with the token of the command line unless another one is given."""

    def __init__(self, r: Running, token: str | None = None) -> None:
        self.url = f"http://127.0.0.1:{r.gateway.web_port}"
        if token is None:
            token = read_local(local_file(r.gateway.settings, r.gateway.base_dir)).token
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=120) as client:
            return await client.get(f"/api/v1/indicators{path}")

    async def post(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=120) as client:
            return await client.post(f"/api/v1/indicators{path}")

    async def month(self, query: str) -> dict[str, Any]:
        """The JSON of a month."""
        answer = await self.get(f"?{query}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def row(told: dict[str, Any], indicator: str, **wanted: Any) -> dict[str, Any]:
    """The one row of an answer."""
    found = [
        r for r in told["rows"] if r["indicator"] == indicator and all(r[k] == v for k, v in wanted.items())
    ]
    assert len(found) == 1, f"{indicator} {wanted}: {len(found)}"
    one: dict[str, Any] = found[0]
    return one


def figure(told: dict[str, Any], indicator: str = "ALI-1", **wanted: Any) -> tuple[Any, Any]:
    """Numerator and denominator of a row (by default: of the stays with any document in the DMP)."""
    wanted = wanted or {"document_code": "ALL"}
    found = row(told, indicator, **wanted)
    return found["numerator"], found["denominator"]
