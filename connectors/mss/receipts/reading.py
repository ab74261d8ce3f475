"""The bytes of one mail of the applicative mailbox, read. Pure.

Purpose: `read(raw) -> Reading`, the only entrance of the room (`matching.match` is its exit).
Guarantee: never raises for what is in the bytes: what cannot be read is `Quarantined` with its reason. The same bytes
always give the same reading. Takes time in proportion to the bytes (bounded): above some hundred kB, call it in a
thread.
Source: spec/mssante.md §2.2, §3.
"""

from __future__ import annotations

from connectors.mss.receipts import classify as kinds
from connectors.mss.receipts import identifiers
from connectors.mss.receipts.dsn import read_dsn
from connectors.mss.receipts.errormail import read_error_mail
from connectors.mss.receipts.mdn import read_mdn
from connectors.mss.receipts.mime import BOUNDS, Bounds, Part, Unreadable, parse
from connectors.mss.receipts.model import Automatic, Inbound, Kind, Quarantined, Reading, Reason


def classify(raw: bytes, bounds: Bounds = BOUNDS) -> Kind:
    """The kind of the mail `raw` alone (`read` can still find a report unreadable)."""
    try:
        return kinds.kind_of(kinds.unwrapped(parse(raw, bounds)))[0]
    except Unreadable:
        return Kind.QUARANTINE


def read(raw: bytes, bounds: Bounds = BOUNDS) -> Reading:
    """What the mail `raw` (bytes as the mailbox gave them) says."""
    try:
        mail = kinds.unwrapped(parse(raw, bounds))
        kind, reason = kinds.kind_of(mail)
        return _read(mail, kind, reason)
    except Unreadable as e:
        return Quarantined(e.reason)


def _read(mail: Part, kind: Kind, reason: Reason | None) -> Reading:
    if kind is Kind.DSN:
        return read_dsn(mail)
    if kind is Kind.MDN:
        return read_mdn(mail)
    if kind is Kind.ERROR_MAIL:
        return read_error_mail(mail)
    if kind is Kind.INBOUND:
        own, enclosed = kinds.archives_of(mail)
        message_id = identifiers.message_id(mail.first("message-id"))
        return Inbound(own, enclosed, not kinds.automatic(mail), message_id)
    if kind is Kind.AUTOMATIC:
        return Automatic()
    return Quarantined(reason or Reason.NOT_A_DOCUMENT)
