"""FETCH: what a client asks of a message, written. Pure.

Guarantee: the bytes of a message are given as they were delivered.
Fails: `Syntax` for an item that is not known. A part that is not there is an empty string.
Source: RFC 3501 §6.4.5, §7.4.2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from connectors.mss.simulator.imap_parts import envelope, parse, structure
from connectors.mss.simulator.imap_syntax import Syntax, literal
from connectors.mss.simulator.store import Message

_SECTION = re.compile(
    r"(?:BODY(?P<peek>\.PEEK)?)\[(?P<section>[^\]]*)\](?:<(?P<start>\d{1,10})\.(?P<count>\d{1,10})>)?",
    re.IGNORECASE,
)
_FIELDS = re.compile(r"HEADER\.FIELDS(?P<not>\.NOT)? \((?P<names>[^)]*)\)", re.IGNORECASE)
_NUMBERS = r"[1-9]\d{0,3}(?:\.[1-9]\d{0,3}){0,19}"
_HEADER_FIELDS = r"HEADER\.FIELDS(?:\.NOT)? \([^)]*\)"
_KNOWN = re.compile(
    rf"(?:(?P<part>{_NUMBERS})(?:\.(?P<of>MIME|HEADER|TEXT|{_HEADER_FIELDS}))?|HEADER|TEXT|{_HEADER_FIELDS})?",
    re.IGNORECASE,
)
_MACROS = {
    "ALL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"],
    "FAST": ["FLAGS", "INTERNALDATE", "RFC822.SIZE"],
    "FULL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"],
}
_OLD = {
    "RFC822": ("BODY[]", True),
    "RFC822.HEADER": ("BODY.PEEK[HEADER]", False),
    "RFC822.TEXT": ("BODY[TEXT]", True),
}
_PLAIN = ("FLAGS", "UID", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing asked. `label` is what the response calls it."""

    label: str
    section: str | None = None
    """What is between the brackets, in upper case; None for what is no section."""
    start: int = 0
    count: int | None = None
    marks_seen: bool = False


def items(token: object) -> list[Item]:
    """What a FETCH asks. Raises `Syntax`."""
    words = token if isinstance(token, list) else [token]
    names: list[str] = []
    for word in words:
        if not isinstance(word, str):
            raise Syntax("item")
        names += _MACROS.get(word.upper(), [word])
    return [_item(name) for name in names]


def _item(name: str) -> Item:
    upper = name.upper()
    if upper in _PLAIN:
        return Item(upper)
    if upper in _OLD:
        section, seen = _OLD[upper]
        made = _item(section)
        return Item(upper, made.section, marks_seen=seen)
    found = _SECTION.fullmatch(name)
    if found is None:
        raise Syntax("item not offered")
    section = found["section"]
    if not _KNOWN.fullmatch(section):
        raise Syntax("section not offered")
    partial = found["start"] is not None
    label = f"BODY[{section}]" + (f"<{found['start']}>" if partial else "")
    return Item(
        label,
        section,
        int(found["start"]) if partial else 0,
        int(found["count"]) if partial else None,
        found["peek"] is None,
    )


def flags(message: Message) -> str:
    """`(\\Seen …)`."""
    recent = ["\\Recent"] if message.recent else []
    return f"({' '.join([*sorted(message.flags), *recent])})"


def render(number: int, message: Message, asked: list[Item]) -> bytes:
    """`* n FETCH (…)`, with its CRLF."""
    parts = [item.label.encode("ascii") + b" " + _value(message, item) for item in asked]
    return b"* %d FETCH (" % number + b" ".join(parts) + b")\r\n"


def _value(message: Message, item: Item) -> bytes:
    if item.section is not None:
        data = _section(message, item.section)
        if item.count is not None:
            data = data[item.start : item.start + item.count]
        return literal(data)
    match item.label:
        case "FLAGS":
            return flags(message).encode("ascii")
        case "UID":
            return b"%d" % message.uid
        case "RFC822.SIZE":
            return b"%d" % message.size
        case "INTERNALDATE":
            d = message.date
            return f'"{d.day:2d}-{_MONTHS[d.month - 1]}-{d.year} {d:%H:%M:%S %z}"'.encode("ascii")
        case "ENVELOPE":
            return envelope(parse(_split(message)[0]).headers)
    return structure(parse(message.content))


def _split(message: Message) -> tuple[bytes, bytes]:
    content = message.content
    end = content.find(b"\r\n\r\n")
    return (content, b"") if end < 0 else (content[: end + 4], content[end + 4 :])


def _section(message: Message, section: str) -> bytes:
    if not section:
        return message.content
    found = _KNOWN.fullmatch(section)
    assert found is not None
    if found["part"] is None:
        return _of(*_split(message), section)
    try:
        part = parse(message.content).find([int(n) for n in found["part"].split(".")])
    except LookupError:
        return b""
    if found["of"] is None:
        return part.body
    if found["of"].upper() == "MIME":
        return part.head
    inner = part.enclosed
    return _of(inner.head, inner.body, found["of"]) if inner is not None else b""


def _of(head: bytes, text: bytes, section: str) -> bytes:
    """HEADER, TEXT or HEADER.FIELDS of a message."""
    upper = section.upper()
    if upper == "TEXT":
        return text
    if upper == "HEADER":
        return head
    found = _FIELDS.fullmatch(section)
    assert found is not None
    names = {n.strip('"').lower() for n in found["names"].split()}
    lines: list[bytes] = []
    chosen = False
    for line in head[:-2].splitlines(keepends=True):
        if line[:1] not in (b" ", b"\t"):
            name = line.partition(b":")[0].decode("ascii", "replace").strip().lower()
            chosen = (name in names) is (found["not"] is None)
        if chosen:
            lines.append(line)
    return b"".join(lines) + b"\r\n"
