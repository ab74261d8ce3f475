"""MIME by position: the parts of a mail as slices of its bytes. Pure.

Purpose: find headers, parts and attachments of a received mail without copying it. The headers are read by the standard
`email` package; the bodies are cut here, because its parser copies a big mail several times and recurses without bound.
Guarantee: every part is a slice of the bytes received; parts and levels are bounded; a content is decoded only when
asked for, and never guessed (base64 that is not base64 is no content).
Fails: `TooComplex` for a mail beyond the bounds; nothing else raises for what is in the bytes.
Source: RFC 5322 §2.1, RFC 2045 §6, RFC 2046 §5.1, RFC 2047, RFC 2231.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import Compat32
from email.utils import getaddresses

from connectors.mss.inbound.limits import InboundLimits
from connectors.mss.wording import one_line
from gateway.errors import BadInput
from gateway.hl7.base64text import BadBase64, decode

_BLANK_LINE = re.compile(rb"\n\r?\n|\r\r|\A\r?\n")
_CHARSET = re.compile(
    r"utf-?8|utf-16(?:le|be)?|(?:us-)?ascii|iso-?8859-?\d{1,2}|latin-?\d{1,2}|(?:windows-|cp)125\d",
    re.IGNORECASE,
)
_LONG = 8192
"""Characters of a header that are read; more is no header of a mail between people."""


class _AsSent(Compat32):
    """Headers as they stand: octets above 127 as surrogates, where the usual policy replaces them for good."""

    def header_fetch_parse(self, name: str, value: str) -> str:
        return value


_PARSER = BytesHeaderParser(policy=_AsSent())
IDENTITY = frozenset({"", "7bit", "8bit", "binary"})


class TooComplex(BadInput):
    """More parts, levels or headers than the bounds."""


@dataclass(frozen=True, slots=True)
class Part:
    """One leaf of a mail. `body` is encoded as `encoding` (Content-Transfer-Encoding, lower case) says."""

    mime_type: str
    name: str = field(repr=False)
    """File name, decoded; empty when there is none."""
    encoding: str
    charset: str
    disposition: str
    body: memoryview = field(repr=False)

    def content(self) -> bytes | None:
        """The decoded bytes; None when they are not what the encoding says."""
        if self.encoding == "base64":
            try:
                return decode(self.body).content
            except BadBase64:
                return None
        if self.encoding == "quoted-printable":
            return quopri.decodestring(bytes(self.body))
        return bytes(self.body) if self.encoding in IDENTITY else None

    def text(self) -> str:
        """The content as text; what its charset cannot decode is shown as U+FFFD."""
        return _text(self.content() or b"", self.charset)


@dataclass(slots=True)
class Mail:
    """A mail, or a mail inside it: its headers and its leaves in order; the mails inside stand apart."""

    headers: Message = field(repr=False)
    mime_type: str = ""
    parts: list[Part] = field(default_factory=list, repr=False)
    inner: list[Mail] = field(default_factory=list, repr=False)
    types: set[str] = field(default_factory=set)
    """MIME types of the parts, multiparts and enclosed mails too, but not of what stands in an enclosed mail."""


def read_mail(raw: bytes | memoryview, limits: InboundLimits) -> Mail:
    """The tree of a mail. Raises `TooComplex`."""
    return _Reader(limits).mail(memoryview(raw), 0)


def read_head(raw: bytes, limits: InboundLimits) -> Mail:
    """Only the headers of a mail, as far as they are within the bound; for a mail that cannot be read further."""
    head = raw[: limits.header_bytes]
    end = _BLANK_LINE.search(head)
    # a header cut by the bound is left out
    stop = end.start() if end else head.rfind(b"\n") + 1
    headers = _PARSER.parsebytes(head[:stop] + b"\r\n\r\n")
    return Mail(headers, _type(headers))


def header(message: Message, name: str) -> str:
    """The first header of that name on one line, RFC 2047 words decoded; empty when absent."""
    value = message.get(name)
    return "" if value is None else one_line(_decoded(str(value)[:_LONG]))


def plain_header(message: Message, name: str) -> str:
    """The same without decoding: for identifiers. What is not ASCII is left out."""
    value = message.get(name)
    return "" if value is None else one_line(_octets(str(value)).decode("ascii", "ignore"))


def addresses(message: Message, *names: str) -> tuple[tuple[str, str], ...]:
    """(display name, address) of every mailbox of these headers, in order, each address once."""
    values = [_octets(str(v)).decode("utf-8", "replace") for n in names for v in message.get_all(n, [])]
    try:
        pairs = getaddresses([v for v in values if len(v) <= _LONG])
    except (IndexError, ValueError, TypeError, RecursionError):  # nested comments
        return ()
    found: dict[str, tuple[str, str]] = {}
    for display, address in pairs:
        clean = one_line(address)
        if clean:
            found.setdefault(clean.lower(), (one_line(_decoded(display)), clean))
    return tuple(found.values())


def _octets(value: str) -> bytes:
    """A header value as it stood in the mail (the parser hides octets above 127 in surrogates)."""
    return value.encode("utf-8", "surrogateescape")


def _decoded(value: str) -> str:
    try:
        pieces = decode_header(value)
    except (HeaderParseError, binascii.Error, ValueError):
        pieces = [(value, None)]
    text = ""
    for piece, charset in pieces:
        octets = _octets(piece) if isinstance(piece, str) else piece
        text += _text(octets, charset or "")
    return text


def _text(octets: bytes, charset: str) -> str:
    """Octets as text. Only charsets of mails are tried: others of Python's cost time out of all proportion, or hide
    characters; what cannot be decoded shows as U+FFFD."""
    if _CHARSET.fullmatch(charset):
        try:
            return octets.decode(charset)
        except (UnicodeDecodeError, LookupError):
            pass
    return octets.decode("utf-8", "replace")


class _Reader:
    """Reads one mail; counts its parts."""

    def __init__(self, limits: InboundLimits) -> None:
        self._limits = limits
        self._count = 0
        self._header_bytes = limits.all_header_bytes

    def mail(self, view: memoryview, depth: int) -> Mail:
        """A mail that begins at `view`."""
        headers, body = self._split(view)
        mail = Mail(headers, _type(headers))
        self._part(headers, body, depth, mail)
        return mail

    def _split(self, view: memoryview) -> tuple[Message, memoryview]:
        """The headers and what follows the empty line."""
        self._count += 1
        if self._count > self._limits.parts:
            raise TooComplex("too many parts")
        head = bytes(view[: self._limits.header_bytes])
        # the mark that a mailbox file puts before a mail is no header
        start = head.find(b"\n") + 1 if head.startswith((b"From ", b">From ")) else 0
        end = _BLANK_LINE.search(head, start)
        if end is None and len(view) > len(head):
            raise TooComplex("headers too long")
        stop, after = (end.start(), end.end()) if end else (len(head), len(head))
        self._header_bytes -= stop
        if self._header_bytes < 0:
            raise TooComplex("headers too long")
        return _PARSER.parsebytes(head[start:stop] + b"\r\n\r\n"), view[after:]

    def _part(self, headers: Message, body: memoryview, depth: int, mail: Mail) -> None:
        if depth > self._limits.depth:
            raise TooComplex("too deep")
        for name in ("Content-Type", "Content-Disposition"):
            if len(str(headers.get(name, ""))) > _LONG:
                raise TooComplex("headers too long")
        kind = _type(headers)
        encoding = plain_header(headers, "Content-Transfer-Encoding").lower()
        boundary = _parameter(headers, "boundary")
        mail.types.add(kind)
        if kind.startswith("multipart/") and boundary:
            for piece in _pieces(body, boundary):
                inner, content = self._split(piece)
                self._part(inner, content, depth + 1, mail)
            return
        part = Part(
            kind,
            _name(headers),
            encoding,
            _parameter(headers, "charset").lower(),
            plain_header(headers, "Content-Disposition").partition(";")[0].strip().lower(),
            body,
        )
        if kind == "message/rfc822":
            content = body if encoding in IDENTITY else memoryview(part.content() or b"")
            if len(content):
                mail.inner.append(self.mail(content, depth + 1))
                return
        mail.parts.append(part)


def _pieces(body: memoryview, boundary: str) -> Iterator[memoryview]:
    """The parts between the boundaries; a last one that is not closed is given too."""
    mark = boundary.encode("utf-8", "surrogateescape")
    # it begins with what is searched, so that the search skips the base64 between
    line = re.compile(re.escape(b"--" + mark) + rb"(--)?[ \t]*(?=[\r\n]|\Z)")
    start = -1
    for found in line.finditer(body):
        at = found.start()
        before = bytes(body[max(at - 2, 0) : at])
        if before and before[-1:] not in (b"\r", b"\n"):
            continue
        if start >= 0:
            # the line end belongs to the boundary
            yield body[start : max(at - (2 if before == b"\r\n" else 1), start)]
        if found[1]:
            return
        start = _after_line(body, found.end())
    if start >= 0:
        yield body[start:]


def _after_line(body: memoryview, position: int) -> int:
    """The offset after the line end at `position`."""
    end = bytes(body[position : position + 2])
    return position + (2 if end == b"\r\n" else 1 if end else 0)


def _type(headers: Message) -> str:
    if len(str(headers.get("Content-Type", ""))) > _LONG:
        return "application/octet-stream"
    try:
        return headers.get_content_type().lower()
    except (ValueError, TypeError, IndexError, AttributeError):
        return "application/octet-stream"


def _parameter(headers: Message, name: str) -> str:
    """A parameter of Content-Type."""
    try:
        value = headers.get_param(name)
    except (ValueError, TypeError, IndexError, AttributeError):
        return ""
    return _of_parameter(value)


def _of_parameter(value: object) -> str:
    if isinstance(value, tuple):
        charset, _, text = value
        # RFC 2231: the parser gives the octets as characters
        return _text(str(text).encode("latin-1", "replace"), str(charset or ""))
    return value if isinstance(value, str) else ""


def _name(headers: Message) -> str:
    """The file name of a part: Content-Disposition first, then Content-Type (RFC 2231, and RFC 2047 as many write)."""
    for parameter, where in (("filename", "content-disposition"), ("name", "content-type")):
        try:
            value = headers.get_param(parameter, header=where)
        except (ValueError, TypeError, IndexError, AttributeError):
            continue
        text = one_line(_decoded(_of_parameter(value)))
        if text:
            # a path is no name
            return text.replace("\\", "/").rpartition("/")[2]
    return ""
