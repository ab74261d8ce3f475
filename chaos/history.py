"""What was seen from outside during one seed, as JSON lines: the DPI's side, the counterparts' side, the stops.

Times are seconds since the epoch of the harness's machine; its clock never jumps (only the gateway's does).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar, get_args

SERVER = -1
"""In the place of a node's number: the database server."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The DPI wrote (a part of) a message."""

    at: float
    key: str
    attempt: int
    how: str
    """`clean` or one of `scenario.HOW`."""
    whole: bool
    """The gateway may have the complete frame."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An ACK came back for an attempt."""

    at: float
    key: str
    attempt: int
    code: str
    acknowledged: str
    """MSA-2."""
    ack: str
    """Its bytes, as Latin-1."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An attempt ended without an ACK."""

    at: float
    key: str
    attempt: int
    why: str


@dataclass(frozen=True, slots=True)
class Told:
    """A ZAM reached the DPI (also one that it did not answer)."""

    control_id: str
    answered: str
    """MSH-10 of the message that it is about."""
    event: str
    address: str
    accepted: bool
    code: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Submitted:
    """A TD2.1, TD3.3c or TD3.1b call at the DMP."""

    at: float
    action: str
    """submit (first version or replacement), delete or look."""
    uid: str
    result: str
    kept: bool
    fault: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A document that the DMP has at the end."""

    uid: str
    status: str
    replaces: str
    """uid of the document that it replaced, "" for none."""
    sha1: str


@dataclass(frozen=True, slots=True)
class Mailed:
    """A mail that the operator took."""

    at: float
    key: str
    recipient: str
    message_id: str
    sha256: str
    answer: str
    """What the gateway was told: `250`, `cut`, `silent`."""
    documents: tuple[str, ...]
    """SHA-1 of the documents in its archive."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """A node ended; what its journal had in hand at that instant."""

    at: float
    node: int
    """`SERVER`: the database of several nodes."""
    how: str
    """kill, step, power_cut, term, end (of the seed), start (it could not: its disk or its database was spoilt), server
    (the database crashed), or crash (nobody asked for it)."""
    detail: str
    in_hand: tuple[tuple[str, str, str], ...] = ()
    """(MSH-10, destination, recipient) of deliveries that were being sent; of several nodes `TakenOver` says it."""
    acknowledged: tuple[str, ...] | None = None
    """MSH-10 that the journal had answered AA; None: not read at this stop (its database was down too)."""


@dataclass(frozen=True, slots=True)
class Hung:
    """A node lived and could not give signs of life: stopped by a signal, or cut off from its database."""

    at: float
    over: float
    node: int
    why: str
    """Of `scenario.HANGS`, or `STARVED`."""


@dataclass(frozen=True, slots=True)
class Left:
    """A node of several is none any more for the journal: it left in order, or others took it for dead."""

    since: float
    """When it joined."""
    at: float
    node: int
    back: float | None
    """When the same process, alive after all, joined again."""


@dataclass(frozen=True, slots=True)
class TakenOver:
    """A delivery that was being sent by a node (by the journal's own word) was taken from its hands."""

    claimed: float
    at: float
    again: float | None
    """When a node had it in hand again."""
    node: int
    back: float | None
    """As of `Left`: until then that node may still have been sending."""
    control_id: str
    destination: str
    recipient: str


@dataclass(frozen=True, slots=True)
class WireCut:
    """A connection of the gateway was cut by the relay."""

    at: float
    link: str
    direction: str


@dataclass(frozen=True, slots=True)
class Noted:
    """Something worth reading in a failing seed: a fault begins or ends, a start fails."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Final:
    """A delivery of the journal at the end."""

    control_id: str
    destination: str
    recipient: str
    action: str
    state: str
    uids: tuple[str, ...]


Seen = Sent | Answered | Unanswered | Told | Submitted | Stored | Mailed | WireCut | Noted | Final
Record = Seen | Stopped | Hung | Left | TakenOver
_KINDS: dict[str, type[Any]] = {c.__name__: c for c in get_args(Record)}
R = TypeVar("R")


class History:
    """The records of one seed, in the order in which they were added."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = list(records)

    def add(self, record: Record) -> None:
        """One more."""
        self.records.append(record)

    def of(self, kind: type[R]) -> Iterator[R]:
        """The records of one kind, in order."""
        return (r for r in self.records if isinstance(r, kind))

    def write(self, path: Path) -> None:
        """One JSON object a line."""
        with path.open("w", encoding="utf-8") as file:
            for record in self.records:
                file.write(
                    json.dumps({"kind": type(record).__name__, **asdict(record)}, ensure_ascii=False) + "\n"
                )

    @classmethod
    def read(cls, path: Path) -> History:
        """The history that `write` wrote."""
        return cls(_record(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())


def _record(table: dict[str, Any]) -> Record:
    kind = _KINDS[table.pop("kind")]
    values = {f.name: _value(table[f.name]) for f in fields(kind)}
    made: Record = kind(**values)
    return made


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(tuple(v) if isinstance(v, list) else v for v in value)
    return value
