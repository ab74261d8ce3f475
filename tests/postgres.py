"""A real PostgreSQL server for tests: `initdb` and `pg_ctl` of the distribution, as an ordinary user, on loopback.

Without the server's programs the tests are skipped, but where REQUIRE_POSTGRES is set (CI): there they fail.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

USER, PASSWORD = "gateway", "essai"


def programs() -> Path | None:
    """The folder of the newest `initdb` and `pg_ctl`, or None."""
    for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: -int(p.parent.name)):
        if (folder / "initdb").exists():
            return folder
    found = shutil.which("initdb")
    return Path(found).resolve().parent if found else None


def ordinary_user() -> str | None:
    """Who runs the server: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            pwd.getpwnam(name)
            return name
        except KeyError:
            continue
    raise RuntimeError("no ordinary user to run PostgreSQL")


class Server:
    """One server with a data folder of its own."""

    def __init__(self, bin_folder: Path, folder: Path, fsync: bool = False) -> None:
        self.bin = bin_folder
        self.folder = folder
        self.data = folder / "data"
        self.password_file = folder / "password"
        self.user = ordinary_user()
        self.password_file.write_text(PASSWORD)
        if self.user:
            shutil.chown(folder, self.user)
            shutil.chown(self.password_file, self.user)
        self._run(
            "initdb",
            "-D",
            self.data,
            "-U",
            USER,
            "-A",
            "scram-sha-256",
            f"--pwfile={self.password_file}",
            "-E",
            "UTF8",
            "--locale=C",
            "-N",
        )
        if self.user:
            self.password_file.chmod(0o644)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        options = {
            "listen_addresses": "'127.0.0.1'",
            "port": self.port,
            "unix_socket_directories": "''",
            "max_connections": 150,
            "shared_buffers": "128MB",
            "fsync": "on" if fsync else "off",
        }
        with (self.data / "postgresql.conf").open("a") as f:
            f.writelines(f"{k} = {v}\n" for k, v in options.items())

    def start(self) -> None:
        """Returns once it takes connections."""
        self._run("pg_ctl", "-D", self.data, "-l", self.data / "log", "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash: what was not committed is gone."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def restart(self) -> None:
        """A crash and a new start."""
        self.stop()
        self.start()

    def connect(self, database: str = "postgres", **kwargs: Any) -> psycopg.Connection[Any]:
        """As superuser."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database, **kwargs
        )

    def _run(self, program: str, *args: object) -> None:
        done = subprocess.run(
            [str(self.bin / program), *map(str, args)],
            user=self.user,
            cwd=self.folder,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE if program == "initdb" else None,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {(done.stderr or b'').decode()}")


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
