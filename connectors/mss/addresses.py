"""Addresses: syntax, domain, the patient's own. Pure.

Purpose: decide before the ACK whether a recipient can be written to.
Guarantee: an address that passes `is_address` holds only characters that are safe in an SMTP command and in a
header.
Source: RFC 5321 §4.1.2 (dot-string form only: MSSanté addresses have no quoted local part), spec/mssante.md
§1.4.
"""

from __future__ import annotations

import re
from datetime import datetime

from gateway.cda.values import valid_ins
from gateway.hl7.transmission import INS_NIA, INS_NIR, PATIENT_DOMAIN, Patient

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# a last label of one letter is a truncated address (seen in the volet's own examples), never a real domain
_ADDRESS = re.compile(rf"(?P<local>{_ATOM}(?:\.{_ATOM})*)@(?P<domain>(?:{_LABEL}\.)+[A-Za-z]{{2,63}})")
_MAJORITY = 18


def is_address(text: str) -> bool:
    """True for `local@domain` of ASCII atoms, within the lengths of RFC 5321 §4.5.3.1."""
    match = _ADDRESS.fullmatch(text)
    return match is not None and len(match["local"]) <= 64 and len(text) <= 254


def domain_of(address: str) -> str:
    """The domain in lower case."""
    return address.rpartition("@")[2].lower()


def same_mailbox_key(address: str) -> str:
    """What makes two spellings one mailbox: MSSanté operators compare local parts without case."""
    return address.lower()


def patient_address(patient: Patient) -> str | None:
    """The mailbox of a patient on Mon espace santé: `<matricule>@patient.mssante.fr`.

    None unless PID-3 holds exactly one INS of a real domain (NIR or NIA) with a right key, and PID-32 says that the
    identity is qualified (ECO.2.2.6).
    """
    real = {i.value.upper() for i in patient.identifiers if i.authority in (INS_NIR, INS_NIA)}
    if len(real) != 1 or patient.identity_status != "VALI":
        return None
    (matricule,) = real
    return f"{matricule}@{PATIENT_DOMAIN}" if valid_ins(matricule) else None


def is_minor(birth_date: str, now: datetime) -> bool:
    """True when somebody born on `birth_date` (YYYYMMDD…) is surely under 18 at `now`."""
    if len(birth_date) < 8 or not birth_date[:8].isdigit():
        return False
    # comparing digits: a birthday of 29 February needs no calendar
    return int(birth_date[:8]) + _MAJORITY * 10_000 > int(now.strftime("%Y%m%d"))
