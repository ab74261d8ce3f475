"""Manners of a worker process: its wire, its limits, its end. Runs in the worker.

Purpose: libraries that hold the GIL, eat memory or may hang run in processes of their own; all of those behave alike.
Guarantee: what a library prints on its own (its messages may quote a document) goes nowhere; the kernel ends the
process when the gateway is gone; no core file; ACKs come first.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path
from typing import IO

NICE = 10
"""ACKs come first: a worker takes what they leave of the processors."""
_PR_SET_PDEATHSIG = 1


def own_the_wire() -> tuple[IO[bytes], IO[bytes]]:
    """Standard input and output for us alone; what a library writes there or on standard error is dropped."""
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def be_a_good_neighbour() -> None:
    """Last in line for processors and memory; ended by the gateway alone, or with it."""
    for sig in (signal.SIGINT, signal.SIGTERM):
        # the gateway decides when we end, also when a terminal tells the whole group
        signal.signal(sig, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.nice(NICE)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        # short of memory, the kernel ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")


def environment() -> dict[str, str]:
    """What a worker gets of our environment: settings may hold names of secrets, it needs none of them."""
    return {k: v for k, v in os.environ.items() if not k.startswith("SEGUR_")}


def memory_mb(pid: int) -> int:
    """Resident memory of a process, in MB; 0 when it cannot be told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000
