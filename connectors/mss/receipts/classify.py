"""What kind of mail this is. Pure.

Purpose: the first question asked of every mail of the applicative mailbox.
Guarantee: every mail has exactly one kind. A report is known by its structure (`multipart/report`, or a report part
that stands directly in a multipart of another name), never by its subject; a report that somebody forwards is not one.
A bounce that encloses our own mail is never taken for a new document.
Source: spec/mssante.md §2.1, §2.2, §2.6 (loop guard), §3.3; RFC 3834; RFC 2919 (lists).
"""

from __future__ import annotations

import re

from connectors.mss.receipts.dsn import RETURNED_TYPES, STATUS_TYPES
from connectors.mss.receipts.errormail import subject_code
from connectors.mss.receipts.mdn import NOTIFICATION_TYPES
from connectors.mss.receipts.mime import Part
from connectors.mss.receipts.model import Kind, Reason

_ARCHIVE = "ihe_xdm.zip"
_DOCUMENT_SUBJECT = re.compile(r"(?:(?:tr|fwd?)\s*:\s*)*XDM/1\.0/DDM\b", re.IGNORECASE)
_BOUNCE_SUBJECT = re.compile(
    r"message non distribu|non remis|[ée]chec de (?:la )?remise|undeliver|returned mail|mail delivery failed"
    r"|delivery status notification|failure notice|delivery failure",
    re.IGNORECASE,
)
_BOUNCE_SENDER = re.compile(r"(?:mailer-daemon|postmaster)\b", re.IGNORECASE)
_BULK = frozenset({"bulk", "junk", "list", "auto_reply"})
_AUTOMATIC_HEADERS = (
    "list-id",
    "list-unsubscribe",
    "x-autoreply",
    "x-autorespond",
    "x-auto-response-suppress",
)
_RESPONSES = frozenset({"auto-replied", "auto-notified"})


def kind_of(mail: Part) -> tuple[Kind, Reason | None]:
    """The kind of `mail`, with the reason when it is quarantine."""
    types = {part.content_type for part in mail.parts}
    delivery, reading = bool(types & STATUS_TYPES), bool(types & NOTIFICATION_TYPES)
    multipart = mail.content_type.startswith("multipart/")
    if multipart and delivery and reading:
        return Kind.QUARANTINE, Reason.CONTRADICTION
    if multipart and delivery:
        return _if_declared(Kind.DSN, mail, "delivery-status")
    if multipart and reading:
        return _if_declared(Kind.MDN, mail, "disposition-notification")
    if mail.content_type == "multipart/report" or mail.content_type in STATUS_TYPES | NOTIFICATION_TYPES:
        return Kind.QUARANTINE, Reason.REPORT_UNREADABLE
    if subject_code(mail.words("subject")) is not None:
        return Kind.ERROR_MAIL, None
    archives, enclosed = archives_of(mail)
    if _responds(mail):
        if archives or enclosed:
            return Kind.QUARANTINE, Reason.BOUNCE_WITH_DOCUMENT
    elif archives or enclosed or _DOCUMENT_SUBJECT.match(mail.words("subject").strip()):
        return Kind.INBOUND, None
    if _bounces(mail):
        return Kind.QUARANTINE, Reason.BOUNCE_UNREADABLE
    if automatic(mail):
        return Kind.AUTOMATIC, None
    return Kind.QUARANTINE, Reason.NOT_A_DOCUMENT


def archives_of(mail: Part) -> tuple[int, int]:
    """How many IHE_XDM.ZIP stand in the mail itself, and how many in the messages that it encloses."""
    own = sum(part.name.lower() == _ARCHIVE for part in mail.walk())
    every = sum(part.name.lower() == _ARCHIVE for part in mail.walk(into_messages=True))
    return own, every - own


def automatic(mail: Part) -> bool:
    """True for mail that must never be answered: Auto-Submitted, empty Return-Path, list or bulk mail."""
    submitted = mail.first("auto-submitted")
    return (
        (bool(submitted) and _word(submitted) != "no")
        or _no_return_path(mail)
        or _word(mail.first("precedence")) in _BULK
        or any(mail.first(name) for name in _AUTOMATIC_HEADERS)
    )


def _if_declared(kind: Kind, mail: Part, report_type: str) -> tuple[Kind, Reason | None]:
    """`kind`, unless the mail says that it is a report of another type."""
    if mail.report_type not in ("", report_type):
        return Kind.QUARANTINE, Reason.CONTRADICTION
    return kind, None


def _responds(mail: Part) -> bool:
    """An answer by a machine: a PFI that sends a document by itself says auto-generated and has a Return-Path."""
    return (
        _word(mail.first("auto-submitted")) in _RESPONSES
        or _no_return_path(mail)
        or _from_the_mail_system(mail)
    )


def _bounces(mail: Part) -> bool:
    """An automatic mail that gives one back, or one of the mail system itself."""
    if _from_the_mail_system(mail):
        return True
    returned = any(part.content_type in RETURNED_TYPES for part in mail.walk())
    return automatic(mail) and (returned or _BOUNCE_SUBJECT.search(mail.words("subject")) is not None)


def _from_the_mail_system(mail: Part) -> bool:
    return _BOUNCE_SENDER.search(mail.first("from")[:2000]) is not None


def _no_return_path(mail: Part) -> bool:
    return any(value.replace(" ", "") == "<>" for value in mail.all("return-path"))


def _word(value: str) -> str:
    return value.partition(";")[0].partition("(")[0].strip().lower()
