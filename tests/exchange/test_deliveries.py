"""Deliveries after the ACK: retries, order, predecessor, uncertainty, circuit (architecture §5, §7)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.port import Outcome, OutcomeClass, Predecessor
from fixtures import build
from tests.exchange.harness import ROOT, cda, delete, replace, running, submit

TRANSIENT = Outcome(OutcomeClass.TRANSIENT, "503", "indisponible")
PERMANENT = Outcome(OutcomeClass.PERMANENT, "XDSRepositoryError", "refus")
UNCERTAIN = Outcome(OutcomeClass.UNCERTAIN, "", "coupure")
CONFIGURATION = Outcome(OutcomeClass.CONFIGURATION, "DMPInvalidCertificate", "certificat")
SUCCESS = Outcome(OutcomeClass.SUCCESS, "200", "ok")


async def test_a_transient_failure_is_retried_until_success_and_told_once(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [TRANSIENT, TRANSIENT]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        deliveries = await r.settled("M1")
        dmp = next(d for d in deliveries if d["destination"] == "dmp")
        assert dmp["state"] == "succeeded"
        assert [h["outcome"] for h in dmp["history"]] == ["transient", "transient", "success"]
        assert [j.attempt for j in r.dmp.jobs] == [1, 2, 3]
        assert len(r.dpi.jobs) == 1
        assert "|M1|Y^^" in r.dpi.jobs[0].plan.decode()


async def test_one_dead_destination_does_not_hold_up_the_other(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.gate = asyncio.Event()  # the DMP hangs
        for n in range(1, 11):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"
        await r.until(lambda: len(r.mss.jobs) == 10)
        assert len(r.dmp.jobs) <= 4
        r.dmp.gate.set()
        for n in range(1, 11):
            await r.settled(f"M{n}")


async def test_past_its_lifetime_a_delivery_expires_and_the_dpi_is_told_n(tmp_path: Path) -> None:
    retry = {"first": 0.05, "longest": 0.05, "jitter": 0, "lifetime": 0.2}
    async with running(tmp_path, engine={"retry": retry}) as r:
        r.dmp.outcomes = [TRANSIENT] * 100
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        deliveries = await r.settled("M1")
        assert deliveries[0]["state"] == "expired"
        assert "|M1|N^^" in r.dpi.jobs[0].plan.decode()


async def test_the_connector_gets_the_exact_bytes_of_the_document(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1"))
        await r.settled("M1")
        assert r.dmp.contents == [cda()] == r.mss.contents


async def test_versions_of_a_set_reach_a_destination_in_their_order(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [TRANSIENT, TRANSIENT]
        r.dmp.gate = asyncio.Event()
        assert (await r.send(submit("M1"))).code == "AA"
        assert (await r.send(replace("M2", 1, 2, replaces=1))).code == "AA"
        assert (await r.send(replace("M3", 1, 3, replaces=2))).code == "AA"
        assert [d["state"] for d in (await r.state("M3"))["deliveries"] if d["destination"] == "dmp"] == [
            "held"
        ]
        r.dmp.gate.set()
        for name in ("M1", "M2", "M3"):
            await r.settled(name)
        assert [j.documents[0].uid for j in r.dmp.jobs] == [f"{ROOT}.1.{v}" for v in (1, 1, 1, 2, 3)]
        assert [j.documents[0].uid for j in r.mss.jobs] == [f"{ROOT}.1.{v}" for v in (1, 2, 3)]


async def test_another_set_does_not_wait(tmp_path: Path) -> None:
    async with running(tmp_path, engine={"retry": {"first": 60}}) as r:
        r.dmp.outcomes = [TRANSIENT]
        await r.send(submit("M1", 1, recipients=()))
        await r.until(lambda: len(r.dmp.jobs) == 1)
        await r.send(submit("M2", 2, recipients=()))
        await r.settled("M2")
        assert [j.documents[0].uid for j in r.dmp.jobs] == [f"{ROOT}.1.1", f"{ROOT}.2.1"]
        assert (await r.state("M1"))["deliveries"][0]["state"] == "ready"


async def test_predecessor_first_submission(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1"))
        await r.settled("M1")
        assert r.dmp.jobs[0].predecessor is Predecessor.NONE


async def test_predecessor_delivered(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1"))
        await r.send(replace("M2", 1, 2, replaces=1))
        await r.settled("M2")
        assert (r.dmp.jobs[1].predecessor, r.dmp.jobs[1].predecessor_uids) == (
            Predecessor.DELIVERED,
            (f"{ROOT}.1.1",),
        )


async def test_v1_failed_v2_replaces_it_as_a_first_submission(tmp_path: Path) -> None:
    """Architecture §7: a version that was never delivered does not block its correction."""
    async with running(tmp_path) as r:
        r.dmp.outcomes = [PERMANENT]
        await r.send(submit("M1"))
        await r.settled("M1")
        assert (await r.send(replace("M2", 1, 2, replaces=1))).code == "AA"
        await r.settled("M2")
        assert r.dmp.jobs[1].predecessor is Predecessor.NOT_DELIVERED
        # at the mailbox V1 did arrive
        assert r.mss.jobs[1].predecessor is Predecessor.DELIVERED


async def test_v1_delivered_v2_failed_v3_replaces_v1_there(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [SUCCESS, PERMANENT]
        for message in (submit("M1"), replace("M2", 1, 2, replaces=1), replace("M3", 1, 3, replaces=2)):
            assert (await r.send(message)).code == "AA"
        await r.settled("M3")
        assert (r.dmp.jobs[2].predecessor, r.dmp.jobs[2].predecessor_uids) == (
            Predecessor.DELIVERED,
            (f"{ROOT}.1.1",),
        )


async def test_predecessor_unknown_here(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(replace("M2", 1, 2, replaces=1))).code == "AA"
        await r.settled("M2")
        assert (r.dmp.jobs[0].predecessor, r.dmp.jobs[0].predecessor_uids) == (
            Predecessor.UNKNOWN,
            (f"{ROOT}.1.1",),
        )
        rules = {f["rule"]: f["severity"] for f in (await r.state("M2"))["findings"]}
        assert rules.get("CDA-V-UNKNOWN") == "warn"


async def test_unknown_predecessor_refused_by_setting(tmp_path: Path) -> None:
    async with running(tmp_path, versions={"unknown_predecessor": "refuse"}) as r:
        ack = await r.send(replace("M2", 1, 2, replaces=1))
        assert (ack.code, [e.err5 for e in ack.errors]) == ("AE", ["900"])


async def test_a_deletion_names_the_version_that_is_there(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [SUCCESS, PERMANENT]
        await r.send(submit("M1"))
        await r.send(replace("M2", 1, 2, replaces=1))
        assert (await r.send(delete("M3", 1, 2, replaces=1))).code == "AA"
        await r.settled("M3")
        # V2 never reached the DMP: what must go there is V1
        assert (r.dmp.jobs[2].predecessor, r.dmp.jobs[2].predecessor_uids) == (
            Predecessor.DELIVERED,
            (f"{ROOT}.1.1",),
        )
        assert r.mss.jobs[2].predecessor_uids == (f"{ROOT}.1.2",)


async def test_a_second_deletion_is_refused_unless_the_first_one_failed_everywhere(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1"))
        await r.settled("M1")
        r.dmp.outcomes, r.mss.outcomes = [PERMANENT], [PERMANENT]
        assert (await r.send(delete("M2", 1, 1))).code == "AA"
        await r.settled("M2")
        assert (await r.send(delete("M3", 1, 1))).code == "AA"
        await r.settled("M3")
        assert (await r.send(delete("M4", 1, 1))).code == "AE"


async def test_an_uncertain_delivery_is_reconciled_before_any_resend_found(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [UNCERTAIN]
        r.dmp.reconciled = [SUCCESS]
        await r.send(submit("M1", recipients=()))
        dmp = (await r.settled("M1"))[0]
        assert dmp["state"] == "succeeded"
        assert [(h["kind"], h["outcome"]) for h in dmp["history"]] == [
            ("deliver", "uncertain"),
            ("reconcile", "success"),
        ]
        assert len(r.dmp.jobs) == 1
        assert "|M1|Y^^" in r.dpi.jobs[0].plan.decode()


async def test_an_uncertain_delivery_that_did_not_happen_is_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [UNCERTAIN]
        r.dmp.reconciled = [UNCERTAIN, CONFIGURATION, TRANSIENT]
        await r.send(submit("M1", recipients=()))
        dmp = (await r.settled("M1"))[0]
        assert dmp["state"] == "succeeded"
        assert [h["kind"] for h in dmp["history"]] == [
            "deliver",
            "reconcile",
            "reconcile",
            "reconcile",
            "deliver",
        ]


async def test_an_exception_of_a_connector_makes_the_delivery_uncertain_not_lost(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [RuntimeError("DURAND")]
        r.dmp.reconciled = [SUCCESS]
        await r.send(submit("M1", recipients=()))
        dmp = (await r.settled("M1"))[0]
        assert [(h["kind"], h["outcome"]) for h in dmp["history"]] == [
            ("deliver", "uncertain"),
            ("reconcile", "success"),
        ]
        assert "DURAND" not in str(await r.state("M1"))


async def test_a_configuration_fault_stops_the_destination_alerts_once_and_resumes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [CONFIGURATION] * 6
        for n in range(1, 6):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"
        for n in range(1, 6):
            await r.settled(f"M{n}")
        alerts = [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"]
        assert len([a for a in alerts if "stopped" in a]) == 1
        assert len([a for a in alerts if "works again" in a]) == 1
        assert len(r.mss.jobs) == 5
        for n in range(1, 6):
            states = [d["state"] for d in (await r.state(f"M{n}"))["deliveries"]]
            assert set(states) == {"succeeded"}


async def test_a_mail_that_may_have_arrived_is_not_sent_in_a_loop(tmp_path: Path) -> None:
    """Review: without backoff one recipient got 717 mails in 3 s."""
    async with running(tmp_path, engine={"retry": {"first": 30, "jitter": 0}}) as r:
        r.mss.outcomes = [UNCERTAIN] * 50
        await r.send(submit("M1"))
        await r.until(lambda: len(r.mss.jobs) == 2)
        await r.until(lambda: len(r.dmp.jobs) == 1)
        delivery = next(d for d in (await r.state("M1"))["deliveries"] if d["destination"] == "mss")
        assert delivery["state"] in ("sending", "uncertain")
        assert [j.attempt for j in r.mss.jobs] == [1, 3]
        assert [j.uncertain_attempts for j in r.mss.reconciliations] == [1]


async def test_what_may_be_there_is_named_before_what_certainly_is(tmp_path: Path) -> None:
    """V1 delivered, V2 ended without an answer: a deletion of V2 must look for V2 first, then for V1."""
    retry = {"first": 0.01, "longest": 0.01, "jitter": 0, "lifetime": 0.01}
    async with running(tmp_path, engine={"retry": retry}) as r:
        await r.send(submit("M1", recipients=()))
        await r.settled("M1")
        r.dmp.outcomes = [UNCERTAIN] * 20
        r.dmp.reconciled = [UNCERTAIN] * 20
        await r.send(replace("M2", 1, 2, replaces=1, recipients=()))
        assert (await r.settled("M2"))[0]["state"] == "expired"
        r.dmp.outcomes = []
        await r.send(delete("M3", 1, 2, replaces=1, recipients=()))
        await r.settled("M3")
        last = r.dmp.jobs[-1]
        assert last.predecessor is Predecessor.DELIVERED
        assert last.predecessor_uids == (f"{ROOT}.1.2", f"{ROOT}.1.1")


async def test_a_deletion_waits_for_the_mail_with_two_documents(tmp_path: Path) -> None:
    """Order holds for each set of a delivery, not for one of them."""
    n1, n3 = cda(1), build.cda_n3(uid=f"{ROOT}.2.1", set_id=f"{ROOT}.2")
    async with running(tmp_path) as r:
        r.mss.outcomes = [TRANSIENT] * 3
        r.mss.gate = asyncio.Event()
        assert (await r.send(build.oru("submit", [n1, n3], control_id="M1"))).code == "AA"
        assert (await r.send(build.oru("delete", [n1, n3], control_id="M2"))).code == "AA"
        states = {d["destination"]: d["state"] for d in (await r.state("M2"))["deliveries"]}
        assert states["mss"] == "held"
        r.mss.gate.set()
        await r.settled("M2")
        assert [j.action.value for j in r.mss.jobs] == ["submit"] * 4 + ["delete"]
        assert r.mss.jobs[-1].predecessor is Predecessor.DELIVERED


async def test_a_bug_in_what_is_told_does_not_hold_the_delivery_nor_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as r:

        def broken(*_args: object) -> None:
            raise KeyError("DURAND")

        monkeypatch.setattr(r.dmp, "report", broken)
        await r.send(submit("M1", recipients=()))
        await r.send(replace("M2", 1, 2, replaces=1, recipients=()))
        for name in ("M1", "M2"):
            assert [d["state"] for d in await r.settled(name)] == ["succeeded"]
        assert "nobody was told" in caplog.text


async def test_all_free_slots_are_used_once_it_is_quiet(tmp_path: Path) -> None:
    """Review: after claims under pressure the loop slept 30 s with slots free and work due."""
    async with running(tmp_path) as r:
        r.dmp.gate = asyncio.Event()
        for n in range(1, 5):
            assert (await r.send(submit(f"M{n}", n, recipients=()))).code == "AA"
        await r.until(lambda: len(r.dmp.jobs) == 4)
        r.dmp.gate.set()


async def test_a_claim_that_fails_does_not_end_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.journal import claims

    async with running(tmp_path) as r:
        real, failures = claims.claim, iter([KeyError("bug")])

        def claim(*args: object) -> object:
            for failure in failures:
                raise failure
            return real(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(claims, "claim", claim)
        await r.send(submit("M1", recipients=()))
        assert {d["state"] for d in await r.settled("M1")} == {"succeeded"}


async def test_a_closed_circuit_gives_the_time_back(tmp_path: Path) -> None:
    retry = {"first": 0.05, "longest": 0.1, "jitter": 0, "circuit_probe": 0.05, "lifetime": 0.3}
    async with running(tmp_path, engine={"retry": retry}) as r:
        r.dmp.outcomes = [CONFIGURATION, CONFIGURATION, TRANSIENT, SUCCESS]
        await r.send(submit("M1", recipients=()))
        assert (await r.settled("M1"))[0]["state"] == "succeeded"
