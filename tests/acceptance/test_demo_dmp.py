"""`make demo-dmp ONCE=1`: submission, replacement, deletion, refusals and cuts, as a table, exit status 0."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from gateway.demo_dmp import SCENARIOS, Line, table
from tests.acceptance.process import PATIENCE, REPOSITORY

pytestmark = pytest.mark.slow


async def test_every_scenario_is_as_it_must_be(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.demo_dmp",
        "--once",
        "--directory",
        str(tmp_path),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(3 * PATIENCE):
        out, errors = await process.communicate()
    said = out.decode()
    assert process.returncode == 0, said + errors.decode()
    assert said.count("conforme") == len(SCENARIOS)
    assert "3 × envoi : configuration (DMPInvalidCertificate) → envoi : succès" in said
    assert "envoi : issue inconnue (CUT) → vérification : succès" in said
    assert "Traceback" not in errors.decode()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("sent, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
async def test_stopped_by_a_signal_it_leaves_nothing_behind(
    tmp_path: Path, sent: signal.Signals, status: int
) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.demo_dmp",
        "--directory",
        str(tmp_path),
        cwd=REPOSITORY,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        while b"passerelle" not in await process.stdout.readline():
            pass
        assert list(tmp_path.iterdir())
        process.send_signal(sent)
        _, errors = await process.communicate()
    assert process.returncode == status
    assert "Traceback" not in errors.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_line_that_is_wrong_says_so() -> None:
    line = Line("Alimentation")
    line.must(False, "ZAM Y")
    assert "ÉCHEC : ZAM Y" in table([line])
