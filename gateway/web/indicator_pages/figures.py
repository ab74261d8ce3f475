"""What the page of a month shows: families of figures, the table of the wave 1, the trend, the whole table.

Purpose: `Published` → what the templates write, with every text ready. Pure.
Guarantee: every figure shown is a published row; a rate that is null is « — » with its reason, never 0 and never a bar.
Fails: never; an indicator that no family names stands in the last one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.web import charts
from gateway.web.indicator_pages import words
from gateway.web.indicator_pages.addresses import Asked, key_of
from indicators import wording
from indicators.catalogue import ALL, Catalogue
from indicators.engine import Row
from indicators.published import Published

WIDE = charts.Box(760, 300)
NARROW = charts.Box(340, 250, left=46, right=6, top=30)
ATTEMPTS = "TBB-1"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row as it is read. `fraction` is « 3 sur 4 »; `explain` and `trend` are addresses, "" where there is none."""

    row: Row
    label: str
    value: str
    fraction: str
    reason: str
    bar: float | None
    explain: str
    trend: str
    notes: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Of its indicator."""
        return self.row.indicator


@dataclass(frozen=True, slots=True)
class Indicator:
    """An indicator: its principal figure, and its parts."""

    id: str
    title: str
    rate: bool
    main: Figure | None
    parts: list[Figure]
    parts_title: str


@dataclass(frozen=True, slots=True)
class Attempts:
    """One line of the table of the wave 1: for each period, successes and failures."""

    label: str
    total: bool
    cells: list[Figure | None]


@dataclass(frozen=True, slots=True)
class WaveOne:
    """TBB-1: lines by channel; `periods` are the three of them, in words."""

    periods: list[str]
    channels: list[tuple[str, list[Attempts]]]


@dataclass(frozen=True, slots=True)
class Family:
    """Indicators that belong together."""

    anchor: str
    title: str
    indicators: list[Indicator] = field(default_factory=list)
    wave_one: WaveOne | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One month of a trend."""

    month: str
    name: str
    short: str
    year: str
    """At the first month shown of a year, else ""."""
    value: str
    fraction: str
    reason: str
    url: str
    current: bool


@dataclass(frozen=True, slots=True)
class Trend:
    """Thirteen months of one figure, drawn in two sizes."""

    key: str
    title: str
    label: str
    rate: bool
    points: list[Point]
    drawings: list[tuple[str, charts.Chart, list[str]]]
    """Name, chart, texts of its grid."""
    known: int
    choices: list[tuple[str, list[tuple[str, str]]]]
    """Family → (key, text) of the figures that may be drawn."""


def families(published: Published, asked: Asked, catalogue: Catalogue) -> list[Family]:
    """All figures of the month, in the order of `words.FAMILIES`."""
    rows: dict[str, list[Row]] = {}
    for row in published.rows:
        rows.setdefault(row.indicator, []).append(row)
    found = []
    named = {name for _, _, names in words.FAMILIES for name in names}
    others = tuple(name for name in rows if name not in named)
    for anchor, title, names in (*words.FAMILIES, ("autres", "Autres indicateurs", others)):
        shown = [
            _indicator(name, rows[name], asked, catalogue)
            for name in names
            if name in rows and name != ATTEMPTS
        ]
        wave = wave_one(rows[ATTEMPTS], asked, catalogue) if ATTEMPTS in names and ATTEMPTS in rows else None
        if shown or wave:
            found.append(Family(anchor, title, shown, wave))
    return found


def _indicator(name: str, rows: Sequence[Row], asked: Asked, catalogue: Catalogue) -> Indicator:
    told = catalogue.indicators.get(name)
    main = next((r for r in rows if ALL in (r.document_code, r.profession, r.stay_kind)), None)
    if main is None and len(rows) == 1:
        main = rows[0]
    parts = [r for r in rows if r is not main]
    breakdown = rows[0].breakdown_type or ""
    return Indicator(
        name,
        told.title if told else name,
        bool(told and told.unit == "rate"),
        figure(main, asked, catalogue) if main else None,
        [figure(r, asked, catalogue) for r in parts],
        words.PARTS.get(breakdown, "Détail"),
    )


def figure(row: Row, asked: Asked, catalogue: Catalogue) -> Figure:
    """A row in words."""
    told = catalogue.indicators.get(row.indicator)
    rate = row.denominator is not None or row.reason is not None or bool(told and told.unit == "rate")
    fraction = ""
    if rate and row.numerator is not None:
        fraction = f"{words.number(row.numerator)} sur {words.number(row.denominator)}"
    key = key_of(row)
    return Figure(
        row,
        wording.label(row, catalogue),
        words.percent(row.rate) if rate else words.number(row.numerator),
        fraction,
        words.reason(row, catalogue),
        charts.bar(row.rate),
        asked.explanation(row) if row.numerator is not None or row.denominator is not None else "",
        asked.trend_of(key) if key else "",
        tuple(_notes(row)),
    )


def _notes(row: Row) -> list[str]:
    notes = []
    details = row.details
    if row.documents is not None and row.denominator is not None:
        notes.append(words.plural(row.documents, "document", "documents"))
    if details.get("deleted_after_success"):
        n = details["deleted_after_success"]
        notes.append(f"dont {words.plural(n, 'supprimé', 'supprimés')} depuis")
    if details.get("prefetch"):
        n = details["prefetch"]
        notes.append(f"dont {words.plural(n, 'téléchargé', 'téléchargés')} d’avance")
    if "distinct_documents" in details and row.numerator:
        notes.append(words.plural(details["distinct_documents"], "document distinct", "documents distincts"))
    if "ins_qualified" in details or "ins_not_qualified" in details:
        notes.append(
            f"INS qualifiée : {words.number(details.get('ins_qualified', 0))}, "
            f"non qualifiée : {words.number(details.get('ins_not_qualified', 0))}"
        )
    return notes


