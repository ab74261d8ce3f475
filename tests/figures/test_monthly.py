"""The monthly run: what is published when, what is looked at again, and that nothing is done for nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from gateway.exchange.identifiers import Clock
from gateway.journal import figures
from gateway.journal.fact_stream import Reader, Seen
from indicators.bookkeeper import Bookkeeper
from indicators.engine import find
from indicators.monthly import Monthly
from indicators.published import Published
from indicators.service import FigureService
from tests.exchange.harness import Running, running
from tests.figures.world import FINESS, WEB, Client, delivery, figure, stay, tell


class Time:
    """A clock that a test sets."""

    def __init__(self, iso: str) -> None:
        self.iso = iso

    def clock(self) -> Clock:
        return Clock(lambda: datetime.fromisoformat(self.iso).timestamp())


def at_work(r: Running, time: Time) -> tuple[FigureService, Monthly]:
    """The gateway's own figures, at another time."""
    service = r.gateway.figures
    assert service is not None
    for one in (service, service.books, service.monthly):
        one._clock = time.clock()
    return service, service.monthly


async def revisions(service: FigureService, month: str = "2025-02") -> list[int]:
    return [p.revision for p in await service.revisions(FINESS, month)]


async def heads(r: Running) -> dict[str, int]:
    found = await r.gateway.journal.read(figures.heads)
    return {h.month: h.revision for h in found if h.finess == FINESS}


async def test_a_month_is_published_when_its_cut_off_has_passed(tmp_path: Path) -> None:
    time = Time("2025-02-20T12:00:00+01:00")
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, time)
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        assert await heads(r) == {"2025-02": 0}
        time.iso = "2025-03-10T23:59:59+01:00"
        await monthly.run_once()
        assert await heads(r) == {"2025-03": 0, "2025-02": 0}
        # local midnight, ten days after the end of the month
        time.iso = "2025-03-11T00:00:00+01:00"
        await monthly.run_once()
        assert await heads(r) == {"2025-03": 0, "2025-02": 1}
        found = await service.month(FINESS, "2025-02")
        assert found is not None and not found.provisional
        assert found.cutoff == "2025-03-11T00:00:00+01:00"
        # one provisional row a month, and none beside what is published
        rows = await r.gateway.journal.read(
            lambda s: [
                tuple(x) for x in s.execute(text("SELECT month, revision FROM indicator_month ORDER BY 1"))
            ]
        )
        assert rows == [("2025-02", 1), ("2025-03", 0)]


async def test_after_an_import_all_months_since_the_first_fact_are_published(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        _, monthly = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        # a discharge that took place in November and was told in February
        late = stay(4, "2024-11-03T10:00:00+01:00", "2024-11-05T10:00:00+01:00")
        for fact in late:
            fact["at"] = "2025-02-01T10:00:00+01:00"
        await tell(r, [*stay(1), delivery(1), *late])
        await monthly.run_once()
        found = await heads(r)
        assert found == {
            **{f"2024-{m}": 1 for m in (11, 12)},
            **{f"2025-{m:02}": 1 for m in range(1, 6)},
            "2025-06": 0,
        }


async def test_an_establishment_that_lost_its_only_stay_is_revised(tmp_path: Path) -> None:
    """A sender is put into the mapping late: what was published of UNKNOWN must not count the stay a second time."""
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        unknown = {"finess": "UNKNOWN"}
        first = delivery(1, **unknown)
        await tell(r, [*stay(1, **unknown), first])
        await monthly.run_once()
        again = delivery(1, "2025-02-12T09:00:00+01:00", control_id="M2")
        again["document"] = first["document"] | {"unique_id": "1.2.1.2", "version": 2}
        await tell(r, [*stay(1), again])
        await monthly.run_once()
        of_all = {finess: await service.revisions(finess, "2025-02") for finess in ("UNKNOWN", FINESS)}
        assert [p.revision for p in of_all["UNKNOWN"]] == [2, 1] and [p.revision for p in of_all[FINESS]] == [
            1
        ]
        rows = {
            finess: [find(p.rows, i, document_code="ALL") for p in found for i in ("ALI-1", "ALI-2")]
            for finess, found in of_all.items()
        }
        assert [(r.numerator, r.denominator) for r in rows["UNKNOWN"]] == [
            (0, 0),
            (0, None),
            (1, 1),
            (1, None),
        ]
        assert [(r.numerator, r.denominator) for r in rows[FINESS]] == [(1, 1), (1, None)]


async def test_an_establishment_whose_document_an_earlier_word_gives_to_another_is_revised(
    tmp_path: Path,
) -> None:
    """The past is imported after the gateway's own words: the same submission, told earlier and of its true place."""
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        later = delivery(1, "2025-02-12T09:00:00+01:00", finess="UNKNOWN")
        await tell(r, [later])
        await monthly.run_once()
        earlier = {**later, "fact_id": "past-1", "at": "2025-02-11T09:00:00+01:00", "finess": FINESS}
        await tell(r, [earlier])
        await monthly.run_once()
        of_all = {finess: await service.revisions(finess, "2025-02") for finess in ("UNKNOWN", FINESS)}
        told = {f: [find(p.rows, "ALI-2", document_code="ALL").numerator for p in of_all[f]] for f in of_all}
        assert told == {"UNKNOWN": [0, 1], FINESS: [1]}
        # nothing is behind any more
        kept = service.books.kept, service.books.ended
        assert not (await service.current("2025-02", "UNKNOWN", within=60.0)).stale
        assert (service.books.kept, service.books.ended) == kept


async def test_nothing_is_computed_without_new_facts(tmp_path: Path) -> None:
    time = Time("2025-06-20T12:00:00+02:00")
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, time)
        machine = service.books.machine
        await monthly.run_once()
        assert machine.pid is None, "no fact at all"
        await tell(r, [*stay(1), delivery(1)])
        await monthly.run_once()
        await machine._kill()
        for _ in range(3):
            await monthly.run_once()
        assert machine.pid is None, "nothing new"
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, time)
        await monthly.run_once()
        assert service.books.machine.pid is None, "nor after a restart"
        time.iso = "2025-07-11T12:00:00+02:00"
        await monthly.run_once()
        assert service.books.machine.pid is not None, "a cut-off passed"
        assert (await heads(r))["2025-06"] == 1


