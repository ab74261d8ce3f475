"""CON-1 to CON-5: consulting the DMP.

R7: TD0.10 and TD3.x, never TD0.9; R8: downloads are TD3.2, integration is a figure beside; R9: types of the matrix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from indicators.catalogue import ALL
from indicators.movements import Stay
from indicators.rules.common import NO_ADT, NO_VISITS, type_cells
from indicators.sheet import Cell, Sheet
from indicators.uses import Use
from indicators.view import View
from indicators.why import Why

_READING = frozenset({"TD3.1", "TD3.2"})


def con_1(view: View, sheet: Sheet) -> None:
    """Successful TD3.2, action by action."""
    _count_uses(view, sheet, "CON-1", "TD3.2")


def con_1b(view: View, sheet: Sheet) -> None:
    """Documents of the DMP integrated."""
    _count_uses(view, sheet, "CON-1b", "dmp")


def _count_uses(view: View, sheet: Sheet, indicator: str, what: str) -> None:
    uses = [u for u in view.uses if u.what == what and view.period.has(u.at)]
    cells = type_cells(view, indicator, (*_codes(view, uses), ALL))
    distinct: dict[Cell, set[str]] = {cell: set() for cell in cells.values()}
    for cell in cells.values():
        sheet.row(cell, rate=False)
    for use in uses:
        why = _download(view, use)
        for cell in (cells[view.matrix_row(use.type_code)], cells[ALL]):
            if why is not Why.COUNTS:
                sheet.outside(cell, use, why)
                continue
            sheet.count(cell, use, why, True)
            distinct[cell].add(use.unique_id or use.fact_id)
            if use.prefetch:
                sheet.tallies[cell].add_detail("prefetch")
    for cell, documents in distinct.items():
        sheet.tallies[cell].details["distinct_documents"] = len(documents)


def _download(view: View, use: Use) -> Why:
    if not use.ok:
        return Why.FAILED
    if use.prefetch and view.options.con1_prefetch == "ignore":
        return Why.PREFETCH
    return Why.COUNTS


def _codes(view: View, uses: Iterable[Use]) -> list[str]:
    """The rows that have something in them: the matrix has more than a hundred types."""
    return sorted({view.matrix_row(u.type_code) for u in uses})


def con_2(view: View, sheet: Sheet) -> None:
    """Users with a successful consultation, by profession."""
    users, others = _users(view)
    for profession in _professions(view, users):
        cell = Cell("CON-2", view.period.label, "profession", profession=profession)
        sheet.row(cell, rate=False)
        for user, uses in users.get(profession, {}).items():
            sheet.count(cell, user, Why.COUNTS, True, evidence=uses)
        for use, why in others:
            if profession in (use.profession, ALL):
                sheet.outside(cell, use, why)


def con_3(view: View, sheet: Sheet) -> None:
    """The same, divided by the accounts of the profession on the last day of the month."""
    users, _ = _users(view)
    census = _census(view)
    for profession in _professions(view, users):
        cell = Cell("CON-3", view.period.label, "profession", profession=profession)
        tally = sheet.row(cell, rate=True)
        for user, uses in users.get(profession, {}).items():
            sheet.count(cell, user, Why.COUNTS, True, denominator=False, evidence=uses)
        accounts = (
            sum(n for n, _ in census.values()) if profession == ALL else census.get(profession, (None,))[0]
        )
        complete = profession != ALL or {*users, *census} - {ALL} <= {*census}
        if accounts is None or not census or not complete:
            tally.denominator, tally.reason = None, "no_user_census"
            continue
        tally.denominator = accounts
        if profession in census:
            sheet.outside(cell, f"{accounts}", Why.ACCOUNT)
        if tally.numerator is not None and tally.numerator > accounts > 0:
            tally.reason = "census_too_small"


def _users(view: View) -> tuple[dict[str, dict[str, list[Use]]], list[tuple[Use, Why]]]:
    """Profession (and ALL) → user → what they did; and what does not count."""
    users: dict[str, dict[str, list[Use]]] = {ALL: {}}
    others: list[tuple[Use, Why]] = []
    for use in view.uses:
        if not use.what.startswith("TD") or not view.period.has(use.at):
            continue
        why = _consults(view, use)
        if why is not Why.COUNTS:
            others.append((use, why))
            continue
        for profession in (use.profession, ALL):
            users.setdefault(profession, {}).setdefault(use.user, []).append(use)
    return users, others


def _consults(view: View, use: Use) -> Why:
    """R7, and the named choices on TD3.x and on what is fetched beforehand."""
    if use.what == "TD0.9":
        return Why.CONTEXT_CALL
    every = view.options.con2_transactions == "all"
    if use.what != "TD0.10" and not (use.what.startswith("TD3.") if every else use.what in _READING):
        return Why.OTHER_TRANSACTION
    if not use.ok:
        return Why.FAILED
    if use.prefetch and view.options.con2_prefetch == "ignore":
        return Why.PREFETCH
    return Why.COUNTS if use.user else Why.NO_USER


def _professions(view: View, users: Iterable[str]) -> list[str]:
    return [*sorted({*users, *_census(view)} - {ALL}), ALL]


def _census(view: View) -> dict[str, tuple[int, float]]:
    """Profession → (accounts, instant) of the last census before the end of the month."""
    found: dict[str, tuple[int, float]] = {}
    for (finess, profession), told in view.ground.world.uses.census.items():
        known = [t for t in told if t[0] < view.period.end]
        if finess != view.finess or not known:
            continue
        last = max(t[0] for t in known)
        counted = [t[1] for t in known if t[0] == last and t[1] >= 0]
        # accounts told one by one are those of the last day that told any
        day = view.day(last)
        listed = {t[2] for t in known if t[1] < 0 and view.day(t[0]) == day}
        found[profession] = (max(counted) if counted else len(listed), last)
    return found


def con_4(view: View, sheet: Sheet) -> None:
    """Closed hospital stays with a document of the type downloaded."""
    _stays(view, sheet, "CON-4", view.hospital, view.not_hospital, "" if view.adt_feed else NO_ADT)


def con_5(view: View, sheet: Sheet) -> None:
    """Consultations with a document of the type downloaded."""
    _stays(view, sheet, "CON-5", view.consultations, (), "" if view.visit_feed else NO_VISITS)


def _stays(
    view: View, sheet: Sheet, indicator: str, stays: Sequence[Stay], outside: Iterable[Stay], missing: str
) -> None:
    uses = [u for s in stays for u in view.downloads(s)]
    cells = type_cells(view, indicator, (*_codes(view, uses), ALL))
    for cell in cells.values():
        sheet.row(cell, rate=True)
        if missing:
            sheet.unknown(cell, missing)
    if missing:
        return
    for stay in stays:
        rows: dict[str, list[Use]] = {}
        for use in view.downloads(stay):
            for code in (view.matrix_row(use.type_code), ALL):
                rows.setdefault(code, []).append(use)
        for code, cell in cells.items():
            done = rows.get(code, [])
            reasons = [Why.TOO_LATE if u.at > view.cutoff else _download(view, u) for u in done]
            counts = Why.COUNTS in reasons
            why = Why.COUNTS if counts else (reasons[0] if reasons else Why.NOT_CONSULTED)
            sheet.count(cell, stay, why, counts, evidence=done)
    for stay in outside if sheet.explains(indicator) else ():
        why = Why.CANCELLED if stay.cancelled else Why.OTHER_CLASS
        for cell in cells.values():
            sheet.outside(cell, stay, why)
