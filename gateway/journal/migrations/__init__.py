"""Changes of the journal's schema that new tables alone do not make: one numbered file for each version.

Guarantee: all of them or none (one transaction), and no row points nowhere afterwards. The version is written last.
Fails: `sqlite3.Error` of the file (disk full, locked), `ConfigurationFault` when a row points nowhere.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

from gateway.errors import ConfigurationFault

_FILES = {int(path.name[:4]): path for path in Path(__file__).parent.glob("[0-9][0-9][0-9][0-9]_*.sql")}


def migrate(path: Path, version: int) -> None:
    """Bring the journal at `path` from `version` to the newest; nobody else may have it open."""
    later = [_FILES[number] for number in sorted(_FILES) if number > version]
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
        db.execute(f"PRAGMA user_version = {max(_FILES):d}")
        db.execute("COMMIT")
    finally:
        db.close()


def _statements(text: str) -> list[str]:
    """The statements of a file (no text of ours holds a semicolon)."""
    return [s for s in (part.strip() for part in re.sub(r"--[^\n]*", "", text).split(";")) if s]
