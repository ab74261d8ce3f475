"""Turns: the same message sent twice at once is worked on once.

Purpose: a lock for each key that is in use, and none for the others.
Guarantee: the second waits for the first, and then finds its stored answer; a key that nobody uses takes no memory.
Fails: `JournalLate` when the first is not done in time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gateway.errors import JournalLate


@dataclass(slots=True)
class _Shared:
    """A lock that goes away with its last user."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    users: int = 0


class Turns:
    """One per process."""

    def __init__(self) -> None:
        self._shared: dict[str, _Shared] = {}

    @asynccontextmanager
    async def turn(self, key: str | None, due: float) -> AsyncIterator[None]:
        """Alone with this key (None: with everybody), from before `due` (monotonic seconds) on."""
        if key is None:
            yield
            return
        shared = self._shared.setdefault(key, _Shared())
        shared.users += 1
        try:
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await shared.lock.acquire()
            except TimeoutError:
                raise JournalLate("the same message is still being answered") from None
            try:
                yield
            finally:
                shared.lock.release()
        finally:
            shared.users -= 1
            if shared.users == 0:
                del self._shared[key]