async def test_late_facts_make_revisions_and_the_same_figures_make_none(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        assert await revisions(service) == [1]
        await tell(r, stay(7, "2025-06-01T10:00:00+02:00", "2025-06-02T10:00:00+02:00"))
        await monthly.run_once()
        assert await revisions(service) == [1]
        await tell(r, [delivery(2)])
        await monthly.run_once()
        assert await revisions(service) == [2, 1]
        newest = (await service.revisions(FINESS, "2025-02"))[0]
        assert any(c.sentence.startswith("ALI-1 (Tous types) : 1 / 2") for c in newest.changes)
        await monthly.run_once()
        assert await revisions(service) == [2, 1]
        # a rare one: only the regular run can find it (a later message gives the stay another patient)
        changed = stay(1, closed="2025-06-19T09:00:00+02:00", patient="p2")[1]
        movement = {"id": "A02", "action": "INSERT", "at": "2025-06-19T09:00:00+02:00"}
        await tell(r, [{**changed, "event": "A02", "fact_id": "moved", "movement": movement}])
        await monthly.run_once()
        assert await revisions(service) == [3, 2, 1]


LATE = "2025-04-02T10:00:00+02:00"


def late_of(told: dict[str, Any]) -> int:
    (quality,) = told["quality"]
    found: int = quality["late_successes"]
    return found


async def test_a_success_after_the_cut_off_is_told_beside_a_published_month(tmp_path: Path) -> None:
    """It changes no figure, so it makes no revision (decision 39)."""
    async with running(tmp_path, **WEB) as r:
        time = Time("2025-06-20T12:00:00+02:00")
        service, monthly = at_work(r, time)
        client = Client(r)
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        told = await client.month("month=2025-02")
        assert (late_of(told), told["computations"][0]["quality_at"]) == (0, "2025-06-20T10:00:00+00:00")
        # by the regular run
        time.iso = "2025-06-20T13:00:00+02:00"
        await tell(r, [delivery(2, at=LATE)])
        await monthly.run_once()
        told = await client.month("month=2025-02")
        (computation,) = told["computations"]
        assert (late_of(told), figure(told)) == (1, (1, 2))
        assert (computation["revision"], told["stale"]) == (1, False)
        assert computation["computed_at"] == "2025-06-20T10:00:00+00:00", "the figures are those of then"
        assert computation["quality_at"] == "2025-06-20T11:00:00+00:00"
        # by who asks, before any run
        await tell(r, [*stay(3), delivery(3, at=LATE)])
        told = await client.month("month=2025-02")
        assert (late_of(told), figure(told), await revisions(service)) == (2, (1, 3), [2, 1])
        await tell(r, [delivery(12, at=LATE, stay={"authority": "CHU", "value": "S2"})])
        assert late_of(await client.month("month=2025-02")) == 3
        assert await revisions(service) == [2, 1]
        page = await service.month(FINESS, "2025-02")
        assert page is not None and page.quality.late_successes == 3
        # a revision that is named is as it was published
        assert late_of(await client.month("month=2025-02&revision=1")) == 0
        first = await service.month(FINESS, "2025-02", 1)
        assert first is not None and (first.quality.late_successes, first.looked_at) == (0, None)
        # an event that says nothing of a delivery makes nobody compute
        await service.books.machine._kill()
        await tell(r, stay(7, "2025-06-01T10:00:00+02:00", "2025-06-02T10:00:00+02:00"))
        assert late_of(await client.month("month=2025-02")) == 3
        assert service.books.machine.pid is None


async def test_nobody_waits_in_vain_for_what_is_told_beside_right_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a computation takes long the page shows what there is, with its time, and the next one the rest."""
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        await tell(r, [delivery(2, at=LATE)])
        service.books.cost, service.books.ended = 5.0, float("-inf")
        # as long as it takes: not done before somebody looked
        looked, compute = asyncio.Event(), service.books.compute

        async def at_length(months: Sequence[str]) -> None:
            await looked.wait()
            await compute(months)

        monkeypatch.setattr(service.books, "compute", at_length)
        found = await service.current("2025-02", FINESS, within=2)
        assert not found.stale and found.found[0].quality.late_successes == 0
        (task,) = service._under_way.values()
        looked.set()
        await task
        found = await service.current("2025-02", FINESS, within=2)
        assert not found.stale and found.found[0].quality.late_successes == 1


async def test_what_is_told_beside_an_old_month_is_computed_when_it_is_asked_for(tmp_path: Path) -> None:
    """The regular run leaves months of more than a year ago alone; that must not make them seem up to date."""
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2026-11-20T12:00:00+01:00"))
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        before = await r.gateway.journal.read(lambda s: figures.looked(s, "2025-02"))
        await tell(r, [delivery(2, at=LATE)])
        for _ in range(2):
            await monthly.run_once()
        assert await r.gateway.journal.read(lambda s: figures.looked(s, "2025-02")) == before
        assert late_of(await Client(r).month("month=2025-02")) == 1
        assert await revisions(service) == [1]


async def test_what_was_seen_with_older_facts_does_not_replace_what_is_beside_a_month(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        journal = r.gateway.journal

        def looked(last: int, told: str) -> figures.Looked:
            return figures.Looked(FINESS, "2025-02", Seen(last), float(last), told)

        for one in (looked(5, "five"), looked(3, "three"), looked(6, "six")):
            await journal.write(lambda s, one=one: figures.look(s, [one]))  # type: ignore[misc]
            found = (await journal.read(lambda s: figures.looked(s, "2025-02")))[FINESS]
            assert found.content == ("six" if one.seen.last == 6 else "five")


async def test_old_months_are_looked_at_when_a_fact_reaches_them(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2026-11-20T12:00:00+01:00"))
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        checks = await r.gateway.journal.read(figures.checks)
        await tell(r, stay(7, "2026-11-01T10:00:00+01:00", "2026-11-02T10:00:00+01:00"))
        await monthly.run_once()
        now = await r.gateway.journal.read(figures.checks)
        assert now["2025-02"] == checks["2025-02"], "not computed again"
        assert now["2026-06"].seen.last == 7
        await tell(r, [delivery(2)])
        await monthly.run_once()
        assert await revisions(service) == [2, 1]


async def test_other_rules_alone_change_nothing_that_is_published(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        service, monthly = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        await monthly.run_once()
        checks = await r.gateway.journal.read(figures.checks)
        service.books.in_use.catalogue = dataclasses.replace(service.catalogue, version="other")
        await tell(r, stay(7, "2025-06-01T10:00:00+02:00", "2025-06-02T10:00:00+02:00"))
        await monthly.run_once()
        now = await r.gateway.journal.read(figures.checks)
        assert now["2025-02"] == checks["2025-02"]
        assert now["2025-06"].seen.last == 7


async def test_the_duty_runs_by_itself(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB, indicators={"refresh": 0.3}) as r:
        await tell(r, [*stay(1), *stay(2), delivery(1)])

        async def published() -> bool:
            assert r.gateway.figures is not None
            found: list[Published] = await r.gateway.figures.revisions(FINESS, "2025-02")
            return bool(found)

        async with asyncio.timeout(120):
            while not await published():
                await asyncio.sleep(0.1)


async def test_older_facts_never_replace_newer_ones(tmp_path: Path) -> None:
    """Two nodes computed: the one that read first keeps last."""
    async with running(tmp_path, **WEB) as r:
        service, _ = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        await tell(r, [*stay(1), *stay(2), delivery(1)])
        other = Bookkeeper(
            r.gateway.journal,
            service.books._source,
            service.books.in_use,
            {},
            Time("2025-06-20T12:00:00Z").clock(),
        )
        ask = other.machine.ask

        async def slowly(request: Any) -> Any:
            answer = await ask(request)
            await tell(r, [delivery(2)])
            await service.books.compute(["2025-02"])
            return answer

        other.machine.ask = slowly  # type: ignore[method-assign]
        try:
            await other.compute(["2025-02"])
        finally:
            await other.machine.close()
        assert await revisions(service) == [1]
        found = await service.month(FINESS, "2025-02")
        assert found is not None and found.facts == 6
        assert not await r.gateway.journal.read(
            lambda s: figures.changed(s, figures.checks(s)["2025-02"].seen)
        )


async def test_a_number_that_is_committed_late_is_not_missed(tmp_path: Path) -> None:
    """PostgreSQL gives numbers before commits: a reading says which were missing, and finds them afterwards."""
    async with running(tmp_path, **WEB) as r:
        service, _ = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        await tell(r, [*stay(1), delivery(1)])
        await tell(r, [*stay(2), delivery(2)])
        # as if the fifth had been committed after the sixth
        row = await r.gateway.journal.write(
            lambda s: tuple(s.execute(text("SELECT * FROM indicator_fact WHERE id = 6")).one())
        )
        await r.gateway.journal.write(
            lambda s: s.execute(text("UPDATE indicator_fact SET id = 100 WHERE id = 6")) and None
        )
        reader = Reader(service.books._source)
        assert len(list(reader.rows())) == 6
        assert reader.seen == Seen(100, ((6, 99),))
        assert Seen.of(json.loads(json.dumps(reader.seen.as_json()))) == reader.seen
        assert not reader.seen.has(6) and reader.seen.has(100) and not reader.seen.has(101)
        if not r.gateway.journal.shared:
            return  # SQLite has one writer: it cannot happen
        await service.books.compute(["2025-02"])
        seen = reader.seen
        assert not await r.gateway.journal.read(lambda s: figures.changed(s, seen))
        columns = "id, fact_id, digest, fact, finess, at, known_at, source, body"
        late = await r.gateway.journal.write(
            lambda s: (
                s.execute(
                    text(
                        f"INSERT INTO indicator_fact ({columns}) SELECT 50, 'late', digest, fact, finess, at, known_at,"
                        " source, replace(body, 'p2', 'p3') FROM indicator_fact WHERE id = 100"
                    )
                )
                and None
            )
        )
        assert late is None and row[0] == 6
        assert await r.gateway.journal.read(lambda s: figures.changed(s, seen))
        after = Reader(service.books._source, seen)
        assert len(list(after.rows())) == 1
        assert after.seen == Seen(100, ((6, 49), (51, 99)))
        again = Reader(service.books._source, until=seen)
        assert len(list(again.rows())) == 6, "the facts that the first reading had"


async def test_pages_get_new_figures_when_they_ask(tmp_path: Path) -> None:
    async with running(tmp_path, **WEB) as r:
        service, _ = at_work(r, Time("2025-06-20T12:00:00+02:00"))
        assert await service.establishments() == []
        await tell(r, [*stay(1), *stay(2), delivery(1)])

        async with asyncio.timeout(60):
            while not (found := await service.establishments()):
                await asyncio.sleep(0.1)
            while "2025-02" not in await service.months(FINESS):
                await asyncio.sleep(0.1)
        assert [(e.finess, e.name) for e in found] == [(FINESS, FINESS)]
        assert (await service.months(FINESS))[0] == "2025-06"
        await tell(r, [delivery(2)])
        async with asyncio.timeout(60):
            while (await service.month(FINESS, "2025-02")).revision != 2:  # type: ignore[union-attr]
                await asyncio.sleep(0.1)
        assert await service.refresh("2025-02") in ("computing", "idle")
        told = await Client(r).month(f"month=2025-02&finess={FINESS}")
        assert figure(told) == (2, 2)
