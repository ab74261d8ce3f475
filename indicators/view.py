"""The view: what the rules of one establishment and month read.

Purpose: from the world, once for all establishments (`Ground`), then for one of them (`View`): the stays of the month,
what was sent for them, the documents, the uses. Pure.
Guarantee: what two indicators share (closed stays, what a success is) is decided here, once.
Fails: `ConfigurationFault` for an unknown time zone.
Source: spec/indicators.md R1–R3, R12–R15, §1.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import TypeVar

from indicators import periods
from indicators.catalogue import ALL, OTHER, Catalogue
from indicators.days import Days
from indicators.deliveries import Attempt, Channel, Document, Submission
from indicators.movements import Stay
from indicators.patients import Ref
from indicators.stays import by_patient
from indicators.uses import Reception, Use
from indicators.why import Why
from indicators.world import World

_T = TypeVar("_T")
_NO_USE: list[Use] = []


class Ground:
    """The world arranged for a month: what belongs to which stay and to which establishment."""

    def __init__(self, world: World, catalogue: Catalogue, consent_until: float | None) -> None:
        options = catalogue.options
        self.world = world
        self.catalogue = catalogue
        self.stays = world.stays.fold(options.consultation_classes, consent_until)
        self.by_patient: Mapping[str, list[Stay]] = by_patient(self.stays.all)
        self.stays_of: dict[str, list[Stay]] = _grouped((s.finess, s) for s in self.stays.all)
        self.documents_of: dict[str, list[Document]] = {}
        named = self._arranged()
        self.uses_of: dict[str, list[Use]] = _grouped((u.finess, u) for u in world.uses.uses.values())
        self.receptions_of: dict[str, list[Reception]] = _grouped(
            (r.finess, r) for r in world.uses.receptions.values()
        )
        self._days: dict[str, Days] = {}
        self._found: dict[tuple[Ref, str], Sequence[Stay]] = {}
        self.lost = dict.fromkeys(self.finesses, 0)
        """FINESS → submissions that name a stay which is not known."""
        self.sent = self._sent(named)
        self.used = self._used()

    @property
    def finesses(self) -> list[str]:
        """Establishments that facts speak of, those too whose stays or documents are all of another one now: what was
        published of them is to be revised.
        """
        census = {finess for finess, _ in self.world.uses.census}
        correspondents = {finess for finess, *_ in self.world.uses.correspondents}
        moved = self.world.stays.feeds
        return sorted(
            {
                *self.stays_of,
                *self.world.deliveries.finesses,
                *self.uses_of,
                *self.receptions_of,
                *census,
                *correspondents,
                *moved,
            }
        )

    def days(self, finess: str) -> Days:
        """The attempts of an establishment by day, for all its months."""
        found = self._days.get(finess)
        if found is None:
            found = self._days[finess] = Days(self.documents_of.get(finess, ()))
        return found

    def stay(self, ref: Ref, finess: str, instants: Iterable[float | None] = ()) -> Stay | None:
        """The stay that a number means; of several sessions of one account, the only one open on one of the days."""
        found = self._found.get((ref, finess))
        if found is None:
            found = self._found[ref, finess] = self.stays.named(ref, finess)
        if len(found) < 2:
            return found[0] if found else None
        where = periods.zone_of(finess, self.catalogue.time_zones)
        for instant in instants:
            if instant is not None:
                day = periods.day_bounds(periods.day_of(instant, where), where)
                found_there = self.stays.resolve(ref, finess, day)
                if found_there is not None:
                    return found_there
        return None

    def _arranged(self) -> dict[tuple[Ref, str], list[Submission]]:
        """Submissions by the stay that they name; documents by establishment on the way."""
        named: dict[tuple[Ref, str], list[Submission]] = {}
        for document in self.world.deliveries:
            submissions = document.submissions
            if submissions:
                finess = (
                    submissions[0].finess if len(submissions) == 1 else min(s.finess for s in submissions)
                )
                self.documents_of.setdefault(finess, []).append(document)
            for submission in submissions:
                if submission.ref is not None:
                    named.setdefault((submission.ref, submission.finess), []).append(submission)
        return named

    def _sent(self, named: dict[tuple[Ref, str], list[Submission]]) -> dict[int, list[Submission]]:
        """Submissions by stay (its `id()`). A stay is looked for once for each number that documents name."""
        sent: dict[int, list[Submission]] = {}
        for (ref, finess), submissions in named.items():
            found = self.stays.named(ref, finess)
            if len(found) == 1:
                sent.setdefault(id(found[0]), []).extend(submissions)
                continue
            for submission in submissions:
                # a session among several is told by the day: that of the document, else that of its first attempt
                first = min((a.first for a in self.world.deliveries.attempts(submission)), default=None)
                stay = self.stay(ref, finess, (submission.date, first)) if found else None
                if stay is not None:
                    sent.setdefault(id(stay), []).append(submission)
                else:
                    self.lost[finess] = self.lost.get(finess, 0) + 1
        return sent

    def _used(self) -> dict[int, list[Use]]:
        """Downloads (TD3.2) by stay."""
        used: dict[int, list[Use]] = {}
        for use in self.world.uses.uses.values():
            if use.what == "TD3.2" and use.ref is not None:
                stay = self.stay(use.ref, use.finess, (use.at,))
                if stay is not None:
                    used.setdefault(id(stay), []).append(use)
        return used


class View:
    """One establishment, one month."""

    def __init__(self, ground: Ground, finess: str, month: str, cutoff: float | None = None) -> None:
        ground.world.deliveries.forget()
        catalogue = ground.catalogue
        self.ground, self.catalogue, self.options = ground, catalogue, catalogue.options
        self.finess = finess
        self.zone = periods.zone_of(finess, catalogue.time_zones)
        self.period = periods.month(month, self.zone)
        self.years = periods.years(month, self.zone)
        self.cutoff = periods.cutoff(month, self.zone, self.options.cutoff_days) if cutoff is None else cutoff
        """Successes count up to then, in the rates of stays and patients."""
        self.rows = catalogue.rows(month)
        self._row_of = {code: code for code in self.rows}
        stays = ground.stays_of.get(finess, [])
        closed = [s for s in stays if self.period.has(s.closed)]
        hospital, outpatient = (
            frozenset(self.options.hospital_classes),
            frozenset(self.options.consultation_classes),
        )
        self.hospital = [s for s in closed if not s.cancelled and s.patient_class in hospital]
        """Hospital stays closed in the month: the denominator of R3."""
        self.not_hospital = [s for s in closed if s.cancelled or s.patient_class not in hospital]
        self.consultations = [
            s
            for s in stays
            if s.patient_class in outpatient
            and not s.cancelled
            and self.period.has(s.opened if s.opened is not None else s.closed)
        ]
        self.treated = [s for s in stays if not s.cancelled and self._treated(s, outpatient)]
        """Stays open at some instant of the month, and its consultations."""
        first = ground.world.stays.feeds.get(finess)
        self.adt_feed = first is not None and first < self.period.end
        visit = ground.world.visit_feeds.get(finess)
        self.visit_feed = self.adt_feed or (visit is not None and visit < self.period.end)
        """Consultations are known, by movements or by events."""
        self.documents = ground.documents_of.get(finess, [])
        self.days = ground.days(finess)
        """Attempts by day, shared by all months."""
        self.uses = ground.uses_of.get(finess, [])
        self.receptions = ground.receptions_of.get(finess, [])

    def _treated(self, stay: Stay, outpatient: frozenset[str]) -> bool:
        if stay.patient_class in outpatient and stay.closed is None:
            # a consultation that nobody discharged is over all the same
            return self.period.has(stay.opened)
        return stay.open_in(self.period.start, self.period.end)

    def day(self, instant: float) -> date:
        """The civil day of an instant there."""
        return periods.day_of(instant, self.zone)

    def row(self, code: str) -> str:
        """The row of a document type."""
        return self._row_of.get(code, OTHER)

    @property
    def codes(self) -> tuple[str, ...]:
        """The rows of ALI, MSP, MSC and TBB."""
        return (*self.rows, OTHER, ALL)

    def matrix_row(self, code: str) -> str:
        """The row of a type of the DMP's matrix."""
        return code if code in self.catalogue.matrix else OTHER

    def sent(self, stay: Stay) -> list[Attempt]:
        """What was sent about a stay."""
        return [a for s in self.ground.sent.get(id(stay), ()) for a in s.attempts]

    def downloads(self, stay: Stay) -> list[Use]:
        """TD3.2 made for a stay."""
        return self.ground.used.get(id(stay), _NO_USE)

    def standing(self, attempt: Attempt, until: float | None = None) -> Why:
        """COUNTS for a success that stands (R1) and came by `until`; else why not."""
        if attempt.outcome == "success":
            assert attempt.success is not None
            if until is not None and attempt.success > until:
                return Why.TOO_LATE
            if self.options.deleted_documents == "remove" and attempt.submission.document.deleted(attempt):
                return Why.DELETED
            return Why.COUNTS
        if attempt.outcome == "failure":
            return Why.TAKEN_BACK if attempt.success is not None else Why.FAILED
        return Why.PENDING

    def first_success(self, document: Document, channel: Channel) -> Attempt | None:
        """The attempt by which a document first reached a channel (R2, R19), or None."""
        good = [a for a in document.attempts if a.channel is channel and self.standing(a) is Why.COUNTS]
        return min(good, key=_order, default=None)

    @cached_property
    def reached(self) -> dict[Channel, list[tuple[Document, Attempt]]]:
        """Documents that first reached each channel in the month, with the attempt that did it."""
        found: dict[Channel, list[tuple[Document, Attempt]]] = {channel: [] for channel in Channel}
        channels: dict[int, tuple[Document, set[Channel]]] = {}
        for a in self.days.succeeded(self.period):
            if a.outcome == "success":
                document = a.submission.document
                channels.setdefault(id(document), (document, set()))[1].add(a.channel)
        for document, reached in channels.values():
            for channel in sorted(reached):
                first = self.first_success(document, channel)
                if first is not None and self.period.has(first.success):
                    found[channel].append((document, first))
        return found


def _order(a: Attempt) -> tuple[float, int, str, str]:
    return a.success or 0.0, a.submission.version, a.submission.unique_id, a.recipient


def _grouped(pairs: Iterable[tuple[str, _T]]) -> dict[str, list[_T]]:
    groups: dict[str, list[_T]] = {}
    for key, value in pairs:
        groups.setdefault(key, []).append(value)
    return groups
