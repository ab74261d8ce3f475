"""The lines of a file of facts, checked in a process of its own: `python -m indicators.lines < FILE`.

Purpose: a file comes from anywhere, so that every line is held against the published model; that takes as long as
folding the facts. The two are done at the same time: this process checks, and hands on what `indicators.files` folds.

Wire (standard output): frames, each a length of four bytes and a `Batch`. The last one has `end`.

Guarantee: every line is looked at, whatever is wrong with others; the same `fact_id` with another content is a fault.
What is handed on is what the model read, not what was written.
Fails: a crash is the reader's to see: there is no last frame.
"""

from __future__ import annotations

import gc
import sys
from array import array
from codecs import BOM_UTF8
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from typing import IO

import msgspec

from indicators import told
from indicators.facts import FactError, digest, read

SHOWN = 100
"""Faults that are named; all are counted."""
CONTRADICTION = "« fact_id » déjà donné, avec un autre contenu"
BATCH = 1_000
_PARTS = 4
_LENGTH = 4
_MOST = 64_000_000
"""Bytes of a frame."""


class Batch(msgspec.Struct, array_like=True, gc=False):
    """Facts and their instants; at the end the faults."""

    facts: list[told.Any_]
    at: list[datetime]
    end: bool = False
    faults: list[str] = []
    count: int = 0
    """Of all faults."""


def check(lines: IO[bytes], as_of: datetime | None, give: Callable[[Batch], None]) -> None:
    """All lines of a file, which can be read twice: the facts known at `as_of` (None: all), and the faults."""
    faults: list[str] = []
    count = 0
    ids = array("q")
    batch = Batch([], [])
    for number, line in _numbered(lines):
        if line.isspace():
            continue
        try:
            fact = read(line)
        except FactError as e:
            count += 1
            if len(faults) < SHOWN:
                faults.append(f"ligne {number} : {e}")
            continue
        # eight bytes for each id instead of its text: enough to see that none, or which few, come twice
        ids.append(hash(fact["fact_id"]))
        at = fact["at"]
        if as_of is None or (fact.get("known_at") or at) <= as_of:
            batch.facts.append(told.of(fact))
            batch.at.append(at)
            if len(batch.facts) >= BATCH:
                give(batch)
                batch = Batch([], [])
    lines.seek(0)
    contradictions = _contradictions(lines, _twice(ids))
    batch.end, batch.count = True, count + len(contradictions)
    batch.faults = [*faults, *contradictions[:SHOWN]]
    give(batch)


def _numbered(lines: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """From 1; the mark that some programs put before UTF-8 is no part of the first."""
    for number, line in enumerate(lines, 1):
        yield number, line.removeprefix(BOM_UTF8) if number == 1 else line


def _twice(ids: array[int]) -> set[int]:
    found: set[int] = set()
    for part in range(_PARTS):
        # in parts: a sorted list of a million numbers would be the highest point of memory
        ordered = sorted(i for i in ids if i % _PARTS == part)
        found.update(a for a, b in pairwise(ordered) if a == b)
    return found


def _contradictions(lines: IO[bytes], twice: set[int]) -> list[str]:
    """Lines whose `fact_id` was told before with another content."""
    found: list[str] = []
    if not twice:
        return found
    digests: dict[str, str] = {}
    for number, line in _numbered(lines):
        try:
            fact = read(line)
        except FactError:
            continue
        if hash(fact["fact_id"]) in twice:
            said = digest(fact)
            if digests.setdefault(fact["fact_id"], said) != said:
                found.append(f"ligne {number} : {CONTRADICTION}")
    return found


def batches(wire: IO[bytes]) -> Iterator[Batch]:
    """What the process says, up to its last frame or to where it stopped."""
    decode = msgspec.msgpack.Decoder(Batch).decode
    while len(head := wire.read(_LENGTH)) == _LENGTH:
        size = int.from_bytes(head, "big")
        if size > _MOST:
            return  # not ours
        body = wire.read(size)
        try:
            yield decode(body)
        except msgspec.MsgspecError:
            return


def main() -> None:
    """Check standard input; the argument, if any, is `as_of` in seconds since 1970."""
    gc.disable()
    out = sys.stdout.buffer
    encode = msgspec.msgpack.Encoder().encode

    def give(batch: Batch) -> None:
        body = encode(batch)
        out.write(len(body).to_bytes(_LENGTH, "big"))
        out.write(body)

    as_of = datetime.fromtimestamp(float(sys.argv[1]), UTC) if len(sys.argv) > 1 else None
    check(sys.stdin.buffer, as_of, give)
    out.flush()


if __name__ == "__main__":
    main()
