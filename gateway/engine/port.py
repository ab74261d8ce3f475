"""The engine port: the heart enqueues and settles in the journal; an engine only brings due deliveries to
the runner.

Purpose: one machine (embedded, SQLite) and several nodes (PostgreSQL) behind the same three calls.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from gateway.journal.claims import Claimed

Run = Callable[[Claimed], Coroutine[Any, Any, None]]
"""Runs one claimed delivery to the end of its attempt; never raises."""

Allowance = Callable[[str, int], int]
"""`allowance(destination, free)`: how many deliveries may be claimed now (0 while a circuit is open…)."""


class Engine(Protocol):
    """Brings due deliveries to the runner."""

    async def start(self, run: Run, allowance: Allowance) -> None:
        """Begin to claim."""
        ...

    def wake(self, destinations: Iterable[str]) -> None:
        """Deliveries for these destinations have just been committed."""
        ...

    async def stop(self, timeout: float) -> None:
        """Claim nothing more; wait up to `timeout` seconds for what is under way."""
        ...

    def drop(self) -> None:
        """Cut what is under way: this process is not its owner any more."""
        ...

    def in_hand(self) -> int:
        """Deliveries under way."""
        ...
