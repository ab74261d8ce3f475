"""Changes of the journal's schema that new tables alone do not make: one numbered file of plain SQL for each version,
apart for each database (docs/decisions/0028).

Guarantee: all of them or none (one transaction), and no row points nowhere afterwards. The version is written last.
Fails: `sqlite3.Error` of the file (disk full, locked), `ConfigurationFault` when a row points nowhere.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from gateway.errors import ConfigurationFault


def _files(database: str, version: int) -> list[Path]:
    """What brings a journal from `version` to the newest, in order."""
    found = Path(__file__).parent.joinpath(database).glob("[0-9][0-9][0-9][0-9]_*.sql")
    return [path for path in sorted(found) if int(path.name[:4]) > version]


def migrate(path: Path, version: int) -> None:
    """Bring the SQLite journal at `path` from `version` to the newest; nobody else may have it open."""
    later = _files("sqlite", version)
    if not later:
        return
    db = sqlite3.connect(path, isolation_level=None)
    try:
        # a table that others point to is made again: the references are looked at once it stands
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("BEGIN IMMEDIATE")
        for file in later:
            for statement in _statements(file.read_text(encoding="utf-8")):
                db.execute(statement)
        if db.execute("PRAGMA foreign_key_check").fetchone() is not None:
            db.execute("ROLLBACK")
            raise ConfigurationFault(f"{path.name}: a row of the journal points nowhere, it was not changed")
        db.execute(f"PRAGMA user_version = {int(later[-1].name[:4]):d}")
        db.execute("COMMIT")
    finally:
        db.close()


def postgres_steps(version: int) -> list[str]:
    """The statements that bring a PostgreSQL journal from `version` to the newest."""
    return [
        statement
        for path in _files("postgres", version)
        for statement in _statements(path.read_text(encoding="utf-8"))
    ]


def _statements(text: str) -> list[str]:
    """The statements of a file (no text of ours holds a semicolon)."""
    return [s for s in (part.strip() for part in re.sub(r"--[^\n]*", "", text).split(";")) if s]
