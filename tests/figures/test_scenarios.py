"""All hand-computed cases through the journal and the worker process: what is trusted gives what is checked."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.journal import facts as journal_facts
from gateway.journal.sql import QUERIES
from gateway.journal.sqlite import SqliteJournal
from gateway.settings import JournalSettings
from indicators import facts, stored, told
from indicators.catalogue import PATH
from indicators.engine import Result
from indicators.machine import Machine
from indicators.worker import Request
from tests.indicators.scenario import cases, differences

CASES = cases()


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal without facts."""
    path = tmp_path_factory.mktemp("journal") / "journal.sqlite"
    SqliteJournal(path, JournalSettings()).shut()
    return path


def fill(empty: Path, path: Path, lines: Iterable[str]) -> None:
    """A journal with these facts, as an import leaves them."""
    path.write_bytes(empty.read_bytes())
    with sqlite3.connect(path) as db:
        for line in lines:
            row = journal_facts.row(facts.read(line), "import")
            db.execute(QUERIES["insert_indicator_fact"], journal_facts._parameters(row))
    db.close()


def catalogue_of(options: dict[str, Any]) -> str | None:
    """A catalogue with other choices, as a hospital would write it."""
    if not options:
        return None
    data = yaml.safe_load(PATH.read_text(encoding="utf-8"))
    for name, value in options.items():
        data["options"][name]["value"] = value
    return yaml.safe_dump(data, allow_unicode=True)


@pytest.mark.sqlite
async def test_every_case_through_the_journal_and_the_worker(empty: Path, tmp_path: Path) -> None:
    machine = Machine()
    by_hand = 0
    try:
        for number, case in enumerate(CASES):
            if "cutoff" in case.told:
                by_hand += 1  # of the command line alone: published months have theirs
                continue
            lines = [json.dumps(f, ensure_ascii=False) for f in case.facts()]
            path = tmp_path / f"{number}.sqlite"
            fill(empty, path, lines)
            month = case.told["month"]
            as_of = None if case.as_of is None else case.as_of.timestamp()
            answer, content = await machine.ask(
                Request(
                    seconds=0,
                    path=str(path),
                    months=[month],
                    as_of=as_of,
                    catalogue=catalogue_of(case.options),
                )
            )
            expected = case.compute(lines)
            found = Result(month, answer.catalogue_version, [])
            for part, packed in zip(answer.parts, content, strict=True):
                told_as_of = next((r.as_of for r in expected.rows if r.finess == part.finess), None)
                rows, quality = stored.unpack(
                    packed, part.finess, part.cutoff, 1, answer.rule_version, told_as_of
                )
                found.rows.extend(rows)
                found.quality.append(quality)
                assert part.digest == stored.digest(rows)
            assert not differences(case, found), (case.file, case.name)
            assert found.rows == expected.rows, (case.file, case.name)
            assert found.quality == expected.quality, (case.file, case.name)
            path.unlink()
    finally:
        await machine.close()
    assert len(CASES) - by_hand >= 105


@pytest.mark.sqlite
def test_a_stored_fact_read_quickly_tells_what_the_checked_one_tells(tmp_path: Path) -> None:
    kinds = set()
    for case in CASES:
        for fact in case.facts():
            checked = facts.read(json.dumps(fact))
            one, two = told.of(checked), told.read(facts.canonical(checked))
            kinds.add(type(one))
            assert _plain(one) == _plain(two), fact["fact_id"]
    assert len(kinds) == 12, "every kind of fact"


def _plain(fact: told.Any_) -> dict[str, Any]:
    def of(value: object) -> object:
        if isinstance(value, told.Sent):
            return {
                **{f: getattr(value, f) for f in value.__struct_fields__ if f != "date"},
                "date": told.instant_of(value.date),
            }
        if isinstance(value, told.Part):
            return {f: of(getattr(value, f)) for f in value.__struct_fields__}
        return value.timestamp() if isinstance(value, datetime) else value

    found = of(fact)
    assert isinstance(found, dict)
    return found
