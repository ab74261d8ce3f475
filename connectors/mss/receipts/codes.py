"""From a failed delivery to the code of SMTPERRORCODE (ZAM^Z02, ERR-5). Pure but for a table read once.

Guarantee: the result is always a code of the volet's table, of a failure (4yz or 5yz).
Fails: `ConfigurationFault` when the shipped table is unreadable.
Source: spec/mssante.md §3.1: the reply of the Diagnostic-Code first, then the enhanced status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from connectors.smtp.replies import table_code
from gateway.cda.valuesets import read_table
from gateway.hl7.tables import SMTP_ERRORS, table

TABLE = "enhanced_status.tsv"
_STATUS = re.compile(r"([245])\.([0-9]{1,3})\.([0-9]{1,3})(?![0-9])")
_REPLY = re.compile(r"smtp\s*;\s*([2-5][0-9]{2})(?![0-9])", re.IGNORECASE)


def status_of(text: str) -> str:
    """The enhanced status at the start of a Status field (a comment may follow), or ""."""
    found = _STATUS.match(text.strip())
    return found[0] if found else ""


def reply_of(text: str) -> str:
    """The three-digit reply of `smtp; 550 5.1.1 …`, or "" (another type, no reply)."""
    found = _REPLY.match(text.strip())
    return found[1] if found else ""


def smtp_code(reply: str, status: str) -> str:
    """The code that tells a failure whose Diagnostic-Code began with `reply` and whose Status is `status` ("" where
    absent). A reply of success is no code of a failure."""
    if reply[:1] in ("4", "5") and reply in table(SMTP_ERRORS):
        return reply
    if status[:1] in ("4", "5"):
        known = _by_status()
        klass, subject, _ = status.split(".")
        # the most exact row there is: the status, its subject, its class
        return known.get(status) or known.get(f"{klass}.{subject}") or known[klass]
    return table_code(int(reply)) if reply[:1] in ("4", "5") else _by_status()["5"]


@cache
def _by_status() -> Mapping[str, str]:
    rows = read_table(TABLE, ("status", "code"), Path(__file__).parent).rows
    return {row["status"]: row["code"] for row in rows}
