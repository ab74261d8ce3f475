"""What the operator simulator writes, read by the connector: each report and answer means what was planned.

Both were written from the specification apart from one another. Source: spec/mssante.md §3.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from connectors.mss.connector import MssConnector
from connectors.mss.plan import from_json
from connectors.mss.receipts.matching import Fact, Known, Matched, Sent, match
from connectors.mss.receipts.reading import read
from connectors.mss.simulator import Fault, OperatorSimulator, Reader, create
from connectors.mss.simulator.access import FROM_ADDRESS
from connectors.port import OutcomeClass
from tests.mss import samples
from tests.mss.samples import MARTIN, accepted, flags, job, preparation, transmission


async def delivered(operator: OperatorSimulator, connector: MssConnector) -> Sent:
    """One real mail with its archive to Dr Martin, asking for reception and reading."""
    asked = preparation(transmission(flags=flags(ack_lecture_mss=True)))
    delivery = accepted(await connector.prepare(asked)).deliveries[0]
    assert (await connector.deliver(job(delivery, asked))).outcome is OutcomeClass.SUCCESS
    await operator.settle()
    return Sent.of(1, from_json(delivery.plan))


async def facts(tmp_path: Path, **options: Any) -> list[tuple[Fact, str]]:
    """What the connector learns from the gateway's mailbox: facts with their codes, in order."""
    operator = create(tmp_path, **options)
    async with operator.running():
        connector = samples.connector(operator.connector_settings())
        await connector.start()
        try:
            known = Known([await delivered(operator, connector)])
        finally:
            await connector.stop()
        received = [m.content for m in operator.boxes.folder(FROM_ADDRESS, "INBOX").messages]
    made = [one for raw in received for one in match(read(raw), known)]
    assert all(isinstance(one, Matched) for one in made), made
    return [(one.fact, one.code) for one in made if isinstance(one, Matched)]


@pytest.mark.parametrize("success", ["delivered", "relayed", "expanded"])
async def test_success(tmp_path: Path, success: str) -> None:
    """Each Action of success is Z02 Y."""
    assert await facts(tmp_path, success=success) == [(Fact.RECEIVED, "")]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault("bounce", MARTIN), [(Fact.NOT_RECEIVED, "550")]),
        (Fault("bounce", MARTIN, code=552), [(Fact.NOT_RECEIVED, "552")]),
        (Fault("bounce", MARTIN, code=554, words="5.4.4 unable to route"), [(Fact.NOT_RECEIVED, "554")]),
        (Fault("delayed", MARTIN), [(Fact.DELAYED, "451"), (Fact.RECEIVED, "")]),
        (Fault("relayed", MARTIN), [(Fact.RECEIVED, "")]),
        (Fault("no_dsn", MARTIN), []),
        (Fault("lost", MARTIN), []),
    ],
    ids=lambda value: value.reply if isinstance(value, Fault) else None,
)
async def test_faults(tmp_path: Path, fault: Fault, expected: list[tuple[Fact, str]]) -> None:
    """Failures and delays, with the code that the DPI is told."""
    assert await facts(tmp_path, faults=[fault]) == expected


@pytest.mark.parametrize("third", ["none", "headers", "message"])
@pytest.mark.parametrize("form", ["A", "B", "C"])
@pytest.mark.parametrize("code", ["902", "904"])
async def test_errors(tmp_path: Path, code: str, form: Any, third: Any) -> None:
    """An MDN with an error is Z03 N with its code, in each form, with or without its third part."""
    reader = Reader("error", code=code, form=form, third=third)
    made = await facts(tmp_path, readers=[reader], faults=[Fault("no_dsn", MARTIN)])
    assert made == [(Fact.NOT_INTEGRATED, code)]


@pytest.mark.parametrize(
    ("reader", "expected"),
    [
        (Reader("displayed"), [(Fact.READ, "")]),
        (Reader("processed", third="none"), [(Fact.READ, "")]),
        (Reader("processed", message_id="spaces"), [(Fact.READ, "")]),
        (Reader("displayed", message_id="absent"), [(Fact.READ, "")]),
        (Reader("displayed", final_recipient="dr.autre@test-hopital.mssante.fr"), [(Fact.READ, "")]),
        (Reader("error_mail", code="903"), [(Fact.NOT_INTEGRATED, "903")]),
        (Reader("error_mail", code="903", form="A"), [(Fact.NOT_INTEGRATED, "903")]),
    ],
    ids=lambda value: f"{value.kind}-{value.message_id}-{value.form}" if isinstance(value, Reader) else None,
)
async def test_answers(tmp_path: Path, reader: Reader, expected: list[tuple[Fact, str]]) -> None:
    """MDN and error mails."""
    assert await facts(tmp_path, readers=[reader], faults=[Fault("no_dsn", MARTIN)]) == expected
