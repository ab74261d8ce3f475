"""The gateway processes that share a journal: signs of life, what a dead one leaves, duties. The statements.

Guarantee: a dead node is buried by one taker only, in the commit that takes over what it had in hand; not if it gave a
sign of life in between. No function commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session

from gateway.journal import queue
from gateway.journal.sql import lock, node_of, run


@dataclass(frozen=True, slots=True)
class Seen:
    """The nodes (token → beat) and who has which duty."""

    beats: dict[str, int]
    duties: dict[str, str]


def join(session: Session, name: str, now: float) -> None:
    """This process is at work from now on. `name`: for people."""
    run(session, "insert_node", token=node_of(session), name=name, now=now)


def beat(session: Session) -> Seen | None:
    """Give a sign of life, see those of the others; None when this node was buried."""
    if run(session, "beat_node", token=node_of(session)).rowcount != 1:
        return None
    return Seen(
        {r.token: r.beat for r in run(session, "nodes")}, {r.name: r.node for r in run(session, "duties")}
    )


def present(session: Session, token: str) -> bool:
    """The node was not buried: what it claimed is its own."""
    return run(session, "node_there", token=token).first() is not None


def take_duty(session: Session, name: str) -> bool:
    """Take a duty that nobody alive has; True when it is ours."""
    return run(session, "take_duty", name=name, node=node_of(session)).rowcount == 1


@dataclass(frozen=True, slots=True)
class Left:
    """What a node left: messages without an answer and payloads being written (now ours; None: all that there are),
    deliveries by what became of them."""

    messages: Sequence[int] | None
    payloads: Sequence[int] | None
    deliveries: dict[str, int]


def bury(session: Session, dead: str, last_beat: int, now: float) -> Left | None:
    """Take over what a dead node had in hand; None when another node did, or it lives."""
    if run(session, "bury_node", token=dead, beat=last_beat).rowcount != 1:
        return None
    return _take(session, dead, now)


def orphans(session: Session, now: float) -> Left:
    """Take over what bears the token of a node that is no more (it was buried, and worked on before it knew)."""
    lock(session, "orphans")
    found = Left([], [], {})
    for token in run(session, "orphan_tokens").scalars().all():
        left = _take(session, token, now)
        found = Left(
            [*(found.messages or ()), *(left.messages or ())],
            [*(found.payloads or ()), *(left.payloads or ())],
            {k: n + found.deliveries.get(k, 0) for k, n in left.deliveries.items()},
        )
    return found


def leave(session: Session, now: float) -> Left | None:
    """This process ends: what it could not finish is free for the others. None when it was buried."""
    own = node_of(session)
    if run(session, "delete_node", token=own).rowcount != 1:
        return None
    run(session, "delete_duties", node=own)
    return _take(session, own, now)


def _take(session: Session, dead: str, now: float) -> Left:
    own = node_of(session)
    return Left(
        deliveries=queue.recover(session, now, dead),
        messages=run(session, "adopt_messages", node=own, dead=dead).scalars().all(),
        payloads=run(session, "adopt_payloads", node=own, dead=dead).scalars().all(),
    )
