"""The store of the indicators' facts, on both databases."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from sqlmodel import Session

from gateway.errors import ConfigurationFault
from gateway.journal import facts
from gateway.journal.maintenance import Place
from gateway.journal.store import Journal
from gateway.settings import JournalSettings
from indicators.facts import Fact, read


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "postgres":
        return Place(Path(), JournalSettings(**request.getfixturevalue("database").table))
    return Place(tmp_path / "journal.sqlite", JournalSettings())


@pytest.fixture
async def journal(place: Place) -> AsyncIterator[Journal]:
    one = await Journal.open(place.path, place.settings)
    yield one
    await one.close()


def fact(number: int, **more: object) -> Fact:
    told = {
        "fact_id": f"f-{number}",
        "fact": "break_glass",
        "at": "2025-02-03T10:00:00+01:00",
        "finess": "750000001",
    }
    return read(json.dumps(told | more))


async def test_the_same_fact_changes_nothing_and_another_content_is_a_conflict(journal: Journal) -> None:
    one, two = facts.row(fact(1), "exchange"), facts.row(fact(2), "exchange")
    other = facts.row(fact(1, patient="p"), "import")
    again = facts.row(fact(1, known_at="2025-03-01T00:00:00Z"), "import")

    added = await journal.write(lambda s: facts.add(s, [one, two]))
    assert (added.new, added.same, added.conflicts) == (2, 0, [])
    added = await journal.write(lambda s: facts.add(s, [again, other]))
    assert (added.new, added.same, added.conflicts) == (0, 1, [1]), "when it was known is no content"
    assert await journal.read(facts.newest) == 2


async def test_an_id_with_a_nul_is_kept_and_found_again(journal: Journal) -> None:
    one = facts.row(fact(1, fact_id="a\0b"), "event")
    for expected in ((1, 0), (0, 1)):
        added = await journal.write(lambda s: facts.add_many(s, [one]))
        assert (added.new, added.same) == expected
    assert one.fact_id in await journal.read(lambda s: facts.known(s, [one.fact_id]))


async def test_facts_are_written_in_one_order_whichever_they_are_told_in(
    journal: Journal, place: Place
) -> None:
    """Two nodes with the same facts (an ADT that came to both) must not wait for each other in a circle."""
    rows = [facts.row(fact(n), "adt") for n in (3, 1, 2)]
    clash = facts.row(fact(2, patient="p"), "exchange")
    await journal.write(lambda s: facts.add(s, rows))
    assert [json.loads(body)["fact_id"] for body in facts.iter_facts(place)] == ["f-1", "f-2", "f-3"]
    added = await journal.write(lambda s: facts.add(s, [rows[0], clash, rows[1]]))
    assert (added.same, added.conflicts) == (2, [1]), "numbers are those of the list"


async def test_many_facts_are_written_all_or_none(journal: Journal, place: Place) -> None:
    await journal.write(lambda s: facts.add(s, [facts.row(fact(1), "exchange")]))
    rows = [facts.row(fact(n), "import") for n in (2, 1, 3, 2)]
    clash = facts.row(fact(1, patient="p"), "import")

    added = await journal.write(lambda s: facts.add_many(s, [*rows, clash]))
    assert (added.new, added.same, added.conflicts) == (0, 2, [4])
    assert await journal.read(facts.newest) == 1, "a conflict leaves nothing behind"
    added = await journal.write(lambda s: facts.add_many(s, rows))
    assert (added.new, added.same, added.conflicts) == (2, 2, [])
    found = [json.loads(body)["fact_id"] for body in facts.iter_facts(place)]
    assert found == ["f-1", "f-2", "f-3"]


async def test_a_stream_gives_every_fact_in_batches(
    journal: Journal, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "BATCH", 3)
    rows = [facts.row(fact(n, known_at=f"2025-02-0{1 + n}T00:00:00Z"), "import") for n in range(7)]
    await journal.write(lambda s: facts.add_many(s, rows))

    assert [read(body)["fact_id"] for body in facts.iter_facts(place)] == [f"f-{n}" for n in range(7)]
    known = facts.iter_facts(place, datetime(2025, 2, 4, tzinfo=UTC))
    assert [read(body)["fact_id"] for body in known] == ["f-0", "f-1", "f-2", "f-3"]
    some = facts.iter_facts(place, newest=2)
    assert [read(body)["fact_id"] for body in some] == ["f-0", "f-1"]


async def test_what_comes_while_a_stream_is_read_is_not_in_it(
    journal: Journal, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "BATCH", 2)
    await journal.write(lambda s: facts.add_many(s, [facts.row(fact(n), "event") for n in range(4)]))
    stream = facts.iter_facts(place)
    next(stream)
    await journal.write(lambda s: facts.add_many(s, [facts.row(fact(9), "event")]))
    assert len(list(stream)) == 3


def test_without_a_journal_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFault, match="there is no journal"):
        list(facts.iter_facts(Place(tmp_path / "none.sqlite", JournalSettings())))


async def test_the_secret_is_made_once(journal: Journal) -> None:
    assert await journal.write(lambda s: facts.keep_secret(s, b"one", "1")) == (b"one", "1")
    assert await journal.write(lambda s: facts.keep_secret(s, b"two", "2")) == (b"one", "1")


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("same", [True, False])
async def test_what_an_exchange_tells_while_many_are_written_is_no_new_fact(
    journal: Journal, place: Place, same: bool, whole: bool
) -> None:
    """Its transaction is open when the many are compared with what is known, and commits while they wait for it."""
    told, end = threading.Event(), threading.Event()
    rows = [facts.row(fact(n), "import") for n in (1, 2, 3)]

    def exchange(session: Session) -> facts.Added:
        added = facts.add(session, [rows[1] if same else facts.row(fact(2, patient="p"), "exchange")])
        told.set()
        assert end.wait(60)
        return added

    # with PostgreSQL another node; SQLite has one writer, which has them one after the other
    shared = place.settings.url is not None
    other = await Journal.open(place.path, place.settings) if shared else journal
    try:
        first = asyncio.create_task(other.write(exchange))
        assert await asyncio.to_thread(told.wait, 60)
        second = asyncio.create_task(journal.write(lambda s: facts.add_many(s, rows, whole=whole)))
        async with asyncio.timeout(60):
            while shared and not await journal.read(_somebody_waits):
                await asyncio.sleep(0.02)
        assert not second.done()
        end.set()
        assert (await first).new == 1
        added = await second
    finally:
        end.set()
        if shared:
            await other.close()
    expected = (2, 1, []) if same else (0, 0, [1]) if whole else (2, 0, [1])
    assert (added.new, added.same, added.conflicts) == expected
    assert added.fresh == ([0, 2] if added.new else [])
    bodies = {json.loads(b)["fact_id"]: json.loads(b) for b in facts.iter_facts(place)}
    assert len(bodies) == 1 + added.new and ("patient" in bodies["f-2"]) is not same


def _somebody_waits(session: Session) -> bool:
    """For the end of another's transaction."""
    waiting = session.connection().exec_driver_sql(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"
    )
    return bool(waiting.scalar_one())


async def test_a_fact_that_was_kept_before_something_of_it_was_hidden_is_the_same(journal: Journal) -> None:
    clear = facts.row(fact(1, patient="clear"), "import")
    await journal.write(lambda s: facts.add(s, [clear]))
    hidden = replace(facts.row(fact(1, patient="hidden"), "import"), former=clear.digest)
    other = facts.row(fact(1, patient="hidden"), "import")
    for write in (facts.add, facts.add_many):
        added = await journal.write(partial(write, facts=[hidden, other]))
        assert (added.new, added.same, added.conflicts) == (0, 1, [1])
