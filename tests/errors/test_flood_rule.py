"""The flood rule as tables: who gets a mail at once, who waits, who goes together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.reporter import Due, Pending, plan
from gateway.journal.reports import Recent

A, B = "a@x.mssante.fr", "b@x.mssante.fr"
BURST, WINDOW = 3, 100.0


def errors(
    *ats: float, family: str = "dmp 500", boxes: tuple[str, ...] = (A,), first: int = 1
) -> list[Pending]:
    return [Pending(first + n, at, family, boxes) for n, at in enumerate(ats)]


def sent(*ats: float, family: str = "dmp 500", box: str = A) -> list[Recent]:
    return [Recent(box, family, at) for at in ats]


@pytest.mark.parametrize(
    ("name", "pending", "recent", "now", "expected"),
    [
        ("one error, its own mail", errors(10), [], 10, Due(((1,),), None)),
        ("as many as allowed, each its own", errors(10, 10, 11), [], 11, Due(((1,), (2,), (3,)), None)),
        ("more than allowed: the others wait for the window", errors(10, 10, 10, 10, 10), [], 10,
         Due(((1,), (2,), (3,)), 110)),
        ("those that waited go together at its end", errors(12, 13, 14, first=4), sent(10, 10, 10), 110,
         Due(((4, 5, 6),), None)),
        ("not a moment before", errors(12, 13, first=4), sent(10, 10, 10), 109.9, Due((), 110)),
        ("one that waited alone", errors(12, first=4), sent(10, 10, 10), 110, Due(((4,),), None)),
        ("noted before the mails that filled the window", errors(9, 9, first=4), sent(10, 10, 10), 110,
         Due(((4, 5),), None)),
        ("noted beside mails that did not fill it: not late", errors(9, 9, first=4), sent(10), 11,
         Due(((4,), (5,)), None)),
        ("late ones together, then a new one by itself", errors(50, 60, 111, first=4), sent(10, 10, 10), 112,
         Due(((4, 5), (6,)), None)),
        ("a window that slides: each place as it becomes free", errors(95, first=9), sent(10, 40, 90), 96,
         Due((), 110)),
        ("another family has its own window", errors(12, family="mss 550"), sent(10, 10, 10), 12,
         Due(((1,),), None)),
        ("another mailbox too", errors(12, boxes=(B,)), sent(10, 10, 10), 12, Due(((1,),), None)),
        ("for two mailboxes both must have room", errors(12, boxes=(A, B)), sent(10, 10, 10), 12, Due((), 110)),
        ("two rows that share a mailbox share its window",
         errors(12, 12, boxes=(A, B)) + errors(12, 12, boxes=(A,), first=3), [], 12,
         Due(((1,), (2,), (3,)), 112)),
        ("the clock was set back a day: no window of the future holds anything up", errors(12), sent(9e4, 9e4, 9e4),
         12, Due(((1,),), None)),
        ("nothing", [], sent(10), 11, Due((), None)),
    ],
)  # fmt: skip
def test_table(name: str, pending: list[Pending], recent: list[Recent], now: float, expected: Due) -> None:
    assert plan(pending, recent, now, BURST, WINDOW) == expected, name


@given(st.lists(st.floats(0, 1000), min_size=1, max_size=80), st.integers(1, 5), st.floats(5, 200), st.data())
def test_nothing_is_lost_told_twice_or_flooded(
    ats: list[float], burst: int, window: float, data: st.DataObject
) -> None:
    """Whatever comes when, and whenever the reporter looks: each error once, never more than `burst` in a window."""
    waiting = [Pending(n, at, "f", (A,)) for n, at in enumerate(sorted(ats))]
    history: list[Recent] = []
    told: list[int] = []
    now, looks = 0.0, 0
    while waiting:
        looks += 1
        assert looks < 500
        seen = [p for p in waiting if p.at <= now]
        due = plan(seen, [r for r in history if r.at > now - 2 * window], now, burst, window)
        for batch in due.batches:
            told.extend(batch)
            history.append(Recent(A, "f", now))
        waiting = [p for p in waiting if p.id not in told]
        left = [p for p in seen if p.id not in told]
        assert (due.look_at is not None) == bool(left)
        steps = [p.at for p in waiting if p.at > now] + ([due.look_at] if due.look_at is not None else [])
        if steps:
            now = max(now, min(steps)) + data.draw(st.sampled_from([0.0, 0.1, 3.0]))
    assert sorted(told) == list(range(len(ats)))
    for report in history:
        inside = sum(1 for r in history if report.at <= r.at < report.at + window)
        assert inside <= burst
