"""What several rules share: rows by document type, and stays with what was sent about them.

Purpose: helpers of the rules. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from indicators.catalogue import ALL
from indicators.deliveries import Attempt, Channel
from indicators.movements import Stay
from indicators.sheet import Cell, Sheet
from indicators.view import View
from indicators.why import Why

NO_ADT = "no_adt_feed"
NO_VISITS = "no_consultation_feed"
_NEARNESS = {
    Why.COUNTS: 0,
    Why.DELETED: 1,
    Why.TOO_LATE: 2,
    Why.TAKEN_BACK: 3,
    Why.PENDING: 4,
    Why.FAILED: 5,
    Why.NOTHING_SENT: 6,
}


def nearest(first: Why, second: Why) -> Why:
    """Of two reasons the one that comes nearest to counting."""
    return first if _NEARNESS[first] <= _NEARNESS[second] else second


def type_cells(view: View, indicator: str, codes: Iterable[str]) -> dict[str, Cell]:
    """A cell for each document type."""
    return {code: Cell(indicator, view.period.label, "document_type", code) for code in codes}


def by_row(view: View, attempts: Iterable[Attempt], channel: Channel) -> dict[str, list[Attempt]]:
    """Attempts of a channel by row, ALL among them."""
    rows: dict[str, list[Attempt]] = {}
    for a in attempts:
        if a.channel is channel:
            rows.setdefault(view.row(a.submission.type_code), []).append(a)
            rows.setdefault(ALL, []).append(a)
    return rows


def best(view: View, attempts: Iterable[Attempt], until: float | None) -> tuple[Why, set[str], set[str]]:
    """(the nearest reason, sets that count, those of them deleted since)."""
    why, sets, deleted = Why.NOTHING_SENT, set(), set()
    for a in attempts:
        standing = view.standing(a, until)
        why = nearest(why, standing)
        if standing is Why.COUNTS:
            sets.add(a.submission.document.set_id)
            if a.submission.document.deletions and a.submission.document.deleted(a):
                deleted.add(a.submission.document.set_id)
    return why, sets, deleted


def stays_by_type(
    view: View,
    sheet: Sheet,
    indicator: str,
    channel: Channel,
    stays: Sequence[Stay],
    outside: Iterable[Stay],
    missing: str,
) -> None:
    """Stays with at least one document of the type successfully sent (R1, R3, R18), for ALI-1, ALI-3, MSP-1, MSC-1.
    `missing` is the reason when the stays are not known.
    """
    cells = type_cells(view, indicator, view.codes)
    for cell in cells.values():
        sheet.row(cell, rate=True, documents=True)
        if missing:
            sheet.unknown(cell, missing)
    if missing:
        return
    for stay in stays:
        rows = by_row(view, view.sent(stay), channel)
        for code, cell in cells.items():
            attempts = rows.get(code)
            if attempts is None:
                sheet.count(cell, stay, Why.NOTHING_SENT, False)
                continue
            why, sets, deleted = best(view, attempts, view.cutoff)
            sheet.count(cell, stay, why, bool(sets), documents=len(sets), evidence=attempts)
            if deleted:
                sheet.tallies[cell].add_detail("deleted_after_success", len(deleted))
    if sheet.explains(indicator):
        for stay in outside:
            why = Why.CANCELLED if stay.cancelled else Why.OTHER_CLASS
            for cell in cells.values():
                sheet.outside(cell, stay, why)
