"""The single ACK (architecture §6): all errors of all connectors in one AE; a circumstance gives AR; nothing
sent.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors.port import Preparation, Refused, Unavailable, Verdict
from fixtures import build
from gateway.errors import Finding, Place, Severity
from tests.exchange.harness import Scripted, running, submit


def refusing(rule: str) -> object:
    finding = Finding(rule, Severity.REJECT, "207", "906", f"refusé par {rule}", Place("PRT", 2, 15))
    return lambda _preparation: Refused((finding,))


async def test_two_refusals_give_one_ae_with_both_errors_and_nothing_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.verdict = refusing("DMP-X")  # type: ignore[assignment]
        r.mss.verdict = refusing("MSS-X")  # type: ignore[assignment]
        ack = await r.send(submit("M1"))
        assert ack.code == "AE"
        assert ack.acknowledged == "M1"
        assert [(e.diagnostic, e.err3, e.err5, e.location) for e in ack.errors] == [
            ("DMP-X", "207", "906", "PRT^2^15"),
            ("MSS-X", "207", "906", "PRT^2^15"),
        ]
        state = await r.state("M1")
        assert state["ack"] == "AE"
        assert state["deliveries"] == []
        assert state["documents"] == []
        assert not r.dmp.jobs and not r.mss.jobs


async def test_profile_errors_answer_before_any_connector_is_asked(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        wrong = submit("M1").replace(b"|UNICODE UTF-8|", b"||").replace(b"TXA|1|11502-2", b"TXA|1|11488-4")
        ack = await r.send(wrong)
        assert ack.code == "AE"
        assert len(ack.errors) >= 2
        assert r.dmp.prepared == r.mss.prepared == 0


async def test_a_refusal_wins_over_an_unavailable_connector(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.dmp.verdict = refusing("DMP-X")  # type: ignore[assignment]
        r.mss.verdict = lambda _p: Unavailable("certificat expiré.")
        ack = await r.send(submit("M1"))
        assert ack.code == "AE"
        assert [e.diagnostic for e in ack.errors] == ["DMP-X"]


async def test_an_unavailable_connector_gives_ar_and_sending_again_later_works(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        r.mss.verdict = lambda _p: Unavailable("certificat expiré.")
        first = await r.send(submit("M1"))
        assert first.code == "AR"
        assert [e.diagnostic for e in first.errors] == ["EXC-UNAVAILABLE"]
        assert "certificat expiré" in first.errors[0].text
        assert not r.dmp.jobs
        r.mss.verdict = None
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        assert len(r.dmp.jobs) == 1


async def test_a_connector_slower_than_the_deadline_gives_ar_and_sending_again_later_works(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, ack={"deadline": 1.5}) as r:
        r.mss.prepare_seconds = 30
        first = await r.send(submit("M1"))
        assert first.code == "AR"
        assert [e.diagnostic for e in first.errors] == ["EXC-DEADLINE"]
        assert not r.dmp.jobs and not r.mss.jobs
        r.mss.prepare_seconds = 0
        assert (await r.send(submit("M1"))).code == "AA"
        assert {d["destination"] for d in await r.settled("M1")} == {"dmp", "mss", "dpi"}


async def test_a_bug_of_a_connector_gives_ar_with_its_correlation_and_the_message_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_preparation: Preparation) -> Verdict:
        raise KeyError("DURAND")

    async with running(tmp_path) as r:
        r.dmp.verdict = broken
        ack = await r.send(submit("M1"))
        assert ack.code == "AR"
        assert [e.diagnostic for e in ack.errors] == ["EXC-INTERNAL"]
        state = await r.state("M1")
        assert state["correlation"] in ack.errors[0].text
        assert state["state"] == "answered" and state["ack"] == "AR"
        assert state["correlation"] in caplog.text


async def test_the_log_names_what_was_tolerated_in_an_accepted_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An AA has no ERR: rule ids alone, in the one line of the message."""
    caplog.set_level("INFO")
    tolerated = submit("M1").replace(b"\r", b"\n")
    async with running(tmp_path) as r:
        # `send` would put its line ends right
        assert b"MSA|AA|M1" in (await r.gateway.intake.handle(tolerated, "127.0.0.1") or b"")
        assert (await r.send(submit("M2", 2))).code == "AA"
        assert (await r.send(build.mdm("T02", b"pas un CDA", control_id="M3"))).code == "AE"
        assert not r.gateway.intake._tolerated
    lines = [line for line in caplog.messages if " to message M" in line]
    assert ["tolerated MSG-LINE-ENDS (" in line for line in lines] == [True, False, False]
    assert "tolerated - (" in lines[1] and "CDA-NOT-XML (" in lines[2] and ", rules " in lines[2]


