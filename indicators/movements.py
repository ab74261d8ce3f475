"""One stay: what messages said of it, and the last word on each of its movements.

Purpose: the shapes `Said` and `Stay`, and which movements stand after corrections and cancellations. Pure.
Guarantee: a movement is (family of events, ZBE-1) within its stay; the last message said wins, and at the same second
INSERT comes before UPDATE and UPDATE before CANCEL. A cancellation that names no movement known takes back all that was
said before it of its family.
Fails: never.
Source: PAM-FR 2.11.2; spec/indicators.md §2.1, §2.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from indicators.facts import UNKNOWN_FINESS
from indicators.patients import Ref

NEVER = float("-inf")
FAMILIES = {
    **dict.fromkeys(("A01", "A04", "A11"), "admission"),
    **dict.fromkeys(("A05", "A38"), "preadmission"),
    **dict.fromkeys(("A14", "A27"), "pending admission"),
    **dict.fromkeys(("A03", "A13"), "discharge"),
    **dict.fromkeys(("A06", "A07"), "class"),
    **dict.fromkeys(("A16", "A25"), "pending discharge"),
    **dict.fromkeys(("A21", "A52"), "leave"),
    **dict.fromkeys(("A22", "A53"), "return"),
    **dict.fromkeys(("A02", "A12"), "transfer"),
}
CANCELLING = frozenset({"A11", "A12", "A13", "A25", "A26", "A27", "A38", "A52", "A53"})
"""Events that cancel by their nature, whatever ZBE-4 says."""
PLANS = frozenset({"preadmission", "pending admission"})
"""Families of who is expected and not there."""
DOCUMENTS = frozenset({"MDM", "ORU"})
RANKS = {"INSERT": 0, "UPDATE": 1, "CANCEL": 2}
Key = tuple[str, ...]
"""`("V", authority, PV1-19)`, `("A", authority, PID-18)`, then ZBE-1 for one session among several of an account;
`("E", FINESS, fact_id)` for a visit that only an event told.
"""


class Said(NamedTuple):
    """What one message said of a stay. Unknown instants are `NEVER`, unknown texts "": any two can be compared."""

    said: float
    rank: int
    family: str
    movement: str
    moved: float
    event: str
    patient_class: str
    kind: str
    patient: str
    finess: str
    admitted: float
    discharged: float
    occurred: float
    recorded: float
    fact_id: str

    @property
    def cancels(self) -> bool:
        """True when the movement is taken back."""
        return self.rank == 2

    def begins(self) -> float:
        """When an admission took place: ZBE-2, else PV1-44, EVN-6, EVN-2, the message."""
        if self.moved > NEVER:  # nearly always
            return self.moved
        return next(t for t in (self.admitted, self.occurred, self.recorded, self.said) if t > NEVER)

    def ends(self) -> float:
        """When a discharge took place: ZBE-2, else PV1-45, EVN-6, EVN-2, the message."""
        if self.moved > NEVER:
            return self.moved
        return next(t for t in (self.discharged, self.occurred, self.recorded, self.said) if t > NEVER)

    def instant(self) -> float:
        """When a movement took place."""
        return self.ends() if self.family == "discharge" else self.begins()


class Stay:
    """A stay, a consultation or a session as it stands."""

    __slots__ = (
        "accounts",
        "cancelled",
        "closed",
        "consulting",
        "feeding",
        "finess",
        "key",
        "kind",
        "limit",
        "opened",
        "patient",
        "patient_class",
        "source",
    )

    def __init__(self, key: Key, source: str) -> None:
        self.key = key
        self.source = source
        """`adt` or `event`."""
        self.accounts: tuple[Ref, ...] = ()
        self.finess = UNKNOWN_FINESS
        self.patient = ""
        self.patient_class = ""
        self.kind = ""
        """PV1-21 as sent."""
        self.opened: float | None = None
        self.closed: float | None = None
        self.limit: float | None = None
        """Up to when a consent counts: the closure, or the message that told it when later; None while it is open."""
        self.cancelled = False
        self.feeding = ""
        self.consulting = ""
        """ZFA-9 and ZFA-11 that count."""

    @property
    def name(self) -> str:
        """How a reader finds it: its number, then the session."""
        return "/".join(self.key[2:])

    def open_in(self, start: float, end: float) -> bool:
        """True when the stay was open for at least one instant of `start <= t < end`."""
        begin = self.opened if self.opened is not None else self.closed
        return begin is not None and begin < end and (self.closed is None or self.closed >= start)


def effective_of(said: list[Said]) -> list[Said]:
    """The last word on every movement that was not taken back."""
    keys = {(s.family, s.movement) for s in said if s.movement and s.rank == 0}
    if len(keys) == len(said):
        # nearly always: every movement told once, nothing corrected, nothing cancelled
        return [s for s in said if s.family]
    movements: dict[tuple[str, str], list[Said]] = {}
    for s in said:
        if s.family:
            movements.setdefault((s.family, s.movement or f"@{s.event}{s.moved}"), []).append(s)
    # a cancellation that names no movement known takes back all that was said before of its family
    lost: dict[str, float] = {}
    for (family, _), told in movements.items():
        if all(s.cancels for s in told):
            lost[family] = max(lost.get(family, NEVER), told[-1].said)
    return [
        told[-1]
        for (family, _), told in movements.items()
        if not told[-1].cancels and told[-1].said > lost.get(family, NEVER)
    ]


def close(stay: Stay, discharge: Said, said: Iterable[Said]) -> None:
    """Closure of `stay` by the discharge that stands, and up to when a consent counts for it."""
    stay.closed = discharge.ends()
    same = [s for s in said if s.family == "discharge" and s.movement == discharge.movement]
    cancelled = max((s.said for s in same if s.cancels), default=NEVER)
    # a correction does not make later consents those of the closure
    first = min((s.said for s in same if not s.cancels and s.said > cancelled), default=discharge.said)
    stay.limit = max(stay.closed, first)


def class_of(s: Said) -> str:
    """PV1-2 as a movement says it; A06 makes an inpatient, A07 an outpatient, whatever its PV1-2 says."""
    if s.event == "A06":
        return s.patient_class if s.patient_class not in ("", "N", "O", "E") else "I"
    if s.event == "A07":
        return s.patient_class if s.patient_class not in ("", "N", "I") else "O"
    return "" if s.patient_class == "N" else s.patient_class
