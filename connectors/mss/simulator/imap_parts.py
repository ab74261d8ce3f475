"""The parts of a message, for BODYSTRUCTURE and numbered sections. Pure.

Guarantee: a part is a slice of the bytes as delivered; nothing is decoded and encoded again. Depth and number of
parts are bounded.
Fails: `LookupError` for a part that is not there.
Source: RFC 3501 §6.4.5 (numbering), §7.4.2 (BODYSTRUCTURE), RFC 2046 §5.1 (boundaries).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import Message as Headers
from email.utils import getaddresses

from connectors.mss.simulator.imap_syntax import quoted

_DEPTH, _PARTS = 20, 1000


@dataclass(slots=True)
class Part:
    """`head` with its blank line, `body`; `parts` of a multipart, or the one message of a message/rfc822."""

    head: bytes
    body: bytes
    headers: Headers = field(repr=False)
    parts: list[Part] = field(default_factory=list)

    @property
    def multipart(self) -> bool:
        """True for a multipart that has parts."""
        return self.headers.get_content_maintype() == "multipart" and bool(self.parts)

    @property
    def enclosed(self) -> Part | None:
        """The message of a message/rfc822."""
        return self.parts[0] if self.parts and not self.multipart else None

    def find(self, numbers: list[int]) -> Part:
        """The part of that number; of a message that is no multipart, 1 is its body."""
        part = self
        for depth, number in enumerate(numbers):
            inner = part.enclosed if depth else None
            holder = inner or part
            if holder.multipart:
                if not 1 <= number <= len(holder.parts):
                    raise LookupError("no such part")
                part = holder.parts[number - 1]
            elif number == 1 and (depth == 0 or inner is not None):
                part = holder
            else:
                raise LookupError("no such part")
        return part


def parse(content: bytes, depth: int = 0, left: list[int] | None = None) -> Part:
    """The parts of a message."""
    left = left if left is not None else [_PARTS]
    if content.startswith(b"\r\n"):
        head, body = content[:2], content[2:]
    else:
        end = content.find(b"\r\n\r\n")
        head, body = (content, b"") if end < 0 else (content[: end + 4], content[end + 4 :])
    made = Part(head, body, message_from_bytes(head, policy=policy.compat32))
    boundary = made.headers.get_boundary()
    if depth >= _DEPTH:
        return made
    if made.headers.get_content_maintype() == "multipart" and boundary:
        for piece in _pieces(body, boundary.encode("utf-8", "surrogateescape")):
            left[0] -= 1
            if left[0] < 0:
                break
            made.parts.append(parse(piece, depth + 1, left))
    elif made.headers.get_content_type() == "message/rfc822":
        made.parts.append(parse(body, depth + 1, left))
    return made


def _pieces(body: bytes, boundary: bytes) -> list[bytes]:
    """What stands between the boundary lines."""
    line = re.compile(rb"(?:\A|\r\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?=\r\n|\Z)")
    made: list[bytes] = []
    start: int | None = None
    for found in line.finditer(body):
        if start is not None:
            made.append(body[start : max(start, found.start())])
        if found[1]:
            return made
        start = min(len(body), found.end() + 2)
    if start is not None:
        made.append(body[start:])
    return made


def structure(part: Part) -> bytes:
    """BODYSTRUCTURE of a message or part, with the disposition and no more of the extension data."""
    if part.multipart:
        inner = b"".join(structure(p) for p in part.parts)
        subtype = quoted(part.headers.get_content_subtype().upper())
        return b"(" + inner + b" " + subtype + b" " + _parameters(part) + b" " + _disposition(part) + b" NIL)"
    kind, subtype_name = part.headers.get_content_maintype(), part.headers.get_content_subtype()
    fields = [
        quoted(kind.upper()),
        quoted(subtype_name.upper()),
        _parameters(part),
        _header(part, "Content-ID"),
        _header(part, "Content-Description"),
        quoted(str(part.headers.get("Content-Transfer-Encoding", "7BIT")).strip().upper()),
        b"%d" % len(part.body),
    ]
    lines = b"%d" % part.body.count(b"\n")
    if part.enclosed is not None:
        fields += [envelope(part.enclosed.headers), structure(part.enclosed), lines]
    elif kind == "text":
        fields.append(lines)
    return b"(" + b" ".join([*fields, b"NIL", _disposition(part), b"NIL"]) + b")"


def _parameters(part: Part, header: str = "content-type") -> bytes:
    given = part.headers.get_params(header=header, unquote=True) or []
    pairs = [quoted(str(n).upper()) + b" " + quoted(_text(v)) for n, v in given[1:]]
    return b"(" + b" ".join(pairs) + b")" if pairs else b"NIL"


def _text(value: object) -> str:
    """A parameter; RFC 2231 gives (charset, language, text)."""
    return str(value[2]) if isinstance(value, tuple) else str(value)


def _disposition(part: Part) -> bytes:
    kind = part.headers.get_content_disposition()
    if kind is None:
        return b"NIL"
    return b"(" + quoted(kind.upper()) + b" " + _parameters(part, "content-disposition") + b")"


def _header(part: Part, name: str) -> bytes:
    value = part.headers.get(name)
    return b"NIL" if value is None else quoted(" ".join(str(value).split()))


def envelope(parsed: Headers) -> bytes:
    """ENVELOPE of a header block."""

    def one(name: str) -> bytes:
        value = parsed.get(name)
        return b"NIL" if value is None else quoted(" ".join(str(value).split()))

    def people(*names: str) -> bytes:
        for name in names:
            found = [
                b"(%s NIL %s %s)"
                % (quoted(n) if n else b"NIL", quoted(a.partition("@")[0]), quoted(a.partition("@")[2]))
                for n, a in getaddresses([str(v) for v in parsed.get_all(name, [])])
                if a
            ]
            if found:
                return b"(" + b"".join(found) + b")"
        return b"NIL"

    return (
        b"("
        + b" ".join(
            (
                one("Date"),
                one("Subject"),
                people("From"),
                people("Sender", "From"),
                people("Reply-To", "From"),
                people("To"),
                people("Cc"),
                people("Bcc"),
                one("In-Reply-To"),
                one("Message-ID"),
            )
        )
        + b")"
    )
