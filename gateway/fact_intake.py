"""Facts that others bring: imports of the past, events of the DPI, its users.

Purpose: what the API and the command line share, with or without a running gateway: every line read, all faults told,
then written to the journal.

Guarantee: nothing of a file with a fault or a conflict is written. No INS is kept of what is told. A file is looked at
whole before its first line is written; up to `GROUP` facts are one commit, a longer file is several (a stop in the
middle leaves some: the same file again brings the rest, and changes nothing of the others). Memory holds a group,
whatever the file; the event loop is never kept for more than some milliseconds.
Fails: `FactFaults` (`conflict`: what is told contradicts what is known), `JournalUnavailable`.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from codecs import BOM_UTF8
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import IO, Any, Literal

from sqlmodel import Session

from gateway.errors import BadInput
from gateway.exchange.identifiers import Clock
from gateway.exchange.opaque import without_ins
from gateway.journal import facts, records
from gateway.journal.facts import NewFact, Source
from gateway.journal.store import Journal
from indicators.events import fact_of
from indicators.facts import Fact, FactError, digest, read
from indicators.lines import CONTRADICTION, SHOWN

log = logging.getLogger("gateway.facts")

GROUP = 200
"""Facts of one commit."""
SLICE = 20
"""Lines that are read without letting others in."""
MAX_LINE = 100_000
"""Bytes of a line."""


class FactFaults(BadInput):
    """What is wrong: French sentences with their places (the first hundred), without values; `count` of them all."""

    def __init__(self, faults: Sequence[Any], count: int, *, conflict: bool = False) -> None:
        super().__init__(f"{count} faulty lines")
        self.faults = list(faults)
        self.count = count
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of a file."""

    new: int
    same: int
    """Known already."""


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """What came of one event. `position` from 1."""

    position: int
    event_id: str
    status: Literal["new", "known", "conflict"]


class FactIntake:
    """One per process."""

    def __init__(self, journal: Journal, secret: bytes, clock: Clock | None = None) -> None:
        """`secret`: of patients' keys."""
        self._journal = journal
        self._secret = secret
        self._clock = clock or Clock()
        self._one = asyncio.Lock()

    # --- files --------------------------------------------------------------------------------------------------------

    async def file(self, lines: IO[bytes], by: str) -> Taken:
        """Import a file of facts (JSON lines), which is read twice. Raises `FactFaults`."""
        async with self._one:
            await self._look(lines)
            new = same = 0
            group: list[NewFact] = []
            async for _number, fact in self._facts(lines, _Faults()):
                group.append(self._row(fact, "import"))
                if len(group) == GROUP:
                    added = await self._write(group)
                    new, same = new + added.new, same + added.same
                    group = []
            added = await self._write(group)
            taken = Taken(new + added.new, same + added.same)
            await self._note("facts_imported", by, new=taken.new, same=taken.same)
        return taken

    async def _look(self, lines: IO[bytes]) -> None:
        """All that is wrong with a file: lines that are no facts, contradictions inside it and with the journal."""
        faults = _Faults()
        # ids and digests of the whole file, in a temporary file of the database's own
        with closing(sqlite3.connect("", check_same_thread=False)) as seen:
            seen.execute("PRAGMA journal_mode = OFF")
            seen.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, digest TEXT) WITHOUT ROWID")
            group: list[tuple[int, NewFact]] = []

            async def compare() -> None:
                rows = [row for _n, row in group]
                known = await self._journal.read(lambda s: facts.known(s, [row.fact_id for row in rows]))
                told = await asyncio.to_thread(_first_told, seen, rows)
                for number, row in group:
                    clash = not row.is_told(known.get(row.fact_id, row.digest))
                    if clash or told[row.fact_id] != row.digest:
                        faults.clash(number)
                group.clear()

            async for number, fact in self._facts(lines, faults):
                group.append((number, self._row(fact, "import")))
                if len(group) == GROUP:
                    await compare()
            await compare()
        faults.check()

    async def _facts(self, lines: IO[bytes], faults: _Faults) -> AsyncIterator[tuple[int, Fact]]:
        """(line, fact) of every line that is one; what is wrong with the others goes to `faults`."""
        lines.seek(0)
        for number, line in _lines(lines):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            if line is None:
                faults.of_line(number, f"plus de {MAX_LINE} octets")
                continue
            if not line or line.isspace():
                continue
            try:
                fact = read(line)
            except FactError as e:
                faults.of_line(number, str(e))
                continue
            yield number, fact

    async def _write(self, group: list[NewFact]) -> facts.Added:
        if not group:
            return facts.Added()
        began = time.monotonic()
        added = await self._journal.write(partial(facts.add_many, facts=group))
        # as long again for the others: an import has time, an ACK has not
        await asyncio.sleep(time.monotonic() - began)
        if added.conflicts:
            # somebody else told one of them since the file was looked at
            raise FactFaults([CONTRADICTION], len(added.conflicts), conflict=True)
        return added

    async def given(self, told: Sequence[Fact], source: Source, by: str) -> Taken:
        """Facts that were read already (a census), as a file of them. Raises `FactFaults`."""
        async with self._one:
            rows = [self._row(fact, source) for fact in told]
            groups = [rows[start : start + GROUP] for start in range(0, len(rows), GROUP)]
            faults = _Faults()
            for start, group in enumerate(groups):
                ids = [row.fact_id for row in group]
                known = await self._journal.read(partial(facts.known, fact_ids=ids))
                for number, row in enumerate(group, start * GROUP + 1):
                    if not row.is_told(known.get(row.fact_id, row.digest)):
                        faults.clash(number)
            faults.check("fait")
            new = same = 0
            for group in groups:
                added = await self._write(group)
                new, same = new + added.new, same + added.same
            await self._note("users_told", by, new=new, same=same)
        return Taken(new, same)

    # --- events -------------------------------------------------------------------------------------------------------

    async def events(self, told: Sequence[Any]) -> list[TakenEvent]:
        """Events of the DPI as they were read from JSON. All of them are events, or nothing is written; one that
        contradicts what is known is not written, the others are. Raises `FactFaults`.
        """
        now = self._clock.utc()
        rows: list[NewFact] = []
        faults: list[dict[str, Any]] = []
        for number, event in enumerate(told, 1):
            if number % SLICE == 0:
                await asyncio.sleep(0)
            try:
                rows.append(self._row(_known_now(_event(event), now), "event"))
            except FactError as e:
                faults.append({"position": number, "faults": e.faults})
        if faults:
            raise FactFaults(faults, len(faults))
        added = await self._journal.write(lambda s: _add_events(s, rows))
        return [
            TakenEvent(number, row.fact_id, status)
            for number, (row, status) in enumerate(zip(rows, added, strict=True), 1)
        ]

    def _row(self, fact: Fact, source: Source) -> NewFact:
        """As it is kept: no INS in it (docs/decisions/0043)."""
        kept = without_ins(fact, self._secret)
        row = facts.row(kept, source)
        return row if kept is fact else replace(row, former=digest(fact))

    async def _note(self, kind: str, by: str, **data: Any) -> None:
        now = self._clock.now()
        await self._journal.write(lambda s: records.add_fact(s, kind, now, by=by, **data))
        log.warning("%s by %s: %s", kind, by, data)


