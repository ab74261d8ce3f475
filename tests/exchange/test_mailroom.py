"""The mailroom with a scripted connector: what becomes of mails whatever is in them (mailbox port, architecture §5).

The MSSanté connector, real mails and real mailboxes: `tests/circle`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from connectors.mailbox_port import (
    Conclusion,
    DpiMessage,
    Fetched,
    Folder,
    Incoming,
    IncomingDocument,
    Keeper,
    KeptMail,
    Ledger,
    MailError,
    NotTreated,
    ReceiptFact,
    Receipts,
    Treated,
)
from connectors.port import Accepted, Outcome, OutcomeClass, PlannedDelivery, Preparation, Report, Verdict
from gateway.cda.document import Document
from gateway.errors import Finding, Place, Severity
from gateway.exchange.identifiers import Clock
from gateway.exchange.inbox.mailroom import BATCH, Mailroom
from gateway.hl7.message import Message
from gateway.hl7.transmission import Action
from gateway.journal import queue, reports
from gateway.journal.queue import NewDelivery
from tests.cda.test_versions import doc
from tests.exchange.harness import Running, running, submit
from tests.exchange.scripted import Scripted

BOX = "bal"
Treat = Callable[[bytes], Treated]


class Mailing(Scripted):
    """A scripted connector with a mailbox: `treat` says what a mail is."""

    def __init__(self) -> None:
        super().__init__("mss", ("dr@x.mssante.fr",))
        self.arrivals: asyncio.Queue[Fetched] = asyncio.Queue()
        self.treatments: list[bytes] = []
        self.says: Treat = lambda raw: NotTreated("automatic")
        self.concluded: list[tuple[list[str], list[str]]] = []
        self.answers: tuple[PlannedDelivery, ...] = ()
        self.filed: list[tuple[str, Folder]] = []
        self.can_file = True
        self.keeper: Keeper | None = None

    async def prepare(self, preparation: Preparation) -> Verdict:
        uids = tuple(d.uid for d in preparation.documents)
        key = f"key-{preparation.transmission.control_id.lower()}"
        return Accepted(tuple(PlannedDelivery(r, uids, b"{}", (key,)) for r in self.recipients))

    def report(self, job_recipient: str, plan: bytes, outcome: Outcome) -> Report | None:
        if outcome.outcome is OutcomeClass.SUCCESS:
            return None  # the receipt says it
        return super().report(job_recipient, plan, outcome)

    def mailboxes(self) -> Sequence[str]:
        return (BOX,)

    async def watch(self, mailbox: str, keeper: Keeper) -> None:
        self.keeper = keeper
        keeper.state(True)
        while True:
            fetched = await self.arrivals.get()
            if not await keeper.known([fetched.place]):
                await keeper.keep(fetched)

    async def file(self, mailbox: str, place: str, folder: Folder) -> bool:
        if self.can_file:
            self.filed.append((place, folder))
        return self.can_file

    async def treat(self, mail: KeptMail, ledger: Ledger) -> Treated:
        raw = await mail.read()
        self.treatments.append(raw)
        said = self.says(raw)
        if isinstance(said, Receipts):
            # the delivery that the key in the mail names
            key = raw.split()[0].decode()
            known = await ledger.sent([key, "key-of-nobody"])
            facts = tuple(
                ReceiptFact(k.id, f.event, f.fact, f.failed, f.code, f.report)
                for k in known
                for f in said.facts
            )
            unmatched = said.unmatched if known else "UNKNOWN-DELIVERY"
            return Receipts(said.kind, facts, unmatched, bounced=said.bounced)
        return said

    async def conclude(
        self, mail: KeptMail, outcomes: Sequence[Outcome], findings: Sequence[Finding], now: datetime
    ) -> Conclusion:
        self.concluded.append(([o.outcome.value for o in outcomes], [f.rule for f in findings]))
        bad = any(o.outcome is not OutcomeClass.SUCCESS for o in outcomes) or any(f.rejects for f in findings)
        return Conclusion(MailError("902", "Identifiant patient inconnu") if bad else None, self.answers)

    def mail(self, uid: int, content: bytes) -> None:
        self.arrivals.put_nowait(Fetched(f"1:{uid}", len(content), content))


@asynccontextmanager
async def mailing(directory: Path, **tables: Any) -> AsyncIterator[tuple[Running, Mailing]]:
    """A gateway whose MSSanté connector has a mailbox."""
    mss = Mailing()
    async with running(
        directory, {"dmp": Scripted("dmp"), "mss": mss, "dpi": Scripted("dpi")}, **tables
    ) as r:
        yield r, mss


async def rows(r: Running, sql: str) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for row in await r.gateway.journal.read(lambda s: s.connection().exec_driver_sql(sql).all())
    ]


async def until_rows(r: Running, sql: str, wanted: list[tuple[Any, ...]]) -> None:
    found: list[tuple[Any, ...]] = []
    try:
        async with asyncio.timeout(60):
            while (found := await rows(r, sql)) != wanted:
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{sql}: {found}, not {wanted}") from None


def receipt(accepted: bool, event: str = "Z02", address: str = "dr@x.mssante.fr", code: str = "") -> Treat:
    """A receipt about the delivery that the mail names."""
    assert event in ("Z02", "Z03")
    report = Report(event, accepted, address, code=code, label="x" if code else "")
    fact = ReceiptFact(0, "Z02" if event == "Z02" else "Z03", "fact", not accepted, code, report)
    return lambda raw: Receipts("dsn", (fact,))


def incoming(
    *documents: Document,
    action: Action = Action.SUBMIT,
    findings: tuple[Finding, ...] = (),
    route: str = "DPI|B",
) -> Treat:
    def build(number: int, control_id: str, now: datetime, previous: frozenset[str] | None) -> DpiMessage:
        text = (
            f"MSH|^~\\&|PFI|B|DPI|B|20260101||MDM^T02^MDM_T02|{control_id}|P|2.6\rOBX|{number}|{previous}\r"
        )
        return DpiMessage(text.encode(), "utf-8")

    made = tuple(
        IncomingDocument(action, d, Place("DOC", n), frozenset({"N"})) for n, d in enumerate(documents, 1)
    )
    return lambda raw: Incoming(made, findings, route, build)


def told(r: Running) -> list[str]:
    """The ZAM that the DPI got: event and indicator."""
    found = []
    for job in r.dpi.jobs:
        message = Message.parse(json.loads(job.plan)["er7"].encode())
        found.append(f"{message.event} {message.all('OBX')[0].text(5)}")
    return found


# --- receipts -------------------------------------------------------------------------------------------------------


async def test_a_receipt_is_told_once_and_a_late_failure_requalifies_the_success(tmp_path: Path) -> None:
    """Y, the same again, then N (late failure), then Y again: told Y and N, everything kept as facts."""
    async with mailing(tmp_path) as (r, mss):
        message = submit("R-1", flags={"DESTDMP": "N"})
        assert (await r.send(message)).code == "AA"
        await r.until(lambda: len(mss.jobs) == 1)
        for uid, (accepted, code) in enumerate(((True, ""), (True, ""), (False, "552"), (True, "")), 1):
            mss.says = receipt(accepted, code=code)
            mss.mail(uid, b"key-r-1 %d" % uid)
            await until_rows(r, "SELECT count(*) FROM receipt", [(uid,)])
        await r.until(lambda: len(r.dpi.jobs) == 2)
        assert told(r) == ["Z02 Y", "Z02 N"]
        assert await rows(r, "SELECT told FROM receipt ORDER BY id") == [(1,), (0,), (1,), (0,)]
        facts = await rows(r, "SELECT data FROM fact WHERE kind = 'receipt' ORDER BY id")
        assert [json.loads(data)["failed"] for (data,) in facts] == [False, False, True, False]
        # the delivery itself stands as it ended; a person hears of the failure
        assert await rows(r, "SELECT state FROM delivery WHERE destination = 'mss'") == [("succeeded",)]
        assert await rows(r, "SELECT flow, code FROM incident") == [("receipt", "552")]


async def test_readers_are_told_each_and_only_to_who_asked_for_reading(tmp_path: Path) -> None:
    """ACK_LECTURE_MSS = Y alone: Z03 for each address that read, no Z02."""
    async with mailing(tmp_path) as (r, mss):
        message = submit("R-2", flags={"DESTDMP": "N"}, ack_reception=False, ack_reading=True)
        assert (await r.send(message)).code == "AA"
        await r.until(lambda: len(mss.jobs) == 1)
        for uid, how in enumerate(
            (receipt(True), receipt(True, "Z03"), receipt(True, "Z03", "secretariat@x.mssante.fr")), 1
        ):
            mss.says = how
            mss.mail(uid, b"key-r-2 %d" % uid)
            await until_rows(r, "SELECT count(*) FROM receipt", [(uid,)])
        await r.until(lambda: len(r.dpi.jobs) == 2)
        assert told(r) == ["Z03 Y", "Z03 Y"]


async def test_a_receipt_that_names_nothing_of_ours_is_for_a_person(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.says = receipt(True)
        mss.mail(1, b"key-unknown")
        await until_rows(
            r, "SELECT state, kind, reason FROM received_mail", [("treated", "dsn", "UNKNOWN-DELIVERY")]
        )
        await r.until(lambda: mss.filed == [("1:1", Folder.OTHER)])
        assert not r.dpi.jobs


async def test_a_receipt_known_already_is_told_to_who_sends_the_same_document_again(tmp_path: Path) -> None:
    """Another message with the same document and recipient: nothing is sent again, what is known is told at once."""
    async with mailing(tmp_path) as (r, mss):
        assert (await r.send(submit("R-3", flags={"DESTDMP": "N"}))).code == "AA"
        await r.until(lambda: len(mss.jobs) == 1)
        mss.says = receipt(True)
        mss.mail(1, b"key-r-3")
        await r.until(lambda: told(r) == ["Z02 Y"])
        # the DMP is new in this one
        assert (await r.send(submit("R-4"))).code == "AA"
        await r.until(lambda: len(r.dpi.jobs) == 3)
        assert sorted(told(r)) == ["Z01 Y", "Z02 Y", "Z02 Y"]
        assert len(mss.jobs) == 1


@pytest.mark.parametrize("delayed", [False, True])
async def test_a_receipt_that_never_comes_is_an_error_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delayed: bool
) -> None:
    """§3.1: no DSN ever: alarm, nothing told; a delay that stays the last news: N with its code."""
    monkeypatch.setattr(Mailroom, "overdue_pause", 0.05)
    async with mailing(tmp_path) as (r, mss):
        mss.outcomes = [Outcome(OutcomeClass.SUCCESS, "250", "ok", awaits=0.5)]
        assert (await r.send(submit("R-5", flags={"DESTDMP": "N"}))).code == "AA"
        await until_rows(r, "SELECT count(*) FROM awaited", [(1,)])
        if delayed:
            mss.says = lambda raw: Receipts("dsn", (ReceiptFact(0, "Z02", "delayed", code="451"),))
            mss.mail(1, b"key-r-5")
        await until_rows(r, "SELECT flow, code FROM incident", [("receipt", "451" if delayed else "")])
        await until_rows(r, "SELECT count(*) FROM awaited", [(0,)])
        if delayed:
            await r.until(lambda: told(r) == ["Z02 N"])
        else:
            assert not r.dpi.jobs


async def test_what_somebody_opened_arrived_whatever_its_report_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A delay is the last delivery report, then the mail is read: no alarm, and no N to the DPI."""
    monkeypatch.setattr(Mailroom, "overdue_pause", 0.05)
    async with mailing(tmp_path) as (r, mss):
        mss.outcomes = [Outcome(OutcomeClass.SUCCESS, "250", "ok", awaits=0.5)]
        assert (await r.send(submit("R-7", flags={"DESTDMP": "N"}))).code == "AA"
        await until_rows(r, "SELECT count(*) FROM awaited", [(1,)])
        mss.says = lambda raw: Receipts("dsn", (ReceiptFact(0, "Z02", "delayed", code="451"),))
        mss.mail(1, b"key-r-7 late")
        await until_rows(r, "SELECT count(*) FROM receipt", [(1,)])
        mss.says = receipt(True, "Z03")
        mss.mail(2, b"key-r-7 read")
        await until_rows(r, "SELECT count(*) FROM awaited", [(0,)])
        assert await rows(r, "SELECT count(*) FROM incident") == [(0,)]
        assert "Z02 N" not in told(r)


