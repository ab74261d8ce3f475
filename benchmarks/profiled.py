"""The gateway under cProfile, by stage: `python -m benchmarks.profiled FILE run --config …` (see `benchmarks.ack`).

Only the event loop's thread is profiled by cProfile; worker threads are profiled by their own profiler and added.
"""

from __future__ import annotations

import cProfile
import io
import pstats
import sys
import threading
from pathlib import Path
from typing import Any

from gateway.cli import main

_profiles: list[cProfile.Profile] = []


def _profiled_run(original: Any) -> Any:
    def run(self: threading.Thread) -> None:
        profile = cProfile.Profile()
        _profiles.append(profile)
        profile.runcall(original, self)

    return run


if __name__ == "__main__":
    target = Path(sys.argv[1])
    threading.Thread.run = _profiled_run(threading.Thread.run)  # type: ignore[method-assign]
    own = cProfile.Profile()
    status = own.runcall(main, sys.argv[2:])
    text = io.StringIO()
    stats = pstats.Stats(own, stream=text)
    for profile in _profiles:
        profile.create_stats()
        if profile.stats:  # type: ignore[attr-defined]
            stats.add(profile)
    stats.sort_stats("tottime").print_stats(60)
    stats.sort_stats("cumulative").print_stats(80)
    target.write_text(text.getvalue())
    sys.exit(status)
