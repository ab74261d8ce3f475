"""New unique object identifiers.

Purpose: identifiers that nobody has to register: `2.25.<UUID as a decimal number>` (ITU-T X.667 §6.3), at
most 44 characters, no leading zero arc, accepted wherever XDS wants an OID (64 characters). Pure but for the
randomness of `uuid4`. Cannot fail.
"""

from __future__ import annotations

import re
import uuid

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+\Z")
MAX_OID_LENGTH = 64
"""XDS limits an OID to 64 characters (IHE ITI TF-3, table 4.2.3.1.7-2)."""


def new_oid() -> str:
    """A new OID, unique for all purposes."""
    return oid_of(uuid.uuid4())


def oid_of(value: uuid.UUID) -> str:
    """The OID of a given UUID (same UUID, same OID)."""
    return f"2.25.{value.int}"


def is_oid(text: str) -> bool:
    """True for a syntactically valid OID of at most 64 characters."""
    return len(text) <= MAX_OID_LENGTH and _OID.match(text) is not None
