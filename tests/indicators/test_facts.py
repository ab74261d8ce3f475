"""The published model of facts: strict, complete about what is wrong, canonical."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indicators import export, facts
from indicators.engine import compute
from indicators.world import World
from tests.indicators.scenario import cases

ROOT = Path(__file__).resolve().parents[2]

DELIVERY: dict[str, Any] = {
    "fact_id": "d-1",
    "fact": "delivery",
    "at": "2025-02-10T15:00:00+01:00",
    "finess": "750000001",
    "control_id": "MSG1",
    "document": {
        "unique_id": "1.2.3.1",
        "set_id": "1.2.3",
        "version": 1,
        "type_code": "11490-0",
        "type_system": "2.16.840.1.113883.6.1",
        "date": "2025-02-10",
    },
    "destination": "dmp",
    "recipient": None,
    "outcome": "success",
    "code": None,
    "stay": {"authority": "CHU", "value": "S1"},
    "patient": "p",
    "ins_qualified": True,
    "historical": False,
}
"""The line of the import of past facts, as it is published."""


def faults(**changes: object) -> list[str]:
    line = {key: value for key, value in {**DELIVERY, **changes}.items() if value is not ...}
    with pytest.raises(facts.FactError) as e:
        facts.read(json.dumps(line))
    return e.value.faults


def test_the_published_line_is_read() -> None:
    fact = facts.read(json.dumps(DELIVERY))
    assert fact["fact"] == "delivery" and fact["at"] == datetime(2025, 2, 10, 14, tzinfo=UTC)


def test_every_fault_is_told_without_its_value() -> None:
    told = faults(
        at="2025-02-10T15:00:00", finess="SECRET", outcome="SECRET", document={"SECRET": 1}, extra=1
    )
    assert told == [
        "at : date sans décalage horaire",
        "finess : forme inattendue",
        "document.unique_id : obligatoire et absent",
        "document.type_code : obligatoire et absent",
        "document : champ inconnu",
        "outcome : valeur hors de la liste",
        "champ inconnu",
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "la ligne n'est pas un objet JSON"),
        ('{"fact": "delivry"}', "nature de fait inconnue"),
        ('{"fact_id": "1"}', "« fact » est absent"),
    ],
)
def test_what_is_no_fact(line: str, fault: str) -> None:
    with pytest.raises(facts.FactError) as e:
        facts.read(line)
    assert e.value.faults == [fault]


def test_numbers_are_no_dates_and_texts_are_no_booleans() -> None:
    assert faults(at=1739196000) and faults(ins_qualified="yes") and faults(fact_id=1) and faults(fact_id="")


@pytest.mark.parametrize("told", ["20250210", "2025", "1739196000", "20250210150000", "-1"])
def test_a_date_without_hyphens_is_refused(told: str) -> None:
    """It would be read as seconds since 1970: a document of 2025 would be one of 1970, and not historical."""
    assert faults(at=told) == ["at : forme inattendue"]


@pytest.mark.parametrize(
    "told", ["20250210", "20250210093000+0100", "202502100930", "2025-02-10T09:30:00", "2025-02-10 09:30"]
)
def test_the_date_of_a_document_as_a_cda_writes_it_is_its_civil_day(told: str) -> None:
    fact = facts.read(json.dumps({**DELIVERY, "document": {**DELIVERY["document"], "date": told}}))
    assert fact["fact"] == "delivery" and fact["document"]["date"] == date(2025, 2, 10)
    again = facts.read(facts.canonical(fact))
    assert facts.digest(again) == facts.digest(fact)


@pytest.mark.parametrize("told", ["2025", "202502", "1739196000", "20251310", "-1", "2025-02-30", "demain"])
def test_what_is_no_date_of_a_document(told: str) -> None:
    assert faults(document={**DELIVERY["document"], "date": told}) == ["document.date : forme inattendue"]


def test_canonical_form_is_the_same_for_the_same_fact() -> None:
    other = {
        **DELIVERY,
        "at": "2025-02-10T14:00:00Z",
        "document": dict(reversed(DELIVERY["document"].items())),
    }
    del other["recipient"], other["code"]
    one, two = facts.read(json.dumps(DELIVERY)), facts.read(json.dumps(other))
    assert facts.canonical(one) == facts.canonical(two) and facts.digest(one) == facts.digest(two)
    assert facts.digest(one) != facts.digest(facts.read(json.dumps({**DELIVERY, "outcome": "failure"})))
    known = facts.read(json.dumps({**DELIVERY, "known_at": "2026-01-01T00:00:00Z"}))
    assert facts.digest(known) == facts.digest(one)
    assert facts.told(known) == (facts.digest(one), facts.canonical(known))
    assert json.loads(facts.canonical(known))["known_at"] == "2026-01-01T00:00:00Z"


@settings(deadline=None)  # timings are for benchmarks
@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)),
    st.integers(-12 * 60, 14 * 60),
    st.text(min_size=1, max_size=20).filter(str.strip),
)
def test_what_is_written_is_read_again(moment: datetime, offset: int, text: str) -> None:
    at = moment.replace(tzinfo=timezone(timedelta(minutes=offset)))
    told = facts.check(
        {
            "fact_id": text,
            "fact": "consent",
            "at": at,
            "finess": "2A0000001",
            "patient": text,
            "feeding": "INO",
        }
    )
    again = facts.read(facts.canonical(told))
    assert facts.digest(again) == facts.digest(told) and again["at"] == at


def make_schemas() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("make_schemas", ROOT / "docs" / "make_schemas.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: dict[str, str] = module.schemas()
    return made


def test_the_published_schemas_are_fresh() -> None:
    for name, text in make_schemas().items():
        assert (ROOT / "docs" / "schemas" / name).read_text(encoding="utf-8") == text, (
            "run: python docs/make_schemas.py"
        )


def test_facts_and_rows_follow_the_published_schemas() -> None:
    made = {name: json.loads(text) for name, text in make_schemas().items()}
    lines = jsonschema.Draft202012Validator(made["facts.schema.json"])
    documents = jsonschema.Draft202012Validator(made["indicators.schema.json"])
    assert list(lines.iter_errors({"fact": "delivery"}))
    for case in cases():
        if case.file.startswith(("05", "06", "11")):
            told = case.facts()
            for fact in told:
                lines.validate(fact)
            world = World().add_all(facts.read(json.dumps(f)) for f in told)
            documents.validate(json.loads(export.to_json(compute(world, case.told["month"]))))


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1799-12-31T00:00:00Z"]
)
def test_an_instant_that_stands_for_none_is_no_instant_of_a_fact(moment: str) -> None:
    """It would have no local day in some time zones: kept once, it would stop the figures for ever."""
    assert faults(at=moment) == ["at : date ou nombre hors des limites"]
    assert faults(known_at=moment) == ["known_at : date ou nombre hors des limites"]
    assert any("document.date" in f for f in faults(document={**DELIVERY["document"], "date": moment[:10]}))


def test_a_field_of_nobody_named_date_hides_no_other_fault() -> None:
    wrong = {**DELIVERY["document"], "date": "the day before"}
    assert faults(document=wrong, recipient=3, date="x") == [
        "document.date : forme inattendue",
        "recipient : type ou valeur inattendus",
        "champ inconnu",
    ]
    assert faults(document=wrong, date="x") == ["document.date : forme inattendue", "champ inconnu"]
