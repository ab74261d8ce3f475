"""Commit 1 of the ACK path: the bytes of a message, on stable storage before anything else is done with them.

Purpose: a small message is one operation; a big one is written in parts, so that others' commits come in between
(docs/decisions/0012).

Guarantee: when `receive` returns, the bytes are stored and held by the message's row, or the message was known. What
was written of a message that did not come so far is removed, at the next start at the latest.
Fails: `JournalUnavailable`; then the message was not received, or its row has no answer and holds nothing back.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from gateway.errors import JournalUnavailable
from gateway.journal import payloads, records
from gateway.journal.records import NewMessage, Received
from gateway.journal.store import Journal

log = logging.getLogger("gateway.exchange")

COPIED_BACK = 4
"""Parts after which the WAL is copied back beside the writer."""
WHOLE = 2 * payloads.PART
"""Bytes up to which a message is one operation of the journal."""

_removals: set[asyncio.Task[None]] = set()
"""Under way (a task that nobody holds may vanish)."""


async def receive(journal: Journal, new: NewMessage, left: Callable[[], float]) -> Received:
    """Keep the bytes of `new` unless it is known. `left`: seconds until the ACK is due."""
    if len(new.raw) <= WHOLE:
        return await journal.write(lambda s: records.receive(s, new), left(), leave=True)
    known = await journal.read(lambda s: records.known(s, new), left())
    if known is not None:
        return known
    async with store_parts(journal, new.sha256, new.raw, left) as (payload_id, held):
        received = await journal.write(lambda s: records.receive(s, new, payload_id), left(), leave=True)
        if received.new:
            held()
    return received


@asynccontextmanager
async def store_parts(
    journal: Journal, sha256: str, raw: bytes, left: Callable[[], float] = lambda: math.inf
) -> AsyncIterator[tuple[int, Callable[[], None]]]:
    """Write a big payload in parts, each a commit of its own: its row, still pending, and what to call once a commit
    holds it. Otherwise it is removed. `left`: seconds that remain for it.
    """
    payload_id = await journal.write(lambda s: payloads.begin(s, sha256, len(raw)), left(), leave=True)
    kept = False

    def held() -> None:
        nonlocal kept
        kept = True

    try:
        view = memoryview(raw)
        for position, start in enumerate(range(0, len(view), payloads.PART)):
            part = view[start : start + payloads.PART]
            await journal.write(
                partial(payloads.add_part, payload_id=payload_id, position=position, content=part),
                left(),
                leave=True,
            )
            if position % COPIED_BACK == COPIED_BACK - 1:
                await journal.copy_back()
        yield payload_id, held
    finally:
        if not kept:
            # beside the answer: whatever is left of it after a stop is removed at the next start
            _begin_removal(journal, payload_id)


def _begin_removal(journal: Journal, payload_id: int) -> None:
    task = asyncio.create_task(_remove(journal, payload_id), name=f"remove-payload-{payload_id}")
    _removals.add(task)
    task.add_done_callback(_removals.discard)


async def _remove(journal: Journal, payload_id: int) -> None:
    try:
        while await journal.write(partial(payloads.remove_some, payload_id=payload_id)):
            pass
    except JournalUnavailable:
        log.warning("what was written of a message that was not accepted is removed at the next start")


async def remove_pending(journal: Journal, payload_ids: Sequence[int] | None = None) -> int:
    """Remove the payloads that a stop left without their message: all (at start-up), or those given. How many."""
    left = await journal.read(payloads.pending) if payload_ids is None else payload_ids
    for payload_id in left:
        while await journal.write(partial(payloads.remove_some, payload_id=payload_id)):
            pass
    return len(left)
