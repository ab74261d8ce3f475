"""The parts of the mails that this gateway writes about other mails: MDN, error mails. Pure.

Purpose: MIME composed by hand, because the standard library cannot give an original back byte for byte.
Guarantee: CRLF, lines within 998 octets; every header is one line of ASCII (RFC 2047, RFC 2231), so nothing in a
received mail or in a document can add a header; an original is inside byte for byte or, when it cannot travel in the
open, `spliced` says so.
Fails: `GatewayBug` for an address of ours that is no address.
Source: RFC 2046 §5.2.1, RFC 5322, RFC 2231; spec/mssante.md §2.6.
"""

from __future__ import annotations

import binascii
import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from email.header import Header
from email.utils import encode_rfc2231

from connectors.mss.addresses import is_address
from connectors.mss.wording import ascii_form, one_line
from gateway.errors import GatewayBug

_LINE = 76
_SLICE = 57 * 4096
_BARE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_LONGEST = 998
_NAME_MAX = 70
"""Characters of a file name in a header: at most 840 octets in RFC 2231."""
_TYPE = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,60}")


def rfc822_headers(eight_bit: bool) -> Sequence[str]:
    """Headers of the part that holds an original."""
    encoding = "8bit" if eight_bit else "7bit"
    return ("Content-Type: message/rfc822", f"Content-Transfer-Encoding: {encoding}")


def open_part(out: io.BytesIO, boundary: bytes, *lines: str) -> None:
    """A boundary and the headers of a part."""
    out.write(b"\r\n--" + boundary + b"\r\n")
    out.write("".join(line + "\r\n" for line in lines).encode("ascii") + b"\r\n")


def text_part(out: io.BytesIO, boundary: bytes, text: str) -> None:
    """The text that a person reads."""
    open_part(out, boundary, "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: base64")
    out.writelines(base64_lines(("\r\n".join(text.splitlines()) + "\r\n").encode("utf-8", "replace")))


def attach(out: io.BytesIO, boundary: bytes, mime_type: str, name: str, content: bytes) -> None:
    """A file in base64. Its name and type may come from outside: nothing in them can add a header."""
    name = one_line(name)[-_NAME_MAX:]  # the end, with its extension
    plain = ascii_form(name).replace('"', "'").replace("\\", "_")
    disposition = f'attachment; filename="{plain}"'
    if plain != name:
        disposition = "attachment;\r\n filename*=" + encode_rfc2231(name, "utf-8", "")
    if not _TYPE.fullmatch(mime_type) or mime_type.startswith(("multipart/", "message/")):
        mime_type = "application/octet-stream"
    open_part(
        out,
        boundary,
        f'Content-Type: {mime_type};\r\n name="{plain}"',
        "Content-Transfer-Encoding: base64",
        f"Content-Disposition: {disposition}",
    )
    out.writelines(base64_lines(content))


def base64_lines(content: bytes) -> Iterator[bytes]:
    """`content` in base64 lines of 76 characters, CRLF after each."""
    view = memoryview(content)
    for start in range(0, len(view), _SLICE):
        text = binascii.b2a_base64(view[start : start + _SLICE], newline=False)
        yield b"\r\n".join([text[i : i + _LINE] for i in range(0, len(text), _LINE)]) + b"\r\n"


def spliced(raw: bytes) -> tuple[bytes | None, bool]:
    """The original as it may stand in message/rfc822 (CRLF), and whether it has octets above 127; None when it cannot
    travel in the open (NUL, or a line above 998 octets)."""
    clean = raw.count(b"\r\n") == raw.count(b"\n") == raw.count(b"\r")
    whole = raw if clean else _BARE.sub(b"\r\n", raw)
    if b"\0" in whole or _has_long_line(whole):
        return None, False
    return whole, not whole.isascii()


def _has_long_line(text: bytes) -> bool:
    """True when a line has more than 998 octets; `text` has CRLF."""
    position = 0
    while len(text) - position > _LONGEST:
        end = text.rfind(b"\n", position, position + _LONGEST + 2)
        if end < 0:
            return True
        position = end + 1
    return False


def boundary_of(message_id: str, *originals: bytes) -> bytes:
    """A boundary that no original holds; the same for the same mail."""
    number = 0
    while True:
        digest = hashlib.sha256(f"{message_id} {number}".encode("utf-8", "replace")).hexdigest()
        boundary = f"=_{digest[:40]}".encode("ascii")
        if not any(boundary in raw for raw in originals):
            return boundary
        number += 1


def own_address(address: str) -> str:
    """An address of ours. Raises `GatewayBug` for what is none."""
    if not is_address(address):
        raise GatewayBug("an address of a report is no address")
    return address


def token(value: str) -> str:
    """One line of ASCII."""
    return ascii_form(one_line(value))


def text_header(name: str, value: str) -> str:
    """A text header: as it is when ASCII, else RFC 2047; folded before column 78."""
    value = one_line(value)
    charset = "us-ascii" if value.isascii() and "=?" not in value else "utf-8"
    # without blanks to fold at, plain text would make one long line
    if any(len(word) > 60 for word in value.split(" ")):
        charset = "utf-8"
    header = Header(value, charset, maxlinelen=76, header_name=name)
    return f"{name}: {header.encode(linesep=chr(13) + chr(10))}"
