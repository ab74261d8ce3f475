"""Files of facts: JSON lines on disk → the world.

Purpose: read a file of facts once, line by line, with all that is wrong in it.
Guarantee: a repeated fact counts once; the same `fact_id` with another content is an error; nothing is computed from a
file with errors. Memory grows with the facts that matter, not with the file.
Fails: `FileFaults` with every faulty line (the first hundred); `ConfigurationFault` when the file cannot be read.
"""

from __future__ import annotations

from array import array
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from gateway.errors import BadInput, ConfigurationFault
from indicators.facts import FactError, digest, read
from indicators.world import World

SHOWN = 100
"""Faults that are named; all are counted."""
CONTRADICTION = "« fact_id » déjà donné, avec un autre contenu"
_PARTS = 4


class FileFaults(BadInput):
    """Lines that are not facts, or that contradict one another: sentences in French, without their values."""

    def __init__(self, faults: list[str], count: int) -> None:
        super().__init__(f"{count} faulty lines")
        self.faults = faults
        self.count = count


def read_file(path: Path, as_of: datetime | None = None) -> World:
    """The world that a file tells, as known at `as_of` (None: all of it)."""
    world = World(as_of)
    faults: list[str] = []
    count = 0
    ids = array("q")
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
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
                world.add(fact)
        contradictions = _contradictions(path, _twice(ids))
    except OSError as e:
        raise ConfigurationFault(f"{path}: {e.strerror}") from e
    if faults or contradictions:
        raise FileFaults([*faults, *contradictions[:SHOWN]], count + len(contradictions))
    return world


def _twice(ids: array[int]) -> set[int]:
    found: set[int] = set()
    for part in range(_PARTS):
        # in parts: a sorted list of a million numbers would be the highest point of memory
        ordered = sorted(i for i in ids if i % _PARTS == part)
        found.update(a for a, b in pairwise(ordered) if a == b)
    return found


def _contradictions(path: Path, twice: set[int]) -> list[str]:
    """Lines whose `fact_id` was told before with another content."""
    found: list[str] = []
    if not twice:
        return found
    digests: dict[str, str] = {}
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                fact = read(line)
            except FactError:
                continue
            if hash(fact["fact_id"]) in twice and digests.setdefault(fact["fact_id"], digest(fact)) != digest(
                fact
            ):
                found.append(f"ligne {number} : {CONTRADICTION}")
    return found
