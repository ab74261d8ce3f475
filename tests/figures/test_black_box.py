"""From the outside: facts over HTTP, messages over MLLP, the command line, gauges; as an editor sees it."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway import cli
from indicators import facts as model
from indicators import periods
from indicators.engine import compute
from indicators.export import COLUMNS
from indicators.gauges import LABELS
from indicators.world import World
from tests.exchange import harness
from tests.exchange.harness import Running, running, submit
from tests.exchange.test_indicator_facts import EVERY
from tests.figures.world import FINESS, LDL, WEB, Client, delivery, figure, row, stay, tell
from tests.hl7.test_adt import adt
from tests.indicators.scenario import Case, cases, differences

HAND_COMPUTED = [c for c in cases() if c.file.startswith(("10", "11"))]


async def post(r: Running, path: str, content: bytes, kind: str) -> dict[str, Any]:
    """A program that tells."""
    client = Client(r)
    async with httpx.AsyncClient(base_url=client.url, headers=client.headers, timeout=120) as http:
        answer = await http.post(path, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_there_are_hand_computed_months() -> None:
    assert len(HAND_COMPUTED) >= 2


@pytest.mark.parametrize("case", HAND_COMPUTED, ids=lambda c: c.name)
async def test_a_hand_computed_month_over_http(tmp_path: Path, case: Case) -> None:
    async with running(tmp_path, **WEB) as r:
        lines = [json.dumps(f, ensure_ascii=False) for f in case.facts()]
        half = len(lines) // 2
        for part in (lines[half:], lines[:half], lines):
            await post(r, "/api/v1/facts", "\n".join(part).encode(), "application/x-ndjson")
            told = await Client(r).month(f"month={case.told['month']}")
        expected = case.compute(lines)
        assert not differences(case, expected)
        revisions = {c["revision"] for c in told["computations"]}
        assert revisions == {2}, "half of the facts, all of them, and nothing new"
        # the instant of the computation is this gateway's own (its rule: test_http.py)
        (known,) = {x["as_of"] for x in told["rows"]}
        outside = {"revision": 2, "as_of": known}
        wanted = [{n: getattr(x, n) for n in COLUMNS} | outside for x in expected.rows]
        assert told["rows"] == json.loads(json.dumps(wanted))


async def test_events_of_the_dpi_count_at_once(tmp_path: Path) -> None:
    event = {
        "event_id": "e-1",
        "type": "dmp_consultation",
        "at": "2025-02-10T10:00:00+01:00",
        "finess": FINESS,
        "transaction": "TD3.2",
        "outcome": "success",
        "user": {"rpps": "10000000001", "profession": "medecin"},
        "document": {"typeCode": LDL, "uniqueId": "1.2.3"},
    }
    async with running(tmp_path, **WEB) as r:
        client = Client(r)
        await tell(r, stay(1))
        for number in (1, 2):
            body = json.dumps(event | {"event_id": f"e-{number}"}).encode()
            await post(r, "/api/v1/events", body, "application/json")
            told = await client.month("month=2025-02")
            assert row(told, "CON-1", document_code=LDL)["numerator"] == number


async def test_a_message_that_went_through_is_in_the_figures_of_its_month(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB, indicators=EVERY) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        month = periods.month_of(datetime.now(UTC).timestamp(), "Europe/Paris")
        told = await Client(r).month(f"month={month}")
        found = [
            x
            for x in told["rows"]
            if x["indicator"] == "ALI-2" and x["document_code"] == "ALL" and x["numerator"]
        ]
        assert [x["numerator"] for x in found] == [1]
        # no stay was told: no rate, and why
        (rate,) = [
            x
            for x in told["rows"]
            if (x["indicator"], x["document_code"], x["finess"]) == ("ALI-1", "ALL", found[0]["finess"])
        ]
        assert (rate["denominator"], rate["rate"], rate["reason"]) == (None, None, "no_adt_feed")


async def test_adt_over_mllp_make_the_stays_of_their_month(tmp_path: Path) -> None:
    discharge = "ZBE|M2^CH^750000001|20250210110000||INSERT|N||UF|UF|HMS"
    async with running(tmp_path, **WEB, indicators=EVERY) as r:
        for message in (adt("A01", "A-1"), adt("A03", "A-2", ZBE=discharge)):
            assert (await r.send(message)).code == "AA"
        told = await Client(r).month(f"month=2025-02&finess={FINESS}")
        assert figure(told) == (0, 1)
        assert figure(told, "INF-1", stay_kind="ALL") == (1, 1)


async def test_gauges_show_the_newest_months_without_people(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    recent = (now - timedelta(minutes=5)).isoformat()
    users = [
        {
            "fact_id": f"u-{n}",
            "fact": "dmp_consultation",
            "finess": FINESS,
            "at": recent,
            "transaction": "TD3.1",
            "outcome": "success",
            "user": {"rpps": f"1000000000{n}", "profession": job} if job else {"rpps": f"1000000000{n}"},
        }
        for n, job in enumerate(("medecin", "sage-femme", None))
    ]
    month = periods.month_of(datetime.fromisoformat(recent).timestamp(), "Europe/Paris")
    async with running(tmp_path, **WEB) as r:
        client = Client(r)

        async def gauges() -> dict[str, float]:
            async with httpx.AsyncClient(base_url=client.url, timeout=60) as http:
                text = (await http.get("/metrics")).text
            lines = [x for x in text.splitlines() if x.startswith("segur_indicator_")]
            series = [x.rpartition(" ") for x in lines]
            assert len({name for name, _, _ in series}) == len(series), "no two series of one name"
            return {name: float(value) for name, _, value in series}

        assert await gauges() == {}
        opened = (now - timedelta(days=1)).isoformat()
        await tell(r, [*stay(1, opened, recent), delivery(1, at=recent), *users, *stay(2), delivery(2)])
        told = await client.month(f"month={month}")
        assert row(told, "CON-2", profession="ALL")["numerator"] == 3
        await client.month("month=2025-02")
        found = await gauges()
        wanted = dict.fromkeys(LABELS, "") | {"finess": FINESS, "period": month}

        def series(name: str, **labels: str) -> str:
            inside = ",".join(f'{k}="{v}"' for k, v in sorted((wanted | labels).items()))
            return f"segur_indicator_{name}{{{inside}}}"

        assert found[series("numerator", indicator="ALI-1", document_code="ALL")] == 1
        assert found[series("denominator", indicator="ALI-1", document_code="ALL")] == 1
        assert found[series("numerator", indicator="CON-2")] == 3, "users of all professions"
        assert series("denominator", indicator="CON-2") not in found, "a count has none"
        periods_shown = {name.partition('period="')[2][:7] for name in found}
        assert periods_shown == {month, "2025-02"}, "months alone, no years"
        for word in ("medecin", "sage-femme", "1000000000", "S1", "p1"):
            assert not any(word in name for name in found), word
        # kept again, shown again
        await tell(r, [*stay(3, opened, recent)])
        await client.month(f"month={month}")
        assert (await gauges())[series("denominator", indicator="ALI-1", document_code="ALL")] == 2


def settings_file(folder: Path) -> Path:
    """The settings of the gateway under test, for the command line."""
    journal = harness.JOURNAL or {"path": "journal.sqlite"}
    lines = [f"{k} = {json.dumps(v)}" for k, v in journal.items()]
    path = folder / "gateway.toml"
    path.write_text("[journal]\n" + "\n".join(lines) + "\n[web]\nport = 0\n", encoding="utf-8")
    return path


async def test_the_command_line_beside_a_gateway_at_work_and_without_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = [*stay(1), *stay(2), delivery(1), delivery(2, known_at="2025-03-20T08:00:00+01:00")]
    config = settings_file(tmp_path)

    async def command(*words: object) -> tuple[int, str]:
        status = await asyncio.to_thread(cli.main, ["indicators", *map(str, words), "--config", str(config)])
        return status, capsys.readouterr().out

    world = World().add_all(model.read(json.dumps(f)) for f in facts)
    expected = json.loads(
        json.dumps([{n: getattr(x, n) for n in COLUMNS} for x in compute(world, "2025-02").rows])
    )
    async with running(tmp_path, **WEB) as r:
        await tell(r, facts)
        status, out = await command("compute", "--month", "2025-02", "--format", "json")
        assert (status, json.loads(out)["rows"]) == (0, expected)
        status, out = await command(
            "compute", "--month", "2025-02", "--format", "json", "--as-of", "2025-03-10T00:00:00+01:00"
        )
        assert figure(json.loads(out)) == (1, 2)
        named = ("--finess", FINESS, "--indicator", "ALI-1", "--document-code", "ALL")
        status, out = await command("explain", "--month", "2025-02", *named)
        assert status == 0 and "+ stay S1" in out and "+ stay S2" in out
        status, out = await command("wave1", "--month", "2025-02", "--format", "csv")
        assert {line.split(";")[2] for line in out.splitlines()[1:]} == {"TBB-1"}
        status, out = await command("publish", "--month", "2025-02")
        assert (status, out) == (0, f"{FINESS} : révision 1, 0 lignes changées\n")
        await tell(r, [*stay(3)])
        status, out = await command("publish", "--month", "2025-02")
        assert "révision 2" in out
        status, out = await command("differences", "--month", "2025-02", "--finess", FINESS)
        assert "ALI-1 (Tous types) : 2 / 2 (100,00 %) devient 2 / 3 (66,67 %)." in out
        status, out = await command(
            "differences", "--month", "2025-02", "--finess", FINESS, "--revision", 1, "--format", "json"
        )
        assert json.loads(out)["changes"] == []
        status, _ = await command("differences", "--month", "2025-02", "--finess", FINESS, "--revision", 9)
        assert status == 1
        # a success after the cut-off: told beside the same figures (decision 39)
        await tell(r, [delivery(3, at="2025-04-02T10:00:00+02:00")])
        status, out = await command("compute", "--month", "2025-02", "--format", "json")
        assert figure(json.loads(out)) == (2, 3) and json.loads(out)["quality"][0]["late_successes"] == 1
        status, out = await command("compute", "--month", "2025-02")
        assert "Envois réussis après l'arrêté : 1." in out
        status, out = await command("publish", "--month", "2025-02")
        assert "révision 2," in out
    status, out = await command("compute", "--month", "2025-02", "--format", "json")
    assert figure(json.loads(out)) == (2, 3), "stopped: from the journal itself"
    status, _ = await command("publish", "--month", "2025-02")
    assert status == 2, "nobody is there to publish"


@pytest.mark.sqlite
async def test_settings_take_effect(tmp_path: Path) -> None:
    """Names, time zones, a catalogue of the hospital's own."""
    from indicators.catalogue import PATH

    text = PATH.read_text(encoding="utf-8")
    assert text.count("cutoff_days:\n    value: 10") == 1
    (tmp_path / "own.yaml").write_text(
        text.replace("cutoff_days:\n    value: 10", "cutoff_days:\n    value: 3")
    )
    table = {
        "names": {FINESS: "Hôpital d'essai"},
        "time_zones": {FINESS: "Indian/Reunion"},
        "catalogue": "own.yaml",
    }
    async with running(tmp_path, **WEB, indicators=table) as r:
        await tell(r, [*stay(1), delivery(1)])
        told = await Client(r).month("month=2025-02")
        assert {x["cutoff"] for x in told["rows"]} == {"2025-03-04T00:00:00+04:00"}
        assert r.gateway.figures is not None
        assert [e.name for e in await r.gateway.figures.establishments()] == ["Hôpital d'essai"]


def test_check_config_tells_what_is_wrong_with_the_indicators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "gateway.toml"
    (tmp_path / "broken.yaml").write_text("version: [")
    for table, words in (
        ('[indicators.time_zones]\n"97" = "Mars/Olympus"', "Mars/Olympus"),
        ('[indicators]\ncatalogue = "none.yaml"', "none.yaml"),
        ('[indicators]\ncatalogue = "broken.yaml"', "broken.yaml"),
    ):
        config.write_text(table)
        assert cli.main(["check-config", "--config", str(config)]) == 2
        assert words in capsys.readouterr().err
    config.write_text('[indicators.time_zones]\n"97" = "Indian/Reunion"')
    assert cli.main(["check-config", "--config", str(config)]) == 0
