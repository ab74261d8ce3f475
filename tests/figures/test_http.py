"""Facts in, figures out over HTTP: what a program that knows nothing of the gateway expects."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from sqlalchemy import text

from indicators import facts as model
from indicators import periods
from indicators.engine import compute
from indicators.export import COLUMNS, schema, to_csv
from indicators.world import World
from tests.exchange.harness import running
from tests.figures.world import FINESS, LDL, WEB, Client, delivery, figure, row, stay, tell

OTHER = "130000002"


async def test_facts_then_figures_and_more_facts_then_newer_figures(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        empty = await client.month("month=2025-02")
        assert (empty["rows"], empty["reason"]) == ([], "no_facts")
        before = datetime.now(UTC).replace(microsecond=0)

        await tell(r, [*stay(1), *stay(2), *stay(3), delivery(1)])
        told = await client.month(f"month=2025-02&finess={FINESS}")
        assert figure(told) == (1, 3)
        assert row(told, "ALI-1", document_code="ALL")["rate"] == 0.3333
        assert (told["stale"], told["computations"][0]["revision"]) == (False, 1)

        await tell(r, [delivery(2)])
        told = await client.month(f"month=2025-02&finess={FINESS}")
        assert figure(told) == (2, 3)
        assert told["computations"][0]["revision"] == 2
        assert {r["revision"] for r in told["rows"]} == {2}
        first = await client.month(f"month=2025-02&finess={FINESS}&revision=1")
        assert figure(first) == (1, 3)
        # §1.4: each row says up to when facts were known; of a revision for ever the same instant
        (early,), (late,) = ({x["as_of"] for x in told_of["rows"]} for told_of in (first, told))
        assert datetime.fromisoformat(early).utcoffset() is not None
        assert before <= datetime.fromisoformat(early) <= datetime.fromisoformat(late) <= datetime.now(UTC)


async def test_a_late_fact_makes_a_revision_with_a_readable_difference_and_the_same_facts_make_none(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await client.month("month=2025-02")
        # known already, or without any effect on the month: no revision, whoever asks and however often
        await tell(
            r, [*stay(1), delivery(1), *stay(9, "2025-05-01T10:00:00+02:00", "2025-05-02T10:00:00+02:00")]
        )
        for question in ("month=2025-02", "month=2025-02&fresh=true", "month=2025-02&refresh=1"):
            assert {c["revision"] for c in (await client.month(question))["computations"]} == {1}

        # (a failure said long after the cut-off takes back the success that it follows)
        await tell(r, [delivery(1, at="2025-06-01T10:00:00+02:00", outcome="failure", code="5.1.1")])
        told = await client.month("month=2025-02")
        assert figure(told) == (0, 2)
        found = (await client.get(f"/differences?month=2025-02&finess={FINESS}")).json()
        assert (found["revision"], found["finess"], found["month"]) == (2, FINESS, "2025-02")
        sentences = [c["sentence"] for c in found["changes"]]
        assert "ALI-1 (Tous types) : 1 / 2 (50,00 %) devient 0 / 2 (0,00 %) (-1)." in sentences
        one = next(c for c in found["changes"] if c["sentence"].startswith("ALI-1 (Tous types)"))
        assert (one["before"], one["after"]) == (
            {"numerator": 1, "denominator": 2},
            {"numerator": 0, "denominator": 2},
        )
        assert one["cell"]["indicator"] == "ALI-1"
        # only what is another figure is told
        assert not any(s.startswith("INF-1") for s in sentences)
        revisions = (await client.get(f"/revisions?month=2025-02&finess={FINESS}")).json()
        assert [c["revision"] for c in revisions["computations"]] == [2, 1]
        assert (await client.get(f"/differences?month=2025-02&finess={FINESS}&revision=1")).json()[
            "changes"
        ] == []


async def test_what_was_published_is_never_changed(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        question = text("SELECT * FROM indicator_month WHERE revision > 0 ORDER BY id")

        async def kept() -> list[tuple[Any, ...]]:
            return await r.gateway.journal.read(lambda s: [tuple(x) for x in s.execute(question)])

        await tell(r, [*stay(1), *stay(2), delivery(1)])
        first_rows = (await client.month("month=2025-02"))["rows"]
        first = await kept()
        for number in (2, 3):
            await tell(r, [*stay(number + 1), delivery(number)])
            await client.month("month=2025-02")
            now = await kept()
            assert now[: len(first)] == first and len(now) == len(first) + 1
            first = now
        again = await client.month("month=2025-02&revision=1")
        assert again["rows"] == first_rows


async def test_as_of_sees_what_was_known_then_and_an_unescaped_plus_is_understood(tmp_path: Path) -> None:
    facts = [*stay(1), *stay(2), delivery(1), delivery(2, known_at="2025-03-20T08:00:00+01:00")]
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        await tell(r, facts)
        assert figure(await client.month("month=2025-02")) == (2, 2)
        for offset in ("+01:00", "%2B01:00", "+0100"):
            told = await client.month(f"month=2025-02&as_of=2025-03-10T00:00:00{offset}")
            assert figure(told) == (1, 2), offset
            assert {x["as_of"] for x in told["rows"]} == {"2025-03-10T00:00:00+01:00"}
        told = await client.month(f"month=2025-02&finess={FINESS}&as_of=2025-03-20T07:00:00Z")
        assert figure(told) == (2, 2)
        # a fact that is imported now and was known then changes what was known then
        await tell(r, [*stay(3), delivery(3)])
        assert figure(await client.month("month=2025-02&as_of=2025-03-10T00:00:00+01:00")) == (2, 3)
        # nothing of it is kept
        assert figure(await client.month("month=2025-02")) == (3, 3)
        # and the same rows as the engine alone gives
        world = World(datetime.fromisoformat("2025-03-10T00:00:00+01:00"))
        world.add_all(model.read(json.dumps(f)) for f in [*facts, *stay(3), delivery(3)])
        expected = [json.loads(json.dumps(x)) for x in _plain(compute(world, "2025-02", revision=0).rows)]
        told = await client.month("month=2025-02&as_of=2025-03-10T00:00:00+01:00")
        assert told["rows"] == expected


def _plain(rows: list[Any]) -> list[dict[str, Any]]:
    return [{name: getattr(x, name) for name in COLUMNS} for x in rows]


async def test_rows_are_those_of_the_published_format_in_json_and_csv(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        facts = [*stay(1), *stay(2), delivery(1), *stay(5, finess=OTHER)]
        await tell(r, facts)
        told = await client.month("month=2025-02")
        Draft202012Validator(schema()).validate(told)
        assert {x["finess"] for x in told["rows"]} == {FINESS, OTHER}
        assert {q["finess"] for q in told["quality"]} == {FINESS, OTHER}
        answer = await client.get("?month=2025-02&format=csv")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        world = World().add_all(model.read(json.dumps(f)) for f in facts)
        (known,) = {x["as_of"] for x in told["rows"]}
        rows = [replace(x, as_of=known) for x in compute(world, "2025-02", revision=1).rows]
        assert answer.text == to_csv(rows)
        one = await client.get(f"?month=2025-02&format=csv&finess={OTHER}")
        lines = list(csv.DictReader(io.StringIO(one.text), delimiter=";"))
        assert {x["finess"] for x in lines} == {OTHER}


async def test_a_month_under_way_is_provisional_and_always_up_to_date(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    month = periods.month_of(now.timestamp(), "Europe/Paris")
    start = datetime.fromtimestamp(periods.month(month, "Europe/Paris").start, UTC)
    opened = (start - timedelta(days=2)).isoformat()
    closed = (start + (now - start) / 2).isoformat()
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        for number in (1, 2, 3):
            await tell(r, [*stay(number, opened, closed), delivery(number, at=closed)])
            told = await client.month(f"month={month}&finess={FINESS}")
            assert figure(told) == (number, number)
            (computation,) = told["computations"]
            assert (computation["revision"], computation["provisional"]) == (0, True)
        future = await client.month(f"month={periods.month_before(month, -2)}")
        assert (future["rows"], future["reason"]) == ([], "future_month")
        assert future["reason_text"] == "Ce mois n'a pas commencé."
        published = (await client.get(f"/revisions?month={month}&finess={FINESS}")).json()
        assert published["computations"] == []


@pytest.mark.sqlite
async def test_what_is_wrong_with_a_request_is_told_in_french(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        await tell(r, [*stay(1), delivery(1)])
        for question, status, code in (
            ("", 422, "MONTH"),
            ("?month=2025-13", 422, "MONTH"),
            ("?month=f%C3%A9vrier", 422, "MONTH"),
            ("?month=2025-02&finess=12", 422, "FINESS"),
            ("?month=2025-02&as_of=2025-03-10", 422, "AS_OF"),
            ("?month=2025-02&as_of=hier", 422, "AS_OF"),
            ("?month=2025-02&format=pdf", 422, "FORMAT"),
            ("?month=2025-02&revision=x", 422, "REVISION"),
            ("?month=2025-02&revision=7", 404, "REVISION"),
            ("?month=2025-02&revision=1&as_of=2025-03-10T00:00:00Z", 422, "REVISION"),
            ("/trend?finess=" + FINESS + "&count=0", 422, "COUNT"),
            ("/revisions?month=2025-02", 422, "FINESS"),
            (f"/differences?month=2025-02&finess={FINESS}&revision=9", 404, "REVISION"),
            (f"/explain?month=2025-02&finess={FINESS}&indicator=ALI-9", 404, "ROW"),
            ("/explain?month=2025-02&indicator=ALI-1", 422, "FINESS"),
        ):
            answer = await client.get(question)
            error = answer.json()["error"]
            assert (answer.status_code, error["code"]) == (status, code), question
            assert error["message"].endswith(".")
        both = (await client.get("?month=x&finess=y")).json()["error"]["message"]
        assert "month" in both and "finess" in both, "all faults at once"
        assert (await client.month("month=2025-02&finess=999999999"))["reason"] == "no_facts"


@pytest.mark.sqlite
async def test_each_call_needs_its_right_and_a_list_is_audited(tmp_path: Path) -> None:
    tokens = {name: f"{name}-" + "x" * 40 for name in ("indicators", "explain", "mails")}
    (tmp_path / "tokens.toml").write_text(
        "\n".join(
            f'[[token]]\nname = "{name}"\nsha256 = "{hashlib.sha256(token.encode()).hexdigest()}"\n'
            f'scopes = ["{name}"]'
            for name, token in tokens.items()
        )
    )
    web = {"web": {"enabled": True, "port": 0, "tokens": "tokens.toml"}}
    async with running(tmp_path, **web) as r:
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        list_of = f"/explain?month=2025-02&finess={FINESS}&indicator=ALI-1&document_code={LDL}"
        for path, name in (
            ("?month=2025-02", "indicators"),
            ("/catalogue", "indicators"),
            (f"/trend?finess={FINESS}", "indicators"),
            (f"/revisions?month=2025-02&finess={FINESS}", "indicators"),
            ("/wave1?month=2025-02", "indicators"),
            (list_of, "explain"),
        ):
            for one, token in tokens.items():
                status = (await Client(r, token).get(path)).status_code
                assert status == (200 if one == name else 403), (path, one)
            async with httpx.AsyncClient(base_url=Client(r, "x").url) as nobody:
                assert (await nobody.get(f"/api/v1/indicators{path}")).status_code == 401
        assert (await Client(r, tokens["indicators"]).post("/publish?month=2025-02")).status_code == 403
        query = text("SELECT actor, details FROM audit WHERE action = 'indicators.explain' ORDER BY id")
        trace = await r.gateway.journal.read(lambda s: [tuple(x) for x in s.execute(query)])
        ((actor, told),) = trace
        details = json.loads(told)
        assert (actor, details["finess"], details["month"]) == ("explain", FINESS, "2025-02")
        assert details["row"]["code"] == LDL


async def test_a_list_adds_up_to_its_figure_and_to_that_of_its_own_revision(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        assert figure(await client.month("month=2025-02")) == (1, 2)
        await tell(r, [*stay(3), delivery(3)])
        assert figure(await client.month("month=2025-02")) == (2, 3)
        asked = f"/explain?month=2025-02&finess={FINESS}&indicator=ALI-1&document_code=ALL"
        for more, stays in (("", {"S1", "S3"}), ("&revision=1", {"S1"}), ("&revision=2", {"S1", "S3"})):
            answer = await client.get(asked + more)
            assert answer.status_code == 200, answer.text
            found = answer.json()
            counted = {m["subject"]["stay"] for m in found["members"] if m["numerator"]}
            assert counted == stays, more
            assert sum(m["denominator"] for m in found["members"]) == found["row"]["denominator"]
            assert found["row"]["numerator"] == len(stays)
        past = await client.get(asked + "&as_of=2025-02-10T23:00:00+01:00")
        assert [m["numerator"] for m in past.json()["members"]] == [False, False, False]


async def test_trend_catalogue_and_the_table_of_the_first_wave(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        await tell(
            r, [*stay(1), delivery(1), *stay(2, "2025-03-01T09:00:00+01:00", "2025-03-03T09:00:00+01:00")]
        )
        for month in ("2025-02", "2025-03"):
            await client.month(f"month={month}")
        trend = (await client.get(f"/trend?finess={FINESS}&last=2025-03&count=3")).json()
        assert list(trend["months"]) == ["2025-01", "2025-02", "2025-03"]
        assert trend["months"]["2025-01"] is None
        found = {m: figure(v) for m, v in trend["months"].items() if v is not None}
        assert found == {"2025-02": (1, 1), "2025-03": (0, 1)}
        assert len((await client.get(f"/trend?finess={FINESS}")).json()["months"]) == 13

        catalogue = (await client.get("/catalogue")).json()
        assert "ALI-1" in [i["id"] for i in catalogue["indicators"]]
        assert catalogue["options"]["cutoff_days"]["value"] == 10

        wave = (await client.get("/wave1?month=2025-03")).json()
        assert {x["indicator"] for x in wave["rows"]} == {"TBB-1"}
        assert {x["period"] for x in wave["rows"]} == {"2025-03", "2025", "2024"}
        assert {x["channel"] for x in wave["rows"]} == {"DMP", "MSS_PRO", "MSS_CITOYENNE"}
        assert {x["result"] for x in wave["rows"]} == {"reussite", "echec"}
        year = row(wave, "TBB-1", period="2025", channel="DMP", document_code=LDL, result="reussite")
        assert year["numerator"] == 1
        lines = (await client.get("/wave1?month=2025-03&format=csv")).text.splitlines()
        assert len(lines) == len(wave["rows"]) + 1


@pytest.mark.sqlite
async def test_indicators_that_are_disabled_say_so(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB, indicators={"enabled": False}) as r:
        answer = await Client(r).get("?month=2025-02")
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "DISABLED")
        assert r.gateway.figures is None
