"""The catalogue: what each indicator is, the document types, the named choices (catalogue.yaml).

Purpose: the published definitions as data, read once and checked. Pure, apart from reading the file.
Guarantee: what is read is complete; codes, versions and zones are text as written.
Fails: `ConfigurationFault` for a malformed catalogue, or an override of an option that does not exist or may not have
that value; all faults are named.
Source: spec/indicators.md §1, §3, §8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from gateway.errors import ConfigurationFault
from indicators.periods import zone

PATH = Path(__file__).with_name("catalogue.yaml")
ALL = "ALL"
"""Code of the row that counts each subject once, whatever the types."""
OTHER = "AUTRE"
"""Code of the row of all types that have none of their own."""


@dataclass(frozen=True, slots=True)
class Options:
    """The named choices. What each means and why stands in catalogue.yaml."""

    hospital_classes: tuple[str, ...]
    consultation_classes: tuple[str, ...]
    cutoff_days: int
    consent_known: Literal["closure", "cutoff"]
    deleted_documents: Literal["keep", "remove"]
    con1_prefetch: Literal["count", "ignore"]
    con2_prefetch: Literal["count", "ignore"]
    con2_transactions: Literal["all", "reading"]
    correspondents: Literal["stays", "directory"]
    ali2_historical: Literal["include", "exclude"]
    history_years: int


@dataclass(frozen=True, slots=True)
class DocumentType:
    """A type of document. `system` is an OID; `active_from` and `active_until` are months (`AAAA-MM`) or ""."""

    code: str
    system: str
    title: str
    active: bool
    active_from: str
    active_until: str
    source: str

    def active_in(self, month: str) -> bool:
        """True when the type has rows of its own for that month."""
        return (
            self.active
            and (not self.active_from or self.active_from <= month)
            and (not self.active_until or month <= self.active_until)
        )


@dataclass(frozen=True, slots=True)
class Indicator:
    """One indicator as the catalogue defines it, in French."""

    id: str
    title: str
    numerator: str
    denominator: str
    unit: Literal["rate", "count"]
    types: str
    """`segur`, `matrix` or ""."""
    breakdowns: tuple[str, ...]
    month: str
    source: str


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that says how figures are made."""

    version: str
    rule_version: str
    options: Options
    option_texts: Mapping[str, str]
    time_zones: Mapping[str, str]
    stay_kinds: Mapping[str, str]
    types: tuple[DocumentType, ...]
    matrix: frozenset[str]
    systems: Mapping[str, str]
    """Code → OID of its system, for types and matrix."""
    reasons: Mapping[str, str]
    indicators: Mapping[str, Indicator]

    def rows(self, month: str) -> tuple[str, ...]:
        """Codes of the types that have rows of their own in that month."""
        return tuple(t.code for t in self.types if t.active_in(month))

    def title_of_type(self, code: str) -> str:
        """The title of a type, or its code."""
        if code == ALL:
            return "Tous types"
        if code == OTHER:
            return "Autres types"
        return next((t.title for t in self.types if t.code == code), code)


