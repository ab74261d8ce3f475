"""What happens in one seed: the messages of the DPI and the faults. Pure: the same seed gives the same plan.

A fault stands at an instant that a replay meets again: after so many messages were begun, plus a delay. What is planned
at a simulator is tied to a document or a mailbox, not to a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from fixtures.people import DOCUMENT_ROOT
from gateway.exchange.steps import DELIVERY_STEPS, INTAKE_STEPS

LANES = 3
"""Connections of the DPI: messages of one lane go one after the other, each after the final answer to the last."""
EVERY = 2.0
"""Seconds between the crashes of one `server` fault."""
STEPS = (*INTAKE_STEPS, *(f"{d}:{s}" for d in ("dmp", "mss", "dpi") for s in DELIVERY_STEPS))

HOW = (
    "nothing",
    "start",
    "inside",
    "no_end",
    "no_ack",
    "half_close",
    "in_ack",
    "unread",
    "twice",
    "pipelined",
)
"""How an attempt of the DPI is disturbed: cut before the frame, after its first bytes, inside, before its end block,
after it without reading, closed for writing, cut inside the ACK, after the ACK (which it forgets); or the same message
on two connections at once, or twice on one."""

DMP_KINDS = ("commit_then_drop", "drop", "delay", "slow", "cut_body", "http", "wrong_relates_to")
MSS_KINDS = ("commit_then_drop", "drop", "data", "rcpt", "cut_rcpt", "delay", "silent", "mail")
DPI_ANSWERS = ("cut", "AR", "other", "garbage", "silence")
DISK_KINDS = ("disk_full", "read_only", "slow_fsync", "fsync_fails", "clock", "power_cut")
"""They need the preloaded library (`chaos.disk`)."""
DATABASE_KINDS = ("server", "database_cut", "database_kill", "database_hold", "database_down")
"""Between several nodes and their database: it crashes; a node's connections are cut at a byte, ended by the server,
say nothing for a while, are refused for a while."""
HEARTBEAT, NODE_TIMEOUT = 0.3, 2.0
"""Settings `journal.heartbeat` and `journal.node_timeout` of several nodes: the dead are taken over quickly."""
HANGS = ("pause", "hang", "database_hold", "database_down")
"""The node lives and may give no sign of life meanwhile."""
STARVED = "starved"
"""The same, and no fault of the plan: the machine had no CPU for it."""
SKEWS = (-3_600, -90, 90, 3_600)


@dataclass(frozen=True, slots=True)
class Planned:
    """One message. `sets`, `uids` and `replaces` go together: one document each, or two."""

    key: str
    """Its name in the histories; it stands in the body of its mails."""
    control_id: str
    action: str
    """submit, replace or delete."""
    sets: tuple[str, ...]
    uids: tuple[str, ...]
    replaces: tuple[str, ...]
    """uid of the version before, "" for the first."""
    version: int
    dmp: bool
    recipients: tuple[str, ...]
    tell: bool
    """ACK_RECEPTION: a ZAM is wanted for each destination."""
    lane: int
    pdf: int = 0
    """Bytes of the PDF in each document; 0: a small one."""
    wrong: str = ""
    """What is wrong with it (`no_cda`, `other_bytes`, `same_control_id`): AE is expected; "": AA."""
    disturbed: tuple[tuple[str, float], ...] = ()
    """The first attempts: (one of `HOW`, part of the frame); then the DPI sends undisturbed until AA or AE."""
    gives_up: bool = False
    """The DPI does not try again after the disturbed attempts."""

    @property
    def expected(self) -> str:
        """The final verdict."""
        return "AE" if self.wrong else "AA"


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong once `after` messages were begun, `delay` seconds later, for `seconds`."""

    kind: str
    """kill, kill_start (and again while it starts), term, pause, down, cut, one of `DISK_KINDS`; of several nodes also
    hang (a pause that outlasts `NODE_TIMEOUT`) and `DATABASE_KINDS`."""
    after: int
    delay: float = 0.0
    seconds: float = 0.0
    link: str = ""
    """down and cut: dmp, mss (down: dpi too)."""
    direction: str = ""
    """cut and database_cut: `out` (what the gateway says) or `back` (the answer)."""
    count: int = 0
    """cut and database_cut: bytes still let through; slow_fsync: milliseconds; clock: seconds of the jump; server:
    how many crashes, each down for `seconds`, `EVERY` seconds apart."""
    node: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """One seed."""

    seed: int
    messages: tuple[Planned, ...]
    faults: tuple[Fault, ...]
    armed: tuple[tuple[int, str], ...]
    """(node, step or `step#n`, the n-th time): where a node kills itself, one for each of its starts; then none."""
    dmp: tuple[dict[str, Any], ...] = ()
    """Faults of the DMP simulator."""
    mss: tuple[dict[str, Any], ...] = ()
    """Faults of the operator simulator."""
    dpi: tuple[str, ...] = ()
    """Answers to the first ZAM; then AA."""
    refused: tuple[str, ...] = ()
    """uids that the DMP and addresses that the operator refuse for good, once for each time they stand here."""
    skew: tuple[int, ...] = (0,)
    """Seconds by which the clock of each node is wrong, from beginning to end."""

    prefers: int | None = None
    """The node that the balancer asks first each time; None: in turn."""

    @property
    def nodes(self) -> int:
        """How many there are."""
        return len(self.skew)


