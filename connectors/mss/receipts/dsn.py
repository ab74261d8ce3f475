"""Delivery reports (DSN) read. Pure.

Purpose: what each recipient block of a `message/delivery-status` says, the envelope id, the Message-ID given back.
Guarantee: one result per block, or none at all: a report that contradicts itself (success with a 5.y.z status, two
envelope ids, two returned Message-IDs) gives nothing.
Fails: `Unreadable`.
Source: RFC 3464; spec/mssante.md §3.1 (anatomy of Postfix reports).
"""

from __future__ import annotations

import re

from connectors.mss.receipts import identifiers
from connectors.mss.receipts.codes import reply_of, smtp_code, status_of
from connectors.mss.receipts.mime import Part, Unreadable, field_blocks, header_block
from connectors.mss.receipts.model import Action, Dsn, DsnRecipient, Reason

STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
RETURNED_TYPES = frozenset(
    {"text/rfc822-headers", "message/rfc822", "message/global", "message/global-headers"}
)
_OF_A_RECIPIENT = ("original-recipient", "final-recipient", "action")
_SUCCESS = frozenset({Action.DELIVERED, Action.RELAYED, Action.EXPANDED})
_WORD = re.compile(r"[a-z]+")
_HOST = re.compile(r"dns\s*;\s*([A-Za-z0-9.:\[\]-]{1,255})", re.IGNORECASE)


def read_dsn(mail: Part) -> Dsn:
    """The report of a mail that `classify` calls a DSN. Raises `Unreadable`."""
    status = [part for part in mail.parts if part.content_type in STATUS_TYPES]
    if len(status) != 1:
        raise Unreadable(Reason.REPORT_UNREADABLE)
    blocks = field_blocks(status[0])
    recipients = tuple(_recipient(b) for b in blocks if any(b.first(name) for name in _OF_A_RECIPIENT))
    if not recipients:
        raise Unreadable(Reason.REPORT_UNREADABLE)
    envids = {identifiers.token(block.one("original-envelope-id")) for block in blocks} - {""}
    if len(envids) > 1:
        raise Unreadable(Reason.CONTRADICTION)
    return Dsn(recipients, next(iter(envids), ""), returned_message_id(mail))


def returned_message_id(mail: Part) -> str:
    """The Message-ID of the mail that a report gives back, whole or by its headers; "" when it gives none.

    Only direct parts of the report count: what a returned mail encloses is another mail.
    """
    blocks = [header_block(part) for part in mail.parts if part.content_type in RETURNED_TYPES]
    found = {identifiers.message_id(block.one("message-id")) for block in blocks if block is not None} - {""}
    if len(found) > 1:
        raise Unreadable(Reason.CONTRADICTION)
    return next(iter(found), "")


def _recipient(block: Part) -> DsnRecipient:
    word = _WORD.match(block.one("action").lower())
    try:
        action = Action(word[0] if word else "")
    except ValueError:
        raise Unreadable(Reason.REPORT_UNREADABLE) from None
    status = status_of(block.one("status"))
    if (action in _SUCCESS and status[:1] in ("4", "5")) or (action is Action.FAILED and status[:1] == "2"):
        raise Unreadable(Reason.CONTRADICTION)
    reply = reply_of(block.first("diagnostic-code"))
    host = _HOST.match(block.first("remote-mta"))
    return DsnRecipient(
        action,
        status,
        reply,
        "" if action in _SUCCESS else smtp_code(reply, status),
        identifiers.typed_address(block.one("original-recipient")),
        identifiers.typed_address(block.one("final-recipient")),
        host[1] if host else "",
    )
