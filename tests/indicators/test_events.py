"""Events of the DPI are facts under the names of the events API."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from indicators.engine import compute, find
from indicators.events import KINDS, read_event, schema
from indicators.facts import FactError
from indicators.world import World

EVENT: dict[str, Any] = {
    "event_id": "e-1",
    "type": "dmp_consultation",
    "at": "2025-02-10T10:00:00+01:00",
    "finess": "750000001",
    "transaction": "TD3.2",
    "outcome": "success",
    "user": {"rpps": "10000000001", "profession": "medecin"},
    "stay": {"value": "S1", "authority": "CHU"},
    "document": {"typeCode": "11502-2", "codeSystem": "2.16.840.1.113883.6.1", "uniqueId": "1.2.3"},
    "trigger": "user",
    "format": None,
    "mode": None,
}


def faults(**changes: object) -> list[str]:
    told = {key: value for key, value in {**EVENT, **changes}.items() if value is not ...}
    with pytest.raises(FactError) as e:
        read_event(json.dumps(told))
    return e.value.faults


def test_an_event_is_a_fact() -> None:
    fact = read_event(json.dumps(EVENT))
    assert fact["fact"] == "dmp_consultation" and fact["fact_id"] == "e-1"
    assert fact["document"] == {
        "type_code": "11502-2",
        "type_system": "2.16.840.1.113883.6.1",
        "unique_id": "1.2.3",
    }


def test_the_published_schema_takes_what_is_taken_and_refuses_what_is_refused() -> None:
    check = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    check.check_schema(schema())
    assert check.is_valid(EVENT) and check.is_valid([EVENT, EVENT])
    for changes in (
        {"type": "delivery"},
        {"fact_id": "x"},
        {"transaction": "T3.2"},
        {"outcome": "yes"},
        {"document": {"typeKode": "x"}},
    ):
        with pytest.raises(FactError):
            read_event(json.dumps(EVENT | changes))
        assert not check.is_valid(EVENT | changes), changes
    assert not check.is_valid([])


def test_the_same_event_twice_counts_once() -> None:
    world = World().add_all(read_event(json.dumps(EVENT)) for _ in range(2))
    assert find(compute(world, "2025-02").rows, "CON-1", document_code="ALL").numerator == 1


def test_what_is_wrong_is_told() -> None:
    assert faults(type="delivery") == ["type : nature d'événement inconnue"]
    assert faults(type=...) == ["type : nature d'événement inconnue"]
    assert faults(fact_id="x") == ["fact_id : « event_id » attendu"]
    assert faults(transaction="T3.2", outcome="yes") == [
        "transaction : forme inattendue",
        "outcome : valeur hors de la liste",
    ]
    assert faults(at="2025-02-10T10:00:00") == ["at : date sans décalage horaire"]
    assert faults(SECRET=1) == ["champ inconnu"]
    for body in ("{", "[]", "1", "[" * 100_000):
        with pytest.raises(FactError):
            read_event(body)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_is_read(kind: str) -> None:
    more: dict[str, dict[str, Any]] = {
        "dmp_consultation": {"transaction": "TD0.10", "outcome": "success"},
        "dmp_integration": {"outcome": "success", "mode": "manual", "format": "cda"},
        "mss_reception": {"message_id": "<a@b>"},
        "mss_integration": {"messageId": "<a@b>", "outcome": "success", "mode": "auto", "format": "cda"},
        "user_census": {"user": {"profession": "medecin"}, "count": 12},
        "consent": {"stay": {"value": "S"}, "feeding": "INO"},
        "correspondent": {"stay": {"value": "S"}, "rpps": "1"},
    }
    told = {key: EVENT[key] for key in ("event_id", "at", "finess")}
    assert read_event(json.dumps({**told, "type": kind, **more.get(kind, {})}))["fact"] == kind


def test_a_census_may_name_its_profession_in_user() -> None:
    told = {key: EVENT[key] for key in ("event_id", "at", "finess")}
    census = read_event(
        json.dumps({**told, "type": "user_census", "user": {"profession": "medecin"}, "count": 12})
    )
    rows = compute(World().add_all([census]), "2025-02").rows
    assert find(rows, "CON-3", profession="medecin").denominator == 12
