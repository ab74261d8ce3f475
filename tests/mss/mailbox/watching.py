"""A client that watches, and what it was given: the journal of these tests is a list."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from connectors.mss.mailbox import Fetched, ImapSettings, Mail, MailboxClient, State, StateChange
from connectors.mss.simulator import OperatorSimulator
from tests.mss.simulator_client import DOCTOR


class Kept:
    """Keeps what it is given; `fault`, when set, is raised instead."""

    def __init__(self) -> None:
        self.mails: list[Mail] = []
        self.asked: list[tuple[int, list[int]]] = []
        self.states: list[StateChange] = []
        self.fault: Exception | None = None
        self.refuse: Callable[[Mail], Exception | None] = lambda _mail: None
        self.seconds = 0.0

    async def keep(self, mail: Mail) -> None:
        fault = self.fault or self.refuse(mail)
        if fault is not None:
            raise fault
        await asyncio.sleep(self.seconds)
        self.mails.append(mail)

    async def known(self, uidvalidity: int, uids: list[int]) -> set[int]:
        self.asked.append((uidvalidity, uids))
        return {u for u in uids if (uidvalidity, u) in self.names}

    @property
    def names(self) -> list[tuple[int, int]]:
        return [(m.uidvalidity, m.uid) for m in self.mails]

    @property
    def raws(self) -> list[bytes]:
        return [m.raw for m in self.mails if isinstance(m, Fetched)]

    @property
    def told(self) -> list[str]:
        """`connected`, `disconnected:cut`, …"""
        return [s.state.value + (f":{s.reason.value}" if s.reason else "") for s in self.states]


def settings(operator: OperatorSimulator, user: str = DOCTOR, **options: Any) -> ImapSettings:
    """Of a client that tries again quickly."""
    host = {} if operator.tls == "none" else {"host": "localhost"}
    quick = {"retry_first": 0.05, "retry_longest": 0.4, "retry_configuration": 0.2}
    return ImapSettings.model_validate({**operator.imap_settings(user), **host, **quick, **options})


@asynccontextmanager
async def watching(made: ImapSettings, kept: Kept) -> AsyncIterator[MailboxClient]:
    """A client that watches until the block ends; its end must be prompt."""
    client = MailboxClient(made, kept.states.append)
    task = asyncio.create_task(client.watch(kept.keep, kept.known))
    try:
        yield client
        assert not task.done(), task
    finally:
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=1)
        assert done, "the watch does not stop"
        assert task.cancelled()


async def until(condition: Callable[[], Any], seconds: float = 60) -> None:
    """Wait for something that another task does."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def connected(kept: Kept) -> None:
    """The client is in its folder."""
    await until(lambda: kept.states and kept.states[-1].state is State.CONNECTED)
