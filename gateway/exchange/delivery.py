"""The states of a delivery, in one table.

Purpose: the diagram in the docs, the SQL check constraint and the tests all come from `TRANSITIONS`.
Guarantee: `move` refuses a transition that the table does not have (`GatewayBug`).

    held ──▶ ready ──▶ sending ──▶ succeeded | refused | expired
               ▲  ▲        │├────▶ ready       transient failure: backoff, jitter, lifetime
               │  │        │├────▶ uncertain   unknown outcome, or a stop in the middle
               │  │        │└────▶ suspended   the destination's circuit is open
               │  └──uncertain ──▶ succeeded | refused | expired   (after asking the destination)
               └──suspended ──▶ sending          the circuit's probe

A person may cancel what is not being sent (`cancelled`), an uncertain one only by saying so. A hold is no state: it is
a claim in a person's name, whatever the state (docs/decisions/0032).
"""

from __future__ import annotations

from enum import StrEnum

from gateway.errors import GatewayBug


class DeliveryState(StrEnum):
    """Where one final transaction stands (architecture §5)."""

    HELD = "held"
    """An earlier delivery of the same set to the same destination is not finished."""
    READY = "ready"
    SENDING = "sending"
    """Committed before anything is sent: a restart knows what may have happened."""
    UNCERTAIN = "uncertain"
    """May have happened outside: the connector reconciles before any re-send."""
    SUSPENDED = "suspended"
    """Met a configuration fault; does not use up its lifetime."""
    SUCCEEDED = "succeeded"
    REFUSED = "refused"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


_S = DeliveryState

TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    _S.HELD: frozenset({_S.READY, _S.CANCELLED, _S.EXPIRED}),
    _S.READY: frozenset({_S.SENDING, _S.CANCELLED, _S.EXPIRED}),
    _S.SENDING: frozenset({_S.SUCCEEDED, _S.REFUSED, _S.EXPIRED, _S.READY, _S.UNCERTAIN, _S.SUSPENDED}),
    # never suspended: coming back from there as ready would forget that it may have happened
    # cancelled only by a person who says that it may have happened
    _S.UNCERTAIN: frozenset({_S.SUCCEEDED, _S.REFUSED, _S.EXPIRED, _S.READY, _S.UNCERTAIN, _S.CANCELLED}),
    _S.SUSPENDED: frozenset({_S.READY, _S.SENDING, _S.CANCELLED, _S.EXPIRED}),
    _S.SUCCEEDED: frozenset(),
    _S.REFUSED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.CANCELLED: frozenset(),
}

FINAL: frozenset[DeliveryState] = frozenset(s for s, after in TRANSITIONS.items() if not after)


def move(before: DeliveryState, after: DeliveryState) -> DeliveryState:
    """`after`, if the table allows `before → after`; else `GatewayBug`."""
    if after not in TRANSITIONS[before]:
        raise GatewayBug(f"a delivery cannot go from {before} to {after}")
    return after


def sql_list(states: frozenset[DeliveryState]) -> str:
    """`'a', 'b'` in a stable order, for SQL constraints and partial indexes."""
    return ", ".join(f"'{s.value}'" for s in sorted(states))
