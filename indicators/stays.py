"""Stays: what the movements say, folded into stays.

Purpose: facts `stay`, `consent`, `identity` and `consultation_visit` → stays with their class, kind, opening, closure,
cancellation, patient and consent. Pure.
Guarantee: the same facts give the same stays in any order and however often they are repeated: nothing is decided
before all are there.
Fails: never; what is missing reads as unknown.
Source: PAM-FR 2.11.2; spec/indicators.md §1.4, §2.2, §2.3, §8. Our own choices: docs/indicators.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from indicators.facts import UNKNOWN_FINESS
from indicators.movements import (
    CANCELLING,
    DOCUMENTS,
    FAMILIES,
    NEVER,
    PLANS,
    RANKS,
    Key,
    Said,
    Stay,
    class_of,
    close,
    effective_of,
)
from indicators.patients import Numbers, Patients, Ref
from indicators.told import Consent, ConsultationVisit, Identity, StayEvent

_DAY = 86_400.0
VisitTold = tuple[float, str, Ref | None, str, str, str, str]
ConsentTold = tuple[float, str, Ref | None, str, str, str]


class StayFold:
    """Tell it every fact that concerns stays, in any order; `fold` gives them."""

    __slots__ = (
        "_accounts",
        "_consents",
        "_intern",
        "_numbers",
        "_refs",
        "_said",
        "_visits",
        "feeds",
        "patients",
    )

    def __init__(self, numbers: Numbers | None = None) -> None:
        self._refs = numbers or Numbers()
        self._said: dict[Key, list[Said]] = {}
        self._accounts: dict[Key, tuple[Ref, ...]] = {}
        self._numbers: dict[Ref, tuple[Key, ...]] = {}
        """Account → its visits."""
        self._consents: set[ConsentTold] = set()
        self._visits: set[VisitTold] = set()
        self._intern: dict[str, str] = {}
        self.patients = Patients()
        self.feeds: dict[str, float] = {}
        """FINESS → instant of the first movement known."""

    def add_stay(self, fact: StayEvent, at: float) -> None:
        """One message about a stay."""
        finess = self._one(fact.finess)
        visit, account = self._refs.one(fact.stay, finess), self._refs.one(fact.account, finess)
        key: Key
        if visit is not None:
            key = ("V", *visit)
            if account is not None and account not in self._accounts.get(key, ()):
                # nearly always one of each: a tuple is a fifth of a set
                self._accounts[key] = tuple(sorted((*self._accounts.get(key, ()), account)))
                self._numbers[account] = tuple(sorted((*self._numbers.get(account, ()), key)))
        elif account is not None:
            key = ("A", *account)
        else:
            return
        said = self._said_of(fact, finess, at)
        self._said.setdefault(key, []).append(said)
        if said.event not in DOCUMENTS:
            moved = said.instant()
            self.feeds[finess] = min(self.feeds.get(finess, moved), moved)

    def _said_of(self, fact: StayEvent, finess: str, at: float) -> Said:
        movement, event = fact.movement, fact.event
        told = movement.trigger or event if event == "Z99" else event
        return Said(
            said=at,
            rank=2 if event in CANCELLING else RANKS[movement.action],
            family=FAMILIES.get(told, ""),
            movement=movement.id or "",
            moved=_seconds(movement.at),
            event=self._one(told),
            patient_class=self._one(fact.patient_class or ""),
            kind=self._one(fact.kind or ""),
            patient=fact.patient or "",
            finess=finess,
            admitted=_seconds(fact.admitted_at),
            discharged=_seconds(fact.discharged_at),
            occurred=_seconds(fact.occurred_at),
            recorded=_seconds(fact.recorded_at),
            fact_id=fact.fact_id,
        )

    def add_consent(self, fact: Consent, at: float) -> None:
        """What was asked of a patient, for a stay or for all that are open."""
        self._consents.add(
            (
                at,
                fact.patient or "",
                self._refs.one(fact.stay, fact.finess),
                fact.feeding or "",
                fact.consulting or "",
                self._one(fact.finess),
            )
        )

    def add_identity(self, fact: Identity, at: float) -> None:
        """A merge or a move."""
        account = self._refs.one(fact.account, fact.finess)
        prior = fact.prior_patient
        if fact.event == "A44":
            if account is not None:
                self.patients.moved(account, fact.patient, at)
        elif prior:
            self.patients.same(fact.patient, prior)

    def add_visit(self, fact: ConsultationVisit, at: float) -> None:
        """A consultation that an event told."""
        self._visits.add(
            (
                at,
                self._one(fact.finess),
                self._refs.one(fact.stay, fact.finess),
                fact.patient or "",
                fact.feeding or "",
                fact.consulting or "",
                fact.fact_id,
            )
        )

    def _one(self, text: str) -> str:
        """The same object for the same text: a hundred thousand messages name few establishments."""
        return self._intern.setdefault(text, text)

    # --- what they make ---------------------------------------------------------------------------------------

    def fold(self, consultation_classes: Iterable[str] = ("O",), consent_until: float | None = None) -> Stays:
        """All stays. Consents count up to each stay's `limit`, or up to `consent_until` when it is given."""
        stays = [s for key, said in self._gathered().items() for s in self._stays_of(key, sorted(set(said)))]
        stays.sort(key=lambda s: s.key)
        classes = frozenset(consultation_classes)
        for stay in stays:
            if stay.closed is None and stay.opened is not None and stay.patient_class in classes:
                # many consultations are never discharged: what is asked of the patient later is not of that day
                stay.limit = stay.opened + _DAY
        found = Stays(stays)
        found.add_visits(self._visits, self.patients, classes)
        _consents(found, self._consents, self.patients, consent_until)
        return found

    def _gathered(self) -> dict[Key, list[Said]]:
        """The messages by stay: those that name an account alone go to its only visit, when it has one."""
        gathered = {key: list(said) for key, said in self._said.items() if key[0] == "V"}
        for key, said in self._said.items():
            if key[0] == "A":
                visits = self._numbers.get((key[1], key[2]), ())
                only = visits[0] if len(visits) == 1 else key
                sessions = any(s.patient_class == "R" for s in said)
                gathered.setdefault(key if sessions else only, []).extend(said)
        return {key: said for key, said in gathered.items() if any(s.event not in DOCUMENTS for s in said)}

    def _stays_of(self, key: Key, said: list[Said]) -> Iterator[Stay]:
        effective = effective_of(said)
        accounts = self._accounts.get(key, ()) if key[0] == "V" else ((key[1], key[2]),)
        admissions = sorted((s for s in effective if s.family == "admission"), key=lambda s: (s.begins(), s))
        if key[0] == "A" and admissions and any(s.patient_class == "R" for s in said):
            yield from self._sessions(key, said, effective, admissions)
            return
        stay = Stay(key, "adt")
        stay.accounts = accounts
        refused = max((s.said for s in said if s.family == "admission" and s.cancels), default=NEVER)
        surviving = [s for s in admissions if s.said > refused]
        stay.cancelled = refused > NEVER and not surviving
        if surviving:
            stay.opened = surviving[0].begins()
        else:
            # PV1-44 of who is only expected is a plan
            stay.opened = max(
                (s.admitted for s in said if s.admitted > NEVER and s.family not in PLANS), default=None
            )
        discharge = max(
            (s for s in effective if s.family == "discharge"), key=lambda s: (s.said, s), default=None
        )
        if discharge is not None:
            close(stay, discharge, said)
        elif not any(s.family == "discharge" for s in said):
            told = [s for s in said if s.event in DOCUMENTS and s.discharged > NEVER]
            if told:
                stay.closed = stay.limit = told[-1].discharged
        self._describe(stay, said, effective)
        yield stay

    def _sessions(
        self, key: Key, said: list[Said], effective: list[Said], admissions: list[Said]
    ) -> Iterator[Stay]:
        """Sessions without a visit number: one for each admission of the account, up to its own discharge."""
        discharges = sorted((s for s in effective if s.family == "discharge"), key=lambda s: (s.ends(), s))
        for admission, following in zip(admissions, [*admissions[1:], None], strict=True):
            stay = Stay((*key, admission.movement or str(int(admission.begins()))), "adt")
            stay.accounts = ((key[1], key[2]),)
            stay.opened = admission.begins()
            until = following.begins() if following else float("inf")
            own = next((d for d in discharges if stay.opened <= d.ends() <= until), None)
            if own is not None:
                discharges.remove(own)
                close(stay, own, said)
            self._describe(stay, [admission, *([own] if own else [])], [admission, *([own] if own else [])])
            yield stay

    def _describe(self, stay: Stay, said: list[Said], effective: list[Said]) -> None:
        """Class, kind, establishment, patient."""
        end = stay.closed if stay.closed is not None else float("inf")
        until = sorted((s for s in effective if s.instant() <= end), key=lambda s: (s.instant(), s))
        classes = [c for s in until if s.family in ("admission", "class") and (c := class_of(s))]
        stay.patient_class = (classes or [c for s in said if (c := class_of(s))] or [""])[-1]
        stay.kind = ([s.kind for s in until if s.kind] or [s.kind for s in said if s.kind] or [""])[-1]
        named = [s for s in said if s.finess != UNKNOWN_FINESS]
        stay.finess = named[-1].finess if named else UNKNOWN_FINESS
        whose = [s for s in said if s.patient]
        if whose or stay.accounts:
            last = whose[-1] if whose else None
            stay.patient = self.patients.owner(
                stay.accounts, last.patient if last else "", last.said if last else NEVER
            )


