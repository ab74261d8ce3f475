"""The same message again, the same document again, two at once (architecture §6, §7a)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from connectors.port import Outcome, OutcomeClass
from fixtures import build
from tests.exchange.harness import cda, replace, running, submit

PERMANENT = Outcome(OutcomeClass.PERMANENT, "XDSRepositoryError", "refus")
UNCERTAIN = Outcome(OutcomeClass.UNCERTAIN, "", "coupure")


async def test_the_same_message_gets_the_same_ack_bytes_and_nothing_runs_twice(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        first = await r.send_raw(submit("M1"))
        await r.settled("M1")
        again = await r.send_raw(submit("M1"))
        assert again == first
        await r.settled("M1")
        assert (r.dmp.prepared, len(r.dmp.jobs), len(r.mss.jobs)) == (1, 1, 1)


async def test_a_refusal_is_replayed_too(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        wrong = submit("M1").replace(b"TXA|1|11502-2", b"TXA|1|11488-4")
        first = await r.send_raw(wrong)
        assert b"MSA|AE|M1" in first
        assert await r.send_raw(wrong) == first


async def test_the_same_control_id_with_other_content_is_refused_and_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", 1))).code == "AA"
        ack = await r.send(submit("M1", 2))
        assert ack.code == "AE"
        assert [(e.diagnostic, e.location) for e in ack.errors] == [("EXC-SAME-CONTROL-ID", "MSH^1^10")]
        assert len(r.dmp.jobs) <= 1
        # the first answer still stands
        assert (await r.send(submit("M1", 1))).code == "AA"


async def test_the_same_control_id_of_another_sender_is_another_message(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", 1))).code == "AA"
        other = submit("M1", 2).replace(b"|SIL-ESSAI|", b"|AUTRE-DPI|", 1)
        assert (await r.send(other)).code == "AA"


async def test_two_documents_that_came_together_are_replaced_together(tmp_path: Path) -> None:
    """ORU with two documents: replacing or deleting one requires the other, by either message."""

    def n3(version: int, replaces: int | None = None) -> bytes:
        before = f"{build.DOCUMENT_ROOT}.2.{replaces}" if replaces else None
        uid = f"{build.DOCUMENT_ROOT}.2.{version}"
        return build.cda_n3(uid=uid, set_id=f"{build.DOCUMENT_ROOT}.2", version=version, replaces=before)

    async with running(tmp_path) as r:
        assert (await r.send(build.oru("submit", [cda(1), n3(1)], control_id="M1"))).code == "AA"
        for alone in (replace("M2", 1, 2, replaces=1), build.oru("delete", [n3(1)], control_id="M3")):
            ack = await r.send(alone)
            assert [(e.diagnostic, e.location, e.err5) for e in ack.errors] == [
                ("CDA-V-PAIR", "OBX^1^5", "900")
            ]
        both = build.oru("replace", [cda(1, 2, 1), n3(2, 1)], control_id="M4")
        assert (await r.send(both)).code == "AA"
        assert (await r.send(build.oru("delete", [cda(1, 2, 1), n3(2, 1)], control_id="M5"))).code == "AA"


async def test_the_same_message_twice_at_once_is_worked_on_once(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.mss.prepare_seconds = 0.2
        answers = await asyncio.gather(*(r.send_raw(submit("M1")) for _ in range(5)))
        assert len(set(answers)) == 1
        assert r.dmp.prepared == 1
        await r.settled("M1")
        assert len(r.dmp.jobs) == len(r.mss.jobs) == 1


async def test_two_senders_racing_with_the_same_document_get_exactly_one_aa(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.mss.prepare_seconds = 0.2  # both pass the first look at the register
        messages = [submit(f"M{n}") for n in range(4)]
        acks = await asyncio.gather(*(r.send(m) for m in messages))
        assert sorted(a.code for a in acks) == ["AA", "AE", "AE", "AE"]
        refused = [a for a in acks if a.code == "AE"]
        assert {e.diagnostic for a in refused for e in a.errors} == {"EXC-ALREADY-TRANSMITTED"}
        winner = next(a.acknowledged for a in acks if a.code == "AA")
        await r.settled(winner)
        assert len(r.dmp.jobs) == len(r.mss.jobs) == 1


async def test_the_same_document_with_nothing_left_to_do_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        ack = await r.send(submit("M2"))
        assert ack.code == "AE"
        assert [(e.diagnostic, e.err3, e.err5) for e in ack.errors] == [
            ("EXC-ALREADY-TRANSMITTED", "207", "906")
        ]


async def test_a_destination_that_failed_runs_again_and_one_that_succeeded_does_not(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [PERMANENT]
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        assert (await r.send(submit("M2"))).code == "AA"
        deliveries = await r.settled("M2")
        assert [d["destination"] for d in deliveries if d["destination"] != "dpi"] == ["dmp"]
        assert (len(r.dmp.jobs), len(r.mss.jobs)) == (2, 1)


async def test_a_zam_asked_for_again_is_answered_from_the_record(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [PERMANENT]
        await r.send(submit("M1"))
        await r.settled("M1")
        r.dpi.jobs.clear()
        await r.send(submit("M2"))  # the DMP part runs again, the MSSanté part stands
        await r.until(lambda: len(r.dpi.jobs) == 2)
        plans = [j.plan.decode() for j in r.dpi.jobs]
        assert any("ZAM^Z02" in p and "|M2|Y^^" in p for p in plans)
        assert any("ZAM^Z01" in p and "|M2|Y^^" in p for p in plans)
        assert len(r.mss.jobs) == 1


async def test_a_new_recipient_is_a_later_copy_without_a_new_version(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.mss.recipients = ("a@test-hopital.mssante.fr",)
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        r.mss.recipients = ("a@test-hopital.mssante.fr", "b@test-hopital.mssante.fr")
        assert (await r.send(submit("M2"))).code == "AA"
        await r.settled("M2")
        assert [j.recipient for j in r.mss.jobs] == ["a@test-hopital.mssante.fr", "b@test-hopital.mssante.fr"]
        assert len(r.dmp.jobs) == 1


async def test_the_same_id_with_other_bytes_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        other = build.mdm("T02", cda(title="Un autre titre"), control_id="M2")
        ack = await r.send(other)
        assert ack.code == "AE"
        assert [e.err5 for e in ack.errors] == ["906"]


async def test_an_obsolete_version_is_refused_900(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        assert (await r.send(replace("M2", 1, 3, replaces=1))).code == "AA"
        ack = await r.send(replace("M3", 1, 2, replaces=1))
        assert ack.code == "AE"
        assert "900" in [e.err5 for e in ack.errors]


async def test_a_replacement_for_another_patient_is_refused(tmp_path: Path) -> None:
    """The journal knows whose document it is: a version must never move to another patient (CDA-V-PATIENT)."""
    other = build.Patient(ins="1850175123004" + build.ins_key("1850175123004"))
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1"))).code == "AA"
        moved = build.mdm("T10", cda(1, 2, 1, patient=other), control_id="M2", patient=other)
        ack = await r.send(moved)
        assert ack.code == "AE"
        assert "CDA-V-PATIENT" in [e.diagnostic for e in ack.errors]


async def test_asked_for_again_after_an_unknown_outcome_the_connector_is_told(tmp_path: Path) -> None:
    """A delivery that expired without an answer, and the DPI sends again: the same bytes may be there."""
    retry = {"first": 0.01, "longest": 0.01, "jitter": 0, "lifetime": 0.01}
    async with running(tmp_path, engine={"retry": retry}) as r:
        r.dmp.outcomes = [UNCERTAIN] * 20
        r.dmp.reconciled = [UNCERTAIN] * 20
        await r.send(submit("M1", recipients=()))
        first = await r.settled("M1")
        assert [d["state"] for d in first if d["destination"] == "dmp"] == ["expired"]
        r.dmp.outcomes.clear()
        assert (await r.send(submit("M2", recipients=()))).code == "AA"
        await r.settled("M2")
        assert [j.may_be_there for j in r.dmp.jobs] == [False, True]


async def test_asked_for_again_after_a_refusal_nothing_may_be_there(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.PERMANENT, "DMPClosed", "DMP fermé")]
        await r.send(submit("M1", recipients=()))
        await r.settled("M1")
        await r.send(submit("M2", recipients=()))
        await r.settled("M2")
        assert [j.may_be_there for j in r.dmp.jobs] == [False, False]
