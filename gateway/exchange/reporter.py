"""The reporter: errors that nobody heard of become deliveries to the error mailboxes.

Purpose: one task that looks whenever an incident was noted, and when a group is due.

Guarantee: each error is told by its own mail at once, but for a flood (`plan`): then those beyond `burst` go together.
A report and the mark that its errors were told are one commit: a stop forgets nothing and tells nothing twice. A report
that fails is no incident; its errors are given back after `repeat` seconds and told again, to the mailboxes that the
settings name then. While reports do not get through, `trouble` says so: one alert when it begins, one when it ends.

Fails: never ends before `stop`. A fault of the journal is waited for; a bug of the connector's planning is logged, and
tried again.
Source: spec/mssante.md §2.6 (systematic sending of every error to a configurable mailbox); docs/decisions/0029.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlmodel import Session

from connectors.mailbox_port import IncidentReport, WithIncidents
from connectors.port import PlannedDelivery
from gateway.errors import JournalUnavailable
from gateway.exchange.circuit import Circuit
from gateway.exchange.identifiers import Clock
from gateway.exchange.incidents import ERRORS
from gateway.exchange.steps import reached
from gateway.exchange.telemetry import Telemetry
from gateway.hl7.transmission import Action
from gateway.journal import queue, reports
from gateway.journal.queue import NewDelivery
from gateway.journal.reports import Recent, Waiting
from gateway.journal.store import Journal
from gateway.settings import ErrorSettings

log = logging.getLogger("gateway.errors")

READ = 2_000
"""Errors of one family that are looked at, and told, at once: a longer flood is told in several mails."""
MANY = 100
"""So many errors that wait are looked at once in `FAULT_PAUSE`, whatever comes: looking costs time."""
IDLE = 30.0
FAULT_PAUSE = 1.0
UNREACHABLE = "error_mailbox"
SENTENCE = (
    "Des courriels d’erreur ne parviennent pas à la boîte d’erreurs : {number} en attente. Les erreurs sont lisibles "
    "sur la page « erreurs »."
)


# --- the flood rule -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pending:
    """An error to tell, and the mailboxes that must hear of it."""

    id: int
    at: float
    family: str
    mailboxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Due:
    """What to tell now: each batch is one mail (for each of its mailboxes); and when to look again."""

    batches: tuple[tuple[int, ...], ...]
    look_at: float | None


def plan(pending: Sequence[Pending], recent: Sequence[Recent], now: float, burst: int, window: float) -> Due:
    """The flood rule. Pure; `recent`: reports of the last two windows at least, oldest first.

    A mailbox gets at most `burst` mails of one family in any `window` seconds. An error that comes while that many
    were sent waits; all that wait go in one mail as soon as one more is allowed. Others have their own mail at once.
    """
    sent: dict[tuple[str, str], list[float]] = {}
    for report in (
        r for r in recent if r.at <= now
    ):  # later ones: the clock was set back, nothing waits for it
        sent.setdefault((report.mailbox, report.family), []).append(report.at)
    groups: dict[tuple[str, tuple[str, ...]], list[Pending]] = {}
    for item in pending:
        groups.setdefault((item.family, item.mailboxes), []).append(item)
    batches: list[tuple[int, ...]] = []
    looks: list[float] = []
    for (family, mailboxes), items in groups.items():
        times = [sent.setdefault((mailbox, family), []) for mailbox in mailboxes]
        late = [i for i in items if any(_waited(i.at, t, burst, window) for t in times)]
        waited = {i.id for i in late}
        fresh = [i for i in items if i.id not in waited]
        queued = [tuple(i.id for i in late)] if late else []
        queued += [(i.id,) for i in fresh]
        while queued:
            opens = max((_opens(t, burst, window) for t in times), default=now)
            if opens > now:
                looks.append(opens)
                break
            batches.append(queued.pop(0))
            for t in times:
                t.append(now)
    return Due(tuple(batches), min(looks, default=None))


def _opens(times: Sequence[float], burst: int, window: float) -> float:
    """From when on one more mail is allowed."""
    return times[-burst] + window if len(times) >= burst else 0.0


def _waited(at: float, times: Sequence[float], burst: int, window: float) -> bool:
    """True when an error noted at `at` met a full window, then or since."""
    looked = [at, *(t for t in times if t >= at)]
    return any(sum(1 for t in times if moment - window < t <= moment) >= burst for moment in looked)


# --- the task -------------------------------------------------------------------------------------------------------


class ErrorReporter:
    """One per process. `connector` is None when the settings have no `[connectors.errors]`."""

    def __init__(
        self,
        journal: Journal,
        connector: WithIncidents | None,
        settings: ErrorSettings,
        lifetime: float,
        telemetry: Telemetry,
        circuit: Circuit | None,
        wake: Callable[[Iterable[str]], None],
        clock: Clock | None = None,
    ) -> None:
        self._journal = journal
        self._connector = connector
        self._settings = settings
        self._lifetime = lifetime
        self._telemetry = telemetry
        self._circuit = circuit
        self._wake_deliveries = wake
        self._clock = clock or Clock()
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._last = 0
        self._alerted = False
        self._many = False
        self._told_alone = False

    async def start(self) -> None:
        """Begin; what a stop left untold is looked at first."""
        self._last = await self._journal.read(reports.last)
        for flow in ("outbound", "inbound", "refused", "receipt"):
            self._telemetry.incidents.labels(flow)
        self._telemetry.error_mailbox.set(0)
        self._task = asyncio.create_task(self._loop(), name="reporter")

    async def stop(self) -> None:
        """End the task; a commit under way ends before."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def wake(self) -> None:
        """An incident was noted, or an attempt of a report ended."""
        self._event.set()

    async def trouble(self) -> dict[str, str]:
        """What keeps errors from being told: name → French sentence; empty when all is well."""
        if self._connector is None:
            return {}
        number = await self._journal.read(reports.in_trouble)
        stopped = self._circuit is not None and self._circuit.opened_at is not None
        if not number and not stopped:
            return {}
        return {UNREACHABLE: SENTENCE.format(number=number)}

    async def _loop(self) -> None:
        while True:
            if self._many:
                await asyncio.sleep(FAULT_PAUSE)
            self._event.clear()
            pause = IDLE
            try:
                look_at = await self._tick()
                if look_at is not None:
                    pause = min(IDLE, max(0.0, look_at - self._clock.now()))
            except JournalUnavailable:
                pause = FAULT_PAUSE
            except Exception as e:
                # our own bug: said each time, nothing is lost (the errors still wait)
                log.critical("errors cannot be told: %s", type(e).__name__, exc_info=e)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._event.wait()

    async def _tick(self) -> float | None:
        """Tell what is due; when to look again."""
        await self._count()
        if self._connector is None:
            return None
        await self._alert()
        settings, now = self._settings, self._clock.now()
        repeat_at = await self._give_back(now)
        found, recent = await self._journal.read(
            lambda s: (reports.waiting(s, READ), reports.recent(s, now - 2 * settings.window))
        )
        self._many = len(found) > MANY
        if not found:
            return repeat_at
        rows = {w.id: w for w in found}
        to = self._connector.mailboxes_of
        pending = [
            Pending(w.id, w.at, w.family, tuple(m for m in to(w.route, w.flow) if m not in w.told))
            for w in found
        ]
        for item in (p for p in pending if not p.mailboxes):
            # the settings do not name the mailbox any more whose report failed
            await self._journal.write(partial(reports.told_already, incident_id=item.id, now=now))
        pending = [p for p in pending if p.mailboxes]
        mailboxes = {p.id: p.mailboxes for p in pending}
        due = plan(pending, recent, now, settings.burst, settings.window)
        for batch in due.batches:
            words = await self._journal.read(partial(reports.words, incident_ids=batch))
            told = [_report(rows[i], words[i]) for i in batch]
            planned = self._connector.plan_reports(told, datetime.fromtimestamp(now, UTC))
            wanted = [p for p in planned if p.recipient in mailboxes[batch[0]]]
            await self._commit(batch, rows[batch[0]].family, wanted, now)
        looks = [at for at in (due.look_at, repeat_at) if at is not None]
        return min(looks, default=None)

    async def _commit(
        self, batch: tuple[int, ...], family: str, planned: Sequence[PlannedDelivery], now: float
    ) -> None:
        """The reports of one batch and the marks on its errors, all or nothing."""
        reached("reporting")

        def operation(session: Session) -> bool:
            if not reports.on_duty(session):
                return False  # another process of the same journal reports
            ids = []
            for one in planned:
                ids.append(
                    queue.enqueue(
                        session,
                        NewDelivery(
                            message_id=None,
                            destination=ERRORS,
                            recipient=one.recipient,
                            action=Action.SUBMIT,
                            documents=(),
                            plan=one.plan,
                            now=now,
                            lifetime=self._lifetime,
                            keys=one.keys,
                        ),
                    )
                )
                reports.add(session, ids[-1], one.recipient, family, batch, now)
            if not reports.reported(session, batch, ids):
                raise _Told
            return True

        with contextlib.suppress(_Told):
            if await self._journal.write(operation):
                reached("reported")
                self._wake_deliveries((ERRORS,))

    async def _give_back(self, now: float) -> float | None:
        """Errors of reports that failed long enough ago wait again; when the next ones will."""
        failed_at = await self._journal.read(reports.next_repeat)
        if failed_at is None:
            return None
        repeat = self._settings.repeat
        if now - repeat < failed_at <= now:
            return failed_at + repeat
        number = await self._journal.write(lambda s: reports.give_back(s, now - repeat, now))
        log.warning("%d error mails failed: their errors are told again", number)
        failed_at = await self._journal.read(reports.next_repeat)
        return None if failed_at is None else failed_at + repeat

    async def _count(self) -> None:
        new, self._last = await self._journal.read(lambda s: reports.counted(s, self._last))
        for flow, number in new.items():
            self._telemetry.incidents.labels(flow).inc(number)
        if new and self._connector is None and not self._told_alone:
            self._told_alone = True
            log.warning("errors are noted and told to nobody: the settings have no [connectors.errors]")

    async def _alert(self) -> None:
        """One line when error mails stop getting through, one when they do again."""
        trouble = bool(await self.trouble())
        self._telemetry.error_mailbox.set(int(trouble))
        if trouble != self._alerted:
            self._alerted = trouble
            if trouble:
                log.critical("error mailbox unreachable: errors are told to nobody for now (they are kept)")
            else:
                log.critical("error mailbox reachable again: what was kept is being told")


class _Told(Exception):
    """An error of the batch was told by somebody else in the meantime: nothing of it is committed."""


def _report(waiting: Waiting, words: dict[str, Any]) -> IncidentReport:
    at = datetime.fromtimestamp(waiting.at, UTC)
    return IncidentReport(waiting.id, at, waiting.flow, waiting.code, waiting.route, words)
