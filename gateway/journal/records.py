"""What the gateway reads and writes in the journal: the exchange's statements, by name.

Purpose: the statements of `queries.sql` that concern messages, documents and facts, with their shapes; the heart
composes them inside `Journal.write`/`read` (deliveries: `queue.py`). Each function takes the session of the
transaction that it is part of.

Guarantee: no function commits; none touches a payload that is already there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from sqlmodel import Session

from gateway.cda.versions import KnownDocument
from gateway.errors import AnsweredAlready, Finding, GatewayBug
from gateway.exchange.delivery import FINAL, DeliveryState
from gateway.hl7.base64text import decode, decode_pieces
from gateway.hl7.transmission import Action
from gateway.journal import payloads
from gateway.journal.sql import insert, lock, node_of, run

# --- messages -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewMessage:
    """What is known of a message before anything is checked."""

    raw: bytes
    sha256: str
    dedup_key: str | None
    control_id: str
    sender: str
    message_type: str
    peer: str
    correlation: str
    now: float


@dataclass(frozen=True, slots=True)
class Received:
    """Result of `receive`: the message's row, and whether it is new or known already."""

    message_id: int
    new: bool
    same_bytes: bool = True
    ack: bytes | None = None
    ack_code: str | None = None


def known(session: Session, message: NewMessage) -> Received | None:
    """What is known of a message with this `dedup_key`; None when it is new."""
    if message.dedup_key is None:
        return None
    row = run(session, "message_by_dedup_key", dedup_key=message.dedup_key).first()
    return Received(row.id, False, row.sha256 == message.sha256, row.ack, row.ack_code) if row else None


def receive(session: Session, message: NewMessage, payload_id: int | None = None) -> Received:
    """Commit 1 of the ACK path: keep the bytes, before anything else.

    A message whose `dedup_key` is known is not stored again: the answer says what is known of it. `payload_id`: the
    pending payload that holds the bytes already (`journal.payloads`); it stays pending when the message is known.
    """
    if message.dedup_key is not None:
        lock(session, f"message {message.dedup_key}")
    already = known(session, message)
    if already is not None:
        if already.ack is None:
            run(session, "adopt_message", message_id=already.message_id, node=node_of(session))
        return already
    if payload_id is None:
        payload_id = payloads.add(session, message.sha256, message.raw)
    else:
        payloads.hold(session, payload_id)
    message_id = insert(
        session,
        "insert_message",
        correlation=message.correlation,
        payload_id=payload_id,
        sha256=message.sha256,
        size=len(message.raw),
        dedup_key=message.dedup_key,
        control_id=message.control_id,
        sender=message.sender,
        message_type=message.message_type,
        peer=message.peer,
        now=message.now,
        node=node_of(session),
    )
    return Received(message_id, True)


def answer(
    session: Session,
    message_id: int,
    code: str,
    ack: bytes,
    findings: Iterable[Finding],
    routing: Mapping[str, Any],
    now: float,
) -> None:
    """Keep the one answer of a message. AR frees its MSH-10: it may be sent again. Raises `AnsweredAlready`."""
    done = run(
        session,
        "answer_message",
        message_id=message_id,
        code=code,
        ack=ack,
        findings=json.dumps([finding_row(f) for f in findings], ensure_ascii=False),
        routing=json.dumps(routing, ensure_ascii=False),
        now=now,
    )
    if done.rowcount != 1:
        _answered_already(session, message_id)


def begin_answer(session: Session, message_id: int) -> None:
    """Nobody else answers this message before the transaction ends. Raises `AnsweredAlready` when somebody did."""
    if run(session, "message_to_answer", message_id=message_id).first() is None:
        _answered_already(session, message_id)


def _answered_already(session: Session, message_id: int) -> NoReturn:
    row = run(session, "answer_of_message", message_id=message_id).one()
    raise AnsweredAlready(row.ack_code, row.ack)


def finding_row(finding: Finding) -> dict[str, str | None]:
    """A finding as JSON for the record and the API."""
    return {
        "rule": finding.rule,
        "severity": finding.severity.value,
        "err2": finding.place.erl() if finding.place else None,
        "err3": finding.err3,
        "err5": finding.err5,
        "text": finding.text,
    }


def unanswered(session: Session) -> Sequence[int]:
    """Messages that a stop left without an answer, oldest first."""
    return run(session, "unanswered_messages").scalars().all()


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A message to answer after a restart."""

    correlation: str
    head: bytes
    """Its bytes as received, the first `payloads.PART` of a big one: all that an ACK needs."""


def unanswered_message(session: Session, message_id: int) -> Unanswered:
    """What an answer to a message needs of it."""
    row = run(session, "message_for_answer", message_id=message_id).one()
    return Unanswered(row.correlation, row.content or row.first_part)


def payload_of(session: Session, message_id: int) -> int:
    """Row id of a message's payload."""
    payload_id: int = run(session, "message_payload_id", message_id=message_id).scalar_one()
    return payload_id


