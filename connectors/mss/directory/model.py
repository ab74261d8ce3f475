"""What a directory says: mailboxes and their owners. Pure.

Guarantee: nothing of a resource is kept but what stands here; the form on disk (`to_json`) is read back or refused,
never half read.
Source: spec/mssante.md §4; Annuaire Santé API v2 (identifiers PS_IdNat, RPPS, Struct_IdNat, FINESS, SIRET).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from connectors.mss.addresses import domain_of, is_address
from gateway.hl7.transmission import PATIENT_DOMAIN

FORM = 1
"""Of the JSON on disk: another one is not read."""
_MATRICULE = re.compile(r"[1-478]\d{4}(?:2[abAB]|\d{2})\d{6}")
"""The 13 characters of an INS, wherever they stand."""


class MailboxType(StrEnum):
    """TRE_R257-TypeBAL."""

    PERSONAL = "PER"
    ORGANISATIONAL = "ORG"
    APPLICATION = "APP"
    PRACTICE = "CAB"


@dataclass(frozen=True, slots=True)
class Professional:
    """A health professional, under the name that he or she practises with."""

    national_id: str
    """PS_IdNat (8 and the RPPS), or empty when the directory does not say it."""
    family: str
    given: str

    @property
    def rpps(self) -> str:
        """Eleven digits, or empty."""
        known = len(self.national_id) == 12 and self.national_id.startswith("8")
        return self.national_id[1:] if known else ""


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure: any of its identifiers may be empty."""

    name: str
    finess: str = ""
    finess_kind: str = ""
    """FINEG (geographical entity), FINEJ (legal entity), or empty when the directory does not say which."""
    siret: str = ""
    national_id: str = ""
    """Struct_IdNat: 1 and the FINESS, 3 and the SIRET…"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One mailbox as one resource bears it."""

    address: str = field(repr=False)
    type: MailboxType | None = None
    description: str = field(default="", repr=False)
    service: str = field(default="", repr=False)
    person: Professional | None = field(default=None, repr=False)
    structure: Structure | None = field(default=None, repr=False)
    red_list: bool = False
    """Its owner asked not to be listed."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose mailbox an address is. A person and a structure: a person's mailbox for the work there."""

    type: MailboxType | None
    person: Professional | None = field(default=None, repr=False)
    structure: Structure | None = field(default=None, repr=False)


def may_be_asked(address: str) -> bool:
    """False for what is no address, and for whatever may be a patient's: it must never leave the house.

    A patient's is in `patient.mssante.fr` or looks so (truncated, misspelt), or holds a matricule INS in any domain.
    """
    if not is_address(address) or _MATRICULE.search(address.rpartition("@")[0]):
        return False
    labels = domain_of(address).split(".")
    return PATIENT_DOMAIN.partition(".")[0] not in labels


def owner_among(entries: Sequence[Entry], address: str) -> Owner | None:
    """The one owner of `address`; None when nobody has it, or when the entries name several.

    Only a personal mailbox has a person: that of a practice (CAB), of a service or of a software has none, whoever
    bears it.
    """
    own = [e for e in entries if e.address.lower() == address.lower()]
    types = {e.type for e in own if e.type is not None}
    if not own or len(types) > 1:
        return None
    kind = next(iter(types), None)
    personal = kind in (None, MailboxType.PERSONAL)
    persons = _persons(e.person for e in own) if personal else []
    structures = list({_key(e.structure): e.structure for e in own if e.structure is not None}.values())
    several = len(persons) > 1 or (not persons and len(structures) > 1)
    # borne by a person here and by a structure alone there
    mixed = persons and any(e.person is None for e in own)
    if several or mixed:
        return None
    return Owner(
        kind,
        persons[0] if persons else None,
        # a person who uses one mailbox in several places: where a mail comes from is not known
        structures[0] if len(structures) == 1 else None,
    )


def _persons(found: Iterable[Professional | None]) -> list[Professional]:
    """One of each. A person without an identifier is the one of the same name who has one."""
    made = {(p.national_id, "" if p.national_id else _name(p)): p for p in found if p is not None}
    names = {_name(p) for p in made.values() if p.national_id}
    return [p for p in made.values() if p.national_id or _name(p) not in names]


def _name(person: Professional) -> str:
    return f"{person.family}\n{person.given}".casefold()


def _key(structure: Structure) -> str:
    """What makes two records one structure: its first identifier, else its name."""
    return structure.national_id or structure.finess or structure.siret or structure.name


# --- on disk ---------------------------------------------------------------------------------------------------------


def to_json(entries: Sequence[Entry]) -> dict[str, Any]:
    """Entries as JSON."""
    return {"form": FORM, "entries": [asdict(e) for e in entries]}


def from_json(table: Mapping[str, Any]) -> tuple[Entry, ...]:
    """What `to_json` made. Raises `ValueError` for anything else."""
    try:
        if table["form"] != FORM:
            raise ValueError("another form")
        return tuple(_entry(e) for e in table["entries"])
    except (KeyError, TypeError, AttributeError) as e:
        raise ValueError("no entries") from e


def _entry(table: Mapping[str, Any]) -> Entry:
    values = dict(table)
    kind, person, structure = values.pop("type"), values.pop("person"), values.pop("structure")
    return Entry(
        **values,
        type=None if kind is None else MailboxType(kind),
        person=None if person is None else Professional(**person),
        structure=None if structure is None else Structure(**structure),
    )
