"""What changed between two computations, as a hospital reads it."""

from __future__ import annotations

from dataclasses import replace

from indicators.catalogue import default
from indicators.changes import changes
from indicators.engine import Row, compute
from indicators.rules.tbb import RESULTS
from indicators.wording import CHANNELS, DETAILS, KINDS, label_of_period
from indicators.wording import RESULTS as RESULT_WORDS
from tests.indicators.test_outputs import WHOLE, world_of

CODES = ("MSS_", "reussite", "echec", "retained_", "deleted_", "_documents", "ins_", "None", "ALL", "AUTRE")


def rows() -> list[Row]:
    return compute(world_of(WHOLE), "2025-02").rows


def row(indicator: str, **wanted: object) -> Row:
    found = [
        r for r in rows() if r.indicator == indicator and all(getattr(r, k) == v for k, v in wanted.items())
    ]
    assert len(found) == 1
    return found[0]


def sentence(was: Row | None, now: Row | None) -> str:
    (change,) = changes([was] if was else [], [now] if now else [], default())
    return change.sentence


def test_no_code_is_in_a_sentence() -> None:
    """Every row of a month that changes, appears or is gone is told in words."""
    for one in rows():
        more = replace(
            one,
            numerator=(one.numerator or 0) + 1,
            details={name: {"2": 1} if name == "retained_version" else 1 for name in DETAILS},
        )
        same = replace(one, details={**more.details, "documents": 7}, reason="no_adt_feed")
        for told in (sentence(one, more), sentence(one, same), sentence(None, more), sentence(more, None)):
            assert not any(code in told for code in CODES), told
            assert told.startswith(one.indicator) and told.endswith(".") and ".)" not in told


def test_channels_years_and_results_are_words() -> None:
    one = row("TBB-1", period="2025", channel="MSS_PRO", document_code="11490-0", result="reussite")
    assert sentence(replace(one, numerator=3), replace(one, numerator=2)) == (
        "TBB-1 (année 2025, MSSanté professionnels, Lettre de liaison à la sortie, réussites) : 3 devient 2 (-1)."
    )
    single = row("BDG-0")
    assert sentence(replace(single, numerator=0), replace(single, numerator=1)) == "BDG-0 : 0 devient 1 (+1)."
    kind = row("INF-1", stay_kind="ambulatoire")
    assert sentence(kind, replace(kind, numerator=1)).startswith("INF-1 (Séjours ambulatoires) : ")


def test_details_are_words() -> None:
    one = row("ALI-2", document_code="11490-0")
    was = replace(one, numerator=2, documents=2, details={"retained_version": {"2": 1, "10": 1}})
    now = replace(was, details={"retained_version": {"4": 2}, "deleted_after_success": 1})
    assert sentence(was, now) == (
        "ALI-2 (Lettre de liaison à la sortie) : 2, inchangé ; "
        "documents supprimés après un envoi réussi : 0 devient 1, "
        "versions retenues : version 2 (1 document), version 10 (1 document) devient version 4 (2 documents)."
    )


def test_a_reason_alone_is_told() -> None:
    one = replace(
        row("CON-3", profession="ALL"), numerator=2, denominator=1, rate=None, reason="census_too_small"
    )
    assert "raison : aucune devient Le recensement compte moins" in sentence(replace(one, reason=None), one)


def test_every_code_of_the_rows_has_a_word() -> None:
    assert {r.channel for r in rows()} - {None} == {*CHANNELS}
    assert {*RESULTS.values()} == {*RESULT_WORDS}
    assert {*default().stay_kinds.values()} <= {*KINDS}
    assert {name for r in rows() for name in r.details} <= {*DETAILS}
    assert label_of_period(row("BDG-0"), default()) == ""
