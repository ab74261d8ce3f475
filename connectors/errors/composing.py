"""The bytes of an error mail: headers, text, files. Pure.

Purpose: the « courriel standard », or the same as a notification (`mdn`), for what `connectors.mss.inbound.reports`
does not write: errors of messages, groups, mails too large to be enclosed with their attachments.
Guarantee: same arguments, same bytes; CRLF, lines within 998 octets; at most `limit` bytes when the text alone fits:
files are taken in order while they fit, the others are named in the text. `Auto-Submitted: auto-generated`, never
answered.
Source: spec/mssante.md §2.6; RFC 2046, 3834.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from email.utils import format_datetime, formataddr

from connectors.errors import wording
from connectors.errors.plan import ReportPlan, Told
from connectors.errors.rebuilding import File
from connectors.mss.addresses import is_address
from connectors.mss.inbound.parts import (
    attach,
    boundary_of,
    open_part,
    own_address,
    rfc822_headers,
    spliced,
    text_header,
    text_part,
    token,
)
from connectors.mss.inbound.reports import MAX_LABEL
from connectors.mss.wording import ascii_form, one_line

_KINDS = {
    False: b"Content-Type: multipart/mixed;",
    True: b"Content-Type: multipart/report; report-type=disposition-notification;\r\n",
}
_MAIL = 90_000
"""Bytes kept for headers and text."""
_PART = 1_500


def encoded(size: int) -> int:
    """An upper bound in bytes of an attached file of `size` bytes, its headers included."""
    return size * 78 // 57 + 200 + _PART


def compose(
    plan: ReportPlan,
    sender: tuple[str, str],
    original_subject: str,
    files: Sequence[File],
    missing: Sequence[str] = (),
    *,
    limit: int = 0,
    open_originals: bool = True,
) -> bytes:
    """The mail of `plan`. `sender`: (name, address). `limit` in bytes, 0: the plan's own. `missing`: names of what was
    left out already. `open_originals`: False encloses an original as a plain file (a server without 8BITMIME)."""
    kept, left = _fitting(files, (limit or plan.max_bytes) - _MAIL)
    boundary = boundary_of(plan.message_id, *(f.content for f in kept if f.rfc822))
    out = io.BytesIO()
    name, address = sender
    lines = [
        f"From: {formataddr((one_line(name), own_address(address)), charset='utf-8')}",
        f"To: {own_address(plan.recipient)}",
        text_header("Subject", wording.subject(plan, original_subject)),
        f"Date: {format_datetime(plan.created)}",
        f"Message-ID: {token(plan.message_id)}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
    ]
    out.write("".join(line + "\r\n" for line in lines).encode("ascii"))
    out.write(_KINDS[plan.mdn] + b' boundary="' + boundary + b'"\r\n\r\n')
    text_part(out, boundary, wording.text(plan, [f.name for f in kept], [*(f.name for f in left), *missing]))
    if plan.mdn:
        open_part(out, boundary, "Content-Type: message/disposition-notification")
        out.write(_notification(plan.told[0], address))
    for file in kept:
        whole, eight_bit = spliced(file.content) if file.rfc822 else (None, False)
        if whole is None or (eight_bit and not open_originals):
            kind = "application/octet-stream" if file.rfc822 else file.mime_type
            attach(out, boundary, kind, file.name, file.content)
            continue
        shown = f'Content-Disposition: attachment; filename="{file.name}"'
        open_part(out, boundary, *rfc822_headers(eight_bit), shown)
        out.write(whole)
    out.write(b"\r\n--" + boundary + b"--\r\n")
    return out.getvalue()


def _notification(told: Told, sender: str) -> bytes:
    """The fields of message/disposition-notification (volet v1.1.3), in ASCII: for whom it was, why it failed. What the
    DPI sent was no mail: its MSH-10 stands where a mail has its Message-ID."""
    recipient = told.recipient if is_address(told.recipient) else sender
    lines = [f"Final-Recipient: rfc822;{own_address(recipient)}"]
    if told.control_id:
        # MSH-10 may hold what a Message-ID may not
        name = re.sub(r"[^0-9A-Za-z._-]", "_", told.control_id)
        lines.append(f"Original-Message-ID: <{name}@{own_address(sender).rpartition('@')[2]}>")
    label = ascii_form(one_line(told.label))[:MAX_LABEL]
    lines += [
        "Disposition: automatic-action/MDN-sent-automatically; processed/error",
        f"Error: {token(told.code)}^{label}^applicationErrorCondition| E^Error^errorSeverity",
    ]
    return "".join(line + "\r\n" for line in lines).encode("ascii")


def _fitting(files: Sequence[File], room: int) -> tuple[list[File], list[File]]:
    """Those that fit in `room` bytes, taken in order, and the others."""
    kept: list[File] = []
    left: list[File] = []
    for file in files:
        size = encoded(len(file.content))
        if size <= room:
            room -= size
            kept.append(file)
        else:
            left.append(file)
    return kept, left
