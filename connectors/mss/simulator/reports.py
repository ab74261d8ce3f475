"""The delivery status notifications of the simulated operator. Pure.

Purpose: a DSN as a real operator's mail system writes it: multipart/report of three parts.
Guarantee: the original is given back byte for byte (or its headers are), never decoded and built again; every line
ends with CRLF.
Fails: never; what was asked is checked by the SMTP side.
Source: RFC 3461 (what is asked), 3464 (the report), 6522 (multipart/report); spec/mssante.md §3.1 (a real system's).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from typing import Literal

HOST = "operateur.test.mssante.fr"
Action = Literal["delivered", "relayed", "expanded", "failed", "delayed"]

_SUBJECTS: dict[str, str] = {
    "failed": "Undelivered Mail Returned to Sender",
    "delayed": "Delayed Mail (still being retried)",
}
_WORDS: dict[str, str] = {
    "failed": "Le message n'a pas pu être remis au destinataire ci-dessous.",
    "delayed": "Le message n'est pas encore remis ; l'opérateur essaie encore. Rien n'est à faire.",
}
_XTEXT = re.compile(r"\+([0-9A-F]{2})")


@dataclass(frozen=True, slots=True)
class Status:
    """What became of a mail for one recipient."""

    action: Action
    code: str
    """Enhanced status, `5.1.1`."""
    diagnostic: str
    """The reply of the last server, `550 5.1.1 no such mailbox`."""


@dataclass(frozen=True, slots=True)
class Returned:
    """The mail that a report is about, and what its sender asked (values as sent: xtext)."""

    sender: str
    recipient: str
    raw: bytes
    envid: str = ""
    orcpt: str = ""
    full: bool = False
    """RET=FULL."""
    arrived: datetime | None = None


def wanted(notify: str, action: Action) -> bool:
    """True when NOTIFY asks for a report of `action` (RFC 3461 §4.1; no NOTIFY: of failures and delays)."""
    asked = {word.strip() for word in notify.upper().split(",")} if notify else {"FAILURE", "DELAY"}
    return {"failed": "FAILURE", "delayed": "DELAY"}.get(action, "SUCCESS") in asked


def decode_xtext(text: str) -> str:
    """RFC 3461 §4."""
    return _XTEXT.sub(lambda m: chr(int(m[1], 16)), text)


def headers_of(raw: bytes) -> bytes:
    """The header block, with its last CRLF."""
    end = raw.find(b"\r\n\r\n")
    return raw if end < 0 else raw[: end + 2]


def crlf(text: str) -> bytes:
    """UTF-8 bytes with CRLF line ends."""
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8")


def delivery_report(mail: Returned, status: Status, number: int, now: datetime) -> bytes:
    """The DSN of `mail` to its sender. `now` is aware; `number` makes its Message-ID."""
    boundary = f"dsn-{number}-{int(now.timestamp())}/{HOST}"
    subject = _SUBJECTS.get(status.action, "Successful Mail Delivery Report")
    original = decode_xtext(mail.orcpt) or f"rfc822;{mail.recipient}"
    message = [f"Reporting-MTA: dns; {HOST}"]
    if mail.envid:
        message.append(f"Original-Envelope-Id: {decode_xtext(mail.envid)}")
    message.append(f"Arrival-Date: {format_datetime(mail.arrived or now)}")
    recipient = [
        f"Final-Recipient: rfc822; {mail.recipient}",
        f"Original-Recipient: {original}",
        f"Action: {status.action}",
        f"Status: {status.code}",
        "Remote-MTA: dns; boites.test.mssante.fr",
        f"Diagnostic-Code: smtp; {status.diagnostic}",
    ]
    # RFC 3461 §4.3: RET=FULL is about failures; other reports give back the headers alone
    whole = mail.full and status.action == "failed"
    part = "message/rfc822" if whole else "text/rfc822-headers"
    words = _WORDS.get(status.action, "Le message a été remis au destinataire ci-dessous.")
    head = f"""\
Date: {format_datetime(now)}
From: Mail Delivery System <MAILER-DAEMON@{HOST}>
To: {mail.sender}
Subject: {subject}
Message-ID: <dsn.{number}.{int(now.timestamp() * 1000)}@{HOST}>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="{boundary}"
Content-Transfer-Encoding: 8bit

This is a MIME-encapsulated message.

--{boundary}
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{words}

<{mail.recipient}>: {status.diagnostic}

--{boundary}
Content-Description: Delivery report
Content-Type: message/delivery-status

{chr(10).join(message)}

{chr(10).join(recipient)}

--{boundary}
Content-Description: {"Undelivered Message" if status.action == "failed" else "Message"}{"" if whole else " Headers"}
Content-Type: {part}
Content-Transfer-Encoding: 8bit

"""
    given = mail.raw if whole else headers_of(mail.raw)
    return b"".join((crlf(head), given, crlf(f"\n--{boundary}--\n")))
