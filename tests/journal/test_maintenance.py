"""`segur-gateway db`: upgrade, backup, restore, verify, on both databases."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.simulator_port import toml_value
from fixtures import build
from gateway.cli import main
from gateway.journal.models import SCHEMA_VERSION
from tests.exchange import harness
from tests.exchange.harness import Scripted, cda, raw, running, submit
from tests.postgres import Database


@pytest.fixture(params=["sqlite", "postgres"])
def config(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A settings file; the tests' gateway works on the same journal."""
    table: dict[str, object] = {"path": str(tmp_path / "journal.sqlite")}
    if request.param == "postgres":
        database: Database = request.getfixturevalue("database")
        table = database.table
        monkeypatch.setattr(harness, "JOURNAL", table)
        monkeypatch.setenv("PATH", f"{database.server.bin}:/usr/bin:/bin")
    yield write(tmp_path / "gateway.toml", table)


def write(path: Path, table: dict[str, object]) -> Path:
    path.write_text("\n".join(["[journal]", *(f"{k} = {toml_value(v)}" for k, v in table.items())]))
    return path


def db(*args: object) -> int:
    return main(["db", *map(str, args)])


async def filled(tmp_path: Path, kept: bytes) -> None:
    """Two messages, one of them in parts."""
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        big = build.mdm("T02", kept, control_id="M2", recipients=())
        assert (await r.send(big)).code == "AA"
        await r.settled("M1")
        await r.settled("M2")


async def test_backup_while_at_work_restore_and_go_on(
    config: Path, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    document = cda(2, payload=build.pdf(3_000_000))
    await filled(tmp_path, document)
    async with running(tmp_path):
        assert db("backup", tmp_path / "saved", "--config", config) == 0
    assert stat.S_IMODE((tmp_path / "saved").stat().st_mode) == 0o600
    assert db("backup", tmp_path / "saved", "--config", config) == 2, "never over another file"
    assert db("restore", tmp_path / "saved", "--config", config) == 2, "never over a journal"

    other = {"path": str(tmp_path / "other" / "journal.sqlite")}
    if harness.JOURNAL:
        database: Database = request.getfixturevalue("database")
        with database.server.connect(autocommit=True) as c:
            c.execute(f"CREATE DATABASE {database.name}_b")
        other = harness.JOURNAL | {"url": str(harness.JOURNAL["url"]) + "_b"}
    second = write(tmp_path / "other.toml", other)
    assert db("restore", tmp_path / "saved", "--config", second) == 0
    assert db("verify", "--config", second) == 0
    assert "2 documents" in capsys.readouterr().out
    if harness.JOURNAL:
        harness.JOURNAL.update(other)
    connectors = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    async with running(tmp_path / "other", connectors) as r:
        # what was sent is known: the same message has its answer, nothing goes out again
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        assert not r.dmp.jobs
        assert [x["state"] for x in (await r.state("M2"))["deliveries"]] == ["succeeded"] * len(
            (await r.state("M2"))["deliveries"]
        )


async def test_verify_tells_of_each_damaged_payload_and_document(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await filled(tmp_path, cda(2, payload=build.pdf(3_000_000)))
    assert db("verify", "--config", config) == 0
    with raw(tmp_path) as tables:
        content = bytes(tables.execute("SELECT content FROM payload_part WHERE position = 1").fetchone()[0])
        changed = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
        tables.execute("UPDATE payload_part SET content = ? WHERE position = 1", (changed,))
    capsys.readouterr()
    assert db("verify", "--config", config) == 1
    said = capsys.readouterr().out
    assert "payload 2" in said and "document 2" in said
    assert "payload 1" not in said and "document 1:" not in said
    with raw(tmp_path) as tables:
        tables.execute("DELETE FROM payload_part WHERE position = 1")
    assert db("verify", "--config", config) == 1


async def test_upgrade(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert db("upgrade", "--config", config) == 0
    assert f"0 → {SCHEMA_VERSION}" in capsys.readouterr().out
    assert db("upgrade", "--config", config) == 0
    assert f"déjà au schéma {SCHEMA_VERSION}" in capsys.readouterr().out
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1"))).code == "AA"


def test_what_cannot_be_done_is_said(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken").write_bytes(b"not a backup")
    assert db("restore", tmp_path / "broken", "--config", config) in (1, 2)
    assert db("restore", tmp_path / "absent", "--config", config) == 2
    assert db("verify", "--config", config) == 2
    assert "Traceback" not in capsys.readouterr().err