async def test_a_destination_without_its_connector_is_refused_at_once(tmp_path: Path) -> None:
    async with running(tmp_path, {"dmp": Scripted("dmp"), "mss": Scripted("x"), "dpi": Scripted("dpi")}) as r:
        r.gateway.intake._connectors = {"dmp": r.dmp}  # only the DMP is configured
        ack = await r.send(submit("M1"))
        assert ack.code == "AE"
        assert [e.diagnostic for e in ack.errors] == ["EXC-NO-CONNECTOR"]


async def test_no_ack_is_sent_before_its_commit(tmp_path: Path) -> None:
    """When the client reads AA, the journal (read by another connection) already has it."""
    async with running(tmp_path) as r:
        for n in range(5):
            assert (await r.send(submit(f"M{n}", n))).code == "AA"
            state = await r.state(f"M{n}")
            assert state["ack"] == "AA"
            assert {d["destination"] for d in state["deliveries"]} >= {"dmp", "mss"}


async def test_zam_only_when_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1", 1, ack_reception=False))).code == "AA"
        assert {d["destination"] for d in await r.settled("M1")} == {"dmp", "mss"}
        assert (await r.send(submit("M2", 2, ack_reception=True))).code == "AA"
        await r.until(lambda: len(r.dpi.jobs) == 2)
        told = b"".join(j.plan for j in r.dpi.jobs)
        assert b"ZAM^Z01^ZAM_Z01" in told and b"ZAM^Z02^ZAM_Z01" in told


async def test_a_refused_delivery_is_told_with_the_destination_s_own_words(tmp_path: Path) -> None:
    from connectors.port import Outcome, OutcomeClass

    async with running(tmp_path) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.PERMANENT, "DMPClosed", "DMP fermé")]
        assert (await r.send(submit("M1", recipients=()))).code == "AA"
        await r.settled("M1")
        zam = r.dpi.jobs[0].plan.decode()
        assert "|M1|N^^expandedYes-NoIndicator" in zam
        assert "E|DMPClosed^DMP fermé^DMP_ERROR_CODE" in zam


async def test_the_two_connectors_prepare_at_the_same_time(tmp_path: Path) -> None:
    started: list[str] = []
    both = asyncio.Event()

    class Meeting(Scripted):
        async def prepare(self, preparation: Preparation) -> Verdict:
            started.append(self.name)
            if len(started) == 2:
                both.set()
            await both.wait()  # ends only if the other one is asked meanwhile
            return await super().prepare(preparation)

    async with running(tmp_path, {"dmp": Meeting("dmp"), "mss": Meeting("mss"), "dpi": Scripted("dpi")}) as r:
        assert (await r.send(build.mdm("T02", build.cda_n1(), control_id="M1"))).code == "AA"
        assert sorted(started) == ["dmp", "mss"]


async def test_thousands_of_errors_are_answered_with_an_ack_that_can_be_read(tmp_path: Path) -> None:
    """EXC-MORE-ERRORS: an ACK of as many ERR as the message has faults could not be read back nor sent."""
    message = submit("MANY1") + b"OBX|\r" * 4900
    async with running(tmp_path) as r:
        for _ in range(2):  # the stored one is sent again
            ack = await r.send(message)
            assert (ack.code, ack.acknowledged) == ("AE", "MANY1")
            rules = [e.diagnostic for e in ack.errors]
            assert (len(rules), set(rules[:-1]), rules[-1]) == (201, {"OBX-UNKNOWN"}, "EXC-MORE-ERRORS")
            assert ack.errors[-1].text.startswith("4700 autres erreurs")
        assert (await r.send(submit("AFTER1", 2))).code == "AA"


async def test_a_processing_id_that_is_not_served_is_refused(tmp_path: Path) -> None:
    """EXC-PROCESSING: a gateway that serves one environment sends nothing of another."""
    async with running(tmp_path, processing_ids=("T",)) as r:
        refused = await r.send(submit("D1", processing_id="D"))
        assert (refused.code, [(e.location, e.err3, e.diagnostic) for e in refused.errors]) == (
            "AE",
            [("MSH^1^11", "202", "EXC-PROCESSING")],
        )
        assert (await r.send(submit("T1", 2, processing_id="T"))).accepted
