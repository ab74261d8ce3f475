"""Attempts: every word said of every delivery, kept as numbers, and the attempts that they make.

Purpose: a million words in about twenty bytes each, and objects only for those that a month asks for. Pure.

Guarantee: an attempt is (submission, destination, recipient); its last decisive word wins (at the same instant a
failure is believed), `pending` never takes anything back. The same words give the same attempts in any order and
however often they are repeated.

Fails: never.
Source: spec/indicators.md R1, R2, R19, §1.4.
"""

from __future__ import annotations

from array import array
from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from gateway.hl7.transmission import PATIENT_DOMAIN

if TYPE_CHECKING:
    from indicators.deliveries import Submission

NONE = -1
"""No word."""
_NOT_YET = float("-inf")


class Channel(IntEnum):
    """Where a document goes. The names are those of the published rows."""

    DMP = 0
    MSS_PRO = 1
    MSS_CITOYENNE = 2


class Attempt(msgspec.Struct, eq=False):
    """A submission sent to one destination. Instants are seconds since 1970."""

    submission: Submission
    channel: Channel
    recipient: str
    """Address in lower case; "" for the DMP."""
    first: float
    """First word on it: when it was attempted."""
    last: float
    """Last decisive word; negative infinity while there is none."""
    outcome: str
    """`success`, `failure` or `pending`."""
    success: float | None
    """First success told, even if it was taken back."""
    code: str

    @property
    def taken_back(self) -> bool:
        """True when it had succeeded and then failed."""
        return self.outcome == "failure" and self.success is not None


class Words:
    """All words of a world. Those of a submission are a chain: each knows the one that was told before it."""

    __slots__ = ("_at", "_before", "_kinds", "_number", "_said", "_targets", "_to", "_where")

    def __init__(self) -> None:
        self._at = array("d")
        self._to = array("i")
        self._said = array("i")
        self._before = array("i")
        self._targets: list[tuple[Channel, str]] = [(Channel.DMP, "")]
        self._where: dict[str, int] = {}
        """Address as told → number of its target."""
        self._kinds: list[tuple[str, str]] = []
        """(outcome, code)."""
        self._number: dict[tuple[str, str], int] = {}

    def add(self, target: int, at: float, outcome: str, code: str, before: int) -> int:
        """One more; gives its number."""
        said = self._number.get((outcome, code))
        if said is None:
            said = self._number[outcome, code] = len(self._kinds)
            self._kinds.append((outcome, code))
        self._at.append(at)
        self._to.append(target)
        self._said.append(said)
        self._before.append(before)
        return len(self._at) - 1

    def target(self, address: str) -> int:
        """The number of an address of MSSanté; that of the DMP is 0."""
        found = self._where.get(address)
        if found is None:
            lower = address.lower()
            found = self._where.get(lower)
            if found is None:
                found = self._where[lower] = len(self._targets)
                self._targets.append((channel_of(lower), lower))
            self._where[address] = found
        return found

    def at(self, target: int) -> tuple[Channel, str]:
        """What a number of a target stands for."""
        return self._targets[target]

    def attempts(self, submission: Submission) -> list[Attempt]:
        """Those of a submission, made anew."""
        at, to, said, before = self._at, self._to, self._said, self._before
        targets, kinds = self._targets, self._kinds
        found: dict[int, Attempt] = {}
        number = submission.newest
        while number != NONE:
            where, instant = to[number], at[number]
            outcome, code = kinds[said[number]]
            number = before[number]
            attempt = found.get(where)
            if attempt is None:
                found[where] = Attempt(
                    submission,
                    *targets[where],
                    instant,
                    _NOT_YET if outcome == "pending" else instant,
                    outcome,
                    instant if outcome == "success" else None,
                    code,
                )
            else:
                _also(attempt, instant, outcome, code)
        return list(found.values())


def _also(attempt: Attempt, at: float, outcome: str, code: str) -> None:
    """One more word on an attempt."""
    if at < attempt.first:
        attempt.first = at
    if outcome == "success" and (attempt.success is None or at < attempt.success):
        attempt.success = at
    # at the same instant a failure is believed
    known = (attempt.last, attempt.outcome == "failure", attempt.code)
    if (_NOT_YET if outcome == "pending" else at, outcome == "failure", code) >= known:
        attempt.outcome, attempt.code = outcome, code
        if outcome != "pending":
            attempt.last = at


def channel_of(address: str) -> Channel:
    """The MSSanté channel of an address: patients' domain (and its sub-domains) or professionals."""
    domain = address.rpartition("@")[2]
    patient = domain == PATIENT_DOMAIN or domain.endswith("." + PATIENT_DOMAIN)
    return Channel.MSS_CITOYENNE if patient else Channel.MSS_PRO
