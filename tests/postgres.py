"""A real PostgreSQL server for tests (`chaos.server`), and databases in it.

Without the server's programs the tests are skipped, but where REQUIRE_POSTGRES is set (CI): there they fail.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chaos.server import USER, Server, programs


@dataclass(frozen=True)
class Database:
    """An empty database."""

    server: Server
    name: str

    @property
    def table(self) -> dict[str, Any]:
        """The gateway's settings `[journal]` for it: dead nodes are taken over quickly."""
        return {
            "url": f"postgresql://{USER}@127.0.0.1:{self.server.port}/{self.name}",
            "password_file": str(self.server.password_file),
            "writers": 4,
            "heartbeat": 0.2,
            "node_timeout": 1.5,
        }

    def connect(self) -> psycopg.Connection[Any]:
        """A connection of its own, autocommit."""
        return self.server.connect(self.name, autocommit=True)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """One server for all tests of the process."""
    folder = programs()
    if folder is None:
        assert not os.environ.get("REQUIRE_POSTGRES"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    with tempfile.TemporaryDirectory(prefix="segur-postgres-") as directory:
        server = Server(folder, Path(directory))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def _kept_database(postgres_server: Server) -> Database:
    with postgres_server.connect(autocommit=True) as c:
        c.execute("CREATE DATABASE kept")
    return Database(postgres_server, "kept")


@pytest.fixture
def journal_database(_kept_database: Database) -> Database:
    """A database whose journal is empty; its schema may be there already (that is quicker)."""
    with _kept_database.connect() as c:
        c.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = 'kept' AND pid <> pg_backend_pid()"
        )
        tables = c.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        names = ", ".join(name for (name,) in tables if name != "schema_version")
        if names:
            c.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")
    return _kept_database


@pytest.fixture
def database(postgres_server: Server) -> Iterator[Database]:
    """An empty database for one test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with postgres_server.connect(autocommit=True) as c:
        c.execute(f"CREATE DATABASE {name}")
    yield Database(postgres_server, name)
    with postgres_server.connect(autocommit=True) as c:
        c.execute(f"DROP DATABASE {name} WITH (FORCE)")
