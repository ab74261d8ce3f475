"""Everything goes wrong at once: no mail is lost, none is kept twice under one name, all are put away."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from connectors.mss.mailbox import Fetched, MailboxClient, Settled, Where
from connectors.mss.simulator import Fault, OperatorSimulator
from gateway.errors import JournalUnavailable
from tests.mss.mailbox.watching import Kept, settings, watching
from tests.mss.simulator_client import DOCTOR, mail, running, send

MAILS = 60


async def _weather(operator: OperatorSimulator, kept: Kept, dice: random.Random) -> None:
    """Faults of the operator and of the journal, until cancelled."""
    while True:
        await asyncio.sleep(dice.uniform(0.01, 0.08))
        match dice.randrange(7):
            case 0 | 1:
                operator.plan(Fault("imap_cut", DOCTOR, times=dice.randint(1, 2)))
            case 2:
                operator.plan(Fault("imap_busy", DOCTOR))
            case 3:
                await operator.down()
                await asyncio.sleep(dice.uniform(0, 0.1))
                await operator.up()
            case 4:
                kept.fault = JournalUnavailable("busy")
                await asyncio.sleep(dice.uniform(0, 0.1))
                kept.fault = None
            case 5:
                operator.plan(Fault("imap_login", DOCTOR))
            case _:
                kept.seconds = dice.choice((0, 0.005))


async def _put_away(
    client: MailboxClient, kept: Kept, dice: random.Random, total: asyncio.Future[int]
) -> None:
    """File each mail once it is kept, again when it was refused, as the heart does; some are given up meanwhile."""
    at = 0
    while not total.done() or at < total.result():
        if at == len(kept.mails):
            await asyncio.sleep(0.005)
            continue
        try:
            async with asyncio.timeout(dice.choice((0.02, 5))):
                if await client.settle(*kept.names[at], Where.PROCESSED) is not Settled.REFUSED:
                    at += 1
        except TimeoutError:
            pass


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_lost_or_kept_twice(tmp_path: Path, seed: int) -> None:
    """Cuts in the middle of mails, refusals, an operator that comes and goes, a journal that cannot write."""
    dice, kept = random.Random(seed), Kept()
    async with running(tmp_path) as operator:
        made = settings(
            operator, processed="Fait", retry_first=0.02, retry_longest=0.1, retry_configuration=0.05
        )
        async with watching(made, kept) as client:
            total = asyncio.get_running_loop().create_future()
            filing = asyncio.create_task(_put_away(client, kept, dice, total))
            weather = asyncio.create_task(_weather(operator, kept, dice))
            sent = 0
            while sent < MAILS:
                try:
                    sent += (await send(operator, mail(sent), notify="NEVER")).startswith("250")
                except OSError:
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.02)
            weather.cancel()
            await asyncio.wait({weather})
            await operator.up()
            operator.faults.clear()
            kept.fault = None
            # a cut at the end of a sending leaves one mail more
            total.set_result(len(operator.mails))
            async with asyncio.timeout(30):
                await filing
        inbox, done = (operator.boxes.folder(DOCTOR, f).messages for f in ("INBOX", "Fait"))
        assert sorted(m.body for m in done) == sorted(m.raw for m in operator.mails) and not inbox
    assert len(set(kept.names)) == len(kept.names) == len(operator.mails)
    given = sorted(m.raw for m in kept.mails if isinstance(m, Fetched))
    assert given == sorted(m.content for m in done)
    assert any(told.startswith("disconnected") for told in kept.told)
