"""National identifiers out of facts: the left part of an address of Mon espace santé is an INS, and so may be a key.

Purpose: one way to hide them, for the facts that the gateway writes and for those that others bring. Pure: the secret
comes in as a value. It must be a secret: there are few enough INS to try them all against a plain sum.

Guarantee: the same address has the same opaque form, two have two, whoever told it and wherever (one secret for all
nodes); what is opaque already stays as it is, so that what was exported can be imported.
Fails: never.
Source: docs/decisions/0034, 0043.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, Final, cast

from gateway.hl7.profile.identity import ins_key_ok
from gateway.hl7.transmission import PATIENT_DOMAIN
from indicators.facts import Fact

_ADDRESS: Final = re.compile(rf"([^@]*)@\s*((?:[a-z0-9-]+\.)*{re.escape(PATIENT_DOMAIN)})(?!\.?[a-z0-9-])")
"""Of a patient, however it is written (`mailto:`, with a name before it…): nothing around it is kept."""
_AROUND: Final = re.compile(r'.*[<>,;:"]', re.DOTALL)
"""What stands before the left part itself."""
_INS: Final = re.compile(r"(?<![0-9A-Za-z])[0-9A-Za-z]{15}(?![0-9A-Za-z])")
_OPAQUE: Final = re.compile(r"[0-9a-f]{32}")
_ADDRESSES: Final = ("recipient", "address")
_KEYS: Final = ("patient", "prior_patient")


def address(secret: bytes, told: str) -> str | None:
    """The opaque form of an address of Mon espace santé; None for any other address."""
    found = _ADDRESS.search(told.strip().lower())
    if found is None:
        return None
    local, domain = found.groups()
    # the same address is the same recipient, whatever was written around it
    local = "".join(local.split())
    local = _AROUND.sub("", local) or local
    return f"{local if _OPAQUE.fullmatch(local) else _sum(secret, 'address', local)}@{domain}"


def without_ins(fact: Fact, secret: bytes) -> Fact:
    """The fact without an INS in its addresses and in its patients' keys; the same object when there is none."""
    told = cast(dict[str, Any], fact)
    hidden: dict[str, Any] = {}
    for name in _ADDRESSES:
        if (value := told.get(name)) and (opaque := address(secret, value)) not in (None, value):
            hidden[name] = opaque
    for name in _KEYS:
        if (value := told.get(name)) and (key := _key(secret, value)) != value:
            hidden[name] = key
    return cast(Fact, told | hidden) if hidden else fact


def _key(secret: bytes, told: str) -> str:
    """A patient's key without an INS: the whole key is one, or a component of it (a CX as PID-3 has it)."""
    if ins_key_ok(whole := "".join(told.split())):
        return _sum(secret, "ins", whole.upper())
    return _INS.sub(lambda m: _sum(secret, "ins", m[0].upper()) if ins_key_ok(m[0]) else m[0], told)


def _sum(secret: bytes, what: str, value: str) -> str:
    return hmac.new(secret, f"{what}\n{value}".encode(), hashlib.sha256).hexdigest()[:32]
