"""The plan of a seed: always the same, and over some seeds everything that can go wrong does."""

from __future__ import annotations

from chaos.messages import named_in, payload
from chaos.scenario import (
    DATABASE_KINDS,
    DISK_KINDS,
    DMP_KINDS,
    HANGS,
    HOW,
    LANES,
    MSS_KINDS,
    NODE_TIMEOUT,
    STEPS,
    Plan,
    make,
)
from gateway.hl7.message import Message

PLANS = [make(seed) for seed in range(150)]
KILLS = [make(seed, kills=True) for seed in range(150)]
TWO = [make(seed, nodes=2) for seed in range(150)]
KILLS_OF_TWO = [make(seed, kills=True, nodes=2) for seed in range(150)]


def test_a_seed_always_gives_the_same_plan_and_the_same_bytes() -> None:
    for seed in (1, 2, 3):
        first, again = make(seed), make(seed)
        assert first == again
        assert [payload(m) for m in first.messages] == [payload(m) for m in again.messages]
    assert make(1) != make(2)
    assert make(1) != make(1, kills=True)


def test_every_fault_is_planned_by_some_seed() -> None:
    kinds = {f.kind for p in PLANS for f in p.faults}
    assert kinds == {"kill", "kill_start", "term", "pause", "down", "cut", *DISK_KINDS}
    assert {(f.link, f.direction) for p in PLANS for f in p.faults if f.kind == "cut"} == {
        (link, way) for link in ("dmp", "mss") for way in ("out", "back")
    }
    assert {how for p in PLANS for m in p.messages for how, _part in m.disturbed} == set(HOW)
    # `slow` is a delay that is longer than the gateway waits
    assert {f["kind"] for p in PLANS for f in p.dmp} == {*DMP_KINDS, "code"} - {"slow"}
    assert any(f.get("seconds", 0) > 3 for p in PLANS for f in p.dmp)
    assert {f["kind"] for p in PLANS for f in p.mss} == set(MSS_KINDS)
    assert {m.wrong for p in PLANS for m in p.messages} == {"", "no_cda", "other_bytes", "same_control_id"}
    assert any(m.gives_up for p in PLANS for m in p.messages)
    assert any(len(m.uids) == 2 for p in PLANS for m in p.messages)
    assert {m.action for p in PLANS for m in p.messages} == {"submit", "replace", "delete"}


def test_the_short_seeds_kill_at_every_step_at_random_and_as_a_power_cut() -> None:
    armed = {(node, step.partition("#")[0]) for p in KILLS for node, step in p.armed}
    assert armed == {(0, step) for step in STEPS}
    assert {f.kind for p in KILLS for f in p.faults} == {"kill", "power_cut"}
    assert all(len(p.armed) + len(p.faults) == 1 for p in KILLS)


def test_every_fault_of_two_nodes_is_planned_by_some_seed() -> None:
    faults = [f for p in TWO for f in p.faults]
    own = {
        "kill",
        "kill_start",
        "term",
        "pause",
        "hang",
        "down",
        "cut",
        "clock",
        "power_cut",
        *DATABASE_KINDS,
    }
    assert {f.kind for f in faults} == own
    everywhere = {f.kind for f in faults if f.node == 0} & {f.kind for f in faults if f.node == 1}
    # neither the server nor a counterpart is one node's, and a power cut is everybody's
    assert everywhere >= own - {"server", "down", "cut", "power_cut"}
    assert all(f.seconds > NODE_TIMEOUT for f in faults if f.kind in HANGS and f.kind != "pause")
    assert all(f.seconds < NODE_TIMEOUT for f in faults if f.kind == "pause")
    assert {f.direction for f in faults if f.kind == "database_cut"} == {"out", "back"}
    assert any(f.kind == "server" and f.count > 1 for f in faults)
    assert {node for p in TWO for node, _step in p.armed} == {0, 1}
    assert any(p.skew[0] for p in TWO) and any(p.skew[1] for p in TWO) and any(not any(p.skew) for p in TWO)
    assert all(p.skew == (0,) for p in PLANS)


def test_the_short_seeds_of_two_nodes_kill_one_or_both_at_every_step() -> None:
    for nodes in ({0}, {1}, {0, 1}):
        armed = {
            step.partition("#")[0]
            for p in (make(seed, kills=True, nodes=2) for seed in range(600))
            if {node for node, _step in p.armed} == nodes
            for _node, step in p.armed
        }
        assert armed == set(STEPS)
    assert all(p.prefers == p.armed[0][0] for p in KILLS_OF_TWO if len(p.armed) == 1)
    assert {f.kind for p in KILLS_OF_TWO for f in p.faults} == {"kill", "power_cut"}
    assert {f.node for p in KILLS_OF_TWO for f in p.faults} == {0, 1}
    assert all(bool(p.armed) + len(p.faults) == 1 for p in KILLS_OF_TWO)


def test_a_lane_sends_the_versions_of_a_set_in_their_order() -> None:
    for plan in PLANS + TWO:
        for lane in range(LANES):
            last: dict[str, int] = {}
            for message in (m for m in plan.messages if m.lane == lane and not m.wrong):
                assert message.version >= last.get(message.sets[0], 0)
                last[message.sets[0]] = message.version
        assert _names_are_unique(plan)


def _names_are_unique(plan: Plan) -> bool:
    keys = [m.key for m in plan.messages]
    ids = [m.control_id for m in plan.messages if m.wrong != "same_control_id"]
    return len(set(keys)) == len(keys) and len(set(ids)) == len(ids)


def test_a_message_says_what_was_planned() -> None:
    plan = make(3)
    for planned in plan.messages:
        message = Message.parse(payload(planned))
        assert message.control_id == planned.control_id
        documents = [s for s in message.all("OBX") if s.text(2) == "ED" and s.text(3, comp=3) == "LN"]
        assert len(documents) == len(planned.uids)


def test_what_is_no_mail_of_ours_has_no_name() -> None:
    assert named_in(b"To: <a@b.fr>\r\nMessage-ID: <1@x>\r\n\r\nBonjour\r\n") == ("", "a@b.fr", "<1@x>", ())
