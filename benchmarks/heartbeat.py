"""The gateway with a heartbeat in its event loop: `python -m benchmarks.heartbeat FILE run --config …`.

A task wakes every 2 ms; how late it wakes is how long the loop was held (by work in it, by another thread with the
interpreter lock, or by the machine's other processes). At the end FILE holds a JSON list of [monotonic time, seconds
late] of every beat over 5 ms late. With `SEGUR_STACKS=1` a thread prints every thread's stack while the loop is late.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
import traceback
from pathlib import Path

import gateway.app
from gateway.cli import main

PERIOD = 0.002
KEPT = 0.005
LATE = 0.020

_beats: list[tuple[float, float]] = []
_last = [0.0]


async def _beat() -> None:
    while True:
        before = time.monotonic()
        _last[0] = before
        await asyncio.sleep(PERIOD)
        now = time.monotonic()
        if now - before - PERIOD > KEPT:
            _beats.append((now, now - before - PERIOD))


def _watch() -> None:
    told = 0.0
    while True:
        time.sleep(0.004)
        late = time.monotonic() - _last[0]
        if _last[0] and late > LATE and told != _last[0]:
            told = _last[0]
            print(f"--- loop late by {1000 * late:.0f} ms", file=sys.stderr)
            for thread, frame in sys._current_frames().items():
                if thread != threading.get_ident():
                    where = traceback.extract_stack(frame)[-4:]
                    if where[-1].name == "_worker" or where[-1].name == "_run":
                        continue  # waits for work
                    print(
                        "   ",
                        " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in where),
                        file=sys.stderr,
                    )


class _Measured(gateway.app.Gateway):
    async def start(self) -> None:
        await super().start()
        self._heartbeat = asyncio.create_task(_beat(), name="heartbeat")
        if os.environ.get("SEGUR_STACKS"):
            threading.Thread(target=_watch, daemon=True).start()


if __name__ == "__main__":
    gateway.app.Gateway = _Measured  # type: ignore[misc]
    status = main(sys.argv[2:])
    Path(sys.argv[1]).write_text(json.dumps(_beats))
    sys.exit(status)