class Stays:
    """All stays, and how a document or an event finds its own."""

    __slots__ = ("_accounts", "_numbers", "_values", "all")

    def __init__(self, stays: list[Stay]) -> None:
        self.all = stays
        self._numbers: dict[Ref, tuple[Stay, ...]] = {}
        self._accounts: dict[Ref, tuple[Stay, ...]] = {}
        self._values: dict[Ref, tuple[Stay, ...]] = {}
        """(FINESS, number): for a sender that names another authority than the ADT, or none."""
        for stay in stays:
            self._index(stay)

    def _index(self, stay: Stay) -> None:
        if stay.key[0] == "V":
            _note(self._numbers, (stay.key[1], stay.key[2]), stay)
            _note(self._values, (stay.finess, stay.key[2]), stay)
        for account in stay.accounts:
            _note(self._accounts, account, stay)
            if stay.finess != account[0]:
                _note(self._accounts, (stay.finess, account[1]), stay)

    def named(self, ref: Ref, finess: str) -> Sequence[Stay]:
        """The stays that a number may mean: the visit of that number, else the stays of that account; those of the
        same authority before those of the establishment.
        """
        local = (finess, ref[1])
        visit = self._numbers.get(ref)
        if visit is not None and len(visit) == 1:
            return visit
        account = self._accounts.get(ref)
        if account is not None and ref != local:
            return account
        # of a sender that names another authority than the ADT, or none: the visit here first
        visit = self._values.get(local)
        if visit is not None and len(visit) == 1:
            return visit
        return account or self._accounts.get(local) or ()

    def resolve(self, ref: Ref, finess: str, day: tuple[float, float] | None = None) -> Stay | None:
        """The stay that a number means. Of several of one account: the only one that was open on that day (its first
        instant and that of the next); None when nothing tells.
        """
        found = self.named(ref, finess)
        if len(found) > 1 and day is not None:
            found = [s for s in found if s.open_in(*day)]
        return found[0] if len(found) == 1 else None

    def add_visits(
        self,
        visits: Iterable[VisitTold],
        patients: Patients,
        classes: frozenset[str],
    ) -> None:
        """Consultations that events told and movements did not: one for each number, else one for each event."""
        made: dict[Key, Stay] = {}
        known = {ref: self.resolve(ref, finess) for _, finess, ref, *_ in visits if ref is not None}
        for visit_told in sorted(visits, key=_visit_order):
            at, finess, ref, patient, feeding, consulting, fact_id = visit_told
            stay = known.get(ref) if ref is not None else None
            if stay is not None and stay.patient_class in classes:
                continue
            key: Key = ("V", *ref) if ref is not None and stay is None else ("E", finess, fact_id)
            visit = made.get(key)
            if visit is None:
                visit = made[key] = Stay(key, "event")
                visit.opened = visit.closed = visit.limit = at
                visit.finess, visit.patient_class, visit.kind = finess, min(classes, default="O"), "07"
            first = visit.opened is None or at <= visit.opened
            visit.opened = visit.closed = min(at, visit.opened or at)
            visit.limit = max(at, visit.limit or at)
            if first or not visit.patient:
                visit.patient = patients.one(patient) if patient else visit.patient
            visit.feeding, visit.consulting = feeding or visit.feeding, consulting or visit.consulting
        for visit in made.values():
            self.all.append(visit)
            self._index(visit)


