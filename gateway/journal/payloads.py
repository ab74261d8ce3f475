"""The bytes of messages in the journal: in one row, or in parts when one commit of them would hold everybody up.

Purpose: a commit of 89 MB takes the writer half a second, in which nobody else's message can be acknowledged. A big
payload is written in parts of 1 MB, each in a commit of its own; others' commits come in between.

Guarantee: a payload is pending until the commit that gives it to its message; one that never comes that far (fault,
stop) is removed, and never one that a message holds. A slice reads the same from one row and from parts.

Fails: `GatewayBug` for a part that is missing, `ContentGone` when retention has emptied the payload,
`JournalUnavailable` when another node removes what was to be held.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from sqlmodel import Session

from gateway.errors import ContentGone, GatewayBug, JournalUnavailable
from gateway.journal.sql import insert, node_of, run

PART = 1 << 20
"""Bytes of a part: about 8 ms of the writer's time, the fsync included."""


def add(session: Session, sha256: str, raw: bytes) -> int:
    """Store a small payload; its row id."""
    return insert(session, "insert_payload", sha256=sha256, size=len(raw), content=raw)


def begin(session: Session, sha256: str, size: int) -> int:
    """Begin a big payload of `size` bytes, pending; its row id."""
    payload_id = insert(session, "insert_payload", sha256=sha256, size=size, content=b"")
    run(session, "insert_payload_pending", payload_id=payload_id, node=node_of(session))
    return payload_id


def add_part(session: Session, payload_id: int, position: int, content: memoryview) -> None:
    """Append part `position` (from 0): `PART` bytes, fewer in the last one."""
    run(session, "insert_payload_part", payload_id=payload_id, position=position, content=content)


def hold(session: Session, payload_id: int) -> None:
    """A message holds the payload from now on. `JournalUnavailable` when it is not this process's, and whole: other
    nodes took this one for dead, and remove it."""
    if run(session, "payload_is_held", payload_id=payload_id, node=node_of(session), part=PART).rowcount != 1:
        raise JournalUnavailable("what was written of the message was taken over by another node")


def held(session: Session, payload_id: int) -> int:
    """As `hold`; the row id."""
    hold(session, payload_id)
    return payload_id


def pending(session: Session) -> Sequence[int]:
    """Payloads that no message holds."""
    return run(session, "payloads_pending").scalars().all()


def remove_some(session: Session, payload_id: int) -> bool:
    """Remove the last part of a pending payload, or the payload after its parts; False when nothing is left to do.

    One part at a time, as they were written.
    """
    if run(session, "payload_pending", payload_id=payload_id).first() is None:
        return False
    if run(session, "delete_last_part", payload_id=payload_id).rowcount:
        return True
    run(session, "payload_is_removed", payload_id=payload_id)
    run(session, "delete_payload", payload_id=payload_id)
    return False


def check_kept(session: Session, payload_id: int) -> None:
    """Raises `ContentGone` when retention has emptied the payload."""
    if run(session, "is_emptied", payload_id=payload_id).first() is not None:
        raise ContentGone("the content is not kept any more (retention)")


def whole(session: Session, payload_id: int) -> bytes:
    """All the bytes of a payload."""
    row = run(session, "payload_content", payload_id=payload_id).one()
    if row.content or not row.size:
        content: bytes = row.content
        return content
    check_kept(session, payload_id)
    joined = io.BytesIO()  # gives its buffer away without a copy
    for piece in slices(session, payload_id, 0, row.size):
        joined.write(piece)
    return joined.getvalue()


def slices(session: Session, payload_id: int, offset: int, length: int) -> Iterator[memoryview]:
    """`length` bytes from `offset` of a payload in parts, one part at a time in memory."""
    first, last = offset // PART, (offset + length - 1) // PART
    begin_at, left = offset - first * PART, length
    for content in run(session, "payload_parts", payload_id=payload_id, first=first, last=last).scalars():
        piece = memoryview(content)[begin_at : begin_at + left]
        begin_at, left = 0, left - len(piece)
        yield piece
    if left:
        raise GatewayBug(f"payload {payload_id} lacks {left} bytes")
