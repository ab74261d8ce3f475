"""Facts that others bring: events of the DPI, its users, imports; and that facts stay."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest

from gateway import cli, fact_intake
from gateway.access import local_file, read_local
from gateway.journal.facts import iter_facts
from gateway.journal.maintenance import Place
from gateway.web import facts as web_facts
from indicators import facts as model
from indicators.engine import compute, find
from indicators.world import World
from tests.exchange import harness
from tests.exchange.harness import Running, running, submit
from tests.exchange.test_indicator_facts import EVERY, told, until_told
from tests.hl7.test_adt import adt
from tests.indicators.test_events import EVENT
from tests.official import official
from tests.operations.test_retention import BOTH, old, sweep

WEB = {"enabled": True, "port": 0}
LINES = "application/x-ndjson"


def delivery(number: int, **more: Any) -> dict[str, Any]:
    """A line of the past, as the mission writes it."""
    return {
        "fact_id": f"past-{number}",
        "fact": "delivery",
        "at": "2025-02-10T15:00:00+01:00",
        "finess": "750000001",
        "control_id": f"OLD-{number}",
        "document": {
            "unique_id": f"1.2.3.{number}",
            "set_id": f"1.2.3.{number}",
            "version": 1,
            "type_code": "11490-0",
            "type_system": "2.16.840.1.113883.6.1",
            "date": "2025-02-10",
        },
        "destination": "dmp",
        "recipient": None,
        "outcome": "success",
        "code": None,
        "stay": {"authority": "CHU", "value": f"S{number}"},
        "patient": "opaque",
        "ins_qualified": True,
        "historical": False,
    } | more


def lines(*rows: object) -> bytes:
    return "".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows).encode()


class Desk:
    """Calls with the local token."""

    def __init__(self, r: Running, directory: Path) -> None:
        self.r = r
        self.access = read_local(local_file(r.gateway.settings, directory))

    async def post(
        self, path: str, content: bytes, kind: str = "application/json", token: str | None = None
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {token or self.access.token}", "Content-Type": kind}
        async with httpx.AsyncClient(base_url=self.access.url, headers=headers, timeout=60) as client:
            answer = await client.post(path, content=content)
        return answer.status_code, answer.json()

    async def events(self, *events: object) -> tuple[int, dict[str, Any]]:
        body = events[0] if len(events) == 1 else list(events)
        return await self.post("api/v1/events", json.dumps(body).encode())

    async def facts(self, *rows: object) -> tuple[int, dict[str, Any]]:
        return await self.post("api/v1/facts", lines(*rows), LINES)

    async def ids(self) -> list[str]:
        return [f["fact_id"] for f in await told(self.r)]


@contextlib.asynccontextmanager
async def desk(directory: Path, **tables: Any) -> AsyncIterator[Desk]:
    async with running(directory, **({"web": WEB} | tables)) as r:
        yield Desk(r, directory)


# --- events ---------------------------------------------------------------------------------------------------------


async def test_an_event_is_kept_once_and_a_contradiction_is_refused(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        status, found = await d.events(EVENT)
        assert (status, found["new"], found["known"]) == (200, 1, 0)
        assert found["events"] == [{"position": 1, "event_id": "e-1", "status": "new"}]
        status, found = await d.events(EVENT)
        assert (status, found["new"], found["known"]) == (200, 0, 1)
        status, found = await d.events(EVENT | {"outcome": "failure"})
        assert (status, found["conflicts"]) == (409, 1)
        status, found = await d.events(EVENT | {"outcome": "failure"}, EVENT | {"event_id": "e-2"}, EVENT)
        assert status == 200 and [e["status"] for e in found["events"]] == ["conflict", "new", "known"]
        (first, _second) = await told(d.r)
        assert first["outcome"] == "success" and first["known_at"] > first["at"], "known when it came"


async def test_all_that_is_wrong_with_events_is_told_and_nothing_is_kept(tmp_path: Path) -> None:
    bad = EVENT | {"event_id": "e-3", "transaction": "T3.2", "outcome": "yes", "at": "2025-02-10T10:00:00"}
    async with desk(tmp_path) as d:
        status, found = await d.events(EVENT, bad, 7, {"type": "delivery"})
        assert status == 422 and found["error"]["count"] == 3
        assert [f["position"] for f in found["error"]["faults"]] == [2, 3, 4]
        assert len(found["error"]["faults"][0]["faults"]) == 3
        assert "T3.2" not in json.dumps(found), "no value comes back"
        assert await d.ids() == []
        status, found = await d.post("api/v1/events", b"{", "application/json")
        assert (status, found["error"]["code"]) == (422, "INVALID")
        status, found = await d.post("api/v1/events", lines(EVENT, "{"), LINES)
        assert [f["position"] for f in found["error"]["faults"]] == [2]
        status, found = await d.post("api/v1/events", lines(EVENT, EVENT | {"event_id": "e-2"}), LINES)
        assert (status, found["new"]) == (200, 2)
        status, found = await d.events(*([EVENT] * 1001))
        assert (status, found["error"]["code"]) == (413, "TOO_MANY")
        status, found = await d.post("api/v1/events", b"x" * 600_000)
        assert status == 413
        status, found = await d.post("api/v1/events", lines(EVENT), "text/plain")
        assert status == 415


async def test_a_file_never_takes_the_room_that_messages_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Temporary files may be on the journal's disk, or in memory: at most half of what is free is taken."""
    free = shutil.disk_usage(tempfile.gettempdir()).free
    assert 0 < web_facts.room() <= max(free, 1)
    monkeypatch.setattr(web_facts, "room", lambda: 900)
    async with desk(tmp_path) as d:
        status, found = await d.post("api/v1/facts", lines(delivery(1)), LINES)
        assert (status, found.get("new")) == (200, 1)
        status, found = await d.post("api/v1/facts", lines(*map(delivery, range(9))), LINES)
        assert (status, found["error"]["code"]) == (413, "TOO_LARGE")
        assert await d.ids() == ["past-1"]


