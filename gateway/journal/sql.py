"""Named statements: `*.sql` of this folder read once, given to the driver as they are, run by name.

Purpose: the statements of the ACK path and of the engine are plain SQL that a reader can take in at one sitting, and
cost no expression building (which was two thirds of the gateway's CPU time when they were built at each call).
One text serves both databases: `/*pg …*/` is for PostgreSQL alone (row locks), SQLite takes it for a comment.

Guarantee: an unknown name raises `KeyError` at once; parameters are always bound, never put into the text.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from sqlalchemy import Boolean, CursorResult
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlmodel import Session

_NAMED = re.compile(r"^-- name: (\w+)\n(.*?)(?=^-- name: |\Z)", re.M | re.S)
_FILES = sorted(Path(__file__).parent.glob("*.sql"))

QUERIES = {
    name: body.strip().rstrip(";")
    for file in _FILES
    for name, body in _NAMED.findall(file.read_text(encoding="utf-8"))
}
"""Statements by name, in SQLite's own parameter style (`:name`)."""


def _for_postgres(statement: str) -> str:
    """In psycopg's parameter style; the hint CROSS JOIN … ON is a plain join there."""
    statement = re.sub(r"^--.*\n?", "", statement, flags=re.M).strip()
    statement = re.sub(r"/\*pg (.*?)\*/", r"\1", statement).replace("CROSS JOIN", "JOIN")
    return re.sub(r"(?<!:):([a-z]\w*)", r"%(\1)s", statement)


POSTGRES = {name: _for_postgres(statement) for name, statement in QUERIES.items()}
"""The same for PostgreSQL."""
_LOCK = "SELECT pg_advisory_xact_lock(k) FROM unnest(%(keys)s::bigint[]) AS k"


def run(session: Session, name: str, /, **parameters: Any) -> CursorResult[Any]:
    """Execute the statement `name` in the session's transaction."""
    connection = session.connection()
    if connection.dialect.name == "sqlite":
        return connection.exec_driver_sql(QUERIES[name], parameters)
    return connection.exec_driver_sql(POSTGRES[name], parameters)


def insert_many(session: Session, name: str, /, rows: list[dict[str, Any]]) -> int:
    """Execute the statement `name` once for each row, in one go; how many rows were written."""
    connection = session.connection()
    statements = QUERIES if connection.dialect.name == "sqlite" else POSTGRES
    return connection.exec_driver_sql(statements[name], rows).rowcount


def insert(session: Session, name: str, /, **parameters: Any) -> int:
    """Execute a one-row `INSERT … RETURNING id`; the new id."""
    key: int = run(session, name, **parameters).scalar_one()
    return key


def lock(session: Session, *names: str) -> bool:
    """Until the transaction ends, nobody else has any of these names (of sets, of document ids, of messages).

    False: nothing to lock, as with SQLite, whose one writer already excludes others. With PostgreSQL these are advisory
    locks, taken in one order (a deadlock with names taken earlier in the transaction is found by the server, and the
    operation run again). What is read after `lock` has everything that earlier holders committed.
    """
    if not names or session.connection().dialect.name == "sqlite":
        return False
    keys = sorted({_key(name) for name in names})
    session.connection().exec_driver_sql(_LOCK, {"keys": keys})
    return True


def _key(name: str) -> int:
    """64 bits of a name. Two names with the same wait for each other, no more."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), signed=True)


class holds(FunctionElement[bool]):
    """`holds(column, literal(b"…"))`: bytes that occur in a column of bytes."""

    type = Boolean()
    inherit_cache = True


@compiles(holds, "sqlite")
def _instr(element: holds, compiler: Any, **kw: Any) -> str:
    return f"(instr({compiler.process(element.clauses, **kw)}) > 0)"


@compiles(holds, "postgresql")
def _position(element: holds, compiler: Any, **kw: Any) -> str:
    column, part = element.clauses
    return f"(position({compiler.process(part, **kw)} IN {compiler.process(column, **kw)}) > 0)"


def node_of(session: Session) -> str:
    """Token of the process whose session it is (`Journal.node`)."""
    node: str = session.info.get("node", "")
    return node
