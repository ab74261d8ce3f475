"""The application: every room built, wired, started and stopped in the right order.

Purpose: the composition root; the only module that knows all rooms.

Guarantee: the listener opens only after the journal was recovered and every connector checked its settings;
on `stop` it closes first, then deliveries under way end, then connectors and journal close.
Fails: `ConfigurationFault` from `start`, with everything started so far stopped again.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sqlmodel import Session

from connectors.mailbox_port import WithIncidents
from connectors.port import Connector, WithAges, WithApi, WithCertificates
from gateway.access import Access
from gateway.accounts.administration import Administration
from gateway.accounts.desk import Desk, base_url, link_of, open_desk
from gateway.accounts.oidc import Oidc
from gateway.engine.embedded import EmbeddedEngine
from gateway.engine.nodes import Nodes, nodes_of
from gateway.errors import ConfigurationFault, JournalUnavailable
from gateway.exchange.budget import MemoryBudget
from gateway.exchange.by_hand import ByHand
from gateway.exchange.identifiers import Clock
from gateway.exchange.inbox.keeping import MailboxState
from gateway.exchange.inbox.mailroom import Mailroom
from gateway.exchange.incidents import ERRORS, INCIDENTS
from gateway.exchange.intake import Intake
from gateway.exchange.overload import JOURNAL, SENTENCES, Backlog, Overloads
from gateway.exchange.pressure import Pressure
from gateway.exchange.publisher import Publisher, open_publisher
from gateway.exchange.reception import remove_pending
from gateway.exchange.reporter import ErrorReporter
from gateway.exchange.retention import Retention
from gateway.exchange.retry import farthest
from gateway.exchange.run import MAILROOM, DeliveryRunner
from gateway.exchange.telemetry import Telemetry
from gateway.exchange.watch import Watch
from gateway.fact_intake import FactIntake
from gateway.journal import queue, records
from gateway.journal.fact_stream import Source
from gateway.journal.nodes import Left
from gateway.journal.store import Journal
from gateway.layers import Layers, open_layers
from gateway.listener import Listener
from gateway.plugins import dpi_routes, error_loops, find_connectors, mailboxes_astray, make_rulebook
from gateway.rules import Preset
from gateway.settings import Settings
from gateway.validation.presets import validators_of
from gateway.validation.validator import Validator
from gateway.web.api import create_app
from gateway.web.guard import Guard
from gateway.web.guarding import Guarding
from gateway.web.server import WebServer
from indicators.bookkeeper import Bookkeeper
from indicators.gauges import IndicatorGauges
from indicators.in_use import CatalogueInUse, of_settings
from indicators.monthly import Monthly
from indicators.service import FigureService

log = logging.getLogger("gateway")

READY_WITHIN = 2.0
"""Seconds within which the journal must commit for `/readyz` to be green."""


class Gateway:
    """One running gateway. `await start()`, then `await stop()`.

    `connectors`: given ready-made by an editor who embeds the gateway; None: found by entry points.
    """

    def __init__(
        self, settings: Settings, base_dir: Path, connectors: Mapping[str, Connector] | None = None
    ) -> None:
        self._given = connectors
        self.settings = settings
        self.base_dir = base_dir
        self.telemetry = Telemetry()
        self.connectors: dict[str, Connector] = {}
        self.journal: Journal
        self.publisher: Publisher
        self.listener: Listener
        self.runner: DeliveryRunner
        self.nodes: Nodes
        self.engine: EmbeddedEngine
        self.intake: Intake
        self.mailroom: Mailroom
        self.reporter: ErrorReporter
        self.overloads: Overloads
        self.by_hand: ByHand
        self.facts: FactIntake
        self.alarms: Watch
        self.retention: Retention
        self.figures: FigureService | None = None
        self.catalogue: CatalogueInUse | None = None
        self._gauges: IndicatorGauges | None = None
        self.access: Access
        self.desk: Desk
        self.guard: Guard
        self.guarding: Guarding
        self.oidc: Oidc | None = None
        self.layers: Layers
        self.validators: Mapping[Preset, Validator] = {}
        self._web: WebServer | None = None
        self._stops: contextlib.AsyncExitStack | None = None

    async def start(self) -> None:
        """Open everything, the listener last."""
        async with contextlib.AsyncExitStack() as stops:
            await self._start(stops)
            self._stops = stops.pop_all()

    async def stop(self) -> None:
        """Close everything, the listener first."""
        if self._stops is not None:
            stops, self._stops = self._stops, None
            await stops.aclose()

    @property
    def mllp_port(self) -> int:
        """The port that the listener has."""
        return self.listener.port

    @property
    def web_port(self) -> int:
        """The port that the web has; 0 when it is disabled."""
        return self._web.port if self._web else 0

    async def first_access(self) -> str | None:
        """A one-time link for the first administrator, while there is none; each call makes another one."""
        if not (self.settings.web.enabled and self.settings.web.accounts.enabled):
            return None
        try:
            link = await self.desk.people.first()
        except JournalUnavailable as e:
            log.warning("no link for the first administrator: %s", e)
            return None
        return None if link is None else link_of(self.settings.web, self.web_port, link)

    def base_url(self) -> str:
        """Where a browser finds the pages."""
        return base_url(self.settings.web, self.web_port)

    def administration(self) -> Administration:
        """What administrators do, with the port in use."""
        return Administration(self.desk, self.settings.web, self.web_port)

    async def readiness(self) -> dict[str, str]:
        """What keeps this gateway from accepting messages: name → French sentence."""
        reasons: dict[str, str] = {}
        try:
            await self.journal.write(lambda session: None, READY_WITHIN, leave=True)
        except JournalUnavailable:
            reasons |= dict((SENTENCES[JOURNAL],))
        reasons |= await self.overloads.reasons()
        if not self.listener.listening:
            reasons["listener"] = "Le port MLLP n’écoute pas."
        reasons |= self.layers.reasons()
        return reasons

    async def warnings(self) -> dict[str, str]:
        """What a person must act on although messages are accepted: name → French sentence."""
        if self.catalogue is not None:
            await self.catalogue.look()
        away = {**self.alarms.now, **self._trouble(), **self.publisher.trouble()}
        try:
            return away | await self.reporter.trouble()
        except JournalUnavailable:
            return away  # `readiness` says it

    def mailboxes(self) -> Mapping[str, MailboxState]:
        """How each mailbox is, by name."""
        return self.mailroom.states()

    def work(self, size: int) -> contextlib.AbstractAsyncContextManager[None]:
        """A place in the memory for documents being checked, for what does not come through the listener."""
        return self.overloads.budget.work(size, self.settings.ack.deadline)

    @property
    def preset(self) -> Preset:
        """The preset of rule severities in force."""
        return self.settings.conformance

    def checks(self) -> dict[str, str]:
        """The layers of the official CDA package and their state; what connectors use and when it was confirmed."""
        found = self.layers.status()
        for name, connector in self.connectors.items():
            if isinstance(connector, WithAges):
                dates = connector.ages().items()
                found |= {f"{name}.{data}": f"{confirmed:%Y-%m-%dT%H:%M:%SZ}" for data, confirmed in dates}
        return found

    async def measure(self) -> None:
        """Bring the gauges of queues and certificates up to date."""
        now = Clock().now()
        for name, connector in self.connectors.items():
            if isinstance(connector, WithCertificates):
                for certificate, end in connector.certificates().items():
                    self.telemetry.certificate_end.labels(name, certificate).set(end.timestamp())
            if isinstance(connector, WithAges):
                for data, confirmed in connector.ages().items():
                    self.telemetry.data_age.labels(name, data).set(now - confirmed.timestamp())
        for share, used in self.overloads.budget.used().items():
            self.telemetry.memory.labels(share).set(used)
        if self._gauges is not None:
            await self._gauges.refresh()
        depths = await self.journal.read(lambda s: queue.queue_depths(s, now))
        self.telemetry.queue_depth.clear()
        self.telemetry.queue_oldest.clear()
        for name in self.connectors:
            self.telemetry.queue_oldest.labels(name).set(0)
        oldest: dict[str, float] = {}
        for depth in depths:
            self.telemetry.queue_depth.labels(depth.destination, depth.state).set(depth.count)
            oldest[depth.destination] = max(oldest.get(depth.destination, 0.0), depth.oldest_age)
        for destination, age in oldest.items():
            self.telemetry.queue_oldest.labels(destination).set(age)

    # --- inside ---------------------------------------------------------------------------------------------

    async def _start(self, stops: contextlib.AsyncExitStack) -> None:
        settings = self.settings
        self.connectors = (
            find_connectors(settings, self.base_dir) if self._given is None else dict(self._given)
        )
        if wrong := [*error_loops(self.connectors), *mailboxes_astray(self.connectors)]:
            raise ConfigurationFault("; ".join(wrong))
        book = make_rulebook(settings, self.connectors)
        self.layers = await stops.enter_async_context(open_layers(settings, self.base_dir, book))
        self.journal = await Journal.open(
            self.base_dir / settings.journal.path, settings.journal.at(self.base_dir)
        )
        stops.push_async_callback(self.journal.close)
        clock = Clock()
        if settings.indicators.enabled:
            self.catalogue = of_settings(settings, self.base_dir, clock)
        self.publisher = await open_publisher(
            self.journal, settings, self.base_dir, self.telemetry, self.catalogue
        )
        self.nodes = nodes_of(self.journal, settings.journal, clock)
        left = await self.nodes.join()
        stops.push_async_callback(self.nodes.leave)
        if any(left.deliveries.values()):
            log.warning("recovery: %s", ", ".join(f"{k}={v}" for k, v in left.deliveries.items()))
        for connector in self.connectors.values():
            await connector.start()
            stops.push_async_callback(connector.stop)
        for orphan in set(await self.journal.read(queue.open_destinations)) - set(self.connectors):
            log.critical("deliveries wait for the destination %s, which is not configured any more", orphan)
        removed = await remove_pending(self.journal, left.payloads)
        if removed:
            log.warning("recovery: %d messages were cut while they were written: removed", removed)
        self.overloads = Overloads(
            self.journal,
            MemoryBudget(settings.listener.memory_budget_bytes, self.connectors),
            Backlog(settings.engine.max_open_deliveries, lambda: self.journal.read(queue.count_open)),
        )
        pressure = Pressure()
        self.engine = EmbeddedEngine(
            self.journal,
            self.connectors,
            settings.engine.concurrency,
            pressure,
            farthest(settings.engine.retry),
        )
        self.runner = DeliveryRunner(
            self.journal,
            self.connectors,
            settings,
            self.telemetry,
            self._wake,
            clock,
            budget=self.overloads.budget,
            publisher=self.publisher,
        )
        self.intake = Intake(
            self.journal,
            self.connectors,
            book,
            settings,
            self.telemetry,
            self._wake,
            clock,
            pressure,
            self.layers.checker,
            self.overloads,
            self.publisher,
        )
        answered = await self.intake.answer_unanswered(left.messages)
        if answered:
            log.warning("recovery: %d messages had no answer: AR stored", answered)
        self.mailroom = Mailroom(
            self.journal,
            self.connectors,
            book,
            settings,
            self.telemetry,
            self._wake,
            clock,
            self.overloads.backlog,
            self.publisher,
        )
        errors = self.connectors.get(ERRORS)
        if isinstance(errors, WithIncidents):
            errors.serve(dpi_routes(self.connectors))
        self.reporter = ErrorReporter(
            self.journal,
            errors if isinstance(errors, WithIncidents) else None,
            settings.errors,
            settings.engine.retry.lifetime,
            self.telemetry,
            self.runner.circuits.get(ERRORS),
            self._wake,
            clock,
        )
        await self.engine.start(self.runner.run, self.runner.allowance)
        stops.push_async_callback(self.engine.stop, settings.listener.drain_timeout)
        await self.nodes.watch(self._taken_over, self.engine.drop)
        stops.push_async_callback(self.nodes.rest)
        await self.nodes.duty("errors", self.reporter.start, self.reporter.stop)
        await self.nodes.duty("mailroom", self.mailroom.start, self.mailroom.stop)
        self.retention = Retention(
            self.journal, settings.retention, self.telemetry, ERRORS in self.connectors, clock
        )
        await self.nodes.duty("retention", self.retention.start, self.retention.stop)
        await self._start_indicators(stops, clock)
        self.alarms = Watch(
            self.journal,
            self.connectors,
            settings.alarms,
            self.telemetry,
            (self.base_dir / settings.journal.path).parent if settings.journal.url is None else None,
            self._trouble,
            self._wake,
            clock,
        )
        await self.alarms.start()
        stops.push_async_callback(self.alarms.stop)
        self.validators = validators_of(settings, book, self.layers.checker, self.connectors, self.journal)
        self.by_hand = ByHand(
            self.journal,
            self.connectors,
            settings,
            self.telemetry,
            self._wake,
            self.runner.circuits,
            clock,
            self.publisher,
        )
        names = self.publisher.names
        # without names no facts are taken
        self.facts = FactIntake(self.journal, b"" if names is None else names.secret, clock)
        if settings.web.enabled:
            self.access = Access(settings, self.base_dir)
            self.desk = open_desk(self.journal, settings.web, clock)
            if settings.web.oidc is not None:
                self.oidc = Oidc(settings.web.oidc, settings.web.accounts, self.base_dir, self.journal, clock)
                stops.push_async_callback(self.oidc.close)
            self.guard = self.guarding = Guarding(
                settings.web, self.access, self.desk.sessions, self.desk.tokens, self.desk.trace
            )
            self._web = WebServer(create_app(self, self._apis()), settings.web)
            await self._web.start()
            stops.push_async_callback(self._web.stop)
            self.access.open(self.web_port)
            stops.callback(self.access.close)
        self.listener = Listener(
            settings.listener,
            self.base_dir,
            self.intake.handle,
            self.intake.too_long,
            self.telemetry,
            self.intake.no_room,
            self.overloads.budget.receiving,
        )
        await self.listener.start()
        stops.push_async_callback(self.listener.drain)
        log.info("MLLP on %s:%d", settings.listener.host, self.mllp_port)

    async def _taken_over(self, left: Left) -> None:
        """After a node died: what it left is ours."""
        await remove_pending(self.journal, left.payloads)
        await self.intake.answer_unanswered(left.messages)
        self._wake((*self.connectors, MAILROOM))

    async def _start_indicators(self, stops: contextlib.AsyncExitStack, clock: Clock) -> None:
        settings = self.settings.indicators
        if not settings.enabled:
            return
        assert self.catalogue is not None
        journal = self.settings.journal.at(self.base_dir)
        source = (
            Source(url=journal.url, password_file=journal.password_file)
            if journal.url is not None
            else Source(path=self.base_dir / journal.path)
        )
        books = Bookkeeper(self.journal, source, self.catalogue, dict(settings.time_zones), clock)
        monthly = Monthly(self.journal, books, settings.refresh, clock)
        self.figures = FigureService(self.journal, books, monthly, settings.names, clock)
        stops.push_async_callback(self.figures.close)
        self._gauges = IndicatorGauges(self.telemetry.registry, self.journal)
        await self.nodes.duty("indicators", monthly.start, monthly.stop)

    def _trouble(self) -> dict[str, str]:
        """What is away or failed, as alarms tell it."""
        return {**self.mailroom.trouble(), **(self.figures.trouble() if self.figures else {})}

    def _apis(self) -> dict[str, Any]:
        """The connectors' own HTTP interfaces, each with its place in the journal."""
        found = {}
        for name, connector in self.connectors.items():
            if isinstance(connector, WithApi):
                api = connector.api(partial(self._audit, name))
                if api is not None:
                    found[name] = api
        return found

    async def _audit(self, destination: str, entry: Mapping[str, Any]) -> None:
        now = Clock().now()
        rows = self.publisher.consulted(entry, now) if destination == "dmp" else ()

        def operation(session: Session) -> None:
            records.add_fact(session, "api_call", now, destination=destination, **entry)
            self.publisher.write(session, rows)

        await self.journal.write(operation)

    def _wake(self, destinations: Iterable[str]) -> None:
        """There is work for these: deliveries of a destination, received mails (`MAILROOM`), `INCIDENTS`."""
        words = set(destinations)
        self.engine.wake(words)
        if MAILROOM in words:
            self.mailroom.wake()
        if INCIDENTS in words or ERRORS in words:
            self.reporter.wake()
