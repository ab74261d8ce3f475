"""TBB-1, TBB-3 and TBB-5: the table of the first wave.

Attempts, successes and failures alike, with a qualified identity (TBB-1): another count over the same facts than the
indicators of the second wave, which count successes only. An attempt is of the month of its first word.
"""

from __future__ import annotations

from indicators.catalogue import ALL
from indicators.deliveries import Attempt, Channel
from indicators.periods import Period
from indicators.sheet import Cell, Sheet
from indicators.view import View
from indicators.why import Why

RESULTS = {"success": "reussite", "failure": "echec"}


def tbb_1(view: View, sheet: Sheet) -> None:
    """Attempts with a qualified identity by channel, type and result: month, year to date, year before."""
    periods = (view.period, *view.years)
    cells: dict[tuple[str, Channel, str, str], Cell] = {}
    for period in periods:
        for channel in Channel:
            for code in view.codes:
                for outcome, result in RESULTS.items():
                    cell = Cell("TBB-1", period.label, "attempt", code, channel=channel.name, result=result)
                    sheet.row(cell, rate=False)
                    cells[period.label, channel, code, outcome] = cell
    if sheet.explains("TBB-1"):
        for document in view.documents:
            for a in document.attempts:
                for period in periods:
                    if period.has(a.first):
                        _attempt(view, sheet, a, period, cells)
        return
    for period in periods:
        for (channel, type_code, outcome), count in view.days.counts(period).items():
            if outcome in RESULTS:
                for code in (view.row(type_code), ALL):
                    tally = sheet.tallies[cells[period.label, channel, code, outcome]]
                    tally.numerator = (tally.numerator or 0) + count


def _attempt(
    view: View, sheet: Sheet, a: Attempt, period: Period, cells: dict[tuple[str, Channel, str, str], Cell]
) -> None:
    for code in (view.row(a.submission.type_code), ALL):
        if a.outcome in RESULTS and a.submission.qualified:
            sheet.count(cells[period.label, a.channel, code, a.outcome], a, Why.COUNTS, True)
        if sheet.explained is not None:
            for outcome in RESULTS:
                cell = cells[period.label, a.channel, code, outcome]
                if a.outcome == "pending":
                    sheet.outside(cell, a, Why.PENDING)
                elif not a.submission.qualified:
                    sheet.outside(cell, a, Why.NOT_QUALIFIED)
                elif a.outcome != outcome:
                    sheet.outside(cell, a, Why.OTHER_RESULT)


def tbb_3(view: View, sheet: Sheet) -> None:
    """Documents sent with success by channel; the details tell how many had a qualified identity."""
    for channel in Channel:
        cell = Cell("TBB-3", view.period.label, "channel", channel=channel.name)
        tally = sheet.row(cell, rate=False, documents=True)
        for document, first in view.reached[channel]:
            sheet.count(cell, document, Why.COUNTS, True, documents=1, evidence=[first])
            tally.add_detail("ins_qualified" if first.submission.qualified else "ins_not_qualified")


def tbb_5(view: View, sheet: Sheet) -> None:
    """Failures by channel, whatever the identity."""
    cells = {
        channel: Cell("TBB-5", view.period.label, "channel", channel=channel.name) for channel in Channel
    }
    for cell in cells.values():
        sheet.row(cell, rate=False)
    for a in view.days.begun(view.period):
        if a.outcome == "failure":
            sheet.count(cells[a.channel], a, Why.FAILED, True)
