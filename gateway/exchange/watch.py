"""The loop that measures and raises the alarms of `gateway.exchange.alarms`.

Purpose: one CRITICAL line when an alarm begins and one when it ends, a metric, a warning of `/readyz`, and an incident
for the error mailbox when there is one.
Guarantee: an incident is noted once for each beginning, by the one process that reports; a look costs a few small reads
beside the traffic. Never ends by itself; while the journal is away the other alarms go on.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from sqlmodel import Session

from connectors.port import Connector, WithCertificates
from gateway.errors import JournalUnavailable
from gateway.exchange import incidents
from gateway.exchange.alarms import Measurements, alarms
from gateway.exchange.identifiers import Clock
from gateway.exchange.incidents import ERRORS, INCIDENTS
from gateway.exchange.telemetry import Telemetry
from gateway.journal import queue, reports
from gateway.journal.sql import run
from gateway.journal.store import Journal
from gateway.settings import AlarmSettings

log = logging.getLogger("gateway.alarms")

LOOK_BACK = 100_000
"""Messages before the start among which the last one of each sender is looked for."""
CODE = "906"


class Watch:
    """One per process. `folder`: where the journal's file stands, None when it is elsewhere."""

    def __init__(
        self,
        journal: Journal,
        connectors: Mapping[str, Connector],
        settings: AlarmSettings,
        telemetry: Telemetry,
        folder: Path | None,
        mailboxes: Callable[[], Mapping[str, str]],
        wake: Callable[[Iterable[str]], None],
        clock: Clock | None = None,
    ) -> None:
        self._journal = journal
        self._connectors = connectors
        self._settings = settings
        self._telemetry = telemetry
        self._folder = folder
        self._mailboxes = mailboxes
        self._wake = wake
        self._clock = clock or Clock()
        self._began = self._clock.now()
        self._seen: int | None = None
        self._last: dict[str, float] = dict.fromkeys(settings.silence, self._began)
        self._oldest: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self.now: dict[str, str] = {}
        """Alarms that hold: name → French sentence."""

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="alarms")

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except JournalUnavailable:
                log.warning("alarms: the journal is unavailable")
            except Exception as e:
                log.critical("alarms failed: %s", type(e).__name__, exc_info=e)
            await asyncio.sleep(self._settings.every)

    async def look(self) -> None:
        """One look: measure, compare, say what changed."""
        try:
            await self._read()
        finally:  # a journal that is away must not hide a full disk
            found = alarms(self._measure(), self._settings)
            began = {name: words for name, words in found.items() if name not in self.now}
            for name, words in began.items():
                self._telemetry.alarm.labels(name).set(1)
                log.critical("alarm %s: %s", name, words)
            for name in self.now.keys() - found.keys():
                self._telemetry.alarm.labels(name).set(0)
                log.critical("alarm %s: ended", name)
            self.now = found
        if began and ERRORS in self._connectors:
            await self._journal.write(lambda s: self._note(s, began))
            self._wake((INCIDENTS,))

    async def _read(self) -> None:
        now = self._clock.now()
        depths = await self._journal.read(lambda s: queue.queue_depths(s, now))
        oldest: dict[str, float] = {}
        for depth in depths:
            if depth.state != "on_hold":  # a person keeps it back: they know
                since = now - depth.oldest_age
                oldest[depth.destination] = min(oldest.get(depth.destination, since), since)
        self._oldest = oldest
        if self._settings.silence:
            for sender, at, last in await self._journal.read(self._messages):
                self._seen = max(self._seen or 0, last)
                if sender in self._last:
                    self._last[sender] = max(self._last[sender], at) if at > self._began else at

    def _messages(self, session: Session) -> list[tuple[str, float, int]]:
        seen = self._seen
        if seen is None:
            seen = max(0, int(run(session, "newest_message").scalar_one()) - LOOK_BACK)
        return [(r.sender, r.at, r.last) for r in run(session, "messages_since", last=seen)]

    def _measure(self) -> Measurements:
        certificates = {
            f"{name} {setting}": end.timestamp()
            for name, connector in self._connectors.items()
            if isinstance(connector, WithCertificates)
            for setting, end in connector.certificates().items()
        }
        free = None
        if self._folder is not None:
            try:
                free = shutil.disk_usage(self._folder).free
            except OSError as e:
                log.warning("disk of the journal not measured: %s", e.strerror)
        return Measurements(
            self._clock.now(), self._oldest, self._last, certificates, free, self._mailboxes()
        )

    def _note(self, session: Session, began: Mapping[str, str]) -> None:
        if not reports.on_duty(session):
            return  # another process of the same journal notes what concerns all
        for name, words in began.items():
            incidents.note(
                session,
                flow="alarm",
                family=f"alarm {name}",
                code=CODE,
                route="",
                now=self._clock.now(),
                label=words,
            )
