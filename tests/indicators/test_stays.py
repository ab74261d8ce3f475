"""Stays and figures do not depend on the order of facts nor on their repetition."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indicators import export, facts
from indicators.engine import compute
from indicators.stays import Stays
from indicators.world import World

START = datetime(2025, 1, 25, tzinfo=UTC)
EVENTS = ("A01", "A03", "A04", "A05", "A06", "A07", "A11", "A13", "A14", "A16", "A21", "A22", "Z99")


def moments() -> st.SearchStrategy[str]:
    return st.integers(0, 40 * 4).map(lambda n: (START + timedelta(hours=6 * n)).isoformat())


def refs(names: str) -> st.SearchStrategy[dict[str, str]]:
    return st.sampled_from(names).map(lambda n: {"authority": "H", "value": n})


def some(fact: str, /, **fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "fact": st.just(fact),
            "finess": st.sampled_from(["750000001", "750000002"]),
            "at": moments(),
            **fields,
        }
    )


FACTS = st.one_of(
    some(
        "stay",
        event=st.sampled_from(EVENTS),
        stay=refs("ABC") | st.none(),
        account=refs("XY"),
        patient=st.sampled_from("pqr"),
        patient_class=st.sampled_from(["I", "O", "R", "E", "N"]),
        kind=st.sampled_from(["03", "04", "07"]),
        movement=st.fixed_dictionaries(
            {
                "id": st.sampled_from(["m1", "m2", "m3", None]),
                "action": st.sampled_from(["INSERT", "UPDATE", "CANCEL"]),
                "at": moments() | st.none(),
                "trigger": st.sampled_from(["A01", "A03", None]),
            }
        ),
        admitted_at=moments() | st.none(),
        discharged_at=moments() | st.none(),
    ),
    some(
        "consent",
        stay=refs("ABCXY") | st.none(),
        patient=st.sampled_from("pqr"),
        feeding=st.sampled_from(["NA", "IO", "INO", None]),
        consulting=st.sampled_from(["NA", "INC", "IC", None]),
    ),
    some(
        "identity",
        event=st.sampled_from(["A40", "A44", "A47"]),
        patient=st.sampled_from("pqr"),
        prior_patient=st.sampled_from("pqr"),
        account=refs("XY"),
    ),
    some(
        "delivery",
        control_id=st.sampled_from(["1", "2"]),
        document=st.fixed_dictionaries(
            {
                "unique_id": st.sampled_from(["u1", "u2", "u3"]),
                "set_id": st.sampled_from(["s1", "s2"]),
                "version": st.integers(1, 3),
                "type_code": st.sampled_from(["11490-0", "34874-8", "other"]),
                "date": moments() | st.none(),
            }
        ),
        destination=st.sampled_from(["dmp", "mss"]),
        recipient=st.sampled_from(["a@x.mssante.fr", "1@patient.mssante.fr", None]),
        outcome=st.sampled_from(["success", "failure", "pending", "deleted"]),
        stay=refs("ABCXY") | st.none(),
        patient=st.sampled_from("pqr") | st.none(),
        ins_qualified=st.booleans(),
        historical=st.booleans(),
    ),
    some("consultation_visit", stay=refs("ABD") | st.none(), patient=st.sampled_from("pqr")),
    some(
        "dmp_consultation",
        transaction=st.sampled_from(["TD0.9", "TD0.10", "TD3.1", "TD3.2"]),
        outcome=st.sampled_from(["success", "failure"]),
        stay=refs("ABCXY"),
        user=st.just({"rpps": "1", "profession": "medecin"}),
    ),
    some(
        "mss_integration",
        outcome=st.sampled_from(["success", "failure"]),
        mode=st.sampled_from(["manual", "auto"]),
        format=st.sampled_from(["cda", "non_cda"]),
        message_id=st.sampled_from(["1", "2", None]),
    ),
    some("user_census", profession=st.just("medecin"), users=st.integers(0, 5)),
)


def shape(stays: Stays) -> list[str]:
    return sorted(
        f"{s.key} {s.finess} {s.patient_class} {s.kind} {s.opened} {s.closed} {s.limit} {s.cancelled} {s.patient}"
        f" {s.feeding} {s.consulting} {s.accounts}"
        for s in stays.all
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FACTS, max_size=25), st.randoms(use_true_random=False))
def test_any_order_and_repetition_give_the_same(told: list[dict[str, Any]], chance: random.Random) -> None:
    lines = [json.dumps({"fact_id": str(n), **fact}) for n, fact in enumerate(told)]
    mixed = lines + chance.sample(lines, len(lines) // 2)
    chance.shuffle(mixed)
    one, two = (World().add_all(facts.read(line) for line in told_lines) for told_lines in (lines, mixed))
    assert shape(one.stays.fold()) == shape(two.stays.fold())
    first, second = compute(one, "2025-02"), compute(two, "2025-02")
    assert export.to_csv(first.rows) == export.to_csv(second.rows)
    assert first.quality == second.quality
    for row in first.rows:
        assert row.rate is None or row.indicator == "CON-3" or 0 <= row.rate <= 1, row
        assert (row.rate is None) == (row.denominator is None or row.denominator == 0 or bool(row.reason)), (
            row
        )
