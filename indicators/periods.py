"""Periods: months and years as an establishment's calendar has them, as instants.

Purpose: `2025-02` and a time zone → first instant, first instant after, cut-off. Pure.
Guarantee: bounds are half open (`start <= t < end`) and follow the zone's own changes of time.
Fails: `BadInput` for a month that is none; `ConfigurationFault` for a time zone that the machine does not know.
Source: spec/indicators.md R12, R14, R15, §8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gateway.errors import BadInput, ConfigurationFault

_MONTH = re.compile(r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])")


@cache
def zone(name: str) -> ZoneInfo:
    """The time zone of that name. Raises `ConfigurationFault`."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as e:
        raise ConfigurationFault(f"time zone {name}: unknown on this machine") from e


def zone_of(finess: str, zones: Mapping[str, str]) -> str:
    """Name of the zone of an establishment: `zones` maps the beginning of a FINESS number (or all of it) to a zone,
    the longest one wins; `default` is the rest.
    """
    for length in range(len(finess), 0, -1):
        found = zones.get(finess[:length])
        if found is not None:
            return found
    return zones["default"]


@dataclass(frozen=True, slots=True)
class Period:
    """`label` is `2025-02` or `2025`; `start` and `end` are seconds since 1970, UTC."""

    label: str
    start: float
    end: float

    def has(self, instant: float | None) -> bool:
        """True when the instant is in the period."""
        return instant is not None and self.start <= instant < self.end


def _midnight(day: date, where: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=where).timestamp()


def _first_days(label: str) -> tuple[date, date]:
    if not _MONTH.fullmatch(label):
        raise BadInput(f"mois « {label[:10]} » : AAAA-MM attendu")
    first = date(int(label[:4]), int(label[5:]), 1)
    return first, (first + timedelta(days=31)).replace(day=1)


def month(label: str, zone_name: str) -> Period:
    """The month `AAAA-MM` there. Raises `BadInput` for another text."""
    first, following = _first_days(label)
    where = zone(zone_name)
    return Period(label, _midnight(first, where), _midnight(following, where))


def month_of(instant: float, zone_name: str) -> str:
    """The month `AAAA-MM` of an instant there."""
    return f"{day_of(instant, zone_name):%Y-%m}"


def month_before(label: str, count: int) -> str:
    """So many months earlier (later when negative). Raises `BadInput` for a text that is no month."""
    first, _ = _first_days(label)
    number = first.year * 12 + first.month - 1 - count
    return f"{number // 12:04}-{number % 12 + 1:02}"


def months(first: str, last: str) -> list[str]:
    """From `first` to `last`, both among them."""
    found = []
    while first <= last:
        found.append(first)
        first = month_before(first, -1)
    return found


def years(label: str, zone_name: str) -> tuple[Period, Period]:
    """For the month `label`: its year until the month's end, and the whole year before."""
    first, following = _first_days(label)
    where = zone(zone_name)
    start = _midnight(date(first.year, 1, 1), where)
    before = _midnight(date(first.year - 1, 1, 1), where)
    return (
        Period(str(first.year), start, _midnight(following, where)),
        Period(str(first.year - 1), before, start),
    )


def cutoff(label: str, zone_name: str, days: int) -> float:
    """The instant up to which successes count: local midnight, so many days after the end of the month."""
    _, following = _first_days(label)
    return _midnight(following + timedelta(days=days), zone(zone_name))


def years_before(instant: float, count: int, zone_name: str) -> float:
    """The same local time so many years earlier (29 February: the 28th)."""
    there = datetime.fromtimestamp(instant, zone(zone_name))
    try:
        return there.replace(year=there.year - count).timestamp()
    except ValueError:
        return there.replace(year=there.year - count, day=28).timestamp()


def day_of(instant: float, zone_name: str) -> date:
    """The civil day of an instant there."""
    return datetime.fromtimestamp(instant, zone(zone_name)).date()


def day_bounds(day: date, zone_name: str) -> tuple[float, float]:
    """First instant of a civil day there and of the next one."""
    where = zone(zone_name)
    return _midnight(day, where), _midnight(day + timedelta(days=1), where)


def iso(instant: float | None, zone_name: str = "UTC") -> str | None:
    """An instant as ISO 8601 with the offset of the zone, to the second."""
    if instant is None:
        return None
    where = UTC if zone_name == "UTC" else zone(zone_name)
    return datetime.fromtimestamp(instant, where).isoformat(timespec="seconds")