def wave_one(rows: Sequence[Row], asked: Asked, catalogue: Catalogue) -> WaveOne:
    """The attempts of TBB-1: month, year to date, year before."""
    periods = list(dict.fromkeys(r.period for r in rows))
    by_place = {(r.channel, r.document_code, r.period, r.result): r for r in rows}
    codes = list(dict.fromkeys(r.document_code for r in rows))
    codes.sort(key=lambda code: code == ALL)
    channels = []
    for channel in dict.fromkeys(r.channel for r in rows):
        lines = []
        for code in codes:
            cells = [
                by_place.get((channel, code, period, result))
                for period in periods
                for result in wording.RESULTS
            ]
            lines.append(
                Attempts(
                    words.type_title(code or "", catalogue),
                    code == ALL,
                    [figure(r, asked, catalogue) if r else None for r in cells],
                )
            )
        channels.append((wording.CHANNELS.get(channel or "", channel or ""), lines))
    return WaveOne([_period(p, asked.month) for p in periods], channels)


def _period(label: str, month: str) -> str:
    if len(label) == 7:
        return words.month(label).capitalize()
    return f"{label}, jusqu’à {words.month(month).split()[0]}" if label == month[:4] else f"Année {label}"


def choices(published: Published, catalogue: Catalogue) -> list[tuple[str, list[tuple[str, str]]]]:
    """The figures whose trend may be drawn: the principal ones, and the parts that are not by type of document."""
    found = []
    for _, title, names in words.FAMILIES:
        options = []
        for row in published.rows:
            if row.indicator not in names or not key_of(row):
                continue
            if row.breakdown_type == "document_type" and row.document_code != ALL:
                continue
            told = catalogue.indicators.get(row.indicator)
            label = wording.label(row, catalogue)
            what = (
                ""
                if ALL in (row.document_code, row.profession, row.stay_kind) or not label
                else f" ({label})"
            )
            options.append((key_of(row), f"{row.indicator}{what} — {told.title if told else ''}"))
        if options:
            found.append((title, options))
    return found


def trend(
    published: Published,
    months: Mapping[str, Published | None],
    asked: Asked,
    catalogue: Catalogue,
) -> Trend | None:
    """The trend of the figure `asked.curve`, else of ALI-1, else of the first figure there is; None without any."""
    keys = {key_of(row): row for row in reversed(published.rows) if key_of(row)}
    chosen = keys.get(asked.curve) or keys.get("ALI-1") or next(iter(reversed(keys.values())), None)
    if chosen is None:
        return None
    told = catalogue.indicators.get(chosen.indicator)
    rate = bool(told and told.unit == "rate")
    rows = [_same(months[m], chosen, m) for m in months]
    values = [None if r is None else r.rate if rate else r.numerator for r in rows]
    options = choices(published, catalogue)
    if key_of(chosen) not in {key for _, group in options for key, _ in group}:
        label = wording.label(chosen, catalogue)
        options = [("Choisi", [(key_of(chosen), f"{chosen.indicator} ({label})")]), *options]
    drawings = []
    for name, box in (("wide", WIDE), ("slim", NARROW)):
        chart = charts.draw(values, "line" if rate else "columns", box, whole=not rate)
        drawings.append((name, chart, [words.tick(t.value, whole=not rate) for t in chart.ticks]))
    points, years = [], set[str]()
    for m, row in zip(months, rows, strict=True):
        points.append(_point(m, row, asked, catalogue, rate, "" if m[:4] in years else m[:4]))
        years.add(m[:4])
    return Trend(
        key_of(chosen),
        told.title if told else chosen.indicator,
        "" if chosen.document_code == ALL else wording.label(chosen, catalogue),
        rate,
        points,
        drawings,
        sum(v is not None for v in values),
        options,
    )


def _same(published: Published | None, chosen: Row, month: str) -> Row | None:
    cell = chosen.cell._replace(period=month)
    return None if published is None else next((r for r in published.rows if r.cell == cell), None)


def _point(month: str, row: Row | None, asked: Asked, catalogue: Catalogue, rate: bool, year: str) -> Point:
    reason = "aucun chiffre pour ce mois" if row is None else words.reason(row, catalogue)
    value, fraction = words.NONE, ""
    if row is not None:
        shown = figure(row, asked, catalogue)
        value, fraction = shown.value, shown.fraction
    return Point(
        month,
        words.month(month),
        words.short_month(month),
        year,
        value,
        fraction if rate else "",
        reason,
        asked.at(month),
        month == asked.month,
    )


def table(
    published: Published, asked: Asked, catalogue: Catalogue
) -> tuple[list[tuple[str, str, list[Figure]]], int]:
    """(indicator, title, its rows) for the view as a table, and how many rows of zero were left out."""
    found: dict[str, list[Figure]] = {}
    left = 0
    for row in published.rows:
        nothing = not row.numerator and not row.denominator and not row.reason
        if (
            nothing
            and not asked.every
            and ALL not in (row.document_code, row.profession)
            and row.breakdown_type
        ):
            left += 1
            continue
        found.setdefault(row.indicator, []).append(figure(row, asked, catalogue))
    titles = {name: told.title for name, told in catalogue.indicators.items()}
    return [(name, titles.get(name, name), rows) for name, rows in found.items()], left
