"""Attempts: what the words said of a delivery make of it, in any order, kept or made anew (R1, R2)."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from indicators import deliveries, facts, told
from indicators.attempts import Channel
from indicators.deliveries import DeliveryFold
from indicators.engine import compute
from indicators.world import World
from tests.indicators.scenario import FINESS
from tests.indicators.test_facts import DELIVERY


def fold_of(words: list[tuple[float, str, str, str]]) -> DeliveryFold:
    """(instant, recipient, outcome, code) of one submission."""
    fold = DeliveryFold()
    for n, (at, recipient, outcome, code) in enumerate(words):
        to = {"destination": "mss", "recipient": recipient} if recipient else {"destination": "dmp"}
        fact = {
            **DELIVERY,
            "fact_id": str(n),
            "recipient": None,
            **to,
            "outcome": outcome,
            "code": code or None,
        }
        word = told.of(facts.read(json.dumps(fact)))
        assert isinstance(word, told.Delivery)
        fold.add(word, at)
    return fold


def seen(fold: DeliveryFold) -> set[tuple[object, ...]]:
    (document,) = fold
    return {
        (a.channel, a.recipient, a.first, a.last, a.outcome, a.success, a.code, a.taken_back)
        for a in document.attempts
    }


WORDS = [
    (5.0, "a@x.mssante.fr", "pending", ""),
    (1.0, "a@x.mssante.fr", "pending", ""),
    (3.0, "A@X.mssante.fr", "success", ""),
    (4.0, "a@x.mssante.fr", "failure", "902"),
    (4.0, "a@x.mssante.fr", "success", ""),
    (2.0, "", "success", ""),
]
STANDS = {
    # a negative DSN of the same instant is believed, and what is pending later takes nothing back
    (Channel.MSS_PRO, "a@x.mssante.fr", 1.0, 4.0, "failure", 3.0, "902", True),
    (Channel.DMP, "", 2.0, 2.0, "success", 2.0, "", False),
}


def test_r1_the_last_decisive_word_wins_whatever_the_order_and_the_repetition() -> None:
    for order in itertools.permutations(WORDS):
        assert seen(fold_of(list(order))) == STANDS
    mixed = WORDS * 50
    random.Random(1).shuffle(mixed)
    assert seen(fold_of(mixed)) == STANDS


def test_what_is_only_pending_is_the_same_in_any_order() -> None:
    words = [(2.0, "a@x.mssante.fr", "pending", c) for c in ("", "4.4.1", "4.2.2")]
    found = {frozenset(seen(fold_of(list(order)))) for order in itertools.permutations(words)}
    assert len(found) == 1
    ((stands,),) = found
    assert stands[3] == float("-inf") and stands[4:6] == ("pending", None)


def test_a_word_after_a_month_was_read_counts_in_the_next_one() -> None:
    fold = fold_of(WORDS[2:3])
    (document,) = fold
    assert [a.outcome for a in document.attempts] == ["success"]
    late = told.of(
        facts.read(
            json.dumps(
                {**DELIVERY, "destination": "mss", "recipient": "a@x.mssante.fr", "outcome": "failure"}
            )
        )
    )
    assert isinstance(late, told.Delivery)
    fold.add(late, 9.0)
    assert [a.outcome for a in document.attempts] == ["failure"]


def test_months_are_the_same_when_attempts_are_not_kept_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    for n in range(60):
        day, recipient = 1 + n % 28, f"dr.{n % 7}@x.mssante.fr"
        for at, outcome in ((f"2025-01-{day:02}", "failure"), (f"2025-02-{day:02}", "success")):
            document = {**DELIVERY["document"], "unique_id": f"1.2.{n}", "set_id": f"1.{n}"}
            lines.append(
                {
                    **DELIVERY,
                    **{"fact_id": f"{n}-{at}", "at": f"{at}T00:30:00+01:00", "finess": FINESS},
                    **{"document": document, "outcome": outcome, "control_id": str(n)},
                    **({"destination": "mss", "recipient": recipient} if n % 2 else {}),
                }
            )
    world = World().add_all(facts.read(json.dumps(line)) for line in lines)
    months = ("2025-01", "2025-02", "2025-03")
    kept = [compute(world, m).rows for m in months]
    monkeypatch.setattr(deliveries, "_MADE", 0)
    assert [compute(world, m).rows for m in months] == kept
    assert any(r.numerator for r in kept[1] if r.indicator == "ALI-2")
