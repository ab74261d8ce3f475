"""Exports: the published rows as CSV, as JSON, and as a table for the command line.

Purpose: `Result` → text. Pure.
Guarantee: CSV and JSON hold the same fields in the same order; null is an empty cell in CSV; decimals have a point.
Fails: never.
Source: spec/indicators.md §6.6, §8. The format is published: docs/indicators.md, docs/schemas/indicators.schema.json.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, fields
from typing import Any

import msgspec
from pydantic import TypeAdapter

from indicators import periods
from indicators.catalogue import ALL, Catalogue, default
from indicators.engine import Quality, Result, Row
from indicators.published import Published
from indicators.wording import label_of_period

COLUMNS = tuple(f.name for f in fields(Row))
FUTURE, NO_FACTS = "future_month", "no_facts"
_EMPTY = {FUTURE: "Ce mois n'a pas commencé.", NO_FACTS: "Aucun fait connu pour ce mois."}
"""Why a month has no row at all."""
_PAIR = ("numerator", "denominator")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def to_csv(rows: Iterable[Row]) -> str:
    """UTF-8 text, `;`, a header, one line for each figure. `details` is a JSON object."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=";", lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in COLUMNS])
    return out.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    # a code that a spreadsheet would take for a formula is shown as text
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def month_dict(
    month: str, found: list[Published], rows: Iterable[Row], stale: bool, reason: str | None
) -> dict[str, Any]:
    """The JSON document of a month as the gateway gives it: that of `to_dict`, and how it stands. Rows are left to who
    writes JSON (`as_json`).
    """
    return {
        "month": month,
        "catalogue_version": found[0].catalogue_version if found else "",
        "rows": list(rows),
        "quality": [p.quality for p in found],
        **summary(month, found, stale, reason),
    }


def as_json(told: object) -> bytes:
    """JSON of what these functions give."""
    return msgspec.json.encode(told)


def summary(month: str, found: Iterable[Published], stale: bool, reason: str | None) -> dict[str, Any]:
    """How the figures of a month stand, without them."""
    return {
        "month": month,
        "stale": stale,
        "reason": reason,
        "reason_text": None if reason is None else _EMPTY[reason],
        "computations": [
            {
                "finess": p.finess,
                "revision": p.revision,
                "provisional": p.provisional,
                "computed_at": periods.iso(p.computed_at),
                "quality_at": periods.iso(p.looked_at or p.computed_at),
                "as_of": p.as_of,
                "cutoff": p.cutoff,
                "rule_version": p.rule_version,
                "catalogue_version": p.catalogue_version,
                "facts": p.facts,
                "changes": len(p.changes),
            }
            for p in found
        ],
    }


def published_dict(p: Published) -> dict[str, Any]:
    """One month of a trend."""
    return {
        "revision": p.revision,
        "provisional": p.provisional,
        "computed_at": periods.iso(p.computed_at),
        "rows": p.rows,
    }


def differences(p: Published) -> dict[str, Any]:
    """What a revision changed."""
    return {
        "finess": p.finess,
        "month": p.month,
        "revision": p.revision,
        "computed_at": periods.iso(p.computed_at),
        "changes": [
            {
                "cell": c.cell._asdict(),
                "before": None if c.before is None else dict(zip(_PAIR, c.before, strict=True)),
                "after": None if c.after is None else dict(zip(_PAIR, c.after, strict=True)),
                "sentence": c.sentence,
            }
            for c in p.changes
        ],
    }


def catalogue_dict(catalogue: Catalogue) -> dict[str, Any]:
    """The catalogue as JSON."""
    return {
        "version": catalogue.version,
        "rule_version": catalogue.rule_version,
        "options": {
            name: {"value": value, "text": catalogue.option_texts.get(name, "")}
            for name, value in asdict(catalogue.options).items()
        },
        "time_zones": dict(catalogue.time_zones),
        "types": [asdict(t) for t in catalogue.types],
        "matrix": sorted(catalogue.matrix),
        "reasons": dict(catalogue.reasons),
        "indicators": [asdict(i) for i in catalogue.indicators.values()],
    }


def to_dict(result: Result) -> dict[str, Any]:
    """The JSON document of a month."""
    return {
        "month": result.month,
        "catalogue_version": result.catalogue_version,
        "rows": [asdict(row) for row in result.rows],
        "quality": [asdict(quality) for quality in result.quality],
    }


def to_json(result: Result) -> str:
    """The same as text."""
    return json.dumps(to_dict(result), ensure_ascii=False, indent=1)


