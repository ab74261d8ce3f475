"""A DMP simulator on loopback and a started connector that talks to it, over real mutual TLS."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from connectors.dmp.connector import DmpConnector, create
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator import create as create_simulator
from connectors.dmp.simulator.pki import Pki, make_pki
from connectors.port import Accepted, ConnectorContext, DeliveryJob, PlannedDelivery, Predecessor, Preparation
from gateway.cda.document import Document
from gateway.hl7.transmission import Action, Transmission
from gateway.rules import Preset, RuleBook, read_rules
from tests.official import OFFICIAL
from tests.xds import samples


@dataclass
class Stored:
    """A document of the journal, in memory."""

    content: bytes
    uid: str
    sha256: str = ""
    size: int = 0

    def __post_init__(self) -> None:
        self.sha256 = hashlib.sha256(self.content).hexdigest()
        self.size = len(self.content)

    async def read(self) -> bytes:
        return self.content


def book(preset: Preset = "production") -> RuleBook:
    return RuleBook([r for t in DmpConnector.rule_tables for r in read_rules(t)], preset)


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """One set of certificates for the whole session (keys are slow to make)."""
    return make_pki(tmp_path_factory.mktemp("dmp") / "pki")


@pytest.fixture
async def simulator(pki: Pki) -> AsyncIterator[DmpSimulator]:
    schemas = OFFICIAL / "schemas"
    # where the schemas are, every request of every test is validated
    made = create_simulator(pki.directory.parent, schemas=schemas if schemas.is_dir() else None)
    async with made.running():
        yield made


async def connector_for(settings: dict[str, Any], preset: Preset = "production") -> DmpConnector:
    """A started connector."""
    made = create(ConnectorContext(settings, Path(), "0.1"))
    made.use(book(preset))
    await made.start()
    return made


@pytest.fixture
async def connector(simulator: DmpSimulator) -> AsyncIterator[DmpConnector]:
    made = await connector_for(simulator.connector_settings())
    yield made
    await made.stop()


@dataclass
class Dpi:
    """Prepares as the heart does and gives the jobs of the deliveries."""

    connector: DmpConnector
    number: int = field(default=0)

    async def job(
        self,
        document: Document,
        action: Action = Action.SUBMIT,
        predecessor: Predecessor = Predecessor.NONE,
        attempt: int = 1,
        predecessor_uids: tuple[str, ...] = (),
        sent: Transmission | None = None,
    ) -> DeliveryJob:
        now = datetime.now(UTC)
        verdict = await self.connector.prepare(
            Preparation(sent or samples.transmission(action), (document,), now)
        )
        assert isinstance(verdict, Accepted), verdict
        (planned,) = verdict.deliveries
        return self.of(planned, document, action, predecessor, attempt, predecessor_uids)

    def of(
        self,
        planned: PlannedDelivery,
        document: Document,
        action: Action,
        predecessor: Predecessor,
        attempt: int,
        predecessor_uids: tuple[str, ...] = (),
    ) -> DeliveryJob:
        self.number += 1
        return DeliveryJob(
            id=self.number,
            destination="dmp",
            recipient=planned.recipient,
            action=action,
            plan=planned.plan,
            documents=(Stored(document.content, document.uid),),
            attempt=attempt,
            predecessor=predecessor,
            predecessor_uids=predecessor_uids,
            now=datetime.now(UTC),
        )


@pytest.fixture
def dpi(connector: DmpConnector) -> Dpi:
    return Dpi(connector)
