"""The worker process: `python -m indicators.worker`. Facts of the journal → figures and lists.

Purpose: a fold holds the GIL for seconds and takes hundreds of megabytes; it does so here, where it keeps no ACK
waiting. Worlds stay folded between requests: the next one reads only what is new.

Wire (standard input and output): a line of JSON for each request (`Request`), answered by a line of JSON (`Answer`) and
the bytes that it announces. End of input ends the process.

Guarantee: nothing is written anywhere; what libraries print goes nowhere. The kernel ends the process when a request
takes twice its seconds, or when the gateway is gone. No core file, last in line for processors.
Fails: a request that cannot be done is answered with its fault; a crash is the caller's to see.
"""

from __future__ import annotations

import gc
import signal
import sys
import time
from collections import OrderedDict
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from gateway.childprocess import be_a_good_neighbour, own_the_wire
from gateway.errors import BadInput, EnvironmentFault
from gateway.journal.fact_stream import Reader, Seen, Source
from indicators import periods, stored, told
from indicators.catalogue import Catalogue, default, parse, with_zones
from indicators.engine import compute, ground_of, same_ground
from indicators.explain import explain
from indicators.sheet import Cell
from indicators.view import Ground
from indicators.world import World

ROOM = 300_000
"""Facts of all worlds that are kept: beyond, only the one in use is."""
KEPT = 4
"""Worlds."""
_ANY = "2000-01"
"""Establishments are the same in all months."""


class Listed(msgspec.Struct):
    """The list that is wanted."""

    finess: str
    month: str
    cell: tuple[str, ...]
    revision: int = 0


class Request(msgspec.Struct):
    """What is wanted: months, or a list."""

    seconds: float
    path: str | None = None
    url: str | None = None
    password_file: str | None = None
    catalogue: str | None = None
    """Its text; None: that of the package."""
    time_zones: dict[str, str] = {}
    as_of: float | None = None
    until: dict[str, object] | None = None
    """`Seen` of another reading: the same facts."""
    months: list[str] = []
    finess: str | None = None
    explain: Listed | None = None


class Part(msgspec.Struct):
    """The figures of one establishment and month; `size` bytes of them follow."""

    finess: str
    month: str
    cutoff: str
    cutoff_at: float
    told: bool
    """Facts tell something of the time before the end of the month."""
    digest: str
    size: int


class Answer(msgspec.Struct):
    """What was done. `fault`: why nothing was."""

    seen: dict[str, object] = {}
    facts: int = 0
    since: dict[str, float] = {}
    """FINESS → instant of the first thing that facts tell."""
    rule_version: str = ""
    catalogue_version: str = ""
    parts: list[Part] = []
    listed: int | None = None
    """Bytes of the list; None: there is no such row."""
    cpu: float = 0.0
    """Seconds of processor that it cost: the same on a busy machine."""
    fault: str = ""
    wrong: bool = False
    """The fault is that of the request, or of the settings: no other try will do."""


class _Kept:
    """A folded world."""

    def __init__(self, as_of: float | None) -> None:
        self.world = World(None if as_of is None else datetime.fromtimestamp(as_of, UTC))
        self.seen = Seen()
        self._ground: Ground | None = None
        self._arranged = -1

    def ground(self, month: str, catalogue: Catalogue) -> Ground:
        """The world arranged for a month."""
        if not same_ground(catalogue):
            return ground_of(self.world, month, catalogue, None)
        if (
            self._ground is None
            or self._arranged != self.world.facts
            or self._ground.catalogue is not catalogue
        ):
            self._ground = None
            self._ground = ground_of(self.world, month, catalogue, None)
            self._arranged = self.world.facts
        return self._ground


_Key = tuple[float | None, Seen | None]


