"""Code tables of the HL7 room: data files read once, beside the code that uses them.

Purpose: labels for ERR-3 (table 0357), ERR-5 (table 0533) and the SMTP codes of ZAM^Z02.
Guarantee: an unknown code has the label "", never an exception. Fails: `ConfigurationFault` for an
unreadable file. Source: CI-SIS volet Transmission v2.1, ACK and ZAM tables (spec/hl7-transmission.md §2,
§3); SMTP labels are ours.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from gateway.errors import ConfigurationFault

MESSAGE_ERRORS = "hl70357.tsv"
APPLICATION_ERRORS = "hl70533.tsv"
SMTP_ERRORS = "smtp_errors.tsv"


@cache
def table(name: str) -> dict[str, str]:
    """The table of that file name: code → label. Lines are `code<TAB>label`; `#` opens a comment line."""
    try:
        lines = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    except OSError as e:
        raise ConfigurationFault(f"code table {name}: {e.strerror}") from e
    rows = (line.split("\t") for line in lines if line.strip() and not line.startswith("#"))
    return {row[0].strip(): row[1].strip() for row in rows}


def label(name: str, code: str) -> str:
    """The label of `code` in the table of that file name, or ""."""
    return table(name).get(code, "")
