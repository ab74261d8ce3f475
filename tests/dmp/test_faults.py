"""Every fault of the simulator's plan × every transaction: its outcome class, and that it ends well.

The table is the contract of spec dmp §4.4: what the fault says of the request decides, not the fault's name.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from connectors.dmp.connector import DmpConnector
from connectors.dmp.consultation import Consultation, Updated
from connectors.dmp.responses import Failure
from connectors.dmp.simulator import DmpSimulator, Fault
from connectors.dmp.simulator.faults import Kind
from connectors.dmp.vihf import StrongAuthentication
from connectors.port import DeliveryJob, Outcome, OutcomeClass, Predecessor
from connectors.xds import ebrim, queries
from connectors.xds.model import XdsCode
from connectors.xds.registry import Found
from fixtures import build
from gateway import views
from gateway.app import Gateway
from gateway.hl7.acknowledgement import read
from gateway.hl7.transmission import Action
from gateway.mllp import send
from gateway.settings import Settings
from tests.dmp.conftest import Dpi, connector_for
from tests.dmp.test_api import NOW, VIHF_SUBJECT
from tests.xds import samples

S, T, C, U = (
    OutcomeClass.SUCCESS,
    OutcomeClass.TRANSIENT,
    OutcomeClass.CONFIGURATION,
    OutcomeClass.UNCERTAIN,
)

TABLE: dict[str, tuple[dict[str, Any], OutcomeClass, OutcomeClass, bool]] = {
    # kind: (its parameters, when it hits a write, when it hits a look-up before the write, kept by the DMP)
    "delay": ({"seconds": 0.1}, S, S, True),
    "code": ({"code": "XDSRepositoryBusy"}, T, T, False),
    "soap_fault": ({"code": "DMPInvalidCertificate", "words": "x"}, C, C, False),
    "http": ({"status": 503, "retry_after": 1}, U, T, False),
    "html": ({}, U, T, False),
    "drop": ({}, U, T, False),
    "commit_then_drop": ({}, U, T, True),
    "wrong_relates_to": ({}, U, T, True),
    "cut_body": ({}, U, T, True),
    "warning": ({"code": "XDSExtraMetadataNotSaved"}, S, S, True),
    "partial": ({"code": "XDSRepositoryError"}, U, T, True),
    "slow_body": ({"seconds": 30.0}, U, T, True),
    "huge_body": ({"size": 2_000_000}, U, T, True),
    "expired_certificate": ({}, C, C, False),
    "other_certificate": ({}, C, C, False),
}
DELIVERIES = [
    ("TD2.1a", Action.SUBMIT, "submit"),
    ("TD2.1b", Action.REPLACE, "query"),
    ("TD2.1b", Action.REPLACE, "submit"),
    ("TD3.3c", Action.DELETE, "query"),
    ("TD3.3c", Action.DELETE, "update"),
]
LIMITS: dict[str, Any] = {
    "max_reply_size": 500_000,
    "max_retrieved_size": 500_000,
    "timeouts": {"read": 4, "total": 4},
}


def test_every_fault_of_the_plan_is_in_the_table() -> None:
    assert set(TABLE) == set(get_args(Kind))


@pytest.fixture
async def limited(simulator: DmpSimulator) -> AsyncIterator[DmpConnector]:
    """A connector with small limits, so that slow and huge answers are met quickly."""
    made = await connector_for({**simulator.connector_settings(), **LIMITS})
    yield made
    await made.stop()


async def job_of(action: Action, dpi: Dpi) -> DeliveryJob:
    if action is Action.SUBMIT:
        return await dpi.job(samples.document())
    first = await dpi.connector.deliver(await dpi.job(samples.document()))
    assert first.outcome is S
    if action is Action.REPLACE:
        return await dpi.job(samples.version_2(), action, Predecessor.DELIVERED)
    return await dpi.job(samples.document(), action, Predecessor.DELIVERED)


async def until_the_end(connector: DmpConnector, job: DeliveryJob, first: Outcome) -> Outcome:
    """What the heart does after a first attempt: look after an unknown outcome, send again after a failure."""
    outcome, uncertain = first, int(first.outcome is U)
    for attempt in range(2, 8):
        if outcome.outcome in (S, OutcomeClass.PERMANENT):
            return outcome
        again = replace(job, attempt=attempt, uncertain_attempts=uncertain)
        if outcome.outcome is U:
            outcome = await connector.reconcile(again)
        else:
            outcome = await connector.deliver(again)
            uncertain += outcome.outcome is U
    return outcome


@pytest.mark.parametrize(("transaction", "action", "hit"), DELIVERIES)
@pytest.mark.parametrize("kind", TABLE)
async def test_deliveries(
    simulator: DmpSimulator,
    limited: DmpConnector,
    kind: Kind,
    transaction: str,
    action: Action,
    hit: Any,
) -> None:
    """The class of the attempt, what the DMP kept, and the end: done once, never twice."""
    parameters, on_write, on_look_up, kept = TABLE[kind]
    job = await job_of(action, Dpi(limited))
    writes_before = sum(e.kept for e in simulator.events)
    by_certificate = kind.endswith("_certificate")
    simulator.plan(Fault(kind, action=None if by_certificate else hit, **parameters))
    outcome = await limited.deliver(job)
    assert outcome.outcome is (on_look_up if hit == "query" else on_write), outcome
    if outcome.outcome is not S:
        assert outcome.label, "the DPI is told in words"
        expected = kept and hit != "query"
        assert (sum(e.kept for e in simulator.events) > writes_before) is expected
    ended = await until_the_end(limited, job, outcome)
    assert ended.outcome is S, ended
    assert sum(e.kept for e in simulator.events) == writes_before + 1
    status = "Deleted" if action is Action.DELETE else "Approved"
    assert simulator.documents[job.documents[0].uid].status == status


SUBJECT = replace(
    VIHF_SUBJECT,
    strong=StrongAuthentication("urn:oasis:names:tc:SAML:2.0:ac:classes:TLSClient", NOW),
)
MASK = XdsCode("MASQUE_PS", "1.2.250.1.213.1.1.4.13", "Masqué aux professionnels de santé")


def outcome_of(answer: object) -> OutcomeClass:
    return answer.outcome if isinstance(answer, Failure) else S


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("transaction", ["TD0.2", "TD3.1a", "TD3.2"])
async def test_questions(
    simulator: DmpSimulator, limited: DmpConnector, kind: Kind, transaction: str
) -> None:
    """Nothing is written: a question that failed may be asked again; it is never uncertain."""
    parameters, _, expected, _ = TABLE[kind]
    assert (await limited.deliver(await Dpi(limited).job(samples.document()))).outcome is S
    consult = Consultation(limited._link, limited._clock)
    action: Any = {"TD0.2": "exist", "TD3.1a": "query", "TD3.2": "retrieve"}[transaction]
    by_certificate = kind.endswith("_certificate")
    simulator.plan(Fault(kind, action=None if by_certificate else action, **parameters))
    answer: object
    if transaction == "TD0.2":
        answer = await consult.exists(SUBJECT, (build.INS_TEST, build.PATIENT.ins), "T")
    elif transaction == "TD3.1a":
        answer = await consult.search(
            SUBJECT, queries.find_documents(SUBJECT.patient, queries.DocumentFilter())
        )
    else:
        answer = await consult.retrieve(SUBJECT, f"{samples.ROOT}.1.1")
    if kind == "partial":
        expected = outcome_of(answer)  # what was found is given beside what was not, or a refusal is told
        assert expected is not U
    assert outcome_of(answer) is expected, answer


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("transaction", ["TD3.3a", "TD3.3d"])
async def test_updates(simulator: DmpSimulator, limited: DmpConnector, kind: Kind, transaction: str) -> None:
    """An unknown outcome is read back at once: done, or not done and may be asked again."""
    parameters, on_write, _, kept = TABLE[kind]
    job = await Dpi(limited).job(samples.document())
    assert (await limited.deliver(job)).outcome is S
    consult = Consultation(limited._link, limited._clock)
    lot = samples.lot()
    by_certificate = kind.endswith("_certificate")
    simulator.plan(Fault(kind, action=None if by_certificate else "update", **parameters))
    uid = job.documents[0].uid
    if transaction == "TD3.3a":
        answer = await consult.set_confidentiality(SUBJECT, lot, uid, add=[MASK], remove=())
    else:
        answer = await consult.set_status(SUBJECT, lot, uid, ebrim.ARCHIVED)
    stored = simulator.documents[uid]
    done = stored.status == "Archived" or "MASQUE_PS" in stored.confidentiality
    assert done is kept
    if on_write is U and kept:
        assert answer == Updated(uid, changed=True, recovered=True)
    elif on_write is U:
        assert isinstance(answer, Failure) and (answer.outcome, answer.code) == (T, "NOT_DONE")
    else:
        assert outcome_of(answer) is on_write, answer


# --- through the whole gateway ------------------------------------------------------------------------------------


async def test_no_fault_leaves_a_delivery_stuck(simulator: DmpSimulator, tmp_path: Path) -> None:
    """One document for each fault, through the real heart: all published once, all ended."""
    settings = Settings(
        listener={"port": 0},
        web={"enabled": False},
        journal={"path": "journal.sqlite"},
        engine={"retry": {"first": 0.05, "longest": 0.2, "jitter": 0, "circuit_probe": 0.1}},
        connectors={"dmp": {**simulator.connector_settings(), **LIMITS}},
    )
    kinds = [k for k in TABLE if k != "slow_body"]
    uids = {kind: f"{samples.ROOT}.50{n}.1" for n, kind in enumerate(kinds)}
    for kind, uid in uids.items():
        given = {} if kind.endswith("_certificate") else {"action": "submit", "unique_id": uid}
        simulator.plan(Fault(kind, **given, **TABLE[kind][0]))  # type: ignore[arg-type]
    gateway = Gateway(settings, tmp_path)
    await gateway.start()
    try:
        for kind, uid in uids.items():
            cda = build.cda_n1(uid=uid, set_id=uid.removesuffix(".1"))
            message = build.mdm("T02", cda, control_id=f"F-{kind}"[:20], recipients=())
            assert read(await send("127.0.0.1", gateway.mllp_port, message)).code == "AA"
        states = await ended(gateway, [f"F-{kind}"[:20] for kind in kinds])
    finally:
        await gateway.stop()
    assert states == dict.fromkeys(states, "succeeded")
    assert set(simulator.documents) == set(uids.values())
    kept = [e.unique_id for e in simulator.events if e.kept]
    assert sorted(kept) == sorted(set(kept))


async def ended(gateway: Gateway, control_ids: list[str]) -> dict[str, str]:
    """State of the DMP delivery of each message, once all have ended."""
    async with asyncio.timeout(90):
        while True:
            states: dict[str, str] = {}
            for control_id in control_ids:
                found = await gateway.journal.read(lambda s, c=control_id: views.messages_by_control_id(s, c))
                (delivery,) = found[-1]["deliveries"]
                if delivery["finished_at"]:
                    states[control_id] = delivery["state"]
            if len(states) == len(control_ids):
                return states
            await asyncio.sleep(0.1)


async def test_expired_without_an_answer_then_asked_again_is_told_yes(
    simulator: DmpSimulator, tmp_path: Path
) -> None:
    """The DMP kept the document, cut, and could not be asked until the delivery expired: N (unknown outcome). The DPI
    sends it again: the gateway looks first, finds its own bytes there, publishes nothing more and says Y."""
    retry = {"first": 0.02, "longest": 0.05, "jitter": 0, "lifetime": 0.01}
    settings = Settings(
        listener={"port": 0},
        web={"enabled": False},
        journal={"path": "journal.sqlite"},
        engine={"retry": retry},
        connectors={"dmp": simulator.connector_settings()},
    )
    simulator.plan(Fault("commit_then_drop", action="submit"))
    simulator.plan(Fault("http", action="query", times=0))
    cda = build.cda_n1()
    gateway = Gateway(settings, tmp_path)
    await gateway.start()
    try:
        for control_id, state in (("FIRST", "expired"), ("AGAIN", "succeeded")):
            message = build.mdm("T02", cda, control_id=control_id, recipients=())
            assert read(await send("127.0.0.1", gateway.mllp_port, message)).code == "AA"
            assert await ended(gateway, [control_id]) == {control_id: state}
            simulator.clear_faults()
    finally:
        await gateway.stop()
    assert sum(e.action == "submit" for e in simulator.events) == 1
    assert simulator.documents[f"{samples.ROOT}.1.1"].content == cda


async def test_the_last_version_of_the_metadata_counts(
    simulator: DmpSimulator, limited: DmpConnector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registry may give every version of an entry (one lid, one uniqueId): updates name the last one."""
    assert (await limited.deliver(await Dpi(limited).job(samples.document()))).outcome is S
    consult = Consultation(limited._link, limited._clock)
    uid = f"{samples.ROOT}.1.1"
    assert isinstance(
        await consult.set_confidentiality(SUBJECT, samples.lot(), uid, add=[MASK], remove=()), Updated
    )
    last = await consult.document(SUBJECT, uid)
    assert not isinstance(last, Failure)
    former = replace(last, entry_uuid="urn:uuid:00000000-0000-4000-8000-000000000000", version="1")
    found = Found(documents=(last, former))
    monkeypatch.setattr("connectors.xds.registry.read_objects", lambda content: found)
    assert await consult.document(SUBJECT, uid) == last
    other = replace(former, logical_id="urn:uuid:00000000-0000-4000-8000-000000000001")
    found = Found(documents=(last, other))
    ambiguous = await consult.document(SUBJECT, uid)
    assert isinstance(ambiguous, Failure) and ambiguous.code == "AMBIGUOUS"
