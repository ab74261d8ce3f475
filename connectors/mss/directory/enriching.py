"""The parties of a received mail completed from the directory, within a bounded time. I/O.

Guarantee: never raises (but for its own cancellation), never takes longer than `patience`, never asks about a patient's
address; without an answer the parties are given back as they came.
Source: spec/mssante.md §2.3 (Note 1: identity data when a directory can be asked).
"""

from __future__ import annotations

import asyncio
import logging

from connectors.mss.directory.client import Directory
from connectors.mss.directory.failures import DirectoryUnavailable
from connectors.mss.directory.model import Owner
from connectors.mss.directory.parties import addresses_to_ask, enriched
from connectors.mss.inbound.mdm import Parties

log = logging.getLogger("connectors.mss.directory")

MOST = 20
"""Addresses of one mail that are asked about, the sender's first."""
_SHARE = 0.8
"""Part of the patience after which an older answer serves."""


async def enrich(parties: Parties, client: Directory | None) -> Parties:
    """`parties` with what the directory says in time of sender and recipients."""
    if client is None:
        return parties
    tasks: dict[str, asyncio.Task[Owner | None]] = {}
    try:
        for address in addresses_to_ask(parties)[:MOST]:
            tasks[address] = asyncio.create_task(client.owner_of(address, client.patience * _SHARE))
        if tasks:
            await asyncio.wait(tasks.values(), timeout=client.patience)
        return enriched(parties, _owners(tasks))
    except Exception as e:
        log.error("directory: parties left as they came (%s)", type(e).__name__)
        return parties
    finally:
        for task in tasks.values():
            task.cancel()


def _owners(tasks: dict[str, asyncio.Task[Owner | None]]) -> dict[str, Owner]:
    """What was found by the tasks that ended."""
    owners: dict[str, Owner] = {}
    for address, task in tasks.items():
        if not task.done() or task.cancelled():
            continue
        error = task.exception()
        if error is None:
            if (owner := task.result()) is not None:
                owners[address] = owner
        elif not isinstance(error, DirectoryUnavailable):
            log.error("directory: a look-up failed (%s)", type(error).__name__)
    return owners
