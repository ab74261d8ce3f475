"""What a stop or a fault left behind: unanswered messages, deliveries in hand, damaged bytes (docs/decisions/0008)."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from connectors.port import Outcome, OutcomeClass
from gateway.errors import JournalUnavailable
from tests.exchange.harness import Scripted, raw, running, submit


async def test_a_message_without_an_answer_gets_ar_at_start_and_may_be_sent_again(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1"))
        await r.settled("M1")
    with raw(tmp_path) as db:  # as a stop between the two commits leaves it
        db.execute("DELETE FROM attempt")
        db.execute("DELETE FROM report_to")
        db.execute("DELETE FROM delivery_document")
        db.execute("DELETE FROM fact")
        db.execute("DELETE FROM delivery")
        db.execute("DELETE FROM document")
        db.execute("UPDATE message SET state = 'received', ack = NULL, ack_code = NULL, answered_at = NULL")
    async with running(tmp_path) as r:
        state = await r.state("M1")
        assert (state["state"], state["ack"]) == ("answered", "AR")
        assert [f["rule"] for f in state["findings"]] == ["EXC-INTERRUPTED"]
        assert not r.dmp.jobs, "nobody was told AA: nothing may be sent"
        assert (await r.send(submit("M1"))).code == "AA"
        await r.settled("M1")
        assert len(r.dmp.jobs) == 1


async def test_a_delivery_in_hand_is_reconciled_at_start(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1", recipients=()))
        await r.settled("M1")
    with raw(tmp_path) as db:  # as a kill during the transaction leaves it
        db.execute(
            "UPDATE delivery SET state = 'sending', finished_at = NULL, claimed_by = 'dead' WHERE destination = 'dmp'"
        )
    connectors = {name: Scripted(name) for name in ("dmp", "mss", "dpi")}
    connectors["dmp"].reconciled = [Outcome(OutcomeClass.SUCCESS)]
    async with running(tmp_path, connectors) as r:
        deliveries = await r.settled("M1")
        dmp = next(d for d in deliveries if d["destination"] == "dmp")
        assert [h["kind"] for h in dmp["history"]] == ["deliver", "recovery", "reconcile"]
        assert not r.dmp.jobs


@contextmanager
def second_commit_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The bytes are committed, then the disk is full."""
    from gateway.exchange import intake

    def full(*_args: object) -> None:
        raise JournalUnavailable("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(intake, "accept", full)
        yield


async def test_after_an_ar_for_the_journal_nothing_is_sent_even_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as r:
        with second_commit_fails(monkeypatch):
            ack = await r.send(submit("M1"))
        assert (ack.code, [e.diagnostic for e in ack.errors]) == ("AR", ["EXC-JOURNAL"])
    async with running(tmp_path) as r:
        assert (await r.state("M1"))["ack"] == "AR"
        assert not r.dmp.jobs
        # the same MSH-10 with other content (a new MSH-7, say) is not in conflict with what was refused
        assert (await r.send(submit("M1").replace(b"|T|2.6", b"|D|2.6", 1))).code == "AA"


async def test_after_an_ar_for_the_journal_a_changed_message_is_taken_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path) as r:
        with second_commit_fails(monkeypatch):
            assert (await r.send(submit("M1"))).code == "AR"
        assert (await r.send(submit("M1").replace(b"|T|2.6", b"|D|2.6", 1))).code == "AA"
        await r.settled("M1")
        assert len(r.dmp.jobs) == 1


async def test_a_bug_in_the_second_commit_is_answered_ar_and_the_gateway_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gateway.exchange import intake

    def broken(*_args: object) -> None:
        raise KeyError("DURAND")

    async with running(tmp_path) as r:
        with monkeypatch.context() as patch:
            patch.setattr(intake, "accept", broken)
            ack = await r.send(submit("M1"))
            assert (ack.code, [e.diagnostic for e in ack.errors]) == ("AR", ["EXC-INTERNAL"])
        assert (await r.state("M1"))["ack"] == "AR"
    async with running(tmp_path) as r:
        assert (await r.send(submit("M1"))).code == "AA"


async def test_damaged_bytes_are_never_sent(tmp_path: Path) -> None:
    async with running(tmp_path, engine={"retry": {"first": 60}}) as r:
        r.dmp.outcomes = [Outcome(OutcomeClass.TRANSIENT)]
        await r.send(submit("M1", recipients=()))
        await r.until(lambda: len(r.dmp.jobs) == 1)
    with raw(tmp_path) as db:
        content = db.execute("SELECT content FROM payload").fetchone()[0]
        at = content.index(b"^Base64^") + 400
        other = b"A" if content[at : at + 1] != b"A" else b"B"
        db.execute("UPDATE payload SET content = ?", (content[:at] + other + content[at + 1 :],))
        db.execute("UPDATE delivery SET due_at = 0")
    async with running(tmp_path) as r:
        await r.until(lambda: len(r.dmp.jobs) >= 1)
        await r.until(lambda: len(r.dmp.reconciliations) >= 1)
        assert r.dmp.contents == []


async def test_control_characters_in_msh_are_refused_with_an_ack_that_can_be_framed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Review: MSH-10 ending in 0x1C made the ACK's MSA an MLLP end block."""
    async with running(tmp_path) as r:
        ack = await r.send(submit("M1").replace(b"|M1|", b"|M1\x1c|", 1))
        assert (ack.code, [e.diagnostic for e in ack.errors]) == ("AE", ["EXC-UNREADABLE"])
        assert not r.dmp.jobs
        assert "\x1c" not in caplog.text, "a sender must not write control characters into the logs"


@pytest.mark.parametrize("field", [b"|M1|", b"|SIL-ESSAI|"])
async def test_bytes_that_are_not_text_in_msh_are_refused_not_ar(tmp_path: Path, field: bytes) -> None:
    async with running(tmp_path) as r:
        ack = await r.send(submit("M1").replace(field, field[:-1] + b"\xff|", 1))
        assert ack.code == "AE"


@pytest.mark.sqlite
async def test_the_journal_is_its_owners_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as r:
        await r.send(submit("M1"))
        for name in ("journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "journal.sqlite.lock"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