def schema() -> dict[str, Any]:
    """JSON Schema of `to_json`, and of what the gateway gives (`month_dict`: more members)."""
    rows = TypeAdapter(list[Row]).json_schema()
    quality = TypeAdapter(list[Quality]).json_schema()
    definitions: dict[str, dict[str, Any]] = {**rows["$defs"], **quality["$defs"]}
    nullable = {"type": ["string", "null"]}
    definitions["Computation"] = {
        "description": "How the figures of one establishment stand. Revision 0 is provisional.",
        "type": "object",
        "properties": {
            "finess": {"type": "string"},
            "revision": {"type": "integer", "minimum": 0},
            "provisional": {"type": "boolean"},
            "computed_at": {"type": "string", "format": "date-time"},
            "quality_at": {
                "type": "string",
                "format": "date-time",
                "description": "When `quality` was seen: of a published month it goes on, its figures do not",
            },
            "as_of": nullable,
            "cutoff": {"type": "string", "format": "date-time"},
            "rule_version": {"type": "string"},
            "catalogue_version": {"type": "string"},
            "facts": {"type": "integer", "description": "Facts that were read"},
            "changes": {"type": "integer", "description": "Rows that are not as in the revision before"},
        },
    }
    definitions["Computation"]["required"] = list(definitions["Computation"]["properties"])
    for definition in definitions.values():
        definition["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "DSR indicators of a month",
        "type": "object",
        "properties": {
            "month": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}$"},
            "catalogue_version": {"type": "string"},
            "rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}},
            "quality": {"type": "array", "items": {"$ref": "#/$defs/Quality"}},
            "stale": {
                "type": "boolean",
                "description": "Facts came since, and newer figures could not be had in time (gateway)",
            },
            "reason": {
                "enum": [FUTURE, NO_FACTS, None],
                "description": "Why there is no row at all (gateway)",
            },
            "reason_text": nullable,
            "computations": {"type": "array", "items": {"$ref": "#/$defs/Computation"}},
        },
        "required": ["month", "catalogue_version", "rows", "quality"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def to_table(result: Result, catalogue: Catalogue | None = None) -> str:
    """For people, in French: one block for each establishment and indicator; lines of zero counts are left out."""
    catalogue = catalogue or default()
    lines: list[str] = []
    shown = ("", "")
    for row in result.rows:
        if row.denominator is None and not row.numerator and not row.reason and row.document_code != ALL:
            continue
        if row.result and not row.numerator:
            continue
        if row.finess != shown[0]:
            lines += ["", f"Établissement {row.finess} — {result.month} (arrêté au {row.cutoff})"]
        if (row.finess, row.indicator) != shown:
            lines += ["", f"{row.indicator}  {catalogue.indicators[row.indicator].title}"]
        shown = (row.finess, row.indicator)
        which = label_of_period(row, catalogue) or "Ensemble"
        lines.append(f"    {which:<58} {_figure(row, catalogue)}")
    for quality in result.quality:
        lines += _warnings(quality)
    return "\n".join(lines).strip() + "\n"


def _figure(row: Row, catalogue: Catalogue) -> str:
    if row.rate is not None:
        percent = f"{row.rate * 100:.2f}".replace(".", ",")
        return f"{row.numerator} / {row.denominator}  {percent} %"
    if row.reason:
        numbers = "" if row.denominator is None else f"{row.numerator} / {row.denominator}  "
        return f"{numbers}— {catalogue.reasons[row.reason]}"
    return str(row.numerator)


def _warnings(quality: Quality) -> list[str]:
    lines = []
    if quality.unknown_establishment:
        lines.append("Des faits ne sont rattachés à aucun établissement (FINESS inconnu).")
    if quality.unknown_types:
        lines.append(f"Types sans ligne propre : {', '.join(quality.unknown_types)}.")
    if quality.submissions_without_stay:
        lines.append(f"Envois dont le séjour n'est pas connu : {quality.submissions_without_stay}.")
    if quality.late_successes:
        lines.append(f"Envois réussis après l'arrêté : {quality.late_successes}.")
    if quality.closed_without_admission:
        lines.append(f"Séjours clôturés sans admission connue : {quality.closed_without_admission}.")
    if quality.closed_without_class:
        lines.append(f"Séjours clôturés sans classe connue : {quality.closed_without_class}.")
    return ["", f"À vérifier pour {quality.finess} :", *(f"  - {line}" for line in lines)] if lines else []