def make(seed: int, *, kills: bool = False, nodes: int = 1) -> Plan:
    """The plan of a seed. `kills`: few messages and one kill, for long series."""
    draw = Random(f"{'kill' if kills else 'full'}-{seed}")
    messages = _messages(seed, draw, sets=2 if kills else draw.randint(3, 5), plain=kills)
    return _kill(seed, draw, messages, nodes) if kills else _full(seed, draw, messages, nodes)


# --- messages -----------------------------------------------------------------------------------------------


def _messages(seed: int, draw: Random, sets: int, *, plain: bool) -> tuple[Planned, ...]:
    lanes: list[list[Planned]] = [[] for _ in range(LANES)]
    number = 0

    def control_id() -> str:
        nonlocal number
        number += 1
        return f"C{seed}-{number}"

    for index in range(1, sets + 1):
        lane = index % LANES
        for made in _set(seed, draw, index, lane, plain=plain):
            name = control_id()
            lanes[lane].append(replace(made, control_id=name, key=f"M{number:02d}"))
    if not plain:
        for wrong in draw.sample(("no_cda", "other_bytes", "same_control_id"), 2):
            lane = draw.randrange(LANES)
            before = next((m for m in lanes[lane] if not m.wrong and not m.gives_up), None)
            if before is None:
                continue
            name = control_id()
            bad = Planned(
                key=f"M{number:02d}",
                control_id=before.control_id if wrong == "same_control_id" else name,
                action="submit",
                sets=(_oid(seed, 90 + number),),
                uids=(before.uids[0] if wrong == "other_bytes" else f"{_oid(seed, 90 + number)}.1",),
                replaces=("",),
                version=1,
                dmp=True,
                recipients=(_address(seed, 90 + number, "a"),),
                tell=True,
                lane=lane,
                wrong=wrong,
                disturbed=_disturbed(draw, 0.3),
            )
            lanes[lane].append(bad)
    return tuple(m for lane in lanes for m in lane)


def _set(seed: int, draw: Random, index: int, lane: int, *, plain: bool) -> list[Planned]:
    """The life of one set (or of two that go together)."""
    dmp = draw.random() < 0.8
    count = draw.choice((0, 1, 2, 3) if dmp else (1, 2, 3))
    if plain and index == 1:
        dmp, count = True, 2  # every step is on the way of a short seed
    pair = not plain and draw.random() < 0.25
    sets = tuple(_oid(seed, 10 * index + k) for k in range(2 if pair else 1))
    recipients = tuple(_address(seed, index, letter) for letter in "abc"[:count])
    tell = plain or draw.random() < 0.8
    versions = draw.choice((1, 2) if plain else (1, 2, 2, 3, 4))
    made = []
    for version in range(1, versions + 1):
        size = draw.choice((0, 0, 0, 60_000, 400_000, 1_800_000 if not plain else 0))
        made.append(
            Planned(
                key="",
                control_id="",
                action="submit" if version == 1 else "replace",
                sets=sets,
                uids=tuple(f"{s}.{version}" for s in sets),
                replaces=tuple(f"{s}.{version - 1}" if version > 1 else "" for s in sets),
                version=version,
                dmp=dmp,
                recipients=recipients,
                tell=tell,
                lane=lane,
                pdf=size if not pair else min(size, 60_000),
                disturbed=_disturbed(draw, 0.3 if plain else 0.5),
            )
        )
    last = made[-1]
    if draw.random() < 0.3:
        made.append(replace(last, action="delete", disturbed=_disturbed(draw, 0.5)))
    elif not plain and draw.random() < 0.15:
        disturbed = ((draw.choice(("inside", "no_end", "no_ack", "in_ack", "unread")), draw.random()),)
        made[-1] = replace(last, disturbed=disturbed, gives_up=True)
    return made


