"""A connector whose verdicts and outcomes are scripted: the port, implemented for the heart's own tests.

The real connectors against the real simulators are tested in `tests/acceptance`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from connectors.port import (
    Accepted,
    DeliveryJob,
    Outcome,
    OutcomeClass,
    PlannedDelivery,
    Preparation,
    Report,
    Verdict,
)
from gateway.hl7.transmission import Transmission
from gateway.rules import RuleBook

OK = Outcome(OutcomeClass.SUCCESS, "200", "ok")


class Scripted:
    """`verdict` answers `prepare` (None: accept); `outcomes` are used one after the other, then `OK` for
    ever.
    """

    rule_tables: tuple[Path, ...] = ()

    def __init__(self, name: str, recipients: tuple[str, ...] = ("",)) -> None:
        self.name = name
        self.recipients = recipients
        self.verdict: Callable[[Preparation], Verdict] | None = None
        self.prepare_seconds = 0.0
        self.outcomes: list[Outcome | Exception] = []
        self.reconciled: list[Outcome] = []
        self.prepared = 0
        self.jobs: list[DeliveryJob] = []
        self.reconciliations: list[DeliveryJob] = []
        self.contents: list[bytes] = []
        self.gate: asyncio.Event | None = None
        self.book: RuleBook | None = None

    def use(self, book: RuleBook) -> None:
        self.book = book

    def wants(self, transmission: Transmission) -> bool:
        flags = transmission.flags
        if self.name == "dmp":
            return flags.dest_dmp
        return self.name == "mss" and (flags.dest_mssante_ps or flags.dest_mssante_pat)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def prepare(self, preparation: Preparation) -> Verdict:
        self.prepared += 1
        await asyncio.sleep(self.prepare_seconds)
        if self.verdict is not None:
            return self.verdict(preparation)
        uids = tuple(d.uid for d in preparation.documents)
        plan = json.dumps({"uids": uids}).encode()
        return Accepted(tuple(PlannedDelivery(r, uids, plan) for r in self.recipients))

    async def deliver(self, job: DeliveryJob) -> Outcome:
        self.jobs.append(job)
        for document in job.documents:
            self.contents.append(await document.read())
        if self.gate is not None:
            await self.gate.wait()
        outcome = self.outcomes.pop(0) if self.outcomes else OK
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def reconcile(self, job: DeliveryJob) -> Outcome:
        self.reconciliations.append(job)
        return self.reconciled.pop(0) if self.reconciled else Outcome(OutcomeClass.TRANSIENT)

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        if self.name == "dpi":
            return None
        return Report(
            event="Z01" if self.name == "dmp" else "Z02",
            accepted=outcome.outcome is OutcomeClass.SUCCESS,
            recipient=job_recipient,
            code=outcome.code,
            label=outcome.label,
        )
