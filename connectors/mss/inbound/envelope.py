"""The received mail as the flow sees it: what kind it is, who wrote to whom, its archive, its other attachments. Pure.

Purpose: from bytes to `InboundMail`. A mail of the profile has an attachment IHE_XDM.ZIP or a subject that begins with
`XDM/1.0/DDM`; reports (DSN, MDN) and integration errors (« [KO … ] ») are told apart first: they may bring an archive
back, which must not be integrated a second time. `connectors.mss.receipts` is asked first and reads them; this room
judges alike, so that a document never hangs on that order alone.
Guarantee: headers are one line each; a mail forwarded as an attachment is looked into; nothing is decoded but the
archive; the same bytes give the same result.
Fails: never for what is in the bytes; every refusal is a finding.
Source: spec/mssante.md §1.2, §2.1, §2.2, §2.6, §3.3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from connectors.mss.inbound.limits import InboundLimits
from connectors.mss.inbound.mime import (
    Mail,
    Part,
    TooComplex,
    addresses,
    header,
    plain_header,
    read_head,
    read_mail,
)
from connectors.mss.mail import ARCHIVE_NAME
from connectors.mss.receipts.dsn import STATUS_TYPES
from connectors.mss.receipts.errormail import subject_code
from connectors.mss.receipts.mdn import NOTIFICATION_TYPES
from gateway.hl7.base64text import BadBase64, decode
from gateway.rules import Findings

_SUBJECT = re.compile(r"XDM/1\.0/DDM", re.IGNORECASE)
_FORWARD = re.compile(r"(?:(?:tr|fwd?|wg|i)\s*:\s*|\[\s*fwd?\s*:?\s*\]?\s*)+", re.IGNORECASE)
_ANSWER = re.compile(r"(?:re|ré|aw|sv)\s*:", re.IGNORECASE)
_SYSTEM = re.compile(r"(?:mailer-daemon|postmaster)\b", re.IGNORECASE)
_REPORT = "multipart/report"
_ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed", "application/x-zip"})
_MESSAGE_ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]{1,250}>")


class MailKind(StrEnum):
    """What a mail of the mailbox is."""

    XDM = "xdm"
    DSN = "dsn"
    MDN = "mdn"
    INTEGRATION_ERROR = "integration-error"
    """A « courriel standard » of another gateway about a mail of ours (§3.3)."""
    BOUNCE = "bounce"
    """An automatic answer that gives a document back, perhaps our own: for a person."""
    OTHER = "other"
    """Not for this flow: left where it is."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attached file, decoded only when asked for (`part.content()`)."""

    name: str = field(repr=False)
    mime_type: str
    part: Part = field(repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """Who sent the documents to whom: the mail itself, or the one that was forwarded inside it."""

    sender: str = field(repr=False)
    sender_name: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    """To and Cc; empty when a forward hides them."""
    reply_to: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class InboundMail:
    """A mail read. Everything that may name a patient stays out of `repr`."""

    kind: MailKind
    raw: bytes = field(repr=False)
    digest: str
    """SHA-256 of `raw`, hex."""
    message_id: str = field(repr=False)
    """As in the header, with its angle brackets; empty when absent."""
    subject: str = field(repr=False)
    """Decoded, on one line."""
    origin: Origin = field(repr=False)
    return_path: str | None = field(repr=False)
    """None: no such header; empty: the null address."""
    notify: tuple[str, ...] = field(repr=False)
    """Disposition-Notification-To."""
    original_recipient: str = field(repr=False)
    """Header Original-Recipient, for the MDN."""
    auto_submitted: str
    codes: tuple[str, ...] = ()
    """X-MSS-CODECDA."""
    ins: str = ""
    """X-MSS-INS: O or N."""
    product: str = ""
    """X-MSS-NIL."""
    final: bool = False
    """X-MSS-MES: FIN."""
    body: str = field(default="", repr=False)
    """The text that the reader sees."""
    archive: bytes | None = field(default=None, repr=False)
    attachments: tuple[Attachment, ...] = field(default=(), repr=False)
    """Without the archive and the text."""


def read_inbound(raw: bytes, limits: InboundLimits, findings: Findings) -> InboundMail:
    """The mail of `raw`; of one beyond the bounds (a finding says so) only its headers, enough to report it."""
    digest = hashlib.sha256(raw).hexdigest()
    mail: Mail | None = None
    if len(raw) > limits.mail_bytes:
        findings.add("IN-MAIL-SIZE", limit=limits.mail_bytes // 1_000_000)
    else:
        try:
            mail = read_mail(raw, limits)
        except TooComplex:
            findings.add("IN-MAIL-STRUCTURE")
    if mail is None:
        mail = read_head(raw, limits)
        # it cannot be shown that it holds no document: a person must look at it
        beyond = _report_kind(mail) or (MailKind.BOUNCE if _answers(mail) else MailKind.XDM)
        return _inbound(beyond, raw, digest, mail, mail)
    kind = _report_kind(mail)
    source: Mail = mail
    found: list[Part] = []
    if kind is None:
        source, found = _archives(mail)
        named = any(_SUBJECT.match(_unforwarded(header(m.headers, "Subject"))) for m in _family(mail))
        kind = MailKind.XDM if found or named else MailKind.OTHER
        if kind is MailKind.XDM and any(_answers(m) for m in _family(mail)):
            kind = MailKind.BOUNCE
    archive = None
    if kind is MailKind.XDM:
        source, found = _by_subject(mail, source, found, findings)
        archive = _take(found, findings)
    made = _inbound(kind, raw, digest, mail, source, found, archive)
    if kind is MailKind.XDM and not made.origin.sender:
        findings.add("IN-NO-SENDER")
    if kind is MailKind.XDM and not made.message_id:
        findings.add("IN-NO-MESSAGE-ID")
    return made


def _inbound(
    kind: MailKind,
    raw: bytes,
    digest: str,
    mail: Mail,
    source: Mail,
    found: Sequence[Part] = (),
    archive: bytes | None = None,
) -> InboundMail:
    """`mail` as received, with the documents' side of `source` (the mail itself or one inside it)."""
    subject = header(mail.headers, "Subject")
    path = mail.headers.get("Return-Path")
    first = next(iter(addresses(mail.headers, "Return-Path")), ("", ""))[1]
    codes = plain_header(source.headers, "X-MSS-CODECDA")
    text = _text(source)
    return InboundMail(
        kind=kind,
        raw=raw,
        digest=digest,
        message_id=plain_header(mail.headers, "Message-ID"),
        subject=subject,
        origin=_origin(mail, source, subject),
        return_path=None if path is None else first,
        notify=tuple(a for _, a in addresses(mail.headers, "Disposition-Notification-To")),
        original_recipient=plain_header(mail.headers, "Original-Recipient"),
        auto_submitted=plain_header(mail.headers, "Auto-Submitted").lower(),
        codes=tuple(c for c in (code.strip() for code in codes.split(",")) if c),
        ins=plain_header(source.headers, "X-MSS-INS").upper(),
        product=plain_header(source.headers, "X-MSS-NIL"),
        final=plain_header(source.headers, "X-MSS-MES") == "FIN",
        body=text.text() if text is not None else "",
        archive=archive,
        attachments=tuple(
            Attachment(p.name, p.mime_type, p)
            for p in source.parts
            if p is not text and not any(p is a for a in found) and (p.name or p.disposition == "attachment")
        ),
    )


def message_id_of(mail: InboundMail) -> str:
    """The Message-ID when it is one token that may stand in a header of ours, else empty."""
    match = _MESSAGE_ID.search(mail.message_id)
    return match[0] if match else ""


def _report_kind(mail: Mail) -> MailKind | None:
    """The kind of a report or of an integration error, known by its structure, then by its subject; None: another."""
    if mail.types & NOTIFICATION_TYPES or (mail.mime_type == _REPORT and _reports_on(mail, "disposition")):
        return MailKind.MDN
    if mail.types & STATUS_TYPES or (mail.mime_type == _REPORT and _reports_on(mail, "delivery")):
        return MailKind.DSN
    if _REPORT in mail.types:
        return MailKind.OTHER
    if subject_code(_unforwarded(header(mail.headers, "Subject"))) is not None:
        return MailKind.INTEGRATION_ERROR
    return None


def _reports_on(mail: Mail, what: str) -> bool:
    return what in str(mail.headers.get("Content-Type", "")).lower()


def _answers(mail: Mail) -> bool:
    """An answer by a machine. A gateway that sends a document by itself says auto-generated and has a Return-Path."""
    submitted = (
        plain_header(mail.headers, "Auto-Submitted").lower().partition(";")[0].partition("(")[0].strip()
    )
    null = any(value.replace(" ", "").strip() == "<>" for value in mail.headers.get_all("Return-Path", []))
    system = _SYSTEM.search(plain_header(mail.headers, "From")[:2000]) is not None
    return submitted in ("auto-replied", "auto-notified") or null or system


def _unforwarded(subject: str) -> str:
    """A subject without the prefixes of forwards."""
    match = _FORWARD.match(subject)
    return subject[match.end() :] if match else subject


def _family(mail: Mail) -> Iterator[Mail]:
    """The mail, then the mails inside it, outermost first; reports and integration errors are not looked into."""
    yield mail
    for inner in mail.inner:
        # what an answer encloses is what it answers, no new document
        if _report_kind(inner) is None and not _ANSWER.match(header(mail.headers, "Subject")):
            yield from _family(inner)


def _archives(mail: Mail) -> tuple[Mail, list[Part]]:
    """The outermost mail that has parts named IHE_XDM.ZIP, and them."""
    for one in _family(mail):
        found = [p for p in one.parts if p.name.upper() == ARCHIVE_NAME]
        if found:
            return one, found
    return mail, []


def _by_subject(mail: Mail, source: Mail, found: list[Part], findings: Findings) -> tuple[Mail, list[Part]]:
    """Without an IHE_XDM.ZIP, the one zip of a mail whose subject is that of the profile."""
    if found:
        return source, found
    for one in _family(mail):
        zips = [p for p in one.parts if p.mime_type in _ZIP_TYPES or p.name.upper().endswith(".ZIP")]
        if len(zips) == 1:
            findings.add("IN-ARCHIVE-NAME")
            return one, zips
    return mail, []


def _take(found: list[Part], findings: Findings) -> bytes | None:
    """The decoded archive."""
    if not found:
        findings.add("IN-NO-ARCHIVE")
        return None
    if len(found) > 1:
        findings.add("IN-ARCHIVE-TWICE")
        return None
    part = found[0]
    if part.encoding == "base64":
        try:
            decoded = decode(part.body)
        except BadBase64:
            findings.add("IN-ARCHIVE-ENCODING")
            return None
        if decoded.repaired:
            findings.add("IN-ARCHIVE-PADDING")
        return decoded.content
    content = part.content()
    if content is None:
        findings.add("IN-ARCHIVE-ENCODING")
    return content


def _origin(mail: Mail, source: Mail, subject: str) -> Origin:
    name, sender = next(iter(addresses(source.headers, "From")), ("", ""))
    # after a plain forward the addresses are those of the forward: the first recipient is not known (§2.3, note 2)
    hidden = source is mail and _FORWARD.match(subject) is not None
    return Origin(
        sender=sender,
        sender_name=name,
        recipients=() if hidden else tuple(a for _, a in addresses(source.headers, "To", "Cc")),
        reply_to=tuple(a for _, a in addresses(source.headers, "Reply-To")),
    )


def _text(mail: Mail) -> Part | None:
    """The text of the mail: the first plain one that is not a file."""
    plain = [p for p in mail.parts if p.mime_type == "text/plain" and p.disposition != "attachment"]
    return next((p for p in plain if not p.name), None)