async def test_only_who_has_the_right_tells_events_or_imports(tmp_path: Path) -> None:
    token = "t" * 40
    (tmp_path / "tokens.toml").write_text(
        f'[[token]]\nname = "dpi"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\nscopes = ["events"]\n'
    )
    async with desk(tmp_path, web=WEB | {"tokens": "tokens.toml"}) as d:
        body = json.dumps(EVENT).encode()
        assert (await d.post("api/v1/events", body, token="x" * 40))[0] == 401
        assert (await d.post("api/v1/events", body, token=token))[0] == 200
        assert (await d.post("api/v1/facts", lines(delivery(1)), LINES, token=token))[0] == 403
        assert (await d.facts(delivery(1)))[0] == 200


async def test_without_indicators_nothing_is_taken(tmp_path: Path) -> None:
    async with desk(tmp_path, indicators={"enabled": False}) as d:
        status, found = await d.events(EVENT)
        assert (status, found["error"]["code"]) == (409, "OFF")


# --- users ----------------------------------------------------------------------------------------------------------


async def test_users_of_a_month_as_csv(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        path = "api/v1/events/users?finess=971000001&month=2025-02"
        content = "profession;users\nmédecin;120\nsage-femme;8\n".encode()
        assert await d.post(path, content, "text/csv") == (200, {"new": 2, "known": 0})
        assert await d.post(path, content, "text/csv") == (200, {"new": 0, "known": 2})
        found = await told(d.r)
        assert [(f["profession"], f["users"]) for f in found] == [("médecin", 120), ("sage-femme", 8)]
        # the last second of February in Guadeloupe
        assert {f["at"] for f in found} == {"2025-03-01T03:59:59Z"}
        other = content.replace(b"120", b"121")
        status, answer = await d.post(path, other, "text/csv")
        assert (status, answer["error"]["code"]) == (409, "CONFLICT")
        later = "api/v1/events/users?finess=971000001&at=2025-03-05T10:00:00%2B01:00"
        assert (await d.post(later, other, "text/csv"))[0] == 200
        accounts = "profession;rpps;local_id\nmédecin;10000000001;\nmédecin;;u2\n".encode()
        where = "api/v1/events/users?finess=750000001&month=2025-02"
        assert await d.post(where, accounts, "text/csv") == (200, {"new": 2, "known": 0})


async def test_all_that_is_wrong_with_a_census_is_told(tmp_path: Path) -> None:
    content = (
        "profession;users;rpps\nmédecin;x;\n;3;\nmédecin;3;10000000001\nmédecin;4;\nmédecin;5;\n"
        "infirmier;;123\na;1;;9\n"
    )
    path = "api/v1/events/users?finess=750000001&month=2025-02"
    async with desk(tmp_path) as d:
        status, found = await d.post(path, content.encode(), "text/csv")
        assert (status, found["error"]["count"]) == (422, 6)
        assert [f.split(" : ")[0] for f in found["error"]["faults"]] == [
            f"ligne {n}" for n in (2, 3, 4, 6, 7, 8)
        ]
        for wrong, words in (
            ("metier;users\nx;1\n", "colonne(s) inconnue(s)"),
            ("profession;users\n", "aucune ligne"),
            ('profession;users\n"x;1\n', "guillemets"),
        ):
            _status, found = await d.post(path, wrong.encode(), "text/csv")
            assert words in " ".join(found["error"]["faults"])
        _status, found = await d.post(path, content.encode("latin-1"), "text/csv")
        assert found["error"]["faults"] == ["le fichier n'est pas en UTF-8"]
        for query, code in (
            ("finess=75", "FINESS"),
            ("finess=750000001", "DAY"),
            ("finess=UNKNOWN&month=x", "DAY"),
        ):
            status, found = await d.post(f"api/v1/events/users?{query}", content.encode(), "text/csv")
            assert (status, found["error"]["code"]) == (422, code)
        assert await d.ids() == []


# --- imports --------------------------------------------------------------------------------------------------------


async def test_an_import_is_idempotent_and_all_or_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fact_intake, "GROUP", 3)
    async with desk(tmp_path) as d:
        rows = [delivery(n) for n in range(10)]
        assert await d.facts(*rows, rows[0]) == (200, {"new": 10, "known": 1})
        assert await d.facts(*rows) == (200, {"new": 0, "known": 10})
        # one faulty line in many: nothing of it, every fault by its line
        status, found = await d.facts(
            delivery(20), "", "{", delivery(21, outcome="maybe", finess="7"), delivery(22)
        )
        assert (status, found["error"]["code"], found["error"]["count"]) == (422, "INVALID", 2)
        assert [f.partition(" : ")[0] for f in found["error"]["faults"]] == ["ligne 3", "ligne 4"]
        # what contradicts the journal, or the file itself, is refused whole
        status, found = await d.facts(delivery(20), delivery(3, outcome="failure"))
        assert (status, found["error"]["code"]) == (409, "CONFLICT")
        assert found["error"]["faults"] == ["ligne 2 : « fact_id » déjà donné, avec un autre contenu"]
        twice = [delivery(n) for n in range(30, 38)] + [delivery(31, outcome="failure")]
        status, found = await d.facts(*twice)
        assert (status, found["error"]["faults"][0].partition(" : ")[0]) == (409, "ligne 9")
        assert await d.ids() == [f"past-{n}" for n in range(10)]
        # one array, for a few
        status, found = await d.post("api/v1/facts", json.dumps([delivery(40), delivery(41)]).encode())
        assert (status, found) == (200, {"new": 2, "known": 0})
        # a mark of UTF-8 before the first line is none of its content
        marked = "\N{BYTE ORDER MARK}" + json.dumps(delivery(60))
        assert await d.facts(marked, delivery(61)) == (200, {"new": 2, "known": 0})
        status, found = await d.facts("x" * (fact_intake.MAX_LINE + 10), delivery(50))
        assert status == 422 and found["error"]["count"] == 1


