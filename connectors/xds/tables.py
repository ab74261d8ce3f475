"""The value sets and association tables that the XDS mapping needs, read once from dated TSV files.

Purpose: national tables change without the code: each file is data with its OID and date in `# name: value`
header lines, then one line of column names, then rows. A folder given by the settings replaces the shipped
one file by file. Value sets that the checks of the CDA need too (types, facilities, practices) live with them
(`gateway.cda.valuesets`).

Guarantee: a loaded `Tables` is immutable and complete.
Fails: `ConfigurationFault` naming the file when one is missing, empty or lacks a column.
Source: ANS terminology server (ASS_X04, ASS_A11, JDV_J02, J04, J07, J08, J66), volet Transmission
(contentTypeCode).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from connectors.xds.model import XdsCode
from gateway.cda.valuesets import read_table

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


@lru_cache(maxsize=8)
def load_tables(folder: Path | None = None) -> Tables:
    """All tables; files present in `folder` replace the shipped ones. Raises `ConfigurationFault`."""
    versions: dict[str, str] = {}

    def rows(name: str, *columns: str) -> Sequence[Mapping[str, str]]:
        table = read_table(name, columns, folder, SHIPPED)
        versions[name] = table.date
        return table.rows

    def coded(name: str, key: str, prefix: str) -> dict[str, XdsCode]:
        columns = (prefix, f"{prefix}_system", f"{prefix}_label")
        return {r[key]: XdsCode(*(r[c] for c in columns)) for r in rows(name, key, *columns)}

    def values(found: Sequence[Mapping[str, str]]) -> dict[str, XdsCode]:
        return {r["code"]: XdsCode(r["code"], r["system"], r["label"]) for r in found}

    practice = rows("practice.tsv", "code", "system", "label", "dmp")
    return Tables(
        class_by_type=coded("class_by_type.tsv", "type", "class"),
        format_by_template=coded("format_by_template.tsv", "template", "format"),
        format_by_media=coded("format_by_media.tsv", "media", "format"),
        types_dmp=frozenset(r["code"] for r in rows("type_dmp.tsv", "code")),
        type_labels={r["code"]: r["label"] for r in rows("type.tsv", "code", "label")},
        facility=values(rows("facility.tsv", "code", "system", "label")),
        practice=values(practice),
        practice_dmp=frozenset(r["code"] for r in practice if r["dmp"] == "Y"),
        confidentiality=values(rows("confidentiality.tsv", "code", "system", "label")),
        content_by_class=coded("content_by_class.tsv", "patient_class", "content"),
        versions=versions,
    )
