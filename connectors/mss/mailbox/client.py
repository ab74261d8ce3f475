"""The client of one applicative mailbox: watches its folder, hands each mail over, puts treated mails away.

Purpose: `watch(keep, known)` until cancelled; `settle` beside it.
Guarantee: each mail that is in the folder is given to `keep` until `keep` returned for it once; only then is it flagged
`\\Seen`. Nothing is deleted. One body is in memory at a time. A mail that cannot be read or kept holds no other back.
Fails: never for the world's faults: the state is told, and it is tried again.
Source: RFC 3501 §2.3.1.1 (UIDVALIDITY), 2177; spec/mssante.md §2.2.

**Twice.** `keep` is at-least-once. The same (uidvalidity, uid) comes again when the process stops, or the session is
cut, between what `keep` commits and the next question to `known`, unless `known` answers for it. When the operator
restores a folder, its UIDVALIDITY changes and all its mails look new: `known` is asked with the new one and each is
given again; whoever keeps them must know a mail by its content.

**One session for all.** `settle` goes through the session that watches: an account has few connections, a second
session would have its own view of the folder, and putting away is never urgent. It waits at most for the mail being
read.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from uuid import uuid4

from connectors.mss.mailbox.login import log_in
from connectors.mss.mailbox.model import MailboxFault, Reason, Settled, State, StateChange, Where
from connectors.mss.mailbox.session import No, Session
from connectors.mss.mailbox.settings import ImapSettings
from connectors.mss.mailbox.watch import Asked, Keep, Known, Memory, Watch

log = logging.getLogger("gateway.mailbox")


class MailboxClient:
    """One mailbox. For one event loop; `watch` runs once at a time."""

    def __init__(self, settings: ImapSettings, state: Callable[[StateChange], None]) -> None:
        """`state` is called in the event loop at each change, and must not wait."""
        self.settings = settings
        self.state: StateChange | None = None
        """The last one told; None before the first connection."""
        self._detail = ""
        self._tell_state = state
        self._memory = Memory(settings, self._tell)
        self._session: Session | None = None

    @property
    def waiting(self) -> int:
        """Mails in the folder that are not kept yet, as last seen (for a metric)."""
        return self._memory.waiting

    @property
    def stuck(self) -> int:
        """Those of them that were tried many times without success: a person should look."""
        return self._memory.stuck()

    async def watch(self, keep: Keep, known: Known) -> None:
        """Give every mail of the folder to `keep`, then each new one within a second (IDLE) or `poll` seconds.

        `known(uidvalidity, uids)` answers which of at most 500 UIDs are kept already. `keep` and `known` say that they
        cannot work now by an `EnvironmentFault`: nothing is flagged, all waits. Anything else that `keep` raises is a
        bug: logged with a correlation id, and that mail alone waits. Ends only when cancelled.
        """
        while True:
            detail = ""
            try:
                async with Session.opened(self.settings) as session:
                    await log_in(session, self.settings)
                    selected = await session.select()
                    self._session = session
                    await Watch(self._memory, session, selected, keep, known).run()
            except MailboxFault as e:
                reason, detail = e.reason, e.detail
            except No:
                reason = Reason.BUSY
            except Exception as e:
                # the mailbox must go on being read: our own fault ends this session alone
                log.error(
                    "mailbox %s: %s (%s)",
                    self.settings.name,
                    type(e).__name__,
                    uuid4().hex[:12],
                    exc_info=e,
                )
                reason = Reason.BUG
            finally:
                self._session = None
            self._tell(State.CONFIGURATION if reason.configuration else State.DISCONNECTED, reason, detail)
            pause = self._memory.next_pause()
            if reason.configuration and not reason.local:
                # an account must not be locked by our tries; a little apart from the other mailboxes
                pause = self.settings.retry_configuration * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(pause)

    async def settle(self, uidvalidity: int, uid: int, where: Where, *, mdn_sent: bool = False) -> Settled:
        """Flag a treated mail and take it to the folder of `where`. Waits until the mailbox could be reached.

        Idempotent: may be asked again after a crash, or later when it was refused. `mdn_sent` adds `$MDNSent`
        (RFC 3503) where the server keeps it. May be cancelled: what was not begun is forgotten.
        """
        asked = Asked(uidvalidity, uid, where, mdn_sent, asyncio.get_running_loop().create_future())
        self._memory.asked.append(asked)
        self._memory.woken.set()
        if self._session is not None:
            self._session.wake()
        return await asked.done

    def _tell(self, state: State, reason: Reason | None = None, detail: str = "") -> None:
        """Tell a change, once; in the log also another `detail` of the same."""
        change = StateChange(self.settings.name, state, reason)
        if (change, detail) == (self.state, self._detail):
            return
        changed, self.state, self._detail = change != self.state, change, detail
        # the alert is for who is told; what only this client knows goes to the log
        log.log(
            logging.WARNING if detail else logging.INFO,
            "mailbox %s: %s",
            change.mailbox,
            ": ".join(filter(None, (state.value, reason and reason.value, detail))),
        )
        if changed:
            self._tell_state(change)
