"""A slice of `make chaos`: whole seeds against real processes. The long runs are in docs/reliability.md."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("which", [("--seeds", "2", "--first", "4"), ("--kills", "4", "--first", "0")])
def test_the_promise_holds(which: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "chaos", *which, "--seconds", "120", "--directory", str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500)
    last = done.stdout.splitlines()[-1] if done.stdout else ""
    held = r"acknowledged=[1-9]\d* lost=0 published_twice=0 duplicate_mails=0 stuck=0 order_broken=0"
    assert re.fullmatch(held, last), done.stdout + done.stderr
    assert done.returncode == 0, done.stdout
