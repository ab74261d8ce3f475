"""The bytes of a mail: headers, text, IHE_XDM.ZIP, PDF copies. Pure.

Purpose: RFC 5322/MIME message of the MSSanté profile, from a plan and ready attachments.
Guarantee: same plan and attachments, same bytes; CRLF everywhere, no line above 998 octets; every header
value is one line of ASCII (texts are encoded by RFC 2047 or RFC 2231), so that nothing in a document can add
a header.
Fails: `GatewayBug` when a value that must be plain ASCII is not (the plan was not made by this connector).
Source: spec/mssante.md §1.2 (ECO.2.x), RFC 5322, 2045-2047, 2231, 8098 (Disposition-Notification-To).

The headers are encoded by the standard `email` package; the parts are joined here because its generator
copies a big attachment four times and re-reads it line by line.
"""

from __future__ import annotations

import binascii
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.header import Header
from email.utils import encode_rfc2231, format_datetime, formataddr

from connectors.mss.plan import Leg, MailPlan
from connectors.mss.wording import ascii_form, one_line
from gateway.errors import GatewayBug

ARCHIVE_NAME = "IHE_XDM.ZIP"
_LINE = 76
_SLICE = 57 * 4096
"""Bytes encoded at a time: a multiple of 57, so that every slice gives whole lines of 76 characters."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attached file: MIME type, name as the reader sees it, content."""

    mime_type: str
    name: str
    content: bytes


def build(plan: MailPlan, body: str, attachments: Sequence[Attachment]) -> bytes:
    """The whole message. `body` is plain text; `attachments` in the order of the mail."""
    boundary = plan.boundary.encode("ascii")
    # one buffer, handed over as it is at the end: joining the pieces of 136 MB would hold them twice, and everybody up
    out = io.BytesIO()
    out.write(_headers(plan))
    out.write(
        b"\r\n--"
        + boundary
        + b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    )
    # base64 for the text too: no line of it can start with a dot or be changed on its way
    text = "\r\n".join(body.splitlines()) + "\r\n"
    out.writelines(_base64(text.encode("utf-8")))
    for attachment in attachments:
        out.write(b"--" + boundary + b"\r\n" + _part_headers(attachment) + b"\r\n")
        out.writelines(_base64(attachment.content))
    out.write(b"--" + boundary + b"--\r\n")
    return out.getvalue()


def size_bound(plan: MailPlan, body: str, sizes: Sequence[int]) -> int:
    """An upper bound in bytes of `build`'s result for attachments of `sizes` bytes."""
    parts = [len(body.encode("utf-8")) * 2, *sizes]
    return len(_headers(plan)) + sum(_encoded(size) + 2500 for size in parts)


def _encoded(size: int) -> int:
    """Octets of `size` bytes in base64 lines of 76 characters with CRLF."""
    lines = -(-size // 57)
    return -(-size // 3) * 4 + 2 * lines


def _base64(content: bytes) -> Iterator[bytes]:
    """`content` in base64 lines of 76 characters, CRLF after each."""
    view = memoryview(content)
    for start in range(0, len(view), _SLICE):
        text = binascii.b2a_base64(view[start : start + _SLICE], newline=False)
        yield b"\r\n".join([text[i : i + _LINE] for i in range(0, len(text), _LINE)]) + b"\r\n"


def _headers(plan: MailPlan) -> bytes:
    """The message's header block, each line ended, without the empty line."""
    lines = [
        _mailbox("From", plan.sender_name, plan.sender),
        _plain("To", plan.recipient),
        _text("Subject", plan.subject),
        _plain("Date", format_datetime(plan.created)),
        _plain("Message-ID", plan.message_id),
    ]
    if plan.reply_to:
        lines.append("Reply-To: " + ",\r\n ".join(_ascii("Reply-To", address) for address in plan.reply_to))
    if plan.ask_reading:
        # equals the Return-Path, or receivers must not answer by themselves (RFC 8098 §2.1)
        lines.append(_plain("Disposition-Notification-To", plan.sender))
    if plan.final and plan.leg is Leg.PATIENT:
        lines.append(_plain("X-MSS-MES", "FIN"))
    if plan.codes:
        lines.append(_plain("X-MSS-CODECDA", ",".join(plan.codes)))
    lines.append(_plain("X-MSS-INS", "O" if plan.ins_complete else "N"))
    if plan.product_reference:
        lines.append(_plain("X-MSS-NIL", plan.product_reference))
    lines.append("MIME-Version: 1.0")
    lines.append(f'Content-Type: multipart/mixed; boundary="{plan.boundary}"')
    return "".join(line + "\r\n" for line in lines).encode("ascii")


def _ascii(name: str, value: str) -> str:
    """`value` when it is printable ASCII on one line; our own bug otherwise."""
    if not value.isascii() or not value.isprintable():
        raise GatewayBug(f"header {name} is not printable ASCII")
    return value


def _plain(name: str, value: str) -> str:
    return f"{name}: {_ascii(name, value)}"


def _text(name: str, value: str) -> str:
    """A text header: as it is when ASCII, else RFC 2047; folded before column 78."""
    value = one_line(value)
    charset = "us-ascii" if value.isascii() and "=?" not in value else "utf-8"
    header = Header(value, charset, maxlinelen=76, header_name=name)
    return f"{name}: {header.encode(linesep=chr(13) + chr(10))}"


def _mailbox(name: str, display: str, address: str) -> str:
    return f"{name}: {formataddr((one_line(display), _ascii(name, address)), charset='utf-8')}"


def _part_headers(attachment: Attachment) -> bytes:
    """Headers of an attachment: RFC 2231 name, and an ASCII one for readers that do not know it."""
    name = one_line(attachment.name)
    plain = ascii_form(name).replace('"', "'").replace("\\", "_")
    if name == plain:
        disposition = f'attachment; filename="{plain}"'
    else:
        disposition = "attachment;\r\n filename*=" + encode_rfc2231(name, "utf-8", "")
    return (
        f'Content-Type: {attachment.mime_type};\r\n name="{plain}"\r\n'
        f"Content-Transfer-Encoding: base64\r\nContent-Disposition: {disposition}\r\n"
    ).encode("ascii")
