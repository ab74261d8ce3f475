"""Values of a CDA header that need more than a look: times, identifiers, the INS.

Purpose: one place for what "valid" means. Pure. Source: spec/cda.md §2 (what the XSD lets pass), spec/mssante.md §1.4
(INS key), INS identity standard.

Guarantee: never raises for a string; no value comes back.
"""

from __future__ import annotations

import re
from datetime import datetime

from gateway.hl7.transmission import InstanceId

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+\Z")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_TS = re.compile(r"(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\.\d+)?([+-]\d{1,4})?\Z", re.ASCII)
_MATRICULE = re.compile(r"(\d{5}(?:\d\d|2A|2B)\d{6})(\d\d)\Z", re.ASCII)


def valid_time(value: str, *, zone: bool = True) -> bool:
    """A TS of CDA: `YYYY[MM[DD[hh[mm[ss[.f]]]]]][+ZZzz]`, at a date that exists (the XSD accepts 20240231).

    `zone`: the offset must have its four digits, because the time becomes UTC in the metadata; elsewhere one
    to four are taken, as the XSD does (an official example has `+100`).
    """
    found = _TS.match(value)
    if found is None:
        return False
    year, month, day, hour, minute, second = (None if g is None else int(g) for g in found.groups()[:6])
    offset = found[8]
    if zone and offset is not None and (len(offset) != 5 or int(offset[1:3]) > 14 or int(offset[3:]) > 59):
        return False
    try:
        datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, min(second or 0, 59))
    except ValueError:
        return False
    return (second or 0) <= 60


def valid_id(identifier: InstanceId) -> bool:
    """The root is an OID or a UUID."""
    return bool(_OID.match(identifier.root) or _UUID.match(identifier.root))


def valid_ins(matricule: str) -> bool:
    """15 characters with the right key (97 − n mod 97; 2A and 2B of Corsica count as 19 and 18)."""
    found = _MATRICULE.match(matricule.upper())
    if found is None:
        return False
    number = int(found[1].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(found[2])


def valid_matricule_form(matricule: str) -> bool:
    """15 characters of a NIR or NIA, whatever the key."""
    return _MATRICULE.match(matricule.upper()) is not None
