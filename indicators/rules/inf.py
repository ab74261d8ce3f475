"""INF-1 and INF-2: what patients were told of their DMP, and whether they object.

Rule R4: an opposition to feeding or to consultation is one; R5: either use makes the information recorded. The truth
table of spec/indicators.md §1.3 is `consent`. No filter but the closure (R3); complete and ambulatory stays are both
there (R6).
"""

from __future__ import annotations

from indicators.movements import Stay
from indicators.rules.common import NO_ADT, NO_VISITS
from indicators.sheet import Cell, Sheet
from indicators.view import View
from indicators.why import Why

_ALWAYS = ("complet", "ambulatoire")
CONSULTATION = "consultation"


def consent(feeding: str, consulting: str) -> Why:
    """ZFA-9 (NA, IO, INO, "") and ZFA-11 (NA, INC, IC, "") → NOT_RECORDED, OPPOSED or NOT_OPPOSED."""
    if feeding == "IO" or consulting == "INC":
        return Why.OPPOSED
    if feeding == "INO" or consulting == "IC":
        return Why.NOT_OPPOSED
    return Why.NOT_RECORDED


def inf_1(view: View, sheet: Sheet) -> None:
    """Informed and not opposed."""
    _consents(view, sheet, "INF-1", Why.NOT_OPPOSED)


def inf_2(view: View, sheet: Sheet) -> None:
    """Informed and opposed."""
    _consents(view, sheet, "INF-2", Why.OPPOSED)


def _consents(view: View, sheet: Sheet, indicator: str, counted: Why) -> None:
    def cell(kind: str) -> Cell:
        return Cell(indicator, view.period.label, "stay_kind", kind=kind)

    for kind in ("ALL", *_ALWAYS, CONSULTATION):
        sheet.row(cell(kind), rate=True)
        if not view.adt_feed and not (kind == CONSULTATION and view.visit_feed):
            sheet.unknown(cell(kind), NO_VISITS if kind == CONSULTATION else NO_ADT)
    if view.adt_feed:
        for stay in view.hospital:
            kind = kind_of(view, stay)
            sheet.row(cell(kind), rate=True)
            why = consent(stay.feeding, stay.consulting)
            for one in ("ALL", kind):
                sheet.count(cell(one), stay, why, why is counted)
        for stay in view.not_hospital if sheet.explains(indicator) else ():
            why = Why.CANCELLED if stay.cancelled else Why.OTHER_CLASS
            sheet.outside(cell("ALL"), stay, why)
    if view.visit_feed:
        for stay in view.consultations:
            why = consent(stay.feeding, stay.consulting)
            sheet.count(cell(CONSULTATION), stay, why, why is counted)


def kind_of(view: View, stay: Stay) -> str:
    """complet, ambulatoire, had… by PV1-21; `inconnu` when it says nothing that is known."""
    kind = view.catalogue.stay_kinds.get(stay.kind, "inconnu")
    # a hospital stay stays among the hospital stays, whatever its PV1-21
    return "inconnu" if kind == CONSULTATION else kind
