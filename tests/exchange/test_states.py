"""The state machine is one table (architecture §5): transitions, SQL constraint and outcomes agree with it."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from connectors.port import OutcomeClass, Predecessor
from gateway.errors import GatewayBug
from gateway.exchange.circuit import Circuit
from gateway.exchange.delivery import FINAL, TRANSITIONS, DeliveryState, move, sql_list
from gateway.exchange.retry import delay_after
from gateway.exchange.run import after_attempt
from gateway.hl7.transmission import Action
from gateway.journal import sql
from gateway.journal.claims import Claimed
from gateway.journal.models import Delivery, Message, Payload
from gateway.journal.store import Journal
from gateway.settings import JournalSettings, RetrySettings
from tests.exchange import harness


def test_every_state_has_its_row_and_final_states_have_no_way_out() -> None:
    assert set(TRANSITIONS) == set(DeliveryState)
    assert {s.value for s in FINAL} == {"succeeded", "refused", "expired", "cancelled"}
    for after in TRANSITIONS.values():
        assert after <= set(DeliveryState)


def test_the_statements_know_the_same_final_states() -> None:
    lists = re.findall(r"state NOT IN \((.*?)\)", (Path(sql.__file__).parent / "queries.sql").read_text())
    assert len(lists) >= 3
    assert set(lists) == {sql_list(FINAL)}


def test_an_uncertain_delivery_never_becomes_suspended() -> None:
    """It would come back as ready: sent again without having looked."""
    assert DeliveryState.SUSPENDED not in TRANSITIONS[DeliveryState.UNCERTAIN]
    assert DeliveryState.SENDING not in TRANSITIONS[DeliveryState.UNCERTAIN]


@pytest.mark.parametrize(("before", "after"), list(itertools.product(DeliveryState, DeliveryState)))
def test_move_follows_the_table(before: DeliveryState, after: DeliveryState) -> None:
    if after in TRANSITIONS[before]:
        assert move(before, after) is after
    else:
        with pytest.raises(GatewayBug):
            move(before, after)


async def test_the_database_refuses_a_state_that_the_table_does_not_have(tmp_path: Path) -> None:
    journal = await Journal.open(tmp_path / "j.sqlite", JournalSettings(**harness.JOURNAL))

    def insert(state: str, finished: float | None) -> object:
        def operation(session: Session) -> None:
            session.add(Payload(id=1, sha256="", size=0, content=b""))
            session.flush()
            session.add(
                Message(
                    id=1,
                    correlation="",
                    payload_id=1,
                    sha256="",
                    size=0,
                    control_id="",
                    sender="",
                    message_type="",
                    peer="",
                    state="received",
                    received_at=0,
                )
            )
            session.flush()
            session.add(
                Delivery(
                    message_id=1,
                    destination="dmp",
                    action="submit",
                    order_key="k",
                    state=state,
                    due_at=0,
                    expires_at=1,
                    plan=b"",
                    created_at=0,
                    finished_at=finished,
                )
            )
            session.flush()

        return operation

    try:
        for state, finished in (("sent", None), ("succeeded", None), ("ready", 1.0)):
            with pytest.raises(IntegrityError):
                await journal.write(insert(state, finished))  # type: ignore[arg-type]
        await journal.write(insert("ready", None))  # type: ignore[arg-type]
    finally:
        await journal.close()


def claimed(*, uncertain: bool, expires_at: float = 100.0, attempt: int = 9) -> Claimed:
    return Claimed(
        id=1,
        message_id=1,
        control_id="M1",
        destination="dmp",
        recipient="",
        action=Action.SUBMIT,
        plan=b"",
        attempt=attempt,
        uncertain=uncertain,
        expires_at=expires_at,
        documents=(),
        predecessor=Predecessor.NONE,
        predecessor_uids=(),
        uncertain_attempts=0,
        may_be_there=False,
    )


@pytest.mark.parametrize("uncertain", [False, True])
@pytest.mark.parametrize("outcome", OutcomeClass)
@pytest.mark.parametrize("now", [10.0, 1000.0])
def test_every_outcome_leads_to_a_state_that_the_table_allows(
    outcome: OutcomeClass, uncertain: bool, now: float
) -> None:
    before = DeliveryState.UNCERTAIN if uncertain else DeliveryState.SENDING
    following = after_attempt(claimed(uncertain=uncertain), outcome, now, 1.0)
    move(before, following.state)
    # whatever is not final must have a time to be taken up again
    assert (following.delay is None) == (following.state in FINAL)


def test_backoff_grows_to_its_ceiling_and_jitter_stays_in_its_band() -> None:
    policy = RetrySettings()
    assert [delay_after(n, policy, 0) for n in (1, 2, 3, 4)] == [2, 4, 8, 16]
    assert delay_after(10_000, policy, 0) == 900
    assert delay_after(3, policy, -1) == pytest.approx(6.4)
    assert delay_after(3, policy, 1) == pytest.approx(9.6)


def test_circuit_opens_once_probes_and_says_how_long_it_was_open() -> None:
    circuit = Circuit(probe_every=60)
    assert circuit.allowance(0, 4) == 4
    assert circuit.open(100, "X") is True
    assert circuit.open(110, "X") is False
    assert circuit.allowance(120, 4) == 0
    assert circuit.allowance(170, 4) == 1
    assert circuit.allowance(171, 4) == 0
    assert circuit.close(200) == 100
    assert circuit.close(201) is None
    assert circuit.allowance(202, 4) == 4


def test_a_second_round_of_uncertainty_waits() -> None:
    """Sent, unknown, looked up, sent again at once; the next rounds back off (an operator that takes a mail and then
    cuts must not be sent it in a loop)."""
    sent, looked = OutcomeClass.UNCERTAIN, OutcomeClass.TRANSIENT
    assert after_attempt(claimed(uncertain=False, attempt=1), sent, 0, 7.0).delay == 0
    assert after_attempt(claimed(uncertain=True, attempt=2), looked, 0, 7.0).delay == 0
    assert after_attempt(claimed(uncertain=False, attempt=3), sent, 0, 7.0).delay == 7.0
    assert after_attempt(claimed(uncertain=True, attempt=4), looked, 0, 7.0).delay == 7.0


def test_a_delivery_that_waited_for_others_has_its_attempts_before_it_expires() -> None:
    first = after_attempt(claimed(uncertain=False, attempt=1), OutcomeClass.TRANSIENT, 1000.0, 1.0)
    assert first.state is DeliveryState.READY