class _Faults:
    """What is wrong with a file: the first faults by line, and how many there are."""

    def __init__(self) -> None:
        self._first: list[tuple[int, str]] = []
        self.unread = 0
        self.clashes = 0

    def of_line(self, number: int, words: str) -> None:
        """A line that is no fact."""
        self.unread += 1
        if self.unread <= SHOWN:
            self._first.append((number, words))

    def clash(self, number: int) -> None:
        """A line that contradicts another one, or what is known."""
        self.clashes += 1
        if self.clashes <= SHOWN:
            self._first.append((number, CONTRADICTION))

    def check(self, what: str = "ligne") -> None:
        """Raises `FactFaults` when there is any."""
        if self.unread or self.clashes:
            told = [f"{what} {n} : {words}" for n, words in sorted(self._first)[:SHOWN]]
            raise FactFaults(told, self.unread + self.clashes, conflict=not self.unread)


def _lines(lines: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Numbered lines; None for one that is too long."""
    number = 0
    while line := lines.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(BOM_UTF8) or b"\n"
        if len(line) <= MAX_LINE:
            yield number, line
            continue
        while line and not line.endswith(b"\n"):
            line = lines.readline(MAX_LINE)
        yield number, None


def _first_told(seen: sqlite3.Connection, rows: Sequence[NewFact]) -> dict[str, str]:
    """id → the digest that the file told first."""
    seen.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", [(r.fact_id, r.digest) for r in rows])
    found: dict[str, str] = {}
    for r in rows:
        found[r.fact_id] = seen.execute("SELECT digest FROM seen WHERE id = ?", (r.fact_id,)).fetchone()[0]
    return found


def _event(told: Any) -> Fact:
    if not isinstance(told, dict):
        raise FactError(["l'événement n'est pas un objet JSON"])
    return fact_of(told)


def _known_now(fact: Fact, now: datetime) -> Fact:
    """It is known when we got it, whatever its sender says."""
    fact["known_at"] = now.astimezone(UTC)
    return fact


def _add_events(session: Session, rows: Sequence[NewFact]) -> list[Literal["new", "known", "conflict"]]:
    added = facts.add_many(session, rows, whole=False)
    conflicts, fresh = set(added.conflicts), set(added.fresh)
    return [
        "conflict" if number in conflicts else "new" if number in fresh else "known"
        for number in range(len(rows))
    ]
