"""A mailbox as the heart sees it, over the IMAP client: places instead of UIDs, the keeper instead of callbacks.

Fails: never for the world's faults (`connectors.mss.mailbox`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from connectors.mailbox_port import Fetched, Folder, Keeper
from connectors.mss.boxes import ApplicativeMailbox
from connectors.mss.mailbox.client import MailboxClient
from connectors.mss.mailbox.model import Mail, Settled, State, StateChange, TooLarge, Where

_WHERE = {Folder.PROCESSED: Where.PROCESSED, Folder.ERROR: Where.ERROR, Folder.OTHER: Where.OTHER}

FILE_SECONDS = 10.0
"""What a mailbox that is away may take before its treated mail is filed later."""


class Box:
    """One applicative mailbox."""

    def __init__(self, settings: ApplicativeMailbox) -> None:
        self._keeper: Keeper | None = None
        self._client = MailboxClient(settings, self._state)

    async def watch(self, keeper: Keeper) -> None:
        """Give every mail to `keeper`, until cancelled."""

        async def known(uidvalidity: int, uids: Collection[int]) -> set[int]:
            places = {_place(uidvalidity, uid): uid for uid in uids}
            return {places[place] for place in await keeper.known([*places])}

        async def keep(mail: Mail) -> None:
            if isinstance(mail, TooLarge):
                fetched = Fetched(_place(mail.uidvalidity, mail.uid), mail.size, None, mail.header)
            else:
                fetched = Fetched(_place(mail.uidvalidity, mail.uid), len(mail.raw), mail.raw)
            await keeper.keep(fetched)

        self._keeper = keeper
        await self._client.watch(keep, known)

    async def file(self, place: str, folder: Folder) -> bool:
        """Flag or move a mail; False when the mailbox cannot be reached now, or refuses."""
        uidvalidity, _, uid = place.partition(":")
        try:
            async with asyncio.timeout(FILE_SECONDS):
                settled = await self._client.settle(int(uidvalidity), int(uid), _WHERE[folder])
        except TimeoutError:
            return False
        return settled is not Settled.REFUSED

    def _state(self, change: StateChange) -> None:
        if self._keeper is not None:
            self._keeper.state(
                change.state is State.CONNECTED,
                change.reason.value if change.reason else "",
                configuration=change.state is State.CONFIGURATION,
            )


def _place(uidvalidity: int, uid: int) -> str:
    return f"{uidvalidity}:{uid}"
