"""The mailroom: watches the mailboxes, treats what was kept, concludes what the DPI has answered, files it.

Purpose: the loop of the way back. One mail after the other: a mail costs milliseconds, and documents of one set must
not overtake one another.

Guarantee: a mail is treated until something is decided for it; a stop at any instant treats it again, and every
decision is one commit. A mail that our own code cannot treat is set aside for a person after `TRIES`; the loop goes on.
Fails: never ends by itself; the journal's faults are waited for.
Source: spec/mssante.md §2.2.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from sqlmodel import Session

from connectors.mailbox_port import (
    Incoming,
    NotTreated,
    Receipts,
    SentDelivery,
    WithMailboxes,
)
from connectors.port import Connector, Outcome, OutcomeClass
from gateway.errors import Finding, JournalUnavailable, rejected
from gateway.exchange import incidents
from gateway.exchange.delivery import DeliveryState
from gateway.exchange.identifiers import Clock
from gateway.exchange.inbox import documents, ending, receipts
from gateway.exchange.inbox.keeping import JournalKeeper, MailboxState
from gateway.exchange.incidents import INCIDENTS
from gateway.exchange.overload import Backlog
from gateway.exchange.publisher import Publisher
from gateway.exchange.steps import reached
from gateway.exchange.telemetry import Telemetry
from gateway.journal import mails, payloads, reports
from gateway.journal.mails import Mail
from gateway.journal.store import Journal
from gateway.rules import RuleBook
from gateway.settings import Settings

log = logging.getLogger("gateway.inbox")

BATCH = 20
SHARED_IDLE = 2.0
"""On a journal that several nodes share: what another one ended is not announced here."""
IDLE = 30.0
"""Seconds between looks when nothing is announced."""
FAULT_PAUSE = 1.0
TRIES = 5
"""Times that a mail is treated when our own code fails on it."""
AWAY = 600.0
"""Seconds after which a mailbox that cannot be reached is told to a person."""
FILE_PAUSE = 15.0
"""Seconds before a mailbox that could not file a mail is asked again."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """`connectors.mailbox_port.KeptMail` over the journal."""

    journal: Journal
    id: int
    mailbox: str
    sha256: str
    size: int
    payload_id: int

    async def read(self) -> bytes:
        return await self.journal.read(lambda s: payloads.whole(s, self.payload_id))


@dataclass(frozen=True, slots=True)
class _Ledger:
    """`connectors.mailbox_port.Ledger` over the journal."""

    journal: Journal
    connector: str
    error_reports: set[int] = field(default_factory=set)
    """Error mails of ours that were asked for: their keys are random, so a mail that gives one back is about it."""

    async def sent(self, keys: Iterable[str]) -> list[SentDelivery]:
        wanted = [*keys]
        found, told = await self.journal.read(
            lambda s: [
                mails.deliveries_by_key(s, wanted, name) for name in (self.connector, incidents.ERRORS)
            ]
        )
        self.error_reports.update(d.id for d in told)
        return [SentDelivery(d.id, d.recipient, d.plan) for d in found]


class Mailroom:
    """One per process. `connectors`: all of them, by name; those that have mailboxes are watched."""

    overdue_pause = 30.0
    """Seconds between looks at receipts that should have come."""

    def __init__(
        self,
        journal: Journal,
        connectors: Mapping[str, Connector],
        book: RuleBook,
        settings: Settings,
        telemetry: Telemetry,
        wake: Callable[[Iterable[str]], None],
        clock: Clock | None = None,
        backlog: Backlog | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self._publisher = publisher or Publisher(None, telemetry)
        self._backlog = backlog
        self._journal = journal
        self._all = connectors
        self._connectors: dict[str, WithMailboxes] = {
            n: c for n, c in connectors.items() if isinstance(c, WithMailboxes)
        }
        self._book = book
        self._settings = settings
        self._telemetry = telemetry
        self._wake_others = wake
        self._clock = clock or Clock()
        self._event = asyncio.Event()
        self._file_event = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._keepers: dict[str, JournalKeeper] = {}

    async def start(self) -> None:
        """Begin to watch and to treat."""
        for name, connector in self._connectors.items():
            for mailbox in connector.mailboxes():
                keeper = JournalKeeper(self._journal, name, mailbox, self._telemetry, self._clock, self.wake)
                self._keepers[mailbox] = keeper
                self._spawn(f"watch-{name}", partial(connector.watch, mailbox, keeper))
        self._spawn("mailroom", self._treat_all)
        self._spawn("mailroom-file", self._file_all)
        self._spawn("mailroom-overdue", self._overdue_all)

    def wake(self) -> None:
        """A mail was kept, or the DPI has answered for one."""
        self._event.set()

    async def stop(self) -> None:
        """End the loops; what is under way is taken up again at the next start."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()

    def states(self) -> dict[str, MailboxState]:
        """How each mailbox is."""
        return {mailbox: keeper.now for mailbox, keeper in self._keepers.items()}

    def trouble(self) -> dict[str, str]:
        """Mailboxes that a person must look at, as `/readyz` warns of them: name → French sentence."""
        late = self._clock.now() - AWAY
        return {
            f"mailbox_{mailbox}": f"La boîte aux lettres « {mailbox} » n’est pas relevée : voir la page /boites."
            for mailbox, state in self.states().items()
            if not state.connected and (state.configuration or state.since < late)
        }

    def _spawn(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self._tasks.append(asyncio.create_task(self._for_ever(name, run), name=name))

    async def _for_ever(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """A loop of ours that ends is our own bug: said, and begun again."""
        while True:
            try:
                await run()
                log.critical("%s ended by itself", name)
            except JournalUnavailable:
                log.warning("%s: the journal is unavailable", name)
            except Exception as e:
                log.critical("%s failed: %s", name, type(e).__name__, exc_info=e)
            await asyncio.sleep(FAULT_PAUSE)

    # --- treating -------------------------------------------------------------------------------------------

    async def _treat_all(self) -> None:
        while True:
            self._event.clear()
            now = self._clock.now()
            waiting = await self._journal.read(partial(mails.due, now=now, limit=BATCH))
            for mail in waiting:
                await self._one(mail)
            if waiting:
                continue
            next_due = await self._journal.read(mails.next_due)
            idle = SHARED_IDLE if self._journal.shared else IDLE
            pause = idle if next_due is None else min(idle, max(0.05, next_due - self._clock.now()))
            try:
                async with asyncio.timeout(pause):
                    await self._event.wait()
            except TimeoutError:
                pass

    async def _one(self, mail: Mail) -> None:
        """One mail, one step further; never raises but for the journal."""
        try:
            if mail.connector not in self._connectors:
                await self._later(mail, IDLE, tried=False)
                return
            wake = await (self._conclude(mail) if mail.state == "ended" else self._treat(mail))
        except JournalUnavailable:
            raise
        except Exception as e:
            log.error("mail %d not treated: %s", mail.id, type(e).__name__, exc_info=e)
            if mail.attempts + 1 < TRIES:
                await self._later(mail, 2.0**mail.attempts)
                return
            wake = await self._set_aside(mail)
        reached("mail", mail.connector)
        self._file_event.set()
        self._wake_others(wake)

    async def _later(self, mail: Mail, seconds: float, *, tried: bool = True) -> None:
        """Put it off; `tried`: our own code failed on it (waiting for something else uses up no try)."""
        due_at = self._clock.now() + seconds
        await self._journal.write(lambda s: mails.postpone(s, mail.id, due_at, tried=tried))

    async def _set_aside(self, mail: Mail) -> set[str]:
        """A bug of ours on this mail: for a person."""
        log.critical("mail %d set aside: our own code cannot treat it", mail.id)
        self._count("quarantine", "INTERNAL")
        now = self._clock.now()
        sentence = "Erreur interne de la passerelle : ce courriel n'a pas pu être traité."
        return await self._journal.write(
            lambda s: ending.failed(s, mail, "quarantine", "INTERNAL", "Erreur interne", sentence, now)
        )

    async def _treat(self, mail: Mail) -> set[str]:
        now = self._clock.now()
        if not mail.sha256:
            self._count("too-large", "")
            sentence = "Courriel trop volumineux pour être lu par la passerelle : il est resté dans la boîte."
            return await self._journal.write(
                lambda s: ending.failed(s, mail, "too-large", "", "Courriel trop volumineux", sentence, now)
            )
        if await self._journal.read(lambda s: mails.treated_before(s, mail)):
            self._count("duplicate", "")
            await self._journal.write(lambda s: mails.treated(s, mail.id, "duplicate", "", (), now))
            log.info("mail %d: the same bytes were kept before", mail.id)
            return set()
        ledger = _Ledger(self._journal, mail.connector)
        treated = await self._connectors[mail.connector].treat(self._kept(mail), ledger)
        match treated:
            case Receipts("dsn", ()) if ledger.error_reports:
                return await self._error_report_bounced(mail, treated, ledger.error_reports, now)
            case Receipts():
                return await self._receipts(mail, treated, now)
            case NotTreated() if ledger.error_reports and treated.failed:
                # it gives an error mail of ours back: told by mail it would come back again, with this one inside
                log.warning("mail %d: an error mail of ours came back, not as a report", mail.id)
                return await self._not_treated(mail, replace(treated, failed=False), now)
            case NotTreated():
                return await self._not_treated(mail, treated, now)
            case Incoming():
                return await self._incoming(mail, treated, now)

    async def _receipts(self, mail: Mail, found: Receipts, now: float) -> set[str]:
        wake = await self._journal.write(
            lambda s: receipts.record(s, mail, found, self._settings, now, self._publisher)
        )
        for fact in found.facts:
            self._telemetry.receipts.labels(fact.event, fact.fact).inc()
            log.info("mail %d: %s %s of delivery %d", mail.id, fact.event, fact.fact, fact.delivery)
        self._count(found.kind, found.unmatched)
        if found.unmatched:
            log.warning("mail %d: a %s for a person: %s", mail.id, found.kind, found.unmatched)
        return wake

    async def _error_report_bounced(
        self, mail: Mail, found: Receipts, error_reports: set[int], now: float
    ) -> set[str]:
        """An error mail did not arrive (its sender is a mailbox of ours): its errors are told again. No incident.
        A report that it is late, or arrived, changes nothing."""

        def operation(session: Session) -> set[str]:
            if mails.treated(session, mail.id, found.kind, "error-report", (), now) and found.bounced:
                for delivery_id in error_reports:
                    reports.failed(session, delivery_id, now)
            return {INCIDENTS}

        self._count(found.kind, "error-report")
        if found.bounced:
            log.warning("mail %d: an error mail of ours came back", mail.id)
        return await self._journal.write(operation)

    async def _not_treated(self, mail: Mail, found: NotTreated, now: float) -> set[str]:
        self._count(found.kind, found.reason)
        log.info("mail %d: %s %s", mail.id, found.kind, found.reason)
        if found.failed:
            return await self._journal.write(
                lambda s: ending.failed(
                    s, mail, found.kind, found.reason, found.sentence, found.sentence, now
                )
            )
        await self._journal.write(lambda s: mails.treated(s, mail.id, found.kind, found.reason, (), now))
        return set()

    async def _incoming(self, mail: Mail, incoming: Incoming, now: float) -> set[str]:
        if self._backlog is not None and await self._backlog.full():
            await self._later(mail, FILE_PAUSE, tried=False)  # too much waits already: it stays kept
            return set()
        while True:
            decided = await self._journal.read(lambda s: documents.decide(s, incoming, self._book))
            if rejected(decided.findings) or not incoming.documents:
                return await self._end(mail, (), decided.findings, now)
            if not decided.new or decided.waits:
                break
            if await documents.forward(
                self._journal, mail, incoming, decided, self._book, self._settings, now, self._publisher
            ):
                if self._backlog is not None:
                    self._backlog.add(len(decided.new))
                log.info("mail %d: %d documents on their way to the DPI", mail.id, len(decided.new))
                return {"dpi"}
        if not decided.waits:
            # another mail brought the same documents, and the DPI has them: said again to who asks again
            done = [Outcome(OutcomeClass.SUCCESS)] * len(incoming.documents)
            return await self._end(mail, done, decided.findings, now, kind="duplicate")
        # until the DPI has answered for the mail that brought the same document before: what becomes of it is the fate
        # of this mail too
        await self._later(mail, FILE_PAUSE, tried=False)
        return set()

    # --- concluding -----------------------------------------------------------------------------------------

    async def _conclude(self, mail: Mail) -> set[str]:
        """The DPI has answered for every document."""
        forwards = await self._journal.read(lambda s: mails.forwards_of(s, mail.id))
        outcomes = [
            Outcome(
                OutcomeClass.SUCCESS if f.state == DeliveryState.SUCCEEDED else OutcomeClass.PERMANENT,
                f.code,
                f.label,
                f.details,
            )
            for f in forwards
        ]
        return await self._end(mail, outcomes, (), self._clock.now())

    async def _end(
        self,
        mail: Mail,
        outcomes: list[Outcome] | tuple[Outcome, ...],
        findings: tuple[Finding, ...],
        now: float,
        kind: str = "inbound",
    ) -> set[str]:
        connector = self._connectors[mail.connector]
        conclusion = await connector.conclude(
            self._kept(mail), outcomes, findings, datetime.fromtimestamp(now, UTC)
        )
        lifetime = self._settings.engine.retry.lifetime
        wake = await self._journal.write(
            lambda s: ending.concluded(s, mail, kind, conclusion, findings, lifetime, now)
        )
        reached("concluded", mail.connector)
        code = conclusion.error.code if conclusion.error else ""
        self._count(kind, code)
        level = logging.WARNING if code else logging.INFO
        log.log(level, "mail %d ended: %s", mail.id, f"error {code}" if code else kind)
        return wake

    # --- receipts that do not come --------------------------------------------------------------------------

    async def _overdue_all(self) -> None:
        """Look for receipts that should have come."""
        while True:
            now = self._clock.now()
            late = await self._journal.read(partial(mails.overdue, now=now, limit=BATCH))
            for delivery_id in late:
                wake = await self._journal.write(
                    partial(
                        receipts.overdue,
                        delivery_id=delivery_id,
                        connectors=self._all,
                        settings=self._settings,
                        now=now,
                        publisher=self._publisher,
                    )
                )
                self._telemetry.receipts.labels("Z02", "never").inc()
                log.warning("no receipt of delivery %d came in time", delivery_id)
                self._wake_others(wake)
            if not late:
                await asyncio.sleep(self.overdue_pause)

    # --- filing ---------------------------------------------------------------------------------------------

    async def _file_all(self) -> None:
        """Tell the mailboxes what became of their mails; one that is away is asked again later."""
        after, left = 0, False
        while True:
            self._file_event.clear()
            waiting = await self._journal.read(partial(mails.to_file, after=after, limit=BATCH))
            # a mailbox that is away, or refuses a folder, must not hold up the others: each round goes through them all
            left |= not all(await asyncio.gather(*map(self._file, waiting)))
            if len(waiting) == BATCH:
                after = waiting[-1].id
                continue
            pause = FILE_PAUSE if left else IDLE
            after, left = 0, False
            try:
                async with asyncio.timeout(pause):
                    await self._file_event.wait()
            except TimeoutError:
                pass

    async def _file(self, mail: mails.ToFile) -> bool:
        connector = self._connectors.get(mail.connector)
        ours = connector is not None and mail.mailbox in connector.mailboxes()
        keeper = self._keepers.get(mail.mailbox)
        if ours and keeper is not None and not keeper.now.connected:
            return False  # each try would wait for it
        if ours and connector and not await connector.file(mail.mailbox, mail.place, ending.folder_of(mail)):
            return False
        now = self._clock.now()  # a mailbox that is not ours any more has nothing to be told
        await self._journal.write(partial(mails.filed, mail_id=mail.id, now=now))
        return True

    def _kept(self, mail: Mail) -> _Kept:
        return _Kept(self._journal, mail.id, mail.mailbox, mail.sha256, mail.size, mail.payload_id)

    def _count(self, kind: str, reason: str) -> None:
        self._telemetry.mails_treated.labels(kind, reason).inc()