async def test_an_imported_fact_counts_like_one_of_ours(tmp_path: Path) -> None:
    """The same schema in and out: what the gateway wrote goes into another journal unchanged."""
    async with desk(tmp_path, indicators=EVERY) as d:
        assert (await d.r.send(submit("F-1"))).code == "AA"
        await until_told(d.r, 2)
        assert (await d.r.send(adt("A01"))).code == "AA"
        assert (await d.facts(delivery(1)))[0] == 200
        place = Place(tmp_path / "journal.sqlite", d.r.gateway.settings.journal)
        bodies = await asyncio.to_thread(lambda: list(iter_facts(place)))
        assert len(bodies) == 5
        assert await d.facts(*bodies) == (200, {"new": 0, "known": 5})
    world = World().add_all(model.read(body) for body in bodies)
    row = find(compute(world, "2025-02").rows, "ALI-2", document_code="11490-0", finess="750000001")
    assert row.numerator == 1


async def test_facts_survive_retention(tmp_path: Path) -> None:
    async with running(tmp_path, indicators=EVERY) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        before = await until_told(r, 1)
        old(tmp_path, 100)
        await sweep(r, BOTH)
        assert await told(r) == before
        # the document keeps what its facts say
        with harness.raw(tmp_path) as db:
            (about,) = db.execute("SELECT about FROM document").fetchone()
        assert json.loads(about)["patient"] == before[0]["patient"]


