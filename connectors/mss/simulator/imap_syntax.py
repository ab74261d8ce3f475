"""What an IMAP client says, read: lines, literals, tokens, sequence sets. Pure, but for `read_command`.

Guarantee: a command is bounded (64 kB of text, one literal up to `limit`); a malformed one is a `Syntax` error, never
another exception.
Source: RFC 3501 §4, §9; RFC 7888 (LITERAL+).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass

MAX_LINE = 65_536
_LITERAL = re.compile(rb"\{(\d{1,10})(\+?)\}$")
_ATOM = re.compile(rb'[^\s(){"]+')
_SEQUENCE = re.compile(r"(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?(?:,(?:\d{1,10}|\*)(?::(?:\d{1,10}|\*))?)*")


class Syntax(Exception):
    """What the client said cannot be read; the text is the reason, without what it said."""


class Closed(Exception):
    """The client is gone."""


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted string or a literal (an atom is plain `str`)."""

    value: bytes

    def __str__(self) -> str:
        return self.value.decode("utf-8", "replace")


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """A line without its end. Raises `Closed`, `Syntax`."""
    try:
        line = await reader.readuntil(b"\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        raise Closed from None
    except asyncio.LimitOverrunError:
        raise Closed from None
    return line.rstrip(b"\r\n")


async def read_command(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int
) -> list[bytes | Text]:
    """A whole command: its lines, and its literals between them. Raises `Closed`, `Syntax`."""
    pieces: list[bytes | Text] = []
    total = 0
    while True:
        line = await read_line(reader)
        total += len(line)
        if total > MAX_LINE:
            raise Closed
        found = _LITERAL.search(line)
        if found is None:
            return [*pieces, line]
        size = int(found[1])
        if size > limit:
            if found[2]:
                raise Closed  # it comes anyway
            raise Syntax("literal too large")
        pieces.append(line[: found.start()])
        if not found[2]:
            writer.write(b"+ go ahead\r\n")
            await writer.drain()
        try:
            pieces.append(Text(await reader.readexactly(size)))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Closed from None


def tokens(pieces: list[bytes | Text]) -> list[object]:
    """The tokens of a command: `str` (atoms), `Text`, and lists for parentheses. Raises `Syntax`."""
    stack: list[list[object]] = [[]]
    for piece in pieces:
        if isinstance(piece, Text):
            stack[-1].append(piece)
            continue
        at = 0
        while at < len(piece):
            char = piece[at : at + 1]
            if char in b" \t":
                at += 1
            elif char == b"(":
                stack.append([])
                at += 1
            elif char == b")":
                if len(stack) == 1:
                    raise Syntax("parenthesis")
                stack[-2].append(stack.pop())
                at += 1
            elif char == b'"':
                value, at = _quoted(piece, at + 1)
                stack[-1].append(Text(value))
            else:
                word, at = _atom(piece, at)
                stack[-1].append(word)
        if len(stack) > 20:
            raise Syntax("too deep")
    if len(stack) != 1:
        raise Syntax("parenthesis")
    return stack[0]


def _quoted(piece: bytes, at: int) -> tuple[bytes, int]:
    made = bytearray()
    while at < len(piece):
        char = piece[at]
        if char == 0x22:
            return bytes(made), at + 1
        if char == 0x5C:
            at += 1
            if at == len(piece):
                break
            char = piece[at]
        made.append(char)
        at += 1
    raise Syntax("quoted string")


def _atom(piece: bytes, at: int) -> tuple[str, int]:
    """An atom; `BODY.PEEK[HEADER.FIELDS (A B)]<0.10>` is one."""
    start = at
    found = _ATOM.match(piece, at)
    if found is None:
        raise Syntax("atom")
    at = found.end()
    if b"[" in piece[start:at] and b"]" not in piece[start:at]:
        at = piece.find(b"]", at)
        if at < 0:
            raise Syntax("section")
        rest = _ATOM.match(piece, at)
        at = rest.end() if rest else at + 1
    try:
        return piece[start:at].decode("ascii"), at
    except UnicodeDecodeError:
        raise Syntax("atom") from None


def sequence(text: str, values: list[int]) -> list[int]:
    """The members of `values` (ascending) that a sequence set names; `*` is the last one. Raises `Syntax`."""
    if not _SEQUENCE.fullmatch(text):
        raise Syntax("sequence set")
    last = values[-1] if values else 0
    ranges: list[tuple[int, int]] = []
    for part in text.split(","):
        low, _, high = part.partition(":")
        one = last if low == "*" else int(low)
        two = one if not high else last if high == "*" else int(high)
        ranges.append((min(one, two), max(one, two)))
    return [v for v in values if any(low <= v <= high for low, high in ranges)]


def is_sequence(text: str) -> bool:
    """True for a sequence set."""
    return _SEQUENCE.fullmatch(text) is not None


def quoted(text: str) -> bytes:
    """A string of a response: quoted, or a literal when it must be."""
    data = text.encode("utf-8", "replace")
    if text.isascii() and not any(c in text for c in "\r\n\0"):
        return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return literal(data)


def literal(data: bytes) -> bytes:
    """A literal of a response."""
    return b"{%d}\r\n" % len(data) + data
