"""A slice of `make chaos`: whole seeds against real processes. The long runs are in docs/reliability.md."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.server import programs

REPOSITORY = Path(__file__).resolve().parents[2]


SQLITE = [("--seeds", "2", "--first", "4"), ("--kills", "4", "--first", "0")]
POSTGRES = [
    ("--engine", "postgres", "--seeds", "1", "--first", "192"),
    ("--engine", "postgres", "--kills", "2", "--first", "36"),
]


@pytest.mark.slow
@pytest.mark.parametrize("which", [*SQLITE, *POSTGRES], ids=" ".join)
def test_the_promise_holds(which: tuple[str, ...], tmp_path: Path) -> None:
    if "postgres" in which and programs() is None:
        assert not os.environ.get("REQUIRE_POSTGRES"), "PostgreSQL is not installed"
        pytest.skip("PostgreSQL is not installed")
    command = [sys.executable, "-m", "chaos", *which, "--seconds", "120", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500)
    last = done.stdout.splitlines()[-1] if done.stdout else ""
    held = r"acknowledged=[1-9]\d* lost=0 published_twice=0 duplicate_mails=0 stuck=0 order_broken=0"
    assert re.fullmatch(held, last), done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
