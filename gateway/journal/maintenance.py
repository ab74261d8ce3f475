"""What an operator does with a journal beside the gateway: upgrade, backup, restore, verify. For both databases.

Guarantee: a backup is one state of the journal, taken while gateways are at work, complete or not there (it gets its
name last), readable by its owner alone. A restore never overwrites a journal. `verify` reads everything and changes
nothing: every payload against its SHA-256 and size, every document as it would be delivered.

Fails: `ConfigurationFault` with what to do. No text names a patient.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, create_engine
from sqlmodel import Session

from gateway.errors import ConfigurationFault, ContentGone, GatewayError
from gateway.journal import payloads, records, retention
from gateway.journal.models import SCHEMA_VERSION
from gateway.journal.sql import run
from gateway.settings import JournalSettings

BATCH = 500
MAX_NAMED = 50
"""Damaged rows that a report names; it counts them all."""


@dataclass(frozen=True, slots=True)
class Place:
    """Which journal: `path` of the file, or `settings.url`. `settings` as `JournalSettings.at` gives them."""

    path: Path
    settings: JournalSettings


@dataclass(slots=True)
class Verified:
    """What `verify` found; `damaged`: `payload 12`, `document 7`… with what is wrong."""

    version: int = 0
    payloads: int = 0
    documents: int = 0
    size: int = 0
    damaged: list[str] = field(default_factory=list)


# --- upgrade ----------------------------------------------------------------------------------------------------------


def upgrade(place: Place) -> tuple[int, int]:
    """Bring the journal to this gateway's schema; (version before, version after), 0: it was empty. No gateway may be
    at work on it (SQLite: refused; PostgreSQL: older ones would fail)."""
    if place.settings.url is not None:
        from gateway.journal import postgres_schema

        with _engine(place, reading=False) as engine, _faults_of_the_database():
            return postgres_schema.upgrade(engine)
    from gateway.journal.sqlite import SqliteJournal

    before = _sqlite_version(place.path) if place.path.exists() else 0
    journal = SqliteJournal(place.path, place.settings)
    journal.shut()
    return before, SCHEMA_VERSION


# --- backup and restore -----------------------------------------------------------------------------------------------


def backup(place: Place, target: Path) -> int:
    """Write one state of the journal to the file `target`, which must not exist; its size in bytes."""
    if target.exists():
        raise ConfigurationFault(f"{target}: there is a file already")
    partial = target.with_name(target.name + ".part")
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
        if place.settings.url is not None:
            _program(place, "pg_dump", "--format=custom", f"--file={partial}")
        else:
            _needs_file(place.path)
            with closing(read_only(place.path)) as source, closing(sqlite3.connect(partial)) as copy:
                source.backup(copy)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        size = partial.stat().st_size
        partial.rename(target)
        folder = os.open(target.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    except OSError as e:
        raise ConfigurationFault(f"{target}: {e.strerror}") from e
    except sqlite3.Error as e:
        raise ConfigurationFault(f"{place.path.name}: {e}") from e
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return size


def restore(place: Place, source: Path) -> None:
    """Make the journal of a backup. There must be none: a file of that name, or tables in the database."""
    if not source.is_file():
        raise ConfigurationFault(f"{source}: not a file")
    if place.settings.url is not None:
        with _engine(place, reading=False) as engine, _faults_of_the_database(), engine.begin() as c:
            if c.exec_driver_sql("SELECT to_regclass('message')").scalar() is not None:
                raise ConfigurationFault("the database holds a journal: restore into an empty one")
        _program(
            place,
            "pg_restore",
            "--exit-on-error",
            "--single-transaction",
            "--no-owner",
            "--dbname",
            str(source),
        )
        return
    if place.path.exists():
        raise ConfigurationFault(f"{place.path}: there is a journal; move it away first")
    try:
        with closing(read_only(source)) as db:
            if db.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                raise ConfigurationFault(f"{source}: the backup is damaged")
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = place.path.with_name(place.path.name + ".part")
        shutil.copyfile(source, partial)
        partial.chmod(0o600)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.rename(place.path)
    except OSError as e:
        raise ConfigurationFault(f"{place.path}: {e.strerror}") from e
    except sqlite3.Error as e:
        raise ConfigurationFault(f"{source}: not a journal ({e})") from e


# --- verify -----------------------------------------------------------------------------------------------------------


def verify(place: Place) -> Verified:
    """Read the whole journal; what is damaged. A gateway may be at work."""
    found = Verified()
    if place.settings.url is None:
        _needs_file(place.path)
        found.version = _sqlite_version(place.path)
        with closing(read_only(place.path)) as db:
            for row in db.execute("PRAGMA integrity_check(20)"):
                if row != ("ok",):
                    found.damaged.append("file: " + str(row[0]).splitlines()[0])
            found.damaged += [
                f"{row[0]} {row[1]}: points nowhere" for row in db.execute("PRAGMA foreign_key_check")
            ]
    with _engine(place, reading=True) as engine, _faults_of_the_database():
        if place.settings.url is not None:
            with Session(engine) as session:
                version = session.connection().exec_driver_sql("SELECT version FROM schema_version")
                found.version = version.scalar_one()
        for number in _rows(engine, "payload"):
            with Session(engine) as session:
                _verify_payload(session, number, found)
        for number in _rows(engine, "document"):
            with Session(engine) as session:
                _verify_document(session, number, found)
    return found


def _rows(engine: Engine, table: str) -> Iterator[int]:
    """Row ids, some at a time: a transaction of hours would keep the database from tidying up."""
    last = 0
    while True:
        with Session(engine) as session:
            some = run(session, f"{table}s_after", last=last, limit=BATCH).scalars().all()
        if not some:
            return
        yield from some
        last = some[-1]


def _verify_payload(session: Session, number: int, found: Verified) -> None:
    row = run(session, "payload_to_verify", payload_id=number).first()
    if row is None or row.pending:
        return  # removed, or being written
    if not row.content and row.size and retention.emptied(session, number):
        return  # not damaged: gone
    found.payloads += 1
    found.size += row.size
    digest, size = hashlib.sha256(row.content), len(row.content)
    try:
        if not row.content and row.size:
            for piece in payloads.slices(session, number, 0, row.size):
                digest.update(piece)
                size += len(piece)
    except GatewayError as e:
        found.damaged.append(f"payload {number}: {e}")
        return
    if size != row.size or digest.hexdigest() != row.sha256:
        found.damaged.append(f"payload {number}: the bytes do not match their SHA-256")


def _verify_document(session: Session, number: int, found: Verified) -> None:
    found.documents += 1
    try:
        records.document_bytes(session, number)
    except ContentGone:
        found.documents -= 1
    except (GatewayError, ValueError):
        found.damaged.append(f"document {number}: the bytes do not match their SHA-256")


# --- inside -----------------------------------------------------------------------------------------------------------


@contextmanager
def _engine(place: Place, *, reading: bool) -> Iterator[Engine]:
    if place.settings.url is not None:
        from gateway.journal.postgres import make_engine

        engine = make_engine(place.settings, 1, reading=reading)
    else:
        engine = create_engine("sqlite://", creator=lambda: read_only(place.path), hide_parameters=True)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def _faults_of_the_database() -> Iterator[None]:
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except DBAPIError as e:
        raise ConfigurationFault(f"the database: {str(e.orig).strip().partition(chr(10))[0]}") from None


def _needs_file(path: Path) -> None:
    if not path.is_file():
        raise ConfigurationFault(f"{path}: there is no journal")


def read_only(path: Path) -> sqlite3.Connection:
    """A connection to the journal's file that changes nothing, beside a gateway at work."""
    # not mode=ro: the WAL's index may have to be made
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, check_same_thread=False)
    db.execute("PRAGMA query_only = ON")
    return db


def _sqlite_version(path: Path) -> int:
    try:
        with closing(read_only(path)) as db:
            version: int = db.execute("PRAGMA user_version").fetchone()[0]
            return version
    except sqlite3.Error as e:
        raise ConfigurationFault(f"{path.name}: not a journal ({e})") from e


def _program(place: Place, name: str, *arguments: str) -> None:
    """A program of PostgreSQL's own; the password is in its environment, never among its arguments."""
    from gateway.journal.postgres import password_of

    program = shutil.which(name)
    if program is None:
        raise ConfigurationFault(f"{name} is not installed (package postgresql-client)")
    environment = dict(os.environ)
    if password := password_of(place.settings).get("password"):
        environment["PGPASSWORD"] = password
    url = place.settings.url or ""
    own = [*arguments[:-1], url, arguments[-1]] if name == "pg_restore" else [*arguments, url]
    done = subprocess.run(  # noqa: S603 - a program of the distribution, no shell
        [program, *own], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode:
        words = done.stderr.decode("utf-8", "replace").strip().partition("\n")[0]
        raise ConfigurationFault(f"{name}: {words}")
