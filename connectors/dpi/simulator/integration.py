"""What the simulated DPI keeps, and whether it takes one more document: patients and versions. Pure, in memory.

Purpose: the CONSOMMATEUR of the volet Transmission au LPS behind `structure.check`.
Guarantee: a document is kept only when nothing is wrong with it; a lower version never becomes the latest.
Fails: never.
Source: volet Transmission au LPS, table applicationErrorCondition (spec/mssante.md §2.4); AMA, version rules (§2.5).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from connectors.dpi.simulator.documents import Cda, Traits
from connectors.dpi.simulator.structure import Error

_ID = "TXA^1^12"
_PARENT = "TXA^1^13"
_PATIENT = "PID^1^3"


@dataclass(frozen=True, slots=True)
class Patient:
    """A patient of the DPI: matricule and strict traits."""

    ins: str = field(repr=False)
    """Matricule, without the OID."""
    family: str = field(repr=False)
    given: str = field(repr=False)
    birth: str = field(repr=False)
    """YYYYMMDD."""
    sex: str = "U"

    @property
    def traits(self) -> Traits:
        """As the CDA has them."""
        return Traits(self.family, self.given, self.birth, self.sex)


@dataclass(frozen=True, slots=True)
class Kept:
    """A document that was integrated. `latest` is asked of `Documents`."""

    number: int
    uid: str
    set_key: str
    version: int | None
    replaces: str
    authors: frozenset[str]
    organisations: frozenset[str]
    content: bytes = field(repr=False)
    control_id: str
    """MSH-10 of the message that brought it."""


class Documents:
    """The documents of one DPI by id, set and version."""

    def __init__(self, patients: Iterable[Patient] | None = None) -> None:
        self.kept: list[Kept] = []
        self.deleted: set[str] = set()
        """uids."""
        self.patients: list[Patient] | None = None if patients is None else list(patients)
        """None: everybody is known."""

    def judge(self, event: str, cda: Cda) -> list[Error]:
        """All that is against this document."""
        return [*self._patient(cda), *self._version(event, cda)]

    def integrate(self, event: str, cda: Cda, content: bytes, control_id: str) -> None:
        """Keep it, or delete it. `judge` found nothing."""
        if event == "T04":
            self.deleted.add(cda.uid)
            return
        self.kept.append(
            Kept(
                len(self.kept) + 1,
                cda.uid,
                self._set_key(cda),
                cda.version,
                cda.replaces,
                cda.authors,
                cda.organisations,
                content,
                control_id,
            )
        )

    def clear(self) -> None:
        """Forget the documents."""
        self.kept.clear()
        self.deleted.clear()

    def latest(self, set_key: str) -> Kept | None:
        """The highest version of a set that is not deleted; without numbers the last one."""
        versions = [k for k in self.kept if k.set_key == set_key and k.uid not in self.deleted]
        return max(versions, key=lambda k: (k.version or 0, k.number), default=None)

    def state(self, kept: Kept) -> str:
        """`latest`, `superseded` or `deleted`."""
        if kept.uid in self.deleted:
            return "deleted"
        return "latest" if self.latest(kept.set_key) is kept else "superseded"

    def _set_key(self, cda: Cda) -> str:
        """setId, or the set of what it replaces."""
        if cda.set_id:
            return cda.set_id
        parent = self._by_uid(cda.replaces)
        return parent.set_key if parent is not None else cda.uid

    def _by_uid(self, uid: str) -> Kept | None:
        return next((k for k in self.kept if k.uid == uid), None)

    def _patient(self, cda: Cda) -> list[Error]:
        if not cda.ins:
            return [Error(_PATIENT, "207", "903")]
        if not cda.traits.complete:
            return [Error("PID^1^5", "207", "905")]
        if self.patients is None:
            return []
        matricule = cda.ins.partition("^")[2]
        known = next((p for p in self.patients if p.ins == matricule), None)
        if known is not None:
            return [] if _same(known.traits, cda.traits) else [Error("PID^1^5", "207", "904")]
        # the person is here under another matricule: not unknown, but not exactly this one
        if any(_same(p.traits, cda.traits) for p in self.patients):
            return [Error(_PATIENT, "207", "904")]
        return [Error(_PATIENT, "207", "902")]

    def _version(self, event: str, cda: Cda) -> list[Error]:
        mine, set_key = self._by_uid(cda.uid), self._set_key(cda)
        latest = self.latest(set_key)
        if event == "T04":
            if mine is None or latest is not mine:
                return [Error(_ID, "207", "900")]
            return self._author(cda, mine)
        if mine is not None:
            return [Error(_ID, "207", "906")]  # the same id is known
        if cda.version is not None and any(
            k.set_key == set_key and k.version == cda.version for k in self.kept
        ):
            return [Error(_ID, "207", "906")]  # the same version of the set is known
        if event != "T10":
            return []
        parent = self._by_uid(cda.replaces)
        if parent is None or parent is not latest:
            return [Error(_PARENT, "207", "900")]
        return self._author(cda, parent)

    def _author(self, cda: Cda, before: Kept) -> list[Error]:
        """The author himself, or his organisation."""
        if cda.authors & before.authors or cda.organisations & before.organisations:
            return []
        return [Error(_ID, "207", "901")]


def _same(one: Traits, other: Traits) -> bool:
    return [t.upper() for t in (one.family, one.given, one.birth, one.sex)] == [
        t.upper() for t in (other.family, other.given, other.birth, other.sex)
    ]
