"""What kind of mail this is. Pure.

Purpose: the first question asked of every mail of the applicative mailbox.
Guarantee: every mail has exactly one kind. A report is known by its structure (`multipart/report`, or a report part
that stands directly in a multipart of another name), never by its subject; a report that somebody forwards is not one.
A report or an answer that gives our own mail back is never taken for a new document.
Source: spec/mssante.md §2.1, §2.2, §2.6 (loop guard), §3.3; RFC 3834; RFC 2919 (lists).
"""

from __future__ import annotations

import re
from dataclasses import replace

from connectors.mss.receipts.dsn import RETURNED_TYPES, STATUS_TYPES
from connectors.mss.receipts.errormail import subject_code
from connectors.mss.receipts.mdn import NOTIFICATION_TYPES
from connectors.mss.receipts.mime import Part
from connectors.mss.receipts.model import Kind, Reason

_ARCHIVE = "ihe_xdm.zip"
_DOCUMENT_SUBJECT = re.compile(r"(?:(?:tr|fwd?)\s*:\s*)*XDM/1\.0/DDM\b", re.IGNORECASE)
_ANSWER_SUBJECT = re.compile(r"(?:re|ré|aw|sv)\s*:", re.IGNORECASE)
_BOUNCE_SUBJECT = re.compile(
    r"message non distribu|non remis|[ée]chec de (?:la )?remise|undeliver|returned mail|mail delivery failed"
    r"|delivery status notification|failure notice|delivery failure",
    re.IGNORECASE,
)
_BOUNCE_SENDER = re.compile(r"(?:mailer-daemon|postmaster)\b", re.IGNORECASE)
_OF_REPORTS = STATUS_TYPES | NOTIFICATION_TYPES | {"multipart/report"}
_BULK = frozenset({"bulk", "junk", "list", "auto_reply"})
_AUTOMATIC_HEADERS = (
    "list-id",
    "list-unsubscribe",
    "x-autoreply",
    "x-autorespond",
    "x-auto-response-suppress",
)
_RESPONSES = frozenset({"auto-replied", "auto-notified"})


def unwrapped(mail: Part) -> Part:
    """`mail` with the parts of the report that it holds when a relay put one into a multipart of its own (with a
    notice of its filter, say); `mail` itself otherwise."""
    if not mail.content_type.startswith("multipart/") or mail.content_type == "multipart/report":
        return mail
    reports = [part for part in mail.walk() if part.content_type == "multipart/report"]
    if len(reports) != 1:
        return mail
    report = reports[0]
    return replace(mail, content_type=report.content_type, report_type=report.report_type, parts=report.parts)


def kind_of(mail: Part) -> tuple[Kind, Reason | None]:
    """The kind of `mail` (as `unwrapped` gives it), with the reason when it is quarantine."""
    types = {part.content_type for part in mail.parts}
    delivery, reading = bool(types & STATUS_TYPES), bool(types & NOTIFICATION_TYPES)
    multipart = mail.content_type.startswith("multipart/")
    if multipart and delivery and reading:
        return Kind.QUARANTINE, Reason.CONTRADICTION
    if multipart and delivery:
        return _if_declared(Kind.DSN, mail, "delivery-status")
    if multipart and reading:
        return _if_declared(Kind.MDN, mail, "disposition-notification")
    if any(part.content_type in _OF_REPORTS for part in mail.walk()):
        # in a place or a number where we do not read it: what it gives back is no new document
        return Kind.QUARANTINE, Reason.REPORT_UNREADABLE
    if subject_code(mail.words("subject")) is not None:
        return Kind.ERROR_MAIL, None
    archives, enclosed = archives_of(mail)
    subject = mail.words("subject").strip()
    if _responds(mail):
        if archives or enclosed:
            return Kind.QUARANTINE, Reason.BOUNCE_WITH_DOCUMENT
    elif archives or (enclosed and not _ANSWER_SUBJECT.match(subject)) or _DOCUMENT_SUBJECT.match(subject):
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
