"""What the pages show is what was published: figures, trend, table of the wave 1, lists, points to look at."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from gateway.web.indicator_pages import figures, lists, quality, words
from gateway.web.indicator_pages.addresses import Asked, cell_of, cell_query, key_of, shifted
from indicators.catalogue import default
from indicators.engine import Row, find
from indicators.explain import Explained, Explanation
from indicators.published import Establishment, Published
from indicators.rules import RULES
from tests.web.indicators.hospital import ABSENT, A, B, ComputedFigures, hospital, whole_month

FINESS, MONTH = "750000001", "2025-02"
ASKED = Asked(FINESS, MONTH)
CATALOGUE = default()


@pytest.fixture
async def month() -> Published:
    found = await whole_month().month(FINESS, MONTH)
    assert found is not None
    return found


def everything(shown: list[figures.Family]) -> list[figures.Figure]:
    found = []
    for family in shown:
        for i in family.indicators:
            found += ([i.main] if i.main else []) + i.parts
        for _, lines in family.wave_one.channels if family.wave_one else []:
            found += [f for line in lines for f in line.cells if f]
    return found


# --- figures --------------------------------------------------------------------------------------------------------


async def test_every_published_row_is_shown_once(month: Published) -> None:
    shown = everything(figures.families(month, ASKED, CATALOGUE))
    assert sorted(f.row.cell for f in shown) == sorted(r.cell for r in month.rows)


async def test_a_rate_is_a_percentage_a_fraction_and_a_bar(month: Published) -> None:
    row = find(month.rows, "ALI-1", document_code="11490-0")
    shown = figures.figure(row, ASKED, CATALOGUE)
    assert (shown.value, shown.fraction, shown.bar) == ("75,00\u202f%", "3 sur 4", 75)
    assert shown.label == "Lettre de liaison à la sortie"
    assert shown.notes == ("3 documents",)


async def test_a_count_is_a_number_without_a_bar(month: Published) -> None:
    shown = figures.figure(find(month.rows, "ALI-2", document_code="ALL"), ASKED, CATALOGUE)
    assert (shown.value, shown.fraction, shown.bar) == ("5", "", None)


async def test_a_rate_that_is_null_is_no_zero_and_says_why(month: Published) -> None:
    zero = figures.figure(find(month.rows, "HIS-1"), ASKED, CATALOGUE)
    assert (zero.value, zero.fraction, zero.bar) == ("—", "0 sur 0", None)
    assert zero.reason == CATALOGUE.reasons["zero_denominator"]
    lagoon = await hospital(30).month(B, "2025-03")
    assert lagoon is not None
    for row in lagoon.rows:
        if row.reason != "no_adt_feed":
            continue
        shown = figures.figure(row, ASKED, CATALOGUE)
        assert (shown.value, shown.fraction, shown.bar, shown.explain) == ("—", "", None, "")
        assert "ADT" in shown.reason


async def test_the_principal_figure_is_that_of_all_and_parts_come_below(month: Published) -> None:
    by_id = {i.id: i for f in figures.families(month, ASKED, CATALOGUE) for i in f.indicators}
    assert by_id["INF-1"].main is not None and by_id["INF-1"].main.value == "25,00\u202f%"
    assert [p.label for p in by_id["INF-1"].parts] == [
        "Séjours complets",
        "Séjours ambulatoires",
        "Consultations",
    ]
    assert by_id["TBB-3"].main is None and len(by_id["TBB-3"].parts) == 3
    assert by_id["MSI-4"].main is not None and by_id["MSI-4"].parts == []
    assert set(by_id) == set(RULES) - {"TBB-1"}


async def test_the_table_of_the_wave_1_has_its_three_periods(month: Published) -> None:
    family = next(f for f in figures.families(month, ASKED, CATALOGUE) if f.wave_one)
    assert family.wave_one is not None
    assert family.wave_one.periods == ["Février 2025", "2025, jusqu’à février", "Année 2024"]
    channels = dict(family.wave_one.channels)
    assert list(channels) == ["DMP", "MSSanté professionnels", "MSSanté citoyenne"]
    letter, *_, total = channels["DMP"]
    # successes and failures of the month, of the year to date, of the year before
    assert [f.value for f in letter.cells if f] == ["2", "2", "2", "2", "0", "0"]
    assert total.total and [f.value for f in total.cells if f] == ["5", "2", "5", "2", "0", "0"]


async def test_lines_of_zero_are_left_out_of_the_table_until_they_are_asked_for(month: Published) -> None:
    some, left = figures.table(month, ASKED, CATALOGUE)
    every, none = figures.table(month, replace(ASKED, every=True), CATALOGUE)
    assert none == 0 and sum(len(rows) for _, _, rows in every) == len(month.rows)
    assert left and sum(len(rows) for _, _, rows in some) == len(month.rows) - left
    hidden = {r.cell for r in month.rows} - {f.row.cell for _, _, rows in some for f in rows}
    assert all(not r.numerator and not r.denominator for r in month.rows if r.cell in hidden)


# --- trend ----------------------------------------------------------------------------------------------------------


async def test_the_trend_has_thirteen_months_and_a_gap_where_nothing_is_known() -> None:
    figures_of = hospital(30)
    last = await figures_of.month(A, "2025-03")
    assert last is not None
    months = await figures_of.trend(A, "2025-03")
    trend = figures.trend(last, months, Asked(A, "2025-03"), CATALOGUE)
    assert trend is not None and trend.key == "ALI-1" and trend.rate
    assert [p.month for p in trend.points] == list(months) and len(months) == 13
    gap = next(n for n, p in enumerate(trend.points) if p.month == ABSENT)
    assert trend.points[gap].value == "—" and trend.points[gap].reason
    assert trend.known == 12
    for _, chart, ticks in trend.drawings:
        assert chart.marks[gap].y is None and len(ticks) == len(chart.ticks)
    for point, published in zip(trend.points, months.values(), strict=True):
        if published:
            row = find(published.rows, "ALI-1", document_code="ALL")
            assert point.value == words.percent(row.rate)
    assert [p.month for p in trend.points if p.current] == ["2025-03"]
    assert [p.year for p in trend.points if p.year] == ["2024", "2025"]


@pytest.mark.parametrize(
    ("key", "kind"),
    [("ALI-1:11490-0", "line"), ("CON-3:medecin", "line"), ("ALI-2", "columns"), ("TBB-3:DMP", "columns")],
)
async def test_any_figure_of_a_month_can_be_drawn(month: Published, key: str, kind: str) -> None:
    trend = figures.trend(month, {MONTH: month}, replace(ASKED, curve=key), CATALOGUE)
    assert trend is not None and trend.key == key
    assert trend.drawings[0][1].kind == kind
    assert key in {k for _, group in trend.choices for k, _ in group}


async def test_a_curve_that_there_is_not_is_the_first_one(month: Published) -> None:
    trend = figures.trend(month, {MONTH: month}, replace(ASKED, curve="X:<b>"), CATALOGUE)
    assert trend is not None and trend.key == "ALI-1"
    assert figures.trend(replace(month, rows=[]), {}, ASKED, CATALOGUE) is None


# --- addresses ------------------------------------------------------------------------------------------------------


async def test_the_address_of_a_row_is_that_of_its_list_and_of_no_other(month: Published) -> None:
    for row in month.rows:
        assert cell_of(cell_query(row.cell)) == row.cell
    keys = [key_of(r) for r in month.rows if key_of(r)]
    assert len(keys) == len(set(keys))


def test_months_before_and_after() -> None:
    assert (shifted("2025-01", -1), shifted("2024-12", 1), shifted("2025-03", -12)) == (
        "2024-12",
        "2025-01",
        "2024-03",
    )


# --- lists ----------------------------------------------------------------------------------------------------------


async def explained(source: ComputedFigures, row: Row) -> Explanation:
    found = await source.explain(row.finess, MONTH, row.cell)
    assert found is not None
    return found


async def test_the_totals_of_every_list_add_up_to_its_figure(month: Published) -> None:
    source = whole_month()
    for row in month.rows:
        found = await explained(source, row)
        shown = lists.listing(found, CATALOGUE)
        assert shown.adds_up, row.cell
        assert sum(count for name, _, count, _ in shown.filters if name) == len(found.members)
        assert sum(count for _, count in shown.reasons) == shown.total


async def test_a_list_that_does_not_add_up_says_so(month: Published) -> None:
    found = await explained(whole_month(), find(month.rows, "ALI-1", document_code="ALL"))
    short = replace(found, members=found.members[1:])
    assert not lists.listing(short, CATALOGUE).adds_up


async def test_filters_and_why(month: Published) -> None:
    found = await explained(whole_month(), find(month.rows, "ALI-1", document_code="ALL"))
    counts = {name: count for name, _, count, _ in lists.listing(found, CATALOGUE).filters}
    # A, B and G have a letter in the DMP, C's failed; D is of another month; E is cancelled, F is a consultation
    assert counts == {"": 6, "comptes": 3, "denominateur": 1, "hors": 2}
    below = lists.listing(found, CATALOGUE, "denominateur")
    assert [(e.name, e.verdict) for e in below.entries] == [("Séjour C", "Au dénominateur seulement")]
    assert "échec" in below.entries[0].sentence and below.entries[0].evidence
    assert "3 comptés + 1 au dénominateur seulement = 4" in below.sum_sentence
    count = await explained(whole_month(), find(month.rows, "ALI-2", document_code="ALL"))
    assert [name for name, *_ in lists.listing(count, CATALOGUE).filters] == ["", "comptes", "hors"]


async def test_the_denominator_of_con_3_is_a_census(month: Published) -> None:
    found = await explained(whole_month(), find(month.rows, "CON-3", profession="medecin"))
    shown = lists.listing(found, CATALOGUE)
    assert "4 comptes recensés" in shown.sum_sentence and shown.adds_up


async def test_a_long_list_comes_in_pages(month: Published) -> None:
    found = await explained(whole_month(), find(month.rows, "ALI-1", document_code="ALL"))
    one = found.members[0]
    many = replace(found, members=[replace(one, subject={"stay": str(n)}) for n in range(250)])
    names: list[str] = []
    for page in (1, 2, 3):
        shown = lists.listing(many, CATALOGUE, page=page)
        assert (shown.page, shown.pages, shown.total) == (page, 3, 250)
        names += [e.name for e in shown.entries]
    assert names == [f"Séjour {n}" for n in range(250)]
    assert lists.listing(many, CATALOGUE, page=99).page == 3
    assert lists.listing(many, CATALOGUE, "nonsense").chosen == ""


async def test_the_file_of_a_list_has_every_member_and_no_address_of_a_patient(month: Published) -> None:
    source = whole_month()
    for row in month.rows:
        found = await explained(source, row)
        text = lists.to_csv(found)
        assert "p1@patient" not in text
        lines = list(csv.DictReader(io.StringIO(text), delimiter=";"))
        assert len(lines) == len(found.members)
        assert sum(int(line["numerateur"]) for line in lines) == (row.numerator or 0)


async def test_no_cell_of_the_file_is_a_formula(month: Published) -> None:
    found = await explained(whole_month(), find(month.rows, "ALI-1", document_code="ALL"))
    bad = Explained(True, True, "counts", "Compte.", {"stay": "=1+1", "versions": [1, 2]}, [])
    (line,) = csv.DictReader(io.StringIO(lists.to_csv(replace(found, members=[bad]))), delimiter=";")
    assert line["stay"] == "'=1+1" and line["versions"] == "1, 2"


# --- what to look at ------------------------------------------------------------------------------------------------


async def test_every_flaw_of_the_data_has_a_point_with_what_to_do(month: Published) -> None:
    spoilt = replace(
        month,
        quality=replace(
            month.quality,
            adt_feed=False,
            unknown_types={"11488-4": 1, "X": 12},
            submissions_without_stay=2,
            late_successes=1,
            closed_without_admission=3,
            closed_without_class=4,
        ),
        rows=[
            replace(month.rows[n], reason=reason)
            for n, reason in enumerate(("no_consultation_feed", "no_user_census", "census_too_small"))
        ],
    )
    known = [Establishment(FINESS, "CH"), Establishment("UNKNOWN", "UNKNOWN")]
    points = {p.id: p for p in quality.points(spoilt, known, CATALOGUE)}
    assert set(points) == {
        "finess-inconnu",
        "sans-adt",
        "sans-consultations",
        "sans-recensement",
        "recensement-trop-petit",
        "types-inconnus",
        "sans-sejour",
        "tardifs",
        "sans-admission",
        "sans-classe",
    }
    for point in points.values():
        assert point.todo.endswith(".") and point.what.endswith(".") and point.where
    assert points["types-inconnus"].items == (
        ("11488-4 (Compte rendu ou fiche de consultation)", "1 envoi"),
        ("X", "12 envois"),
    )
    assert points["finess-inconnu"].link is not None
    assert "MSC-2" not in points["sans-adt"].what
    by_events = replace(spoilt, rows=[])
    (without,) = (p for p in quality.points(by_events, known, CATALOGUE) if p.id == "sans-adt")
    assert "MSC-2" in without.what, "consultations told by events are all that is known of patients"
    unknown = replace(spoilt, quality=replace(spoilt.quality, unknown_establishment=True))
    (first, *_) = quality.points(unknown, known, CATALOGUE)
    assert first.id == "finess-inconnu" and "[indicators] facilities" in first.where


async def test_nothing_to_look_at_has_no_point(month: Published) -> None:
    fine = replace(month, quality=replace(month.quality, unknown_types={}), rows=[])
    assert quality.points(fine, [Establishment(FINESS, "CH")], CATALOGUE) == []


async def test_every_reason_of_the_catalogue_is_a_point_or_needs_nothing_done() -> None:
    told = {"no_adt_feed", "no_consultation_feed", "no_user_census", "census_too_small"}
    assert set(CATALOGUE.reasons) - told == {"zero_denominator"}
