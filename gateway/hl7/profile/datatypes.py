"""HL7 data types, as far as the profile has values of them checked: a date is a real one, an OID is an OID.

Purpose: say whether a text is of a type. Pure.
Source: HL7 v2.5 chapter 2A (TS, HD); OID: ITU-T X.660; FINESS numbers: nine characters, 2A and 2B for Corsica.
"""

from __future__ import annotations

import re
from datetime import date

from gateway.hl7.segment import Segment

_OID = re.compile(r"[0-2](\.(0|[1-9]\d*))+")
_FINESS = re.compile(r"(\d{2}|2[AB])\d{7}")
_TIMESTAMP = re.compile(
    r"(?P<digits>(?P<year>[0-9]{4})((?P<month>[0-9]{2})((?P<day>[0-9]{2})((?P<hour>[0-9]{2})"
    r"((?P<minute>[0-9]{2})((?P<second>[0-9]{2})(\.[0-9]{1,4})?)?)?)?)?)?)(?P<zone>[+-][0-9]{4})?"
)


_YEARS = range(1801, 2500)
"""Of dates that mean a day. The years around them are written for "none"."""


def is_oid(text: str) -> bool:
    """True when `text` has the form of an OID."""
    return _OID.fullmatch(text) is not None


def is_timestamp(text: str, digits: int = 4) -> bool:
    """True when `text` is `YYYY[MM[DD[HH[MM[SS[.S…]]]]]][+|-ZZZZ]` of at least `digits` digits, and a real date."""
    found = _TIMESTAMP.fullmatch(text)
    if found is None or len(found["digits"]) < digits:
        return False
    try:
        date(int(found["year"]), int(found["month"] or 1), int(found["day"] or 1))
    except ValueError:
        return False
    zone = found["zone"] or "+0000"
    return (
        int(found["hour"] or 0) < 24
        and int(found["minute"] or 0) < 60
        and int(found["second"] or 0) < 60
        and int(zone[1:3]) < 15
        and int(zone[3:]) < 60
    )


def stands_for_none(text: str) -> bool:
    """True for a timestamp that is written where there is none: `00010101`, `99991231`."""
    return int(text[:4]) not in _YEARS


def is_authority(segment: Segment, field: int, rep: int, comp: int) -> bool:
    """True for an assigning authority (HD) whose identifier is of the type that it says: ISO is an OID, M a FINESS
    number; other types are not looked at.
    """
    if not segment.piece(field, rep, comp, 3):
        return True
    kind = segment.value(field, rep, comp, 3)
    if kind == "ISO":
        return is_oid(segment.value(field, rep, comp, 2))
    if kind == "M":
        return _FINESS.fullmatch(segment.value(field, rep, comp, 2).upper()) is not None
    return True
