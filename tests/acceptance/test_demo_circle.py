"""`make demo-circle ONCE=1`: from DPI A to DPI B and back, each line as it must be, exit status 0."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from fixtures import build
from gateway.demo_circle import table
from gateway.demo_circle_scenarios import SCENARIOS, Line
from tests.acceptance.process import PATIENCE, REPOSITORY


@pytest.mark.slow
async def test_every_scenario_is_as_it_must_be(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.demo_circle",
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
    assert "AE (207/902)" in said and "Z02 N 550" in said
    assert "Traceback" not in errors.decode()
    assert list(tmp_path.iterdir()) == []
    for secret in (build.PATIENT.ins, "DURAND", "CAMILLE"):
        assert secret not in said + errors.decode()


def test_a_line_that_is_wrong_says_so() -> None:
    line = Line("Document intégré")
    line.must(False, "Z03 Y")
    assert "ÉCHEC : Z03 Y" in table([line])
