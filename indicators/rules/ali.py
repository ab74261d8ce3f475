"""ALI-1 to ALI-4 and HIS-1: feeding the DMP (TD2.1).

R1: only successes that stand; R2: one document is one setId, the version counted is the last that succeeded; R3: closed
stays without any filter on consent; R10: historical documents; R18, R19.
"""

from __future__ import annotations

from collections.abc import Iterable

from indicators.catalogue import ALL
from indicators.deliveries import Attempt, Channel, Document
from indicators.movements import Stay
from indicators.periods import years_before
from indicators.rules.common import NO_ADT, NO_VISITS, best, stays_by_type, type_cells
from indicators.sheet import Cell, Sheet
from indicators.view import View
from indicators.why import Why


def ali_1(view: View, sheet: Sheet) -> None:
    """Closed hospital stays with a document of the type in the DMP."""
    missing = "" if view.adt_feed else NO_ADT
    stays_by_type(view, sheet, "ALI-1", Channel.DMP, view.hospital, view.not_hospital, missing)


def ali_3(view: View, sheet: Sheet) -> None:
    """Consultations with a document of the type in the DMP."""
    missing = "" if view.visit_feed else NO_VISITS
    stays_by_type(view, sheet, "ALI-3", Channel.DMP, view.consultations, (), missing)


def ali_2(view: View, sheet: Sheet) -> None:
    """Documents whose first success is of the month."""
    cells = type_cells(view, "ALI-2", view.codes)
    for cell in cells.values():
        sheet.row(cell, rate=False, documents=True)
    for document, first in view.reached[Channel.DMP]:
        if first.submission.historical and view.options.ali2_historical == "exclude":
            _outside(view, sheet, document, first, Why.HISTORICAL, cells)
        else:
            _count(view, sheet, document, first, cells)
    _not_this_month(view, sheet, cells, view.documents)


def ali_4(view: View, sheet: Sheet) -> None:
    """Historical documents whose first success is of the month."""
    cells = type_cells(view, "ALI-4", view.codes)
    for cell in cells.values():
        sheet.row(cell, rate=False, documents=True)
    for document, first in view.reached[Channel.DMP]:
        if not any(s.historical for s in document.submissions):
            continue
        why = _historical(view, first)
        if why is Why.COUNTS:
            _count(view, sheet, document, first, cells)
        else:
            _outside(view, sheet, document, first, why, cells)
    _not_this_month(
        view, sheet, cells, (d for d in view.documents if any(s.historical for s in d.submissions))
    )


def _historical(view: View, first: Attempt) -> Why:
    """R10: not fed when it was made, and dated within the depth."""
    if not first.submission.historical:
        return Why.NOT_HISTORICAL
    dated = first.submission.date
    if dated is None or first.success is None:
        return Why.NO_DATE
    oldest = years_before(first.success, view.options.history_years, view.zone)
    return Why.COUNTS if dated >= oldest else Why.TOO_OLD


def his_1(view: View, sheet: Sheet) -> None:
    """Closed stays of patients who came before, with a document of an earlier stay in the DMP, then or since."""
    cell = Cell("HIS-1", view.period.label)
    sheet.row(cell, rate=True)
    if not view.adt_feed:
        sheet.unknown(cell, NO_ADT)
        return
    for stay in view.hospital:
        earlier = _earlier(view, stay)
        if not earlier:
            sheet.outside(cell, stay, Why.NO_EARLIER_STAY)
            continue
        sent = [a for e in earlier for a in view.sent(e) if a.channel is Channel.DMP]
        why, sets, _ = best(view, sent, view.cutoff)
        counts = Why.COUNTS if sets else (Why.NOTHING_FED_BEFORE if why is Why.NOTHING_SENT else why)
        sheet.count(cell, stay, counts, bool(sets), evidence=sent)


def _earlier(view: View, stay: Stay) -> list[Stay]:
    begin = stay.opened if stay.opened is not None else stay.closed
    if begin is None or not stay.patient:
        return []
    oldest = years_before(begin, view.options.history_years, view.zone)
    return [
        s
        for s in view.ground.by_patient.get(stay.patient, ())
        if s is not stay and s.finess == stay.finess and oldest <= _end(s) <= begin
    ]


def _end(stay: Stay) -> float:
    """When an earlier stay was over; one that nobody closed, when it began."""
    end = stay.closed if stay.closed is not None else stay.opened
    return end if end is not None else float("inf")


def _count(view: View, sheet: Sheet, document: Document, first: Attempt, cells: dict[str, Cell]) -> None:
    good = [a for a in document.attempts if a.channel is Channel.DMP and view.standing(a) is Why.COUNTS]
    last = max(good, key=lambda a: a.submission.version)
    evidence = [a for a in document.attempts if a.channel is Channel.DMP] if sheet.explained else ()
    for code in (view.row(first.submission.type_code), ALL):
        sheet.count(cells[code], document, Why.COUNTS, True, documents=1, evidence=evidence)
        tally = sheet.tallies[cells[code]]
        versions, version = tally.details.setdefault("retained_version", {}), str(last.submission.version)
        versions[version] = versions.get(version, 0) + 1
        if document.deletions and document.deleted(last):
            tally.add_detail("deleted_after_success")


def _not_this_month(view: View, sheet: Sheet, cells: dict[str, Cell], documents: Iterable[Document]) -> None:
    """Documents that were sent in the month and do not count in it: told to who asks for the list."""
    if sheet.explained not in cells.values():
        return
    reached = {id(document) for document, _ in view.reached[Channel.DMP]}
    for document in documents:
        dmp = [a for a in document.attempts if a.channel is Channel.DMP]
        seen = [a for a in dmp if view.period.has(a.first) or view.period.has(a.last)]
        if seen and id(document) not in reached:
            first = view.first_success(document, Channel.DMP)
            why = Why.OTHER_MONTH if first is not None else best(view, dmp, None)[0]
            _outside(view, sheet, document, seen[0], why, cells)


def _outside(
    view: View, sheet: Sheet, document: Document, attempt: Attempt, why: Why, cells: dict[str, Cell]
) -> None:
    evidence = [a for a in document.attempts if a.channel is Channel.DMP]
    for code in (view.row(attempt.submission.type_code), ALL):
        sheet.outside(cells[code], document, why, evidence)
