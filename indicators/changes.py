"""What changed between two computations of a month, in words.

Purpose: rows before, rows after → one `Change` for each row that is not the same, with a French sentence. Pure.
Guarantee: no change means the same figures, details and reasons in all rows; the sentence tells both figures.
Fails: never.
Source: spec/indicators.md R14, §6.6.
"""

from __future__ import annotations

from collections.abc import Iterable

from indicators.catalogue import Catalogue
from indicators.engine import Row
from indicators.published import Change
from indicators.sheet import Cell
from indicators.wording import detail, label_of_period, value_of_detail

_Pair = tuple[int | None, int | None]


def changes(before: Iterable[Row], after: Iterable[Row], catalogue: Catalogue) -> list[Change]:
    """In the order of the rows; those that are gone last."""
    old = {row.cell: row for row in before}
    found: list[Change] = []
    for row in after:
        was = old.pop(row.cell, None)
        if was is None or _figures(was) != _figures(row):
            found.append(_change(row.cell, was, row, catalogue))
    return found + [_change(cell, was, None, catalogue) for cell, was in old.items()]


def _figures(row: Row) -> tuple[object, ...]:
    return row.numerator, row.denominator, row.documents, row.reason, row.details


def _change(cell: Cell, was: Row | None, now: Row | None, catalogue: Catalogue) -> Change:
    shown = now or was
    assert shown is not None
    which = label_of_period(shown, catalogue)
    title = f"{cell.indicator} ({which})" if which else cell.indicator
    if was is None and now is not None:
        sentence = f"{title} : nouvelle ligne, {_words(now, catalogue)}."
    elif now is None and was is not None:
        sentence = f"{title} : ligne disparue, elle valait {_words(was, catalogue)}."
    else:
        assert was is not None and now is not None
        one, two = _words(was, catalogue), _words(now, catalogue)
        if one == two:
            told = _details(was, now, catalogue)
            sentence = f"{title} : {one}, inchangé ; {told}."
        else:
            sentence = f"{title} : {one} devient {two}{_moved(was, now)}."
    return Change(cell, _pair(was), _pair(now), sentence)


def _pair(row: Row | None) -> _Pair | None:
    return None if row is None else (row.numerator, row.denominator)


def _words(row: Row, catalogue: Catalogue) -> str:
    if row.numerator is None:
        return f"non calculé ({_reason(row, catalogue)})"
    if row.denominator is None:
        return str(row.numerator)
    figure = f"{row.numerator} / {row.denominator}"
    return figure if row.rate is None else f"{figure} ({row.rate * 100:.2f} %)".replace(".", ",")


def _moved(was: Row, now: Row) -> str:
    if was.numerator is None or now.numerator is None or was.denominator != now.denominator:
        return ""
    return f" ({now.numerator - was.numerator:+d})"


def _details(was: Row, now: Row, catalogue: Catalogue) -> str:
    before, after = _plain(was), _plain(now)
    keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))
    told = [
        f"{detail(key)} : {value_of_detail(before.get(key))} devient {value_of_detail(after.get(key))}"
        for key in keys
    ]
    if was.reason != now.reason:
        one, two = (_reason(row, catalogue) or "aucune" for row in (was, now))
        told.append(f"raison : {one} devient {two}")
    return ", ".join(told)


def _plain(row: Row) -> dict[str, object]:
    """The details, with the number of documents among them."""
    return {"documents": row.documents, **row.details}


def _reason(row: Row, catalogue: Catalogue) -> str:
    """Why there is no rate, as the middle of a sentence."""
    return catalogue.reasons.get(row.reason or "", row.reason or "").rstrip(".")
