"""One session of a mailbox that is watched: what is new, what waits, what is put away.

Guarantee: a mail is forgotten by this module only when `keep` returned for it or when it is not in the folder any more;
the whole folder is compared with `known` at the start of each session and every hour.
Fails: `MailboxFault` and `No` end the session; the client begins another one, with the same `Memory`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar
from uuid import uuid4

from connectors.mss.mailbox.model import (
    Fetched,
    LiteralTooLong,
    Mail,
    MailboxFault,
    Reason,
    Settled,
    State,
    TooLarge,
    Where,
)
from connectors.mss.mailbox.session import FLAGGED, MDN_SENT, SEEN, No, Selected, Session
from connectors.mss.mailbox.settings import ImapSettings
from gateway.errors import EnvironmentFault

log = logging.getLogger("gateway.mailbox")

_T = TypeVar("_T")
Keep = Callable[[Mail], Awaitable[None]]
Known = Callable[[int, list[int]], Awaitable[set[int]]]

HEADER = 65_536
"""Bytes of the header of a mail that is too large."""
_ASKED = 500
"""UIDs in one question to `known` and in one command."""
_SIZED = 100
"""Mails whose size is asked for at once."""
RESCAN = 3600.0
"""Seconds between two comparisons of the whole folder, for what a server forgot to tell; longest pause of a mail."""
_STUCK = 5
"""Failures after which a mail is told to a person, and a `settle` is given up."""


class Tell(Protocol):
    """Tells a state, when it changed."""

    def __call__(self, state: State, reason: Reason | None = None, detail: str = "") -> None: ...


@dataclass(slots=True)
class Asked:
    """A `settle` under way."""

    uidvalidity: int
    uid: int
    where: Where
    mdn_sent: bool
    done: asyncio.Future[Settled]
    faults: int = 0


@dataclass(slots=True)
class Trouble:
    """What happened to a mail that is not kept yet."""

    failed: int = 0
    """Times that it alone could not be read or kept."""
    held: int = 0
    not_before: float = 0.0
    """Time of the event loop of its next try."""
    size: int = 0
    """Bytes, when the server announced more than its RFC822.SIZE."""


class Memory:
    """What lasts from one session of a mailbox to the next."""

    def __init__(self, settings: ImapSettings, tell: Tell) -> None:
        self.settings = settings
        self.tell = tell
        self.asked: deque[Asked] = deque()
        self.woken = asyncio.Event()
        self.troubles: dict[tuple[int, int], Trouble] = {}
        """By (uidvalidity, uid)."""
        self.waiting = 0
        self._pauses = 0

    def stuck(self) -> int:
        """Mails that failed many times."""
        return sum(t.failed >= _STUCK for t in self.troubles.values())

    def progress(self) -> None:
        """The mailbox works: the next fault is the first of its row."""
        self._pauses = 0

    def next_pause(self) -> float:
        """Seconds, doubled by each fault in a row, with jitter (all mailboxes of an operator fall together)."""
        s = self.settings
        longest = min(s.retry_longest, s.retry_first * 2.0 ** min(self._pauses, 30))
        self._pauses += 1
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  # no secret


class _Held(Exception):
    """`keep` or `known` cannot work now."""


class Watch:
    """One session, its folder open."""

    def __init__(
        self, memory: Memory, session: Session, selected: Selected, keep: Keep, known: Known
    ) -> None:
        self._memory, self._session, self._selected = memory, session, selected
        self._settings = memory.settings
        self._keep, self._known = keep, known
        self._uidvalidity = selected.uidvalidity
        self._waiting: set[int] = set()
        self._highest = 0
        self._changed = True
        """Mails came that were not looked for yet."""
        self._rescan = 0.0
        self._next_try = 0.0
        self._flags_refused = False
        self._idle = self._settings.idle and "IDLE" in session.capabilities
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Until the session ends, by an exception."""
        memory = self._memory
        held = False
        while True:
            memory.woken.clear()
            await self._settle_all()
            if self._loop.time() >= self._next_try:
                try:
                    await self._look()
                    if not held:
                        memory.tell(State.CONNECTED)
                    await self._drain()
                    held = False
                    memory.progress()
                    memory.tell(State.CONNECTED)
                except _Held:
                    held = True
                    memory.tell(State.HELD, Reason.KEEP)
                    self._next_try = self._loop.time() + memory.next_pause()
            memory.waiting = len(self._waiting)
            await self._wait()

    async def _wait(self) -> None:
        """For news, for something to put away, or for the time of the next try."""
        now = self._loop.time()
        self._take_news()
        held = self._next_try > now
        if self._memory.asked or (self._changed and not held):
            return
        due = self._next_try if held else min([self._rescan, *map(self._not_before, self._waiting)])
        seconds = min(self._settings.idle_renew if self._idle else self._settings.poll, max(0.05, due - now))
        if self._idle:
            self._idle = await self._session.idle(seconds)
            return
        try:
            # not wait_for: in Python 3.11 it may swallow a cancellation that comes with the event
            async with asyncio.timeout(seconds):
                await self._memory.woken.wait()
        except TimeoutError:
            await self._session.look()

    def _take_news(self) -> None:
        self._changed = self._changed or self._session.news
        self._session.news = False

    def _not_before(self, uid: int) -> float:
        trouble = self._memory.troubles.get((self._uidvalidity, uid))
        return trouble.not_before if trouble else 0.0

    # --- new mails
    # ---------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """What is in the folder and not kept, into `_waiting`."""
        self._take_news()
        whole = self._loop.time() >= self._rescan
        if not whole and not self._changed:
            return
        low = 1 if whole else self._highest + 1
        # `n:*` names the last mail even when it is below n
        found = [u for u in await self._session.search(f"UID {low}:*") if u >= low]
        kept: set[int] = set()
        for at in range(0, len(found), _ASKED):
            kept |= await self._held_or(self._known(self._uidvalidity, found[at : at + _ASKED]))
        self._changed = False
        self._waiting.update(u for u in found if u not in kept)
        self._highest = max([self._highest, *found[-1:]])
        if whole:
            self._rescan = self._loop.time() + RESCAN
            self._waiting.intersection_update(found)
            for name in [
                n for n in self._memory.troubles if n[0] != self._uidvalidity or n[1] not in self._waiting
            ]:
                del self._memory.troubles[name]
            if kept:
                # kept, then stopped before the flag
                unseen = [u for u in await self._session.search("UNSEEN") if u in kept]
                for at in range(0, len(unseen), _ASKED):
                    await self._seen(unseen[at : at + _ASKED])

    async def _drain(self) -> None:
        """Give what waits to `keep`, each once, what was in trouble last; what fails alone waits for its next time."""
        now = self._loop.time()
        todo = sorted((u for u in self._waiting if self._not_before(u) <= now), key=self._rank)
        for at in range(0, len(todo), _SIZED):
            batch = todo[at : at + _SIZED]
            facts = await self._session.facts(batch)
            for uid in batch:
                here = facts.get(uid)
                if here is None or await self._take(uid, here.size or 0, here.internal_date):
                    self._waiting.discard(uid)
                    self._memory.troubles.pop((self._uidvalidity, uid), None)
                    self._memory.progress()
                self._memory.waiting = len(self._waiting)
                await self._settle_all()

    def _rank(self, uid: int) -> tuple[int, int]:
        trouble = self._memory.troubles.get((self._uidvalidity, uid))
        return (trouble.failed + trouble.held if trouble else 0, uid)

    async def _take(self, uid: int, size: int, date: datetime | None) -> bool:
        """Read one mail, have it kept, flag it. False: not now. The body lives in this call alone."""
        name = (self._uidvalidity, uid)
        trouble = self._memory.troubles.setdefault(name, Trouble())
        # counted before: a mail that ends the session must not be the first of the next one
        trouble.failed += 1
        pause = min(RESCAN, self._settings.retry_first * 2.0 ** min(trouble.failed, 30))
        trouble.not_before = self._loop.time() + pause
        try:
            mail = await self._read(uid, max(size, trouble.size), date)
            if mail is None:
                return True
            await self._held_or(self._keep(mail))
        except _Held:
            trouble.failed -= 1
            trouble.held += 1
            trouble.not_before = 0.0
            raise
        except LiteralTooLong as e:
            trouble.size = e.size
            trouble.not_before = 0.0
            raise
        except MailboxFault as e:
            self._failed(trouble, name, e.reason)
            raise
        except No:
            self._failed(trouble, name, Reason.BUSY)
            return False
        except Exception as e:
            log.error(
                "mailbox %s: mail %d-%d not kept: %s (%s)",
                self._settings.name,
                *name,
                type(e).__name__,
                uuid4().hex[:12],
                exc_info=e,
            )
            self._failed(trouble, name, Reason.KEEP)
            return False
        del mail
        await self._seen((uid,))
        return True

    def _failed(self, trouble: Trouble, name: tuple[int, int], reason: Reason) -> None:
        if trouble.failed == _STUCK:
            log.error(
                "mailbox %s: mail %d-%d failed %d times, somebody should look: %s",
                self._settings.name,
                *name,
                _STUCK,
                reason,
            )

    async def _read(self, uid: int, size: int, date: datetime | None) -> Mail | None:
        """The mail; None when it is gone."""
        longest = self._settings.max_mail_bytes
        if size > longest:
            header = await self._session.header(uid, HEADER)
            return None if header is None else TooLarge(self._uidvalidity, uid, size, header, date)
        raw = await self._session.body(uid, longest)
        return None if raw is None else Fetched(self._uidvalidity, uid, raw, date)

    async def _held_or(self, work: Awaitable[_T]) -> _T:
        try:
            return await work
        except EnvironmentFault:
            raise _Held from None

    async def _seen(self, uids: Iterable[int]) -> None:
        """A courtesy to people: the journal alone says what is kept."""
        try:
            await self._session.flag(uids, (SEEN,))
        except No:
            if not self._flags_refused:
                self._flags_refused = True
                log.warning("mailbox %s: flags are refused", self._settings.name)

    # --- treated mails
    # ---------------------------------------------------------------------------------------------

    async def _settle_all(self) -> None:
        """Everything asked for; what a fault interrupts goes last, for the next session."""
        queue = self._memory.asked
        while queue:
            asked = queue.popleft()
            if asked.done.done():
                continue
            try:
                result = await self._settle(asked)
            except MailboxFault:
                asked.faults += 1
                if asked.faults < _STUCK:
                    queue.append(asked)
                elif not asked.done.done():
                    asked.done.set_result(Settled.REFUSED)
                raise
            except asyncio.CancelledError:
                # the watch stops, not who asked
                queue.appendleft(asked)
                raise
            if not asked.done.done():
                asked.done.set_result(result)

    async def _settle(self, asked: Asked) -> Settled:
        # under another UIDVALIDITY this number is another mail
        if asked.uidvalidity != self._uidvalidity or not await self._session.has(asked.uid):
            return Settled.GONE
        folder = self._settings.folder_for(asked.where)
        flags = [SEEN]
        if asked.where is Where.ERROR:
            flags.append(FLAGGED)
        if asked.mdn_sent and self._selected.keeps(MDN_SENT):
            flags.append(MDN_SENT)
        try:
            await self._session.flag((asked.uid,), flags)
        except No:
            return Settled.REFUSED
        if not folder:
            return Settled.FLAGGED
        if await self._session.move(asked.uid, folder):
            self._waiting.discard(asked.uid)
            return Settled.MOVED
        if not await self._session.has(asked.uid):
            return Settled.GONE
        log.error("mailbox %s: the folder for %s mails is refused", self._settings.name, asked.where)
        return Settled.REFUSED