def _note(index: dict[Ref, tuple[Stay, ...]], ref: Ref, stay: Stay) -> None:
    """One more of that number. (Nearly always the only one: a tuple is half a list.)"""
    index[ref] = (*index.get(ref, ()), stay)


def _consents(
    stays: Stays,
    told: Iterable[ConsentTold],
    patients: Patients,
    until: float | None,
) -> None:
    """The last consent that counts for each stay: those of the stay itself, and those of its patient while it was
    open.
    """
    mine: Mapping[str, list[Stay]] | None = None
    for said, patient, ref, feeding, consulting, finess in sorted(told, key=_consent_order):
        if ref is not None:
            for stay in stays.named(ref, finess):
                if said <= _limit(stay, until):
                    stay.feeding, stay.consulting = feeding or stay.feeding, consulting or stay.consulting
        elif patient:
            if mine is None:
                mine = by_patient(stays.all)
            for stay in mine.get(patients.one(patient), ()):
                if stay.opened is not None and stay.opened <= said <= _limit(stay, until):
                    stay.feeding, stay.consulting = feeding or stay.feeding, consulting or stay.consulting


def _visit_order(told: VisitTold) -> tuple[float, str, Ref, tuple[str, ...]]:
    return told[0], told[1], told[2] or ("", ""), told[3:]


def _consent_order(told: ConsentTold) -> tuple[float, bool, str, str, str]:
    # what is said of the stay itself stands above what is said of the patient in the same second
    return told[0], told[2] is not None, told[3], told[4], told[1]


def _limit(stay: Stay, until: float | None) -> float:
    if until is not None:
        return until
    return stay.limit if stay.limit is not None else float("inf")


def by_patient(stays: Iterable[Stay]) -> Mapping[str, list[Stay]]:
    """Stays that took place, by patient."""
    found: dict[str, list[Stay]] = {}
    for stay in stays:
        if stay.patient and not stay.cancelled:
            found.setdefault(stay.patient, []).append(stay)
    return found


def _seconds(instant: datetime | None) -> float:
    return NEVER if instant is None else instant.timestamp()
