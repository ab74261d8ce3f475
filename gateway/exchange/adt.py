"""ADT on its way in: a message that was read → its facts and its ACK in one commit.

Purpose: the ADT feed of the indicators. It brings no document and starts no delivery.

Guarantee: `AA` is returned only after the commit that holds the facts and the ACK. MSH-10 is used twice in the field:
for an ADT the same message is the same bytes (`key_of`), and the same content under another MSH-10 gives no fact twice.
Fails: as the intake: AE with all findings; our own fault is AR.
Source: PAM-FR 2.11.2; docs/indicators.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session

from gateway.errors import Finding
from gateway.exchange.publisher import Facts, Publisher
from gateway.hl7.message import Message
from gateway.journal import records

TYPE = "ADT"


def concerns(message: Message, publisher: Publisher) -> bool:
    """It is an ADT, and ADT is read here."""
    return publisher.on and message.type == TYPE


def key_of(key: str, sha256: str) -> str:
    """What says that an ADT is the same: sender, MSH-10, bytes."""
    return f"{key}|{sha256[:32]}"


def keep(
    session: Session,
    message_id: int,
    ack: bytes,
    findings: Sequence[Finding],
    publisher: Publisher,
    rows: Facts,
    now: float,
) -> None:
    """The commit of an ADT that is accepted. Raises `AnsweredAlready`."""
    records.answer(session, message_id, "AA", ack, findings, {}, now)
    publisher.write(session, rows)
