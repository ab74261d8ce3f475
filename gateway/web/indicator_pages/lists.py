"""The list behind a figure as it is read and downloaded.

Purpose: `Explanation` → totals that add up to the figure, a filter, a page of it, CSV. Pure.
Guarantee: the totals are those of the whole list, whatever is filtered or shown; no patient's address (it is a national
identifier) is in the page nor in the file.
Fails: never; an unknown filter shows all, a page beyond the last one shows the last.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.web.indicator_pages import words
from indicators.catalogue import Catalogue
from indicators.explain import Explained, Explanation
from indicators.why import Why

PAGE = 100
"""Subjects on a page: the whole list is a download."""
COUNTED, BELOW, OUTSIDE = "comptes", "denominateur", "hors"
FILTERS = {
    "": "Tous",
    COUNTED: "Comptés",
    BELOW: "Au dénominateur seulement",
    OUTSIDE: "Ni comptés, ni au dénominateur",
}
_COUNT_FILTERS = {"": "Tous", COUNTED: "Comptés", OUTSIDE: "Non comptés"}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Entry:
    """One subject in words."""

    name: str
    place: str
    """COUNTED, BELOW or OUTSIDE."""
    verdict: str
    sentence: str
    facts: list[tuple[str, str]]
    evidence: list[list[tuple[str, str]]]


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the list, and the totals of all of it."""

    filters: list[tuple[str, str, int, bool]]
    """Name, words, how many, whether it is chosen."""
    chosen: str
    sum_sentence: str
    adds_up: bool
    reasons: list[tuple[str, int]]
    entries: list[Entry]
    page: int
    pages: int
    first: int
    last: int
    total: int


def place_of(member: Explained) -> str:
    """Where a subject stands."""
    return COUNTED if member.numerator else BELOW if member.denominator else OUTSIDE


def listing(found: Explanation, catalogue: Catalogue, chosen: str = "", page: int = 1) -> Listing:
    """A page of the list."""
    row = found.row
    rate = row.denominator is not None or row.reason is not None
    names = FILTERS if rate else _COUNT_FILTERS
    if chosen not in names:
        chosen = ""
    places = Counter(place_of(m) for m in found.members)
    counts = {"": len(found.members)} | {name: places[name] for name in names if name}
    shown = [m for m in found.members if not chosen or place_of(m) == chosen]
    pages = max(1, -(-len(shown) // PAGE))
    page = min(max(1, page), pages)
    start = (page - 1) * PAGE
    sentence, adds_up = _sum(found, places, rate)
    reasons = Counter(m.sentence for m in shown)
    return Listing(
        [(name, text, counts[name], name == chosen) for name, text in names.items()],
        chosen,
        sentence,
        adds_up,
        reasons.most_common(),
        [_entry(m, rate, catalogue) for m in shown[start : start + PAGE]],
        page,
        pages,
        start + 1 if shown else 0,
        min(start + PAGE, len(shown)),
        len(shown),
    )


def _sum(found: Explanation, places: Counter[str], rate: bool) -> tuple[str, bool]:
    row, counted, below = found.row, places[COUNTED], places[BELOW]
    if row.numerator is None:
        return "Ce chiffre n’est pas calculé : il n’y a rien à compter.", True
    told = words.plural(counted, "compté", "comptés")
    if not rate:
        return f"{told} : c’est le nombre publié, {words.number(row.numerator)}.", counted == row.numerator
    if row.indicator == "CON-3":
        accounts = words.plural(row.denominator or 0, "compte recensé", "comptes recensés")
        last = (
            f"le dénominateur est le recensement, {accounts}" if row.denominator is not None else words.NONE
        )
        return f"{told} au numérateur ; {last}.", counted == row.numerator
    both = counted + below
    return (
        f"{told} + {words.number(below)} au dénominateur seulement = {words.number(both)} : "
        f"c’est le chiffre publié, {words.number(row.numerator)} sur {words.number(row.denominator)}.",
        counted == row.numerator and both == row.denominator,
    )


_VERDICTS = {COUNTED: "Compté", BELOW: "Au dénominateur seulement", OUTSIDE: "Non compté"}
_NAMES = ("stay", "set_id", "control_id", "user", "message_id", "name", "fact_id")


def _entry(member: Explained, rate: bool, catalogue: Catalogue) -> Entry:
    place = place_of(member)
    first = next((n for n in _NAMES if n in member.subject), "")
    name = words.told(first, member.subject[first]) if first else words.NONE
    if first == "stay":
        name = f"Séjour {name}"
    elif first == "set_id":
        name = f"Document {name}"
    elif first == "control_id":
        name = f"Message {name}"
    verdict = "Ni compté, ni au dénominateur" if rate and place == OUTSIDE else _VERDICTS[place]
    return Entry(
        name,
        place,
        verdict,
        "" if member.why == Why.COUNTS.value else member.sentence,
        _pairs(member.subject, catalogue, first),
        [_pairs(e, catalogue, "") for e in member.evidence],
    )


def _pairs(subject: dict[str, Any], catalogue: Catalogue, but: str) -> list[tuple[str, str]]:
    pairs = []
    for name, value in subject.items():
        if name == but:
            continue
        text = words.told(name, value)
        if name == "type_code":
            title = catalogue.title_of_type(text)
            text = f"{text} ({title})" if title != text else text
        elif name == "kind":
            kind = catalogue.stay_kinds.get(text)
            text = f"{text} ({kind})" if kind else text
        pairs.append((words.field(name), text))
    return pairs


def to_csv(found: Explanation) -> str:
    """The whole list: `;`, a header, one line for each subject; `preuves` is a JSON list."""
    columns = list(dict.fromkeys(name for m in found.members for name in m.subject))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(["numerateur", "denominateur", "raison", "phrase", *columns, "preuves"])
    for m in found.members:
        subject = words.masked(m.subject)
        writer.writerow(
            [
                int(m.numerator),
                int(m.denominator),
                m.why,
                m.sentence,
                *(_cell(subject.get(name)) for name in columns),
                json.dumps([words.masked(e) for e in m.evidence], ensure_ascii=False) if m.evidence else "",
            ]
        )
    return out.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _cell(", ".join(map(str, value)))
    # what a spreadsheet would take for a formula is shown as text
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
