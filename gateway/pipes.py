"""A reader of the command's output that went away (`| head`).

Purpose: end quietly, as any tool does, instead of with a trace.
Guarantee: after `nobody_reads` said so nothing that is still in a buffer is complained of, at the end of the process
neither. A broken pipe that is another one (a socket) is not taken for it.
Fails: never.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from typing import TextIO

STATUS = 128 + signal.SIGPIPE
"""As the shell says it of a tool that the signal ended."""


def nobody_reads() -> bool:
    """True when standard output or standard error lead nowhere; what is left of them is thrown away."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _broken(stream)]
    if gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in gone:
            os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    return bool(gone)


def _broken(stream: TextIO) -> bool:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(told & (select.POLLERR | select.POLLHUP) for _, told in poll.poll(0))