# --- the command line -------------------------------------------------------------------------------------------------


def settings_file(directory: Path, port: int) -> Path:
    """As the running gateway has them."""
    from connectors.simulator_port import toml_value

    journal = harness.JOURNAL or {"path": str(directory / "journal.sqlite")}
    rows = ["[journal]", *(f"{k} = {toml_value(v)}" for k, v in journal.items()), "[web]", f"port = {port}"]
    path = directory / "gateway.toml"
    path.write_text("\n".join(rows))
    return path


def run(*args: object) -> int:
    return cli.main(["facts", *map(str, args)])


async def test_the_command_line_with_and_without_a_running_gateway(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = settings_file(tmp_path, 0)
    file, users, bad = tmp_path / "past.jsonl", tmp_path / "users.csv", tmp_path / "bad.jsonl"
    file.write_bytes(lines(*(delivery(n) for n in range(1200))))
    users.write_text("profession;users\nmédecin;12\n", encoding="utf-8")
    bad.write_bytes(lines(delivery(1, outcome="failure")))
    day = ("--finess", "750000001", "--month", "2025-02")
    async with desk(tmp_path) as d:
        assert await asyncio.to_thread(run, "import", file, "--config", config) == 0
        assert "1200 faits nouveaux, 0 déjà connus" in capsys.readouterr().out
        assert len(await d.ids()) == 1200
        assert await asyncio.to_thread(run, "import", bad, "--config", config) == 1
        assert "ligne 1 : « fact_id » déjà donné" in capsys.readouterr().err
        assert await asyncio.to_thread(run, "users", users, *day, "--config", config) == 0
        assert "1 faits nouveaux" in capsys.readouterr().out
    # stopped: the journal itself
    assert await asyncio.to_thread(run, "import", file, "--config", config) == 0
    assert "0 faits nouveaux, 1200 déjà connus" in capsys.readouterr().out
    assert await asyncio.to_thread(run, "import", bad, "--config", config) == 1
    assert "ligne 1 : « fact_id » déjà donné" in capsys.readouterr().err
    assert await asyncio.to_thread(run, "users", users, *day, "--config", config, "--format", "json") == 0
    assert json.loads(capsys.readouterr().out) == {"new": 0, "known": 1}
    assert await asyncio.to_thread(run, "export", "--config", config) == 0
    exported = capsys.readouterr().out.splitlines()
    assert len(exported) == 1201 and model.read(exported[0])["fact_id"] == "past-0"
    assert await asyncio.to_thread(run, "count", "--config", config) == 0
    counted = capsys.readouterr().out
    assert "delivery" in counted and "1200" in counted and "user_census" in counted
    users.write_text("x", encoding="utf-8")
    assert await asyncio.to_thread(run, "users", users, *day, "--config", config) == 1
    assert await asyncio.to_thread(run, "import", tmp_path / "none", "--config", config) == 2
    assert "Traceback" not in capsys.readouterr().err


# --- the official samples, over MLLP ----------------------------------------------------------------------------------


@pytest.mark.official
@pytest.mark.parametrize("seed", range(3))
async def test_the_official_adt_over_mllp_give_five_stays_one_closed(tmp_path: Path, seed: int) -> None:
    """Whatever their order, each sent twice; they bear MSH-11 = D, and two of them the same MSH-10."""
    raws = [p.read_bytes() for p in sorted(official("hl7", "adt").glob("*.er7"))] * 2
    random.Random(seed).shuffle(raws)
    async with running(tmp_path, indicators={"processing_ids": ["P", "D"]}) as r:
        for message in raws:
            assert (await r.send(message)).code == "AA"
        bodies = [json.dumps(f) for f in await told(r)]
    stays = World().add_all(model.read(body) for body in bodies).stays.fold().all
    assert len(stays) == 5
    (closed,) = (s for s in stays if s.closed is not None)
    assert closed.closed == datetime(2024, 3, 6, 11, 0, tzinfo=ZoneInfo("Europe/Paris")).timestamp()
