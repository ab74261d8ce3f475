"""The layers of the official CDA package, opened from the settings, and the checker that uses them.

Purpose: one way to a `Checker` with all its layers, for the gateway, for `segur-gateway validate` and for
whoever embeds them.

Guarantee: nothing is opened that the settings did not ask for; the worker is stopped at the end.
Fails: `ConfigurationFault` when the package's folder or its XSD cannot be used, or when schematrons are asked
for and saxonche is missing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.cda.package.folder import Package
from gateway.cda.package.reports import Family
from gateway.cda.package.xsd import XsdLayer
from gateway.cda.valuesets import ValueSets, load_value_sets
from gateway.errors import ConfigurationFault, Severity
from gateway.exchange.checking import Checker
from gateway.rules import RuleBook
from gateway.schematron.engine import available
from gateway.schematron.pool import Limits, SchematronPool
from gateway.settings import Settings

log = logging.getLogger("gateway")


@dataclass(frozen=True, slots=True)
class Layers:
    """The checker and what it stands on."""

    checker: Checker
    package: Package | None = None
    pool: SchematronPool | None = None

    def reasons(self) -> dict[str, str]:
        """What of the layers keeps messages from being accepted: name → French sentence."""
        if self.pool is None or self.pool.state != "down":
            return {}
        rejects = any(self.checker.book.severity(f.rule) is Severity.REJECT for f in self.pool.families)
        return {"schematron": "Le contrôle schématron, bloquant, ne répond plus."} if rejects else {}

    def status(self) -> dict[str, str]:
        """Layer → in what state it is, for `/readyz`: `on`, `off`, `degraded`, `down`; the package's digest."""
        if self.package is None:
            return {"package": "not configured", "xsd": "not configured", "schematron": "not configured"}
        return {
            "package": f"sha256:{self.package.digest}",
            "xsd": "on" if self.checker.has_xsd else "off",
            "schematron": self.pool.state if self.pool else "off",
        }


def wanted_families(settings: Settings, book: RuleBook) -> tuple[Family, ...]:
    """The families to run: those of the settings whose rule is not off."""
    asked = (Family(name) for name in dict.fromkeys(settings.cda.schematron))
    return tuple(f for f in asked if book.severity(f.rule) is not Severity.OFF)


def problems_of(settings: Settings, base_dir: Path, book: RuleBook) -> list[str]:
    """What keeps the layers that `settings` ask for from being opened; no worker is started."""
    found = []
    try:
        _value_sets(settings, base_dir)
    except ConfigurationFault as e:
        found.append(str(e))
    if settings.cda.package is None:
        return found
    try:
        package = Package.open(base_dir / settings.cda.package)
        if settings.cda.xsd:
            XsdLayer(package)
    except ConfigurationFault as e:
        found.append(str(e))
    if wanted_families(settings, book) and not available():
        found.append("cda.schematron: saxonche is not installed (extra schematron)")
    return found


def _value_sets(settings: Settings, base_dir: Path) -> ValueSets:
    return load_value_sets(base_dir / settings.cda.tables if settings.cda.tables else None)


@asynccontextmanager
async def open_layers(settings: Settings, base_dir: Path, book: RuleBook) -> AsyncIterator[Layers]:
    """The layers that `settings` ask for, until the end of the block."""
    sets, served = _value_sets(settings, base_dir), settings.processing_ids
    adt = settings.indicators.enabled
    if settings.cda.package is None:
        yield Layers(Checker(book, sets=sets, processing_ids=served, adt=adt))
        return
    package = await asyncio.to_thread(Package.open, base_dir / settings.cda.package)
    # compiled in this thread, the loop's: the first small message must not wait for it
    xsd = XsdLayer(package) if settings.cda.xsd else None
    families = wanted_families(settings, book)
    log.info("CDA package: %d files, manifest sha256 %s", len(package.files), package.digest)
    if not families:
        yield Layers(Checker(book, xsd, sets=sets, processing_ids=served, adt=adt), package)
        return
    cda = settings.cda
    limits = Limits(
        cda.schematron_workers,
        cda.schematron_timeout,
        cda.schematron_documents,
        cda.schematron_memory_mb,
        cda.schematron_max_bytes,
    )
    pool = SchematronPool(package, families, limits)
    await pool.start()
    try:
        yield Layers(Checker(book, xsd, pool, sets, served, adt), package, pool)
    finally:
        await pool.stop()
