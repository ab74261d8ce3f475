"""What others bring may name a patient: no INS is kept of it, and the same line is still the same fact."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.exchange import opaque
from gateway.exchange.publisher import Publisher
from gateway.hl7.profile.identity import ins_key_ok
from gateway.journal import facts
from indicators.attempts import Channel, channel_of
from indicators.facts import read
from tests.exchange import harness
from tests.exchange.test_indicator_facts import told
from tests.operations.test_facts import delivery, desk, lines, run, settings_file

INS, OTHER = "279035121518989", "187063704011169"
SECRET = b"s" * 32


def mail(ins: str, number: int = 1, domain: str = "patient.mssante.fr", **more: Any) -> dict[str, Any]:
    return delivery(number, destination="mss", recipient=f"{ins}@{domain}", **more)


def kept(directory: Path) -> str:
    """All that the journal has of facts."""
    with harness.raw(directory) as db:
        return str(db.execute("SELECT * FROM indicator_fact ORDER BY id").fetchall())


def test_these_are_ins() -> None:
    assert ins_key_ok(INS) and ins_key_ok(OTHER) and INS != OTHER


async def test_no_ins_is_kept_of_an_import_and_the_same_line_is_known(tmp_path: Path) -> None:
    rows = [mail(INS, 1), mail(OTHER, 2), mail(INS, 3), delivery(4, patient=INS), delivery(5, patient=INS)]
    follows = {"fact": "correspondent", "fact_id": "c-1", "finess": "750000001", "at": rows[0]["at"]}
    rows += [follows | {"address": f"{INS}@patient.mssante.fr"}]
    rows += [delivery(6, destination="mss", recipient="Dr.X@chu.mssante.fr")]
    async with desk(tmp_path) as d:
        assert await d.facts(*rows) == (200, {"new": 7, "known": 0})
        text = kept(tmp_path)
        assert INS not in text and OTHER not in text
        assert await d.facts(*rows) == (200, {"new": 0, "known": 7})
        status, found = await d.facts(mail(OTHER, 1))
        assert status == 409 and INS not in str(found) and OTHER not in str(found)
        by_id = {f["fact_id"]: f for f in await told(d.r)}
        first, second, again = (by_id[f"past-{n}"]["recipient"] for n in (1, 2, 3))
        assert first == again != second, "distinct recipients are distinct"
        assert (
            re.fullmatch(r"[0-9a-f]{32}@patient\.mssante\.fr", first)
            and channel_of(first) is Channel.MSS_CITOYENNE
        )
        assert by_id["past-4"]["patient"] == by_id["past-5"]["patient"] != INS
        assert by_id["c-1"]["address"] == first
        assert by_id["past-6"]["recipient"] == "Dr.X@chu.mssante.fr", "a professional's is as it was given"
        # what the gateway says of the same address itself
        publisher: Publisher = d.r.gateway.publisher
        assert publisher.names is not None and publisher.names.address(f"{INS}@patient.mssante.fr") == first
        # what was exported can be imported
        assert await d.facts(*by_id.values()) == (200, {"new": 0, "known": 7})


async def test_without_a_running_gateway_the_secret_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, file = settings_file(tmp_path, 0), tmp_path / "past.jsonl"
    file.write_bytes(lines(mail(INS, 1), mail(OTHER, 2)))
    assert await asyncio.to_thread(run, "import", file, "--config", config) == 0
    assert "2 faits nouveaux" in capsys.readouterr().out
    assert INS not in kept(tmp_path)
    async with desk(tmp_path) as d:
        assert await d.facts(mail(INS, 1), mail(OTHER, 2)) == (200, {"new": 0, "known": 2})


async def test_what_was_kept_in_clear_before_is_still_known(tmp_path: Path) -> None:
    async with desk(tmp_path) as d:
        before = facts.row(read(json.dumps(mail(INS, 1))), "import")
        await d.r.gateway.journal.write(lambda s: facts.add(s, [before]))
        assert await d.facts(mail(INS, 1), mail(OTHER, 2)) == (200, {"new": 1, "known": 1})
        assert (await d.facts(mail(INS, 1, outcome="failure")))[0] == 409
        assert (await d.facts(mail(OTHER, 1)))[0] == 409
        assert len(await told(d.r)) == 2


@pytest.mark.parametrize(
    "written",
    [
        "{}@patient.mssante.fr",
        " {}@PATIENT.MSSante.fr ",
        "{}@test.patient.mssante.fr",
        "mailto:{}@patient.mssante.fr",
        "Camille Essai <{}@patient.mssante.fr>",
        "{}@patient.mssante.fr.",
        "{} @ patient.mssante.fr",
        '"Essai, Camille" <mailto:{}@patient.mssante.fr>',
    ],
)
def test_an_address_of_a_patient_is_hidden_however_it_is_written(written: str) -> None:
    hidden = opaque.address(SECRET, written.format(INS))
    domain = "test.patient.mssante.fr" if "test." in written else "patient.mssante.fr"
    assert hidden == opaque.address(SECRET, f"{INS}@{domain}") != opaque.address(SECRET, f"{OTHER}@{domain}")
    assert hidden is not None and re.fullmatch(r"[0-9a-f]{32}@(test\.)?patient\.mssante\.fr", hidden)
    assert opaque.address(SECRET, hidden) == hidden
    assert opaque.address(b"t" * 32, written.format(INS)) != hidden, "a plain sum would be tried out"


@pytest.mark.parametrize(
    "told", ["dr.x@chu.mssante.fr", "x@notpatient.mssante.fr", "x@patient.mssante.fr.evil", ""]
)
def test_other_addresses_are_not_touched(told: str) -> None:
    assert opaque.address(SECRET, told) is None


def test_a_left_part_is_whole_when_it_has_spaces_or_nothing_but_quotes() -> None:
    one, other = f"{INS[:13]} {INS[13:]}", f"{OTHER[:13]} {INS[13:]}"
    assert opaque.address(SECRET, f"{one}@patient.mssante.fr") == opaque.address(
        SECRET, f"{INS}@patient.mssante.fr"
    )
    assert len({opaque.address(SECRET, f'{a}"@patient.mssante.fr') for a in (f'"{one}', f'"{other}')}) == 2


@pytest.mark.parametrize(
    "key", [f"{INS}^^^ASIP-SANTE-INS-NIR&1.2.250.1.213.1.4.8&ISO^INS", f"INS:{INS}", f"IPP-1/{INS}"]
)
def test_an_ins_that_is_a_component_of_a_key_is_hidden(key: str) -> None:
    hidden = dict(opaque.without_ins(read(json.dumps(delivery(1, patient=key))), SECRET))
    other = dict(opaque.without_ins(read(json.dumps(delivery(1, patient=key.replace(INS, OTHER)))), SECRET))
    assert INS not in str(hidden) and len(str(hidden["patient"])) == len(key) + 17
    assert hidden["patient"] != other["patient"]
    assert opaque.without_ins(read(json.dumps(hidden, default=str)), SECRET)["patient"] == hidden["patient"]  # type: ignore[typeddict-item]


@pytest.mark.parametrize("key", [INS, f"{INS[:1]} {INS[1:13]} {INS[13:]}", "185052A00401864"])
def test_a_key_that_is_an_ins_is_hidden(key: str) -> None:
    hidden = opaque.without_ins(read(json.dumps(delivery(1, patient=key))), SECRET)
    text = json.dumps(hidden, default=str)
    assert key not in text and key.replace(" ", "") not in text
    assert opaque.without_ins(hidden, SECRET) is hidden


@pytest.mark.parametrize("key", ["opaque", INS[:-1] + "0", "IPP-123", "0" * 32])
def test_another_key_stays(key: str) -> None:
    fact = read(json.dumps(delivery(1, patient=key)))
    assert opaque.without_ins(fact, SECRET) is fact
