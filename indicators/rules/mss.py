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
    directory = _Directory(view)
    sent: dict[str, list[Attempt]] = {}
    for stay in view.hospital:
        for a in view.sent(stay):
            if a.channel is Channel.MSS_PRO and a.recipient:
                for name in directory.behind(a.recipient, stay):
                    sent.setdefault(name, []).append(a)
    everybody = {*sent, *directory.known}
    if view.options.correspondents == "directory":
        everybody.update(
            name
            for d in view.documents
            for a in d.attempts
            if a.channel is Channel.MSS_PRO and a.recipient
            for name in directory.behind(a.recipient)
        )
    for name in sorted(everybody):
        _count(view, sheet, cells, name, sent.get(name, []), Channel.MSS_PRO)


class _Directory:
    """Correspondents: each RPPS is one, however many addresses it has; an address that several RPPS share is all of
    those that follow the stay in question.
    """

    def __init__(self, view: View) -> None:
        told = sorted(c for c in view.ground.world.uses.correspondents if c[0] == view.finess)
        self._holders: dict[str, set[str]] = {}
        """Address → RPPS."""
        for _, _, rpps, address in told:
            if rpps and address:
                self._holders.setdefault(address, set()).add(rpps)
        with_address = set().union(*self._holders.values())
        self._followers: dict[int, set[str]] = {}
        """Stay (its `id()`) → RPPS."""
        month = {id(s) for s in view.hospital}
        mentioned: list[tuple[Stay | None, str, str]] = []
        for finess, ref, rpps, address in told:
            stay = view.ground.stay(ref, finess) if ref is not None else None
            if stay is not None and rpps:
                self._followers.setdefault(id(stay), set()).add(rpps)
            if view.options.correspondents != "stays" or (stay is not None and id(stay) in month):
                mentioned.append((stay, rpps, address))
        self.known: set[str] = set()
        """Those with an address: of the month's stays, or all of them."""
        for stay, rpps, address in mentioned:
            if rpps:
                self.known.update({rpps} & with_address)
            else:
                self.known.update(self.behind(address, stay))

    def behind(self, address: str, stay: Stay | None = None) -> list[str]:
        """Who reads an address: the RPPS that have it and follow the stay, else the first that has it, else itself."""
        holders = self._holders.get(address)
        if not holders:
            return [address]
        followers = self._followers.get(id(stay), set()) if stay is not None else set()
        return sorted(holders & followers) or [min(holders)]


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
