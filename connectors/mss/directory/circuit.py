"""When the directory is left alone: after repeated faults, or when it asks for it. No I/O; the clock is given.

Guarantee: while it is left alone no request is made; then one look-up tries, and the others wait for its outcome.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from connectors.mss.directory.failures import DirectoryUnavailable

log = logging.getLogger("connectors.mss.directory")

LONGEST_HOLD = 3600.0
"""Seconds of a Retry-After that are believed."""


class Circuit:
    """One per directory. `clock` gives seconds that never go back."""

    def __init__(self, faults: int, pause: float, clock: Callable[[], float]) -> None:
        self._most = faults
        self._pause = pause
        self._clock = clock
        self._faults = 0
        self._until = 0.0
        self._open = False

    def enter(self) -> None:
        """Before a look-up. Raises `DirectoryUnavailable` while the directory is left alone."""
        now = self._clock()
        if now < self._until:
            raise DirectoryUnavailable("the directory is left alone for a while")
        if self._open:
            # this one tries; the others are held until it has its answer
            self._until = now + self._pause

    def good(self) -> None:
        """A look-up was answered."""
        if self._open:
            log.info("directory: answers again")
        self._faults, self._until, self._open = 0, 0.0, False

    def fault(self, cause: str, hold: float | None = None) -> None:
        """A look-up failed. `hold`: seconds that the directory asks to be left alone."""
        self._faults += 1
        if hold is None and self._faults < self._most and not self._open:
            return
        seconds = self._pause if hold is None else min(max(hold, 0.0), LONGEST_HOLD)
        self._until = max(self._until, self._clock() + seconds)
        if not self._open:
            log.warning("directory: left alone for %.0f s (%s)", seconds, cause)
        self._open = True