async def test_an_error_mail_that_is_late_did_not_come_back(tmp_path: Path) -> None:
    """Only a failure gives its errors back: else each delay notice would bring one more error mail."""
    async with mailing(tmp_path) as (r, mss):

        def report(session: Session) -> None:
            now = Clock().now()
            plan = NewDelivery(None, "errors", "x@h.fr", Action.SUBMIT, (), b"{}", now, 60, ("key-report",))
            reports.add(session, queue.enqueue(session, plan), "x@h.fr", "family", (), now)

        await r.gateway.journal.write(report)
        failed = "SELECT failed_at IS NOT NULL FROM error_report"
        for uid, (bounced, wanted) in enumerate(((False, 0), (True, 1)), 1):
            mss.says = lambda raw, said=bounced: Receipts("dsn", (), bounced=said)  # type: ignore[misc]
            mss.mail(uid, b"key-report %d" % uid)
            await until_rows(r, f"SELECT reason FROM received_mail WHERE id = {uid}", [("error-report",)])
            assert [(int(f),) for (f,) in await rows(r, failed)] == [(wanted,)]


async def test_a_receipt_that_came_is_waited_for_no_more(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.outcomes = [Outcome(OutcomeClass.SUCCESS, "250", "ok", awaits=3600)]
        assert (await r.send(submit("R-6", flags={"DESTDMP": "N"}))).code == "AA"
        await until_rows(r, "SELECT count(*) FROM awaited", [(1,)])
        mss.says = receipt(True)
        mss.mail(1, b"key-r-6")
        await until_rows(r, "SELECT count(*) FROM awaited", [(0,)])


# --- documents ------------------------------------------------------------------------------------------------------


async def test_documents_go_to_the_dpi_one_message_each_and_the_mail_is_concluded_once(
    tmp_path: Path,
) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.says = incoming(doc("1.1"), doc("2.1", set_id="1.2.200"))
        mss.mail(1, b"two documents")
        await r.until(lambda: mss.concluded == [(["success", "success"], [])])
        assert [await j.content.read() for j in r.dpi.jobs if j.content] != []
        ids = [Message.parse(await j.content.read()).control_id for j in r.dpi.jobs if j.content]
        assert len(set(ids)) == 2
        await until_rows(r, "SELECT state, kind, reason FROM received_mail", [("treated", "inbound", "")])
        await r.until(lambda: mss.filed == [("1:1", Folder.PROCESSED)])
        assert await rows(r, "SELECT kind FROM fact ORDER BY id") == [
            ("document_received",),
            ("document_received",),
            ("delivery_succeeded",),
            ("delivery_succeeded",),
            ("mail_integrated",),
        ]


async def test_a_refusal_of_the_dpi_is_concluded_answered_and_noted(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.answers = (PlannedDelivery("sender@x.mssante.fr", (), b'{"mdn": 1}', ("mdn-key",)),)
        r.dpi.outcomes = [Outcome(OutcomeClass.PERMANENT, "AE", "refus", {"errors": ["207/902"]})]
        mss.says = incoming(doc("1.1"))
        mss.mail(1, b"one document")
        await r.until(lambda: len(mss.jobs) == 1)
        assert mss.concluded == [(["permanent"], [])]
        # the answer has the mail beside it, the same at every attempt
        job = mss.jobs[0]
        assert job.plan == b'{"mdn": 1}' and job.content is not None
        assert await job.content.read() == b"one document"
        assert await rows(r, "SELECT flow, code, route FROM incident") == [("inbound", "902", BOX)]
        await r.until(lambda: mss.filed == [("1:1", Folder.ERROR)])


async def test_a_mail_with_a_rejecting_finding_gives_the_dpi_nothing(tmp_path: Path) -> None:
    """A mail is one thing (decision 19): its good document waits for a person with the bad one."""
    async with mailing(tmp_path) as (r, mss):
        bad = Finding("IN-MASKED", Severity.REJECT, "207", "906", "Masqué.", Place("DOC", 2))
        mss.says = incoming(doc("1.1"), doc("2.1", set_id="1.2.200"), findings=(bad,))
        mss.mail(1, b"one of two is masked")
        await r.until(lambda: mss.concluded == [([], ["IN-MASKED"])])
        await until_rows(r, "SELECT kind, reason FROM received_mail", [("inbound", "902")])
        assert not r.dpi.jobs
        assert await rows(r, "SELECT count(*) FROM received_document") == [(0,)]


async def test_versions_of_one_set_reach_the_dpi_in_order(tmp_path: Path) -> None:
    """V2 comes while the DPI is slow on V1: it waits."""
    async with mailing(tmp_path) as (r, mss):
        r.dpi.gate = asyncio.Event()
        mss.says = lambda raw: (
            incoming(doc("1.1"))(raw)
            if raw == b"V1"
            else incoming(doc("1.2", 2, replaces="1.1"), action=Action.REPLACE)(raw)
        )
        mss.mail(1, b"V1")
        mss.mail(2, b"V2")
        await until_rows(r, "SELECT state FROM delivery ORDER BY id", [("sending",), ("held",)])
        r.dpi.gate.set()
        await r.until(lambda: len(mss.concluded) == 2)
        assert [j.action for j in r.dpi.jobs] == [Action.SUBMIT, Action.REPLACE]


async def test_what_the_dpi_has_is_not_sent_to_it_again_but_the_sender_is_answered(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.says = incoming(doc("1.1"))
        mss.mail(1, b"once")
        await r.until(lambda: len(mss.concluded) == 1)
        mss.answers = (PlannedDelivery("sender@x.mssante.fr", (), b"{}", ()),)
        mss.mail(2, b"again, in another mail")
        await r.until(lambda: len(mss.concluded) == 2 and len(mss.jobs) == 1)
        assert len(r.dpi.jobs) == 1
        await until_rows(
            r, "SELECT kind, reason FROM received_mail ORDER BY id", [("inbound", ""), ("duplicate", "")]
        )


async def test_each_dpi_of_the_gateway_gets_the_document(tmp_path: Path) -> None:
    """Two services with a DPI each are written to: what one DPI has says nothing about the other."""
    async with mailing(tmp_path) as (r, mss):
        mss.says = lambda raw: incoming(doc("1.1"), route=raw.decode())(raw)
        mss.mail(1, b"DPI|B")
        await r.until(lambda: len(mss.concluded) == 1)
        mss.mail(2, b"DPI|C")
        await r.until(lambda: len(mss.concluded) == 2)
        assert [j.recipient for j in r.dpi.jobs] == ["DPI|B", "DPI|C"]
        assert mss.concluded == [(["success"], [])] * 2
        assert await rows(r, "SELECT kind FROM received_mail ORDER BY id") == [("inbound",), ("inbound",)]


async def test_a_mail_shares_the_fate_of_a_document_that_is_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another mail brought one of its two documents, and the DPI refuses it: this mail is not "integrated"."""
    monkeypatch.setattr("gateway.exchange.inbox.mailroom.FILE_PAUSE", 0.05)
    async with mailing(tmp_path) as (r, mss):
        r.dpi.gate = asyncio.Event()
        refusal = Outcome(OutcomeClass.PERMANENT, "AE", "refus", {"errors": ["207/902"]})
        r.dpi.outcomes = [refusal, refusal]
        one, two = doc("1.1"), doc("2.1", set_id="1.2.200")
        mss.says = lambda raw: incoming(one)(raw) if raw == b"one" else incoming(one, two)(raw)
        mss.mail(1, b"one")
        await r.until(lambda: len(r.dpi.jobs) == 1)
        mss.mail(2, b"both")
        await until_rows(r, "SELECT count(*) FROM received_mail", [(2,)])
        await asyncio.sleep(0.2)
        # waiting is no failure of ours
        assert await rows(r, "SELECT attempts FROM received_mail ORDER BY id") == [(0,), (0,)]
        r.dpi.gate.set()
        await r.until(lambda: len(mss.concluded) == 2)
        assert mss.concluded == [(["permanent"], []), (["permanent", "success"], [])]


async def test_the_same_bytes_twice_are_treated_once(tmp_path: Path) -> None:
    """The operator delivered twice, or the mailbox was restored (another UIDVALIDITY)."""
    async with mailing(tmp_path) as (r, mss):
        mss.says = incoming(doc("1.1"))
        mss.mail(1, b"same")
        await r.until(lambda: len(mss.concluded) == 1)
        mss.mail(2, b"same")
        await until_rows(r, "SELECT kind FROM received_mail ORDER BY id", [("inbound",), ("duplicate",)])
        assert mss.treatments == [b"same"] and len(mss.concluded) == 1


async def test_a_mail_that_failed_and_is_put_back_is_treated_again(tmp_path: Path) -> None:
    """A person repaired the cause and moves the mail back into the folder; a restored folder is no such wish."""
    async with mailing(tmp_path) as (r, mss):
        refusal = Finding("IN-PATIENT-ABSENT", Severity.REJECT, "207", "902", "x", None)
        mss.says = incoming(doc("1.1"), findings=(refusal,))
        mss.mail(1, b"same")
        await r.until(lambda: len(mss.concluded) == 1)
        mss.says = incoming(doc("1.1"))
        mss.arrivals.put_nowait(Fetched("2:1", 4, b"same"))
        kinds = "SELECT kind, reason FROM received_mail ORDER BY id"
        await until_rows(r, kinds, [("inbound", "902"), ("duplicate", "")])
        mss.mail(2, b"same")
        await r.until(lambda: len(r.dpi.jobs) == 1)
        await until_rows(r, kinds, [("inbound", "902"), ("duplicate", ""), ("inbound", "")])
        mss.mail(3, b"same")
        await until_rows(r, kinds + " LIMIT 1 OFFSET 3", [("duplicate", "")])
        assert len(r.dpi.jobs) == 1


async def test_a_bug_in_what_follows_an_answer_of_the_dpi_does_not_leave_the_mail_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with mailing(tmp_path) as (r, mss):

        def bug(*arguments: object) -> None:
            raise ValueError("bug")

        monkeypatch.setattr(r.gateway.runner, "_facts", bug)
        mss.says = incoming(doc("1.1"))
        mss.mail(1, b"document")
        await r.until(lambda: mss.concluded == [(["success"], [])])


async def test_the_dpi_is_down_then_up_one_integration(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        down = Outcome(OutcomeClass.TRANSIENT, "connect", "refusé")
        r.dpi.outcomes = [down, down, down]
        mss.says = incoming(doc("1.1"))
        mss.mail(1, b"later")
        await r.until(lambda: mss.concluded == [(["success"], [])])
        contents = {await j.content.read() for j in r.dpi.jobs if j.content}
        assert len(r.dpi.jobs) == 4 and len(contents) == 1  # the same bytes, the same MSH-10


# --- what cannot be treated -------------------------------------------------------------------------------------------


async def test_a_bug_on_a_mail_sets_it_aside_and_the_next_one_goes_on(tmp_path: Path) -> None:
    def says(raw: bytes) -> Treated:
        if raw == b"poison":
            raise ValueError("bug")
        return NotTreated("automatic")

    async with mailing(tmp_path) as (r, mss):
        mss.says = says
        r.gateway.mailroom._clock = Clock(_Hours())
        mss.mail(1, b"poison")
        mss.mail(2, b"good")
        await until_rows(r, "SELECT kind FROM received_mail WHERE place = '1:2'", [("automatic",)])
        await until_rows(
            r,
            "SELECT state, kind, reason, attempts FROM received_mail WHERE place = '1:1'",
            [("treated", "quarantine", "INTERNAL", 4)],
        )
        assert mss.treatments.count(b"poison") == 5
        assert await rows(r, "SELECT flow, code FROM incident") == [("inbound", "906")]


class _Hours:
    """A clock on which every look is an hour later: what is put off is due at once."""

    def __init__(self) -> None:
        self._now = 2e9

    def __call__(self) -> float:
        self._now += 3600
        return self._now


async def test_a_mail_too_large_to_be_fetched_is_told_to_a_person(tmp_path: Path) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.arrivals.put_nowait(Fetched("1:1", 200_000_000, None, b"Subject: x\r\n"))
        await until_rows(r, "SELECT kind, size FROM received_mail", [("too-large", 200_000_000)])
        assert not mss.treatments
        assert await rows(r, "SELECT flow, code FROM incident") == [("inbound", "906")]


async def test_a_quarantined_mail_with_a_document_perhaps_is_told_by_mail_another_only_shown(
    tmp_path: Path,
) -> None:
    async with mailing(tmp_path) as (r, mss):
        mss.says = lambda raw: NotTreated("quarantine", raw.decode(), "phrase", raw == b"BROKEN-MIME")
        mss.mail(1, b"BROKEN-MIME")
        mss.mail(2, b"NOT-A-DOCUMENT")
        await until_rows(
            r,
            "SELECT kind, reason FROM received_mail ORDER BY id",
            [("quarantine", "BROKEN-MIME"), ("quarantine", "NOT-A-DOCUMENT")],
        )
        assert len(await rows(r, "SELECT 1 FROM incident")) == 1


async def test_a_stop_in_the_middle_is_taken_up_again_and_filing_waits_for_the_mailbox(
    tmp_path: Path,
) -> None:
    """Stopped after the DPI got the message and before it answered: one message (same MSH-10), one conclusion."""
    async with mailing(tmp_path) as (r, mss):
        mss.can_file = False
        r.dpi.gate = asyncio.Event()
        mss.says = incoming(doc("1.1"))
        mss.mail(1, b"in the middle")
        await r.until(lambda: len(r.dpi.jobs) == 1)
        first = r.dpi.jobs[0].content
        assert first is not None
        sent = await first.read()
        stopping = asyncio.create_task(r.gateway.stop())
        await asyncio.sleep(0.05)
        r.dpi.gate.set()
        r.dpi.outcomes = [Outcome(OutcomeClass.TRANSIENT)]
        await stopping
    async with mailing(tmp_path) as (r, mss):
        await r.until(lambda: len(mss.concluded) == 1 and bool(mss.filed))
        again = [await j.content.read() for j in r.dpi.jobs if j.content]
        assert set(again) <= {sent}
        await until_rows(r, "SELECT state FROM received_mail", [("treated",)])


async def test_mails_that_cannot_be_filed_hold_no_other_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that the operator refuses, and more mails for it than are looked at at once."""
    monkeypatch.setattr("gateway.exchange.inbox.mailroom.FILE_PAUSE", 0.1)
    async with mailing(tmp_path) as (r, mss):
        filed: list[str] = []

        async def file(mailbox: str, place: str, folder: Folder) -> bool:
            if folder is Folder.OTHER:
                return False
            filed.append(place)
            return True

        monkeypatch.setattr(mss, "file", file)
        mss.says = lambda raw: incoming(doc("1.1"))(raw) if raw == b"document" else NotTreated("automatic")
        for uid in range(1, BATCH + 6):
            mss.mail(uid, b"automatic %d" % uid)
        mss.mail(100, b"document")
        await r.until(lambda: filed == ["1:100"])
