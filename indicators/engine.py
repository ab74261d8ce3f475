"""The engine: facts known at an instant, a month, an establishment → the published rows.

Purpose: run the rules of the catalogue and give rows with every field of the published format. Pure: the clock, the
store and the revision number come in as values.

Guarantee: the same facts give the same rows in any order and however often they are repeated. A rate without a
denominator is null, with the reason; a denominator of zero too. Rates are rounded half up to 4 decimals.

Fails: `BadInput` for a month that is none; `ConfigurationFault` for an unknown time zone.
Source: spec/indicators.md §1.1, §1.4, §6.6, §8.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from indicators import periods
from indicators.catalogue import OTHER, Catalogue, default
from indicators.facts import UNKNOWN_FINESS
from indicators.rules import RULES
from indicators.sheet import Cell, Sheet, Tally
from indicators.view import Ground, View
from indicators.why import Why
from indicators.world import World


@dataclass(frozen=True, slots=True)
class Row:
    """One figure, with the fields of the published format (docs/indicators.md). None is null."""

    finess: str
    period: str
    """`AAAA-MM` or `AAAA`."""
    indicator: str
    breakdown_type: str | None
    """`document_type`, `stay_kind`, `profession`, `channel`, `attempt`, or null for a single figure."""
    document_code: str | None
    """A type code, `ALL` (each subject once), `AUTRE` (types without a row of their own)."""
    document_system: str | None
    profession: str | None
    channel: str | None
    """`DMP`, `MSS_PRO`, `MSS_CITOYENNE`."""
    stay_kind: str | None
    """`ALL`, `complet`, `ambulatoire`, `consultation`…"""
    result: str | None
    """`reussite` or `echec` (TBB-1)."""
    numerator: int | None
    denominator: int | None
    rate: float | None
    """Between 0 and 1."""
    documents: int | None
    """Distinct documents (setId) behind the numerator."""
    as_of: str | None
    """What was known then; null: all facts."""
    cutoff: str
    """Up to when a success counts."""
    revision: int
    rule_version: str
    reason: str | None
    """Why the rate is null."""
    details: dict[str, Any]

    @property
    def cell(self) -> Cell:
        """Which row of the sheet it is."""
        return Cell(
            self.indicator,
            self.period,
            self.breakdown_type or "",
            self.document_code or "",
            self.profession or "",
            self.channel or "",
            self.stay_kind or "",
            self.result or "",
        )


@dataclass(frozen=True, slots=True)
class Quality:
    """What a hospital should look at beside the figures of an establishment."""

    finess: str
    adt_feed: bool
    """Movements are known for the month."""
    unknown_establishment: bool
    """The rows of what no establishment could be found for."""
    unknown_types: dict[str, int]
    """Type codes without a row of their own, and how many attempts of the month they have."""
    submissions_without_stay: int
    """Documents sent that name a stay which no movement told, all months."""
    late_successes: int
    """Successes after the cut-off, for stays closed in the month."""
    closed_without_admission: int
    closed_without_class: int


@dataclass(frozen=True, slots=True)
class Result:
    """The rows of a month."""

    month: str
    catalogue_version: str
    rows: list[Row]
    quality: list[Quality] = field(default_factory=list)


def compute(
    world: World,
    month: str,
    *,
    finess: str | None = None,
    catalogue: Catalogue | None = None,
    cutoff: datetime | None = None,
    revision: int = 1,
    ground: Ground | None = None,
) -> Result:
    """All rows of the month `AAAA-MM`: of one establishment, or of all that facts speak of. `ground`: the world
    arranged already (`ground_of`), for several months of one world.
    """
    catalogue = catalogue or default()
    ground = ground or ground_of(world, month, catalogue, cutoff)
    result = Result(month, catalogue.version, [])
    for one in [finess] if finess is not None else ground.finesses:
        view = View(ground, one, month, None if cutoff is None else cutoff.timestamp())
        sheet = Sheet()
        for rule in RULES.values():
            rule(view, sheet)
        result.rows.extend(
            row_of(view, cell, tally, world, revision) for cell, tally in sheet.tallies.items()
        )
        result.quality.append(_quality(view))
    return result


def ground_of(world: World, month: str, catalogue: Catalogue, cutoff: datetime | None) -> Ground:
    """The world arranged for the month."""
    until = None
    if not same_ground(catalogue):
        where = catalogue.time_zones["default"]
        until = cutoff.timestamp() if cutoff else periods.cutoff(month, where, catalogue.options.cutoff_days)
    else:
        periods.month(month, catalogue.time_zones["default"])
    return Ground(world, catalogue, until)


def same_ground(catalogue: Catalogue) -> bool:
    """True when the world is arranged alike for all months."""
    return catalogue.options.consent_known != "cutoff"


def row_of(view: View, cell: Cell, tally: Tally, world: World, revision: int) -> Row:
    """A tally as it is published."""
    rate, reason = None, tally.reason
    numerator, denominator = tally.numerator, tally.denominator
    if denominator == 0:
        reason = reason or "zero_denominator"
    elif denominator is not None and numerator is not None and not reason:
        rate = rounded(numerator, denominator)
    details = dict(tally.details)
    if tally.documents is not None:
        details["documents"] = tally.documents
    return Row(
        finess=view.finess,
        period=cell.period,
        indicator=cell.indicator,
        breakdown_type=cell.breakdown or None,
        document_code=cell.code or None,
        document_system=view.catalogue.systems.get(cell.code),
        profession=cell.profession or None,
        channel=cell.channel or None,
        stay_kind=cell.kind or None,
        result=cell.result or None,
        numerator=numerator,
        denominator=denominator,
        rate=rate,
        documents=tally.documents,
        as_of=None if world.as_of is None else periods.iso(world.as_of.timestamp(), view.zone),
        cutoff=periods.iso(view.cutoff, view.zone) or "",
        revision=revision,
        rule_version=view.catalogue.rule_version,
        reason=reason or None,
        details=details,
    )


def rounded(numerator: int, denominator: int) -> float:
    """R17: half up to 4 decimals, by whole numbers."""
    return (numerator * 20_000 + denominator) // (2 * denominator) / 10_000


def _quality(view: View) -> Quality:
    unknown: dict[str, int] = {}
    for a in view.days.begun(view.period):
        code = a.submission.type_code
        if view.row(code) == OTHER:
            unknown[code] = unknown.get(code, 0) + 1
    return Quality(
        finess=view.finess,
        adt_feed=view.adt_feed,
        unknown_establishment=view.finess == UNKNOWN_FINESS,
        unknown_types=dict(sorted(unknown.items())),
        submissions_without_stay=view.ground.lost.get(view.finess, 0),
        late_successes=sum(
            view.standing(a, view.cutoff) is Why.TOO_LATE for s in view.hospital for a in view.sent(s)
        ),
        closed_without_admission=sum(s.opened is None for s in view.hospital),
        closed_without_class=sum(not s.patient_class and not s.cancelled for s in view.not_hospital),
    )


def find(rows: Iterable[Row], indicator: str, **wanted: str | None) -> Row:
    """The one row of an indicator with these fields (`document_code`, `stay_kind`…). Raises `LookupError`."""
    found = [
        r for r in rows if r.indicator == indicator and all(getattr(r, k) == v for k, v in wanted.items())
    ]
    if len(found) != 1:
        raise LookupError(f"{indicator} {wanted}: {len(found)} rows")
    return found[0]
