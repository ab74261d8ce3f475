"""The schema of a PostgreSQL journal: made in an empty database, else of exactly our version.

Guarantee: several nodes that start at once on an empty database make it once (advisory lock). A database of an older
version is changed by `segur-gateway db upgrade` alone, never by a node that starts: others may be at work on it.
Fails: `ConfigurationFault`.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.ext.compiler import compiles
from sqlmodel import AutoString, SQLModel

import gateway.journal.access_models  # noqa: F401 - its tables
from gateway.errors import ConfigurationFault
from gateway.journal.migrations import postgres_steps
from gateway.journal.models import SCHEMA_VERSION

log = logging.getLogger("gateway.journal")

OLDEST_SERVER = 130_000
_LOCK = 0x5E607A7E0001
_BLOBS = ("payload", "payload_part")


@compiles(AutoString, "postgresql")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _text(_type: Any, _compiler: Any, **_kwargs: Any) -> str:
    """Parameters that stand beside a literal are text: so are the columns."""
    return "TEXT"


def prepare_schema(engine: Engine) -> None:
    """Make the schema of an empty database; refuse one of another version."""
    with engine.begin() as c:
        _check_server(c)
        version = _version(c)
        if version == 0:
            make(c)
        elif version < SCHEMA_VERSION:
            raise ConfigurationFault(
                f"journal: schema version {version}, this gateway needs {SCHEMA_VERSION}:"
                " stop all nodes, then run segur-gateway db upgrade"
            )
        elif version > SCHEMA_VERSION:
            raise ConfigurationFault(
                f"journal: schema version {version}, this gateway needs {SCHEMA_VERSION}"
            )


def upgrade(engine: Engine) -> tuple[int, int]:
    """Bring the database to our version, in one transaction; (version before, version after)."""
    with engine.begin() as c:
        _check_server(c)
        version = _version(c)
        if version > SCHEMA_VERSION:
            raise ConfigurationFault(
                f"journal: schema version {version}, this gateway needs {SCHEMA_VERSION}"
            )
        if version == 0:
            make(c)
        elif version < SCHEMA_VERSION:
            for statement in postgres_steps(version):
                c.exec_driver_sql(statement)
            _write_version(c)
        return version, SCHEMA_VERSION


def make(c: Connection) -> None:
    """The tables of our version, in an empty database."""
    SQLModel.metadata.create_all(c)
    for table in _BLOBS:
        # base64 does not compress enough to be worth it
        c.exec_driver_sql(f"ALTER TABLE {table} ALTER COLUMN content SET STORAGE EXTERNAL")
    # the last transaction of each writing thread (gateway/journal/postgres.py)
    c.exec_driver_sql(
        "CREATE TABLE writer (process TEXT, thread INTEGER, done BIGINT NOT NULL, at FLOAT NOT NULL,"
        " PRIMARY KEY (process, thread))"
    )
    c.exec_driver_sql("CREATE TABLE schema_version (version INTEGER NOT NULL)")
    c.exec_driver_sql("INSERT INTO schema_version VALUES (0)")
    _write_version(c)


def _write_version(c: Connection) -> None:
    c.exec_driver_sql("UPDATE schema_version SET version = %s", (SCHEMA_VERSION,))


def _version(c: Connection) -> int:
    """The schema's version, 0 of an empty database; nobody else makes or changes it until the transaction ends."""
    c.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
    there = c.exec_driver_sql("SELECT to_regclass('schema_version'), to_regclass('message')").one()
    if there[0] is None:
        if there[1] is not None:
            raise ConfigurationFault("journal.url: the database holds tables that are not a journal's")
        return 0
    found: int = c.exec_driver_sql("SELECT version FROM schema_version").scalar_one()
    return found


def _check_server(c: Connection) -> None:
    settings = {
        name: c.exec_driver_sql(f"SHOW {name}").scalar_one()
        for name in ("server_version_num", "server_encoding", "fsync", "full_page_writes")
    }
    if int(settings["server_version_num"]) < OLDEST_SERVER:
        raise ConfigurationFault("journal.url: PostgreSQL 13 or newer is needed")
    if settings["server_encoding"] != "UTF8":
        raise ConfigurationFault("journal.url: the database must be in UTF8")
    for name in ("fsync", "full_page_writes"):
        if settings[name] != "on":
            log.critical("journal: the server runs with %s = off: a power cut may lose documents", name)
