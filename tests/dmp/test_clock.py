"""A gateway whose clock is wrong: the DMP refuses its VIHF, and no document is refused for that.

Found by the chaos harness (a clock jump): every document sent meanwhile was refused for good.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from connectors.dmp.connector import DmpConnector
from connectors.dmp.responses import Failure, judge_clock
from connectors.dmp.settings import read_settings
from connectors.dmp.simulator import DmpSimulator
from connectors.port import OutcomeClass
from tests.dmp.conftest import Dpi, book
from tests.xds import samples

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
REFUSED = Failure(OutcomeClass.PERMANENT, "InvalidSecurity", "refus", fault=True)


@pytest.mark.parametrize("hours", [-24, 1])
async def test_a_wrong_clock_stops_the_destination_and_refuses_no_document(
    simulator: DmpSimulator, connector: DmpConnector, dpi: Dpi, hours: int
) -> None:
    job = await dpi.job(samples.document())
    jump = timedelta(hours=hours)
    wrong = DmpConnector(
        read_settings(simulator.connector_settings(), Path()), "0.1", lambda: datetime.now(UTC) + jump
    )
    wrong.use(book())
    await wrong.start()
    try:
        outcome = await wrong.deliver(replace(job, now=job.now + jump))
    finally:
        await wrong.stop()
    assert (outcome.outcome, outcome.code) == (OutcomeClass.CONFIGURATION, "CLOCK")
    assert not simulator.documents
    # the clock is right again: the same delivery goes
    assert (await connector.deliver(job)).outcome is OutcomeClass.SUCCESS


@pytest.mark.parametrize(
    ("failure", "date", "code"),
    [
        (REFUSED, "Sun, 01 Mar 2026 12:10:00 GMT", "CLOCK"),
        (REFUSED, "Sun, 01 Mar 2026 12:01:00 GMT", "InvalidSecurity"),
        (REFUSED, "", "InvalidSecurity"),
        (REFUSED, "yesterday", "InvalidSecurity"),
        # a listed code, or a verdict of the registry, is about the document whatever the clock says
        (Failure(OutcomeClass.PERMANENT, "DMPClosed", "fermé"), "Sun, 01 Mar 2026 13:00:00 GMT", "DMPClosed"),
    ],
)
def test_only_a_fault_that_the_clock_explains(failure: Failure, date: str, code: str) -> None:
    assert judge_clock(failure, date, NOW).code == code
