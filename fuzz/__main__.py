"""`python -m fuzz SECONDS`: half of the time hypothesis with ever new seeds, half atheris when it is installed.

Stops at the first broken promise with exit status 1; what breaks it is printed (hypothesis) or written (atheris).
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"


def hypothesis(seconds: float) -> int:
    """All tests of properties with new seeds, until the time is over."""
    end, seed = time.monotonic() + seconds, int(time.time())
    while time.monotonic() < end:
        print(f"hypothesis, seed {seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-n", "auto", "-m", "hypothesis", "-x", "tests"]
        command += ["--hypothesis-profile=new", f"--hypothesis-seed={seed}"]
        environment = os.environ | {"SEGUR_FUZZ": "long"}
        with contextlib.suppress(subprocess.TimeoutExpired):
            left = max(end - time.monotonic(), 1)
            if status := subprocess.run(command, cwd=ROOT, env=environment, timeout=left).returncode:
                return status
        seed += 1
    return 0


def guided(target: str, seconds: float) -> int:
    """One atheris target; what it finds interesting stays in a folder of its own, the corpus is only read."""
    with tempfile.TemporaryDirectory() as found:
        command = [
            sys.executable,
            "-m",
            f"fuzz.{target}",
            found,
            str(CORPUS / target),
            f"-max_total_time={max(int(seconds), 1)}",
            "-max_len=12000",
            "-timeout=20",
            f"-artifact_prefix={target}-",
        ]
        return subprocess.run(command, cwd=ROOT).returncode


def main(seconds: float) -> int:
    """Exit status."""
    if importlib.util.find_spec("atheris") is None:
        print('atheris is not installed (pip install -e ".[fuzz]"): hypothesis alone')
        return hypothesis(seconds)
    return hypothesis(seconds / 2) or guided("frames", seconds / 4) or guided("documents", seconds / 4)


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
