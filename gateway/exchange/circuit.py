"""One circuit per destination: a configuration fault stops it, a success closes it; one alert at each end.

Purpose: a wrong certificate must neither use up every document's lifetime nor flood anyone with alerts.
Pure: time comes in as a value. While open, one delivery is let through at each probe time.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Circuit:
    """State of one destination. `opened_at` is None while it is closed."""

    probe_every: float
    opened_at: float | None = None
    next_probe: float = 0.0
    reason: str = ""

    def open(self, now: float, reason: str) -> bool:
        """A configuration fault. True when this opened the circuit (alert once)."""
        first = self.opened_at is None
        if first:
            self.opened_at = now
        self.reason = reason
        self.next_probe = now + self.probe_every
        return first

    def close(self, now: float) -> float | None:
        """A success. Seconds it was open, or None when it was closed already."""
        if self.opened_at is None:
            return None
        open_for, self.opened_at, self.reason = max(0.0, now - self.opened_at), None, ""
        return open_for

    def probe_soon(self) -> None:
        """A person asks: the next probe is now."""
        self.next_probe = 0.0

    def allowance(self, now: float, free: int) -> int:
        """How many of `free` deliveries may be claimed now."""
        if self.opened_at is None:
            return free
        # a probe that is farther than the interval was planned before the clock was set back
        if now < self.next_probe <= now + self.probe_every:
            return 0
        self.next_probe = now + self.probe_every
        return min(1, free)
