"""Every hand-computed case, in several orders; and the list behind every figure adds up to it."""

from __future__ import annotations

import json

import pytest

from indicators import facts
from indicators.catalogue import load
from indicators.explain import explain
from indicators.world import World
from tests.indicators.scenario import Case, cases, differences, orders

ALL_CASES = cases()


def lines_of(case: Case) -> list[str]:
    return [json.dumps(fact, ensure_ascii=False) for fact in case.facts()]


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda c: f"{c.file}:{c.name}")
def test_case(case: Case) -> None:
    lines = lines_of(case)
    for order, told in orders(lines):
        found = differences(case, case.compute(told))
        assert not found, f"{case.file}, {case.name} ({order}):\n  " + "\n  ".join(found)


def test_there_are_enough_cases_and_each_has_its_rule() -> None:
    assert len(ALL_CASES) >= 60
    assert len({(c.file, c.name) for c in ALL_CASES}) == len(ALL_CASES)
    for case in ALL_CASES:
        assert case.told["rule"] and case.told["text"] and case.told["expect"], case.name


@pytest.mark.parametrize("case", ALL_CASES, ids=lambda c: f"{c.file}:{c.name}")
def test_the_list_behind_every_figure_adds_up_to_it(case: Case) -> None:
    if "options" in case.told or "cutoff" in case.told or "as_of" in case.told:
        pytest.skip("computed with other options")
    lines = lines_of(case)
    result = case.compute(lines)
    world = World().add_all(facts.read(line) for line in lines)
    catalogue = load()
    for row in result.rows:
        if row.numerator is None or (row.indicator == "TBB-1" and not row.numerator):
            continue
        explanation = explain(world, result.month, row.finess, row.cell, catalogue=catalogue)
        assert explanation.row == row
        assert sum(m.numerator for m in explanation.members) == row.numerator, row
        if row.denominator is not None and row.indicator != "CON-3":
            assert sum(m.denominator for m in explanation.members) == row.denominator, row
        json.dumps([m.subject for m in explanation.members])


def test_the_runner_names_the_cell_that_differs() -> None:
    case = ALL_CASES[0]
    wrong = {**case.told, "expect": [{**case.told["expect"][0], "is": "7/9"}]}
    found = differences(Case(case.file, wrong), case.compute(lines_of(case)))
    assert any("numerator: expected 7" in line for line in found), found
    assert any("denominator: expected 9" in line for line in found), found
