"""The checker refuses a bad history: one made by hand for each promise, from a good one that it accepts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos import messages
from chaos.checker import COUNTED, OTHERS, Report, check
from chaos.history import (
    SERVER,
    Answered,
    Final,
    History,
    Hung,
    Left,
    Mailed,
    Noted,
    Record,
    Sent,
    Stopped,
    Stored,
    Submitted,
    TakenOver,
    Told,
    WireCut,
)
from chaos.scenario import NODE_TIMEOUT, STARVED, Plan, Planned

SET = "1.2.250.1.71.4.2.2.990000010.7.900.1"
DR = "dr.un@test-hopital.mssante.fr"


def planned(key: str, version: int, **values: Any) -> Planned:
    defaults: dict[str, Any] = {
        "key": key,
        "control_id": f"C-{key}",
        "action": "submit" if version == 1 else "replace",
        "sets": (SET,),
        "uids": (f"{SET}.{version}",),
        "replaces": (f"{SET}.{version - 1}" if version > 1 else "",),
        "version": version,
        "dmp": True,
        "recipients": (DR,),
        "tell": True,
        "lane": 0,
    }
    return Planned(**(defaults | values))


V1, V2 = planned("M01", 1), planned("M02", 2)
GONE = replace(V2, key="M03", control_id="C-M03", action="delete")
WRONG = planned("M04", 1, wrong="no_cda", sets=(f"{SET}9",), uids=(f"{SET}9.1",), recipients=())
PLAN = Plan(7, (V1, V2, GONE, WRONG), (), ())


def sha1(message: Planned) -> str:
    return hashlib.sha1(messages.document(message, 0)).hexdigest()


def answered(message: Planned, at: float, code: str = "AA", ack: str = "") -> Answered:
    return Answered(at, message.key, 1, code, message.control_id, ack or f"ACK of {message.key}")


def mailed(message: Planned, at: float, answer: str = "250", **values: Any) -> Mailed:
    made = Mailed(at, message.key, DR, f"<{message.key}@x>", f"sha {message.key}", answer, (sha1(message),))
    return replace(made, **values)


def told(message: Planned, event: str, *, accepted: bool = True, own: str = "") -> Told:
    own = own or f"Z-{message.key}-{event}"
    return Told(own, message.control_id, event, DR if event == "Z02" else "", accepted, "", f"sha {own}")


def finals(message: Planned, state: str = "succeeded") -> list[Record]:
    return [
        Final(message.control_id, "dmp", "", message.action, state, message.uids),
        Final(message.control_id, "mss", DR, message.action, state, message.uids),
        Final(message.control_id, "dpi", "SIL|H", "submit", state, ()),
    ]


def good() -> list[Record]:
    """Two versions and a deletion, to the DMP and one mailbox; a fourth message refused."""
    made: list[Record] = [
        answered(V1, 10),
        Submitted(11, "submit", V1.uids[0], "Success", True, ""),
        mailed(V1, 11),
        answered(V2, 12),
        Submitted(13, "submit", V2.uids[0], "Success", True, ""),
        mailed(V2, 13),
        answered(GONE, 14),
        Submitted(15, "delete", V2.uids[0], "Success", True, ""),
        mailed(GONE, 15),
        answered(WRONG, 16, "AE"),
        Stored(V1.uids[0], "Deprecated", "", sha1(V1)),
        Stored(V2.uids[0], "Deleted", V1.uids[0], sha1(V2)),
    ]
    for message in (V1, V2, GONE):
        made += [told(message, "Z01"), told(message, "Z02"), *finals(message)]
    done = ("C-M01", "C-M02", "C-M03")
    return [*made, Stopped(20, 0, "end", "status 0", (), done)]


def judge(records: list[Record], plan: Plan = PLAN) -> Report:
    return check(plan, History(records))


def without(records: list[Record], unwanted: Callable[[Record], bool]) -> list[Record]:
    kept = [r for r in records if not unwanted(r)]
    assert len(kept) < len(records)
    return kept


def changed(records: list[Record], which: Callable[[Record], bool], **values: Any) -> list[Record]:
    made = [replace(r, **values) if which(r) else r for r in records]
    assert made != records
    return made


def kinds(records: list[Record], plan: Plan = PLAN) -> set[str]:
    return {p.kind for p in judge(records, plan).problems}


def is_mail(message: Planned) -> Callable[[Record], bool]:
    return lambda r: isinstance(r, Mailed) and r.key == message.key


def is_submit(message: Planned) -> Callable[[Record], bool]:
    return lambda r: isinstance(r, Submitted) and r.action == "submit" and r.uid == message.uids[0]


def is_told(message: Planned, event: str) -> Callable[[Record], bool]:
    return lambda r: isinstance(r, Told) and (r.answered, r.event) == (message.control_id, event)


def test_a_good_history_holds() -> None:
    report = judge(good())
    assert report.problems == ()
    assert (report.acknowledged, report.refused, report.duplicates_in_window) == (3, 0, 0)


# --- exactly one final ACK ------------------------------------------------------------------------------------------


def test_two_different_final_acks() -> None:
    assert kinds([*good(), answered(V1, 17, ack="another")]) == {"acks"}


def test_the_same_ack_again_and_ar_before_it_are_no_problem() -> None:
    assert kinds([answered(V1, 1, "AR", "busy"), *good(), answered(V1, 17)]) == set()


def test_an_ack_to_another_message() -> None:
    assert "acks" in kinds([*good(), replace(answered(V1, 17), acknowledged="C-M02")])


def test_never_answered() -> None:
    records = without(good(), lambda r: isinstance(r, Answered) and r.key == "M04")
    assert kinds(records) == {"stuck"}


def test_a_message_that_deserves_ae_gets_aa() -> None:
    assert "acks" in kinds([*good(), answered(WRONG, 17, "AA")])


# --- nothing acknowledged is lost -----------------------------------------------------------------------------------


def test_aa_that_the_journal_does_not_know_after_a_stop() -> None:
    assert kinds([Stopped(10.5, 0, "power_cut", "", (), ()), *good()]) == {"lost"}


def test_acknowledged_and_never_published() -> None:
    records = without(good(), lambda r: is_submit(V1)(r) or (isinstance(r, Stored) and r.uid == V1.uids[0]))
    records = changed(records, lambda r: isinstance(r, Stored) and r.uid == V2.uids[0], replaces="")
    assert {"lost", "zam"} <= kinds(records)


def test_acknowledged_and_never_mailed() -> None:
    assert {"lost", "zam"} == kinds(without(good(), is_mail(V2)))


def test_acknowledged_and_never_deleted() -> None:
    records = changed(good(), lambda r: isinstance(r, Stored) and r.status == "Deleted", status="Approved")
    assert "lost" in kinds(records)


def test_accepted_without_a_delivery() -> None:
    records = without(
        good(), lambda r: isinstance(r, Final) and (r.control_id, r.destination) == ("C-M01", "mss")
    )
    assert "lost" in kinds(records)


def test_a_refusal_that_the_dpi_was_told_of_is_no_loss() -> None:
    plan = replace(PLAN, refused=(DR,))
    records = without(good(), is_mail(V2))
    records = changed(
        records,
        lambda r: isinstance(r, Final) and (r.control_id, r.destination) == ("C-M02", "mss"),
        state="refused",
    )
    records = changed(records, is_told(V2, "Z02"), accepted=False)
    assert kinds(records, plan) == set()
    assert judge(records, plan).refused == 1
    # the same without anybody having asked for it
    assert kinds(records) == {"unexplained"}


# --- nothing twice --------------------------------------------------------------------------------------------------


def test_published_twice() -> None:
    again = Submitted(18, "submit", V1.uids[0], "Success", True, "")
    assert "published_twice" in kinds([*good(), again])


def test_deleted_twice() -> None:
    assert kinds([*good(), Submitted(18, "delete", V2.uids[0], "Success", True, "")]) == {"published_twice"}


def test_sent_again_while_it_was_there_although_the_dmp_refused_it() -> None:
    again = Submitted(11.5, "submit", V1.uids[0], "XDSDuplicateUniqueIdInRegistry", False, "")
    assert kinds([*good(), again]) == {"published_twice"}
    # a look-up that came before the DMP had registered it could not know; one after it should have
    early = Submitted(10.5, "look", V1.uids[0], "Success", False, "")
    late = Submitted(11.2, "look", V1.uids[0], "Success", False, "")
    assert kinds([*good(), early, again]) == set()
    assert kinds([*good(), early, late, again]) == {"published_twice"}


def test_a_second_mail_outside_the_window() -> None:
    assert kinds([*good(), mailed(V1, 11.5)]) == {"duplicate_mails"}


@pytest.mark.parametrize(
    "reason",
    [
        Stopped(11.2, 0, "kill", "", (("C-M01", "mss", DR),), ("C-M01",)),
        WireCut(11.2, "mss", "back"),
    ],
)
def test_a_second_mail_inside_the_window_is_counted_apart(reason: Record) -> None:
    report = judge([reason, *good(), mailed(V1, 11.5)])
    assert report.problems == ()
    assert report.duplicates_in_window == 1


@pytest.mark.parametrize(
    "reason",
    [
        Stopped(11.2, 0, "kill", "", (("C-M01", "dmp", ""),), ("C-M01",)),
        Stopped(11.8, 0, "kill", "", (("C-M01", "mss", DR),), ("C-M01",)),
        WireCut(11.2, "dmp", "back"),
        WireCut(10.2, "mss", "back"),
    ],
)
def test_a_stop_of_something_else_is_no_excuse(reason: Record) -> None:
    assert kinds([reason, *good(), mailed(V1, 11.5)]) == {"duplicate_mails"}


def test_the_operators_lost_answer_is_an_excuse_for_the_same_bytes_alone() -> None:
    records = changed(good(), is_mail(V1), answer="cut")
    assert kinds([*records, mailed(V1, 11.5)]) == set()
    assert kinds([*records, mailed(V1, 11.5, sha256="other")]) == {"duplicate_mails"}
    assert kinds([*records, mailed(V1, 11.5, message_id="<other@x>")]) == {"duplicate_mails"}


def test_four_copies_are_too_many() -> None:
    records = changed(good(), is_mail(V1), answer="cut")
    assert kinds([*records, *(mailed(V1, 11 + n / 10, "cut") for n in (1, 2, 3))]) == {"duplicate_mails"}


# --- ZAM ------------------------------------------------------------------------------------------------------------


def test_a_zam_missing() -> None:
    assert kinds(without(good(), is_told(V1, "Z01"))) == {"zam"}


def test_two_zam_for_one_destination() -> None:
    assert kinds([*good(), told(V1, "Z02", own="Z-second")]) == {"zam"}


def test_a_zam_repeated_is_one_zam_if_it_is_the_same_bytes() -> None:
    assert kinds([*good(), told(V1, "Z02")]) == set()
    assert kinds([*good(), replace(told(V1, "Z02"), sha256="other")]) == {"zam"}


def test_told_n_although_it_is_there() -> None:
    assert kinds(changed(good(), is_told(V1, "Z01"), accepted=False)) == {"zam"}


def test_a_zam_that_nobody_asked_for() -> None:
    plan = replace(PLAN, messages=(replace(V1, tell=False), V2, GONE, WRONG))
    assert kinds(good(), plan) == {"zam"}


# --- order ----------------------------------------------------------------------------------------------------------


def test_versions_at_the_dmp_out_of_order() -> None:
    assert "order_broken" in kinds(changed(good(), is_submit(V1), at=13.5))


def test_a_replacement_of_another_version_than_the_one_there() -> None:
    records = changed(good(), lambda r: isinstance(r, Stored) and r.uid == V2.uids[0], replaces="")
    assert kinds(records) == {"order_broken"}


def test_mails_out_of_order() -> None:
    assert kinds(changed(good(), is_mail(V1), at=13.5)) == {"order_broken"}


def test_a_version_after_its_deletion() -> None:
    assert kinds(changed(good(), is_mail(GONE), at=12.5)) == {"order_broken"}


# --- the end --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["held", "ready", "sending", "uncertain", "suspended"])
def test_a_delivery_that_has_not_ended(state: str) -> None:
    records = changed(good(), lambda r: isinstance(r, Final) and r.destination == "dpi", state=state)
    assert kinds(records) == {"stuck"}


def test_the_time_of_the_seed_was_over() -> None:
    assert kinds([*good(), Noted(19, "the time of the seed is over")]) == {"stuck"}


def test_a_gateway_that_ended_by_itself() -> None:
    done = ("C-M01", "C-M02", "C-M03")
    assert kinds([*good(), Stopped(19, 0, "crash", "status 1", (), done)]) == {"crash"}


def test_the_orderly_end_and_starts_that_failed_are_no_stops() -> None:
    assert judge(good()).stops == 0
    more = [Stopped(9, 0, "start", "it could not"), Stopped(10.5, 0, "term", "status 0", (), ("C-M01",))]
    report = judge([*good(), *more])
    assert (report.problems, report.stops) == ((), 1)


# --- several nodes --------------------------------------------------------------------------------------------------


def in_hand(
    message: Planned, claimed: float, at: float, back: float | None = None, **values: Any
) -> TakenOver:
    made = TakenOver(claimed, at, at + 0.1, 0, back, message.control_id, "mss", DR)
    return replace(made, **values)


def test_what_was_answered_aa_is_in_the_journal_of_a_server_that_crashed() -> None:
    crash = Stopped(13.5, SERVER, "server", "the database", (), ("C-M01", "C-M02"))
    assert kinds([crash, *good()]) == set()
    assert kinds([replace(crash, acknowledged=("C-M02",)), *good()]) == {"lost"}
    # a node that was killed while the server was down: the server's own stop is judged
    assert kinds([Stopped(13.6, 1, "power_cut", "", (), None), crash, *good()]) == set()


def test_a_second_mail_of_what_was_taken_from_a_dead_node_s_hands() -> None:
    killed = Stopped(11.1, 0, "kill", "status -9", (), ("C-M01",))
    records = [killed, *good(), mailed(V1, 11.9), Left(5, 11.8, 0, None)]
    report = judge([*records, in_hand(V1, 10.9, 11.8)])
    assert report.problems == ()
    assert report.duplicates_in_window == 1
    # without a word of the journal, or of another mail, or claimed after the first copy, or taken after the second one
    assert kinds(records) == {"duplicate_mails"}
    assert kinds([*records, in_hand(V2, 10.9, 11.8)]) == {"duplicate_mails"}
    assert kinds([*records, in_hand(V1, 10.9, 11.8, destination="dmp")]) == {"duplicate_mails"}
    assert kinds([*records, in_hand(V1, 11.5, 11.8)]) == {"duplicate_mails"}
    assert kinds([*records, in_hand(V1, 10.9, 11.95)]) == {"duplicate_mails"}
    # one take-over is one copy more, not two
    assert kinds([*records, in_hand(V1, 10.9, 11.8), mailed(V1, 11.95)]) == {"duplicate_mails"}


HANG = [Hung(10.9, 16.0, 0, "hang"), Left(5, 13.5, 0, 16.1)]


def test_a_node_that_hung_in_the_middle_of_a_mail_may_send_it_when_it_wakes() -> None:
    records = changed(good(), is_mail(V1), at=13.6)
    records = changed(records, is_mail(V2), at=13.8)
    records = changed(records, is_mail(GONE), at=15.5)
    late = mailed(V1, 16.05)
    taken = in_hand(V1, 10.8, 13.5, back=16.1)
    report = judge([*records, *HANG, taken, late])
    assert report.problems == (), "neither a duplicate outside the window nor out of order"
    assert report.duplicates_in_window == 1
    assert kinds([*records, *HANG, late]) == {"duplicate_mails", "order_broken"}
    # a killed node does not wake: what came after it keeps the order
    killed = [Stopped(11.0, 0, "kill", "", (), ("C-M01",)), Left(5, 13.5, 0, None)]
    assert kinds([*records, *killed, replace(taken, back=None), late]) == {"order_broken"}


def test_a_node_that_hung_may_find_its_document_at_the_dmp() -> None:
    again = Submitted(16.05, "submit", V1.uids[0], "XDSDuplicateUniqueIdInRegistry", False, "")
    looked = Submitted(15.0, "look", V1.uids[0], "Success", False, "")
    taken = in_hand(V1, 10.8, 13.5, back=16.1, destination="dmp", recipient="")
    assert kinds([*good(), *HANG, looked, again, taken]) == set()
    assert kinds([*good(), *HANG, looked, again]) == {"published_twice"}
    assert kinds([*good(), *HANG, looked, again, replace(taken, back=None)]) == {"published_twice"}
    assert kinds([*good(), *HANG, looked, again, replace(taken, control_id="C-M02")]) == {"published_twice"}


def test_a_node_that_lived_was_taken_for_dead() -> None:
    left = Left(5, 13.5, 1, None)
    assert kinds([*good(), left]) == {"buried"}
    for reason in (
        Stopped(11.0, 1, "kill", "", (), ("C-M01",)),
        Stopped(14.0, 1, "term", "status 0", (), ("C-M01", "C-M02")),
        Hung(11.0, 14.0, 1, "hang"),
        Hung(12.5, 13.0, 1, STARVED),
    ):
        assert kinds([*good(), left, reason]) == set()
    done = ("C-M01", "C-M02", "C-M03")
    for no_reason in (
        Stopped(11.0, 0, "kill", "", (), ("C-M01",)),  # another one
        Stopped(4.0, 1, "kill", "", (), ()),  # before it joined
        Stopped(18.0, 1, "kill", "", (), done),  # after
        Stopped(13.0, SERVER, "server", "", (), ("C-M01", "C-M02")),  # a restart of the database kills nobody
        Hung(13.5 - NODE_TIMEOUT / 2, 14.0, 1, "pause"),  # too short a silence
        Hung(5.0, 9.0, 1, "hang"),  # long over
        Hung(14.0, 16.0, 1, STARVED),  # later
    ):
        assert kinds([*good(), left, no_reason]) == {"buried"}


def test_a_mail_taken_over_three_times_may_be_given_up() -> None:
    records = changed(
        good(),
        lambda r: isinstance(r, Final) and (r.control_id, r.destination) == ("C-M02", "mss"),
        state="refused",
    )
    records = changed(records, is_told(V2, "Z02"), accepted=False)
    taken = [in_hand(V2, 12.5 + n / 10, 12.6 + n / 10) for n in range(3)]
    assert judge([*records, *taken]).given_up == 1
    assert kinds([*records, *taken]) == set()
    assert kinds([*records, *taken[:2]]) == {"unexplained", "zam"}


def test_the_time_to_take_over_is_that_of_a_node_that_was_there() -> None:
    killed = Stopped(11.0, 0, "kill", "", (), ("C-M01",))
    taken = in_hand(V1, 10.8, 13.1)
    there = [Left(5, 13.1, 0, None), Left(6, 20, 1, None), Stopped(20.1, 1, "end", "", (), None)]
    assert judge([*good(), killed, taken, *there]).taken_over == (pytest.approx(2.2),)
    slow = Hung(11.5, 12.0, 1, STARVED)
    assert judge([*good(), killed, taken, *there, slow]).taken_over == (pytest.approx(2.2),)
    for disturbed in (
        Stopped(12.0, SERVER, "server", "", (), ("C-M01",)),
        Stopped(12.0, 1, "kill", "", (), ("C-M01",)),
        Hung(11.5, 12.0, 1, "pause"),
    ):
        assert judge([*good(), killed, taken, *there, disturbed]).taken_over == ()
    assert judge([*good(), killed, taken, there[0]]).taken_over == ()


# --- nothing to the wrong place, nothing unasked --------------------------------------------------------------------


def test_a_mail_to_somebody_else() -> None:
    other = "dr.autre@test-hopital.mssante.fr"
    assert "misdirected" in kinds([*good(), mailed(V1, 11.5, recipient=other)])


def test_a_mail_with_another_document() -> None:
    assert kinds(changed(good(), is_mail(V2), documents=(sha1(V1),))) == {"misdirected"}


def test_other_bytes_at_the_dmp() -> None:
    records = changed(good(), lambda r: isinstance(r, Stored) and r.uid == V1.uids[0], sha1="0" * 40)
    assert kinds(records) == {"misdirected"}


def test_a_zam_on_a_message_that_nobody_sent() -> None:
    assert kinds([*good(), replace(told(V1, "Z01", own="Z-x"), answered="C-other")]) == {"misdirected"}


def test_a_refused_message_that_was_sent_all_the_same() -> None:
    sent = Submitted(17, "submit", WRONG.uids[0], "Success", True, "")
    assert "unasked" in kinds([*good(), sent])
    assert "unasked" in kinds([*good(), mailed(WRONG, 17)])


def test_a_message_that_the_dpi_gave_up_may_be_accepted_or_not() -> None:
    given_up = replace(V1, gives_up=True)
    plan = Plan(7, (given_up,), (), ())
    assert kinds([], plan) == set()
    whole = [
        Submitted(11, "submit", V1.uids[0], "Success", True, ""),
        Stored(V1.uids[0], "Approved", "", sha1(V1)),
        mailed(V1, 11),
        told(V1, "Z01"),
        told(V1, "Z02"),
        *finals(V1),
    ]
    assert kinds(whole, plan) == set()
    # but not accepted by halves
    assert "lost" in kinds(without(whole, is_mail(V1)), plan)
    assert "unasked" in kinds([mailed(V1, 11)], plan)


def test_accepted_although_the_dpi_was_told_ar_and_nothing_else() -> None:
    plan = Plan(7, (replace(V1, gives_up=True, dmp=False, recipients=(), tell=False),), (), ())
    row = Final("C-M01", "dpi", "SIL|H", "submit", "succeeded", ())
    told_ar = [Sent(9, "M01", 1, "unread", True), answered(V1, 10, "AR"), row]
    assert kinds(told_ar, plan) == {"unasked"}
    assert kinds([Sent(9.5, "M01", 2, "no_ack", True), *told_ar], plan) == set()


# --- words ----------------------------------------------------------------------------------------------------------


def test_every_kind_is_counted_on_one_of_the_two_last_lines() -> None:
    assert set(COUNTED) == {"lost", "published_twice", "duplicate_mails", "stuck", "order_broken"}
    assert not set(COUNTED) & set(OTHERS)


def test_a_history_is_written_and_read(tmp_path: Path) -> None:
    history = History([*good(), Noted(1, "été"), WireCut(1, "mss", "out"), *HANG, in_hand(V1, 10, 11)])
    history.write(tmp_path / "history.jsonl")
    assert History.read(tmp_path / "history.jsonl").records == history.records
