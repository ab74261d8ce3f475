"""A PostgreSQL server of our own: `initdb` and `pg_ctl` of the distribution, as an ordinary user, on loopback.

For the harness, the tests and the benchmarks. Nobody else has it, so it may be crashed.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg

USER, PASSWORD = "gateway", "essai"
PATIENCE = 40.0
"""Seconds for a stop; more is a failure."""


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


def _port() -> int:
    """A free port that no outgoing connection is given while the server is down."""
    while True:
        port = random.randint(20_000, 32_000)
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port


class Server:
    """One server with a data folder of its own. `more`: settings of it."""

    def __init__(self, bin_folder: Path, folder: Path, fsync: bool = False, **more: object) -> None:
        self.bin = bin_folder
        self.folder = folder
        self.data = folder / "data"
        self.log = self.data / "log"
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
        self.port = _port()
        options = {
            "listen_addresses": "'127.0.0.1'",
            "port": self.port,
            "unix_socket_directories": "''",
            "max_connections": 150,
            "shared_buffers": "128MB",
            "fsync": "on" if fsync else "off",
            **more,
        }
        with (self.data / "postgresql.conf").open("a") as f:
            f.writelines(f"{k} = {v}\n" for k, v in options.items())

    def start(self) -> None:
        """Returns once it takes connections."""
        self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "start")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate` is a crash: what was not committed is gone."""
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def crash(self) -> None:
        """As `stop`, at this very instant: no program is started first. Returns once all its processes have ended."""
        lock = self.data / "postmaster.pid"
        os.kill(int(lock.read_text().split()[0]), signal.SIGQUIT)
        end = time.monotonic() + PATIENCE
        while lock.exists():
            if time.monotonic() > end:
                raise RuntimeError("the PostgreSQL server does not end")
            time.sleep(0.005)

    def dump(self, database: str, path: Path) -> None:
        """A database as SQL for a person to read, without the bytes of the documents."""
        with path.open("wb") as file:
            subprocess.run(
                [
                    str(self.bin / "pg_dump"),
                    *("-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "--data-only", "--inserts"),
                    *("--exclude-table-data=payload*", database),
                ],
                env={"PATH": os.environ.get("PATH", ""), "PGPASSWORD": PASSWORD},
                stdout=file,
                check=True,
            )

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
