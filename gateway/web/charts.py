"""Geometry of the charts that pages draw as SVG: places and lengths, no markup, no words.

Purpose: from values to coordinates, on the server, so that a chart needs no script and no inline style and is the same
on paper. Pure.
Guarantee: a value that is not known has no mark and breaks the line; it is never drawn as zero. The axis begins at zero
and ends at a round number that holds every value.
Fails: never for finite values that are not negative.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Literal

Kind = Literal["line", "columns"]
_INTERVALS = 4
"""Between the lines of the grid, about."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid."""

    value: float
    y: float


@dataclass(frozen=True, slots=True)
class Mark:
    """The place of one value. `y` and `height` are None where the value is not known."""

    slot: float
    """Left end of the band that belongs to it."""
    x: float
    """Middle of the band."""
    left: float
    """Left end of its column."""
    y: float | None
    height: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart in a box of `width` × `height`; the plot is what lies within the four edges."""

    kind: Kind
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    band: float
    column: float
    ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    lines: tuple[str, ...]
    """`points` of the pieces of the line, one for each run of known values of at least two."""


@dataclass(frozen=True, slots=True)
class Box:
    """Size and margins of a chart."""

    width: float
    height: float
    left: float = 52
    right: float = 8
    top: float = 28
    bottom: float = 44


def bar(rate: float | None) -> float | None:
    """Length, in hundredths, of the bar of a rate between 0 and 1."""
    return None if rate is None else round(min(max(rate, 0.0), 1.0) * 100, 2)


def step_for(maximum: float, *, whole: bool) -> float:
    """Distance of the lines of the grid: 1, 2, 2.5 or 5 times a power of ten; whole numbers for counts."""
    if maximum <= 0:
        return 1.0 if whole else 0.25
    wanted = maximum / _INTERVALS
    power = 10.0 ** floor(log10(wanted))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    if whole:
        steps = [1.0, *(s for s in steps if s >= 1 and s == int(s))]
    # a hair below: 0.25 / 0.1 and the like are not exact
    return next(s for s in steps if s >= wanted * (1 - 1e-9))


def draw(values: Sequence[float | None], kind: Kind, box: Box, *, whole: bool) -> Chart:
    """The chart of `values` in order. `whole`: they are counts; else rates, whose axis never goes beyond 1."""
    known = [v for v in values if v is not None]
    maximum = max(known, default=0.0)
    step = step_for(maximum, whole=whole)
    count = max(1, ceil(maximum / step * (1 - 1e-9)))
    if not maximum:
        count = 1 if whole else _INTERVALS
    ceiling = count * step
    left, right, top, bottom = box.left, box.width - box.right, box.top, box.height - box.bottom
    band = (right - left) / max(1, len(values))
    column = min(band * 0.62, 44.0)

    def level(value: float) -> float:
        return round(bottom - value / ceiling * (bottom - top), 2)

    marks = []
    for n, value in enumerate(values):
        middle = left + (n + 0.5) * band
        y = None if value is None else level(value)
        marks.append(
            Mark(
                round(left + n * band, 2),
                round(middle, 2),
                round(middle - column / 2, 2),
                y,
                None if y is None else round(bottom - y, 2),
            )
        )
    return Chart(
        kind,
        box.width,
        box.height,
        left,
        right,
        top,
        bottom,
        round(band, 2),
        round(column, 2),
        tuple(Tick(round(n * step, 10), level(n * step)) for n in range(count + 1)),
        tuple(marks),
        tuple(_lines(marks)) if kind == "line" else (),
    )


def _lines(marks: Sequence[Mark]) -> list[str]:
    runs: list[list[str]] = [[]]
    for mark in marks:
        if mark.y is None:
            runs.append([])
        else:
            runs[-1].append(f"{mark.x:g},{mark.y:g}")
    return [" ".join(run) for run in runs if len(run) > 1]
