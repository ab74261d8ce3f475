"""Geometry of the charts: places, lengths, round axes, gaps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.charts import Box, bar, draw, step_for

BOX = Box(152, 144, left=52, right=0, top=0, bottom=44)
"""A plot of 100 × 100."""


@pytest.mark.parametrize(
    ("rate", "length"),
    [(None, None), (0.0, 0), (1.0, 100), (0.3333, 33.33), (0.0001, 0.01), (1.2, 100), (-0.1, 0)],
)
def test_a_bar_is_as_long_as_its_rate(rate: float | None, length: float | None) -> None:
    assert bar(rate) == length


@pytest.mark.parametrize(
    ("maximum", "whole", "step"),
    [
        (1.0, False, 0.25),
        (0.98, False, 0.25),
        (0.75, False, 0.2),
        (0.1, False, 0.025),
        (0.04, False, 0.01),
        (0.0, False, 0.25),
        (0, True, 1),
        (1, True, 1),
        (3, True, 1),
        (5, True, 2),
        (9, True, 5),
        (10, True, 5),
        (112, True, 50),
        (4000, True, 1000),
    ],
)
def test_the_lines_of_the_grid_are_round(maximum: float, whole: bool, step: float) -> None:
    assert step_for(maximum, whole=whole) == pytest.approx(step)


def test_values_stand_where_the_axis_says() -> None:
    chart = draw([0.0, 0.5, 1.0, 0.25], "line", BOX, whole=False)
    assert [t.value for t in chart.ticks] == [0, 0.25, 0.5, 0.75, 1]
    assert [t.y for t in chart.ticks] == [100, 75, 50, 25, 0]
    assert [m.y for m in chart.marks] == [100, 50, 0, 75]
    assert [m.x for m in chart.marks] == [64.5, 89.5, 114.5, 139.5]
    assert chart.lines == ("64.5,100 89.5,50 114.5,0 139.5,75",)


def test_a_value_that_is_not_known_is_a_gap_and_never_a_zero() -> None:
    chart = draw([0.5, None, 0.5, 1.0, None], "line", BOX, whole=False)
    assert [m.y is None for m in chart.marks] == [False, True, False, False, True]
    assert [m.height for m in chart.marks][1] is None
    # the first point stands alone: a line needs two
    assert len(chart.lines) == 1 and chart.lines[0].count(",") == 2


def test_columns_stand_on_the_base_line() -> None:
    chart = draw([0, 5, 10], "columns", BOX, whole=True)
    assert chart.lines == ()
    assert [m.height for m in chart.marks] == [0, 50, 100]
    for mark in chart.marks:
        assert mark.y is not None and mark.height is not None
        assert mark.y + mark.height == pytest.approx(chart.bottom)
        assert mark.slot < mark.left < mark.x < mark.left + chart.column < mark.slot + chart.band


@pytest.mark.parametrize("values", [[], [None], [None] * 13, [0.0] * 13])
def test_nothing_to_draw_has_an_axis_all_the_same(values: list[float | None]) -> None:
    for whole in (True, False):
        chart = draw(values, "line", BOX, whole=whole)
        assert len(chart.ticks) >= 2 and len(chart.marks) == len(values)


@given(
    st.lists(st.none() | st.integers(0, 10_000_000), min_size=1, max_size=13),
    st.booleans(),
)
def test_every_value_is_within_the_plot(counts: list[int | None], whole: bool) -> None:
    values: list[float | None] = [c if whole or c is None else c / 10_000_000 for c in counts]
    chart = draw(values, "columns", BOX, whole=whole)
    assert chart.ticks[0].value == 0 and len(chart.ticks) <= 6
    known = [v for v in values if v is not None]
    if known:
        assert chart.ticks[-1].value >= max(known) * (1 - 1e-9)
    if not whole:
        assert chart.ticks[-1].value <= 1
    for mark, value in zip(chart.marks, values, strict=True):
        assert (mark.y is None) == (value is None)
        assert mark.y is None or chart.top - 0.01 <= mark.y <= chart.bottom
        assert chart.left <= mark.slot and mark.slot + chart.band <= chart.right + 0.1
