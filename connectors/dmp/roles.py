"""Roles of the VIHF: who a professional is (profession, specialty), from a directory, a document or a caller.

Purpose: one or two values of JDV_J65 for a PS_IdNat. Pure but for the reading of the two files at start.
Guarantee: a role that JDV_J65 does not list is never made; doctors and pharmacists have a specialty or no role at
all (the DMP refuses « Aucune spécialité dans le vihf »).
Fails: `ConfigurationFault` for a file that cannot be read, with the lines that are wrong.
Source: volet Transmission (VIHF), spec/dmp.md §2.3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.dmp.settings import Role
from gateway.cda.document import CdaAuthor
from gateway.errors import ConfigurationFault

PROFESSIONS: Final = "1.2.250.1.71.1.2.7"
"""TRE_G15."""
STUDENTS: Final = "1.2.250.1.71.1.2.8"
"""TRE_G16."""
SPECIALTIES: Final = {"10": "1.2.250.1.71.4.2.5", "21": "1.2.250.1.71.4.2.6"}
"""Professions that need a second value, and its system: doctors TRE_R01, pharmacists TRE_G05."""
_AUTHOR_CODES = "1.2.250.1.213.1.1.4.5"
"""System of JDV_J01: `G15_10/SM26`."""
SHIPPED: Final = Path(__file__).parent / "tables" / "role.tsv"


@dataclass(frozen=True, slots=True)
class Roles:
    """JDV_J65 by (system, code), and the establishment's professionals by PS_IdNat."""

    known: Mapping[tuple[str, str], Role]
    people: Mapping[str, tuple[Role, ...]] = field(default_factory=dict, repr=False)

    def of(self, codes: Iterable[tuple[str, str]]) -> tuple[Role, ...] | None:
        """The roles of one or two (system, code), None when they are not what the DMP takes."""
        found = [self.known.get(code) for code in codes]
        made = tuple(r for r in found if r is not None)
        if len(made) != len(found) or not 1 <= len(made) <= 2 or not complete(made):
            return None
        return made

    def of_person(self, ps_id: str, authors: Iterable[CdaAuthor] = ()) -> tuple[Role, ...] | None:
        """From the directory, else from a document of which this person is an author."""
        if ps_id in self.people:
            return self.people[ps_id]
        for author in authors:
            if author.code is not None and any(i.extension == ps_id for i in author.ids):
                found = self.of(_of_author(author.code.code, author.code.system))
                if found is not None:
                    return found
        return None


def complete(roles: tuple[Role, ...]) -> bool:
    """False for a doctor or a pharmacist without a specialty."""
    if not roles or roles[0].system != PROFESSIONS or roles[0].code not in SPECIALTIES:
        return bool(roles)
    return len(roles) == 2 and roles[1].system == SPECIALTIES[roles[0].code]


def _of_author(code: str, system: str) -> list[tuple[str, str]]:
    """(system, code) of a JDV_J01 code: `G15_10/SM26` is profession 10 and specialty SM26."""
    if system != _AUTHOR_CODES or not code.startswith("G15_"):
        return []
    profession, _, specialty = code.removeprefix("G15_").partition("/")
    made = [(PROFESSIONS, profession)]
    if specialty and profession in SPECIALTIES:
        made.append((SPECIALTIES[profession], specialty))
    return made


def _rows(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigurationFault(f"[connectors.dmp] {path.name}: {type(e).__name__}") from e
    body = [line.split("\t") for line in lines if line.strip() and not line.startswith("#")]
    if not body or not set(columns) <= set(body[0]) or any(len(r) != len(body[0]) for r in body):
        raise ConfigurationFault(f"[connectors.dmp] {path.name}: columns {', '.join(columns)} expected")
    return [dict(zip(body[0], row, strict=True)) for row in body[1:]]


def load_roles(tables: Path | None, directory: Path | None) -> Roles:
    """The value set (`role.tsv` of the tables' folder replaces the shipped one) and the directory."""
    own = tables / "role.tsv" if tables is not None else None
    path = own if own is not None and own.is_file() else SHIPPED
    known = {
        (r["system"], r["role"]): Role(code=r["role"], system=r["system"], label=r["label"])
        for r in _rows(path, ("role", "system", "label"))
    }
    if directory is None:
        return Roles(known)
    value_set = Roles(known)
    people: dict[str, tuple[Role, ...]] = {}
    wrong = []
    columns = ("person", "role", "role_system", "specialty", "specialty_system")
    for number, row in enumerate(_rows(directory, columns), 1):
        codes = [(row["role_system"], row["role"])]
        if row["specialty"]:
            codes.append((row["specialty_system"], row["specialty"]))
        found = value_set.of(codes)
        if found is None or not row["person"]:
            wrong.append(str(number))
        else:
            people[row["person"]] = found
    if wrong:
        raise ConfigurationFault(
            f"[connectors.dmp] {directory.name}: roles that JDV_J65 does not have, or a specialty missing, "
            f"in row(s) {', '.join(wrong[:20])}"
        )
    return Roles(known, people)
