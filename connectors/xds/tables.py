"""The value sets and association tables that the XDS mapping needs, read once from dated TSV files.

Purpose: national tables change without the code: each file is data with its OID and date in `# name: value`
header lines, then one line of column names, then rows. A folder given by the settings replaces the shipped
one file by file.

Guarantee: a loaded `Tables` is immutable and complete.
Fails: `ConfigurationFault` naming the file when one is missing, empty or lacks a column.
Source: ANS terminology server (ASS_X04, ASS_A11, JDV_J02, J04, J07, J08, J66), volet Transmission
(contentTypeCode).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from connectors.xds.model import XdsCode
from gateway.errors import ConfigurationFault

SHIPPED = Path(__file__).parent / "tables"


@dataclass(frozen=True, slots=True)
class Tables:
    """All tables. Keys are codes; a document type is looked up by its code alone (LOINC and TRE_A05 do not
    meet).
    """

    class_by_type: Mapping[str, XdsCode]
    format_by_template: Mapping[str, XdsCode]
    """templateId root of a structured document (N3) to formatCode."""
    format_by_media: Mapping[str, XdsCode]
    """Media type of an unstructured document (N1), lower case, to formatCode."""
    types_dmp: frozenset[str]
    """Document types that the DMP accepts (JDV_J66)."""
    type_labels: Mapping[str, str]
    facility: Mapping[str, XdsCode]
    practice: Mapping[str, XdsCode]
    practice_dmp: frozenset[str]
    """practiceSettingCode that the DMP accepts (JDV_J62)."""
    confidentiality: Mapping[str, XdsCode]
    content_by_class: Mapping[str, XdsCode]
    """PV1-2 to contentTypeCode."""
    versions: Mapping[str, str]
    """File name to the date of its header."""


def _read(name: str, columns: tuple[str, ...], folder: Path | None) -> tuple[str, list[dict[str, str]]]:
    """Date and rows of one file: the settings' folder first, then the shipped one."""
    own = folder / name if folder is not None else None
    path = own if own is not None and own.is_file() else SHIPPED / name
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationFault(f"XDS table {name} cannot be read: {type(e).__name__}") from e
    date = next((h.split(":", 1)[1].strip() for h in lines if h.startswith("# date:")), "")
    body = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if len(body) < 2 or not set(columns) <= set(body[0]):
        raise ConfigurationFault(f"XDS table {name} is empty or lacks a column of {', '.join(columns)}")
    if any(len(row) != len(body[0]) for row in body):
        raise ConfigurationFault(f"XDS table {name}: a row does not have {len(body[0])} columns")
    return date, [dict(zip(body[0], row, strict=True)) for row in body[1:]]


@lru_cache(maxsize=8)
def load_tables(folder: Path | None = None) -> Tables:
    """All tables; files present in `folder` replace the shipped ones. Raises `ConfigurationFault`."""
    versions: dict[str, str] = {}

    def rows(name: str, *columns: str) -> list[dict[str, str]]:
        versions[name], found = _read(name, columns, folder)
        return found

    def coded(name: str, key: str, prefix: str) -> dict[str, XdsCode]:
        columns = (prefix, f"{prefix}_system", f"{prefix}_label")
        return {r[key]: XdsCode(*(r[c] for c in columns)) for r in rows(name, key, *columns)}

    def values(found: list[dict[str, str]]) -> dict[str, XdsCode]:
        return {r["code"]: XdsCode(r["code"], r["system"], r["label"]) for r in found}

    practice = rows("practice.tsv", "code", "system", "label", "dmp")
    return Tables(
        class_by_type=coded("class_by_type.tsv", "type", "class"),
        format_by_template=coded("format_by_template.tsv", "template", "format"),
        format_by_media=coded("format_by_media.tsv", "media", "format"),
        types_dmp=frozenset(r["type"] for r in rows("type_dmp.tsv", "type")),
        type_labels={r["type"]: r["label"] for r in rows("type.tsv", "type", "label")},
        facility=values(rows("facility.tsv", "code", "system", "label")),
        practice=values(practice),
        practice_dmp=frozenset(r["code"] for r in practice if r["dmp"] == "Y"),
        confidentiality=values(rows("confidentiality.tsv", "code", "system", "label")),
        content_by_class=coded("content_by_class.tsv", "patient_class", "content"),
        versions=versions,
    )
