"""The catalogue of bad inputs through `validate`: each report is the ACK that the catalogue expects over MLLP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from gateway.hl7.framing import encode
from gateway.validation.overrides import Options
from tests.catalogue import entries
from tests.catalogue.entry import Entry, Good
from tests.catalogue.test_catalogue import converse
from tests.catalogue.worlds import World
from tests.validation.test_report import SCHEMA

ONLY_WHEN_RECEIVED = {"EXC-SAME-CONTROL-ID", "EXC-ALREADY-TRANSMITTED"}
"""What depends on a message that came before with the same MSH-10, or on deliveries that were made."""
ENTRIES = [
    e
    for e in entries.CATALOGUE
    if e.world in ("production", "interop")
    and not e.raw
    and len(e.answers) == 1
    and not any(error.split()[0] in ONLY_WHEN_RECEIVED for error in e.answers[0].errors)
]


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, World]]:
    made = {name: World(name, tmp_path_factory.mktemp(name)) for name in ("production", "interop")}
    yield made
    for world in made.values():
        world.stop()


def written(error: dict[str, Any]) -> str:
    """An entry of `errors` as the catalogue writes it."""
    code = f"{error['err3']}/{error['err5']}" if error["err5"] else error["err3"]
    text = f"{error['rule']} {error['err2'] or '-'} {code}"
    if error["rule"] == "META-MISSING":
        text += " " + (re.search(r"[A-Z_]{6,}", error["text"]) or [""])[0]
    return text


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: e.id)
def test_the_report_of_a_bad_input(entry: Entry, worlds: dict[str, World]) -> None:
    world = worlds[entry.world]
    good = Good(5000 + ENTRIES.index(entry))
    for message in entry.before(good) if entry.before else ():
        converse(world, encode(message), 1, False)
    gateway = world.gateway
    report = world.call(gateway.validators[gateway.preset].validate(encode(entry.make(good)), Options()))
    body = report.as_json()
    jsonschema.Draft202012Validator(SCHEMA).validate(body)
    expected = entry.answers[0]
    found = sorted(written(e) for e in body["errors"] if e["severity"] == "reject")
    assert (body["ack"], found) == (expected.code, sorted(expected.errors))


def test_most_of_the_catalogue_is_here() -> None:
    assert len(ENTRIES) > 100
