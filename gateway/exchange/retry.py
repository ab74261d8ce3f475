"""When a transient failure is tried again. Pure: the random draw comes in as a value.

delay(n) = min(longest, first · factor^(n-1)) · (1 + jitter · u), u uniform in [-1, 1], n the attempt that
failed. With the defaults (first 2 s, factor 2, longest 900 s): 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900…
seconds.
"""

from __future__ import annotations

from gateway.settings import RetrySettings


def delay_after(attempt: int, policy: RetrySettings, draw: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (from 1). `draw` is uniform in [-1, 1]."""
    # the exponent is bounded so that years of attempts cannot overflow a float
    steps = min(max(attempt, 1) - 1, 64)
    return min(policy.longest, policy.first * policy.factor**steps) * (1 + policy.jitter * draw)


def farthest(policy: RetrySettings) -> float:
    """The longest wait that `delay_after` gives, in seconds, and a little more: the time of a claim may be read before
    that of the end of an attempt which is committed first."""
    return max(policy.first, policy.longest) * (1 + policy.jitter) + 60.0
