"""Patients: keys that mean the same person, and accounts that went to another one; the numbers of stays.

Purpose: A40 and A47 say that two keys are one patient; A44 moves an account; a number counts with its authority. Pure.
Guarantee: the order and the repetition of what is told change nothing; a chain or a ring of merges is one patient.
Fails: never.
Source: PAM-FR 2.11.2 (A40, A44, A47); spec/indicators.md §2.1.
"""

from __future__ import annotations

from collections.abc import Iterable

from indicators.told import Ref as ToldRef

Ref = tuple[str, str]
"""(authority or FINESS, value) of a visit or account number."""


class Numbers:
    """Visit and account numbers, each one object: many facts name few stays."""

    __slots__ = ("_authorities", "_known")

    def __init__(self) -> None:
        self._known: dict[Ref, Ref] = {}
        self._authorities: dict[str, str] = {}

    def one(self, told: ToldRef | None, finess: str) -> Ref | None:
        """A number with its authority, the establishment where there is none."""
        if told is None:
            return None
        ref = told.authority or finess, told.value
        known = self._known.get(ref)
        if known is None:
            authority = self._authorities.setdefault(ref[0], ref[0])
            known = authority, ref[1]
            self._known[known] = known
        return known


class Patients:
    """Tell it everything with `same` and `moved`, then ask `one` and `owner`."""

    __slots__ = ("_moves", "_parent")

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}
        self._moves: dict[Ref, tuple[float, str]] = {}

    def one(self, patient: str) -> str:
        """The key that stands for all keys of that patient (the first of them in alphabetical order)."""
        parent = self._parent
        while (above := parent.get(patient, patient)) != patient:
            patient = above
        return patient

    def same(self, patient: str, prior: str) -> None:
        """Both keys are one patient."""
        first, second = sorted((self.one(patient), self.one(prior)))
        if first != second:
            # the smallest key is the root whatever the order of the merges
            self._parent[second] = first

    def moved(self, account: Ref, patient: str, said: float) -> None:
        """The account belongs to `patient` from what was said at `said` on."""
        self._moves[account] = max(self._moves.get(account, (said, patient)), (said, patient))

    def owner(self, accounts: Iterable[Ref], patient: str, said: float) -> str:
        """Whose a stay is: `patient`, as its own last message says at `said`, or who got one of its accounts later."""
        told = [self._moves[a] for a in accounts if a in self._moves]
        return self.one(max([(said, patient), *told])[1])
