"""Numbers and words as a French reader expects them."""

from __future__ import annotations

import pytest

from gateway.web.indicator_pages import words
from indicators.rules import RULES


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (None, "—"),
        (0.0, "0,00\u202f%"),
        (1.0, "100,00\u202f%"),
        (0.6667, "66,67\u202f%"),
        (0.0001, "0,01\u202f%"),
        (0.1429, "14,29\u202f%"),
    ],
)
def test_percentages(rate: float | None, text: str) -> None:
    assert words.percent(rate) == text


def test_numbers_months_and_instants() -> None:
    assert words.number(1234567) == "1\u202f234\u202f567" and words.number(0) == "0"
    assert words.number(None) == "—"
    assert words.month("2025-02") == "février 2025" and words.month("2025") == "2025"
    assert words.of("avril 2025") == "d’avril 2025" and words.of("mai 2025") == "de mai 2025"
    assert words.instant("2025-03-11T00:00:00+01:00") == "11/03/2025 à 00:00"
    assert words.instant(None) == "—"
    assert words.moment(1741647900, "Indian/Reunion") == "11/03/2025 à 03:05"
    assert words.plural(0, "mois", "mois") == "0 mois" and words.plural(2, "fait", "faits") == "2 faits"
    assert words.tick(0.025, whole=False) == "2,5\u202f%" and words.tick(2000, whole=True) == "2\u202f000"


def test_every_indicator_has_a_family() -> None:
    named = [name for _, _, names in words.FAMILIES for name in names]
    assert sorted(named) == sorted(RULES) and len(set(named)) == len(named)


def test_the_address_of_a_patient_is_not_told() -> None:
    # it begins with the national identifier
    for name in ("recipient", "name"):
        assert words.told(name, "277076322082910@patient.mssante.fr") == "…@patient.mssante.fr"
    assert words.told("recipient", "dr.a@cabinet.mssante.fr") == "dr.a@cabinet.mssante.fr"
    assert words.told("deleted", ["2025-03-11T00:00:00+01:00"]) == "11/03/2025 à 00:00"
    assert words.told("outcome", "taken_back") == "accepté, puis avis d’échec"
    assert words.told("prefetch", True) == "oui"
