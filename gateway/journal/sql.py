"""Named statements: `queries.sql` read once, given to the driver as they are, run by name.

Purpose: the statements of the ACK path and of the engine are plain SQL that a reader can take in at one sitting, and
cost no expression building (which was two thirds of the gateway's CPU time when they were built at each call).
Guarantee: an unknown name raises `KeyError` at once; parameters are always bound, never put into the text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sqlalchemy import CursorResult
from sqlmodel import Session

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.M | re.S)
_FILE = Path(__file__).with_name("queries.sql")

QUERIES = {name: body.strip().rstrip(";") for name, body in _NAMED.findall(_FILE.read_text(encoding="utf-8"))}
"""Statements by name, in SQLite's own parameter style (`:name`)."""


def run(session: Session, name: str, /, **parameters: Any) -> CursorResult[Any]:
    """Execute the statement `name` in the session's transaction."""
    return session.connection().exec_driver_sql(QUERIES[name], parameters)


def insert(session: Session, name: str, /, **parameters: Any) -> int:
    """Execute a one-row `INSERT … RETURNING id`; the new id."""
    key: int = run(session, name, **parameters).scalar_one()
    return key
