"""Addresses, Message-IDs and codes found in a receipt, checked before anything uses them. Pure.

Guarantee: what is not exactly what it should be becomes "".
Source: RFC 5322 §3.6.4, RFC 3464 §2.1.2; spec/mssante.md §3.2 ("compare without `<>` and blanks").
"""

from __future__ import annotations

import re
from email.utils import parseaddr

from connectors.mss.addresses import is_address
from connectors.mss.receipts.mime import Part
from gateway.hl7.tables import APPLICATION_ERRORS, table

OTHER = "906"
"""Table 0533: an application error that has no code of its own."""
_BLANKS = re.compile(r"\s+")
_TOKEN = re.compile(r"[!-~]{1,998}")
_IN_BRACKETS = re.compile(r"<([^<>]{1,998})>")
_REFERENCES_MAX = 100


def token(text: str) -> str:
    """`text` without blanks when it is printable ASCII, else "": an ENVID or an unbracketed identifier."""
    bare = _BLANKS.sub("", text)
    return bare if _TOKEN.fullmatch(bare) else ""


def message_id(text: str) -> str:
    """A Message-ID without its brackets and blanks, or ""."""
    found = _IN_BRACKETS.search(text)
    return token((found[1] if found else text).strip("<> \t"))


def references(*values: str) -> tuple[str, ...]:
    """The Message-IDs of In-Reply-To and References, each once."""
    found = (message_id(m) for value in values for m in _IN_BRACKETS.findall(value)[:_REFERENCES_MAX])
    return tuple(dict.fromkeys(one for one in found if one))


def typed_address(text: str) -> str:
    """The address of `rfc822; address` (also `utf-8;`, also without a type), or ""."""
    kind, separator, address = text.partition(";")
    if separator and kind.strip().lower() not in ("rfc822", "utf-8"):
        return ""
    bare = (address if separator else text).strip().removeprefix("<").removesuffix(">").strip()
    return bare if is_address(bare) else ""


def sender(mail: Part) -> str:
    """The address of From, or ""."""
    address = parseaddr(mail.first("from")[:2000])[1]
    return address if is_address(address) else ""


def error_code(given: str) -> str:
    """The code of table 0533 that tells `given`: itself when listed, else 906 (a technical code, 1xx or 20x, is not
    relayed: spec/mssante.md §3.2)."""
    return given if given in table(APPLICATION_ERRORS) else OTHER
