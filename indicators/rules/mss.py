"""MSP-1, MSP-2, MSC-1 and MSC-2: sending by MSSanté, to professionals and to patients.

R1: an address counts when its mail was accepted and no negative DSN came back; R3; R11: the patients' denominator is
all patients treated in the month.
"""

from __future__ import annotations

from indicators.deliveries import Attempt, Channel
from indicators.movements import Stay
from indicators.rules.common import NO_ADT, best, by_row, stays_by_type, type_cells
from indicators.sheet import Cell, Sheet
from indicators.view import View


def msp_1(view: View, sheet: Sheet) -> None:
    """Closed hospital stays with a document of the type sent to a professional."""
    missing = "" if view.adt_feed else NO_ADT
    stays_by_type(view, sheet, "MSP-1", Channel.MSS_PRO, view.hospital, view.not_hospital, missing)


def msc_1(view: View, sheet: Sheet) -> None:
    """Closed hospital stays with a document of the type sent to the patient."""
    missing = "" if view.adt_feed else NO_ADT
    stays_by_type(view, sheet, "MSC-1", Channel.MSS_CITOYENNE, view.hospital, view.not_hospital, missing)


def msp_2(view: View, sheet: Sheet) -> None:
    """Correspondents who have an MSSanté address and got a document of the type about a stay of the month."""
    cells = type_cells(view, "MSP-2", view.codes)
    for cell in cells.values():
        sheet.row(cell, rate=True)
        if not view.adt_feed:
            sheet.unknown(cell, NO_ADT)
    if not view.adt_feed:
        return
    names, known = _directory(view)
    sent: dict[str, list[Attempt]] = {}
    for stay in view.hospital:
        for a in view.sent(stay):
            if a.channel is Channel.MSS_PRO and a.recipient:
                sent.setdefault(names.get(a.recipient, a.recipient), []).append(a)
    everybody = {*sent, *known}
    if view.options.correspondents == "directory":
        everybody.update(
            names.get(a.recipient, a.recipient)
            for d in view.documents
            for a in d.attempts
            if a.channel is Channel.MSS_PRO and a.recipient
        )
    for name in sorted(everybody):
        _count(view, sheet, cells, name, sent.get(name, []), Channel.MSS_PRO)


def _directory(view: View) -> tuple[dict[str, str], set[str]]:
    """(address → RPPS where known, correspondents with an address: of the month's stays, or all of them)."""
    told = sorted(c for c in view.ground.world.uses.correspondents if c[0] == view.finess)
    names: dict[str, str] = {}
    for _, _, rpps, address in told:
        if rpps and address:
            names.setdefault(address, rpps)
    with_address = {*names.values()}
    month = {id(s) for s in view.hospital}
    known: set[str] = set()
    for finess, ref, rpps, address in told:
        if view.options.correspondents == "stays":
            stay = view.ground.stay(ref, finess) if ref is not None else None
            if stay is None or id(stay) not in month:
                continue
        if address:
            known.add(names.get(address, address))
        elif rpps in with_address:
            known.add(rpps)
    return names, known


def msc_2(view: View, sheet: Sheet) -> None:
    """Patients treated in the month who got a document of the type about a stay or consultation of the month. Patients
    of consultations are patients too: consultations that events told are enough (R11).
    """
    cells = type_cells(view, "MSC-2", view.codes)
    for cell in cells.values():
        sheet.row(cell, rate=True)
        if not view.visit_feed:
            sheet.unknown(cell, NO_ADT)
    if not view.visit_feed:
        return
    patients: dict[str, list[Stay]] = {}
    for stay in view.treated:
        # a stay whose patient nobody named is a patient of its own
        patients.setdefault(stay.patient or f"?{stay.name}", []).append(stay)
    for patient, stays in patients.items():
        _count(view, sheet, cells, patient, [a for s in stays for a in view.sent(s)], Channel.MSS_CITOYENNE)


def _count(
    view: View, sheet: Sheet, cells: dict[str, Cell], subject: str, sent: list[Attempt], channel: Channel
) -> None:
    rows = by_row(view, sent, channel)
    for code, cell in cells.items():
        attempts = rows.get(code, [])
        why, sets, _ = best(view, attempts, view.cutoff)
        sheet.count(cell, subject, why, bool(sets), evidence=attempts)
