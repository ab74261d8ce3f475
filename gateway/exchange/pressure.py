"""ACK first: messages that wait for their answer go before deliveries that can wait.

Purpose: a DPI stands still until its ACK comes; a delivery has days. One process has one interpreter lock to share, so
under a burst the engine starts deliveries sparingly and catches up when it is quiet.

Guarantee: deliveries never stop: under lasting pressure each destination still starts one at least every
`LONGEST_WAIT` seconds (as long as it has a free slot).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = 0.01
"""Seconds without any message being answered that count as quiet."""
LONGEST_WAIT = 0.5


class Pressure:
    """Who is being answered right now."""

    def __init__(self) -> None:
        self.answering = 0
        self._last = 0.0

    @contextmanager
    def message(self) -> Iterator[None]:
        """Around the work on one message."""
        self.answering += 1
        try:
            yield
        finally:
            self.answering -= 1
            self._last = time.monotonic()

    @property
    def quiet(self) -> bool:
        """True when no message has been worked on for `QUIET` seconds."""
        return self.answering == 0 and time.monotonic() - self._last >= QUIET

    async def wait_quiet(self) -> bool:
        """Wait until it is quiet, at most `LONGEST_WAIT`; whether it is."""
        deadline = time.monotonic() + LONGEST_WAIT
        while not self.quiet:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(QUIET)
        return True
