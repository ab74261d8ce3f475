"""Ask every connector that is wanted for its pre-transaction verdict, together, under one deadline.

Guarantee: exactly one verdict per connector asked; a connector that is late or fails by a bug of ours counts
as unavailable. Nothing outside is touched by a preparation, so what was prepared is simply dropped.
Precedence (architecture §6): any refusal → AE with all errors; else anything unavailable → AR; else AA.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from connectors.port import Accepted, Connector, PlannedDelivery, Preparation, Refused, Unavailable, Verdict
from gateway.errors import Finding
from gateway.hl7.transmission import Transmission
from gateway.rules import Findings, RuleBook

log = logging.getLogger("gateway.exchange")


@dataclass(frozen=True, slots=True)
class Late:
    """The deadline passed before this connector answered."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A bug of the connector."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All verdicts as one: the ACK code, the findings (warnings included), what to deliver when AA."""

    code: str
    findings: Sequence[Finding]
    deliveries: Mapping[str, Sequence[PlannedDelivery]]
    verdicts: Mapping[str, Verdict | Late | Failed] = field(default_factory=dict)
    """What each connector said."""


def wanted(
    connectors: Mapping[str, Connector], transmission: Transmission, book: RuleBook
) -> tuple[dict[str, Connector], Findings]:
    """The connectors that `transmission` asks for, and the findings of destinations that are not configured."""
    asked = {n: c for n, c in connectors.items() if c.wants(transmission)}
    missing = Findings(book)
    flags = transmission.flags
    if flags.dest_dmp and "dmp" not in connectors:
        missing.add("EXC-NO-CONNECTOR", None, destination="DMP")
    if (flags.dest_mssante_ps or flags.dest_mssante_pat) and "mss" not in connectors:
        missing.add("EXC-NO-CONNECTOR", None, destination="MSSanté")
    return asked, missing


async def gather(
    connectors: Mapping[str, Connector],
    preparation: Preparation,
    deadline: float,
    book: RuleBook,
    correlation: str,
) -> Gathered:
    """Prepare with all of `connectors` at the same time, `deadline` seconds for all."""
    tasks = {
        name: asyncio.create_task(connector.prepare(preparation), name=f"prepare-{name}")
        for name, connector in connectors.items()
    }
    verdicts: dict[str, Verdict | Late | Failed] = {}
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=deadline)
    finally:
        for task in tasks.values():
            if not task.done():
                task.cancel()
                # its end is nobody's business any more, but its exception must not stay unread
                task.add_done_callback(lambda t: None if t.cancelled() else t.exception())
    for name, task in tasks.items():
        if not task.done() or task.cancelled():
            log.warning("prepare %s: deadline passed (%s)", name, correlation)
            verdicts[name] = Late()
        elif (error := task.exception()) is not None:
            log.error("prepare %s failed: %s (%s)", name, type(error).__name__, correlation, exc_info=error)
            verdicts[name] = Failed()
        else:
            verdicts[name] = task.result()
    return conclude(verdicts, book, correlation)


def conclude(verdicts: Mapping[str, Verdict | Late | Failed], book: RuleBook, correlation: str) -> Gathered:
    """The precedence. Pure."""
    refused: list[Finding] = []
    warnings: list[Finding] = []
    unavailable = Findings(book)
    deliveries: dict[str, Sequence[PlannedDelivery]] = {}
    for name, verdict in verdicts.items():
        match verdict:
            case Accepted():
                deliveries[name] = verdict.deliveries
                warnings.extend(verdict.warnings)
            case Refused():
                refused.extend(verdict.findings)
            case Unavailable():
                unavailable.add("EXC-UNAVAILABLE", None, destination=name, reason=verdict.reason)
            case Late():
                unavailable.add("EXC-DEADLINE", None, destination=name)
            case Failed():
                unavailable.add("EXC-INTERNAL", None, correlation=correlation)
    if refused:
        return Gathered("AE", (*refused, *warnings), {}, verdicts)
    if unavailable:
        return Gathered("AR", (*unavailable, *warnings), {}, verdicts)
    return Gathered("AA", warnings, deliveries, verdicts)
