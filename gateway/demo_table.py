"""What the demos with a table share: the table itself, and the run of one from its command line.

Purpose: each demo says its lines and its columns; the rest is the same.
Guarantee: SIGTERM ends a demo as Ctrl-C does: counterparts stopped, its folder removed.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

Demo = Callable[[Path, bool], Coroutine[Any, Any, int]]
"""(folder, stop when done) → exit status."""


def verdict(wrong: Sequence[str]) -> str:
    """The last cell of a line: what is not as it must be."""
    return "conforme" if not wrong else f"ÉCHEC : {'; '.join(wrong)}"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table, in columns."""
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    rule = "  ".join("-" * w for w in widths)
    made = ["  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in (head, *rows)]
    return "\n".join((made[0], rule, *made[1:]))


def run(demo: Demo, name: str, description: str, argv: Sequence[str] | None) -> int:
    """`python -m … [--once]`: exit status 0 or 1 with `--once`."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("--directory", type=Path, default=Path("var") / name)
    parser.add_argument("--once", action="store_true", help="s'arrêter après la démonstration ; code 0 ou 1")
    values = parser.parse_args(argv)
    try:
        return asyncio.run(_until_stopped(demo, values.directory, values.once))
    except KeyboardInterrupt:
        return 130
    except asyncio.CancelledError:
        return 143


async def _until_stopped(demo: Demo, directory: Path, once: bool) -> int:
    running = asyncio.ensure_future(demo(directory, once))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    return await running
