"""Files of facts: JSON lines on disk → the world.

Purpose: read a file of facts, or what a pipe gives, line by line, with all that is wrong in it. The lines are checked
in a process beside (`indicators.lines`) while they are folded here.
Guarantee: a repeated fact counts once; the same `fact_id` with another content is an error; nothing is computed from a
file with errors. Memory grows with the facts that matter, not with the file.
Fails: `FileFaults` with every faulty line (the first hundred); `ConfigurationFault` when the file cannot be read;
`EnvironmentFault` when the process beside is lost.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import IO

from gateway.childprocess import environment
from gateway.errors import BadInput, ConfigurationFault, EnvironmentFault
from indicators.lines import Batch, batches
from indicators.world import World


class FileFaults(BadInput):
    """Lines that are not facts, or that contradict one another: sentences in French, without their values."""

    def __init__(self, faults: list[str], count: int) -> None:
        super().__init__(f"{count} faulty lines")
        self.faults = faults
        self.count = count


def read_file(path: Path, as_of: datetime | None = None) -> World:
    """The world that a file tells, as known at `as_of` (None: all of it)."""
    world = World(as_of)
    known = [] if as_of is None else [repr(as_of.timestamp())]
    last: Batch | None = None
    try:
        with path.open("rb", buffering=0) as given, ExitStack() as left:
            lines: IO[bytes] = given
            if not given.seekable():
                # a pipe (`zcat … |`, `<(…)`): lines may have to be read twice
                lines = left.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(given, lines)
                lines.seek(0)
            with subprocess.Popen(  # noqa: S603 - ourselves, no shell
                # -P: what lies in the directory of who calls is no module of ours
                [sys.executable, "-P", "-m", "indicators.lines", *known],
                stdin=lines,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment(),
            ) as process:
                assert process.stdout is not None
                try:
                    for last in batches(process.stdout):
                        for fact, at in zip(last.facts, last.at, strict=True):
                            world.tell(fact, at.timestamp())
                finally:
                    process.kill()
    except OSError as e:
        raise ConfigurationFault(f"{path}: {e.strerror}") from e
    if last is None or not last.end:
        raise EnvironmentFault("le processus qui vérifie les lignes s'est arrêté")
    if last.faults:
        raise FileFaults(last.faults, last.count)
    return world