def load(path: Path = PATH, overrides: Mapping[str, Any] | None = None) -> Catalogue:
    """Read a catalogue; `overrides` replaces values of options. Raises `ConfigurationFault`."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationFault(f"{path.name}: {type(e).__name__}") from e
    return parse(text, path.name, overrides)


def parse(text: str, name: str = "catalogue", overrides: Mapping[str, Any] | None = None) -> Catalogue:
    """The catalogue that a text is. Raises `ConfigurationFault`, which names it."""
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as e:
        # (what looks like a date and is none, `2026-11-31`, is a ValueError)
        raise ConfigurationFault(f"{name}: {type(e).__name__}") from e
    try:
        return _build(data, overrides or {})
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise ConfigurationFault(f"{name}: malformed ({type(e).__name__} {e})") from e


def chosen(path: Path | None, time_zones: Mapping[str, str]) -> Catalogue:
    """The catalogue that a hospital uses: its own file (None: that of the package), its time zones over those of it.
    Raises `ConfigurationFault` for a zone that the machine does not know, too.
    """
    return with_zones(default() if path is None else complete(load(path), path.name), time_zones)


def complete(catalogue: Catalogue, name: str) -> Catalogue:
    """A hospital's own catalogue, which tells of all indicators: the beginning of one is often well-formed, too (a copy
    that was not at its end). Raises `ConfigurationFault`.
    """
    missing = [one for one in default().indicators if one not in catalogue.indicators]
    if missing:
        raise ConfigurationFault(f"{name}: indicators: {', '.join(missing)} missing")
    return catalogue


def with_zones(catalogue: Catalogue, time_zones: Mapping[str, str]) -> Catalogue:
    """A catalogue with the time zones of a hospital over its own. Raises `ConfigurationFault`."""
    catalogue = replace(catalogue, time_zones={**catalogue.time_zones, **time_zones})
    wrong = []
    for finess, name in catalogue.time_zones.items():
        try:
            zone(name)
        except ConfigurationFault as e:
            wrong.append(f"{finess}: {e}")
    if wrong:
        raise ConfigurationFault(f"indicators.time_zones: {'; '.join(wrong)}")
    return catalogue


@cache
def default() -> Catalogue:
    """The catalogue of the package."""
    return load()


def _build(data: Mapping[str, Any], overrides: Mapping[str, Any]) -> Catalogue:
    systems = data["systems"]
    types = tuple(
        DocumentType(
            str(row["code"]),
            systems[row["system"]],
            row["title"],
            row["active"],
            str(row.get("from", "")),
            str(row.get("until", "")),
            row["source"],
        )
        for row in data["types"]
    )
    matrix = {code: systems[name] for name in systems for code in str(data["matrix"].get(name, "")).split()}
    return Catalogue(
        version=str(data["version"]),
        rule_version=str(data["rule_version"]),
        options=_options(data["options"], overrides),
        option_texts={name: row["text"] for name, row in data["options"].items()},
        time_zones=_words("time_zones", data, "default"),
        stay_kinds=_words("stay_kinds", data),
        types=types,
        matrix=frozenset(matrix),
        systems=matrix | {t.code: t.system for t in types},
        reasons=data["reasons"],
        indicators={id_: _indicator(id_, row) for id_, row in data["indicators"].items()},
    )


def _words(name: str, data: Mapping[str, Any], *needed: str) -> dict[str, str]:
    """A table of words; an entry whose value was left out is none."""
    table = {str(k): v for k, v in data[name].items()}
    wrong = sorted({k for k, v in table.items() if not isinstance(v, str)} | (set(needed) - set(table)))
    if wrong:
        raise ValueError(f"{name}: {', '.join(wrong)}")
    return table


_MOST = {"cutoff_days": 3_650, "history_years": 150}
"""Beyond, there are no dates that computers know."""


def _options(table: Mapping[str, Any], overrides: Mapping[str, Any]) -> Options:
    known = {f.name for f in fields(Options)}
    wrong = [f"no such option, {name}" for name in overrides if name not in known]
    if known != set(table):
        raise ValueError(f"options: {', '.join(sorted(known ^ set(table)))}")
    values: dict[str, Any] = {}
    for name, row in table.items():
        value = overrides.get(name, row["value"])
        chosen = value if isinstance(value, list | tuple) else [value]
        if ("among" in row and not {*map(str, chosen)} <= {*row["among"]}) or isinstance(
            row["value"], list
        ) != isinstance(value, list | tuple):
            wrong.append(f"option {name}: among {', '.join(row['among'])}")
        elif "at_least" in row and (type(value) is not int or not row["at_least"] <= value <= _MOST[name]):
            wrong.append(f"option {name}: a number from {row['at_least']} to {_MOST[name]}")
        values[name] = tuple(value) if isinstance(value, list | tuple) else value
    if wrong:
        raise ConfigurationFault(f"indicators: {'; '.join(wrong)}")
    return Options(**values)


def _indicator(id_: str, row: Mapping[str, Any]) -> Indicator:
    if row["unit"] not in ("rate", "count") or (row["unit"] == "rate") != ("denominator" in row):
        raise ValueError(f"{id_}: a rate has a denominator, a count has none")
    return Indicator(
        id=id_,
        title=row["title"],
        numerator=row["numerator"],
        denominator=row.get("denominator", ""),
        unit=row["unit"],
        types=row.get("types", ""),
        breakdowns=tuple(row["breakdowns"]),
        month=row["month"],
        source=row["source"],
    )
