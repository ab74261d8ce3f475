"""Every request of the connector against the ebRIM and XDS.b schemas, on the wire: the simulator refuses what they
refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from connectors.dmp.consultation import Consultation, Retrieved, Search, Updated
from connectors.dmp.simulator import DmpSimulator
from connectors.dmp.simulator import create as create_simulator
from connectors.dmp.simulator.pki import Pki
from connectors.dmp.vihf import StrongAuthentication, VihfSubject
from connectors.port import OutcomeClass, Predecessor
from connectors.xds import ebrim, queries
from connectors.xds.model import XdsCode
from gateway.hl7.transmission import Action
from tests.dmp.conftest import Dpi, connector_for
from tests.dmp.test_api import VIHF_SUBJECT
from tests.official import official
from tests.xds import samples

pytestmark = pytest.mark.official


@pytest.fixture
async def validating(pki: Pki) -> AsyncIterator[DmpSimulator]:
    folder = official("schemas", "lcm.xsd").parent
    made = create_simulator(pki.directory.parent, schemas=folder)
    async with made.running():
        yield made


def professional() -> VihfSubject:
    strong = StrongAuthentication("urn:oasis:names:tc:SAML:2.0:ac:classes:TLSClient", datetime.now(UTC))
    return VihfSubject(
        VIHF_SUBJECT.structure,
        VIHF_SUBJECT.name_id,
        VIHF_SUBJECT.display,
        VIHF_SUBJECT.patient,
        roles=VIHF_SUBJECT.roles,
        strong=strong,
    )


async def test_every_request_passes_the_schemas(validating: DmpSimulator) -> None:
    """TD2.1a, TD2.1b, TD3.1a, TD3.1b, TD3.2, TD3.3a, TD3.3c, TD3.3d as they are sent."""
    connector = await connector_for(validating.connector_settings())
    dpi = Dpi(connector)
    consult = Consultation(connector._link, connector._clock)
    subject, lot = professional(), samples.lot()
    uid = f"{samples.ROOT}.1.2"
    first = await connector.deliver(await dpi.job(samples.document()))
    second = await connector.deliver(
        await dpi.job(samples.version_2(), Action.REPLACE, Predecessor.DELIVERED)
    )
    assert {first.outcome, second.outcome} == {OutcomeClass.SUCCESS}
    wanted = queries.DocumentFilter(types=(XdsCode("11502-2", samples.LOINC, ""),))
    assert isinstance(await consult.search(subject, queries.find_documents(subject.patient, wanted)), Search)
    assert isinstance(await consult.retrieve(subject, uid), Retrieved)
    mask = XdsCode("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué aux professionnels de santé")
    assert isinstance(await consult.set_confidentiality(subject, lot, uid, add=[mask], remove=()), Updated)
    assert isinstance(await consult.set_status(subject, lot, uid, ebrim.ARCHIVED), Updated)
    gone = await connector.deliver(await dpi.job(samples.version_2(), Action.DELETE, Predecessor.DELIVERED))
    assert gone.outcome is OutcomeClass.SUCCESS
    seen = {e.transaction for e in validating.events}
    assert seen == {"TD2.1a", "TD2.1b", "TD3.1a", "TD3.1b", "TD3.2", "TD3.3a", "TD3.3c", "TD3.3d"}
    await connector.stop()
