"""MSI-1 to MSI-4 (documents received by MSSanté and what became of them) and BDG-0 (accesses in an emergency).

R1: only successful integrations. The same document of the same mail counts once, however often it is told (§8).
"""

from __future__ import annotations

from collections.abc import Callable

from indicators.sheet import Cell, Sheet
from indicators.uses import Use
from indicators.view import View
from indicators.why import Why


def msi_1(view: View, sheet: Sheet) -> None:
    """Not CDA, by hand."""
    _integrations(
        view,
        sheet,
        "MSI-1",
        lambda use: Why.OTHER_MODE if not use.manual else (Why.IN_FORMAT if use.cda else Why.COUNTS),
    )


def msi_2(view: View, sheet: Sheet) -> None:
    """Automatically."""
    _integrations(view, sheet, "MSI-2", lambda use: Why.OTHER_MODE if use.manual else Why.COUNTS)


def msi_3(view: View, sheet: Sheet) -> None:
    """By hand, CDA or not."""
    _integrations(view, sheet, "MSI-3", lambda use: Why.COUNTS if use.manual else Why.OTHER_MODE)


def _integrations(view: View, sheet: Sheet, indicator: str, judge: Callable[[Use], Why]) -> None:
    cell = Cell(indicator, view.period.label)
    sheet.row(cell, rate=False)
    done: set[tuple[str, str]] = set()
    for use in sorted((u for u in view.uses if u.what == "mss"), key=lambda u: (u.at, u.fact_id)):
        why = judge(use) if use.ok else Why.FAILED
        key = _document(use)
        if use.ok and key in done:
            why = Why.REPEATED
        elif use.ok:
            done.add(key)
        if view.period.has(use.at):
            if why is Why.COUNTS:
                sheet.count(cell, use, why, True)
            else:
                sheet.outside(cell, use, why)


def _document(use: Use) -> tuple[str, str]:
    return (use.message_id, use.unique_id) if use.message_id else ("", use.fact_id)


def msi_4(view: View, sheet: Sheet) -> None:
    """Received before the end of the month and not integrated by then: a stock."""
    cell = Cell("MSI-4", view.period.label)
    sheet.row(cell, rate=False)
    taken = {
        (u.message_id, u.unique_id) for u in view.uses if u.what == "mss" and u.ok and u.at < view.period.end
    }
    whole = {message for message, unique_id in taken if not unique_id}
    some = {message for message, _ in taken}
    seen: set[tuple[str, str]] = set()
    for reception in sorted(view.receptions):
        key = (reception.message_id, reception.unique_id)
        if reception.at >= view.period.end or key in seen:
            continue
        seen.add(key)
        # who does not say which document of the mail speaks of all of them
        integrated = key in taken or key[0] in whole or (not key[1] and key[0] in some)
        if integrated:
            if view.period.has(reception.at):
                sheet.outside(cell, reception, Why.INTEGRATED)
        else:
            sheet.count(cell, reception, Why.COUNTS, True)


def bdg_0(view: View, sheet: Sheet) -> None:
    """Accesses in an emergency; a local figure."""
    cell = Cell("BDG-0", view.period.label)
    sheet.row(cell, rate=False)
    for use in view.uses:
        if use.what == "break_glass" and view.period.has(use.at):
            sheet.count(cell, use, Why.COUNTS, True)