class Worker:
    """Answers requests, one after the other."""

    def __init__(self) -> None:
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._source = Source()
        self._chosen: tuple[tuple[str | None, tuple[tuple[str, str], ...]], Catalogue] | None = None

    def answer(self, request: Request) -> tuple[Answer, list[bytes]]:
        """What is wanted, and the bytes that follow."""
        try:
            return self._answer(request)
        except (EnvironmentFault, BadInput) as e:
            # a world that was half told is of no use
            self._kept.clear()
            return Answer(fault=str(e), wrong=isinstance(e, BadInput)), []

    def _answer(self, request: Request) -> tuple[Answer, list[bytes]]:
        catalogue = self._catalogue(request)
        kept = self._world(request)
        world = kept.world
        answer = Answer(
            seen=kept.seen.as_json(),
            facts=world.facts,
            since={f: t for f in kept.ground(_ANY, catalogue).finesses if (t := world.since(f)) is not None},
            rule_version=catalogue.rule_version,
            catalogue_version=catalogue.version,
        )
        content: list[bytes] = []
        if request.explain is not None:
            wanted = request.explain
            try:
                explanation = explain(
                    world,
                    wanted.month,
                    wanted.finess,
                    Cell(*wanted.cell),
                    catalogue=catalogue,
                    revision=wanted.revision,
                    ground=kept.ground(wanted.month, catalogue),
                )
            except LookupError:
                return answer, content
            content.append(stored.pack_explanation(explanation))
            answer.listed = len(content[0])
            return answer, content
        for month in request.months:
            ground = kept.ground(month, catalogue)
            for finess in ground.finesses if request.finess is None else [request.finess]:
                result = compute(world, month, finess=finess, catalogue=catalogue, revision=0, ground=ground)
                content.append(stored.pack(result.rows, result.quality[0]))
                where = periods.zone_of(finess, catalogue.time_zones)
                cutoff = periods.cutoff(month, where, catalogue.options.cutoff_days)
                since = world.since(finess)
                answer.parts.append(
                    Part(
                        finess,
                        month,
                        periods.iso(cutoff, where) or "",
                        cutoff,
                        since is not None and since < periods.month(month, where).end,
                        stored.digest(result.rows),
                        len(content[-1]),
                    )
                )
        return answer, content

    def _catalogue(self, request: Request) -> Catalogue:
        key = (request.catalogue, tuple(sorted(request.time_zones.items())))
        if self._chosen is None or self._chosen[0] != key:
            made = default() if request.catalogue is None else parse(request.catalogue)
            self._chosen = key, with_zones(made, request.time_zones)
        return self._chosen[1]

    def _world(self, request: Request) -> _Kept:
        """The world of the facts that are wanted: one that is there already, brought up to date, or a new one."""
        source = Source(
            None if request.path is None else Path(request.path),
            request.url,
            None if request.password_file is None else Path(request.password_file),
        )
        if source != self._source:
            self._kept.clear()
            self._source = source
        until = None if request.until is None else Seen.of(request.until)
        newest = self._kept.get((None, None))
        if until is not None and newest is not None and newest.seen == until:
            until = None
        elif until is None and request.as_of is None and newest is not None:
            self._read(request, newest, newest.seen, None)
        key: _Key = (request.as_of, until)
        kept = self._kept.get(key)
        if kept is None or request.as_of is not None:
            # what was known then may have been told since (an import of old facts): read again
            self._make_room(key)
            kept = self._kept[key] = _Kept(request.as_of)
            self._read(request, kept, None, until)
            self._make_room(key)
        self._kept.move_to_end(key)
        return kept

    def _read(self, request: Request, kept: _Kept, after: Seen | None, until: Seen | None) -> None:
        reader = Reader(self._source, after, until)
        tell, read = kept.world.tell, told.read
        for at, body in reader.rows(request.as_of):
            tell(read(body), at)
        kept.seen = reader.seen

    def _make_room(self, keep: _Key) -> None:
        """Worlds are full of circles: they go when collections, which are off, are asked for."""
        gone = False
        others = [key for key in self._kept if key != keep]
        while others and (len(self._kept) > KEPT or sum(k.world.facts for k in self._kept.values()) > ROOM):
            del self._kept[others.pop(0)]
            gone = True
        if gone:
            gc.collect()


def main() -> int:
    """Serve until the end of input."""
    requests, answers = own_the_wire()
    be_a_good_neighbour()
    # a fold makes millions of objects that live as long as it does: collections would only walk over them
    gc.disable()
    worker = Worker()
    decode = msgspec.json.Decoder(Request).decode
    while line := requests.readline():
        request = decode(line)
        # SIGALRM is left to its default: it ends the process whatever it does
        signal.setitimer(signal.ITIMER_REAL, 2 * request.seconds + 1)
        began = time.process_time()
        answer, content = worker.answer(request)
        answer.cpu = time.process_time() - began
        signal.setitimer(signal.ITIMER_REAL, 0)
        _say(answers, answer, content)
    return 0


def _say(answers: IO[bytes], answer: Answer, content: list[bytes]) -> None:
    answers.write(msgspec.json.encode(answer) + b"\n")
    for piece in content:
        answers.write(piece)
    answers.flush()


if __name__ == "__main__":
    sys.exit(main())
