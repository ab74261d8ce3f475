"""The plan of a seed: always the same, and over some seeds everything that can go wrong does."""

from __future__ import annotations

from chaos.messages import named_in, payload
from chaos.scenario import DISK_KINDS, DMP_KINDS, HOW, LANES, MSS_KINDS, STEPS, Plan, make
from gateway.hl7.message import Message

PLANS = [make(seed) for seed in range(150)]
KILLS = [make(seed, kills=True) for seed in range(150)]


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
    armed = {a.partition("#")[0] for p in KILLS for a in p.armed}
    assert armed == set(STEPS)
    assert {f.kind for p in KILLS for f in p.faults} == {"kill", "power_cut"}
    assert all(len(p.armed) + len(p.faults) == 1 for p in KILLS)


def test_a_lane_sends_the_versions_of_a_set_in_their_order() -> None:
    for plan in PLANS:
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