def routing_of(session: Session, message_id: int) -> tuple[str, Mapping[str, Any]]:
    """MSH-10 and routing of a message, for a ZAM."""
    row = run(session, "message_routing", message_id=message_id).one()
    return row.control_id, json.loads(row.routing)


# --- documents: the register of versions --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document of an accepted message."""

    part: int
    uid: str
    set_key: str
    version: int | None
    replaces_uid: str | None
    action: Action
    type_code: str
    author_organisations: frozenset[str]
    patient: str
    sha256: str
    size: int
    slice_offset: int
    slice_length: int
    about: str = "{}"
    """JSON for the facts of the indicators (`Document.about`)."""


def add_document(session: Session, message_id: int, payload_id: int, new: NewDocument, now: float) -> int:
    """Register a document; its row id."""
    return insert(
        session,
        "insert_document",
        message_id=message_id,
        part=new.part,
        uid=new.uid,
        set_key=new.set_key,
        version=new.version,
        replaces_uid=new.replaces_uid,
        action=new.action.value,
        type_code=new.type_code,
        author_organisations=json.dumps(sorted(new.author_organisations)),
        patient=new.patient,
        sha256=new.sha256,
        size=new.size,
        payload_id=payload_id,
        slice_offset=new.slice_offset,
        slice_length=new.slice_length,
        now=now,
        about=new.about,
    )


def document_bytes(session: Session, document_id: int) -> bytes:
    """The exact bytes of a document, from its slice of the payload that brought it.

    Raises `GatewayBug` when they no longer match the SHA-256 that was accepted (damaged storage), `ContentGone` when
    retention has emptied them.
    """
    row = run(session, "document_slice", document_id=document_id).one()
    offset, length = row.slice_offset, row.slice_length
    if row.content:
        content = decode(memoryview(row.content)[offset : offset + length]).content
    else:
        payloads.check_kept(session, row.payload_id)
        content = decode_pieces(lambda: payloads.slices(session, row.payload_id, offset, length)).content
    if hashlib.sha256(content).hexdigest() != row.sha256:
        raise GatewayBug(f"document {document_id}: the stored bytes do not match their SHA-256")
    return content


class SqlRegister:
    """The register of documents as the version rules see it (`gateway.cda.versions.Register`)."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def by_uid(self, uid: str) -> KnownDocument | None:
        """The document of this id, or None."""
        return next(iter(self._known("documents_by_uid", uid)), None)

    def by_set(self, set_key: str) -> Sequence[KnownDocument]:
        """Every document of a set, in the order of their acceptance."""
        return self._known("documents_by_set", set_key)

    def brought_with(self, uid: str) -> Sequence[KnownDocument]:
        """The other documents of the message that brought this one."""
        rows = run(self._session, "documents_by_uid", key=uid).all()
        first = next((r for r in rows if r.action != Action.DELETE.value), None)
        if first is None:
            return ()
        uids = run(self._session, "uids_by_message", message_id=first.message_id).scalars().all()
        return [k for k in (self.by_uid(other) for other in uids if other != uid) if k is not None]

    def _known(self, query: str, key: str) -> list[KnownDocument]:
        rows = run(self._session, query, key=key).all()
        first: dict[str, Any] = {}
        deleted: set[str] = set()
        for row in rows:
            if row.action == Action.DELETE.value:
                if self._deletion_stands(row.id, row.uid):
                    deleted.add(row.uid)
                # a deletion carries the document once more, perhaps re-serialised: the original row is the
                # truth, # unless the original was never seen here
                first.setdefault(row.uid, row)
            elif row.uid not in first or first[row.uid].action == Action.DELETE.value:
                first[row.uid] = row
        return [
            KnownDocument(
                uid=row.uid,
                set_key=row.set_key,
                version=row.version,
                sha256=row.sha256,
                author_organisations=frozenset(json.loads(row.author_organisations)),
                action=Action(row.action),
                deleted=row.uid in deleted,
                patient=row.patient,
            )
            for row in first.values()
        ]

    def _deletion_stands(self, document_id: int, uid: str) -> bool:
        """False when every delivery of this deletion ended without success: it may be asked again."""
        query = "delivery_states_of_document"
        states = run(self._session, query, document_id=document_id, uid=uid).scalars().all()
        failed = {s.value for s in FINAL} - {DeliveryState.SUCCEEDED.value}
        return not states or not failed.issuperset(states)


# --- facts --------------------------------------------------------------------------------------------------


def add_fact(
    session: Session,
    kind: str,
    now: float,
    message_id: int | None = None,
    delivery_id: int | None = None,
    **data: Any,
) -> None:
    """Append a business event."""
    run(
        session,
        "insert_fact",
        kind=kind,
        now=now,
        message_id=message_id,
        delivery_id=delivery_id,
        data=json.dumps(data, ensure_ascii=False, sort_keys=True),
    )
