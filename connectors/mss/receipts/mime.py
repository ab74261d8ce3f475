"""The parts of a mail, read within bounds. Pure.

Purpose: the only module that touches the standard `email` parser; the others read plain immutable `Part`s.
Guarantee: bytes above the bounds (size, parts, depth, header length) are refused before they cost time or memory:
nested bombs stop the parser where they pass a bound. Header values come out on one line without control characters,
so nothing in a mail can add a header, a log line or a segment to what is made of it. `repr` shows types and counts
only: subjects, addresses and bodies hold patients' data.
Fails: `Unreadable` with a `Reason`; whatever else the parser may raise for odd bytes becomes that too.
Source: RFC 5322, 2045-2047, 2231; the compat32 policy is used because it keeps header values as they came and parses
none of them by itself (the newer ones raise for some malformed headers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import MessageError
from email.feedparser import BytesFeedParser
from email.header import decode_header
from email.message import Message
from email.policy import Policy, compat32
from typing import Any

from connectors.mss.receipts.model import Reason
from connectors.mss.wording import one_line


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one mail may cost. `size` in bytes of the whole mail, `header` in characters of one header with its
    folds, `text` in characters read of a text part."""

    size: int = 50_000_000
    lines: int = 2_000_000
    """Line ends (CR and LF both count): a document in base64 of `size` has fewer."""
    parts: int = 250
    depth: int = 12
    header: int = 65_536
    mime_header: int = 4_096
    """Content-*: the standard parser's time grows with the square of it."""
    headers: int = 1_000_000
    """Characters of all the headers of all the parts."""
    text: int = 65_536


BOUNDS = Bounds()
_CHUNK = 65_536
_WORDS_MAX = 2_000
"""Characters of a header whose RFC 2047 words are decoded."""


class Unreadable(Exception):
    """These bytes give no reading; `reason` says why. Its text is the reason's code, nothing of the mail."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Part:
    """One MIME part: `content_type` in lower case, `report_type` and `name` (file name) or "", sub-parts in order.

    A `message/*` part has one sub-part per message or block of fields that it holds.
    """

    content_type: str
    report_type: str
    name: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Names in lower case, values as they came, on one line, bytes above 127 read as UTF-8."""
    parts: tuple[Part, ...] = field(repr=False)
    _message: Message = field(repr=False)
    _bounds: Bounds = field(repr=False)

    def all(self, name: str) -> tuple[str, ...]:
        """Every value of the header `name` (lower case) that is not empty, in order."""
        return tuple(value for key, value in self.headers if key == name and value)

    def first(self, name: str) -> str:
        """The first value, or ""."""
        values = self.all(name)
        return values[0] if values else ""

    def one(self, name: str) -> str:
        """The only value, or "". Raises `Unreadable` when the header stands twice with different values."""
        values = self.all(name)
        if len({value.casefold() for value in values}) > 1:
            raise Unreadable(Reason.CONTRADICTION)
        return values[0] if values else ""

    def words(self, name: str) -> str:
        """The first value with its RFC 2047 words decoded, on one line."""
        return _decoded(self.first(name))

    def walk(self, *, into_messages: bool = False) -> Iterator[Part]:
        """This part and those under it, in order; those of an enclosed `message/*` only with `into_messages`."""
        yield self
        if into_messages or not self.content_type.startswith("message/"):
            for part in self.parts:
                yield from part.walk(into_messages=into_messages)

    def content(self) -> bytes:
        """The decoded bytes of a part without sub-parts (b"" otherwise)."""
        try:
            payload = self._message.get_payload(decode=True)
        except Exception:  # the standard decoders raise many things for odd bytes
            return b""
        return payload if isinstance(payload, bytes) else b""

    def text(self) -> str:
        """The text, at most `Bounds.text` characters; a wrong or unknown charset gives replacement characters."""
        content = self.content()[: self._bounds.text * 4]
        try:
            charset = self._message.get_param("charset", "utf-8")
            text = content.decode(charset if isinstance(charset, str) else "utf-8", "replace")
        except (LookupError, ValueError, MessageError):
            text = content.decode("utf-8", "replace")
        return text[: self._bounds.text]


def parse(raw: bytes, bounds: Bounds = BOUNDS) -> Part:
    """The tree of `raw`. Raises `Unreadable`."""
    if len(raw) > bounds.size:
        raise Unreadable(Reason.TOO_LARGE)
    if raw.count(b"\n") + raw.count(b"\r") > bounds.lines:
        raise Unreadable(Reason.TOO_COMPLEX)
    return _part(_message(raw, bounds), bounds)


def field_blocks(part: Part) -> tuple[Part, ...]:
    """The blocks of fields of a `message/delivery-status` or `message/disposition-notification` part, empty ones left
    out; read again when an encoding forbidden by RFC 6522, a blank line before them or another type hides them."""
    blocks = tuple(block for block in part.parts if block.headers)
    if part.content_type == "message/delivery-status" and blocks and not _encoded(part):
        return blocks
    if _encoded(part):
        hidden = _decoded_again(part)
    elif blocks:
        # another message/* type: the parser took the first block as headers, the others as a body
        rest = blocks[0].content()
        if not rest.strip():
            return blocks
        return blocks[:1] + _blocks(rest, part._bounds)
    else:
        hidden = part.parts[0].content() if part.parts else part.content()
    return _blocks(hidden, part._bounds)


