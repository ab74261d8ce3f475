"""The value sets that CDA headers are checked against, read once from dated TSV files.

Purpose: national value sets change without the code: each file of `tables/` is data, with its title, OID, date and
source in `# name: value` lines, then one line of column names, then rows. A folder given by the settings
(`[cda] tables`) replaces the shipped files one by one.

Guarantee: loaded value sets are immutable and complete; a code is compared alone, as the official schematron does
(its coding system is another rule).
Fails: `ConfigurationFault` naming the file when one is missing, empty or lacks a column.
Source: ANS terminology server (JDV_J01, J02, J04, J07, J66, J142, J143, J144); only codes and short labels stand here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gateway.errors import ConfigurationFault

SHIPPED = Path(__file__).parent / "tables"


@dataclass(frozen=True, slots=True)
class Table:
    """One file: its header lines and its rows (column name to value)."""

    title: str
    oid: str
    date: str
    """YYYY-MM-DD of the value set's own edition."""
    rows: tuple[Mapping[str, str], ...]

    @property
    def codes(self) -> frozenset[str]:
        """Values of the column `code`."""
        return frozenset(row["code"] for row in self.rows)


@dataclass(frozen=True, slots=True)
class ValueSets:
    """The codes of each value set, and the edition of each file."""

    types: frozenset[str]
    """Document types (JDV_J07)."""
    types_dmp: frozenset[str]
    """Those that the DMP takes (JDV_J66)."""
    facilities: frozenset[str]
    """healthCareFacility/code (JDV_J02)."""
    practices: frozenset[str]
    """standardIndustryClassCode (JDV_J04)."""
    specialties: frozenset[str]
    """assignedAuthor/code (JDV_J01)."""
    genders: frozenset[str]
    """administrativeGenderCode (JDV_J143)."""
    encounters: frozenset[str]
    """encompassingEncounter/code (JDV_J142)."""
    participations: frozenset[str]
    """participant/@typeCode (JDV_J144)."""
    editions: Mapping[str, str]
    """File name to its date."""


def read_table(name: str, columns: tuple[str, ...], *folders: Path | None) -> Table:
    """The file `name` from the first of `folders` that has it, else from the shipped ones.

    Raises `ConfigurationFault` when it cannot be read, is empty, or lacks one of `columns`.
    """
    path = next((f / name for f in folders if f is not None and (f / name).is_file()), SHIPPED / name)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationFault(f"table {name} cannot be read: {type(e).__name__}") from e
    about = dict(h[1:].split(":", 1) for h in lines if h.startswith("#") and ":" in h)
    facts = {key.strip(): value.strip() for key, value in about.items()}
    body = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if len(body) < 2 or not set(columns) <= set(body[0]):
        raise ConfigurationFault(f"table {name} is empty or lacks a column of {', '.join(columns)}")
    if any(len(row) != len(body[0]) for row in body):
        raise ConfigurationFault(f"table {name}: a row does not have {len(body[0])} columns")
    return Table(
        facts.get("table", ""),
        facts.get("oid", ""),
        facts.get("date", ""),
        tuple(dict(zip(body[0], row, strict=True)) for row in body[1:]),
    )


@lru_cache(maxsize=8)
def load_value_sets(folder: Path | None = None) -> ValueSets:
    """All value sets; files present in `folder` replace the shipped ones. Raises `ConfigurationFault`."""
    if folder is not None and not folder.is_dir():
        raise ConfigurationFault(f"cda.tables: {folder} is not a folder")
    editions: dict[str, str] = {}

    def codes(name: str) -> frozenset[str]:
        table = read_table(name, ("code",), folder)
        editions[name] = table.date
        return table.codes

    return ValueSets(
        types=codes("type.tsv"),
        types_dmp=codes("type_dmp.tsv"),
        facilities=codes("facility.tsv"),
        practices=codes("practice.tsv"),
        specialties=codes("author_specialty.tsv"),
        genders=codes("gender.tsv"),
        encounters=codes("encounter.tsv"),
        participations=codes("participation.tsv"),
        editions=editions,
    )
