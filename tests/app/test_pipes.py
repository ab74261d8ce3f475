"""What a command says to a reader that goes away: nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import pipes
from tests.exchange.harness import running
from tests.figures.world import delivery, stay, tell

COMMAND = [sys.executable, "-m", "gateway.cli"]
FINESS = "750000001"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
"""Where each print is a write of its own, the first one says that nobody reads."""


def read_one_line(*arguments: str, cwd: Path) -> tuple[bytes, int, bytes]:
    """(first line, status, standard error) of `segur-gateway … | head -n 1`."""
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd, env=ENVIRONMENT
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        line = process.stdout.readline()
        process.stdout.close()
        return line, process.wait(60), process.stderr.read()


def read_nothing(*arguments: str, cwd: Path) -> tuple[int, bytes]:
    """(status, standard error) of a command whose reader is gone before it begins."""
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(
        [*COMMAND, *arguments], stdout=writer, stderr=subprocess.PIPE, cwd=cwd, env=ENVIRONMENT
    ) as process:
        os.close(writer)
        assert process.stderr is not None
        return process.wait(60), process.stderr.read()


@pytest.mark.sqlite
async def test_a_reader_that_has_seen_enough_of_the_facts(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await tell(r, [fact for n in range(500) for fact in (*stay(n), delivery(n))])
        path = r.gateway.settings.journal.path
    config = tmp_path / "pipes.toml"
    config.write_text(f'[journal]\npath = "{path}"\n', encoding="utf-8")
    line, status, said = read_one_line("facts", "export", "--config", "pipes.toml", cwd=tmp_path)
    assert json.loads(line)["fact"] == "stay"
    assert (status, said) == (141, b"")
    assert status == pipes.STATUS == 128 + signal.SIGPIPE
    for action, told in (("compute", ()), ("explain", ("--indicator", "ALI-1", "--document-code", "ALL"))):
        arguments = ("indicators", action, "--month", "2025-02", "--finess", FINESS, *told)
        line, status, said = read_one_line(
            *arguments, "--format", "json", "--config", "pipes.toml", cwd=tmp_path
        )
        # what a pipe holds by itself was written, and the rest of it may be little
        assert line == b"{\n" and status in (0, 141) and said == b"", action
    # all was done: the status is that of what was done
    assert read_nothing("facts", "count", "--config", "pipes.toml", cwd=tmp_path) == (0, b"")
    assert read_nothing("db", "verify", "--config", "pipes.toml", cwd=tmp_path) == (0, b"")


def test_wrong_use_is_told_whoever_reads(tmp_path: Path) -> None:
    status, said = read_nothing("facts", "nonsense", cwd=tmp_path)
    assert status == 2 and b"invalid choice" in said and b"Traceback" not in said
    status, said = read_nothing("--help", cwd=tmp_path)
    assert status in (0, 141) and said == b""
    assert read_nothing("version", cwd=tmp_path) == (0, b"")


def test_the_verdict_of_a_file_is_the_status_although_nobody_reads_it(tmp_path: Path) -> None:
    (tmp_path / "bad.er7").write_bytes(b"MSH|^~\\&|A|B\r")
    assert read_nothing("validate", "bad.er7", cwd=tmp_path) == (1, b"")


def test_another_broken_pipe_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway import cli

    def broken(argv: object) -> int:
        raise BrokenPipeError("a socket")

    monkeypatch.setattr(cli, "_main", broken)
    with pytest.raises(BrokenPipeError, match="a socket"):
        cli.main(["version"])