def header_block(part: Part) -> Part | None:
    """The headers that a `text/rfc822-headers` or `message/*` part gives back, or None."""
    if part.parts and not _encoded(part):
        return part.parts[0]
    # RFC 2046 forbids to encode a message/*, relays do it
    content = (_decoded_again(part) if part.parts else part.content())[: part._bounds.text]
    if not content.strip():
        return None
    return _part(_message(content.lstrip(b"\r\n"), part._bounds, headers_only=True), part._bounds)


def _encoded(part: Part) -> bool:
    return part.first("content-transfer-encoding").lower() in ("base64", "quoted-printable")


def _decoded_again(part: Part) -> bytes:
    """The content of an encoded message/* part, whose text the parser took for headers and bodies."""
    try:
        text = "\r\n\r\n".join(
            "".join(f"{name}: {value}\r\n" for name, value in block._message.raw_items())
            + str(block._message.get_payload() or "")
            for block in part.parts
        )
        carrier = Message()
        carrier["Content-Transfer-Encoding"] = part.first("content-transfer-encoding")
        carrier.set_payload(text)
        decoded = carrier.get_payload(decode=True)
    except Exception:  # as in Part.content
        return b""
    return decoded if isinstance(decoded, bytes) else b""


def _blocks(content: bytes, bounds: Bounds) -> tuple[Part, ...]:
    carrier = b"Content-Type: message/delivery-status\r\n\r\n" + content[: bounds.text].lstrip(b"\r\n")
    return tuple(block for block in parse(carrier, bounds).parts if block.headers)


# --- the standard parser, bounded ----------------------------------------------------------------------------------


def _message(raw: bytes, bounds: Bounds, *, headers_only: bool = False) -> Message:
    made = 0
    characters = 0

    class Bounded(Message):
        """Counts the parts and their depth while they are made: a bomb stops the parser."""

        depth = 0

        def __init__(self, policy: Policy = compat32) -> None:
            super().__init__(policy)
            nonlocal made
            made += 1
            if made > bounds.parts + 1:  # the parser makes one to try the factory
                raise Unreadable(Reason.TOO_COMPLEX)

        def attach(self, payload: Any) -> None:
            payload.depth = self.depth + 1
            if payload.depth > bounds.depth:
                raise Unreadable(Reason.TOO_COMPLEX)
            super().attach(payload)

        def set_raw(self, name: str, value: Any) -> None:
            # before anything parses the value
            nonlocal characters
            length = len(name) + len(value)
            characters += length
            most = bounds.mime_header if name[:8].lower() == "content-" else bounds.header
            if length > most or characters > bounds.headers:
                raise Unreadable(Reason.TOO_COMPLEX)
            super().set_raw(name, value)

    try:
        parser = BytesFeedParser(Bounded)
        view = memoryview(raw)
        if headers_only:
            end = re.search(rb"\r?\n\r?\n", raw)
            view = view[: end.end()] if end else view
        for start in range(0, len(view), _CHUNK):
            # by slices: the parser's own parse of bytes holds four copies of a big mail
            parser.feed(bytes(view[start : start + _CHUNK]))
        return parser.close()
    except Unreadable:
        raise
    except Exception:  # no promise of the standard parser; what it says may quote the mail
        raise Unreadable(Reason.BROKEN_MIME) from None


def _part(message: Message, bounds: Bounds) -> Part:
    try:
        payload = message.get_payload() if message.is_multipart() else []
        report_type = message.get_param("report-type", "")
        name = message.get_filename("")
        content_type = message.get_content_type()
        headers = tuple((key.lower(), _clean(str(value))) for key, value in message.raw_items())
    except Exception:  # malformed RFC 2231 parameters
        raise Unreadable(Reason.BROKEN_MIME) from None
    children = [child for child in payload if isinstance(child, Message)] if isinstance(payload, list) else []
    return Part(
        content_type,
        report_type.strip().lower() if isinstance(report_type, str) else "",
        _decoded(one_line(name)),
        headers,
        tuple(_part(child, bounds) for child in children),
        message,
        bounds,
    )


def _clean(value: str) -> str:
    """A raw header value on one line; bytes above 127 as UTF-8."""
    return one_line(value.encode("utf-8", "surrogateescape").decode("utf-8", "replace"))


def _decoded(value: str) -> str:
    """`value` with its RFC 2047 words decoded; words that cannot be are left as they are."""
    value = value[:_WORDS_MAX]
    if "=?" not in value:
        return value
    try:
        chunks = decode_header(value)
    except (MessageError, ValueError):
        return value
    words = []
    for chunk, charset in chunks:
        if isinstance(chunk, str):
            words.append(chunk)
            continue
        try:
            words.append(chunk.decode(charset or "utf-8", "replace"))
        except (LookupError, ValueError):
            words.append(chunk.decode("utf-8", "replace"))
    return one_line("".join(words))