def _disturbed(draw: Random, chance: float) -> tuple[tuple[str, float], ...]:
    made: list[tuple[str, float]] = []
    while len(made) < 3 and draw.random() < chance:
        made.append((draw.choice(HOW), round(draw.random(), 3)))
    return tuple(made)


def _oid(seed: int, number: int) -> str:
    return f"{DOCUMENT_ROOT}.{seed + 1}.{number}"


def _address(seed: int, index: int, letter: str) -> str:
    return f"dr.s{seed}.{index}{letter}@test-hopital.mssante.fr"


# --- faults -------------------------------------------------------------------------------------------------


def _kill(seed: int, draw: Random, messages: tuple[Planned, ...], nodes: int) -> Plan:
    """One kill: at a named step (each in turn), at a random instant, or as a power cut. Of several nodes one is killed,
    or each at the same step, or all of them and their database by the power cut."""
    kind = ("step", "kill", "step", "power_cut")[seed % 4]
    armed: tuple[tuple[int, str], ...] = ()
    faults: tuple[Fault, ...] = ()
    prefers: int | None = None
    if kind == "step":
        step = STEPS[(seed // 2 if nodes == 1 else seed // 4) % len(STEPS)]
        step = step if draw.random() < 0.6 else f"{step}#{draw.randint(2, 3)}"
        which: Sequence[int] = range(nodes)
        if seed % 4 == 0:
            prefers = draw.randrange(nodes)  # so that it comes to the step
            which = (prefers,)
        armed = tuple((node, step) for node in which)
    else:
        after = draw.randint(1, len(messages))
        faults = (Fault(kind, after, round(draw.uniform(0, 0.25), 3), node=draw.randrange(nodes)),)
    return Plan(seed, messages, faults, armed, skew=(0,) * nodes, prefers=prefers)


def _full(seed: int, draw: Random, messages: tuple[Planned, ...], nodes: int) -> Plan:
    good = [m for m in messages if not m.wrong]
    with_dmp = [m for m in good if m.dmp and m.action != "delete"]
    with_mss = [m for m in good if m.recipients]
    refused: list[str] = []
    dmp, mss = [], []
    for message in draw.sample(with_dmp, min(len(with_dmp), draw.randint(1, 4))):
        uid = draw.choice(message.uids)
        kind = draw.choice((*DMP_KINDS, "code"))
        dmp.append(_dmp_fault(draw, kind, uid))
        if kind == "code":
            refused.append(uid)
    if draw.random() < 0.4:
        dmp.append({"kind": draw.choice(("drop", "http")), "transaction": "TD3.1b", "times": 2})
    for message in draw.sample(with_mss, min(len(with_mss), draw.randint(1, 4))):
        address = draw.choice(message.recipients)
        kind = draw.choice((*MSS_KINDS, "refuse"))
        mss.append(_mss_fault(draw, kind, address))
        if kind == "refuse":
            refused.append(address)
    faults = [_timed(draw, kind, len(messages), nodes) for kind in _kinds(draw, nodes)]
    armed = tuple(
        (n % nodes, f"{draw.choice(STEPS)}{draw.choice(('', '', '#2', '#3'))}")
        for n in range(draw.randint(0, 2))
    )
    dpi = tuple(draw.choice(DPI_ANSWERS) if draw.random() < 0.5 else "AA" for _ in range(draw.randint(0, 5)))
    return Plan(
        seed,
        messages,
        tuple(sorted(faults, key=lambda f: (f.after, f.delay))),
        armed,
        tuple(dmp),
        tuple(mss),
        dpi,
        tuple(refused),
        _skew(draw, nodes),
    )


def _skew(draw: Random, nodes: int) -> tuple[int, ...]:
    """Sometimes one of several nodes has a wrong clock."""
    skew = [0] * nodes
    if nodes > 1 and draw.random() < 0.3:
        skew[draw.randrange(nodes)] = draw.choice(SKEWS)
    return tuple(skew)


def _kinds(draw: Random, nodes: int) -> list[str]:
    if nodes > 1:
        return [
            *draw.choices(("kill", "kill", "kill_start", "power_cut", "term", "hang"), k=draw.randint(1, 3)),
            *draw.choices(("server", "database_cut", "database_cut", "database_cut"), k=draw.randint(1, 3)),
            *draw.choices(
                ("pause", "hang", "down", "cut", "cut", "clock", *DATABASE_KINDS), k=draw.randint(1, 3)
            ),
        ]
    stops = [
        draw.choice(("kill", "kill", "kill_start", "power_cut", "term")) for _ in range(draw.randint(1, 3))
    ]
    others = draw.choices(
        (
            "pause",
            "down",
            "cut",
            "cut",
            "cut",
            "disk_full",
            "read_only",
            "slow_fsync",
            "fsync_fails",
            "clock",
        ),
        k=draw.randint(2, 5),
    )
    return stops + others


def _timed(draw: Random, kind: str, messages: int, nodes: int) -> Fault:
    after, delay, node = draw.randint(1, messages), round(draw.uniform(0, 0.5), 3), draw.randrange(nodes)
    seconds = round(draw.uniform(0.2, 1.5), 3)
    match kind:
        case "cut":
            # small: greeting, handshake, headers; big: in the middle of a document
            count = draw.choice((draw.randint(0, 60), draw.randint(60, 3000), draw.randint(3000, 40_000)))
            link, direction = draw.choice(("dmp", "mss")), draw.choice(("out", "back"))
            return Fault(
                kind,
                after,
                delay,
                link=link,
                direction=direction,
                count=count if direction == "out" else count % 2000,
            )
        case "database_cut":
            count = draw.choice(
                (draw.randint(0, 500), draw.randint(500, 20_000), draw.randint(20_000, 400_000))
            )
            direction = draw.choice(("out", "back"))
            return Fault(kind, after, delay, direction=direction, count=count, node=node)
        case "server":
            return Fault(kind, after, delay, seconds, count=draw.randint(1, 3))
        case "hang" | "database_hold" | "database_down":
            return Fault(kind, after, delay, round(NODE_TIMEOUT + seconds, 3), node=node)
        case "down":
            return Fault(kind, after, delay, seconds, link=draw.choice(("dmp", "mss", "dpi")))
        case "slow_fsync":
            return Fault(kind, after, delay, 2 * seconds, count=draw.choice((20, 80, 400)), node=node)
        case "clock":
            jump = draw.choice((-86_400, -3_600, -90, 90, 3_600, 86_400))
            return Fault(kind, after, delay, seconds, count=jump, node=node)
        case _:
            return Fault(kind, after, delay, seconds, node=node)


def _dmp_fault(draw: Random, kind: str, uid: str) -> dict[str, Any]:
    fault: dict[str, Any] = {"action": "submit", "unique_id": uid, "kind": kind}
    match kind:
        case "delay":
            fault["seconds"] = round(draw.uniform(0.2, 1.5), 2)
        case "slow":  # longer than the gateway waits for an answer
            fault |= {"kind": "delay", "seconds": 4.0}
        case "http":
            fault |= {"status": draw.choice((500, 502, 503, 408)), "times": draw.randint(1, 3)}
        case "code":
            fault["code"] = "XDSRepositoryError"
        case "drop" | "commit_then_drop":
            fault["times"] = draw.randint(1, 2)
    return fault


def _mss_fault(draw: Random, kind: str, address: str) -> dict[str, Any]:
    fault: dict[str, Any] = {"kind": kind, "recipient": address}
    match kind:
        case "mail":
            return {"kind": kind, "code": 451, "times": draw.randint(1, 2)}
        case "refuse":
            return {"kind": "rcpt", "recipient": address, "code": 550}
        case "delay":
            fault["seconds"] = round(draw.uniform(0.2, 1.5), 2)
        case "data" | "rcpt" | "drop" | "cut_rcpt":
            fault["times"] = draw.randint(1, 3)
    return fault
